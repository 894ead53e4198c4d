"""CSV tables with a row an image, and the identifiers that match one with another.

An identifier is a number (the row of a stack, counted from 1, or an object's id) or a RELION
image name ``000012@FOLDER/STACK.mrcs``. Names match by number and file name, so that folders may
differ; names of one stack match plain numbers, too. Tables without identifiers (arrays, pickles)
match by the order of their rows.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ID_COLUMNS = ("id", "image")
MOST_NAMED = 3


@dataclass(frozen=True)
class Table:
    """A CSV table.

    Attributes
    ----------
    path : Path
    columns : dict of str to list of str
        Cells by heading, in the order of the file.
    """

    path: Path
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a column of this name."""
        return name in self.columns

    @property
    def ids(self) -> list[str]:
        """Identifiers of the rows: the column ``id``, or ``image``.

        Raises
        ------
        ApbcError
            If there is no such column.
        """
        for name in ID_COLUMNS:
            if name in self.columns:
                return self.columns[name]
        raise ApbcError(
            f"{self.path} has neither a column id nor a column image; add the one that tells "
            "which image a row is of"
        )

    def text(self, name: str) -> list[str]:
        """Cells of a column.

        Raises
        ------
        ApbcError
            If there is no such column.
        """
        if name not in self.columns:
            raise ApbcError(f"{self.path} has no column {name}; it has {', '.join(self.columns)}")
        return self.columns[name]

    def numbers(self, *names: str, rows: IntArray | None = None) -> FloatArray:
        """Columns as numbers.

        Parameters
        ----------
        *names : str
        rows : ndarray of int, shape (n,), optional
            The rows to take, from 0; default all.

        Returns
        -------
        ndarray, shape (n, names)

        Raises
        ------
        ApbcError
            If a column is missing or a cell is no finite number; its row is named.
        """
        chosen = np.arange(len(self)) if rows is None else rows
        values = np.empty((len(chosen), len(names)))
        for column, name in enumerate(names):
            cells = self.text(name)
            for place, row in enumerate(chosen):
                try:
                    values[place, column] = float(cells[row])
                except ValueError:
                    values[place, column] = np.nan
        ids = next((self.columns[name] for name in ID_COLUMNS if name in self.columns), None)
        check_finite(self.path, values, ids, names, chosen)
        return values


def read_table(path: str | Path) -> Table:
    """Read a CSV table with a heading.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Table

    Raises
    ------
    ApbcError
        If the file is missing, empty, no text, or has a row of another length.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ApbcError(f"there is no file {path}; check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ApbcError(f"{path} is no CSV table ({error}); give one with a heading") from error
    if len(rows) < 2:
        raise ApbcError(f"{path} has no rows below its heading; give a table with a row an image")
    heading = [cell.strip() for cell in rows[0]]
    if len(set(heading)) < len(heading):
        raise ApbcError(f"{path} has two columns of one name ({rows[0]}); rename one")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(heading):
            raise ApbcError(
                f"row {number} of {path} has {len(row)} cells and the heading {len(heading)}; "
                "mend the file"
            )
    cells = zip(*rows[1:], strict=True)
    return Table(
        path,
        {name: [c.strip() for c in column] for name, column in zip(heading, cells, strict=True)},
    )


def check_finite(
    path: Path,
    values: FloatArray,
    ids: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    rows: IntArray | None = None,
) -> None:
    """Raise if a row holds what is no finite number, and name it.

    Parameters
    ----------
    path : Path
    values : ndarray, shape (n, columns)
    ids, names : sequence of str, optional
        Identifiers of all rows of the file, and names of the columns.
    rows : ndarray of int, shape (n,), optional
        Where the values are in the file, from 0; default 0 to n - 1.

    Raises
    ------
    ApbcError
    """
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    place, column = (int(n) for n in np.argwhere(bad)[0])
    row = place if rows is None else int(rows[place])
    which = f"row {row + 1}" + (f" (id {ids[row]})" if ids is not None else "")
    where = f"column {names[column] if names is not None else column + 1}"
    count = int(bad.any(axis=1).sum())
    more = f", and {count - 1} more rows have such values" if count > 1 else ""
    raise ApbcError(
        f"{which} of {path} has no finite number in {where}{more}; mend the file or leave such "
        "rows out"
    )


def match_rows(
    wanted: Sequence[str] | None,
    given: Sequence[str] | None,
    counts: tuple[int, int],
    names: tuple[str, str],
    subset: bool = False,
) -> tuple[IntArray, IntArray]:
    """Rows of two tables that are of the same image.

    Parameters
    ----------
    wanted, given : sequence of str or None
        Identifiers of the first and the second table; None for a table that has none.
    counts : (int, int)
        Rows of the tables.
    names : (str, str)
        What to call the tables in an error.
    subset : bool, optional
        The first table may lack images of the second.

    Returns
    -------
    rows, others : ndarray of int, shape (n,)
        Rows of the first and of the second table, in the order of the first.

    Raises
    ------
    ApbcError
        If an image is in one table only, or twice in one.
    """
    if wanted is None or given is None:
        if counts[0] != counts[1]:
            raise ApbcError(
                f"{names[0]} has {counts[0]} rows and {names[1]} {counts[1]}, and one of them has "
                "no identifiers to match them by; give tables of the same images"
            )
        order = np.arange(counts[0])
        return order, order
    first, second = _comparable(wanted, given, names)
    place = _places(second, given, names[1])
    _places(first, wanted, names[0])
    missing = [wanted[row] for row, key in enumerate(first) if key not in place]
    if missing:
        raise ApbcError(
            f"{_named(missing)} of {names[0]} {_are(missing)} not in {names[1]}; give "
            "tables of the same images"
        )
    others = np.fromiter((place[key] for key in first), np.int64, len(first))
    if len(others) < len(second) and not subset:
        known = set(first)
        missing = [given[row] for row, key in enumerate(second) if key not in known]
        raise ApbcError(
            f"{_named(missing)} of {names[1]} {_are(missing)} not in {names[0]}; give "
            "tables of the same images, or --subset to measure those that are in both"
        )
    return np.arange(len(first)), others


def ids_of(
    first: Sequence[str] | None, second: Sequence[str] | None, rows: IntArray, others: IntArray
) -> list[str]:
    """Name matched rows: by the second table's identifiers, else the first's, else by number.

    Parameters
    ----------
    first, second : sequence of str or None
        Identifiers of the two tables.
    rows, others : ndarray of int, shape (n,)
        See `match_rows`.

    Returns
    -------
    list of str
    """
    if second is not None:
        return [second[row] for row in others]
    if first is not None:
        return [first[row] for row in rows]
    return [str(row + 1) for row in rows]


def _named(ids: list[str]) -> str:
    """Name the first few of some identifiers and count them."""
    shown = ", ".join(ids[:MOST_NAMED])
    return (
        f"image {shown}"
        if len(ids) == 1
        else f"{len(ids)} images ({shown}{', ...' if len(ids) > MOST_NAMED else ''})"
    )


def _are(ids: list[str]) -> str:
    return "is" if len(ids) == 1 else "are"


def _comparable(
    first: Sequence[str], second: Sequence[str], names: tuple[str, str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Keys (number or name, stack) of two tables; stacks are left out where one has none."""
    keys, others = [_key(name) for name in first], [_key(name) for name in second]
    bare = [not any(stack for _, stack in side) for side in (keys, others)]
    if bare[0] != bare[1]:
        side, name = (others, names[1]) if bare[0] else (keys, names[0])
        stacks = {stack for _, stack in side}
        if len(stacks) > 1:
            raise ApbcError(
                f"{name} has images of {len(stacks)} stacks and {names[0 if bare[0] else 1]} plain "
                "numbers, which do not tell the stack; give image names (NUMBER@STACK) in both"
            )
        keys, others = [(n, "") for n, _ in keys], [(n, "") for n, _ in others]
    return keys, others


def _key(name: str) -> tuple[str, str]:
    number, _, stack = name.strip().rpartition("@")
    if not number:
        number, stack = stack, ""
    try:
        number = str(int(number))
    except ValueError:
        pass
    return number, stack.rpartition("/")[2]


def _places(
    keys: Sequence[tuple[str, str]], ids: Sequence[str], name: str
) -> dict[tuple[str, str], int]:
    places: dict[tuple[str, str], int] = {}
    for row, key in enumerate(keys):
        if key in places:
            raise ApbcError(
                f"image {ids[row]} is in {name} twice (rows {places[key] + 1} and {row + 1}); "
                "leave one row of each image"
            )
        places[key] = row
    return places
