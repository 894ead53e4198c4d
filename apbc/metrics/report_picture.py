"""The picture of a report: every metric of all methods in one panel."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from apbc.metrics.catalogue import METRIC_TITLES, meaning_of
from apbc.metrics.groups import Group, table_of
from apbc.metrics.pictures import INK, PALE, SERIES, new_figure, style_axes

PANELS_ACROSS = 3
MOST_BARS = 4
BARS = tuple(f"{of}_{name}" for of in ("clusters", "kmeans") for name in ("ami", "ari", "accuracy"))
"""Figures of clusters that are drawn as bars."""


def draw_comparison(groups: Sequence[Group], methods: Sequence[str]) -> bytes:
    """Draw one panel a metric, with all methods in it.

    Parameters
    ----------
    groups : sequence of Group
    methods : sequence of str
        A method has the same colour in all panels.

    Returns
    -------
    bytes
        PNG.

    Raises
    ------
    ApbcError
        If a table of a record has gone.
    """
    across = min(PANELS_ACROSS, len(groups))
    down = -(-len(groups) // across)
    figure = new_figure(5.6 * across, 4.4 * down)
    colours = {method: SERIES[place % len(SERIES)] for place, method in enumerate(methods)}
    for place, group in enumerate(groups):
        axes = figure.add_subplot(down, across, place + 1)
        PANELS.get(group.metric, _draw_bars)(axes, group, colours)
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_fsc(axes: Axes, group: Group, colours: dict[str, str]) -> None:
    lowest = 0.0
    for method, entry in group.entries.items():
        table = table_of(entry, "curves.csv")
        names = list(table.columns)
        values = table.numbers(*names)
        mean = values[:, 1:].mean(axis=1)
        axes.plot(values[:, 0], mean, color=colours[method], linewidth=2, label=method)
        lowest = min(lowest, float(mean.min()))
    axes.axhline(0.5, color=PALE, linewidth=1, linestyle=":")
    axes.set_ylim(lowest - 0.03, 1.03)
    style_axes(axes, f"FSC, mean over {group.variant or 'pair'}s", "frequency (1/Å)", "FSC")


def _draw_pose(axes: Axes, group: Group, colours: dict[str, str]) -> None:
    most = 1.0
    for method, entry in group.entries.items():
        angles = np.sort(table_of(entry, "images.csv").numbers("angle_deg")[:, 0])
        share = np.arange(1, len(angles) + 1) / len(angles)
        # All are within any larger angle: errors of 0 have a line, too.
        angles, share = np.append(angles, max(180.0, angles[-1])), np.append(share, 1.0)
        axes.step(angles, share, where="post", color=colours[method], linewidth=2, label=method)
        most = max(most, float(np.quantile(angles[:-1], 0.97)))
    axes.set_xlim(0, most)
    axes.set_ylim(0, 1.05)
    style_axes(axes, "Rotation error", "degrees", "share of images within")


def _draw_neighbours(axes: Axes, group: Group, colours: dict[str, str]) -> None:
    ceiling = None
    for method, entry in group.entries.items():
        curve = table_of(entry, "neighbours.csv").numbers("k", "similarity", "ceiling", "random")
        axes.plot(curve[:, 0], curve[:, 1], "o-", color=colours[method], ms=3, label=method)
        if ceiling is None:
            ceiling = curve
    if ceiling is not None:
        axes.plot(ceiling[:, 0], ceiling[:, 2], "--", color=INK, lw=1, label="perfect")
        axes.plot(ceiling[:, 0], ceiling[:, 3], ":", color=PALE, label="random")
    axes.set_ylim(0, 103)
    style_axes(axes, "Neighbourhood similarity", "neighbours", "shared with the truth, %")


def _draw_imbalance(axes: Axes, group: Group, colours: dict[str, str]) -> None:
    axes.plot([0, 1], [0, 1], ":", color=PALE)
    for method in group.entries:
        across, up = group.value(method, "latent_to_truth"), group.value(method, "truth_to_latent")
        if across is None or up is None:
            continue
        axes.plot(across, up, "o", color=colours[method], markersize=10, label=method)
        perfect = group.value(method, "latent_to_truth_perfect")
        if perfect is not None:
            axes.axvline(perfect, color=INK, lw=1, linestyle="--")
    axes.set_xlim(-0.03, 1.08)
    axes.set_ylim(-0.03, 1.08)
    style_axes(axes, "Information imbalance (0 tells all)", "latent → truth", "truth → latent")


def _draw_bars(axes: Axes, group: Group, colours: dict[str, str]) -> None:
    keys = [k for k in BARS if k in group.keys]
    keys = keys or [k for k in group.keys if meaning_of(group.metric, k).better][:MOST_BARS]
    width = 0.8 / len(group.entries)
    for place, method in enumerate(group.entries):
        values = [group.value(method, key) for key in keys]
        at = np.arange(len(keys)) + (place - (len(group.entries) - 1) / 2) * width
        heights = [np.nan if value is None else value for value in values]
        bars = axes.bar(at, heights, 0.92 * width, color=colours[method], label=method)
        axes.bar_label(bars, fmt="%.2f", fontsize=8, color=INK)
    labels = [meaning_of(group.metric, key).label.replace(", ", "\n") for key in keys]
    axes.set_xticks(range(len(keys)), labels, fontsize=8)
    # Room for the legend above the bars.
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    title = METRIC_TITLES.get(group.metric, group.metric)
    style_axes(axes, title, "", "")


PANELS: dict[str, Callable[[Axes, Group, dict[str, str]], None]] = {
    "fsc": _draw_fsc,
    "pose": _draw_pose,
    "neighbours": _draw_neighbours,
    "imbalance": _draw_imbalance,
}
