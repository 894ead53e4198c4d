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
