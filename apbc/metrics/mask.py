"""Masks for volumes: read from a file, or made where the references differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter

from apbc.errors import ApbcError
from apbc.io.volumes import Volume, check_same_grid, read_volume

FloatVolume = npt.NDArray[np.float32]

DIFFERENT = 0.2
"""Share of the largest difference from which on a place counts as different."""
SMOOTHING = 1.5
"""Voxels: standard deviation of the Gaussian that joins places of difference."""
MARGIN = 3.0
"""Voxels by which places of difference are widened before the edge begins."""
EDGE = 5.0
"""Voxels over which a mask falls to 0."""


def read_mask(path: str | Path, like: Volume) -> FloatVolume:
    """Read a mask that belongs to a volume.

    Parameters
    ----------
    path : str or Path
    like : Volume
        On the grid that the mask must have; its pixel size goes before the mask's.

    Returns
    -------
    ndarray of float32, shape (d, d, d)

    Raises
    ------
    ApbcError
        If the file is no volume, has another box, values outside 0 to 1, or is 0
        everywhere.
    """
    mask = read_volume(path, like.pixel_size)
    check_same_grid([like, replace(mask, name=f"the mask {path}")])
    lowest, highest = float(mask.data.min()), float(mask.data.max())
    if lowest < -1e-3 or highest > 1 + 1e-3:
        raise ApbcError(
            f"the mask {path} has values from {lowest:.3g} to {highest:.3g}; a mask goes from 0 "
            "to 1"
        )
    if highest <= 0:
        raise ApbcError(f"the mask {path} is 0 everywhere; give one that leaves the particle")
    return mask.data.clip(0, 1)


def difference_mask(references: Iterable[Volume]) -> FloatVolume:
    """Soft mask of the places where volumes differ: the domain that moves.

    The standard deviation over the volumes, smoothed, from a fifth of its largest
    value on, widened by 3 voxels and with a soft edge of 5 voxels.

    Parameters
    ----------
    references : iterable of Volume
        At least two, on one grid and in one place. They are taken one by one.

    Returns
    -------
    ndarray of float32, shape (d, d, d)
        0 to 1.

    Raises
    ------
    ApbcError
        If there are fewer than two or they do not differ.
    """
    count = 0
    first: Volume | None = None
    mean = squares = np.zeros(0, np.float32)
    for volume in references:
        if first is None:
            first = volume
            mean, squares = np.zeros((2, *volume.data.shape), np.float32)
        check_same_grid([first, volume])
        count += 1
        change = volume.data - mean
        mean += change / count
        squares += change * (volume.data - mean)
    if count < 2:
        raise ApbcError(
            f"the moving part is where references differ, and there is {count}; give two "
            "different references or more, or leave --local out"
        )
    spread = gaussian_filter(np.sqrt(squares / count), SMOOTHING)
    if not spread.max() > 0:
        raise ApbcError(
            f"the {count} references are all the same, so that no part of them moves; leave "
            "--local out"
        )
    return soft_mask(spread >= DIFFERENT * spread.max())


def soft_mask(
    core: npt.NDArray[np.bool_], margin: float = MARGIN, edge: float = EDGE
) -> FloatVolume:
    """Mask that is 1 around a core and falls to 0 as a cosine.

    Parameters
    ----------
    core : ndarray of bool, shape (d, d, d)
    margin : float, optional
        Voxels around the core where the mask is 1, too.
    edge : float, optional
        Voxels over which it falls.

    Returns
    -------
    ndarray of float32, shape (d, d, d)
    """
    beyond = (distance_transform_edt(~core) - margin).clip(0, edge)
    mask: FloatVolume = (0.5 + 0.5 * np.cos(np.pi * beyond / edge)).astype(np.float32)
    return mask
