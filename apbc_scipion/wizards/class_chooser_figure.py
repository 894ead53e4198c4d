"""Class averages with their marks: how they look in the window, and the same as a PNG."""

import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from apbc.io.files import atomic_path
from apbc_scipion.choose_classes import BAD, GOOD, LEFT_OUT
from apbc_scipion.class_averages import read_averages
from apbc_scipion.wizards.class_chooser_marks import ClassMarks, caption

INK, PALE = "#1b1f24", "#5c6670"
# Colour, letter and width of the frame; the letter is for those who do not see the colour.
STYLES = {
    GOOD: ("#0072b2", "G", 4),
    BAD: ("#d55e00", "B", 4),
    LEFT_OUT: ("#b8bfc6", "", 1),
}
NAMES = {GOOD: "good", BAD: "bad", LEFT_OUT: "left out"}
COLUMNS, CELL_INCHES, HEAD_INCHES = 8, 1.6, 1.05


def grey_tile(image, side):
    """Turn an average into a square of grey values.

    Parameters
    ----------
    image : ndarray of float, shape (rows, columns)
    side : int
        Pixels.

    Returns
    -------
    ndarray of uint8, shape (side, side)
        Row 0 of the average at the bottom; a flat average is mid-grey.
    """
    from PIL import Image

    image = np.nan_to_num(np.asarray(image, np.float32))
    low, high = np.percentile(image, (0.5, 99.5))
    if high <= low:
        low, high = float(image.min()), float(image.max())
    span = high - low
    scaled = np.clip((image - low) / span, 0, 1) if span > 0 else np.full(image.shape, 0.5)
    picture = Image.fromarray((255 * scaled[::-1]).astype(np.uint8))
    factor = side / max(picture.size)
    size = [max(1, round(length * factor)) for length in picture.size]
    tile = Image.new("L", (side, side), 235)
    tile.paste(picture.resize(size, Image.LANCZOS), ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(tile)


def summary(marks, least):
    """Count in a sentence, and warn where there are too few particles.

    Parameters
    ----------
    marks : ClassMarks
    least : int
        Particles that a training set needs of good and of bad.

    Returns
    -------
    counts, warning : str
    """
    parts, few = [], []
    for word in (GOOD, BAD, LEFT_OUT):
        classes, particles = marks.count(word)
        parts.append("%s: %d classes, %d particles" % (NAMES[word], classes, particles))
        if word != LEFT_OUT and particles < least:
            few.append("%d %s" % (particles, NAMES[word]))
    warning = "Too few: %s particles; a training needs at least %d of each." % (
        " and ".join(few),
        least,
    )
    return "     ".join(parts), warning if few else ""


def draw_classes(figure, marks, least, by="size"):
    """Draw all class averages with their marks.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Its height is set to what the classes need.
    marks : ClassMarks
    least : int
        Particles that a training set needs of good and of bad.
    by : str
        Order, one of ``marks.orders()``.
    """
    ids = marks.order(by)
    columns = min(COLUMNS, max(4, len(ids)))
    rows = math.ceil(len(ids) / columns)
    extra = any(caption(average)[1] for average in marks.averages)
    cell = CELL_INCHES + (0.42 if extra else 0.26)
    width, height = figure.get_figwidth(), rows * cell + HEAD_INCHES
    figure.set_figheight(height)
    step = width / columns
    counts, warning = summary(marks, least)
    # Inches below the top edge.
    doubts = [text for text in (warning, marks.doubt) if text]
    lines = [(counts, INK)] + [(text, STYLES[BAD][0]) for text in doubts]
    for place, (text, colour) in enumerate(lines):
        below = 0.28 + 0.24 * place
        figure.text(0.01, 1 - below / height, text, fontsize=10, color=colour, va="center")
    figure.text(
        0.99,
        1 - 0.28 / height,
        "G good, B bad, no letter: left out.   Class: particles (share).   Circle: %.0f Å%s"
        % (marks.diameter, ", " + marks.guess if marks.guess else ""),
        fontsize=9,
        color=PALE,
        ha="right",
        va="center",
    )
    for place, classId in enumerate(ids):
        row, column = divmod(place, columns)
        left = column * step + (step - CELL_INCHES) / 2 + 0.03
        bottom = height - HEAD_INCHES + 0.1 - row * cell - CELL_INCHES
        side = CELL_INCHES - 0.14
        axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
        _draw_class(axes, marks, classId)


def _draw_class(axes, marks, classId):
    """Draw one average with frame, letter and caption."""
    average = marks.byId[classId]
    colour, letter, line = STYLES[marks.marks[classId]]
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    if average.image is None:
        axes.text(0.5, 0.5, "no average", ha="center", va="center", color=PALE, fontsize=9)
    else:
        # The tile's first row is its top.
        tile = grey_tile(average.image, 192)
        axes.imshow(tile, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 0, 1), origin="upper")
        radius = marks.diameter / 2 / average.pixelSize / max(average.image.shape)
        axes.add_patch(
            Circle((0.5, 0.5), radius, fill=False, color="white", alpha=0.6, linewidth=0.7)
        )
    axes.add_patch(
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour, linewidth=line, clip_on=False)
    )
    if letter:
        badge = {"facecolor": colour, "edgecolor": "none", "pad": 2.5}
        axes.text(
            0.07, 0.91, letter, color="white", fontsize=9, fontweight="bold", ha="center",
            va="center", bbox=badge,
        )  # fmt: skip
    text = "\n".join(line for line in caption(average) if line)
    axes.text(0.5, -0.05, text, ha="center", va="top", fontsize=8.5, color=INK)


def write_classes_picture(classes, diameter, path, good=None, bad=None, by="size"):
    """Write the class averages with their marks as a PNG; needs no screen.

    Parameters
    ----------
    classes : SetOfClasses2D
    diameter : float or None
        Particle diameter in Å; None: guessed from the averages.
    path : str
        PNG to write.
    good, bad : set of int, optional
        Ids to show; without them what the rule suggests.
    by : str
        Order: "size", "suggestion" or "id", and "resolution" or "score" where known.

    Raises
    ------
    ClassesError
        If the set is empty, or not one average can be read.
    """
    from apbc_scipion.protocols.protocol_create_training_set import SMALLEST_CLASS

    marks = ClassMarks(read_averages(classes), diameter)
    if good or bad:
        marks.setLists(good or set(), bad or set())
    else:
        marks.suggest()
    figure = Figure((COLUMNS * (CELL_INCHES + 0.12), 4), 100)
    FigureCanvasAgg(figure)
    draw_classes(figure, marks, SMALLEST_CLASS, by)
    with atomic_path(path) as temporary:
        figure.savefig(str(temporary), format="png", facecolor="white")
