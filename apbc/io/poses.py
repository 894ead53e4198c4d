"""Poses and CTF parameters of images: RELION star files, CSV tables, cryoDRGN pickles."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.geometry import euler_to_matrix
from apbc.io.cryodrgn import CTF_COLUMNS, read_ctf_pickle, read_poses
from apbc.io.particles import read_particles
from apbc.io.star import StarTable, read_star
from apbc.io.tables import check_finite, read_table

FloatArray = npt.NDArray[np.float64]

ANGLE_LABELS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ANGLE_COLUMNS = ("rot", "tilt", "psi")
SHIFT_COLUMNS = ("shift_x", "shift_y")
CTF_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift")
CTF_OPTICS_LABELS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
CTF_TABLE_COLUMNS = (
    "defocus_u",
    "defocus_v",
    "defocus_angle",
    "voltage",
    "cs",
    "amplitude_contrast",
    "phase_shift",
)
"""Å, Å, degrees, kV, mm, share, degrees."""
PICKLES = (".pkl", ".pickle")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoseTable:
    """Poses of images.

    Attributes
    ----------
    path : Path
    ids : list of str or None
        Identifiers; None where images are told by their order.
    rotations : ndarray, shape (n, 3, 3)
        RELION's Euler matrices.
    shifts : ndarray, shape (n, 2), or None
        How far the particle lies from the centre of its box, x and y in Å.
    """

    path: Path
    ids: list[str] | None
    rotations: FloatArray
    shifts: FloatArray | None


def read_pose_table(path: str | Path, box_length: float | None = None) -> PoseTable:
    """Read poses.

    Parameters
    ----------
    path : str or Path
        ``.star`` (rlnAngleRot/Tilt/Psi, rlnOriginX/YAngst or rlnOriginX/Y), ``.csv`` (``id`` or
        ``image``, ``rot``, ``tilt``, ``psi`` and, if it likes, ``shift_x``, ``shift_y`` in Å), or
        cryoDRGN's ``poses.pkl``.
    box_length : float, optional
        Side of the box in Å, which the fractions of a pickle are of; without it, the
        translations of a pickle are left out.

    Returns
    -------
    PoseTable

    Raises
    ------
    ApbcError
        If the file is missing, lacks a column, or holds what is no finite number.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        rotations, fractions = read_poses(path)
        shifts = None
        if fractions is not None and box_length is not None:
            shifts = -fractions * box_length
        elif fractions is not None:
            logger.warning(
                "%s has translations in fractions of the box, whose size is not known, so they "
                "are not measured; give --box-length A",
                path,
            )
        return PoseTable(path, None, rotations, shifts)
    if suffix == ".star":
        return _from_star(path)
    if suffix != ".csv":
        raise ApbcError(f"{path} is no table of poses; give a .star, .csv or .pkl file")
    table = read_table(path)
    shifts = table.numbers(*SHIFT_COLUMNS) if SHIFT_COLUMNS[0] in table else None
    angles = table.numbers(*ANGLE_COLUMNS)
    return PoseTable(path, table.ids, euler_to_matrix(angles), shifts)


def _from_star(path: Path) -> PoseTable:
    particles = read_particles(path)
    table = particles.table
    angles = _columns(table, ANGLE_LABELS)
    return PoseTable(path, image_names(table), euler_to_matrix(angles), particles.shifts)


def _columns(table: StarTable, labels: tuple[str, ...]) -> FloatArray:
    values = np.stack([table.numbers(label) for label in labels], axis=1)
    if not len(values):
        raise ApbcError(f"{table.path} has no particles; give a file that has some")
    check_finite(table.path, values, names=labels)
    return values


def image_names(table: StarTable) -> list[str] | None:
    """Return the identifiers of images of a star file; None without ``rlnImageName``."""
    return table.text("rlnImageName") if "rlnImageName" in table else None


def read_ctf_rows(path: str | Path) -> tuple[list[str] | None, FloatArray]:
    """Read CTF parameters of images.

    Parameters
    ----------
    path : str or Path
        ``.star``, ``.csv`` with the columns of the simulator's ``truth.csv``, or cryoDRGN's
        ``ctf.pkl``.

    Returns
    -------
    ids : list of str or None
    rows : ndarray, shape (n, columns)
        Defocus U and V, angle, and what else the file tells of the CTF.

    Raises
    ------
    ApbcError
        If the file is missing or lacks the defocus.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        return None, read_ctf_pickle(path)[:, CTF_COLUMNS.index("defocus U (Å)") :]
    if suffix == ".csv":
        csv_table = read_table(path)
        csv_table.text(CTF_TABLE_COLUMNS[0])
        known = [name for name in CTF_TABLE_COLUMNS if name in csv_table]
        return csv_table.ids, csv_table.numbers(*known)
    if suffix != ".star":
        raise ApbcError(f"{path} is no table of CTF parameters; give a .star, .csv or .pkl file")
    star = read_star(path)
    table = star.table_with(*CTF_LABELS[:2])
    optics = star.tables.get("optics")
    columns = [table.numbers(label) for label in CTF_LABELS if label in table]
    columns += [
        star.per_row(table, label)
        for label in CTF_OPTICS_LABELS
        if label in table or (optics is not None and label in optics)
    ]
    rows = np.stack(columns, axis=1)
    check_finite(path, rows)
    return image_names(table), rows
