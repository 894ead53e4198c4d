"""CTF parameters of micrographs, in the star file of a CTF program run in Relion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apbc.errors import ApbcError
from apbc.io.star import StarTable, read_star, write_star

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


def write_ctf(
    path: str | Path, names: Sequence[str], ctfs: Sequence[Ctf], pixel_size: float
) -> None:
    """Write micrographs with their CTF as RELION 3.1 and later do.

    Parameters
    ----------
    path : str or Path
        ``micrographs_ctf.star``, with ``data_optics`` and ``data_micrographs``.
    names : sequence of str
        Paths of the micrographs, without blanks.
    ctfs : sequence of Ctf
        One a micrograph; voltage, Cs and amplitude contrast of the first hold for
        all. The phase shift is written where one is not 0.
    pixel_size : float
        Å.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    path = Path(path)
    optics = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnMicrographOriginalPixelSize": pixel_size,
        "rlnMicrographPixelSize": pixel_size,
        "rlnVoltage": ctfs[0].voltage,
        "rlnSphericalAberration": ctfs[0].cs,
        "rlnAmplitudeContrast": ctfs[0].amplitude_contrast,
    }
    labels = ["rlnMicrographName", "rlnOpticsGroup", *OF_MICROGRAPH]
    rows = [
        f"{name} 1 {ctf.defocus_u:.1f} {ctf.defocus_v:.1f} {ctf.defocus_angle:.2f}"
        for name, ctf in zip(names, ctfs, strict=True)
    ]
    if any(ctf.phase_shift for ctf in ctfs):
        labels.append("rlnPhaseShift")
        rows = [f"{row} {ctf.phase_shift:.2f}" for row, ctf in zip(rows, ctfs, strict=True)]
    tables = [
        StarTable(path, "optics", list(optics), [" ".join(str(v) for v in optics.values())]),
        StarTable(path, "micrographs", labels, rows),
    ]
    write_star(path, tables, "# version 30001")
