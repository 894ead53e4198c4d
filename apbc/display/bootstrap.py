"""Pictures of how a training set was made from a bare micrograph: every stage, and what was found.

Row 0 of the micrograph is at the bottom, as Relion and EMAN show it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from apbc.display.overlay import HALO, INK, PALE, draw_scale_bar
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
    DRAWN: "what was drawn",
    EXAMPLES: "good and bad examples",
}
GOOD, BAD = "#2fe07f", "#ff5a4d"
SHAPE_COLOURS = {"top": "#3ddbd9", "side": "#ffb224", "irregular": "#d78bff"}
DOTS_PER_INCH = 110
ZOOM = 7.0  # diameters that the small panels of the sheet show
PANEL = 2.15  # inches
MOST_COLUMNS = 5


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
    except (OSError, ValueError, KeyError, EOFError) as error:
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
    columns = min(MOST_COLUMNS, len(panels))
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
        masks = list(record.masks)
        mask = record.masks[stage] if stage in record.masks else record.masks[masks[-1]]
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
        mask = list(record.masks.values())[-1]
        rows, columns = record.shape_of_image
        x = (np.arange(mask.shape[1]) + 0.5) * columns / mask.shape[1] - 0.5
        y = (np.arange(mask.shape[0]) + 0.5) * rows / mask.shape[0] - 0.5
        colour = SHAPE_COLOURS["irregular"]
        axes.contour(x, y, mask.astype(float), [0.5], colors=[colour], linewidths=thick)


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
