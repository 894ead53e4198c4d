"""The record that every metric leaves beside its tables and pictures: ``metrics.json``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from apbc import __version__
from apbc.errors import ApbcError
from apbc.io.files import plain, read_json, write_json, write_text

RECORD_NAME = "metrics.json"


@dataclass(frozen=True)
class Record:
    """What one metric found for one method.

    Attributes
    ----------
    metric : str
        The verb: ``"fsc"``, ``"pose"``, ...
    name : str
        The method that was measured, as the user calls it.
    parameters : dict
        Options and files that it was measured with.
    figures : dict of str to float or None
        Flat; None where a figure is not defined.
    tables, pictures : tuple of str
        Names of CSV and PNG files in the folder of the record.
    apbc_version : str
    """

    metric: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    apbc_version: str = __version__


def write_record(folder: str | Path, record: Record) -> Path:
    """Write ``metrics.json``, last of all files of a metric.

    Parameters
    ----------
    folder : str or Path
        Holds the tables and pictures that the record names.
    record : Record
        Figures that are NaN become null.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ApbcError
        If the folder cannot be written.
    """
    path = Path(folder) / RECORD_NAME
    write_json(path, asdict(record))
    return path


def read_record(path: str | Path) -> Record:
    """Read the record of a metric.

    Parameters
    ----------
    path : str or Path
        The folder of the metric, or its ``metrics.json``.

    Returns
    -------
    Record

    Raises
    ------
    ApbcError
        If there is no such file, or it is no record of a metric.
    """
    path = Path(path)
    if path.is_dir():
        path = path / RECORD_NAME
    values = read_json(path)
    wrong = ApbcError(f"{path} is not the record of a metric; give a folder that apbc metrics made")
    if not isinstance(values, dict) or not {"metric", "name", "figures"} <= values.keys():
        raise wrong
    figures = values["figures"]
    if not isinstance(figures, dict) or not all(
        value is None or isinstance(value, int | float) for value in figures.values()
    ):
        raise wrong
    return Record(
        str(values["metric"]),
        str(values["name"]),
        dict(values.get("parameters") or {}),
        figures,
        tuple(values.get("tables") or ()),
        tuple(values.get("pictures") or ()),
        str(values.get("apbc_version", "")),
    )


def write_table(path: str | Path, columns: Mapping[str, Sequence[Any] | npt.NDArray]) -> None:
    """Write a CSV table.

    Parameters
    ----------
    path : str or Path
    columns : mapping of str to sequence or ndarray
        Heading and values of each column, all of one length. Numbers are written with seven
        digits; None and NaN become empty cells.

    Raises
    ------
    ValueError
        If the columns differ in length.
    ApbcError
        If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def _cell(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else ""
    return str(value)
