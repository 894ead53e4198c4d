"""CTF parameters of micrographs, from the star file of a CTF program run in Relion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apbc.errors import ApbcError
from apbc.io.star import read_star

OF_MICROGRAPH = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
OF_OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")


@dataclass(frozen=True)
class Ctf:
    """Parameters of the contrast transfer function of one micrograph.

    Attributes
    ----------
    defocus_u, defocus_v : float
        Å, positive for underfocus.
    defocus_angle : float
        Degrees from the x axis to the direction of `defocus_u`.
    voltage : float
        kV.
    cs : float
        Spherical aberration in mm.
    amplitude_contrast : float
        Share, 0 to 1.
    phase_shift : float
        Of a phase plate, degrees.
    """

    defocus_u: float
    defocus_v: float
    defocus_angle: float
    voltage: float
    cs: float
    amplitude_contrast: float
    phase_shift: float = 0.0


def read_ctf(path: str | Path) -> dict[str, Ctf]:
    """CTF parameters by the stem of the micrograph.

    Parameters
    ----------
    path : str or Path
        ``micrographs_ctf.star`` of Relion 3.0 (all in one block) or 3.1 and
        later (voltage, aberration and contrast by optics group).

    Returns
    -------
    dict of str to Ctf

    Raises
    ------
    ApbcError
        If the file is missing, lacks a column, holds values that are no finite
        numbers, or has two micrographs of one name.
    """
    star = read_star(path)
    table = star.table_with("rlnMicrographName", *OF_MICROGRAPH)
    names = table.text("rlnMicrographName")
    if not names:
        raise ApbcError(f"{star.path} holds no micrographs; run the CTF estimation again")
    columns = [table.numbers(label) for label in OF_MICROGRAPH]
    columns += [star.per_row(table, label) for label in OF_OPTICS]
    if "rlnPhaseShift" in table:
        columns.append(table.numbers("rlnPhaseShift"))
    values = np.stack(columns, axis=1)
    by_stem: dict[str, Ctf] = {}
    for name, row in zip(names, values, strict=True):
        stem = Path(name).stem
        if not np.isfinite(row).all():
            raise ApbcError(
                f"the CTF parameters of {name} in {star.path} are no finite numbers; estimate them "
                "again or take the row out"
            )
        if stem in by_stem:
            raise ApbcError(f"{star.path} has two micrographs named {stem}; take one row out")
        by_stem[stem] = Ctf(*(float(v) for v in row))
    return by_stem
