"""The sheet of crops of a report: which crops, and the files that keep them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc.dataset.store import Dataset
from apbc.io.files import atomic_path, write_json

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

FORMAT = "apbc crops 1"
PIXELS_FILE, CROPS_FILE = "crops.npz", "crops.json"
MOST_OF_A_ROW = 48
SHOWN_DIAMETERS = 2.0  # side of a crop on the sheet
DARKEST, BRIGHTEST = -3.0, 3.0  # robust deviations shown as black and as white


@dataclass(frozen=True)
class Sheet:
    """Crops worth looking at.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n, side, side)
        Grey values, row 0 first as in the micrograph.
    crops : list of dict, length n
        ``micrograph`` (name, None for particles of stacks), ``x``, ``y`` (pixels of the
        micrograph, None with it), ``label`` (good or bad) and ``score`` of each crop.
    rows : dict of str to list of int
        Crops of each row of the sheet, in order; one crop may be in several rows.
    part : str
        The split that the crops are of.
    diameter, pixel_size : float
        Of the particle in Å; of the crops in Å per pixel.
    """

    pixels: npt.NDArray[np.uint8]
    crops: list[dict[str, Any]]
    rows: dict[str, list[int]]
    part: str
    diameter: float
    pixel_size: float


def choose(probabilities: FloatArray, good: BoolArray, most: int = MOST_OF_A_ROW) -> dict[str, Any]:
    """Choose the best, worst and most doubtful crops, and those whose label and score disagree.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
    good : ndarray of bool, shape (n,)
        True labels.
    most : int, optional
        Longest row.

    Returns
    -------
    dict of str to ndarray of int
        By the name of the row: best first, worst first, nearest to 0.5 first, and the
        worst of the good and the best of the bad.
    """
    order = np.argsort(probabilities, kind="stable")
    rows = {
        "best": order[::-1],
        "worst": order,
        "doubtful": np.argsort(np.abs(probabilities - 0.5), kind="stable"),
        "good, scored low": order[good[order]],
        "bad, scored high": order[::-1][~good[order[::-1]]],
    }
    return {name: members[:most] for name, members in rows.items()}


def make_sheet(
    dataset: Dataset, positions: IntArray, probabilities: FloatArray, good: BoolArray, part: str
) -> Sheet:
    """Collect the crops of the sheet.

    Parameters
    ----------
    dataset : Dataset
    positions : ndarray of int, shape (n,)
        Crops of one split in the data set.
    probabilities : ndarray, shape (n,)
    good : ndarray of bool, shape (n,)
    part : str
        Name of the split.

    Returns
    -------
    Sheet
    """
    chosen = choose(probabilities, good)
    members = np.unique(np.concatenate(list(chosen.values()))).astype(np.int64)
    where = {int(member): i for i, member in enumerate(members)}
    on_micrographs = dataset.provenance["source"] == "micrographs"
    crops: list[dict[str, Any]] = []
    for member in members:
        row = dataset.crop_rows[positions[member]]
        x, y = dataset.coordinates[row]
        crops.append(
            {
                "micrograph": dataset.micrograph_names[dataset.micrograph[row]]
                if on_micrographs
                else None,
                "x": round(float(x), 2) if on_micrographs else None,
                "y": round(float(y), 2) if on_micrographs else None,
                "label": "good" if good[member] else "bad",
                "score": round(float(probabilities[member]), 5),
            }
        )
    return Sheet(
        pixels=_grey(_middle(dataset, positions[members])),
        crops=crops,
        rows={name: [where[int(member)] for member in row] for name, row in chosen.items()},
        part=part,
        diameter=dataset.preprocessing.diameter,
        pixel_size=dataset.preprocessing.pixel_size,
    )


def write_sheet(folder: Path, sheet: Sheet) -> None:
    """Write ``crops.npz`` (one array, ``pixels``) and ``crops.json``.

    Parameters
    ----------
    folder : Path
    sheet : Sheet

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    with atomic_path(folder / PIXELS_FILE) as temporary:
        np.savez_compressed(temporary, pixels=sheet.pixels)
    write_json(
        folder / CROPS_FILE,
        {
            "format": FORMAT,
            "part": sheet.part,
            "diameter": sheet.diameter,
            "pixel_size": sheet.pixel_size,
            "rows": sheet.rows,
            "crops": sheet.crops,
        },
    )


def _middle(dataset: Dataset, positions: IntArray) -> npt.NDArray[np.float32]:
    """Middle of crops, two particle diameters wide."""
    half = round(SHOWN_DIAMETERS * dataset.preprocessing.diameter_pixels / 2)
    middle = dataset.crop_size // 2
    window = slice(max(0, middle - half), middle + half + 1)
    return dataset.crops(positions)[:, window, window]


def _grey(crops: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Grey values of crops in robust deviations."""
    level = (np.clip(crops, DARKEST, BRIGHTEST) - DARKEST) / (BRIGHTEST - DARKEST)
    return np.rint(255 * level).astype(np.uint8)
