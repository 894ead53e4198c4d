"""The table of a search of training settings: page, picture and CSV, from its record.

What is drawn are the values of ``search.json`` as JSON gives them.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from matplotlib.figure import Figure

from apbc.display.tables import STYLE, Row, csv_table, html_table
from apbc.display.training import BLUE, GRID, INK, ORANGE, PALE, TEAL
from apbc.io.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, PICTURE, PAGE = "search.csv", "search.png", "search.html"
DEFAULTS = "defaults"
DOTS = 110  # dots per inch
EXPLAINED = (
    "Labels hold a part of the particles alone, so a pick without a label may be right, and "
    "precision and recall cannot be counted. But at equal numbers of picks the settings that find "
    "more of the good labels find more particles, and are better in precision, recall and F1 "
    "alike, as far as the labels are a fair sample of the particles. The measure is the share of "
    "good labels found less the share of bad labels picked (each bad label weighs as much as a "
    "good one, and all together at most as much as all the good ones), as candidates of all "
    "validation micrographs are picked from the best score down: the mean over {low:.0f} to "
    "{high:.0f} picks a micrograph, which is half to twice the number of particles that the "
    "first training expects there ({particles:.0f}). The noise of a difference is twice its "
    "standard error, from label by label differences and from trainings that differ by their "
    "seed alone."
)


def sentences(record: Mapping[str, Any]) -> list[str]:
    """Tell what a search found.

    Parameters
    ----------
    record : dict
        Contents of ``search.json``.
    """
    rows = {row["settings"]: row for row in record["trials"]}
    chosen, leader = record["chosen"], record["leader"]
    told = []
    if chosen != DEFAULTS:
        told.append(
            f"The model is trained with {chosen}: better than the defaults by "
            f"{rows[chosen]['difference']:.3f}, with a noise of {rows[chosen]['noise']:.3f}."
        )
    elif leader == DEFAULTS:
        told.append("The defaults stay: no other settings found more.")
    elif rows[leader]["verdict"] == "within noise":
        told.append(
            f"The defaults stay: the best other settings ({leader}) differ by "
            f"{rows[leader]['difference']:.3f}, which is within the noise of "
            f"{rows[leader]['noise']:.3f}."
        )
    else:
        told.append(
            f"The defaults stay: {leader} was better by {rows[leader]['difference']:.3f}, "
            "but has not been repeated with a second seed yet."
        )
    trainings = sum(row["trainings"] for row in record["trials"])
    told.append(
        f"{trainings} training{'s' if trainings > 1 else ''} with {len(rows)} settings, measured "
        f"on {_count(record['micrographs'], 'validation micrograph')} with "
        f"{_count(record['good_labels'], 'good label')} and "
        f"{_count(record['bad_labels'], 'bad label')}."
    )
    if record["failed"]:
        told += [f"{name} failed: {why}." for name, why in record["failed"].items()]
    if not record["finished"]:
        told.append("The search is not complete: the same command goes on with it.")
    test = record["test"]
    if test is not None:
        bad = "" if test["bad_picked"] is None else f" and {test['bad_picked']:.0%} of the bad ones"
        told.append(
            f"On {_count(test['micrographs'], 'test micrograph')}, which chose nothing, the "
            f"chosen settings find {test['good_found']:.0%} of {test['good_labels']} good "
            f"labels{bad} in {record['particles']:.0f} picks a micrograph (measure "
            f"{test['measure']:.3f})."
        )
    return told


def write_pages(folder: Path, record: Mapping[str, Any]) -> str:
    """Write ``search.csv``, ``search.png`` and ``search.html``.

    Parameters
    ----------
    folder : Path
    record : dict
        Contents of ``search.json``.

    Returns
    -------
    str
        Sentences and table as HTML, for the report of the model.

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    rows = make_table(record)
    picture = io.BytesIO()
    draw(record).savefig(picture, dpi=DOTS, format="png")
    write_text(folder / TABLE, csv_table(rows))
    with atomic_path(folder / PICTURE) as temporary:
        temporary.write_bytes(picture.getvalue())
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences(record))
    low, high = record["window"]
    explained = EXPLAINED.format(low=low, high=high, particles=record["particles"])
    section = f"<ul>{items}</ul>{html_table(rows)}<p>{html.escape(explained)}</p>"
    image = base64.b64encode(picture.getvalue()).decode()
    write_text(
        folder / PAGE,
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Search of training "
        f"settings</title><style>{STYLE}</style></head><body><h1>Search of training settings</h1>"
        f"{section}<img alt='measures and curves' src='data:image/png;base64,{image}'>"
        f"<p>Data set {html.escape(record['data_hash'][:12])}; apbc "
        f"{html.escape(record['apbc_version'])}. Settings that were given and not searched: "
        f"{html.escape(', '.join(record['fixed']).replace('_', ' ') or 'none')}.</p>"
        "</body></html>\n",
    )
    return f"<h2>Search of training settings</h2>{section}"


def make_table(record: Mapping[str, Any]) -> list[Row]:
    """Rows of the table, best first.

    Returns
    -------
    list of dict
    """
    return [
        {
            "settings": row["settings"],
            "chosen": "yes" if row["settings"] == record["chosen"] else "",
            "verdict": row["verdict"],
            "measure": row["measure"],
            "difference": row["difference"],
            "noise": row["noise"],
            "good_found": row["good_found"],
            "bad_picked": row["bad_picked"],
            "trainings": row["trainings"],
            "best_epoch": "/".join(map(str, row["best_epochs"])),
            "seconds": round(row["seconds"]),
        }
        for row in record["trials"]
    ]


def draw(record: Mapping[str, Any]) -> Figure:
    """Draw the measures with their noise, and how labels are found.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.1))
    _draw_measures(figure.add_subplot(grid[0]), record["trials"], record["chosen"])
    _draw_curves(figure.add_subplot(grid[1]), record)
    return figure


def _draw_measures(axes: Axes, rows: Sequence[Mapping[str, Any]], chosen: str) -> None:
    """Draw the difference of all settings from the defaults, best on top."""
    axes.axvline(0, color=PALE, lw=1, ls="--")
    for place, row in enumerate(rows):
        colour = _colour(row["settings"], chosen)
        if row["noise"] is not None:
            axes.errorbar(row["difference"], place, xerr=row["noise"], color=colour, lw=2)
        axes.plot(row["difference"], place, "o", color=colour, ms=8)
    axes.set_yticks(range(len(rows)), [row["settings"].replace(", ", ",\n") for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    _style(axes, "Difference from the defaults", "difference of the measure; the bar is its noise")


def _draw_curves(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw the shares of labels found by the number of picks."""
    low, high = record["window"]
    axes.axvspan(low, high, color=GRID, lw=0, zorder=0, label="what the measure counts")
    named = dict.fromkeys([DEFAULTS, record["chosen"], record["leader"]])
    for row in record["trials"]:
        name = row["settings"]
        colour = _colour(name, record["chosen"]) if name in named else PALE
        label = name if name in named else None
        width, alpha = (2.2, 1.0) if name in named else (1.0, 0.5)
        axes.plot(
            record["picks"], row["curve"]["good"], color=colour, lw=width, alpha=alpha, label=label
        )
        if record["bad_labels"]:
            axes.plot(
                record["picks"], row["curve"]["bad"], color=colour, lw=width, alpha=alpha, ls=":"
            )
    if record["bad_labels"]:
        axes.plot([], [], color=INK, ls=":", label="bad labels picked")
    axes.set(xlim=(0, record["picks"][-1]), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
    _style(axes, "Labels found", "picks per micrograph, best scores first")
    axes.set_ylabel("share of labels", color=INK)


def _colour(settings: str, chosen: str) -> str:
    if settings == DEFAULTS:
        return BLUE
    return TEAL if settings == chosen else ORANGE


def _style(axes: Axes, title: str, across: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(across, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(color=PALE, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
