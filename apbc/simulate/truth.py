"""What is known of a simulated micrograph: its particles, which of them show, and a mask.

A particle shows when its centre lies in the frame and

- its centre lies on no contamination, and at most half of its disc does;
- at most half of its disc (`HIDDEN`) lies under the discs of other particles.

The disc of a particle has the diameter of its structure; what lies beyond the border does not
count. Both can be checked with the files alone: the mask holds the contamination.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from apbc.io.files import atomic_path, write_text

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Mask = npt.NDArray[np.int8]

HIDDEN = 0.5
POINTS_ACROSS = 25
COLUMNS = ("x", "y", "class", "rot", "tilt", "psi", "visible", "defocus_offset")


class Label(IntEnum):
    """Values of a mask."""

    CLEAN = 0
    CARBON = 1
    ICE_BLOB = 2
    CRYSTAL = 3
    GOLD = 4
    DEBRIS = 5


def disc(diameter: float) -> FloatArray:
    """Points spread evenly over a disc round the origin.

    Parameters
    ----------
    diameter : float

    Returns
    -------
    ndarray, shape (n, 2)
    """
    axis = (np.arange(POINTS_ACROSS) + 0.5) / POINTS_ACROSS - 0.5
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    inside: FloatArray = points[np.hypot(*points.T) <= 0.5] * diameter
    return inside


def visible(centres: FloatArray, diameters: FloatArray, mask: Mask) -> BoolArray:
    """Tell which particles show; the definition stands at the head of this module.

    Parameters
    ----------
    centres : ndarray, shape (n, 2)
        x, y in pixels; those outside of the frame do not show, but may hide others.
    diameters : ndarray, shape (n,)
        Pixels.
    mask : ndarray of int, shape (rows, columns)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    rows, columns = mask.shape
    shown = in_frame(centres, (rows, columns))
    if not shown.any():
        return shown
    tree = cKDTree(centres)
    reach = diameters.max()
    for index in np.flatnonzero(shown):
        points = centres[index] + disc(diameters[index])
        x, y = np.rint(points).astype(int).T
        within = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        points, x, y = points[within], x[within], y[within]
        column, row = np.rint(centres[index]).astype(int)
        covered = np.mean(mask[y, x] != Label.CLEAN)
        if mask[row, column] != Label.CLEAN or covered > HIDDEN:
            shown[index] = False
            continue
        others = [n for n in tree.query_ball_point(centres[index], reach) if n != index]
        under = np.zeros(len(points), bool)
        for other in others:
            under |= np.hypot(*(points - centres[other]).T) < diameters[other] / 2
        shown[index] = under.mean() <= HIDDEN
    return shown


def in_frame(centres: FloatArray, shape: tuple[int, int]) -> BoolArray:
    """Tell which points lie on a pixel of an image.

    Parameters
    ----------
    centres : ndarray, shape (n, 2)
        x, y.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    rows, columns = shape
    inside: BoolArray = np.all((centres >= 0) & (centres <= (columns - 1, rows - 1)), axis=1)
    return inside


def write_truth(
    path: str | Path,
    centres: FloatArray,
    classes: npt.NDArray[np.int64],
    angles: FloatArray,
    shown: BoolArray,
    offsets: FloatArray,
) -> None:
    """Write the particles of one micrograph as CSV with the columns `COLUMNS`.

    Parameters
    ----------
    path : str or Path
    centres : ndarray, shape (n, 2)
        x, y in pixels.
    classes : ndarray of int, shape (n,)
        Number of the structure, from 1.
    angles : ndarray, shape (n, 3)
        rot, tilt, psi in degrees.
    shown : ndarray of bool, shape (n,)
    offsets : ndarray, shape (n,)
        Underfocus beyond that of the micrograph, Å.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    lines = [",".join(COLUMNS)]
    for centre, kind, angle, show, offset in zip(
        centres, classes, angles, shown, offsets, strict=True
    ):
        numbers = f"{angle[0]:.3f},{angle[1]:.3f},{angle[2]:.3f},{int(show)},{offset:.1f}"
        lines.append(f"{centre[0]:.3f},{centre[1]:.3f},{kind},{numbers}")
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_micrograph(path: str | Path, image: npt.NDArray, pixel_size: float) -> None:
    """Write a micrograph or a mask as MRC, in the type of its pixels.

    Parameters
    ----------
    path : str or Path
    image : ndarray of float32 or int8, shape (rows, columns)
    pixel_size : float
        Å.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary, mrcfile.new(temporary, image) as mrc:
        mrc.voxel_size = pixel_size
        # Instead of the date, so that the same call gives the same bytes.
        mrc.header.label[0] = "Simulated by apbc"
