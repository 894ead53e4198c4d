"""Tables of the picking benchmark in docs/benchmarks.md, from its record ``picking.json``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import sections
from sections import number, spread, table_head, table_row, told_gigabytes, told_seconds

PROGRAM, TARGET = "picking.py", "bench-picking"


def tables(record: Mapping[str, Any], others: Mapping[str, ModuleType | None]) -> list[str]:
    """Tables of all sections of a record, as lines of Markdown.

    Parameters
    ----------
    record : mapping
        Of `sections.merge`.
    others : mapping of str to (module or None)
        Programs whose function ``table(figures) -> list of str`` makes the lines of their section.
    """
    theirs = {name: module.table for name, module in others.items() if hasattr(module, "table")}
    return sections.tables(PROGRAM, record, TITLES, {**theirs, **OWN})


def _accuracy(figures: Mapping[str, Any]) -> list[str]:
    """Tables of accuracy: on all scored micrographs, and on those that published picks have."""
    quality = ("precision", "recall", "f1", "average_precision", "best_f1")
    columns = ["picker", "precision", "recall", "F1 at default threshold", "average precision"]
    columns += ["best F1 of any threshold", "median localisation error"]
    columns += ["the same without the mean offset"]
    costs = ["training (CPU)", "picking, a micrograph (CPU)", "peak memory of picking"]
    lines = table_head(*columns, *costs)
    for label, row in figures["pickers"].items():
        if row is None or row["all"] is None:
            continue
        found = row["all"]
        lines.append(
            table_row(
                label,
                *[spread(found.get(key)) for key in quality],
                _error(found, "localisation"),
                _error(found, "centred_localisation"),
                _pair(row["training"], "seconds", "cpu_seconds"),
                _pair(row["picking"], "seconds", "cpu_seconds"),
                told_gigabytes(row["picking"] and row["picking"]["peak_gb"]),
            )
        )
    lines += ["", "Costs of picking are those of one run over all of them, start included."]
    names = ", ".join(figures["published_micrographs"])
    lines += [
        "",
        f"The same on the scored micrographs that the published picks have ({names}):",
        "",
    ]
    lines += table_head(*columns)
    for label, row in figures["pickers"].items():
        if row is not None:
            found = row["published"]
            cells = [spread(found.get(key)) for key in quality]
            errors = [_error(found, key) for key in ("localisation", "centred_localisation")]
            lines.append(table_row(label, *cells, *errors))
    return lines


def _error(found: Mapping[str, Any], which: str) -> str:
    error, share = (found.get(f"median_{which}_{key}") for key in ("error", "share"))
    if error is None or share is None:
        return "-"
    if isinstance(error, Mapping):
        error, share = error["mean"], share["mean"]
    return f"{error:.1f} Å ({100 * share:.1f} %)"


def _pair(costs: Mapping[str, Any] | None, one: str, other: str) -> str:
    return "-" if costs is None else f"{told_seconds(costs[one])} ({told_seconds(costs[other])})"


def _timing(figures: Mapping[str, Any]) -> list[str]:
    lines = table_head("picker", "a micrograph", "of CPU time", "start, once a run", "peak memory")
    for label, row in figures["pickers"].items():
        if row is not None:
            middle = row["median"]
            cells = [told_seconds(middle[k]) for k in ("seconds", "cpu_seconds", "start_seconds")]
            lines.append(table_row(label, *cells, told_gigabytes(middle["peak_gb"])))
    return [*lines, "", *_steps(figures["steps"])]


def _steps(steps: Mapping[str, Any]) -> list[str]:
    spent = [f"{name} {1000 * seconds:.0f} ms" for name, seconds in steps["seconds"].items()]
    return [f"apbc's steps, each by itself, on {steps['device']}: {', '.join(spent)}."]


def _calibration(figures: Mapping[str, Any]) -> list[str]:
    promises = figures["promises"]
    lines = table_head(
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
        lines.append(table_row(label, number(row["calibration_error"]), *cells))
    return lines


def _gpu(figures: Mapping[str, Any]) -> list[str]:
    lines = table_head("figure", "measured")
    lines.append(table_row("micrographs a second, end to end", number(figures["per_second"], 1)))
    lines.append(table_row("start, once a run", told_seconds(figures["start_seconds"])))
    share = figures["network_share"]
    lines.append(table_row("time of the network by itself, share of the whole", f"{share:.0%}"))
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
