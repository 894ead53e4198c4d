"""Picks drawn as circles over their micrograph.

Row 0 of the micrograph is at the bottom of the picture, as Relion and EMAN show
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy import ndimage

from apbc.evaluation.figures import f1_score
from apbc.evaluation.matching import NONE, match_closest_first
from apbc.io.files import atomic_path

FloatArray = npt.NDArray[np.float64]

DOTS_PER_INCH = 100
LONGEST_SIDE, SHORTEST_SIDE = 1400, 900
LEFT, RIGHT, TOP, BOTTOM = 30, 30, 100, 75
COLOUR_BAR = 110
DARKEST_SHARE, BRIGHTEST_SHARE = 0.5, 99.5
SMOOTHING = 1 / 30
LABEL = 44  # dots that the label of a scale bar is wide

INK, PALE = "#1b1f24", "#5c6670"
HIT, MISS, FALSE = "#3ddbd9", "#ffd84d", "#ff6256"
PLAIN = "#3ddbd9"
HALO = "#0000008c"


@dataclass(frozen=True)
class Overlay:
    """What an overlay shows.

    Attributes
    ----------
    name : str
        Of the micrograph.
    image : ndarray, shape (rows, columns)
    picks : ndarray, shape (n, 3)
        x, y in pixels, score or NaN.
    diameter : float
        Of the circles, in pixels.
    pixel_size : float or None
        Å per pixel, for the scale bar.
    truth : ndarray, shape (m, 2) or more columns, or None
        Known particles in pixels; picks are then coloured by right and wrong.
    """

    name: str
    image: npt.NDArray
    picks: FloatArray
    diameter: float
    pixel_size: float | None = None
    truth: FloatArray | None = None


def draw_overlay(path: str | Path, overlay: Overlay) -> None:
    """Write an overlay as a PNG picture.

    Parameters
    ----------
    path : str or Path
    overlay : Overlay

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    rows, columns = overlay.image.shape
    with_bar = overlay.truth is None and _scored(overlay.picks)
    picture = for_the_eye(overlay.image, overlay.diameter)
    scale = max(SHORTEST_SIDE / max(rows, columns), min(1, LONGEST_SIDE / max(rows, columns)))
    width, height = columns * scale, rows * scale
    across = LEFT + width + (COLOUR_BAR if with_bar else RIGHT)
    down = TOP + height + BOTTOM
    figure = Figure((across / DOTS_PER_INCH, down / DOTS_PER_INCH), DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((LEFT / across, BOTTOM / down, width / across, height / down))
    axes.set_axis_off()
    low, high = np.percentile(picture, [DARKEST_SHARE, BRIGHTEST_SHARE])
    axes.imshow(
        picture,
        cmap="gray",
        origin="lower",
        vmin=low,
        vmax=max(high, np.nextafter(low, np.inf)),
        extent=(-0.5, columns - 0.5, -0.5, rows - 0.5),
        interpolation="bilinear",
        aspect="auto",
    )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    heading = _Heading(figure, LEFT / across, down)
    if overlay.truth is not None:
        _draw_against_truth(axes, overlay, overlay.truth, scale, heading)
    else:
        bar = None
        if with_bar:
            left = (LEFT + width + 24) / across
            bar = figure.add_axes((left, BOTTOM / down, 22 / across, height / down))
        _draw_picks(axes, bar, overlay, scale, heading)
    if overlay.pixel_size:
        draw_scale_bar(axes, overlay.pixel_size, columns, scale)
    heading.note("Row 0 of the micrograph is at the bottom.", (LEFT + width) / across)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def for_the_eye(image: npt.NDArray, diameter: float) -> npt.NDArray[np.float32]:
    """Micrograph low-passed to where particles show, at a size that a screen shows.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
    diameter : float
        Particle diameter in pixels; the Gaussian's width is a thirtieth of it.

    Returns
    -------
    ndarray of float32
        Binned by whole numbers so that its longer side is at most 1400.
    """
    factor = -(-max(image.shape) // LONGEST_SIDE)
    rows, columns = (n // factor for n in image.shape)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    binned = blocks.mean(axis=(1, 3), dtype=np.float32)
    return ndimage.gaussian_filter(binned, diameter * SMOOTHING / factor, mode="nearest")


class _Heading:
    """Lines of text round the picture."""

    def __init__(self, figure: Figure, left: float, down: float) -> None:
        self.figure, self.left, self.down = figure, left, down

    def title(self, name: str, told: str) -> None:
        """Name of the micrograph, and a line about what is drawn."""
        points = min(17, 72 * self.figure.get_figwidth() / (0.7 * len(name)))
        self.figure.text(
            self.left, 1 - 44 / self.down, name, fontsize=points, fontweight="bold", color=INK
        )
        self.figure.text(self.left, 1 - 78 / self.down, told, fontsize=14, color=INK)

    def note(self, told: str, right: float) -> None:
        """Small line below the picture, at its right."""
        y = (BOTTOM - 34) / self.down
        self.figure.text(right, y, told, fontsize=11, color=PALE, ha="right")

    def legend(self, handles: list[Line2D]) -> None:
        """Legend below the picture, at its left."""
        self.figure.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(self.left - 0.004, (BOTTOM - 30) / self.down),
            ncol=len(handles),
            frameon=False,
            fontsize=13,
            handlelength=1.0,
            handletextpad=0.5,
            columnspacing=1.8,
            labelcolor=INK,
        )


def _scored(picks: FloatArray) -> bool:
    return bool(len(picks)) and bool(np.isfinite(picks[:, 2]).all())


def _line_width(diameter: float) -> float:
    """Points; thinner where circles are small on the picture (diameter in its pixels)."""
    return float(np.clip(diameter / 22, 1.1, 2.2))


def _circles(
    axes: Axes,
    points: FloatArray,
    diameter: float,
    scale: float,
    colours: str | npt.NDArray,
    dashed: bool = False,
) -> None:
    """Draw circles with a dark halo, so that they show on bright and dark ground."""
    thick = _line_width(diameter * scale) * (1.4 if dashed else 1)
    for colour, width in ((HALO, thick + 1.4), (colours, thick)):
        n = len(points)
        axes.add_collection(
            EllipseCollection(
                np.full(n, diameter),
                np.full(n, diameter),
                np.zeros(n),
                units="xy",
                offsets=points[:, :2],
                offset_transform=axes.transData,
                facecolors="none",
                edgecolors=colour,
                linewidths=width,
                linestyles=(0, (2.2, 1.2)) if dashed else "solid",
            )
        )


def _bright_viridis() -> Colormap:
    """Viridis without its darkest third, which does not show on a micrograph."""
    return LinearSegmentedColormap.from_list("score", colormaps["viridis"](np.linspace(0.3, 1, 64)))


def _draw_picks(
    axes: Axes, bar: Axes | None, overlay: Overlay, scale: float, heading: _Heading
) -> None:
    """Draw picks coloured by score, with a colour bar if they have one."""
    picks = overlay.picks
    heading.title(overlay.name, f"{_counted(len(picks), 'pick')}{_told_diameter(overlay)}")
    if bar is None:
        _circles(axes, picks, overlay.diameter, scale, PLAIN)
        return
    scores = picks[:, 2]
    order = np.argsort(scores)
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest == highest:
        lowest, highest = lowest - 0.05, highest + 0.05
    colours = ScalarMappable(Normalize(lowest, highest), _bright_viridis())
    _circles(axes, picks[order], overlay.diameter, scale, colours.to_rgba(scores[order]))
    drawn = heading.figure.colorbar(colours, cax=bar)
    drawn.set_label("score", fontsize=13, color=INK)
    for spine in ("left", "right", "top", "bottom", "outline"):
        bar.spines[spine].set_visible(False)
    bar.tick_params(labelsize=12, color=PALE, labelcolor=INK)


def _draw_against_truth(
    axes: Axes, overlay: Overlay, truth: FloatArray, scale: float, heading: _Heading
) -> None:
    """Draw hits, misses and false picks, with their counts and figures."""
    picks = overlay.picks
    match = match_closest_first(picks, truth, overlay.diameter / 2)
    hit = match != NONE
    missed = np.ones(len(truth), bool)
    missed[match[hit]] = False
    hits = int(hit.sum())
    precision = hits / len(picks) if len(picks) else 0.0
    recall = hits / len(truth) if len(truth) else 0.0
    figures = (
        f"precision {precision:.3f}   recall {recall:.3f}   F1 {f1_score(precision, recall):.3f}"
    )
    heading.title(overlay.name, figures + _told_diameter(overlay))
    kinds = (
        (picks[hit], HIT, False, "hits"),
        (picks[~hit], FALSE, False, "false picks"),
        (truth[missed], MISS, True, "missed particles"),
    )
    handles = []
    for points, colour, dashed, name in kinds:
        _circles(axes, points, overlay.diameter, scale, colour, dashed)
        handles.append(_key(colour, dashed, f"{len(points)} {name}"))
    heading.legend(handles)


def _key(colour: str, dashed: bool, label: str) -> Line2D:
    """Key of the legend: a dot, hollow for what is drawn dashed."""
    return Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markersize=13,
        markerfacecolor="none" if dashed else colour,
        markeredgecolor=colour if dashed else INK,
        markeredgewidth=3 if dashed else 0.8,
        label=label,
    )


def draw_scale_bar(
    axes: Axes,
    pixel_size: float,
    columns: float,
    scale: float,
    corner: tuple[float, float] = (0.0, 0.0),
    share: float = 0.2,
) -> None:
    """Bar of a round length on a dark plate.

    Parameters
    ----------
    axes : Axes
    pixel_size : float
        Å per pixel of the image.
    columns : float
        Width of the axes in pixels of the image.
    scale : float
        Dots of the picture per pixel of the image.
    corner : (float, float), optional
        Lower left corner of the axes, in pixels of the image.
    share : float, optional
        Part of the width that the bar takes up at most; it is no less than two fifths of that.
    """
    aim = columns * pixel_size * share
    power = 10 ** np.floor(np.log10(aim))
    length = max(step for step in (power, 2 * power, 5 * power) if step <= aim)
    label = f"{length / 10:g} nm" if length >= 100 else f"{length:g} Å"
    bar, pixel = length / pixel_size, 1 / scale
    wide = max(bar, LABEL * pixel)
    x, y = corner[0] + 26 * pixel + (wide - bar) / 2, corner[1] + 24 * pixel
    place = (corner[0] + 14 * pixel, y - 12 * pixel)
    plate = Rectangle(place, wide + 24 * pixel, 50 * pixel, zorder=5)
    plate.set(facecolor=(0, 0, 0, 0.6), edgecolor="none")
    line = Rectangle((x, y), bar, 5 * pixel, facecolor="white", edgecolor="none", zorder=6)
    axes.add_patch(plate)
    axes.add_patch(line)
    axes.text(x + bar / 2, y + 11 * pixel, label, color="white", fontsize=12, ha="center", zorder=6)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _told_diameter(overlay: Overlay) -> str:
    if overlay.pixel_size:
        return f"   ·   circles {overlay.diameter * overlay.pixel_size:.0f} Å wide"
    return f"   ·   circles {overlay.diameter:.0f} px wide"
