"""A micrograph in a wizard's window: the next one by key, zoom by wheel, pan by dragging."""

import tkinter as tk
from tkinter import ttk

from matplotlib.collections import EllipseCollection, PatchCollection
from matplotlib.patches import Rectangle

from apbc.display.thumbnail import band_pass, grey_limits, read_thumbnail
from apbc.errors import ApbcError
from apbc_scipion.viewers.pan_zoom import PanZoom
from apbc_scipion.viewers.window import INK, PALE

CIRCLE, BOX = "#3ddbd9", "#ffb000"
SEEN_DIAMETERS = 16  # along the picture when it opens
KEYS = (
    "Left and right arrow: other micrographs. Wheel: zoom. Drag: pan. Home: the whole micrograph."
)


def draw_micrograph(axes, thumbnail, diameter, title):
    """Draw a micrograph, its noise smoothed and its slow changes levelled.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    thumbnail : apbc.display.thumbnail.Thumbnail
    diameter : float
        Of the particle, in pixels of the micrograph: a scale for the filters.
    title : str
    """
    seen = max(diameter * thumbnail.scale, 4.0)
    image = band_pass(thumbnail.image, low_pass=seen / 20, high_pass=2 * seen)
    low, high = grey_limits(image)
    axes.clear()
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", extent=thumbnail.extent)
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel("x (px of the micrograph)", fontsize=9, color=PALE)
    axes.set_ylabel("y (px)", fontsize=9, color=PALE)
    axes.tick_params(labelsize=8, colors=PALE)


def circles(axes, points, diameter, colour=CIRCLE):
    """Circles round points.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    points : ndarray, shape (n, 2)
        Pixels of the micrograph.
    diameter : float
        Pixels.
    colour : str

    Returns
    -------
    matplotlib.collections.Collection
        It is on the axes.
    """
    drawn = EllipseCollection(
        [diameter] * len(points),
        [diameter] * len(points),
        [0] * len(points),
        units="xy",
        offsets=points,
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=colour,
        linewidths=1.4,
    )
    axes.add_collection(drawn)
    return drawn


def boxes(axes, points, side, colour=BOX):
    """Squares round points; see `circles`."""
    drawn = PatchCollection(
        [Rectangle((x - side / 2, y - side / 2), side, side) for x, y in points],
        facecolors="none",
        edgecolors=colour,
        linewidths=1.4,
    )
    axes.add_collection(drawn)
    return drawn


class MicrographView:
    """A micrograph of a source, with marks that the window draws on it.

    Parameters
    ----------
    window : apbc_scipion.wizards.wizard_window.WizardWindow
    source : apbc_scipion.pick_sources.PickSource
    mark : callable
        ``mark(axes, points)`` draws the marks and returns its artists; points are an array of
        shape (n, 2).
    cache : str, optional
        Folder of thumbnails.
    """

    def __init__(self, window, source, mark, cache=None):
        self.window = window
        self.source = source
        self.labels = source.getLabels()
        self.number = 0
        self.points = None
        self._mark = mark
        self._cache = cache
        self._marks = []
        self._home = None
        bar = ttk.Frame(window.body)
        bar.pack(side=tk.TOP, fill=tk.X, padx=8, pady=(6, 0))
        self.backButton = ttk.Button(bar, text="< Previous", command=lambda: self.step(-1))
        self.backButton.pack(side=tk.LEFT)
        self.nextButton = ttk.Button(bar, text="Next >", command=lambda: self.step(1))
        self.nextButton.pack(side=tk.LEFT, padx=4)
        self.note = ttk.Label(bar, foreground=PALE)
        self.note.pack(side=tk.LEFT, padx=8)
        frame = ttk.Frame(window.body)
        frame.pack(fill=tk.BOTH, expand=True)
        self.figure = window.addFigure(frame, 9, 6.5)
        self.axes = self.figure.add_axes([0.07, 0.08, 0.91, 0.86])
        self.panZoom = PanZoom(self.axes)
        for key, function in (
            ("<Left>", lambda event: self._onKey(event, -1)),
            ("<Right>", lambda event: self._onKey(event, 1)),
            ("<Prior>", lambda event: self.step(-1)),
            ("<Next>", lambda event: self.step(1)),
            ("<Home>", self._onHome),
        ):
            window.root.bind(key, function)

    def load(self, diameter):
        """Read and draw the micrograph; tell what is wrong with it in its place.

        Parameters
        ----------
        diameter : float
            Rough diameter of the particle in pixels, for the filters.
        """
        self._diameter = diameter
        label = self.labels[self.number]
        self.points = self.source.getPicks(label)[:, :2]
        self._marks = []
        state = tk.NORMAL if len(self.labels) > 1 else tk.DISABLED
        self.backButton.configure(state=state)
        self.nextButton.configure(state=state)
        title = "%s   (%d of %d, %d particles)" % (
            label,
            self.number + 1,
            len(self.labels),
            len(self.points),
        )
        try:
            thumbnail = read_thumbnail(self.source.getPath(label), cache=self._cache)
        except (ApbcError, OSError) as error:
            self.axes.clear()
            self.axes.set_axis_off()
            self.axes.set_title(title, fontsize=10, color=INK)
            self.axes.text(
                0.5, 0.5, str(error), ha="center", va="center", wrap=True, color=INK,
                transform=self.axes.transAxes,
            )  # fmt: skip
            self.points = self.points[:0]
            self._home = self.panZoom.limits = None
            self.window.say("This micrograph cannot be shown; try the next.", error=True)
            self.figure.canvas.draw_idle()
            return
        self.axes.set_axis_on()
        draw_micrograph(self.axes, thumbnail, diameter, title)
        self.axes.set_aspect("equal")
        self._home = thumbnail.extent
        self._zoomIn(diameter)
        self.window.say(KEYS)
        self.redraw()

    def redraw(self):
        """Draw the marks again."""
        for artist in self._marks:
            artist.remove()
        self._marks = [] if self._home is None else self._mark(self.axes, self.points)
        self.figure.canvas.draw_idle()

    def step(self, by):
        """Go to another micrograph."""
        self.number = (self.number + by) % len(self.labels)
        self.load(self._diameter)

    def _onKey(self, event, by):
        # In an entry the arrows move the cursor.
        if not isinstance(event.widget, (tk.Entry, ttk.Scale)):
            self.step(by)

    def _zoomIn(self, diameter):
        """Show the middle, so that the size of marks can be judged."""
        left, right, bottom, top = self._home
        half = min(right - left, top - bottom, SEEN_DIAMETERS * diameter) / 2
        across, up = (left + right) / 2, (bottom + top) / 2
        self.panZoom.set((across - half, across + half), (up - half, up + half))

    def _onHome(self, event=None):
        if self._home is not None:
            self.panZoom.set(self._home[:2], self._home[2:])
