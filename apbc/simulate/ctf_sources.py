"""Where the CTFs of simulated particles come from: a microscope, or those of real images."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.cryodrgn import read_ctf_pickle
from apbc.io.ctf import OF_MICROGRAPH, OF_OPTICS
from apbc.io.poses import CTF_TABLE_COLUMNS
from apbc.io.star import read_star
from apbc.simulate.optics import Optics

FloatArray = npt.NDArray[np.float64]

COLUMNS = CTF_TABLE_COLUMNS
"""Of every table of CTFs here."""

FIRST_OF_PICKLE = 2
"""Column of cryoDRGN's table with which `COLUMNS` begin, after box and pixel size."""

JITTER = 300.0
"""Å, standard deviation of the change of defocus when a CTF is taken again."""

logger = logging.getLogger(__name__)


def microscope_ctfs(count: int, optics: Optics, rng: np.random.Generator) -> FloatArray:
    """CTFs of a microscope, each with a defocus of its own.

    Parameters
    ----------
    count : int
    optics : Optics
        Mean defocus, size and direction of the astigmatism are uniform within its limits.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (count, 7)
        Columns as `COLUMNS`.
    """
    defocus = rng.uniform(*optics.defocus, count)
    difference = rng.uniform(0, optics.astigmatism, count)
    rows = np.empty((count, len(COLUMNS)))
    rows[:, 0] = defocus + difference / 2
    rows[:, 1] = defocus - difference / 2
    rows[:, 2] = rng.uniform(0, 180, count)
    rows[:, 3:] = (optics.voltage, optics.cs, optics.amplitude_contrast, optics.phase_shift)
    return rows


def read_ctfs(path: str | Path) -> FloatArray:
    """Read the CTFs of real images.

    Parameters
    ----------
    path : str or Path
        Star file of particles or micrographs, or cryoDRGN's ``ctf.pkl``, whose box and pixel
        size are not used.

    Returns
    -------
    ndarray, shape (n, 7)
        Columns as `COLUMNS`.

    Raises
    ------
    ApbcError
        If the file is missing, has no CTFs, or values that no microscope has.
    """
    path = Path(path)
    if path.suffix.lower() in (".pkl", ".pickle"):
        rows = read_ctf_pickle(path)[:, FIRST_OF_PICKLE:]
    else:
        rows = _from_star(path)
    if not len(rows):
        raise ApbcError(f"{path} has no CTFs; give a file that has some")
    bad = (
        ~np.isfinite(rows).all(axis=1) | (rows[:, 3] <= 0) | ~((rows[:, 5] >= 0) & (rows[:, 5] < 1))
    )
    if bad.any():
        raise ApbcError(
            f"row {int(bad.argmax()) + 1} of {path} has a CTF parameter that is no finite number, "
            "a voltage of 0, or an amplitude contrast outside of 0 to 1; mend the file"
        )
    return rows


def choose_ctfs(
    path: str | Path, count: int, replace: bool, rng: np.random.Generator
) -> FloatArray:
    """Choose CTFs of real images at random.

    Parameters
    ----------
    path : str or Path
        As for `read_ctfs`.
    count : int
    replace : bool
        Where there are fewer than `count`, take some again, with the defocus changed by a
        random amount (standard deviation 300 Å), instead of refusing.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (count, 7)
        Without `replace`, or when there are enough, each row is taken once at most.

    Raises
    ------
    ApbcError
        If there are too few, or the file cannot be used.
    """
    rows = read_ctfs(path)
    if len(rows) >= count:
        return rows[rng.permutation(len(rows))[:count]]
    if not replace:
        raise ApbcError(
            f"{path} has {len(rows)} CTFs and {count} images are asked for; ask for fewer, or "
            "give --ctf-replace, which takes CTFs again with another defocus"
        )
    again = count - len(rows)
    logger.warning(
        "%s has %d CTFs for %d images: %d are taken again, with the defocus changed by a "
        "standard deviation of %g Å",
        path,
        len(rows),
        count,
        again,
        JITTER,
    )
    more = rows[rng.integers(len(rows), size=again)]
    more[:, :2] += rng.normal(0, JITTER, again)[:, None]
    return np.concatenate([rows, more])[rng.permutation(count)]


def _from_star(path: Path) -> FloatArray:
    star = read_star(path)
    table = star.table_with(*OF_MICROGRAPH)
    rows = np.zeros((len(table), len(COLUMNS)))
    for column, label in enumerate(OF_MICROGRAPH):
        rows[:, column] = table.numbers(label)
    for column, label in enumerate(OF_OPTICS, len(OF_MICROGRAPH)):
        rows[:, column] = star.per_row(table, label)
    if "rlnPhaseShift" in table:
        rows[:, -1] = table.numbers("rlnPhaseShift")
    return rows
