"""Examples of a micrograph as a CSV file, and what ``apbc dataset`` reads of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.bootstrap.examples import SHAPES, Examples
from apbc.errors import ApbcError
from apbc.io.files import write_text

COLUMNS = ("x", "y", "shape", "good", "reason", "length", "width", "angle", "metric")


def write_examples(path: str | Path, examples: Examples) -> None:
    """Write the examples of a micrograph.

    Parameters
    ----------
    path : str or Path
        ``NAME.csv``; without examples it has its header alone.
    examples : Examples
        In pixels of the micrograph.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    lines = [",".join(COLUMNS)]
    for i, reason in enumerate(examples.reason):
        (x, y), (length, width) = examples.positions[i], examples.size[i]
        lines.append(
            f"{x:.2f},{y:.2f},{SHAPES[examples.shape[i]]},{int(examples.good[i])},{reason},"
            f"{length:.2f},{width:.2f},{examples.angle[i]:.1f},{examples.metric[i]:.4f}"
        )
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_examples(path: str | Path) -> Examples:
    """Read what `write_examples` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    found : Examples
        In pixels of the micrograph.

    Raises
    ------
    ApbcError
        If the file is missing or was changed to what cannot be read.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        numbers = np.array(
            [
                [float(row[name]) for name in ("x", "y", "length", "width", "angle", "metric")]
                for row in rows
            ]
        ).reshape(-1, 6)
        return Examples(
            numbers[:, :2],
            np.array([SHAPES.index(row["shape"]) for row in rows], np.int8),
            np.array([bool(int(row["good"])) for row in rows], bool),
            [row["reason"] for row in rows],
            numbers[:, 2:4],
            numbers[:, 4],
            numbers[:, 5],
        )
    except FileNotFoundError as error:
        raise ApbcError(f"there is no file {path}; make it with apbc bootstrap") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ApbcError(
            f"{path} is no table of examples as apbc bootstrap writes it ({error}); remove it and "
            "run again"
        ) from error


def write_places(
    path: str | Path, xy: npt.NDArray[np.float64], shape: npt.NDArray[np.integer]
) -> None:
    """Write places with their shape as a view, for ``apbc dataset``.

    Parameters
    ----------
    path : str or Path
        ``NAME.csv``.
    xy : ndarray, shape (n, 2)
        Pixels of the micrograph.
    shape : ndarray of int, shape (n,)
        Index into `SHAPES`; the view is one more.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    lines = [f"{x:.2f},{y:.2f},{kind + 1}" for (x, y), kind in zip(xy, shape, strict=True)]
    write_text(path, "".join(f"{line}\n" for line in ["x,y,view", *lines]))
