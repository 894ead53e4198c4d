"""The picking benchmark's record, ``picking.json``, and its tables in docs/benchmarks.md.

Every figure between the markers of the page is taken from the record, and nothing else is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from apbc.errors import ApbcError
from apbc.io.files import write_json, write_text

BEGIN, END = "<!-- bench-picking: begin -->", "<!-- bench-picking: end -->"
NONE = "not measured"


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


def write_tables(page: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the markers of a page.

    Raises
    ------
    ApbcError
        If the page has not both of them, once and in order.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ApbcError(f"{page} needs one line {BEGIN} and after it one line {END}")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    body = "\n".join(lines).strip("\n")
    write_text(page, f"{before}{BEGIN}\n\n{body}\n\n{after}")


def tables(record: Mapping[str, Any], others: Mapping[str, ModuleType | None]) -> list[str]:
    """Tables of all sections of a record, as lines of Markdown.

    Parameters
    ----------
    record : mapping
        Of `merge`.
    others : mapping of str to (module or None)
        Programs whose function ``table(figures) -> list of str`` makes the lines of their section.
    """
    lines: list[str] = []
    for name, title in TITLES.items():
        section = record.get(name)
        if section is None:
            continue
        lines += [f"### {title}", "", _origin(name, section), ""]
        figures = section["figures"]
        if figures is None:
            lines += [f"{NONE.capitalize()}.", ""]
        elif name in OWN:
            lines += [*OWN[name](figures), ""]
        else:
            module = others.get(name)
            if hasattr(module, "table"):
                lines += [*module.table(figures), ""]  # type: ignore[union-attr]
        if section["not_measured"]:
            gaps = [f"{what} ({why})" for what, why in section["not_measured"].items()]
            lines += [f"Not measured: {'; '.join(gaps)}.", ""]
    return lines


def _origin(name: str, section: Mapping[str, Any]) -> str:
    """Tell where, when and with what a section was measured."""
    machine, programs = section["machine"], section["versions"]
    told = f"{machine['class']}, {machine['cpu_cores']} CPU cores, {machine['memory_gib']} GiB"
    if machine["gpu"] != "none":
        told += f", {machine['gpu']}"
    names = [("apbc", "apbc"), ("tensorflow", "TensorFlow"), ("relion", "Relion")]
    names += [("topaz-em", "Topaz")]
    used = [f"{label} {programs[key]}" for key, label in names if programs.get(key)]
    return f"`picking.py --only {name}`: {section['date']}; {told}; {', '.join(used)}."


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def spread(value: Mapping[str, float] | float | None, digits: int = 3) -> str:
    """Write a figure, or mean and range of several runs."""
    if not isinstance(value, Mapping):
        return number(value, digits)
    mean, low, high = (number(value[key], digits) for key in ("mean", "min", "max"))
    return mean if low == high else f"{mean} ({low} to {high})"


def _seconds(value: Mapping[str, float] | float | None) -> str:
    mean = value["mean"] if isinstance(value, Mapping) else value
    if mean is None:
        return "-"
    return f"{mean:.0f} s" if mean >= 20 else f"{mean:.1f} s" if mean >= 2 else f"{mean:.2f} s"


def _gigabytes(value: Mapping[str, float] | float | None) -> str:
    mean = value["max"] if isinstance(value, Mapping) else value
    return "-" if mean is None else f"{mean:.2f} GB"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row(*["---"] * len(cells))]


def _accuracy(figures: Mapping[str, Any]) -> list[str]:
    """Tables of accuracy: on all scored micrographs, and on those that published picks have."""
    quality = ("precision", "recall", "f1", "average_precision", "best_f1")
    head = ["picker", "precision", "recall", "F1 at default threshold", "average precision"]
    head += ["best F1 of any threshold", "median localisation error"]
    head += ["the same without the mean offset"]
    costs = ["training (CPU)", "picking, a micrograph (CPU)", "peak memory of picking"]
    lines = _head(*head, *costs)
    for label, row in figures["pickers"].items():
        if row is None or row["all"] is None:
            continue
        found = row["all"]
        lines.append(
            _row(
                label,
                *[spread(found.get(key)) for key in quality],
                _error(found, "localisation"),
                _error(found, "centred_localisation"),
                _pair(row["training"], "seconds", "cpu_seconds"),
                _pair(row["picking"], "seconds", "cpu_seconds"),
                _gigabytes(row["picking"] and row["picking"]["peak_gb"]),
            )
        )
    lines += ["", "Costs of picking are those of one run over all of them, start included."]
    names = ", ".join(figures["published_micrographs"])
    lines += [
        "",
        f"The same on the scored micrographs that the published picks have ({names}):",
        "",
    ]
    lines += _head(*head)
    for label, row in figures["pickers"].items():
        if row is not None:
            found = row["published"]
            cells = [spread(found.get(key)) for key in quality]
            errors = [_error(found, key) for key in ("localisation", "centred_localisation")]
            lines.append(_row(label, *cells, *errors))
    return lines


def _error(found: Mapping[str, Any], which: str) -> str:
    error, share = (found.get(f"median_{which}_{key}") for key in ("error", "share"))
    if error is None or share is None:
        return "-"
    if isinstance(error, Mapping):
        error, share = error["mean"], share["mean"]
    return f"{error:.1f} Å ({100 * share:.1f} %)"


def _pair(costs: Mapping[str, Any] | None, one: str, other: str) -> str:
    return "-" if costs is None else f"{_seconds(costs[one])} ({_seconds(costs[other])})"


def _timing(figures: Mapping[str, Any]) -> list[str]:
    lines = _head("picker", "a micrograph", "of CPU time", "start, once a run", "peak memory")
    for label, row in figures["pickers"].items():
        if row is not None:
            middle = row["median"]
            cells = [_seconds(middle[k]) for k in ("seconds", "cpu_seconds", "start_seconds")]
            lines.append(_row(label, *cells, _gigabytes(middle["peak_gb"])))
    return [*lines, "", *_steps(figures["steps"])]


def _steps(steps: Mapping[str, Any]) -> list[str]:
    spent = [f"{name} {1000 * seconds:.0f} ms" for name, seconds in steps["seconds"].items()]
    return [f"apbc's steps, each by itself, on {steps['device']}: {', '.join(spent)}."]


def _calibration(figures: Mapping[str, Any]) -> list[str]:
    promises = figures["promises"]
    lines = _head(
        "model",
        "expected calibration error",
        *[f"asked for {p:.0%}: precision, recall" for p in promises],
    )
    for label, row in figures["models"].items():
        if row is None:
            continue
        cells = []
        for asked in row["promised"]:
            pair = [number(asked[key]) for key in ("precision", "recall")] if asked else ["-"]
            cells.append(", ".join(pair))
        lines.append(_row(label, number(row["calibration_error"]), *cells))
    return lines


def _gpu(figures: Mapping[str, Any]) -> list[str]:
    lines = _head("figure", "measured")
    lines.append(_row("micrographs a second, end to end", number(figures["per_second"], 1)))
    lines.append(_row("start, once a run", _seconds(figures["start_seconds"])))
    share = figures["network_share"]
    lines.append(_row("time of the network by itself, share of the whole", f"{share:.0%}"))
    return [*lines, "", *_steps(figures["steps"])]


TITLES = {
    "accuracy": "Accuracy, fair split",
    "timing": "Time and memory of picking",
    "calibration": "What scores promise",
    "labels": "Few, wrong and one-sided labels",
    "ladder": "Simulated micrographs of rising difficulty",
    "classes": "What Relion's 2D classes say",
    "ceiling": "The ceiling of the expert truth",
    "gpu": "On a GPU",
}
OWN = {"accuracy": _accuracy, "timing": _timing, "calibration": _calibration, "gpu": _gpu}
