"""The ground truth of images as points of a space, matched with a latent space."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.latents import Latents, read_truth
from apbc.io.tables import Table, ids_of, match_rows

FloatArray = npt.NDArray[np.float64]

JUNK = "0"
"""Class of images that are of no structure."""
MOST_CLASSES = 300

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TruthOptions:
    """What of a truth table makes its space.

    Attributes
    ----------
    columns : tuple of str
        Continuous columns; each is scaled to a standard deviation of 1.
    circular : tuple of str
        Columns in degrees that go round; each becomes cosine and sine.
    subset : bool
        The latents may lack images of the truth.
    """

    columns: tuple[str, ...] = ()
    circular: tuple[str, ...] = ()
    subset: bool = False


@dataclass(frozen=True)
class Truth:
    """A latent space and the truth of the same images; junk is left out.

    Attributes
    ----------
    ids : list of str
    latents : ndarray, shape (n, dimensions)
    points : ndarray, shape (n, d)
        Place of each image in the space of the truth: the continuous columns asked for, else
        the classes, one direction each.
    labels : list of str or None
        Class of each image; None where the truth tells none.
    table : Table
        The truth.
    rows : ndarray of int, shape (n,)
        Rows of `table`.
    left_out : int
        Number of junk images.
    """

    ids: list[str]
    latents: FloatArray
    points: FloatArray
    labels: list[str] | None
    table: Table
    rows: npt.NDArray[np.int64]
    left_out: int


def is_junk(label: str) -> bool:
    """Tell whether a class is that of junk."""
    return label.strip() in (JUNK, "0.0")


def match_truth(latents: Latents, path: str | Path, options: TruthOptions) -> Truth:
    """Truth of the images of a latent space.

    Parameters
    ----------
    latents : Latents
    path : str or Path
        CSV table, or an array of classes.
    options : TruthOptions

    Returns
    -------
    Truth

    Raises
    ------
    ApbcError
        If images do not match, there is one class only, or a column is missing or constant.
    """
    table = read_truth(path)
    rows, others = match_rows(
        latents.ids,
        table.ids if latents.ids is not None else None,
        (len(latents.values), len(table)),
        (str(latents.path), str(path)),
        options.subset,
    )
    left_out = 0
    labels = None
    if "class" in table:
        told = table.text("class")
        kept = np.array([not is_junk(told[row]) for row in others])
        left_out = int((~kept).sum())
        if left_out:
            logger.info("%d junk images (class %s) are left out", left_out, JUNK)
        rows, others = rows[kept], others[kept]
        labels = [told[row] for row in others]
    if not len(rows):
        raise ApbcError(f"{path} calls every image junk (class {JUNK}); nothing is left")
    if options.columns or options.circular:
        points = _continuous(table, others, options)
    else:
        points = one_hot(_classes(table, labels))
    ids = ids_of(latents.ids, table.ids, rows, others)
    return Truth(ids, latents.values[rows], points, labels, table, others, left_out)


def one_hot(labels: npt.NDArray[np.int64]) -> FloatArray:
    """Points of classes: each class one unit vector.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        From 0.

    Returns
    -------
    ndarray, shape (n, classes)
    """
    return np.eye(int(labels.max()) + 1)[labels]


def rows_of(
    truth: Truth, ids: list[str] | None, count: int, path: str | Path
) -> npt.NDArray[np.int64]:
    """Find the rows of another table that are of the images of a truth.

    Parameters
    ----------
    truth : Truth
    ids : list of str or None
        Identifiers of the table; without them its rows are those of the truth's table.
    count : int
        Rows of the table.
    path : str or Path
        For the sentence.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    ApbcError
        If an image is not in the table.
    """
    if ids is None:
        match_rows(None, None, (len(truth.table), count), (str(truth.table.path), str(path)))
        return truth.rows
    names = (str(truth.table.path), str(path))
    return match_rows(truth.ids, ids, (len(truth.ids), count), names, subset=True)[1]


def scaled(values: FloatArray) -> FloatArray:
    """Columns with a mean of 0 and a standard deviation of 1; constant ones are left out.

    Parameters
    ----------
    values : ndarray, shape (n, columns)

    Returns
    -------
    ndarray, shape (n, columns that vary)
    """
    spread = values.std(axis=0)
    # What differs by rounding only does not vary.
    varies = spread > 1e-9 * np.abs(values).max(axis=0)
    kept: FloatArray = (values[:, varies] - values[:, varies].mean(axis=0)) / spread[varies]
    return kept


def check_classes(labels: list[str] | None, path: Path) -> npt.NDArray[np.int64]:
    """Class numbers from 0, if there are at least two classes.

    Parameters
    ----------
    labels : list of str or None
    path : Path
        Of the truth, for the sentence.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    ApbcError
        If there is no class, or one only.
    """
    if labels is None:
        raise ApbcError(
            f"{path} has no column class; add it, or name continuous columns with --columns or "
            "--circular"
        )
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) == 1:
        raise ApbcError(
            f"all {len(labels)} images of {path} are of class {names[0]}, so no arrangement of "
            "them is better than another; give a truth with two classes or more, or a continuous "
            "one with --columns or --circular"
        )
    return np.asarray(numbers, np.int64)


def _classes(table: Table, labels: list[str] | None) -> npt.NDArray[np.int64]:
    numbers = check_classes(labels, table.path)
    classes = int(numbers.max()) + 1
    if classes > MOST_CLASSES:
        raise ApbcError(
            f"{table.path} has {classes} classes, too many to be kinds of structures; name the "
            "columns that tell the conformation with --columns or --circular"
        )
    return numbers


def _continuous(table: Table, rows: npt.NDArray[np.int64], options: TruthOptions) -> FloatArray:
    parts = []
    for name in options.columns:
        values = table.numbers(name, rows=rows)
        spread = float(values.std())
        if not spread > 0:
            raise ApbcError(
                f"column {name} of {table.path} is the same for all images, so no arrangement of "
                "them is better than another; name a column that differs"
            )
        parts.append((values - values.mean()) / spread)
    for name in options.circular:
        angles = np.deg2rad(table.numbers(name, rows=rows))
        if not np.ptp(angles) > 0:
            raise ApbcError(
                f"column {name} of {table.path} is the same for all images, so no arrangement of "
                "them is better than another; name a column that differs"
            )
        parts += [np.cos(angles), np.sin(angles)]
    return np.concatenate(parts, axis=1)
