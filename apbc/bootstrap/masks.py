"""Cleaning of the mask that a clustering gives.

Al-Azzawi et al. 2019, BMC Bioinformatics 20:326 and Genes 10:666, in the order of the authors'
program; connections are 8-neighbour, the structuring element is the 3 x 3 cross.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

CROSS = ndimage.generate_binary_structure(2, 1)
EIGHT = np.ones((3, 3), bool)
"""Structuring element of 8-neighbour connections, for `scipy.ndimage.label`."""


def area_open(mask: Mask, area: float) -> Mask:
    """Keep the components of at least so many pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
    area : float
        Pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    labels, _ = ndimage.label(mask, EIGHT)
    keep = np.bincount(labels.ravel()) >= area
    keep[0] = False
    return np.asarray(keep[labels], bool)


def clean(mask: Mask, area: float, second_area: float | None = None, fill: bool = False) -> Mask:
    """Take specks out of a mask, close its holes and smooth its outlines.

    Opening by area, erosion (what is outside the image counts as inside the mask), filling of
    holes, closing, a second opening by area, dilation.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
    area : float
        Smallest component that stays, in pixels.
    second_area : float, optional
        Smallest component that stays after the closing; by default all do.
    fill : bool, optional
        Fill holes once more at the end.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    out = ndimage.binary_erosion(area_open(mask, area), CROSS, border_value=1)
    out = ndimage.binary_fill_holes(out)
    out = ndimage.binary_closing(np.pad(out, 1), CROSS)[1:-1, 1:-1]
    if second_area is not None:
        out = area_open(out, second_area)
    out = ndimage.binary_dilation(out, CROSS)
    return np.asarray(ndimage.binary_fill_holes(out) if fill else out, bool)
