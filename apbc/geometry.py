"""Conversions between Å, pixels, box corners, centres and working scale.

One rule holds in the whole project: a coordinate ``(x, y)`` names the centre of
a pixel, ``x`` counts columns and ``y`` counts rows in the order in which an MRC
file stores them, and the first pixel is ``(0, 0)``. Sizes are in Å wherever one
module hands them to another.

Fourier cropping keeps the centre of the first pixel where it is, so that a
coordinate changes scale by one factor and no offset.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def angstrom_to_pixels(length: float, pixel_size: float) -> float:
    """Length in pixels of a length in Å.

    Parameters
    ----------
    length : float
        Å.
    pixel_size : float
        Å per pixel, above zero.

    Returns
    -------
    float
        Pixels, not rounded.

    Raises
    ------
    ValueError
        If `pixel_size` is not above zero.
    """
    if not pixel_size > 0:
        raise ValueError(f"pixel size must be above 0 Å, not {pixel_size}")
    return length / pixel_size


def corners_to_centres(corners: FloatArray, sizes: FloatArray) -> FloatArray:
    """Centres of EMAN boxes.

    Parameters
    ----------
    corners : ndarray, shape (n, 2)
        Lower left corner ``x, y`` in pixels.
    sizes : ndarray, shape (n, 2)
        Width and height in pixels.

    Returns
    -------
    ndarray, shape (n, 2)
        Centres in pixels.
    """
    return np.asarray(corners, float) + np.asarray(sizes, float) / 2


def centres_to_corners(centres: FloatArray, box_size: int) -> npt.NDArray[np.int64]:
    """Lower left corners of square boxes round centres, whole pixels.

    Parameters
    ----------
    centres : ndarray, shape (n, 2)
        ``x, y`` in pixels.
    box_size : int
        Side of the box in pixels.

    Returns
    -------
    ndarray of int, shape (n, 2)
    """
    return np.rint(np.asarray(centres, float) - box_size / 2).astype(np.int64)


def rescale(coordinates: FloatArray, factor: float | tuple[float, float]) -> FloatArray:
    """Coordinates of the same points in an image of another pixel size.

    Parameters
    ----------
    coordinates : ndarray, shape (n, 2)
        ``x, y`` in pixels of the first image.
    factor : float or (float, float)
        Pixels of the second image per pixel of the first, along x and y.

    Returns
    -------
    ndarray, shape (n, 2)
    """
    return np.asarray(coordinates, float).reshape(-1, 2) * np.asarray(factor, float)


def even(size: float) -> int:
    """Nearest even whole number, at least 2."""
    return max(2, 2 * round(size / 2))


def box_size_for(diameter: float, pixel_size: float, ratio: float = 1.5) -> int:
    """Even box size in pixels for a particle diameter.

    Parameters
    ----------
    diameter : float
        Particle diameter in Å.
    pixel_size : float
        Å per pixel.
    ratio : float, optional
        Box side over diameter; 1.5 is the field's usual choice.

    Returns
    -------
    int
        Pixels.
    """
    return even(angstrom_to_pixels(diameter * ratio, pixel_size))


def euler_to_matrix(angles: npt.ArrayLike) -> FloatArray:
    """Rotation matrices of RELION's Euler angles.

    ``A = Rz(psi) Ry(tilt) Rz(rot)`` with rotations of the axes, RELION's and
    Xmipp's convention (Heymann, Chagoyen and Belnap, J. Struct. Biol. 151:196,
    2005). A point r of the volume, counted from its centre, is seen at ``A r``: the
    first two numbers are its place in the image.

    Parameters
    ----------
    angles : array_like, shape (n, 3)
        rot, tilt and psi in degrees.

    Returns
    -------
    ndarray, shape (n, 3, 3)
    """
    rot, tilt, psi = np.deg2rad(np.asarray(angles, float).reshape(-1, 3)).T
    ca, cb, cg = np.cos(rot), np.cos(tilt), np.cos(psi)
    sa, sb, sg = np.sin(rot), np.sin(tilt), np.sin(psi)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def matrix_to_euler(matrices: npt.ArrayLike) -> FloatArray:
    """RELION's Euler angles of rotation matrices, as of `euler_to_matrix`.

    Parameters
    ----------
    matrices : array_like, shape (n, 3, 3)

    Returns
    -------
    ndarray, shape (n, 3)
        rot and psi from -180 to 180 degrees, tilt from 0 to 180; rot is 0 where only
        its sum with psi is determined.
    """
    a = np.asarray(matrices, float).reshape(-1, 3, 3)
    side = np.hypot(a[:, 2, 0], a[:, 2, 1])
    tilt = np.arctan2(side, a[:, 2, 2])
    at_pole = side < 1e-9
    rot = np.where(at_pole, 0.0, np.arctan2(a[:, 2, 1], a[:, 2, 0]))
    # At a pole the matrix is Rz(psi) (tilt 0) or Rz(psi) Ry(180) (tilt 180).
    psi = np.where(
        at_pole,
        np.arctan2(-np.sign(a[:, 2, 2]) * a[:, 1, 0], a[:, 1, 1]),
        np.arctan2(a[:, 1, 2], -a[:, 0, 2]),
    )
    return np.rad2deg(np.stack([rot, tilt, psi], axis=1))
