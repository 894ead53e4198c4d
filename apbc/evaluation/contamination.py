"""Where false picks fall: on carbon, ice, gold, aggregates, or clean ice.

A mask is an MRC image of the size of its micrograph whose pixels are the numbers of `KINDS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.mrc import MrcLayout, mrc_layout

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

KINDS = (
    "clean ice",
    "carbon",
    "ice blob",
    "crystalline ice or ethane",
    "gold",
    "aggregate or broken particle",
)
SUFFIXES = (".mrc", ".mrcs", ".map")
FAR_OUTSIDE = 1.1  # sizes of the mask: beyond, points are in other pixels


def find_masks(folder: str | Path, names: Sequence[str]) -> dict[str, MrcLayout]:
    """Masks of micrographs, by the stem of their file.

    Parameters
    ----------
    folder : str or Path
    names : sequence of str
        Stems of the micrographs.

    Returns
    -------
    dict of str to MrcLayout
        Those that are there.

    Raises
    ------
    ApbcError
        If there is no mask of any of the micrographs, or one is no image.
    """
    folder = Path(folder)
    files = {
        file.stem: file
        for file in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if file.suffix.lower() in SUFFIXES and file.name[0] != "."
    }
    if not set(files) & set(names):
        raise ApbcError(
            f"{folder} holds no mask of the {len(names)} micrographs (such as "
            f"{next(iter(names), 'none')}.mrc); give the folder masks/ of the simulation"
        )
    return {name: mrc_layout(files[name]) for name in names if name in files}


def kinds_at(mask: MrcLayout, xy: FloatArray) -> IntArray:
    """Tell what lies at points of a micrograph.

    Parameters
    ----------
    mask : MrcLayout
    xy : ndarray, shape (n, 2) or more columns
        Pixels; a point outside takes the pixel of the border next to it.

    Returns
    -------
    ndarray of int, shape (n,)
        Index into `KINDS`.

    Raises
    ------
    ApbcError
        If the mask holds another number, or a point lies far outside of it.
    """
    size = np.array([mask.columns, mask.rows])
    if (xy[:, :2] > FAR_OUTSIDE * size).any():
        x, y = xy[(xy[:, :2] > FAR_OUTSIDE * size).any(axis=1)][0, :2]
        raise ApbcError(
            f"the mask {mask.path} has {mask.columns} x {mask.rows} pixels and there is a pick at "
            f"x {x:.0f}, y {y:.0f}; give masks of the size of the micrographs"
        )
    columns, rows = np.rint(xy[:, :2]).astype(np.int64).T
    pixels = mask.map()[0]
    found = pixels[np.clip(rows, 0, mask.rows - 1), np.clip(columns, 0, mask.columns - 1)]
    kinds = np.asarray(found).astype(np.int64)
    if len(kinds) and not (0 <= kinds.min() and kinds.max() < len(KINDS)):
        raise _unknown(mask)
    return kinds


def areas(masks: Mapping[str, MrcLayout]) -> FloatArray:
    """Share of the area of all masks that is of each kind.

    Parameters
    ----------
    masks : mapping of str to MrcLayout

    Returns
    -------
    ndarray, shape (len(KINDS),)

    Raises
    ------
    ApbcError
        If a mask holds another number.
    """
    counts = np.zeros(len(KINDS))
    total = 0
    for mask in masks.values():
        pixels = mask.map()[0]
        of_each = np.array([np.count_nonzero(pixels == kind) for kind in range(len(KINDS))])
        if of_each.sum() != pixels.size:
            raise _unknown(mask)
        counts += of_each
        total += pixels.size
    return counts / total


def _unknown(mask: MrcLayout) -> ApbcError:
    return ApbcError(
        f"{mask.path} is no mask: its pixels must be whole numbers from 0 to {len(KINDS) - 1} "
        f"({', '.join(f'{k} {name}' for k, name in enumerate(KINDS))}); give the masks of the "
        "simulation"
    )
