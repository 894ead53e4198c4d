"""Coordinates laid out as other programs look for them.

Relion finds the coordinates of a micrograph by the micrograph's name: it takes off
what stands before and in ``jobNNN/``, and the extension, and looks in the folder of
the coordinates for what is left, with a suffix: ``MotionCorr/job002/Raw/a/x.mrc``
and ``_apbc.star`` make ``Raw/a/x_apbc.star``. Relion 3.1 is given the folder and the
suffix by a file ``coords_suffix_apbc.star`` in it; Relion 4 and 5 are given a list of
micrographs and their coordinate files, ``autopick.star``. So one folder serves all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.coordinates import SCORE_LABEL, STAR_VERSION, write_coordinates
from apbc.io.files import write_text
from apbc.io.images import find_micrographs
from apbc.io.star import StarTable, read_star, write_star

FloatArray = npt.NDArray[np.float64]
Coordinates = Mapping[str, FloatArray]

SUFFIX = "apbc"
RELION_LIST = "autopick.star"
ONE_STAR = "coordinates.star"
OF_A_JOB = re.compile(r"^.*?/job\d{3}[^/]*/(.+)$")
LABEL = "apbcLabel"


@dataclass(frozen=True)
class MicrographName:
    """A micrograph as another program calls it.

    Attributes
    ----------
    name : str
        Its name in that program, such as ``MotionCorr/job002/Raw/x.mrc``.
    pixel_size : float or None
        Å per pixel, where the program says.
    """

    name: str
    pixel_size: float | None = None


def micrograph_names(specs: list[str]) -> dict[str, MicrographName]:
    """Names of micrographs, by the stem that coordinates know them by.

    Parameters
    ----------
    specs : list of str
        One star file of Relion with ``rlnMicrographName``, or what
        `apbc.io.images.find_micrographs` takes. A column ``apbcLabel`` in the star
        file replaces the stems.

    Returns
    -------
    dict of str to MicrographName

    Raises
    ------
    ApbcError
        If there are no micrographs, or two of them share their stem.
    """
    if len(specs) != 1 or Path(specs[0]).suffix.lower() != ".star":
        return {path.stem: MicrographName(path.as_posix()) for path in find_micrographs(specs)}
    star = read_star(specs[0])
    table = star.table_with("rlnMicrographName")
    sizes: list[float | None] = [None] * len(table)
    tables = [table, *star.tables.values()]
    if any("rlnMicrographPixelSize" in one for one in tables):
        sizes = list(star.per_row(table, "rlnMicrographPixelSize"))
    names = table.text("rlnMicrographName")
    labels = table.text(LABEL) if LABEL in table else [Path(name).stem for name in names]
    found: dict[str, MicrographName] = {}
    for label, name, size in zip(labels, names, sizes, strict=True):
        if label in found and found[label].name != name:
            raise ApbcError(
                f"{found[label].name} and {name} in {star.path} share the name {label}, by which "
                "coordinates find their micrograph; rename one or take its row out"
            )
        found[label] = MicrographName(name, size)
    if not found:
        raise ApbcError(f"{star.path} lists no micrographs; give one that does")
    return found


def relion_path(name: str) -> PurePosixPath:
    """Path, without extension, under which Relion looks for what belongs to a micrograph.

    Parameters
    ----------
    name : str
        ``rlnMicrographName``.

    Returns
    -------
    PurePosixPath
        Relative to the folder of the job.

    Raises
    ------
    ApbcError
        If the name leads out of that folder, or holds a blank.
    """
    job = OF_A_JOB.match(name)
    path = PurePosixPath((job.group(1) if job else name).lstrip("/"))
    if ".." in path.parts or re.search(r"\s", name):
        raise ApbcError(
            f"Relion cannot use the micrograph name {name}: it holds '..' or a blank; link the "
            "micrographs into the Relion project and give their names there"
        )
    return path.with_suffix("")


def write_relion(coordinates: Coordinates, out: Path, micrographs: str, suffix: str) -> None:
    """Write coordinates for the particle extraction of Relion 3.1, 4 and 5.

    Parameters
    ----------
    coordinates : mapping of str to ndarray, shape (n, 3)
        x, y in pixels and the score or NaN, by Relion's name of the micrograph.
    out : Path
        Folder for the files, as Relion is to find it from its project folder.
    micrographs : str
        The star file of the micrographs (or their wildcard), which Relion 3.1 opens to
        show the coordinates.
    suffix : str
        Without the underscore.

    Raises
    ------
    ApbcError
        If a name cannot be used or a file not written.
    """
    files = {
        name: out / _beside(name, f"_{suffix}.star") for name in _in_files_of_their_own(coordinates)
    }
    for name, path in files.items():
        _write(path, coordinates[name])
    rows = [f"{name} {path.as_posix()}" for name, path in files.items()]
    labels = ["rlnMicrographName", "rlnMicrographCoordinates"]
    listed = out / RELION_LIST
    write_star(listed, [StarTable(listed, "coordinate_files", labels, rows)], STAR_VERSION)
    write_text(out / f"coords_suffix_{suffix}.star", f"{micrographs}\n")


def write_boxes(coordinates: Coordinates, out: Path, box_size: int) -> None:
    """Write EMAN ``.box`` files in the folders of the micrographs.

    Parameters
    ----------
    coordinates : mapping of str to ndarray, shape (n, 3)
    out : Path
    box_size : int
        Pixels. Corners are whole pixels.

    Raises
    ------
    ApbcError
        If a name cannot be used or a file not written.
    """
    for name in _in_files_of_their_own(coordinates):
        _write(out / _beside(name, ".box"), coordinates[name], box_size)


def write_csvs(coordinates: Coordinates, out: Path) -> None:
    """Write CSV files (``x,y[,score]``) in the folders of the micrographs; see `write_boxes`."""
    for name in _in_files_of_their_own(coordinates):
        _write(out / _beside(name, ".csv"), coordinates[name])


def write_one_star(coordinates: Coordinates, out: Path) -> None:
    """Write all coordinates into one star file with ``rlnMicrographName``; see `write_boxes`."""
    rows = []
    scored = all(np.isfinite(found[:, 2]).all() for found in coordinates.values())
    for name, found in coordinates.items():
        relion_path(name)
        for x, y, score in found:
            rows.append(f"{name} {x:.2f} {y:.2f}" + (f" {score:.6f}" if scored else ""))
    labels = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    path = out / ONE_STAR
    table = StarTable(path, "", labels + [SCORE_LABEL] * scored, rows)
    write_star(path, [table], STAR_VERSION)


def _beside(name: str, ending: str) -> PurePosixPath:
    path = relion_path(name)
    return path.with_name(path.name + ending)


def _in_files_of_their_own(coordinates: Coordinates) -> list[str]:
    """Names of the micrographs, once it is known that no two would share a file."""
    taken: dict[PurePosixPath, str] = {}
    for name in coordinates:
        other = taken.setdefault(relion_path(name), name)
        if other != name:
            raise ApbcError(
                f"{other} and {name} would share one coordinate file in Relion, which leaves out "
                "the job in front; export them apart"
            )
    return list(coordinates)


def _write(path: Path, found: FloatArray, box_size: int | None = None) -> None:
    scores = found[:, 2] if np.isfinite(found[:, 2]).all() else None
    write_coordinates(path, found[:, :2], scores, box_size)
