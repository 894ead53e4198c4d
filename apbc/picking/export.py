"""What a threshold exports of the candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.evaluation.expected import Promise, promised_threshold
from apbc.io.coordinates import read_coordinates, write_coordinates
from apbc.picking.options import CANDIDATES, PickOptions

FloatArray = npt.NDArray[np.float64]


def candidate_file(out: Path, name: str) -> Path:
    """File of the candidates of a micrograph."""
    return out / CANDIDATES / f"{name}.csv"


def candidate_files(out: Path) -> list[Path]:
    """Files of candidates in a folder, those of earlier runs included."""
    return sorted((out / CANDIDATES).glob("*.csv"))


def export(
    out: Path, name: str, found: FloatArray, options: PickOptions, threshold: float, box: int
) -> int:
    """Write the candidates above a threshold in every format asked for.

    Parameters
    ----------
    out : Path
    name : str
        Of the micrograph.
    found : ndarray, shape (n, 3 or more)
        ``x, y, score``.
    options : PickOptions
    threshold : float
    box : int
        Side of the boxes in pixels.

    Returns
    -------
    int
        How many there are.
    """
    kept = found[found[:, 2] >= threshold]
    for suffix in options.formats:
        write_coordinates(out / f"{name}.{suffix}", kept[:, :2], kept[:, 2], box)
    return len(kept)


def export_with_promise(
    out: Path, options: PickOptions, box: int
) -> tuple[Promise, dict[str, tuple[int, int]]]:
    """Export all candidates in a folder at the threshold that keeps the promise.

    Candidates of earlier runs count and are exported anew, so that one threshold
    holds in the whole folder.

    Returns
    -------
    promise : Promise
    counts : dict of str to (int, int)
        Numbers of candidates and of exported picks by micrograph.
    """
    assert options.precision is not None
    files = candidate_files(out)
    scores = [read_coordinates(file)[:, 2] for file in files]
    joined = np.concatenate(scores) if scores else np.empty(0)
    promise = promised_threshold(joined, options.precision, options.threshold)
    counts = {}
    for file in files:
        found = read_coordinates(file)
        exported = export(out, file.stem, found, options, promise.threshold, box)
        counts[file.stem] = (len(found), exported)
    return promise, counts
