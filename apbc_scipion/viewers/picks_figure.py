"""Drawing of picks over their micrograph, and of the histogram of their scores.

Nothing here knows a window: the same is drawn on the screen and in a PNG.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from apbc.display.thumbnail import grey_limits
from apbc.evaluation.figures import inside
from apbc.evaluation.matching import NONE, match_closest_first
from apbc_scipion.pick_sources import above

INK, PALE, GROUND = "#1b1f24", "#5c6670", "#e9ecef"
REJECTED, PLAIN, BY_HAND = "#d55e00", "#3ddbd9", "#ff8fd0"
DOUBT = "#b45cff"
# Standard deviation of the scores of an ensemble's members from which a pick is doubtful.
DOUBTFUL = 0.1
HIT, MISS, FALSE = "#3ddbd9", "#ffd84d", "#ff6256"
# Viridis without its darkest third, which does not show on a micrograph.
SCORES = LinearSegmentedColormap.from_list("score", colormaps["viridis"](np.linspace(0.3, 1, 64)))
ACCEPTED_VIEW, REJECTED_VIEW, BOTH_VIEW = "accepted", "rejected", "both"
BINS = 100


class Selection:
    """Which picks of a micrograph are in, which are out, and which are right.

    Parameters
    ----------
    picks : ndarray, shape (n, 3)
        x, y in pixels, score or NaN.
    threshold : float or None
        None takes all.
    added : ndarray, shape (m, 3)
        Picks made by hand; the threshold does not concern them.
    erased : ndarray of bool, shape (n,), optional
    reference : ndarray, shape (k, 2), optional
    radius : float
        Largest distance, in pixels, of a pick from the particle it has found.
    border : ((int, int), float), optional
        Rows and columns of the micrograph, and how near to its border, in pixels, neither picks
        nor reference count.
    hidden : ndarray, shape (h, 2), optional
        Particles that cannot be seen: picks on them are neither hits nor false.
    disagreement : ndarray, shape (n,), optional
        How far the members of an ensemble differ about each pick; NaN where it is not known.
    """

    def __init__(
        self,
        picks,
        threshold=None,
        added=None,
        erased=None,
        reference=None,
        radius=0.0,
        border=None,
        hidden=None,
        disagreement=None,
    ):
        doubtful = np.zeros(len(picks), bool) if disagreement is None else disagreement >= DOUBTFUL
        if erased is not None:
            picks, doubtful = picks[~erased], doubtful[~erased]
        kept = above(picks[:, 2], threshold)
        self.accepted, self.rejected = picks[kept], picks[~kept]
        self.doubtful = picks[kept & doubtful]
        self.added = np.empty((0, 3)) if added is None else added
        self.hits = self.false = self.missed = None
        if reference is not None:
            kept = np.concatenate([self.accepted, self.added])
            if border is not None:
                kept, reference = inside(kept, *border), inside(reference, *border)
            match = match_closest_first(kept, reference, radius)
            found = match != NONE
            missed = np.ones(len(reference), bool)
            missed[match[found]] = False
            self.hits, self.false = kept[found], kept[~found]
            if hidden is not None and len(hidden):
                hidden = hidden if border is None else inside(hidden, *border)
                self.false = self.false[match_closest_first(self.false, hidden, radius) == NONE]
            self.missed = reference[missed]

    @property
    def count(self):
        """Number of picks that are in."""
        return len(self.accepted) + len(self.added)

    @property
    def precision(self):
        """Share of the picks that are right; 0 without picks."""
        total = len(self.hits) + len(self.false)
        return len(self.hits) / total if total else 0.0

    @property
    def recall(self):
        """Share of the reference that is found; 0 without reference."""
        total = len(self.hits) + len(self.missed)
        return len(self.hits) / total if total else 0.0


class PicksPainter:
    """Draws circles on axes; they can be changed without drawing the micrograph again.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    diameter : float
        Of the circles, in pixels of the micrograph.
    limits : (float, float)
        Scores at the ends of the colour scale.
    animated : bool
        Whether the caller draws the circles itself (see `getArtists`).
    """

    def __init__(self, axes, diameter, limits=(0.0, 1.0), animated=False):
        self.axes = axes
        self.diameter = diameter
        self.norm = Normalize(*limits)
        self.animated = animated
        self._artists = []

    def setLimits(self, limits):
        """Change the scores at the ends of the colour scale, for what is drawn next."""
        self.norm = Normalize(*limits)

    def getArtists(self):
        """Artists to draw, in their order."""
        return self._artists

    def clear(self):
        """Take the circles away."""
        for artist in self._artists:
            artist.remove()
        self._artists = []

    def draw(self, selection, view=BOTH_VIEW, compare=False):
        """Draw a selection.

        Parameters
        ----------
        selection : Selection
        view : str
            Accepted, rejected, or both.
        compare : bool
            Colour by right and wrong.
        """
        self.clear()
        if compare and selection.hits is not None:
            self._circles(selection.hits, HIT)
            self._circles(selection.false, FALSE)
            self._circles(selection.missed, MISS, dashed=True)
            return
        if view in (REJECTED_VIEW, BOTH_VIEW):
            self._circles(selection.rejected, REJECTED, thin=view == BOTH_VIEW)
        if view in (ACCEPTED_VIEW, BOTH_VIEW):
            scored = np.isfinite(selection.accepted[:, 2])
            accepted = selection.accepted[scored]
            accepted = accepted[np.argsort(accepted[:, 2])]
            self._circles(accepted, SCORES(self.norm(accepted[:, 2])))
            self._circles(selection.accepted[~scored], PLAIN)
            self._circles(selection.doubtful, DOUBT, dashed=True)
            self._circles(selection.added, BY_HAND)

    def _circles(self, points, colours, dashed=False, thin=False):
        """Add circles, with a dark halo that shows them on bright ground."""
        if not len(points):
            return
        for colour, width in (("#00000070", 2.8), (colours, 1.6)):
            if thin and width > 2:
                continue
            artist = EllipseCollection(
                [self.diameter],
                [self.diameter],
                [0],
                units="xy",
                offsets=points[:, :2],
                offset_transform=self.axes.transData,
                facecolors="none",
                edgecolors=colour,
                linewidths=0.9 if thin else width,
                linestyles=(0, (2.2, 1.2)) if dashed else "solid",
                animated=self.animated,
            )
            self.axes.add_collection(artist)
            self._artists.append(artist)


def draw_micrograph(axes, thumbnail, image, stretch=0.5):
    """Show a micrograph on axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    thumbnail : apbc.display.thumbnail.Thumbnail
    image : ndarray
        Its image, filtered or not.
    stretch : float
        0 (soft) to 1 (hard): how much of the grey values is cut off on both sides.

    Returns
    -------
    matplotlib.image.AxesImage
    """
    cut = 10 ** (2.5 * stretch - 1.5)
    low, high = grey_limits(image, cut, 100 - cut)
    return axes.imshow(
        image,
        cmap="gray",
        origin="lower",
        extent=thumbnail.extent,
        vmin=low,
        vmax=high,
        interpolation="bilinear",
    )


def draw_histogram(axes, scores, threshold, limits, marks=(), labels=("score", "candidates")):
    """Draw the histogram of all candidates' scores; its colours are those of the circles.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    scores : ndarray, shape (n,)
    threshold : float
    limits : (float, float)
        Lowest and highest score.
    marks : iterable of (float, str)
        Thresholds to mark, with what they are.
    labels : (str, str)
        Of the axes.

    Returns
    -------
    list of matplotlib.patches.Rectangle
        The bars.
    """
    axes.clear()
    counts, edges = np.histogram(scores, BINS, limits)
    bars = axes.bar(edges[:-1], counts, np.diff(edges), align="edge")
    colour_bars(bars, edges[:-1], threshold, limits)
    axes.set_xlim(*limits)
    # Square roots show the few beside the many: most candidates are noise of a low score.
    axes.set_yscale("function", functions=(_root, np.square))
    axes.set_ylim(0, max(1.0, 1.25 * counts.max()))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel(labels[0], fontsize=9, color=INK)
    axes.set_ylabel(labels[1], fontsize=9, color=INK)
    axes.tick_params(labelsize=8, color=PALE, labelcolor=INK)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    top = axes.get_ylim()[1]
    for k, (place, told) in enumerate(marks):
        axes.axvline(place, color=INK, linewidth=1, linestyle=":" if k else "--")
        right = place > limits[0] + 0.6 * (limits[1] - limits[0])
        axes.annotate(
            told,
            (place, top * (0.98 - 0.22 * k)),
            xytext=(-3 if right else 3, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            va="top",
            ha="right" if right else "left",
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
            zorder=3,
        )
    return bars


def _root(values):
    return np.sqrt(np.maximum(values, 0))


def colour_bars(bars, lefts, threshold, limits):
    """Colour the bars above a threshold as the circles, and those below as rejected."""
    norm = Normalize(*limits)
    width = (limits[1] - limits[0]) / BINS
    for bar, left in zip(bars, lefts):
        middle = left + width / 2
        bar.set_facecolor(SCORES(norm(middle)) if middle >= threshold else REJECTED)
        bar.set_alpha(1.0 if middle >= threshold else 0.45)


def draw_legend(axes, selection, view, compare):
    """Tell under the axes what the colours mean, with the numbers of this micrograph."""
    if compare and selection.hits is not None:
        entries = [
            (HIT, "-", "%d hits" % len(selection.hits)),
            (FALSE, "-", "%d false picks" % len(selection.false)),
            (MISS, "--", "%d missed" % len(selection.missed)),
        ]
    else:
        entries = []
        if view != REJECTED_VIEW:
            scored = np.isfinite(selection.accepted[:, 2]).any()
            told = "%d picks" + (", coloured by score" if scored else "")
            colour = SCORES(0.6) if scored else PLAIN
            entries.append((colour, "-", told % len(selection.accepted)))
            if len(selection.doubtful):
                entries.append((DOUBT, "--", "%d of them doubtful" % len(selection.doubtful)))
            if len(selection.added):
                entries.append((BY_HAND, "-", "%d by hand" % len(selection.added)))
        if view != ACCEPTED_VIEW:
            entries.append((REJECTED, "-", "%d rejected" % len(selection.rejected)))
    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2.5, label=told)
        for colour, line, told in entries
    ]
    return axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        ncol=len(handles),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handlelength=1.4,
        borderaxespad=0.4,
    )
