"""Coordinate files: CSV, EMAN box, and star; one a micrograph, or a folder of them.

Coordinates are pixel centres in pixels of the micrograph, ``x`` columns and
``y`` rows in MRC row order, first pixel ``(0, 0)``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.geometry import centres_to_corners, corners_to_centres
from apbc.io.files import write_text
from apbc.io.star import StarTable, read_star, write_star

FloatArray = npt.NDArray[np.float64]

SUFFIXES = (".csv", ".box", ".star")
NOT_COORDINATES = ("failed.csv",)
STAR_VERSION = "# version 30001"
SCORE_LABEL = "rlnAutopickFigureOfMerit"
SHAPE = "shape"
# What a file of known particles may tell of them besides: class, pose in degrees, and whether the
# particle can be seen at all (1) or is hidden (0).
TRUTH_COLUMNS = ("class", "rot", "tilt", "psi", "visible")
# What a file of labels may tell of them besides: the 2D class, and how far the particle lies from
# the coordinate in Å (star files tell the negative of it, the shift that centres the particle).
LABEL_COLUMNS = ("view", "class", "shift_x", "shift_y")
CLASS_LABEL = "rlnClassNumber"
ORIGIN_LABELS = ("rlnOriginXAngst", "rlnOriginYAngst")


def read_coordinates(path: str | Path) -> FloatArray:
    """Read a coordinate file.

    Parameters
    ----------
    path : str or Path
        ``.csv`` with a header naming ``x``, ``y`` and, if it likes, ``score``;
        ``.box`` (EMAN: lower corner, width, height, [score]); ``.star`` with
        ``rlnCoordinateX/Y`` and, if it likes, ``rlnAutopickFigureOfMerit``.

    Returns
    -------
    ndarray, shape (n, 3)
        x, y in pixels, and the score; NaN where the file has none.

    Raises
    ------
    ApbcError
        If the file is missing, lacks a column, or holds what is no number.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".star":
        return _from_table(read_star(path).table_with("rlnCoordinateX", "rlnCoordinateY"))
    if suffix not in SUFFIXES:
        raise ApbcError(f"{path} is no coordinate file; give one of {', '.join(SUFFIXES)}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ApbcError(f"there is no file {path}; check the path") from error
    except UnicodeDecodeError as error:
        raise ApbcError(f"{path} is not a text file; give a coordinate file") from error
    rows = _box_rows(path, lines) if suffix == ".box" else _csv_rows(path, lines)
    return _checked(path, np.array(rows, float).reshape(-1, 3))


def write_coordinates(
    path: str | Path,
    xy: npt.ArrayLike,
    scores: npt.ArrayLike | None = None,
    box_size: int | None = None,
    disagreement: npt.ArrayLike | None = None,
    shapes: Sequence[str] | None = None,
) -> None:
    """Write a coordinate file in the format of its suffix.

    Parameters
    ----------
    path : str or Path
        ``.csv``, ``.star`` or ``.box``.
    xy : array_like, shape (n, 2)
        Pixels. No rows make a valid file.
    scores : array_like, shape (n,), optional
    box_size : int, optional
        Side of the boxes in pixels; ``.box`` needs it.
    disagreement : array_like, shape (n,), optional
        Of an ensemble's members, a column after the score; only ``.csv`` has it.
    shapes : sequence of str, length n, optional
        What a classifier calls each particle, the last column; only ``.csv`` has it.

    Raises
    ------
    ApbcError
        If the suffix is none of these or the file cannot be written.
    """
    path = Path(path)
    points = np.asarray(xy, float).reshape(-1, 2)
    marks = None if scores is None else np.asarray(scores, float).reshape(-1)
    if marks is not None and len(marks) != len(points):
        raise ValueError(f"{len(marks)} scores for {len(points)} coordinates")
    columns = [f"{x:.2f} {y:.2f}" for x, y in points]
    suffix = path.suffix.lower()
    if suffix == ".box":
        if box_size is None:
            raise ValueError("a .box file needs the box size")
        corners = centres_to_corners(points, box_size)
        columns = [f"{x} {y} {box_size} {box_size}" for x, y in corners]
    elif suffix not in SUFFIXES:
        raise ApbcError(f"cannot write coordinates to {path}; name it {', '.join(SUFFIXES)}")
    if marks is not None:
        columns = [f"{row} {mark:.6f}" for row, mark in zip(columns, marks, strict=True)]
    if suffix == ".star":
        labels = ["rlnCoordinateX", "rlnCoordinateY", *([] if marks is None else [SCORE_LABEL])]
        write_star(path, [StarTable(path, "", labels, columns)], STAR_VERSION)
        return
    if suffix == ".csv":
        header = "x y" if marks is None else "x y score"
        if disagreement is not None:
            header += " disagreement"
            spread = np.asarray(disagreement, float).reshape(-1)
            columns = [f"{row} {value:.6f}" for row, value in zip(columns, spread, strict=True)]
        if shapes is not None:
            header += f" {SHAPE}"
            columns = [f"{row} {shape}" for row, shape in zip(columns, shapes, strict=True)]
        columns = [row.replace(" ", ",") for row in (header, *columns)]
    else:
        columns = [row.replace(" ", "\t") for row in columns]
    write_text(path, "".join(f"{row}\n" for row in columns))


def read_shapes(path: str | Path) -> list[str] | None:
    """Read what a classifier calls the particles of a CSV file.

    Parameters
    ----------
    path : str or Path
        As of `read_coordinates`.

    Returns
    -------
    list of str or None
        In the order of the rows; None where the file has no column ``shape``.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if SHAPE not in (reader.fieldnames or ()):
        return None
    return [row[SHAPE] or "" for row in reader]


def read_coordinate_folder(path: str | Path) -> dict[str, FloatArray]:
    """Read a coordinate set: a folder of files, or one file.

    Parameters
    ----------
    path : str or Path
        A folder with a file for each micrograph (where a micrograph has files
        of several formats, CSV comes first, then box), one star file with
        ``rlnMicrographName``, or one coordinate file.

    Returns
    -------
    dict of str to ndarray, shape (n, 3)
        By the stem of the micrograph, in natural reading order of the names:
        x, y in pixels, and the score or NaN.

    Raises
    ------
    ApbcError
        If there are no coordinate files or one cannot be read.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".star":
        table = read_star(path).table_with("rlnCoordinateX", "rlnCoordinateY")
        if "rlnMicrographName" in table:
            return _by_micrograph(table)
    return {stem: read_coordinates(file) for stem, file in _files_of(path).items()}


def read_truth_columns(path: str | Path) -> dict[str, dict[str, FloatArray]]:
    """Read what files of known particles tell besides their places.

    Parameters
    ----------
    path : str or Path
        A set, as `read_coordinate_folder` takes it. Only CSV files have such columns: ``class``
        (whole numbers; 0 is junk), ``rot``, ``tilt``, ``psi`` (degrees) and ``visible`` (1 or 0).

    Returns
    -------
    dict of str to dict of str to ndarray, shape (n,)
        By the stem of the micrograph, the columns that its file has, in the order of its rows;
        none for files of other formats.

    Raises
    ------
    ApbcError
        If a value of such a column is missing or no number, or `visible` is neither 1 nor 0.
    """
    path = Path(path)
    return {
        stem: _truth_columns(file) if file.suffix.lower() == ".csv" else {}
        for stem, file in _files_of(path).items()
    }


def read_label_columns(path: str | Path) -> dict[str, dict[str, FloatArray]]:
    """Read what the files of labels tell of them besides their places.

    Parameters
    ----------
    path : str or Path
        A set, as `read_coordinate_folder` takes it: CSV files with ``view`` (or ``class``),
        ``shift_x`` and ``shift_y``; star files with ``rlnClassNumber``, ``rlnOriginXAngst`` and
        ``rlnOriginYAngst``.

    Returns
    -------
    dict of str to dict of str to ndarray
        By the stem of the micrograph, in the order of the rows, what its file has: ``view``,
        shape (n,), and ``shift``, shape (n, 2): how far the particle lies from the coordinate,
        in Å. NaN where a cell is empty.

    Raises
    ------
    ApbcError
        If a value is no number.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".star":
        table = read_star(path).table_with("rlnCoordinateX", "rlnCoordinateY")
        if "rlnMicrographName" in table:
            columns = _star_label_columns(table)
            return {
                stem: {name: column[rows] for name, column in columns.items()}
                for stem, rows in _rows_by_micrograph(table).items()
            }
    return {stem: _label_columns(file) for stem, file in _files_of(path).items()}


def _label_columns(path: Path) -> dict[str, FloatArray]:
    suffix = path.suffix.lower()
    if suffix == ".star":
        return _star_label_columns(read_star(path).table_with("rlnCoordinateX", "rlnCoordinateY"))
    found = _csv_columns(path, LABEL_COLUMNS) if suffix == ".csv" else {}
    columns = {}
    if "view" in found or "class" in found:
        columns["view"] = found["view" if "view" in found else "class"]
    if "shift_x" in found and "shift_y" in found:
        columns["shift"] = np.stack([found["shift_x"], found["shift_y"]], axis=1)
    return columns


def _star_label_columns(table: StarTable) -> dict[str, FloatArray]:
    columns = {}
    if CLASS_LABEL in table:
        columns["view"] = table.numbers(CLASS_LABEL)
    if all(label in table for label in ORIGIN_LABELS):
        columns["shift"] = -np.stack([table.numbers(label) for label in ORIGIN_LABELS], axis=1)
    return columns


def _files_of(path: Path) -> dict[str, Path]:
    """Files of a coordinate set by the stem of their micrograph; one file is a set, too."""
    if not path.exists():
        raise ApbcError(f"there is no file or folder {path}; check the path")
    if not path.is_dir():
        return {path.stem: path}
    chosen: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for file in sorted(path.iterdir()):
            wanted = file.suffix.lower() == suffix and file.name not in NOT_COORDINATES
            if wanted and file.name[0] != "." and file.is_file():
                chosen.setdefault(file.stem, file)
    if not chosen:
        raise ApbcError(
            f"{path} holds no coordinate files; give a folder with {', '.join(SUFFIXES)} files"
        )
    return {stem: chosen[stem] for stem in sorted(chosen)}


def _truth_columns(path: Path) -> dict[str, FloatArray]:
    columns = _csv_columns(path, TRUTH_COLUMNS)
    for name, column in columns.items():
        if not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column))) + 1
            raise ApbcError(f"{name} of particle {row} of {path} is no number; mend the file")
    if not np.isin(columns.get("visible", 1), (0, 1)).all():
        raise ApbcError(f"the column visible of {path} may hold 1 and 0 alone; mend the file")
    return columns


def _csv_columns(path: Path, names: Sequence[str]) -> dict[str, FloatArray]:
    """Those of the columns that a CSV file has; NaN where a cell is empty."""
    reader = csv.reader(
        path.read_text(encoding="utf-8-sig").splitlines(),
        skipinitialspace=True,
    )
    header = [name.strip().lower() for name in next(reader, [])]
    wanted = {name: header.index(name) for name in names if name in header}
    if not wanted:
        return {}
    rows = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        picked = [values[i].strip() if i < len(values) else "" for i in wanted.values()]
        rows.append(_numbers(path, reader.line_num, [value or "nan" for value in picked]))
    table = np.array(rows, float).reshape(-1, len(wanted))
    return {name: table[:, k] for k, name in enumerate(wanted)}


def box_size_of(path: str | Path) -> float | None:
    """Width of the first box of an EMAN ``.box`` file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    float or None
        Pixels; None for other formats and for a file without boxes.

    Raises
    ------
    ApbcError
        If the width is not above 0.
    """
    path = Path(path)
    if path.suffix.lower() != ".box" or not len(read_coordinates(path)):
        return None
    first = next(line.split() for line in path.read_text().splitlines() if line.strip())
    width = float(first[2])
    if not width > 0:
        raise ApbcError(f"the first box of {path} is {width:g} pixels wide; mend the file")
    return width


def _from_table(table: StarTable) -> FloatArray:
    x, y = table.numbers("rlnCoordinateX"), table.numbers("rlnCoordinateY")
    score = table.numbers(SCORE_LABEL) if SCORE_LABEL in table else np.full(len(table), np.nan)
    return _checked(table.path, np.stack([x, y, score], axis=1))


def _by_micrograph(table: StarTable) -> dict[str, FloatArray]:
    coordinates = _from_table(table)
    return {stem: coordinates[rows] for stem, rows in _rows_by_micrograph(table).items()}


def _rows_by_micrograph(table: StarTable) -> dict[str, npt.NDArray[np.int64]]:
    """Rows of each micrograph, by its stem."""
    stems = np.array([Path(name).stem for name in table.text("rlnMicrographName")], object)
    order = np.argsort(stems, kind="stable")
    names, starts = np.unique(stems[order], return_index=True)
    return dict(zip((str(n) for n in names), np.split(order, starts[1:]), strict=False))


def _csv_rows(path: Path, lines: list[str]) -> list[tuple[float, ...]]:
    reader = csv.reader(lines, skipinitialspace=True)
    header = [name.strip().lower() for name in next(reader, [])]
    for needed in ("x", "y"):
        if needed not in header:
            raise ApbcError(
                f"{path} has no column {needed}; its first line must name the columns x,y[,score]"
            )
    wanted = [header.index(name) for name in ("x", "y", "score") if name in header]
    rows = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        picked = [values[i].strip() if i < len(values) else "" for i in wanted]
        if len(picked) == 2 or not picked[2]:
            picked[2:] = ["nan"]
        rows.append(_numbers(path, reader.line_num, picked))
    return rows


def _box_rows(path: Path, lines: list[str]) -> list[tuple[float, ...]]:
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(lines, start=1):
        values = line.split()
        if not values:
            continue
        if len(values) < 4:
            raise ApbcError(
                f"line {number} of {path} has {len(values)} values; a box needs x, y, width and "
                "height"
            )
        x, y, width, height, score = _numbers(path, number, [*values[:5], "nan"][:5])
        centre = corners_to_centres(np.array([[x, y]]), np.array([[width, height]]))[0]
        rows.append((float(centre[0]), float(centre[1]), score))
    return rows


def _numbers(path: Path, number: int, values: list[str]) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except ValueError as error:
        raise ApbcError(
            f"line {number} of {path} holds a value that is no number ({error}); mend the file"
        ) from error


def _checked(path: Path, coordinates: FloatArray) -> FloatArray:
    if not np.isfinite(coordinates[:, :2]).all():
        row = int(np.argmin(np.isfinite(coordinates[:, :2]).all(axis=1))) + 1
        raise ApbcError(f"coordinate {row} of {path} is not a finite number; mend the file")
    return coordinates
