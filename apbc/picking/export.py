"""What a threshold exports of the candidates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.evaluation.expected import Promise, promised_threshold
from apbc.io.coordinates import read_coordinates, read_shapes, write_coordinates
from apbc.picking.options import CANDIDATES, PickOptions

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Candidates of a micrograph, best first.

    Attributes
    ----------
    xy : ndarray, shape (n, 2)
        Pixels of the micrograph.
    scores : ndarray, shape (n,)
        Probabilities.
    disagreement : ndarray, shape (n,), optional
        Of an ensemble's members, the deviation of their probabilities.
    shapes : list of str, length n, optional
        What a classifier calls each of them.
    """

    xy: FloatArray
    scores: FloatArray
    disagreement: FloatArray | None = None
    shapes: list[str] | None = None

    def __len__(self) -> int:
        """Count them."""
        return len(self.xy)


def candidate_file(out: Path, name: str) -> Path:
    """File of the candidates of a micrograph."""
    return out / CANDIDATES / f"{name}.csv"


def candidate_files(out: Path) -> list[Path]:
    """Files of candidates in a folder, those of earlier runs included."""
    return sorted((out / CANDIDATES).glob("*.csv"))


def read_candidates(path: Path) -> Found:
    """Candidates that were written with their scores and shapes."""
    found = read_coordinates(path)
    return Found(found[:, :2], found[:, 2], shapes=read_shapes(path))


def export(
    out: Path, name: str, found: Found, options: PickOptions, threshold: float, box: int
) -> int:
    """Write the candidates above a threshold in every format asked for.

    Parameters
    ----------
    out : Path
    name : str
        Of the micrograph.
    found : Found
        Their shapes, where they have them, go into the CSV.
    options : PickOptions
    threshold : float
    box : int
        Side of the boxes in pixels.

    Returns
    -------
    int
        How many there are.
    """
    kept = found.scores >= threshold
    shapes = None if found.shapes is None else list(compress(found.shapes, kept))
    for suffix in options.formats:
        path = out / f"{name}.{suffix}"
        write_coordinates(path, found.xy[kept], found.scores[kept], box, shapes=shapes)
    return int(kept.sum())


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
    scores = [read_candidates(file).scores for file in files]
    joined = np.concatenate(scores) if scores else np.empty(0)
    promise = promised_threshold(joined, options.precision, options.threshold)
    counts = {}
    for file in files:
        found = read_candidates(file)
        exported = export(out, file.stem, found, options, promise.threshold, box)
        counts[file.stem] = (len(found), exported)
    return promise, counts
