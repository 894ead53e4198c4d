"""Figures of a comparison of pickers."""

from __future__ import annotations

import textwrap
from typing import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Wedge

from apbc.evaluation.compare import ANY_CLASS, Comparison
from apbc.evaluation.contamination import KINDS
from apbc.evaluation.recall import PartRecall
from apbc.evaluation.views import SECTORS, TURN, VIEWS

FloatArray = npt.NDArray[np.float64]

DOTS_PER_INCH = 110
INK, PALE, GRID, LOST = "#1b1f24", "#5c6670", "#e3e7ea", "#d7191c"
NOTHING = "#f0f1f3"
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f5539",
    "#5c6670",
)
KIND_COLOURS = ("#dfe7ee", "#3d3d3d", "#56b4e9", "#0072b2", "#e6b800", "#cc79a7")
RECALL_COLOURS = "viridis"
MOST_NAMED_MICROGRAPHS = 40
MOST_CLASSES = 24
MOST_MAPPED_CLASSES = 4
MAPS_A_ROW = 4
NAME_WIDTH = 16
LONGEST_SHARED = 6  # beginning of names that stays
LOCALISATION_QUANTILE = 0.995
F1_LINES = (0.2, 0.4, 0.6, 0.8)
FEW = 10  # particles of a view, of which a recall tells little
PALED, FEW_KEY = 0.35, "#35b779"


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Colour of each picker, in the order in which they were given."""
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}


def draw_bars(comparison: Comparison) -> Figure:
    """Draw precision, recall, F1 and average precision of every picker.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(comparison.figures)
    figure, axes = _figure(max(8.0, 2.5 + 0.55 * 4 * len(names)), 4.6)
    rows = [("precision", "precision"), ("recall", "recall"), ("f1", "F1")]
    if any(f.average_precision is not None for f in comparison.figures.values()):
        rows.append(("average_precision", "average precision"))
    width = 0.84 / len(names)
    for k, (name, colour) in enumerate(colours_of(names).items()):
        for x, (key, _) in enumerate(rows):
            value = getattr(comparison.figures[name], key)
            at = x - 0.42 + (k + 0.5) * width
            if value is None:
                axes.text(at, 0.01, "no scores", rotation=90, ha="center", va="bottom", color=PALE)
                continue
            axes.bar(at, value, width * 0.92, color=colour)
            interval = comparison.f1_interval(name) if key == "f1" else None
            top = value
            if interval is not None:
                axes.plot([at, at], interval, color=INK, lw=1.4)
                top = max(value, interval[1])
            axes.text(at, top + 0.01, f"{value:.2f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(rows)), [label for _, label in rows], fontsize=11)
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.5, len(rows) - 0.5), ylim=(0, 1.08))
    _style(axes, "Figures of every picker, means over micrographs", "", "")
    axes.grid(axis="x", visible=False)
    _legend_below(figure, names, colours_of(names))
    return figure


def draw_precision_recall(comparison: Comparison) -> Figure:
    """Draw precision against recall of every picker, and what it delivers.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _figure(7.6, 6.2)
    recall = np.linspace(0.01, 1, 300)
    for f1 in F1_LINES:
        there = recall > f1 / 2 + 1e-6
        precision = f1 * recall[there] / (2 * recall[there] - f1)
        shown = precision <= 1
        axes.plot(recall[there][shown], precision[shown], color=GRID, lw=1.2, zorder=0)
        axes.text(1.0, f1 / (2 - f1), f" F1 {f1:g}", color=PALE, fontsize=8, va="center")
    handles = []
    for name, colour in colours_of(list(comparison.figures)).items():
        figures = comparison.figures[name]
        told = name
        if figures.curve is not None:
            curve = figures.curve
            axes.step(curve.recall, curve.precision, where="pre", color=colour, lw=2)
            told += f"  (average precision {curve.average_precision:.3f})"
        hits = sum(m.hits for m in figures.per_micrograph)
        picks = sum(m.picks for m in figures.per_micrograph)
        if picks:
            axes.plot(
                hits / comparison.particles,
                hits / picks,
                "o",
                ms=9,
                color=colour,
                mec="white",
                zorder=4,
            )
        handles.append(Line2D([], [], color=colour, lw=2, label=told))
    handles.append(
        Line2D([], [], color=PALE, marker="o", ms=8, lw=0, label="what the picker delivers")
    )
    axes.set(xlim=(0, 1.0), ylim=(0, 1.02))
    _style(axes, "Precision and recall, all micrographs together", "recall", "precision")
    axes.grid(visible=False)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncol=1 if len(handles) < 5 else 2,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def draw_agreement(comparison: Comparison) -> Figure:
    """Draw how far every two pickers agree.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(comparison.figures)
    f1 = np.eye(len(names))
    for pair in comparison.agreements:
        f1[names.index(pair.first), names.index(pair.second)] = pair.f1
    side = 2.6 + 0.95 * len(names)
    figure, axes = _figure(side + 2.2, side)
    shown = axes.imshow(f1, cmap="Blues", vmin=0, vmax=1)
    for i in range(len(names)):
        for j in range(len(names)):
            colour = "white" if f1[i, j] > 0.55 else INK
            told = "" if i == j else f"{f1[i, j]:.2f}"
            axes.text(j, i, told, ha="center", va="center", color=colour, fontsize=12)
    labels = [_wrapped(name) for name in names]
    axes.set_xticks(range(len(names)), labels)
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    _title(axes, "Agreement: F1 of one against the other")
    bar = figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def draw_found_by(comparison: Comparison) -> Figure:
    """Draw how many pickers find a particle, and what each finds alone.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(comparison.figures)
    figure = _page(9.6, 4.4)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    counts = comparison.found_by
    left.bar(range(len(counts)), counts, color=COLOURS[0])
    for x, count in enumerate(counts):
        left.text(x, count, f"{count / comparison.particles:.0%}", ha="center", va="bottom")
    labels = ["none", *map(str, range(1, len(names))), "all"] if len(names) > 1 else ["no", "yes"]
    left.set_xticks(range(len(counts)), labels)
    left.margins(y=0.12)
    _style(left, "Particles by how many pickers find them", "pickers", "particles")
    left.grid(axis="x", visible=False)
    alone = [comparison.alone[name] for name in names]
    right.barh(range(len(names)), alone, color=list(colours_of(names).values()))
    for y, count in enumerate(alone):
        right.text(count, y, f" {count}", va="center")
    right.set_yticks(range(len(names)), [_wrapped(name) for name in names])
    right.invert_yaxis()
    right.margins(x=0.15)
    _style(right, "Particles that no other picker finds", "particles", "")
    right.grid(axis="y", visible=False)
    return figure


def draw_micrographs(comparison: Comparison) -> Figure:
    """Draw the F1 of every micrograph.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(comparison.figures)
    values = np.array([[m.f1 for m in f.per_micrograph] for f in comparison.figures.values()])
    count = values.shape[1]
    few = count <= MOST_NAMED_MICROGRAPHS
    figure, axes = _figure(float(np.clip(3 + 0.35 * count, 8, 14)), 5.2)
    colours = colours_of(names)
    if few:
        order = np.argsort(-values.mean(axis=0), kind="stable")
        for name, row in zip(names, values[:, order]):
            axes.plot(row, "o-", color=colours[name], lw=1, ms=6, alpha=0.9)
        labels = _told_apart(comparison.micrographs)
        axes.set_xticks(range(count), [labels[k] for k in order], rotation=60, ha="right")
        _style(axes, "F1 by micrograph, the easiest first", "", "F1")
    else:
        share = (np.arange(count) + 0.5) / count
        for name, row in zip(names, values):
            axes.plot(share, np.sort(row)[::-1], color=colours[name], lw=2)
        axes.set_xlim(0, 1)
        _style(
            axes,
            "F1 of the micrographs, the best of each picker first",
            f"share of the {count} micrographs",
            "F1",
        )
    axes.set_ylim(0, 1.02)
    _legend_below(figure, names, colours)
    return figure


def draw_localisation(comparison: Comparison) -> Figure:
    """Draw how far hits are from their particles.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _figure(7.6, 5.0)
    handles, furthest = [], 0.0
    for name, colour in colours_of(list(comparison.figures)).items():
        offsets = np.sort(comparison.figures[name].offsets) * comparison.pixel_size
        told = f"{name}: no hits"
        if len(offsets):
            share = np.arange(1, len(offsets) + 1) / len(offsets)
            axes.step(np.r_[0, offsets], np.r_[0, share], where="post", color=colour, lw=2)
            furthest = max(furthest, float(np.quantile(offsets, LOCALISATION_QUANTILE)))
            told = f"{name}: mean {offsets.mean():.1f} Å, median {np.median(offsets):.1f} Å"
        handles.append(Line2D([], [], color=colour, lw=2, label=told))
    axes.set(xlim=(0, furthest or 1.0), ylim=(0, 1.02))
    _style(axes, "Distance of hits from their particles", "distance (Å)", "share of hits within")
    figure.legend(handles=handles, loc="outside lower center", ncol=2, frameon=False)
    return figure


def draw_classes(comparison: Comparison) -> Figure:
    """Draw the recall of every class with its interval; red rings where a class is lost.

    Of many classes those are drawn that some picker finds least.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(comparison.figures)
    parts = {name: {p.part: p for p in comparison.losses[name].classes} for name in names}
    known = list(parts[names[0]])
    shown = known
    if len(known) > MOST_CLASSES:
        lowest = {c: min(parts[name][c].recall for name in names) for c in known}
        shown = sorted(sorted(known, key=lambda c: lowest[c])[:MOST_CLASSES])
    figure, axes = _figure(float(np.clip(3 + 0.35 * len(shown) * len(names), 8, 16)), 5.0)
    colours = colours_of(names)
    step = 0.7 / len(names)
    for k, name in enumerate(names):
        for x, number in enumerate(shown):
            part = parts[name][number]
            at = x - 0.35 + (k + 0.5) * step
            axes.plot([at, at], [part.low, part.high], color=colours[name], lw=2)
            axes.plot(at, part.recall, "o", color=colours[name], ms=7)
            if part.lost:
                axes.plot(at, part.recall, "o", mfc="none", mec=LOST, mew=2, ms=14)
    for x in range(len(shown) - 1):
        axes.axvline(x + 0.5, color=GRID, lw=1)
    first = parts[names[0]]
    axes.set_xticks(range(len(shown)), [f"{c}\n({first[c].particles})" for c in shown])
    axes.set_ylim(-0.03, 1.03)
    left_out = f", {len(shown)} of {len(known)}" if len(shown) < len(known) else ""
    _style(axes, f"Recall by class{left_out}", "class (particles)", "recall")
    axes.grid(axis="x", visible=False)
    _legend_below(figure, names, colours, _lost_key())
    return figure


def draw_views(comparison: Comparison) -> Figure:
    """Draw the recall of every view on half a sphere, seen from its pole.

    The map keeps areas (Lambert's azimuthal projection), so that parts of equal area are drawn
    equal. Tilt grows from the middle, rot runs round it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(comparison.figures)
    known = comparison.losses[names[0]].views
    sizes = {of: sum(part.particles for part in parts) for of, parts in known.items()}
    mapped = sorted(sorted(sizes, key=lambda of: -sizes[of])[:MOST_MAPPED_CLASSES])
    maps = [(of, name) for of in mapped for name in names]
    # A row of maps for each class; of one class as many rows as are needed.
    columns = min(MAPS_A_ROW, len(names)) if len(mapped) == 1 else len(names)
    lines = len(mapped) * -(-len(names) // columns)
    figure = _page(3.1 * columns + 1.4, 3.35 * lines + 0.9)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    lines_a_class = -(-len(names) // columns)
    colours = ScalarMappable(Normalize(0, 1), colormaps[RECALL_COLOURS])
    for of, name in maps:
        k = names.index(name)
        line = mapped.index(of) * lines_a_class + k // columns
        axes = grid[line, k % columns]
        _draw_sphere(axes, comparison.losses[name].views[of], colours)
        title = textwrap.shorten(name, 30, placeholder="…")
        if of != ANY_CLASS:
            title += f"\nclass {of}"
        axes.set_title(title, fontsize=11, color=INK)
    bar = figure.colorbar(colours, ax=grid, shrink=min(0.9, 2.6 / (3.35 * lines) + 0.2), pad=0.02)
    bar.set_label("recall", color=INK)
    bar.outline.set_visible(False)  # type: ignore[operator]
    left_out = f" ({len(mapped)} of {len(known)} classes)" if len(mapped) < len(known) else ""
    figure.suptitle(
        f"Recall by view{left_out}: tilt from 0° in the middle to 90° at the rim, rot round it",
        fontsize=12,
        fontweight="bold",
        color=INK,
    )
    figure.legend(
        handles=[
            Patch(fc="white", ec=LOST, lw=2.4, label="lost"),
            Patch(fc=FEW_KEY, alpha=PALED, label=f"pale: fewer than {FEW} particles"),
            Patch(fc=NOTHING, ec=GRID, label="no particles"),
        ],
        loc="outside lower center",
        ncol=3,
        frameon=False,
    )
    return figure


def _draw_sphere(axes: Axes, parts: list[PartRecall], colours: ScalarMappable) -> None:
    """Draw the views of one picker."""
    known = {part.part: part for part in parts}
    total = sum(SECTORS)
    limits = np.sqrt(np.r_[0, np.cumsum(SECTORS)] / total)  # radii that keep areas
    bands = np.repeat(np.arange(len(SECTORS)), SECTORS)
    # What is lost comes last, so that no neighbour hides its frame.
    order = sorted(range(len(VIEWS)), key=lambda view: view in known and known[view].lost)
    for view in order:
        inner, outer = limits[bands[view]], limits[bands[view] + 1]
        part, lost = known.get(view), view in known and known[view].lost
        few = part is not None and part.particles < FEW
        fill = NOTHING if part is None else colours.to_rgba(np.array(part.recall))
        begin, end = VIEWS[view].rot
        axes.add_patch(
            Wedge(
                (0, 0),
                outer,
                begin,
                end,
                width=outer - inner,
                fc=fill,
                ec=LOST if lost else "white",
                lw=2.6 if lost else 1.0,
                alpha=PALED if few else 1.0,
                zorder=3 if lost else 2,
            )
        )
        if part is None:
            continue
        middle = np.deg2rad((begin + end) / 2)
        radius = 0.0 if (begin, end) == (0.0, TURN) else (inner + outer) / 2
        axes.text(
            radius * np.cos(middle),
            radius * np.sin(middle),
            f"{part.recall:.0%}"[:-1],
            ha="center",
            va="center",
            fontsize=9,
            zorder=4,
            color=INK if few or part.recall > 0.6 else "white",
        )
    axes.set(xlim=(-1.04, 1.04), ylim=(-1.04, 1.04), aspect="equal")


def draw_contamination(comparison: Comparison) -> Figure:
    """Draw on what the false picks of every picker fall, beside the share of the area.

    Returns
    -------
    matplotlib.figure.Figure
    """
    assert comparison.contamination is not None and comparison.areas is not None
    names = list(comparison.figures)
    bars = {"share of the area": comparison.areas}
    for name in names:
        counts = comparison.contamination[name]
        label = f"{_wrapped(name)}\n({counts.sum()} false picks)"
        bars[label] = counts / max(1, counts.sum())
    figure, axes = _figure(9.0, 1.6 + 0.62 * len(bars))
    for y, shares in enumerate(bars.values()):
        left = 0.0
        for kind, share in enumerate(shares):
            axes.barh(y, share, 0.68, left, color=KIND_COLOURS[kind], ec="white", lw=0.8)
            if share >= 0.06:
                ink = "white" if kind in (1, 3) else INK
                told = f"{share:.0%}"
                axes.text(left + share / 2, y, told, ha="center", va="center", color=ink)
            left += share
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    _style(axes, "Where false picks fall", "share", "")
    axes.grid(visible=False)
    handles = [Patch(fc=colour, label=kind) for kind, colour in zip(KINDS, KIND_COLOURS)]
    figure.legend(handles=handles, loc="outside lower center", ncol=3, frameon=False)
    return figure


# --------------------------------- style -------------------------------------------


def _page(width: float, height: float) -> Figure:
    """Figure of a size in inches that makes room for its titles and labels, with a margin."""
    figure = Figure((width, height), DOTS_PER_INCH)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Figure with one pair of axes."""
    figure = _page(width, height)
    return figure, figure.add_subplot()


def _legend_below(
    figure: Figure, names: Sequence[str], colours: dict[str, str], *more: Line2D
) -> None:
    handles = [Line2D([], [], color=colours[name], marker="o", lw=0, label=name) for name in names]
    figure.legend(
        handles=[*handles, *more],
        loc="outside lower center",
        ncol=min(4, len(handles) + len(more)),
        frameon=False,
        labelcolor=INK,
    )


def _lost_key() -> Line2D:
    return Line2D([], [], marker="o", mfc="none", mec=LOST, mew=2, ms=11, lw=0, label="lost")


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, NAME_WIDTH)) or name


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names without the words at their beginning that all share, where these are long."""
    first, last = min(names), max(names)  # what these two share, all do
    shared = next((k for k, (a, b) in enumerate(zip(first, last)) if a != b), 0)
    while shared and first[shared - 1].isalnum():
        shared -= 1
    if shared < LONGEST_SHARED:
        return list(names)
    return ["…" + name[shared:] for name in names]


def _title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)


def _style(axes: Axes, title: str, across: str, up: str) -> None:
    _title(axes, title)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(color=PALE, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
