"""Pictures of how a training set was made from a bare micrograph: every stage, and what was found.

Row 0 of the micrograph is at the bottom, as Relion and EMAN show it.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Tuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy import ndimage, signal

from apbc.display.overlay import HALO, INK, PALE, SMOOTHING, draw_scale_bar
from apbc.display.thumbnail import grey_limits
from apbc.errors import ApbcError

FloatArray = npt.NDArray[np.float64]
Window = Tuple[float, float, float, float]

FORMAT = "apbc stages 1"
MICROGRAPH, DRAWN, EXAMPLES = "micrograph", "drawn", "examples"
SHAPES = ("top", "side", "irregular")
TITLES = {
    MICROGRAPH: "micrograph",
    "normalised": "normalised",
    "stretched": "contrast stretched",
    "equalised": "histogram equalised",
    "restored": "Wiener filter",
    "equalised_again": "equalised again",
    "adaptive": "adaptive equalisation",
    "adaptive_again": "adaptive, not clipped",
    "smoothed": "guided filter",
    "adjusted": "contrast adjusted",
    "opened": "opened",
    "cluster": "dark cluster",
    "cleaned": "cleaned mask",
    "outlines": "smooth outlines",
    "superpixels": "dark superpixels",
    "superpixels cleaned": "superpixels cleaned",
    DRAWN: "what was drawn",
    EXAMPLES: "good and bad examples",
}
GOOD, BAD = "#2fe07f", "#ff5a4d"
SHAPE_COLOURS = {"top": "#3ddbd9", "side": "#ffb224", "irregular": "#d78bff"}
DOTS_PER_INCH = 110
ZOOM = 7.0  # diameters that the small panels of the sheet show
PANEL = 2.15  # inches
COLUMNS = (5, 4, 6)  # of the sheet; the first is liked best
MOST_CIRCLES = 24
READ_FROM = {
    "discs": "read from round particles of one size",
    "extents": "read from how far particles reach, as there are no round ones of one size",
    "guess": "nothing stood out, so that this is a guess: give the diameter",
}
ROUND_DIAMETERS = (50, 70, 100, 150, 200, 300, 400, 500, 700, 1000)


@dataclass(frozen=True)
class StageRecord:
    """What became of one micrograph at the detection scale.

    Attributes
    ----------
    name : str
        Of the micrograph.
    pixel_size, diameter : float
        Å per pixel of the detection scale, and of a particle, in Å.
    shape_of_image : (int, int)
        Rows and columns at the detection scale, in whose pixels all positions are.
    images : dict of str to ndarray of uint8
        The micrograph and its stages in order; larger ones are kept binned.
    masks : dict of str to ndarray of bool
        What was clustered, and what was left of it.
    positions, size : ndarray, shape (n, 2)
        Centres of the examples, and their length and width.
    shape : ndarray of int, shape (n,)
        Index into ``SHAPES``.
    good : ndarray of bool, shape (n,)
    reason : list of str
        Why bad ones are bad; "" for good ones.
    angle : ndarray, shape (n,)
        Of the length, in degrees from x towards y.
    circles : ndarray, shape (m, 4)
        x, y, radius, metric of all circles drawn.
    rectangles : ndarray, shape (k, 5)
        x, y, length, width, angle of all rectangles drawn.
    """

    name: str
    pixel_size: float
    diameter: float
    shape_of_image: tuple[int, int]
    images: dict[str, npt.NDArray[np.uint8]]
    masks: dict[str, npt.NDArray[np.bool_]]
    positions: FloatArray
    size: FloatArray
    shape: npt.NDArray[np.int64]
    good: npt.NDArray[np.bool_]
    reason: list[str]
    angle: FloatArray
    circles: FloatArray
    rectangles: FloatArray

    @property
    def stages(self) -> list[str]:
        """Names of all that can be drawn, in the order in which it was made."""
        return [*self.images, *self.masks, DRAWN, EXAMPLES]


def read_stages(path: str | Path) -> StageRecord:
    """Read a file of stages that ``apbc bootstrap`` wrote.

    Parameters
    ----------
    path : str or Path
        ``DIR/stages/NAME.npz``.

    Returns
    -------
    StageRecord

    Raises
    ------
    ApbcError
        If the file is missing, damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            if about.get("format") != FORMAT:
                raise KeyError("format")
            return StageRecord(
                about["name"],
                about["pixel_size"],
                about["diameter"],
                (about["shape"][0], about["shape"][1]),
                {name: stored["stage_" + name] for name in about["stages"]},
                {name: stored["mask_" + name].astype(bool) for name in about["masks"]},
                stored["positions"],
                stored["size"],
                stored["shape"].astype(int),
                stored["good"],
                about["reason"],
                stored["angle"],
                stored["circles"],
                stored["rectangles"],
            )
    except FileNotFoundError as error:
        raise ApbcError(f"there is no file {path}; make it with apbc bootstrap") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ApbcError(
            f"{path} cannot be read as stages of apbc bootstrap; make it again"
        ) from error


def stage_figure(record: StageRecord, stage: str) -> Figure:
    """Draw one stage of a micrograph, large.

    Parameters
    ----------
    record : StageRecord
    stage : str
        One of ``record.stages``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows, columns = record.shape_of_image
    height = 8.0
    width = float(np.clip(height * columns / rows, 5.5, 14.0))
    figure = Figure((width, height + 1.3), DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.03, 0.07, 0.94, 0.82))
    draw_stage(axes, record, stage)
    draw_scale(axes, record)
    left = 0.03
    figure.text(left, 0.955, record.name, fontsize=14, fontweight="bold", color=INK)
    figure.text(left, 0.915, told_of(record, stage), fontsize=12, color=INK)
    handles = legend_of(record, stage)
    if handles:
        _legend_below(figure, handles, left)
    return figure


def stage_sheet(record: StageRecord) -> Figure:
    """Draw all stages of a micrograph, a part of it enlarged, and what was found on the whole.

    Parameters
    ----------
    record : StageRecord

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = record.stages
    columns = min(COLUMNS, key=lambda n: -len(panels) % n)  # fewest empty places
    rows = -(-len(panels) // columns)
    height = rows * (PANEL + 0.32)
    whole = record.shape_of_image[1] / record.shape_of_image[0]
    large = float(np.clip(height * whole, 4.0, 12.0))
    margin, gap, top, bottom = 0.25, 0.12, 0.75, 0.6
    across = margin + columns * (PANEL + gap) + 0.2 + large + margin
    down = top + height + bottom
    figure = Figure((across, down), DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    figure.text(
        margin / across,
        1 - 0.42 / down,
        record.name,
        fontsize=15,
        fontweight="bold",
        color=INK,
        va="center",
    )
    window = zoom_window(record)
    for i, stage in enumerate(panels):
        x = margin + (i % columns) * (PANEL + gap)
        y = bottom + height - (i // columns + 1) * (PANEL + 0.32)
        axes = figure.add_axes((x / across, y / down, PANEL / across, PANEL / down))
        draw_stage(axes, record, stage, window)
        axes.set_title(
            f"{i + 1}  {TITLES.get(stage, stage.replace('_', ' '))}",
            loc="left",
            fontsize=9.5,
            color=INK,
            pad=3,
        )
        if i == 0:
            draw_scale(axes, record, window)
    x = margin + columns * (PANEL + gap) + 0.2
    axes = figure.add_axes((x / across, bottom / down, large / across, (height - 0.32) / down))
    draw_stage(axes, record, EXAMPLES)
    draw_scale(axes, record)
    axes.set_title(told_of(record, EXAMPLES), loc="left", fontsize=11, color=INK, pad=5)
    for ink, line, dashes in ((HALO, 3.4, "solid"), ("white", 1.6, (0, (5, 3)))):
        axes.add_patch(
            Rectangle(
                (window[0], window[2]),
                window[1] - window[0],
                window[3] - window[2],
                fill=False,
                ec=ink,
                lw=line,
                ls=dashes,
                zorder=6,
            )
        )
    _legend_below(figure, [*legend_of(record, DRAWN), *legend_of(record, EXAMPLES)], x / across)
    figure.text(
        margin / across,
        0.24 / down,
        f"The small panels show the dashed part, {ZOOM:g} particle diameters wide at most; "
        "row 0 of the micrograph is at the bottom.",
        fontsize=9.5,
        color=PALE,
    )
    return figure


def draw_stage(axes: Axes, record: StageRecord, stage: str, window: Window | None = None) -> None:
    """Draw one stage on axes.

    Parameters
    ----------
    axes : Axes
    record : StageRecord
    stage : str
        One of ``record.stages``.
    window : (float, float, float, float), optional
        Left, right, bottom and top edge of the part that is shown, in pixels of the detection
        scale; the whole micrograph without.
    """
    rows, columns = record.shape_of_image
    extent = (-0.5, columns - 0.5, -0.5, rows - 0.5)
    left, right, bottom, top = extent if window is None else window
    dots = _width_of(axes) / (right - left)
    if stage in record.masks or stage == DRAWN:
        mask = record.masks[stage if stage != DRAWN else _mask_of(record, "superpixels cleaned")]
        grey = np.where(mask, 235, 38) if stage != DRAWN else np.where(mask, 120, 38)
    else:
        shown = MICROGRAPH if stage == EXAMPLES else stage
        grey = record.images[shown]
    axes.imshow(
        grey,
        cmap="gray",
        vmin=0,
        vmax=255,
        origin="lower",
        extent=extent,
        interpolation="nearest" if dots > 1.5 else "antialiased",
        aspect="equal",
    )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    thick = float(np.clip(record.diameter / record.pixel_size * dots / 26, 0.9, 2.0))
    if stage == DRAWN:
        _draw_shapes(axes, record, thick)
    elif stage == EXAMPLES:
        for good, colour in ((False, BAD), (True, GOOD)):
            _draw_examples(axes, record, record.good == good, colour, thick)


def draw_scale(axes: Axes, record: StageRecord, window: Window | None = None) -> None:
    """Draw a scale bar into the lower left corner of what `draw_stage` drew."""
    rows, columns = record.shape_of_image
    left, right, bottom, _ = window or (-0.5, columns - 0.5, -0.5, rows - 0.5)
    dots = _width_of(axes)
    share = 0.2 if dots > 500 else 0.36
    draw_scale_bar(
        axes, record.pixel_size, right - left, dots / (right - left), (left, bottom), share
    )


def told_of(record: StageRecord, stage: str) -> str:
    """Say in a line what a stage shows."""
    title = TITLES.get(stage, stage.replace("_", " "))
    if stage != EXAMPLES:
        return title
    n, good = len(record.good), int(record.good.sum())
    told = f"{good} good and {n - good} bad examples"
    return f"{told}   ·   particle diameter {record.diameter:.0f} Å"


def legend_of(record: StageRecord, stage: str) -> list[Line2D]:
    """Give the keys of what a stage has in colour; none for grey ones."""
    if stage == DRAWN:
        there = {"top": len(record.circles), "side": len(record.rectangles)}
        there["irregular"] = int((record.shape == SHAPES.index("irregular")).sum())
        words = {"top": "circle", "side": "rectangle", "irregular": "outline"}
        return [
            _key(SHAPE_COLOURS[name], f"{n} {words[name]}{'s' * (n != 1)}")
            for name, n in there.items()
            if n
        ]
    if stage != EXAMPLES:
        return []
    reasons = Counter(why for why, good in zip(record.reason, record.good) if not good)
    why = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common(4))
    bad = int((~record.good).sum())
    return [
        _key(GOOD, f"{int(record.good.sum())} good"),
        _key(BAD, f"{bad} bad" + (f" ({why})" if why else "")),
    ]


def zoom_window(record: StageRecord) -> Window:
    """Give the square that holds the most examples, some diameters wide; its edges in pixels."""
    rows, columns = record.shape_of_image
    side = min(ZOOM * record.diameter / record.pixel_size, rows, columns)
    best, most = ((columns - side) / 2, (rows - side) / 2), -1.0
    good = record.positions[record.good] if record.good.any() else record.positions
    for x, y in good:
        corner = (
            float(np.clip(x - side / 2, 0, columns - side)),
            float(np.clip(y - side / 2, 0, rows - side)),
        )
        inside = (np.abs(good - corner - side / 2) < side / 2).all(axis=1)
        if inside.sum() > most:
            best, most = corner, float(inside.sum())
    return best[0] - 0.5, best[0] + side - 0.5, best[1] - 0.5, best[1] + side - 0.5


def diameter_figure(estimate: Any, image: FloatArray, pixel_size: float) -> Figure:
    """Draw an estimated diameter over a micrograph, beside what it was read from.

    Parameters
    ----------
    estimate : DiameterEstimate
        Of `apbc.bootstrap.diameter`.
    image : ndarray, shape (rows, columns)
        A micrograph with dark particles.
    pixel_size : float
        Å per pixel of it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure((13.0, 7.6), DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    left = figure.add_axes((0.02, 0.06, 0.5, 0.8))
    _draw_diameter(left, estimate.diameter / pixel_size, image, pixel_size)
    figure.text(
        0.02,
        0.945,
        f"Diameter: about {estimate.diameter:.0f} Å, between {estimate.low:.0f} and "
        f"{estimate.high:.0f} Å",
        fontsize=15,
        fontweight="bold",
        color=INK,
    )
    figure.text(0.02, 0.895, READ_FROM[estimate.method], fontsize=11.5, color=INK)
    figure.text(
        0.02,
        0.02,
        "Circles are as wide as the estimate. They must enclose one particle each; if they do not, "
        "give the diameter.",
        fontsize=10,
        color=PALE,
    )
    discs = figure.add_axes((0.6, 0.56, 0.38, 0.3))
    _draw_discs(discs, estimate)
    extents = figure.add_axes((0.6, 0.11, 0.38, 0.3))
    _draw_extents(extents, estimate)
    return figure


def _draw_diameter(axes: Axes, diameter: float, image: FloatArray, pixel_size: float) -> None:
    """Draw the middle of a micrograph with circles where it is darker inside than around them."""
    side = min(*image.shape, int(9 * diameter))
    top, left = ((n - side) // 2 for n in image.shape)
    part = image[top : top + side, left : left + side]
    smooth = ndimage.gaussian_filter(part, diameter * SMOOTHING, mode="nearest")
    low, high = grey_limits(smooth.astype(np.float32))
    axes.imshow(smooth, cmap="gray", vmin=low, vmax=high, origin="lower", aspect="equal")
    reach = int(np.ceil(0.65 * diameter))
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disc, ring = distance <= diameter / 2, (distance > diameter / 2) & (distance <= reach)
    template = ring / ring.sum() - disc / disc.sum()
    blobs = signal.fftconvolve(smooth - smooth.mean(), template, mode="same")
    peaks = blobs == ndimage.maximum_filter(blobs, 2 * int(0.45 * diameter) + 1)
    margin = reach
    inner = np.zeros_like(peaks)
    inner[margin : side - margin, margin : side - margin] = True
    rows, columns = np.nonzero(peaks & inner & (blobs > 0))
    chosen = np.argsort(-blobs[rows, columns])[:MOST_CIRCLES]
    centres = np.stack([columns, rows], axis=1)[chosen].astype(float)
    width = np.full(len(centres), diameter)
    _ellipses(axes, centres, width, width, np.zeros(len(centres)), SHAPE_COLOURS["top"], 1.6)
    axes.set_axis_off()
    draw_scale_bar(axes, pixel_size, side, _width_of(axes) / side, (-0.5, -0.5))


def _draw_discs(axes: Axes, estimate: Any) -> None:
    """Draw how wide the discs are that the micrographs hold."""
    _style(axes, "Discs on all scales", "diameter (Å)", "height of the peak")
    if not len(estimate.discs):
        _say(axes, "no discs")
        return
    axes.plot(estimate.discs[:, 0], estimate.discs[:, 1], ".", ms=4, color=SHAPE_COLOURS["top"])
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    _mark(axes, estimate)
    _plain_ticks(axes, estimate.discs[:, 0])


def _draw_extents(axes: Axes, estimate: Any) -> None:
    """Draw how far patches of each size reach; where that is their size, it is the diameter."""
    _style(axes, "How far patches reach", "candidate diameter (Å)", "measured (Å)")
    known = estimate.extents[np.isfinite(estimate.extents).all(axis=1)]
    if not len(known):
        _say(axes, "no patch stands out")
        return
    axes.plot(known[:, 0], known[:, 0], color=PALE, lw=1, ls=(0, (4, 3)), label="as candidate")
    axes.plot(known[:, 0], known[:, 1], "o-", ms=4, lw=1.6, color=SHAPE_COLOURS["irregular"])
    axes.set_xscale("log")
    _mark(axes, estimate)
    _plain_ticks(axes, known[:, 0])
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _mark(axes: Axes, estimate: Any) -> None:
    """Mark the estimate and its limits."""
    axes.axvspan(estimate.low, estimate.high, color=GOOD, alpha=0.18, lw=0)
    axes.axvline(estimate.diameter, color="#0b9f55", lw=1.6)


def _plain_ticks(axes: Axes, values: FloatArray) -> None:
    """Name some round diameters on a logarithmic axis."""
    low, high = float(values.min()), float(values.max())
    ticks = [tick for tick in ROUND_DIAMETERS if low * 0.9 <= tick <= high * 1.1]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def _say(axes: Axes, what: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, what, ha="center", va="center", color=PALE, transform=axes.transAxes)


def _style(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.tick_params(color=PALE, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _width_of(axes: Axes) -> float:
    """Width of axes in dots of the picture."""
    return float(axes.get_window_extent().width)


def _draw_shapes(axes: Axes, record: StageRecord, thick: float) -> None:
    """Draw all circles, rectangles and outlines that were found, good and bad."""
    if len(record.circles):
        width = 2 * record.circles[:, 2]
        _ellipses(axes, record.circles[:, :2], width, width, 0 * width, SHAPE_COLOURS["top"], thick)
    if len(record.rectangles):
        _rectangles(axes, record.rectangles, SHAPE_COLOURS["side"], thick)
    if (record.shape == SHAPES.index("irregular")).any():
        mask = record.masks[_mask_of(record, "superpixels cleaned")]
        rows, columns = record.shape_of_image
        x = (np.arange(mask.shape[1]) + 0.5) * columns / mask.shape[1] - 0.5
        y = (np.arange(mask.shape[0]) + 0.5) * rows / mask.shape[0] - 0.5
        colour = SHAPE_COLOURS["irregular"]
        axes.contour(x, y, mask.astype(float), [0.5], colors=[colour], linewidths=thick)


def _mask_of(record: StageRecord, name: str) -> str:
    """Name of a mask, or of the cleaned one where it is not there."""
    return name if name in record.masks else "cleaned"


def _draw_examples(
    axes: Axes, record: StageRecord, chosen: npt.NDArray[np.bool_], colour: str, thick: float
) -> None:
    """Draw examples as what they were taken for: rectangles for side views, else ellipses."""
    side = chosen & (record.shape == SHAPES.index("side"))
    rest = chosen & ~side
    if side.any():
        told = np.column_stack([record.positions, record.size, record.angle])[side]
        _rectangles(axes, told, colour, thick)
    if rest.any():
        length, width = record.size[rest].T
        _ellipses(axes, record.positions[rest], length, width, record.angle[rest], colour, thick)


def _ellipses(
    axes: Axes,
    centres: FloatArray,
    length: FloatArray,
    width: FloatArray,
    angle: FloatArray,
    colour: str,
    thick: float,
) -> None:
    for ink, line in ((HALO, thick + 1.2), (colour, thick)):
        axes.add_collection(
            EllipseCollection(
                length,
                width,
                angle,
                units="xy",
                offsets=centres,
                offset_transform=axes.transData,
                facecolors="none",
                edgecolors=ink,
                linewidths=line,
            )
        )


def _rectangles(axes: Axes, rectangles: FloatArray, colour: str, thick: float) -> None:
    turn = np.deg2rad(rectangles[:, 4])
    along = np.stack([np.cos(turn), np.sin(turn)], axis=1) * rectangles[:, 2:3] / 2
    across = np.stack([-np.sin(turn), np.cos(turn)], axis=1) * rectangles[:, 3:4] / 2
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    corners = np.stack([rectangles[:, :2] + a * along + b * across for a, b in signs], axis=1)
    for ink, line in ((HALO, thick + 1.2), (colour, thick)):
        axes.add_collection(
            PolyCollection(list(corners), facecolors="none", edgecolors=ink, linewidths=line)
        )


def _key(colour: str, label: str) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=colour,
        markeredgewidth=2.4,
        label=label,
    )


def _legend_below(figure: Figure, handles: list[Line2D], left: float) -> None:
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(left - 0.004, 0.004),
        ncol=len(handles),
        frameon=False,
        fontsize=10.5,
        handletextpad=0.3,
        columnspacing=1.4,
        labelcolor=INK,
    )
