"""One report of several methods: page, table, picture and leaderboard."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.errors import ApbcError
from apbc.io.files import atomic_path, write_json, write_text
from apbc.metrics.bootstrap import COVERAGE, RESAMPLES, Difference, paired_bootstrap
from apbc.metrics.catalogue import (
    METRIC_SENTENCES,
    METRIC_TITLES,
    Meaning,
    figure_text,
    meaning_of,
)
from apbc.metrics.groups import Entry, Group, parameter_text, table_of
from apbc.metrics.record import write_table
from apbc.metrics.report_picture import draw_comparison

FloatArray = npt.NDArray[np.float64]

PAGE, FIGURES_TABLE, PAIRS_TABLE = "report.html", "report.csv", "significance.csv"
PICTURE, LEADERBOARD, RECORD = "comparison.png", "leaderboard.json", "report.json"
FORMAT = "apbc leaderboard 1"


@dataclass(frozen=True)
class Items:
    """Where a metric keeps its figure of each item.

    Attributes
    ----------
    table : str
    keys : tuple of str
        Columns that name the item; a path counts by its last part.
    value : str
    label : str
        What a page calls the value.
    better : str
    """

    table: str
    keys: tuple[str, ...]
    value: str
    label: str
    better: str


ITEMS = {
    "fsc": Items(
        "pairs.csv",
        ("reference", "class", "image"),
        "auc_over_ceiling",
        "the area under the FSC (share of the largest)",
        "higher",
    ),
    "pose": Items("images.csv", ("id",), "angle_deg", "the rotation error (°)", "lower"),
    "neighbours": Items(
        "points.csv",
        ("id",),
        "similarity_5pct",
        "the shared neighbours among the nearest 5 % (%)",
        "higher",
    ),
}


@dataclass(frozen=True)
class Comparison:
    """Two methods on the items that both have.

    Attributes
    ----------
    group : Group
    first, second : str
    items : Items
    difference : Difference
    """

    group: Group
    first: str
    second: str
    items: Items
    difference: Difference

    @property
    def winner(self) -> str | None:
        """The better method, if the interval leaves 0 out."""
        if self.difference.low <= 0 <= self.difference.high:
            return None
        first_is_higher = self.difference.difference > 0
        return self.first if first_is_higher == (self.items.better == "higher") else self.second


def compare_methods(groups: Sequence[Group], seed: int = 0) -> list[Comparison]:
    """Compare every two methods of a metric on the items that both have.

    Parameters
    ----------
    groups : sequence of Group
    seed : int, optional

    Returns
    -------
    list of Comparison
    """
    comparisons = []
    for group in groups:
        items = ITEMS.get(group.metric)
        if items is None or len(group.entries) < 2:
            continue
        values = {method: _item_values(entry, items) for method, entry in group.entries.items()}
        for first, second in combinations(group.entries, 2):
            shared = [key for key in values[first] if key in values[second]]
            pairs = np.array([(values[first][key], values[second][key]) for key in shared])
            pairs = pairs.reshape(-1, 2)
            difference = paired_bootstrap(pairs[:, 0], pairs[:, 1], seed)
            if difference is not None:
                comparisons.append(Comparison(group, first, second, items, difference))
    return comparisons


def _item_values(entry: Entry, items: Items) -> dict[tuple[str, ...], float]:
    """Figure of each item of a record; items with no figure, or with one name, are left out."""
    if items.table not in entry.record.tables:
        return {}
    table = table_of(entry, items.table)
    if items.value not in table:
        return {}
    names = [
        [cell.rpartition("/")[2] for cell in table.text(key)] for key in items.keys if key in table
    ]
    keys = list(zip(*names, strict=True))
    cells = table.text(items.value)
    values = {key: float(cell) for key, cell in zip(keys, cells, strict=True) if cell}
    return values if len(set(keys)) == len(keys) else {}


def write_report(folder: str | Path, groups: Sequence[Group], seed: int = 0) -> None:
    """Write ``report.html``, ``report.csv``, ``comparison.png``, ``leaderboard.json`` and more.

    Parameters
    ----------
    folder : str or Path
    groups : sequence of Group
    seed : int, optional
        Of the bootstrap.

    Raises
    ------
    ApbcError
        If a table or picture of a record has gone, or the folder cannot be written.
    """
    folder = Path(folder)
    methods = list(dict.fromkeys(method for group in groups for method in group.entries))
    comparisons = compare_methods(groups, seed)
    picture = draw_comparison(groups, methods)
    page = _page(groups, methods, comparisons, picture)
    write_table(folder / FIGURES_TABLE, _figure_columns(groups, methods))
    tables = [FIGURES_TABLE]
    if comparisons:
        write_table(folder / PAIRS_TABLE, _pair_columns(comparisons))
        tables.append(PAIRS_TABLE)
    _write_bytes(folder / PICTURE, picture)
    write_json(folder / LEADERBOARD, leaderboard(groups, methods, comparisons))
    write_text(folder / PAGE, page)
    told = [_told(comparison) for comparison in comparisons]
    write_json(folder / RECORD, {"told": told, "pictures": [PICTURE], "tables": tables})


def leaderboard(
    groups: Sequence[Group], methods: Sequence[str], comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """All figures with their meaning, for other programs.

    Parameters
    ----------
    groups : sequence of Group
    methods : sequence of str
    comparisons : sequence of Comparison

    Returns
    -------
    dict
        ``format``, ``apbc_version``, ``methods``, ``metrics`` (``metric``, ``variant``,
        ``parameters`` by method, ``figures``: ``label``, ``unit``, ``better``, ``headline``,
        ``values`` by method, ``ranking``) and ``significance``.
    """
    return {
        "format": FORMAT,
        "apbc_version": __version__,
        "methods": list(methods),
        "metrics": [
            {
                "metric": group.metric,
                "variant": group.variant,
                "parameters": {m: e.record.parameters for m, e in group.entries.items()},
                "figures": {key: _leaders(group, key) for key in group.keys},
            }
            for group in groups
        ],
        "significance": [
            {
                "metric": one.group.metric,
                "variant": one.group.variant,
                "figure": one.items.value,
                "first": one.first,
                "second": one.second,
                "winner": one.winner,
                **vars(one.difference),
            }
            for one in comparisons
        ],
    }


def _leaders(group: Group, key: str) -> dict[str, Any]:
    meaning = meaning_of(group.metric, key)
    values = {method: group.value(method, key) for method in group.entries}
    known = [method for method, value in values.items() if value is not None]
    ranking = sorted(
        known, key=lambda method: values[method] or 0.0, reverse=meaning.better == "higher"
    )
    return {
        "label": meaning.label,
        "unit": meaning.unit,
        "better": meaning.better,
        "headline": meaning.headline,
        "values": values,
        # Without a value a method may be better than all: a curve that never falls.
        "ranking": ranking if meaning.better and len(known) == len(values) else [],
    }


def _figure_columns(groups: Sequence[Group], methods: Sequence[str]) -> dict[str, list[Any]]:
    rows = [(group, key, meaning_of(group.metric, key)) for group in groups for key in group.keys]
    return {
        "metric": [group.metric for group, _, _ in rows],
        "variant": [group.variant for group, _, _ in rows],
        "figure": [key for _, key, _ in rows],
        "label": [meaning.label for _, _, meaning in rows],
        "unit": [meaning.unit for _, _, meaning in rows],
        "better": [meaning.better for _, _, meaning in rows],
        # After the fixed columns, so that a method called "metric" does not overwrite one.
        **{
            f"method {method}": [group.value(method, key) for group, key, _ in rows]
            for method in methods
        },
    }


def _pair_columns(comparisons: Sequence[Comparison]) -> dict[str, list[Any]]:
    return {
        "metric": [one.group.metric for one in comparisons],
        "variant": [one.group.variant for one in comparisons],
        "figure": [one.items.value for one in comparisons],
        "first": [one.first for one in comparisons],
        "second": [one.second for one in comparisons],
        "items": [one.difference.items for one in comparisons],
        "mean_first": [one.difference.first for one in comparisons],
        "mean_second": [one.difference.second for one in comparisons],
        "difference": [one.difference.difference for one in comparisons],
        "low": [one.difference.low for one in comparisons],
        "high": [one.difference.high for one in comparisons],
        "p": [one.difference.p for one in comparisons],
        "better": [one.winner or "" for one in comparisons],
    }


def _told(one: Comparison) -> str:
    """Tell a comparison in a sentence."""
    found = one.difference
    title = METRIC_TITLES.get(one.group.metric, one.group.metric)
    numbers = (
        f"difference {found.difference:.3g}, {COVERAGE:.0%} interval {found.low:.3g} to "
        f"{found.high:.3g}, {found.items} items"
    )
    if one.winner is None:
        return f"{title}: {one.first} and {one.second} do not differ clearly ({numbers})."
    other = one.second if one.winner == one.first else one.first
    return f"{title}: {one.winner} is better than {other} ({numbers})."


# ------------------------------------ page ------------------------------------

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;max-width:1200px;
  margin:2em auto;padding:0 1em}
h1{font-size:1.7em}h2{margin-top:2.2em;border-top:2px solid #e3e7ea;padding-top:.8em}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1em 0}
th,td{padding:.25em .8em;border-bottom:1px solid #e3e7ea;text-align:right;vertical-align:top}
th:first-child,td.words{text-align:left}td.words{color:#5c6670;font-size:.88em;max-width:34em}
td.best{font-weight:700;color:#00623f}p.note{color:#5c6670}img{max-width:100%}
figure{display:inline-block;margin:.6em 0;max-width:100%;vertical-align:top}
.side figure{max-width:49%;margin-right:.5%}figcaption{color:#5c6670}
details{margin:1em 0}code{font-size:.9em}
"""


def _page(
    groups: Sequence[Group],
    methods: Sequence[str],
    comparisons: Sequence[Comparison],
    picture: bytes,
) -> str:
    """Write everything on one page that needs no other file."""
    sections = "".join(_section(group, comparisons) for group in groups)
    names = ", ".join(html.escape(method) for method in methods)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>apbc metrics</title>"
        f"<style>{STYLE}</style></head><body><h1>Methods against the ground truth</h1>"
        f"<p>{len(methods)} method{'s' if len(methods) > 1 else ''}: {names}. apbc {__version__}. "
        "The best figure of a row is bold where one is better than another.</p>"
        f"{_summary(groups, methods)}{_image(picture, 'All methods side by side')}{sections}"
        f"{_parameters(groups)}</body></html>\n"
    )


def _summary(groups: Sequence[Group], methods: Sequence[str]) -> str:
    """Write the table of headline figures."""
    rows = [
        _row(group, key, methods, f"{METRIC_TITLES.get(group.metric, group.metric)}: ")
        for group in groups
        for key in group.keys
        if meaning_of(group.metric, key).headline
    ]
    return _table(methods, rows) if rows else ""


def _section(group: Group, comparisons: Sequence[Comparison]) -> str:
    methods = list(group.entries)
    rows, last = [], ""
    for key in group.keys:
        rows.append(_row(group, key, methods, told_above=last))
        last = _words(meaning_of(group.metric, key))
    parts = [
        f"<h2>{html.escape(group.title)}</h2>",
        f"<p>{html.escape(METRIC_SENTENCES.get(group.metric, ''))}</p>",
        _table(methods, rows),
    ]
    differing = group.differing_options()
    if differing:
        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in differing)
        parts.append(
            "<p><b>Measured with different options</b>, so the figures may not compare:</p>"
            f"<ul>{items}</ul>"
        )
    mine = [one for one in comparisons if one.group is group]
    if mine:
        items = "".join(f"<li>{html.escape(_told(one))}</li>" for one in mine)
        parts.append(
            f"<p>Paired bootstrap ({RESAMPLES} resamples) of {html.escape(mine[0].items.label)} "
            "over the items that two methods share; the interval is of the difference of the "
            "means.</p>"
            f"<ul>{items}</ul>"
        )
    # The same picture of all methods stands side by side.
    pictures = dict.fromkeys(n for e in group.entries.values() for n in e.record.pictures)
    parts.append("<div class=side>" if len(methods) > 1 else "<div>")
    for name in pictures:
        for method, entry in group.entries.items():
            if name not in entry.record.pictures:
                continue
            path = entry.folder / name
            if not path.is_file():
                raise ApbcError(f"{path} has gone; run apbc metrics {group.metric} again")
            parts.append(_image(path.read_bytes(), method))
    return "".join([*parts, "</div>"])


def _row(
    group: Group, key: str, methods: Sequence[str], before: str = "", told_above: str = ""
) -> str:
    meaning = meaning_of(group.metric, key)
    best = group.best(key)
    words = "" if _words(meaning) == told_above else _words(meaning)
    cells = "".join(
        f"<td{' class=best' if method == best else ''}>"
        f"{html.escape(_value(group, method, key))}</td>"
        for method in methods
    )
    return (
        f"<tr><th title='{html.escape(key)}'>{html.escape(before + _label(meaning))}</th>{cells}"
        f"<td class=words>{html.escape(words)}</td></tr>"
    )


def _value(group: Group, method: str, key: str) -> str:
    entry = group.entries.get(method)
    if entry is None or key not in entry.record.figures:
        return "-"
    return figure_text(entry.record.figures[key])


def _label(meaning: Meaning) -> str:
    return f"{meaning.label} ({meaning.unit})" if meaning.unit else meaning.label


def _words(meaning: Meaning) -> str:
    better = f"{meaning.better.capitalize()} is better. " if meaning.better else ""
    return better + meaning.sentence


def _table(methods: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(method)}</th>" for method in methods)
    body = "".join(rows)
    return f"<div class=wide><table><tr><th></th>{head}<th></th></tr>{body}</table></div>"


def _image(data: bytes, caption: str) -> str:
    inline = base64.b64encode(data).decode()
    return (
        f"<figure><img alt='{html.escape(caption, quote=True)}' "
        f"src='data:image/png;base64,{inline}'><figcaption>{html.escape(caption)}</figcaption>"
        "</figure>"
    )


def _parameters(groups: Sequence[Group]) -> str:
    items = "".join(
        f"<li>{html.escape(group.title)}, {html.escape(method)} "
        f"({html.escape(str(entry.folder))}): <code>"
        + html.escape(
            ", ".join(f"{k} {parameter_text(v)}" for k, v in entry.record.parameters.items())
        )
        + "</code></li>"
        for group in groups
        for method, entry in group.entries.items()
    )
    return f"<h2>What was measured with what</h2><ul>{items}</ul>"


def _write_bytes(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
