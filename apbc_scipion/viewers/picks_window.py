"""The window of the picks viewer."""

import os
import time
import tkinter as tk
from tkinter import filedialog, ttk

import numpy as np

from apbc.display.score_picture import read_score_picture
from apbc.display.thumbnail import band_pass, read_region
from apbc.errors import ApbcError
from apbc_scipion.viewers.pan_zoom import PanZoom
from apbc_scipion.viewers.picks_figure import (
    ACCEPTED_VIEW,
    BOTH_VIEW,
    REJECTED_VIEW,
    PicksPainter,
    draw_legend,
    draw_micrograph,
)
from apbc_scipion.viewers.threshold_panel import ThresholdPanel
from apbc_scipion.viewers.viewer_base import CreationError
from apbc_scipion.viewers.window import INK, PALE, ApbcWindow

LOOK, ADD, ERASE = "look", "add", "erase"
VIEWS = (ACCEPTED_VIEW, REJECTED_VIEW, BOTH_VIEW)
REDRAW_SECONDS = 0.08
POLL_MILLISECONDS, DETAIL_MILLISECONDS, CREATION_MILLISECONDS = 3000, 250, 500
HINT = (
    "Left/Right: micrograph   wheel: zoom   drag: move   0: whole   +/-: threshold   t: accepted, "
    "rejected, both   m: score map   v/a/e: look, add, erase   right click: erase   Ctrl+Z: undo"
)


class PicksWindow(ApbcWindow):
    """Picks over micrographs, with a threshold to move and picks to add and erase.

    Parameters
    ----------
    review : PicksReview
    master : pyworkflow.gui.Window, optional
    create : callable, optional
        Called with the threshold (or None) and the edits when "Create coordinates" is pressed;
        gives the protocol that makes them, or raises `CreationError`. Without it the button is
        off.
    progress : callable, optional
        Given that protocol, tells how far it is: a sentence, and whether it has ended.
    """

    def __init__(self, review, master=None, create=None, progress=None):
        ApbcWindow.__init__(self, "apbc - picks of %s" % review.source.title, master, (1180, 760))
        self.review = review
        self._create, self._progress = create, progress
        self._creation = self._sent = None
        self._saved = review.getEdits()
        self._at = 0
        self._running = review.source.isRunning()
        self._thumbnail = self._image = self._shown = None
        self._background = None
        self._compared = None
        self._drawn = 0.0
        self.seconds = {}
        self._makeWidgets()
        self._bindKeys()
        self.showMicrograph(0)
        self.startJob("load", self._loadAll())
        self.every(POLL_MILLISECONDS, self._poll)

    # ------------------------------- widgets ----------------------------------------
    def _makeWidgets(self):
        self.content.columnconfigure(0, weight=1)
        self.content.rowconfigure(0, weight=1)
        left = tk.Frame(self.content, bg="white")
        left.grid(row=0, column=0, sticky="nsew")
        self.figure = self.addFigure(left, 8.4, 8.4)
        self.axes = self.figure.add_axes((0.01, 0.06, 0.98, 0.89))
        self.canvas = self.figure.canvas
        self._painter = None
        panel = ttk.Frame(self.content, padding=(10, 8))
        panel.grid(row=0, column=1, sticky="ns")
        self._makeList(panel)
        self._makeThreshold(panel)
        self._makeDisplay(panel)
        self._makeEditing(panel)
        connect = self.canvas.mpl_connect
        connect("draw_event", self._onDraw)
        connect("button_press_event", self._onPress)
        self.panZoom = PanZoom(self.axes, self._moved, self._isDrag)
        self.say(HINT)

    def _makeList(self, panel):
        frame = ttk.Frame(panel)
        frame.pack(fill=tk.X)
        ttk.Button(frame, text="<", width=3, command=lambda: self.step(-1)).pack(side=tk.LEFT)
        self._choice = ttk.Combobox(frame, values=self.review.labels, state="readonly", width=30)
        self._choice.pack(side=tk.LEFT, fill=tk.X, expand=True, padx=4)
        self._choice.bind("<<ComboboxSelected>>", self._onChoice)
        ttk.Button(frame, text=">", width=3, command=lambda: self.step(1)).pack(side=tk.LEFT)
        self._counts = tk.Label(panel, justify=tk.LEFT, anchor="w", fg=INK)
        self._counts.pack(fill=tk.X, pady=(6, 2))

    def _makeThreshold(self, panel):
        frame = ttk.LabelFrame(panel, text="Threshold", padding=6)
        frame.pack(fill=tk.X, pady=4)
        review = self.review
        self.threshold = None
        if not review.hasScores():
            text = "These picks have no scores,\nso there is no threshold to choose."
            tk.Label(frame, text=text, justify=tk.LEFT, fg=PALE).pack(anchor="w")
            return
        self.threshold = ThresholdPanel(
            frame,
            review.getScores,
            review.getLimits,
            review.threshold,
            self._thresholdChanged,
            self.say,
            review.source.suggested,
            review.getThresholdFor if review.source.calibrated else None,
        )
        self._promise = tk.Label(frame, anchor="w", justify=tk.LEFT, fg=INK)
        self._promise.pack(fill=tk.X)

    def _thresholdChanged(self, threshold):
        self.review.threshold = threshold
        self._compared = None
        # Through a slow line drawings must not queue up behind the slider.
        if time.time() - self._drawn > REDRAW_SECONDS:
            self._redrawPicks()
        else:
            self.later("picks", self._redrawPicks, int(1000 * REDRAW_SECONDS))
        if self.review.source.hasReference():
            self.later("compare", self._startComparison)

    def _nudge(self, direction):
        if self.threshold is not None:
            self.threshold.nudge(direction)

    def _drawHistogram(self):
        if self.threshold is not None:
            self.threshold.draw()

    def _makeDisplay(self, panel):
        frame = ttk.LabelFrame(panel, text="Display", padding=6)
        frame.pack(fill=tk.X, pady=4)
        self._view = tk.StringVar(value=BOTH_VIEW if self.review.hasScores() else ACCEPTED_VIEW)
        row = ttk.Frame(frame)
        row.pack(fill=tk.X)
        for word, told in zip(VIEWS, ("true picks", "rejected", "both")):
            ttk.Radiobutton(
                row, text=told, value=word, variable=self._view, command=self._showView
            ).pack(side=tk.LEFT, padx=(0, 6))
        row = ttk.Frame(frame)
        row.pack(fill=tk.X)
        self._withMap = tk.BooleanVar(value=False)
        self._mapButton = ttk.Checkbutton(
            row, text="score map", variable=self._withMap, command=self._redrawAll
        )
        self._mapButton.pack(side=tk.LEFT, padx=(0, 6))
        self._compare = tk.BooleanVar(value=self.review.source.hasReference())
        if self.review.source.hasReference():
            ttk.Checkbutton(
                row, text="hits and misses", variable=self._compare, command=self._redrawPicks
            ).pack(side=tk.LEFT)
        size = self.review.source.pixelSize
        diameter = self.review.source.diameter
        self._stretch = self._addScale(frame, "contrast", 0, 1, 0.02, 0.5, self._redrawAll)
        self._low = self._addScale(
            frame, "low-pass (Å)", 0, round(diameter / 2), 1, round(diameter / 12), self._filter
        )
        self._high = self._addScale(
            frame,
            "high-pass (Å)",
            0,
            round(8 * diameter),
            max(1, round(diameter / 20)),
            0,
            self._filter,
        )
        self._pixel = size

    def _addScale(self, frame, text, low, high, step, value, command):
        """Add a labelled slider.

        Returns
        -------
        tk.DoubleVar
        """
        row = ttk.Frame(frame)
        row.pack(fill=tk.X)
        tk.Label(row, text=text, width=12, anchor="w", fg=INK).pack(side=tk.LEFT)
        variable = tk.DoubleVar(value=value)
        tk.Scale(
            row,
            from_=low,
            to=high,
            resolution=step,
            orient=tk.HORIZONTAL,
            variable=variable,
            command=lambda text: self.later("display", command),
            highlightthickness=0,
            width=11,
        ).pack(side=tk.LEFT, fill=tk.X, expand=True)
        return variable

    def _makeEditing(self, panel):
        frame = ttk.LabelFrame(panel, text="Picks by hand", padding=6)
        frame.pack(fill=tk.X, pady=4)
        self._mode = tk.StringVar(value=LOOK)
        row = ttk.Frame(frame)
        row.pack(fill=tk.X)
        for word in (LOOK, ADD, ERASE):
            ttk.Radiobutton(row, text=word, value=word, variable=self._mode).pack(
                side=tk.LEFT, padx=(0, 6)
            )
        ttk.Button(row, text="undo", width=6, command=self.undo).pack(side=tk.RIGHT)
        row = ttk.Frame(panel)
        row.pack(fill=tk.X, pady=(8, 0))
        self._createButton = ttk.Button(
            row, text="Create coordinates", command=self.createCoordinates
        )
        self._createButton.pack(side=tk.LEFT, fill=tk.X, expand=True)
        if self._create is None:
            self._createButton.state(["disabled"])
        ttk.Button(row, text="Save picture...", command=self._askPicture).pack(
            side=tk.LEFT, padx=(6, 0)
        )

    def _bindKeys(self):
        def bind(keys, function):
            for key in keys:
                self.root.bind(key, lambda event: self._onKey(event, function))

        bind(("<Right>", "<Next>", "n"), lambda: self.step(1))
        bind(("<Left>", "<Prior>", "p"), lambda: self.step(-1))
        bind(("<plus>", "<KP_Add>"), lambda: self._nudge(1))
        bind(("<minus>", "<KP_Subtract>"), lambda: self._nudge(-1))
        bind(("0", "<Home>"), self.showWhole)
        bind(("t",), self._nextView)
        bind(("m",), self._toggleMap)
        bind(("v",), lambda: self._mode.set(LOOK))
        bind(("a",), lambda: self._mode.set(ADD))
        bind(("e",), lambda: self._mode.set(ERASE))
        bind(("<Control-z>",), self.undo)

    def _onKey(self, event, function):
        """Call a function for a key, unless it is meant for a field or a slider."""
        if not isinstance(event.widget, (ttk.Entry, tk.Entry, tk.Scale)):
            function()

    # ------------------------------- micrographs --------------------------------------
    def getLabel(self):
        """Label of the micrograph that is shown; None if there is none."""
        return self.review.labels[self._at] if self.review.labels else None

    def step(self, by):
        """Go forwards or back by a number of micrographs."""
        self.showMicrograph(self._at + by)

    def _onChoice(self, event):
        self.showMicrograph(self._choice.current())
        self.canvas.get_tk_widget().focus_set()

    def showMicrograph(self, number):
        """Show a micrograph.

        Parameters
        ----------
        number : int
            From 0; a number beyond the ends shows the first or the last.
        """
        started = time.time()
        labels = self.review.labels
        if not labels:
            self._showNothing("No micrograph is picked yet.")
            return
        self._at = int(np.clip(number, 0, len(labels) - 1))
        label = self.getLabel()
        self._choice.set(label)
        self._thumbnail = self._shown = None
        try:
            self._thumbnail = self._shown = self.review.getThumbnail(label)
        except ApbcError as error:
            self.say("%s" % error, error=True)
        else:
            self.say(HINT)
        self._filterImage()
        self._resetLimits()
        self._redrawAll()
        if label in self.review.problems:
            self.say(self.review.problems[label], error=True)
        self._drawHistogram()
        self.seconds["open"] = time.time() - started

    def _showNothing(self, sentence):
        self._painter = self._thumbnail = self._shown = self._image = None
        self.axes.clear()
        self.axes.set_axis_off()
        self.axes.text(0.5, 0.5, sentence, ha="center", color=PALE, transform=self.axes.transAxes)
        self.canvas.draw_idle()
        self._counts.configure(text=sentence)

    def _resetLimits(self):
        """Show the whole micrograph."""
        if self._thumbnail is not None:
            rows, columns = self._thumbnail.shape
        else:
            picks = self.review.getPicks(self.getLabel())
            columns, rows = picks[:, :2].max(axis=0) if len(picks) else (100, 100)
        self.panZoom.set((-0.5, columns - 0.5), (-0.5, rows - 0.5))

    def showWhole(self):
        """Zoom out to the whole micrograph."""
        self._shown = self._thumbnail
        self._filterImage()
        self._resetLimits()
        self._redrawAll()

    def _filterImage(self):
        """Filter what is shown."""
        self._image = None
        if self._shown is not None:
            scale = self._shown.scale / self._pixel
            # Sliders tell the size of what just disappears: two standard deviations.
            self._image = band_pass(
                self._shown.image, self._low.get() * scale / 2, self._high.get() * scale / 2
            )

    def _filter(self):
        self._filterImage()
        self._redrawAll()

    # ------------------------------- drawing ----------------------------------------
    def _redrawAll(self):
        """Draw the micrograph and everything on it."""
        label = self.getLabel()
        if label is None:
            return
        axes = self.axes
        axes.clear()
        axes.set_axis_off()
        self._painter = PicksPainter(
            axes, self.review.source.diameter / self._pixel, self.review.getLimits(), animated=True
        )
        if self._image is not None:
            draw_micrograph(axes, self._shown, self._image, self._stretch.get())
        else:
            axes.text(
                0.5,
                0.5,
                "The micrograph cannot be shown:\nits file is missing or damaged.",
                ha="center",
                va="center",
                color=PALE,
                fontsize=12,
                transform=axes.transAxes,
            )
        self._drawMap(label)
        axes.set_aspect("equal")
        self.panZoom.apply()
        self._showTitle(label)
        self._redrawPicks(now=False)
        self.canvas.draw_idle()

    def _showTitle(self, label):
        self.axes.set_title(
            "%s   (%d of %d)" % (label, self._at + 1, len(self.review.labels)),
            fontsize=11,
            color=INK,
            loc="left",
        )

    def _drawMap(self, label):
        """Lay the score map over the micrograph, if it is wanted and there."""
        path = self.review.source.getScoreMap(label)
        self._mapButton.state(["!disabled" if path else "disabled"])
        if not path or not self._withMap.get():
            return
        try:
            scores, extent = read_score_picture(path)
        except ApbcError as error:
            self.say("%s" % error, error=True)
            return
        self.axes.imshow(
            scores,
            cmap="magma",
            vmin=0,
            vmax=1,
            origin="lower",
            extent=extent,
            alpha=np.clip(0.25 + scores, 0, 0.75),
            interpolation="bilinear",
            zorder=1.5,
        )

    def _redrawPicks(self, now=True):
        """Draw the circles anew, on the background that is there."""
        label = self.getLabel()
        if label is None or self._painter is None:
            return
        started = time.time()
        selection = self.review.getSelection(label)
        compare = self._compare.get()
        # The limits of scores of other pickers are known once all are read.
        self._painter.setLimits(self.review.getLimits())
        self._painter.draw(selection, self._view.get(), compare)
        legend = draw_legend(self.axes, selection, self._view.get(), compare)
        legend.set_animated(True)
        self._legend = legend
        self._showCounts(selection)
        if now and self._background is not None:
            self._blit()
        self._drawn = time.time()
        self.seconds["redraw"] = self._drawn - started

    def _nextView(self):
        self._view.set(VIEWS[(VIEWS.index(self._view.get()) + 1) % len(VIEWS)])
        self._showView()

    def _showView(self):
        """Show true picks, rejected ones or both, rather than hits and misses."""
        self._compare.set(False)
        self._redrawPicks()

    def _toggleMap(self):
        if self.getLabel() is not None and self.review.source.getScoreMap(self.getLabel()):
            self._withMap.set(not self._withMap.get())
            self._redrawAll()
        else:
            self.say("There is no score map of this micrograph.")

    def _onDraw(self, event):
        """Keep the background that was just drawn, and put the circles on it."""
        self._background = self.canvas.copy_from_bbox(self.figure.bbox)
        self._blit()

    def _blit(self):
        """Put circles and legend on the background."""
        if self._painter is None:
            return
        self.canvas.restore_region(self._background)
        for artist in [*self._painter.getArtists(), self._legend]:
            self.figure.draw_artist(artist)
        self.canvas.blit(self.figure.bbox)

    def _showCounts(self, selection):
        """Tell the counts of this micrograph and of the set."""
        kept, total = self.review.count()
        here = selection.count
        of = here + len(selection.rejected)
        lines = []
        whole = "Compared" if self.review.source.hasReference() else "Whole set"
        if self.review.hasScores():
            lines.append("This micrograph: %s of %s candidates" % (_number(here), _number(of)))
            text = "%s: %s of %s" % (whole, _number(kept), _number(total))
        else:
            lines.append("This micrograph: %s picks" % _number(here))
            text = "%s: %s" % (whole, _number(kept))
        lines.append("%s on %d micrographs" % (text, len(self.review.labels)))
        if not self.review.isLoaded():
            lines[-1] += " (counting ...)"
        if self.review.source.isRunning():
            lines.append(
                "The run goes on: %d of %d micrographs so far."
                % (len(self.review.labels), len(self.review.source.micrographs))
            )
        if selection.hits is not None:
            lines.append(
                "Here: precision %0.3f, recall %0.3f" % (selection.precision, selection.recall)
            )
            lines.append(
                "All compared: precision %0.3f, recall %0.3f" % self._compared
                if self._compared
                else "All compared: comparing ..."
            )
        self._counts.configure(text="\n".join(lines))
        if self.threshold is not None:
            promised = self.review.getExpectedPrecision()
            self._promise.configure(
                text="Expected precision at this threshold: %0.2f" % promised
                if promised is not None
                else "No candidate has such a score."
                if self.review.source.calibrated
                else "These scores are not probabilities."
            )

    # ------------------------------- mouse --------------------------------------------
    def zoom(self, factor, x, y):
        """Zoom about a point; a factor below 1 goes nearer."""
        self.panZoom.zoom(factor, x, y)

    def _moved(self):
        """Read what is missing once the view rests."""
        self.later("detail", self._readDetail, DETAIL_MILLISECONDS)

    def _readDetail(self):
        """Read the part that is shown with all its pixels."""
        if self._thumbnail is None:
            return
        (left, right), (bottom, top) = self.panZoom.limits
        margin = 0.25 * max(right - left, top - bottom)
        box = (left - margin, right + margin, bottom - margin, top + margin)
        label = self.getLabel()
        try:
            if (right - left) * 1.6 > self._thumbnail.shape[1]:
                self._shown = self._thumbnail
            else:
                self._shown = read_region(self.review.source.getPath(label), box)
        except (ApbcError, ValueError) as error:
            self.say("%s" % error, error=True)
            return
        self._filter()

    def _onPress(self, event):
        if event.inaxes is not self.axes or self.getLabel() is None:
            return
        self.canvas.get_tk_widget().focus_set()
        mode = self._mode.get()
        if event.button == 3 or (event.button == 1 and mode == ERASE):
            self.erase(event.xdata, event.ydata)
        elif event.button == 1 and mode == ADD:
            self.add(event.xdata, event.ydata)

    def _isDrag(self, event):
        return event.button == 2 or (event.button == 1 and self._mode.get() == LOOK)

    # ------------------------------- edits --------------------------------------------
    def add(self, x, y):
        """Add a pick; the score map, where there is one, gives its score."""
        label = self.getLabel()
        if self._thumbnail is not None:
            rows, columns = self._thumbnail.shape
            if not (0 <= x < columns and 0 <= y < rows):
                self.say("That is outside of the micrograph.")
                return
        self.review.add(label, x, y, self._scoreAt(label, x, y))
        self._edited()

    def _scoreAt(self, label, x, y):
        """Score of the map at a place, or None."""
        path = self.review.source.getScoreMap(label)
        if not path:
            return None
        try:
            scores, (left, right, bottom, top) = read_score_picture(path)
        except ApbcError:
            return None  # told when the map is shown
        row = int((y - bottom) / (top - bottom) * scores.shape[0])
        column = int((x - left) / (right - left) * scores.shape[1])
        inside = 0 <= row < scores.shape[0] and 0 <= column < scores.shape[1]
        return float(scores[row, column]) if inside else None

    def erase(self, x, y):
        """Erase the pick at a place."""
        reach = self.review.source.diameter / self._pixel / 2
        if self.review.erase(self.getLabel(), x, y, reach):
            self._edited()
        else:
            self.say("There is no pick to erase there.")

    def undo(self):
        """Take the last change back, and show where it was."""
        label = self.review.undo()
        if label is None:
            self.say("There is nothing to undo.")
            return
        if label != self.getLabel():
            self.showMicrograph(self.review.labels.index(label))
        self._edited()

    def _edited(self):
        self._compared = None
        self._redrawPicks()
        if self.review.source.hasReference():
            self.later("compare", self._startComparison)

    def mayClose(self):
        """Ask before picks made by hand are lost."""
        edits = self.review.getEdits()
        return edits == self._saved or self.ask(
            "Picks were added or erased by hand and no coordinates were created of them. "
            "Close and lose these changes?"
        )

    # ------------------------------- outputs -------------------------------------------
    def createCoordinates(self):
        """Launch the protocol that makes a set of coordinates of what is shown."""
        if self._creation is not None:
            self.say("The last coordinates are still being created.")
            return
        self._sent = self.review.getEdits()
        threshold = self.review.threshold if self.review.hasScores() else None
        try:
            self._creation = self._create(threshold, self._sent)
        except CreationError as error:
            self.say("%s" % error, error=True)
            return
        self._createButton.state(["disabled"])
        self.say("Creating coordinates ...")
        self.later("creation", self._followCreation, CREATION_MILLISECONDS)

    def _followCreation(self):
        sentence, ended, good = self._progress(self._creation)
        self.say(sentence, error=ended and not good)
        if ended:
            self._creation = None
            self._createButton.state(["!disabled"])
            if good:
                self._saved = self._sent
        else:
            self.later("creation", self._followCreation, CREATION_MILLISECONDS)

    def isCreating(self):
        """Tell whether coordinates are being created."""
        return self._creation is not None

    def _askPicture(self):
        if self._painter is None:
            self.say("There is no picture to save yet.")
            return
        path = filedialog.asksaveasfilename(
            parent=self.root,
            defaultextension=".png",
            filetypes=[("PNG", "*.png")],
            initialfile="%s.png" % self.getLabel(),
        )
        if path:
            self.savePicture(path)

    def savePicture(self, path):
        """Write what is shown of the micrograph as a PNG."""
        animated = [*self._painter.getArtists(), self._legend]
        for artist in animated:
            artist.set_animated(False)
        part = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
        try:
            self.figure.savefig(part, format="png", dpi=150)
            os.replace(part, path)
        except OSError as error:
            self.say("The picture could not be written: %s." % error, error=True)
            return
        finally:
            for artist in animated:
                artist.set_animated(True)
        self.canvas.draw_idle()
        self.say("Wrote %s" % path)

    # ------------------------------- reading ------------------------------------
    def _loadAll(self):
        """Read all scores, then draw their histogram."""
        told = time.time()
        for count in self.review.load():
            if time.time() - told > 0.5:
                told = time.time()
                self._drawHistogram()
                self._counts.configure(
                    text="Counting: %d of %d micrographs" % (count, len(self.review.labels))
                )
            yield
        self._drawHistogram()
        self._redrawPicks()
        problems = self.review.problems
        if problems:
            self.say(
                "Picks that cannot be read: %d micrograph(s), such as %s: %s"
                % (len(problems), *next(iter(problems.items()))),
                error=True,
            )
        if self.review.source.hasReference():
            self._startComparison()

    def _startComparison(self):
        self.startJob("compare", self._compareAll())

    def _compareAll(self):
        """Compare all micrographs with the reference."""
        steps = list(self.review.labels)
        for figures in self.review.compare():
            self._compared = figures if len(steps) == 1 else None
            steps.pop()
            yield
        if self.getLabel() is not None:
            self._showCounts(self.review.getSelection(self.getLabel()))

    def _poll(self):
        """Follow a run that goes on."""
        shown = self.getLabel()
        if self.review.refresh():
            self._choice.configure(values=self.review.labels)
            if shown not in self.review.labels:
                self.showMicrograph(0)
            else:
                # Micrographs are listed in the order of their set, not of their picking.
                self._at = self.review.labels.index(shown)
                self._showTitle(shown)
                self.canvas.draw_idle()
            self.startJob("load", self._loadAll())
        running = self.review.source.isRunning()
        if self._running and not running and self.getLabel() is not None:
            self._showCounts(self.review.getSelection(self.getLabel()))
        self._running = running


def _number(count):
    """Count with commas between thousands."""
    return format(count, ",")
