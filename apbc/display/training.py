"""Figures of a training, drawn from the plain files that it leaves.

One drawing serves the engine's report and the viewer in Scipion. What is drawn are the
values of ``report.json``, ``card.json``, ``crops.json`` and ``state.json`` as JSON gives them.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.table import Table

INK, PALE, GRID = "#1b1f24", "#5c6670", "#e3e7ea"
BLUE, ORANGE, TEAL = "#0072b2", "#d55e00", "#009e73"
CANDIDATES = "#c3cad1"
LABEL_COLOURS = {"good": BLUE, "bad": ORANGE}
STYLES = ("-", "--", "-.", ":")
REFIT_PREFIX = "all_"
FEWEST_LABELS = 10  # of a bin of the reliability curve
MARKED_EPOCHS = 20
SENTENCE_WIDTH = 46
MOST_ROWS, ROW_HEIGHT = 12, 0.075
GAP = 0.08  # between crops, of their side
TABLE_ROWS = (
    ("samples", "samples"),
    ("accuracy", "accuracy"),
    ("true positives", "tp"),
    ("true negatives", "tn"),
    ("false positives", "fp"),
    ("false negatives", "fn"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("area under ROC", "auc"),
    ("calibration error", "calibration_error"),
)


def draw_curves(axes: Axes, fits: Sequence[Mapping[str, Any]], key: str, title: str) -> None:
    """Draw a figure by epoch, of training and validation and of every network.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    fits : sequence of dict
        ``name`` (``split_N``, or ``all_N`` for the refit), ``history`` (one dict an epoch)
        and ``best_epoch`` of each fit.
    key : str
        ``loss`` or ``accuracy``; ``val_`` before it is validation.
    title : str
    """
    drawn: dict[str, str] = {}
    best = {_member(fit): fit.get("best_epoch") for fit in fits if not is_refit(fit)}
    for fit in fits:
        history, member = fit["history"], _member(fit)
        style = STYLES[(member - 1) % len(STYLES)]
        if is_refit(fit):
            begin = best.get(member) or 0
            _line(axes, history, key, begin, TEAL, style)
            drawn["refit on all labels"] = TEAL
            continue
        _line(axes, history, key, 0, BLUE, style)
        drawn["training"] = BLUE
        if _line(axes, history, f"val_{key}", 0, ORANGE, style):
            drawn["validation"] = ORANGE
            _mark_best(axes, history, f"val_{key}", best[member])
    handles = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in drawn.items()]
    if "validation" in drawn and any(best.values()):
        handles.append(
            Line2D([], [], color=ORANGE, marker="o", mfc="white", lw=0, label="best epoch")
        )
    if len(best) > 1:
        handles += [
            Line2D([], [], color=PALE, ls=STYLES[(m - 1) % len(STYLES)], label=f"network {m}")
            for m in sorted(best)
        ]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if handles:
        axes.legend(handles=handles, frameon=False, fontsize=9, labelcolor=INK)
    _style(axes, title, "epoch", key)


def draw_table(axes: Axes, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the figures of each split as a table.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    metrics : dict
        As ``card.json`` has them: figures by the name of the split.
    """
    parts = list(metrics)
    cells = [[figure_text(metrics[p].get(key)) for p in parts] for _, key in TABLE_ROWS]
    table = axes.table(
        cellText=cells,
        rowLabels=[label for label, _ in TABLE_ROWS],
        colLabels=parts,
        bbox=Bbox.from_bounds(0, 0, 1, 0.97),
    )
    _style_table(table)
    axes.set_axis_off()
    _title(axes, "Labels, called good from score 0.5")


def draw_rows(axes: Axes, heads: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Draw a small table under its heads, with a title.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    heads : sequence of str
    rows : sequence of sequence of str
        At most `MOST_ROWS` are drawn; a last line tells how many more there are.
    title : str
    """
    shown = [list(row) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        shown.append([f"{len(rows) - MOST_ROWS} more", *[""] * (len(heads) - 1)])
    height = min(0.97, ROW_HEIGHT * (len(shown) + 1))
    table = axes.table(
        cellText=shown,
        colLabels=list(heads),
        bbox=Bbox.from_bounds(0, 0.97 - height, 1, height),
    )
    _style_table(table)
    axes.set_axis_off()
    _title(axes, title)


def _style_table(table: Table) -> None:
    """Give a table the look of all figures here."""
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor(GRID)
        cell.set_text_props(color=INK, weight="bold" if row == 0 else "normal")
        cell.get_text().set_horizontalalignment("left" if column < 0 else "right")


def draw_precision_recall(axes: Axes, report: Mapping[str, Any]) -> None:
    """Draw precision against recall on the labels of the reported split."""
    curve = report["precision_recall"]
    if curve is None:
        say(axes, "There is no curve: the split has labels of one kind only.")
    else:
        told = f"average precision {curve['average_precision']:.3f}"
        axes.plot(curve["recall"], curve["precision"], color=BLUE, lw=2, label=told)
        at = curve["at_threshold"]
        axes.plot(
            at["recall"],
            at["precision"],
            "o",
            color=TEAL,
            ms=8,
            label=f"threshold {report['threshold']:g}",
        )
        axes.legend(frameon=False, fontsize=9, loc="lower left", labelcolor=INK)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03))
    _style(axes, f"Precision and recall, {report['part']} labels", "recall", "precision")


def draw_reliability(axes: Axes, report: Mapping[str, Any]) -> None:
    """Draw the observed against the promised share of good particles, among the labels."""
    points = report["reliability"]
    axes.plot([0, 1], [0, 1], color=PALE, lw=1, ls="--", label="score = share")
    # A bin of a few labels tells next to nothing: it is drawn, and not joined to the others.
    score, share = np.asarray(points["score"], float), np.asarray(points["share"], float)
    many = np.asarray(points["count"], int) >= FEWEST_LABELS
    axes.plot(score[many], share[many], "o-", color=BLUE, lw=2, label="labels (count)")
    if not many.all():
        axes.plot(
            score[~many],
            share[~many],
            "o",
            color=BLUE,
            markerfacecolor="none",
            alpha=0.5,
            label=f"fewer than {FEWEST_LABELS} labels",
        )
    for x, y, n in zip(points["score"], points["share"], points["count"]):
        axes.annotate(
            str(n),
            (x, y),
            xytext=(0, 7 if y < 0.5 else -14),
            ha="center" if 0.05 < x < 0.95 else "left" if x < 0.5 else "right",
            textcoords="offset points",
            fontsize=8,
            color=PALE,
        )
    axes.legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.03))
    _style(axes, f"Reliability, {report['part']} labels", "mean score", "share of good labels")


def draw_histogram(axes: Axes, report: Mapping[str, Any]) -> None:
    """Draw the scores of labels and, where they are known, of candidates and decoys."""
    found = report["histogram"]
    edges = np.asarray(found["edges"])
    if found["candidates"] is not None:
        axes.stairs(found["candidates"], edges, fill=True, color=CANDIDATES, label="candidates")
        axes.stairs(found["decoys"], edges, color=INK, lw=1, label="decoys (noise)")
    for kind, colour in LABEL_COLOURS.items():
        axes.stairs(found[kind], edges, fill=True, color=colour, alpha=0.65, label=f"{kind} labels")
    axes.axvline(report["threshold"], color=TEAL, lw=2, label=f"threshold {report['threshold']:g}")
    # Low-scored candidates are many; the labels set the scale.
    axes.set(xlim=(0, 1), ylim=(0, 1.15 * max(1, *found["good"], *found["bad"])))
    axes.legend(loc="upper center", fontsize=9, labelcolor=INK, edgecolor="none", framealpha=0.9)
    _style(axes, f"Scores, {report['part']} split", "score", "count")


@dataclass(frozen=True)
class Cell:
    """Where a crop of a sheet is drawn.

    Attributes
    ----------
    crop : int
        Index of the crop.
    line, column : int
    left, top, side : int
        In the coordinates of the axes; ``top`` is its smallest y.
    """

    crop: int
    line: int
    column: int
    left: int
    top: int
    side: int

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies on the crop."""
        return self.left <= x <= self.left + self.side and self.top <= y <= self.top + self.side


def draw_sheet(
    axes: Axes,
    pixels: npt.NDArray[np.uint8],
    crops: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Sequence[int]],
    columns: int,
) -> list[Cell]:
    """Draw crops framed by the colour of their label, with their score.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    pixels : ndarray of uint8, shape (n, side, side)
        Row 0 is drawn at the bottom of a crop.
    crops : sequence of dict
        ``label`` and ``score`` of each crop.
    rows : dict of str to sequence of int
        Crops of each row by its name, which is written at its left; a row longer than
        `columns` takes several lines.
    columns : int

    Returns
    -------
    list of Cell
        One for every crop drawn, in order.
    """
    side = pixels.shape[1]
    gap = max(1, round(GAP * side))
    cells: list[Cell] = []
    names: dict[float, str] = {}
    step, line = side + gap, 0
    for name, members in rows.items():
        lines = max(1, -(-len(members) // columns))
        names[(line + lines / 2) * step] = name
        for i, crop in enumerate(members):
            down, across = line + i // columns, i % columns
            cells.append(Cell(crop, down, across, across * step + gap, down * step + gap, side))
        line += lines
    sheet = np.full((line * step + gap, columns * step + gap), np.nan, np.float32)
    for cell in cells:
        sheet[cell.top : cell.top + side, cell.left : cell.left + side] = pixels[cell.crop][::-1]
        _frame(axes, crops[cell.crop], cell)
    axes.imshow(
        sheet,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, sheet.shape[1], sheet.shape[0], 0),
        interpolation="nearest",
        aspect="equal",
        zorder=0,
    )
    axes.set_anchor("N")
    axes.set_xticks([])
    axes.set_yticks(list(names), [name.replace(", ", ",\n") for name in names.values()])
    axes.tick_params(length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return cells


def label_handles() -> list[Line2D]:
    """Make the handles of a legend that tells the colours of the labels."""
    return [
        Line2D([], [], color=colour, lw=3, label=f"labelled {kind}")
        for kind, colour in LABEL_COLOURS.items()
    ]


def say(axes: Axes, sentence: str) -> None:
    """Write a sentence where a figure would be."""
    axes.text(
        0.5,
        0.5,
        textwrap.fill(sentence, SENTENCE_WIDTH),
        ha="center",
        va="center",
        color=PALE,
        fontsize=11,
        transform=axes.transAxes,
        in_layout=False,
    )


def is_refit(fit: Mapping[str, Any]) -> bool:
    """Tell whether a fit is the one on all labels, which follows that on the training split."""
    return str(fit["name"]).startswith(REFIT_PREFIX)


def figure_text(value: float | None) -> str:
    """Write a figure of a card; a dash where there is none."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _member(fit: Mapping[str, Any]) -> int:
    """Tell the number of the network that a fit is of, counted from 1."""
    return int(str(fit["name"]).rsplit("_", 1)[1])


def _line(
    axes: Axes,
    history: Sequence[Mapping[str, float]],
    key: str,
    begin: int,
    colour: str,
    style: str,
) -> bool:
    """Draw one line, and tell whether there is one."""
    known = [(begin + row["epoch"], row[key]) for row in history if row.get(key) is not None]
    if not known:
        return False
    epochs, values = zip(*known)
    marker = "." if len(known) <= MARKED_EPOCHS else ""
    axes.plot(epochs, values, color=colour, ls=style, marker=marker, lw=1.6)
    return True


def _mark_best(
    axes: Axes, history: Sequence[Mapping[str, float]], key: str, best: int | None
) -> None:
    """Put a ring on the epoch whose weights were kept."""
    for row in history:
        if row["epoch"] == best and row.get(key) is not None:
            axes.plot(row["epoch"], row[key], "o", color=ORANGE, mfc="white", ms=7)


def _frame(axes: Axes, crop: Mapping[str, Any], cell: Cell) -> None:
    """Draw the frame of a crop, and its score."""
    colour = LABEL_COLOURS[crop["label"]]
    corner = (cell.left, cell.top)
    axes.add_patch(Rectangle(corner, cell.side, cell.side, fill=False, ec=colour, lw=2))
    axes.text(
        cell.left + 0.05 * cell.side,
        cell.top + 0.05 * cell.side,
        f"{crop['score']:.2f}",
        fontsize=7,
        va="top",
        color="white",
        bbox={"facecolor": colour, "pad": 1, "edgecolor": "none"},
    )


def _title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)


def _style(axes: Axes, title: str, across: str, up: str) -> None:
    _title(axes, title)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(color=PALE, labelcolor=PALE)
    axes.spines[["top", "right"]].set_visible(False)
