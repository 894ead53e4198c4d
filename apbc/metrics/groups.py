"""Records of metrics, sorted by metric and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apbc.errors import ApbcError
from apbc.io.tables import Table, read_table
from apbc.metrics.catalogue import METRIC_TITLES, meaning_of
from apbc.metrics.record import RECORD_NAME, Record, read_record

# Options that differ between methods by nature.
INPUTS = ("predicted", "latent", "clusters", "pairs", "method")


@dataclass(frozen=True)
class Entry:
    """The record of one metric for one method.

    Attributes
    ----------
    folder : Path
    record : Record
    """

    folder: Path
    record: Record


@dataclass(frozen=True)
class Group:
    """One metric of all methods that have it.

    Attributes
    ----------
    metric : str
    variant : str
        Kind of the metric, such as ``"image"``; may be empty.
    entries : dict of str to Entry
        By method.
    """

    metric: str
    variant: str
    entries: dict[str, Entry]

    @property
    def title(self) -> str:
        """What a page calls it."""
        title = METRIC_TITLES.get(self.metric, self.metric)
        return f"{title} ({self.variant})" if self.variant else title

    @property
    def keys(self) -> list[str]:
        """Names of all figures, in the order of the records."""
        return list(dict.fromkeys(k for e in self.entries.values() for k in e.record.figures))

    def value(self, method: str, key: str) -> float | None:
        """Figure of a method; None where it has none."""
        entry = self.entries.get(method)
        return None if entry is None else entry.record.figures.get(key)

    def best(self, key: str) -> str | None:
        """Return the method with the best figure; None where no one is better."""
        better = meaning_of(self.metric, key).better
        values = {m: self.value(m, key) for m in self.entries}
        known = {m: v for m, v in values.items() if v is not None}
        if not better or len(known) < 2 or len(set(known.values())) < 2:
            return None
        choose = max if better == "higher" else min
        return choose(known, key=lambda method: known[method])

    def differing_options(self) -> list[str]:
        """Sentences on options that were not the same for all methods."""
        told = []
        records = [entry.record for entry in self.entries.values()]
        for key in dict.fromkeys(key for record in records for key in record.parameters):
            values = [parameter_text(record.parameters.get(key)) for record in records]
            if key not in INPUTS and len(set(values)) > 1:
                pairs = zip(self.entries, values, strict=True)
                told.append(f"{key}: " + ", ".join(f"{m} {v}" for m, v in pairs))
        return told


def read_groups(folders: Sequence[str | Path]) -> list[Group]:
    """Read records and sort them by metric and method.

    Parameters
    ----------
    folders : sequence of str or Path
        Folders of metrics, or folders that hold such.

    Returns
    -------
    list of Group

    Raises
    ------
    ApbcError
        If there is no record in a folder, or a method has two of one metric.
    """
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    for folder in dict.fromkeys(path for given in folders for path in _records_in(Path(given))):
        record = read_record(folder)
        variant = str(record.parameters.get("kind") or "")
        methods = found.setdefault((record.metric, variant), {})
        if record.name in methods:
            raise ApbcError(
                f"{methods[record.name].folder} and {folder} both measure {record.metric} of a "
                f"method called {record.name}; give one of them another --name"
            )
        methods[record.name] = Entry(folder, record)
    order = [*METRIC_TITLES, *(metric for metric, _ in found)]
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [Group(metric, variant, found[metric, variant]) for metric, variant in keys]


def _records_in(folder: Path) -> list[Path]:
    """Find the folders of metrics: this one, or those in it."""
    if (folder / RECORD_NAME).is_file() or not folder.is_dir():
        return [folder]
    inside = sorted(path.parent for path in folder.glob(f"*/{RECORD_NAME}"))
    if not inside:
        raise ApbcError(
            f"there is no {RECORD_NAME} in {folder}; give folders that apbc metrics made"
        )
    return inside


def table_of(entry: Entry, name: str) -> Table:
    """Read a table of a record.

    Raises
    ------
    ApbcError
        If it has gone.
    """
    path = entry.folder / name
    if not path.is_file():
        raise ApbcError(f"{path} has gone; run apbc metrics {entry.record.metric} again")
    return read_table(path)


def parameter_text(value: Any) -> str:
    """Text of an option: ``"none"`` for one that was not given."""
    if value is None or value == []:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
