"""Drawings of the training viewer, for its window and for a picture without one."""

from collections import OrderedDict

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke

from apbc.display import training as display
from apbc.display.card import ROUND_HEADS, VIEW_HEADS, round_rows, view_rows
from apbc.display.thumbnail import band_pass, read_region, read_thumbnail
from apbc.errors import ApbcError
from apbc.io.files import atomic_path
from apbc_scipion.viewers.picks_figure import draw_micrograph

OVERVIEW = "overview"
OVERVIEW_COLUMNS, SHEET_COLUMNS = 6, 7
PICTURE_COLUMNS = 14
CLOSE_UP_DIAMETERS = 4
PLACE_LONGEST = 1000
SMOOTHING = 1.0 / 24  # of the diameter
YELLOW = "#f0e442"
MARK = {"ec": YELLOW, "lw": 2.0, "path_effects": [withStroke(linewidth=4.0, foreground="black")]}
NOT_YET = "What is shown here appears when the model is complete."


def lay_out(figure):
    """Let a figure make room for its titles and labels by itself, with a margin."""
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)


def draw_curves(figure, record):
    """Draw loss and accuracy by epoch.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        It is emptied first.
    record : TrainingRecord
    """
    if not record.fits:
        draw_sentence(figure, record.notes.get("curves", "The first epoch is not done yet."))
        return
    axes = figure.subplots(1, 2)
    for one, key, title in zip(
        axes, ("loss", "accuracy"), ("Loss (lower is better)", "Accuracy (higher is better)")
    ):
        display.draw_curves(one, record.fits, key, title)


def draw_figures(figure, record):
    """Draw the table, precision and recall, reliability, and the histogram of scores."""
    if record.card is None:
        draw_sentence(figure, NOT_YET)
        return
    known = record.report is not None
    axes = figure.subplots(2, 2) if known else figure.subplots(1, 2)
    table, *others = np.ravel(axes)
    if record.card.get("metrics"):
        display.draw_table(table, record.card["metrics"])
    else:
        _blank(table, "The card of the model holds no figures.")
    if not known:
        _blank(others[0], record.notes.get("report", NOT_YET))
        return
    display.draw_precision_recall(others[0], record.report)
    display.draw_reliability(others[1], record.report)
    display.draw_histogram(others[2], record.report)


def has_tables(record):
    """Tell whether the card tells of rounds of feedback or of views."""
    card = record.card or {}
    return bool(round_rows(card) or view_rows(card))


def draw_tables(figure, record):
    """Draw the tables of rounds of feedback and of views; see `has_tables`."""
    tables = [
        (ROUND_HEADS, round_rows(record.card), "Rounds of feedback"),
        (VIEW_HEADS, view_rows(record.card), "Held-out labels that are found, by 2D class"),
    ]
    tables = [table for table in tables if table[1]]
    for axes, (heads, rows, title) in zip(
        figure.subplots(len(tables), 1, squeeze=False).ravel(), tables
    ):
        display.draw_rows(axes, heads, rows, title)


def draw_crops(figure, record, row=OVERVIEW, columns=None):
    """Draw the sheet of crops.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
    record : TrainingRecord
    row : str
        The row to show, in several lines, or `OVERVIEW` for the beginning of each.
    columns : int, optional
        Crops a line.

    Returns
    -------
    axes : matplotlib.axes.Axes
    cells : list of Cell
        Where each crop is; none where there are no crops.
    """
    axes = figure.subplots()
    if record.crops is None:
        _blank(axes, record.notes.get("crops", NOT_YET))
        return axes, []
    rows = record.crops["rows"]
    if row == OVERVIEW:
        columns = columns or OVERVIEW_COLUMNS
        shown = OrderedDict((name, members[:columns]) for name, members in rows.items())
    else:
        columns, shown = columns or SHEET_COLUMNS, OrderedDict([("", rows[row])])
    cells = display.draw_sheet(axes, record.pixels, record.crops["crops"], shown, columns)
    if not cells:
        display.say(axes, "There is no such crop.")
    axes.legend(
        handles=display.label_handles(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncol=2,
        frameon=False,
        fontsize=9,
    )
    return axes, cells


def mark_cell(axes, cell):
    """Frame a crop of the sheet; returns the frame."""
    return axes.add_patch(
        Rectangle((cell.left, cell.top), cell.side, cell.side, fill=False, zorder=5, **MARK)
    )


class Place:
    """A crop on its micrograph.

    Parameters
    ----------
    path : str
        Micrograph.
    x, y : float
        Pixels.
    diameter : float
        Pixels.
    cache : str, optional
        Folder for thumbnails.

    Raises
    ------
    ApbcError
        If the micrograph cannot be read, or has no such place.
    """

    def __init__(self, path, x, y, diameter, cache=None):
        self.x, self.y, self.diameter = x, y, diameter
        self.whole = read_thumbnail(path, cache, PLACE_LONGEST)
        rows, columns = self.whole.shape
        if not (0 <= x < columns and 0 <= y < rows):
            raise ApbcError(
                "The micrograph has %d x %d pixels and the particle was at x %g, y %g: the file "
                "is not the one that the training set was made of." % (columns, rows, x, y)
            )
        half = CLOSE_UP_DIAMETERS * diameter / 2.0
        self.near = read_region(path, (x - half, x + half, y - half, y + half), PLACE_LONGEST)


def draw_place(figure, place):
    """Draw a micrograph with a circle where a crop was, and its surroundings below.

    Returns
    -------
    list of matplotlib.patches.Circle
        On the micrograph and on the close-up.
    """
    axes = figure.subplots(2, 1, gridspec_kw={"height_ratios": (3, 2)})
    circles = []
    for one, thumbnail in zip(axes, (place.whole, place.near)):
        image = band_pass(thumbnail.image, place.diameter * thumbnail.scale * SMOOTHING)
        draw_micrograph(one, thumbnail, image)
        circle = Circle((place.x, place.y), place.diameter / 2.0, fill=False, **MARK)
        circles.append(one.add_patch(circle))
        one.set_xticks([])
        one.set_yticks([])
    left, right, bottom, top = place.near.extent
    axes[0].plot(
        (left, right, right, left, left), (bottom, bottom, top, top, bottom), color=YELLOW, lw=0.8
    )
    axes[0].set_title("Micrograph", loc="left", fontsize=10, color=display.INK)
    axes[1].set_title("Close-up", loc="left", fontsize=10, color=display.INK)
    return circles


def draw_sentence(figure, sentence):
    """Write a sentence where a picture would be."""
    axes = figure.subplots()
    _blank(axes, sentence)


def write_training_picture(record, state, title, path):
    """Write curves, figures and crops in one picture.

    Parameters
    ----------
    record : TrainingRecord
    state : str
        Sentence about the training.
    title : str
    path : str
        PNG to write.

    Raises
    ------
    ApbcError
        If it cannot be written.
    """
    tables = has_tables(record)
    figure = Figure((14, 18.5 + 6 * tables), 100)
    FigureCanvasAgg(figure)
    figure.suptitle("%s\n%s" % (title, state), fontsize=12, color=display.INK, wrap=True)
    lay_out(figure)
    heights = (1, 2, 1.35, 1.4) if tables else (1, 2, 1.35)
    curves, figures, crops, *others = figure.subfigures(len(heights), 1, height_ratios=heights)
    draw_curves(curves, record)
    draw_figures(figures, record)
    draw_crops(crops, record, columns=PICTURE_COLUMNS)
    for one in others:
        draw_tables(one, record)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _blank(axes, sentence):
    """Write a sentence on axes, and nothing else."""
    axes.set_axis_off()
    display.say(axes, sentence)
