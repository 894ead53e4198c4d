"""Picture of Fourier shell correlations: curves with their mean, and areas by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from apbc.metrics.fsc import THRESHOLDS
from apbc.metrics.fsc_pairs import Measurement, rows_of_classes
from apbc.metrics.pictures import INK, PALE, SERIES, new_figure, save_figure, style_axes

MOST_CURVES = 100
"""No more single curves than this are drawn; mean and deviation are those of all."""
MOST_NAMED = 24
"""Classes are named up to this number."""
LONGEST_NAME = 14


def draw_curves(path: str | Path, measured: Sequence[Measurement], name: str) -> None:
    """Write curves, their mean and standard deviation, and the areas by class, as PNG.

    Parameters
    ----------
    path : str or Path
    measured : sequence of Measurement
        At least one.
    name : str
        The method.

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    figure = new_figure(12, 4.8)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    _curves(left, measured, name)
    _areas(right, measured)
    save_figure(figure, path)


def _curves(axes: Axes, measured: Sequence[Measurement], name: str) -> None:
    frequency = measured[0].curve.frequency
    values = np.array([m.curve.values for m in measured])
    step = -(-len(values) // MOST_CURVES)
    for curve in values[::step]:
        axes.plot(frequency, curve, color=PALE, linewidth=0.7, alpha=0.35)
    mean = values.mean(axis=0)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(
            frequency, mean - spread, mean + spread, color=SERIES[0], alpha=0.18, lw=0
        )
    axes.plot(
        frequency,
        mean,
        color=SERIES[0],
        linewidth=2,
        label=f"mean of {len(values)}, ± standard deviation" if len(values) > 1 else "FSC",
    )
    unaligned = [m.unaligned.values for m in measured if m.unaligned]
    if unaligned:
        axes.plot(
            frequency, np.mean(unaligned, axis=0), color=SERIES[1], lw=1.5, label="before alignment"
        )
    for threshold in THRESHOLDS:
        axes.axhline(threshold, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(frequency[-1], threshold, f"{threshold:g}", va="bottom", ha="right", color=PALE)
    axes.set_xlim(0, frequency[-1])
    lowest = min(float(np.min(curves)) for curves in (values, unaligned or values))
    axes.set_ylim(min(-0.05, lowest - 0.02), 1.02)
    style_axes(axes, f"{name}: FSC with the truth", "frequency (1/Å)", "FSC")
    axes.legend(loc="best", fontsize=9, facecolor="white", edgecolor="none")


def _areas(axes: Axes, measured: Sequence[Measurement]) -> None:
    rows = rows_of_classes(measured)
    areas = np.array([m.curve.auc_over_ceiling for m in measured])
    places = np.arange(len(rows))
    groups = [areas[of_class] for of_class in rows.values()]
    if max(map(len, groups)) > 1:
        axes.boxplot(
            groups,
            positions=places,
            widths=0.6,
            showfliers=False,
            medianprops={"color": SERIES[0]},
            boxprops={"color": PALE},
            whiskerprops={"color": PALE},
            capprops={"color": PALE},
        )
    rng = np.random.default_rng(0)
    size = 4 if len(areas) <= MOST_CURVES else 2
    if max(map(len, groups)) == 1:
        size = 8  # a dot alone must be seen
    for place, group in zip(places, groups, strict=True):
        aside = rng.uniform(-0.18, 0.18, len(group)) if len(group) > 1 else 0.0
        axes.plot(place + aside, group, "o", color=SERIES[0], markersize=size, alpha=0.6)
    axes.axhline(areas.mean(), color=SERIES[1], linewidth=1.2)
    if len(rows) <= MOST_NAMED:
        axes.set_xticks(places, [Path(label).stem[-LONGEST_NAME:] for label in rows])
        longest = max(len(Path(label).stem) for label in rows)
        if longest * len(rows) > 60:
            axes.tick_params(axis="x", rotation=60)
    else:
        axes.set_xticks([])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(0, 1.02)
    title = f"area under the curve by class, mean {areas.mean():.3f}"
    style_axes(axes, title, "class", "area as a share of the largest")
