"""Sections of a benchmark: measured one by one, kept in a record, told as tables on a page.

A record is JSON: names of sections, each with its figures and with what, where and when they were
measured. Every figure between the markers of the page is taken from the record, and nothing else
is. Imports nothing heavy (`common`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import (
    REPOSITORY,
    CommandFailed,
    Missing,
    command_line,
    logger,
    machine,
    without_folders,
)

from apbc.errors import ApbcError
from apbc.io.files import write_json, write_text

PAGE = REPOSITORY / "docs" / "benchmarks.md"
NONE = "not measured"


class Gaps:
    """What could not be measured, and why."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def attempt(self, what: str, measure: Callable[[], Any]) -> Any:
        """Return what `measure` gives; None, told aloud, where a program or data are missing."""
        try:
            return measure()
        except (Missing, CommandFailed, ModuleNotFoundError) as error:
            logger.error("NOT MEASURED: %s: %s", what, error)
            self.found[what] = without_folders(str(error))
            return None


def measure(
    program: str,
    name: str,
    seeds: Sequence[int],
    figures: Callable[[Gaps], Any],
    programs: Callable[[], Mapping[str, Any]],
    data: Callable[[], Any],
) -> dict[str, Any]:
    """Run a section: its figures, and with what, where and when they were measured.

    Parameters
    ----------
    program : str
        Name of the file under ``benchmarks/``.
    name : str
        Of the section.
    seeds : sequence of int
    figures : callable
        Given the gaps, which it may add to; returns what JSON can hold.
    programs : callable
        Versions of what was used.
    data : callable
        Tells which data were used.

    Returns
    -------
    dict
    """
    gaps, load = Gaps(), round(os.getloadavg()[0], 2)
    start = time.monotonic()
    found = gaps.attempt(name, lambda: figures(gaps))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": command_line(
            ["python", f"benchmarks/{program}", "--only", name, "--seeds", *seeds]
        ),
        "seeds": list(seeds),
        "seconds": round(time.monotonic() - start, 1),
        "load_before": load,
        "machine": machine(),
        "versions": dict(programs()),
        "data": gaps.attempt("data", data),
        "not_measured": gaps.found,
        "figures": found,
    }


def merge(record: Path, sections: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Put sections into a record, and leave its others as they are.

    A section without figures does not replace one that has some.

    Parameters
    ----------
    record : Path
        Written anew; need not be there.
    sections : mapping of str to dict
        Each with ``figures``, None where nothing could be measured.

    Returns
    -------
    dict
        All sections.
    """
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    for name, section in sections.items():
        if section["figures"] is not None or not known.get(name, {}).get("figures"):
            known[name] = section
    write_json(record, known)
    return dict(known)


def markers(target: str) -> tuple[str, str]:
    """Lines between which the tables of a target of the Makefile stand."""
    return f"<!-- {target}: begin -->", f"<!-- {target}: end -->"


def write_tables(page: Path, target: str, lines: Sequence[str]) -> None:
    """Replace what stands between the markers of a page.

    Raises
    ------
    ApbcError
        If the page has not both of them, once and in order.
    """
    begin, end = markers(target)
    text = page.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ApbcError(f"{page} needs one line {begin} and after it one line {end}")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    body = "\n".join(lines).strip("\n")
    write_text(page, f"{before}{begin}\n\n{body}\n\n{after}")


def tables(
    program: str,
    record: Mapping[str, Any],
    titles: Mapping[str, str],
    makers: Mapping[str, Callable[[Any], Sequence[str]]],
) -> list[str]:
    """Tables of all sections of a record, as lines of Markdown.

    Parameters
    ----------
    program : str
        Name of the file under ``benchmarks/`` that measures.
    record : mapping
        Of `merge`.
    titles : mapping of str to str
        Headings of the sections, in their order.
    makers : mapping of str to callable
        Lines of a section, given its figures.
    """
    lines: list[str] = []
    for name, title in titles.items():
        section = record.get(name)
        if section is None:
            continue
        lines += [f"### {title}", "", _origin(program, name, section), ""]
        if section["figures"] is None:
            lines += [f"{NONE.capitalize()}.", ""]
        elif name in makers:
            lines += [*makers[name](section["figures"]), ""]
        if section["not_measured"]:
            gaps = [f"{what} ({why})" for what, why in section["not_measured"].items()]
            lines += [f"Not measured: {'; '.join(gaps)}.", ""]
    return lines


def _origin(program: str, name: str, section: Mapping[str, Any]) -> str:
    """Tell where, when and with what a section was measured."""
    machine, programs = section["machine"], section["versions"]
    told = f"{machine['class']}, {machine['cpu_cores']} CPU cores, {machine['memory_gib']} GiB"
    if machine["gpu"] != "none":
        told += f", {machine['gpu']}"
    names = [("apbc", "apbc"), ("tensorflow", "TensorFlow"), ("relion", "Relion")]
    names += [("topaz-em", "Topaz")]
    used = [f"{label} {programs[key]}" for key, label in names if programs.get(key)]
    return f"`{program} --only {name}`: {section['date']}; {told}; {', '.join(used)}."


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def spread(value: Mapping[str, float] | float | None, digits: int = 3) -> str:
    """Write a figure, or mean and range of several runs."""
    if not isinstance(value, Mapping):
        return number(value, digits)
    mean, low, high = (number(value[key], digits) for key in ("mean", "min", "max"))
    return mean if low == high else f"{mean} ({low} to {high})"


def told_seconds(value: Mapping[str, float] | float | None) -> str:
    """Write a time; of several runs its mean."""
    mean = value["mean"] if isinstance(value, Mapping) else value
    if mean is None:
        return "-"
    return f"{mean:.0f} s" if mean >= 20 else f"{mean:.1f} s" if mean >= 2 else f"{mean:.2f} s"


def told_gigabytes(value: Mapping[str, float] | float | None) -> str:
    """Write memory; of several runs the most."""
    mean = value["max"] if isinstance(value, Mapping) else value
    return "-" if mean is None else f"{mean:.2f} GB"


def table_row(*cells: str) -> str:
    """Write a row of a table."""
    return f"| {' | '.join(cells)} |"


def table_head(*cells: str) -> list[str]:
    """Write the head of a table."""
    return [table_row(*cells), table_row(*["---"] * len(cells))]
