"""Histogram of scores with a threshold to move; the picks viewer and the wizard use it."""

import tkinter as tk
from tkinter import ttk

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.figure import Figure

from apbc_scipion.viewers.picks_figure import colour_bars, draw_histogram
from apbc_scipion.viewers.window import INK

STEPS = 1000
FINE_STEP = 0.01


class ThresholdPanel:
    """A frame with the histogram, a slider below it, and thresholds that are suggested.

    Parameters
    ----------
    frame : tkinter widget
        Where it goes.
    scores : callable
        Gives the scores of all candidates, ascending; they may grow.
    limits : callable
        Gives the lowest and the highest score to show.
    threshold : float
    changed : callable
        Called with the threshold whenever it was moved.
    say : callable
        Called with a sentence and whether it tells an error.
    suggested : (float, str), optional
        The model's own threshold, and what it is.
    thresholdFor : callable, optional
        Gives the threshold that promises a precision, or None; leave it out for scores that are
        no probabilities.
    """

    def __init__(
        self, frame, scores, limits, threshold, changed, say, suggested=None, thresholdFor=None
    ):
        self._scores, self._limits, self._thresholdFor = scores, limits, thresholdFor
        self._changed, self._say, self._suggested = changed, say, suggested
        self.threshold = threshold
        inner = ttk.Frame(frame)
        inner.pack()
        self.figure = Figure((3.5, 1.9), 100)
        canvas = FigureCanvasTkAgg(self.figure, master=inner)
        canvas.get_tk_widget().pack()
        self.axes = self.figure.add_axes((0.17, 0.24, 0.79, 0.72))
        canvas.mpl_connect("button_press_event", self._onMouse)
        canvas.mpl_connect("motion_notify_event", self._onMouse)
        self.slider = tk.Scale(
            frame,
            orient=tk.HORIZONTAL,
            showvalue=False,
            command=self._onSlider,
            highlightthickness=0,
        )
        self.slider.pack(fill=tk.X, padx=(44, 4))
        row = ttk.Frame(frame)
        row.pack(fill=tk.X, pady=(4, 0))
        self._makeEntries(row)
        self.draw()

    def _makeEntries(self, row):
        self._text = tk.StringVar()
        entry = ttk.Entry(row, textvariable=self._text, width=7)
        entry.pack(side=tk.LEFT)
        entry.bind("<Return>", self._onEntry)
        if self._suggested is not None:
            place, name = self._suggested
            ttk.Button(
                row,
                text=name,
                width=max(8, len(name)),
                command=lambda: self.setThreshold(place),
            ).pack(side=tk.LEFT, padx=(4, 0))
        self._precision = tk.StringVar(value="0.90")
        if self._thresholdFor is not None:
            ttk.Button(row, text="precision", width=9, command=self.takePrecision).pack(
                side=tk.LEFT, padx=(4, 0)
            )
            wanted = ttk.Entry(row, textvariable=self._precision, width=5)
            wanted.pack(side=tk.LEFT)
            wanted.bind("<Return>", lambda event: self.takePrecision())

    def draw(self):
        """Draw the histogram of the scores that are known now."""
        limits = self._limits()
        self.slider.configure(
            from_=limits[0], to=limits[1], resolution=(limits[1] - limits[0]) / STEPS
        )
        self.slider.set(self.threshold)
        self._text.set("%0.3f" % self.threshold)
        self._bars = draw_histogram(
            self.axes, self._scores(), self.threshold, limits, self._getMarks()
        )
        self._line = self.axes.axvline(self.threshold, color=INK, linewidth=2)
        self.figure.canvas.draw_idle()

    def _getMarks(self):
        """Thresholds to mark."""
        marks = []
        if self._suggested is not None:
            marks.append(self._suggested)
        wanted = value_or_none(self._precision.get())
        if self._thresholdFor is not None and wanted is not None:
            place = self._thresholdFor(wanted)
            if place is not None:
                marks.append((place, "precision %g" % wanted))
        return marks

    def setThreshold(self, threshold):
        """Choose a threshold; one beyond the scale becomes its end."""
        limits = self._limits()
        threshold = float(np.clip(threshold, *limits))
        if threshold == self.threshold:
            return
        self.threshold = threshold
        self.slider.set(threshold)
        self._text.set("%0.3f" % threshold)
        self._line.set_xdata([threshold, threshold])
        colour_bars(self._bars, [bar.get_x() for bar in self._bars], threshold, limits)
        self.figure.canvas.draw_idle()
        self._changed(threshold)

    def nudge(self, direction):
        """Move the threshold by a hundredth of the scale."""
        low, high = self._limits()
        self.setThreshold(self.threshold + direction * FINE_STEP * (high - low))

    def takePrecision(self):
        """Choose the threshold that promises the precision in the field."""
        wanted = value_or_none(self._precision.get())
        if wanted is None or not 0 < wanted <= 1:
            self._say("The precision must be a number between 0 and 1.", True)
            return
        threshold = self._thresholdFor(wanted)
        if threshold is None:
            self._say("No threshold promises a precision of %g." % wanted, True)
            return
        self.setThreshold(threshold)
        self.draw()
        self.figure.canvas.get_tk_widget().focus_set()

    def _onSlider(self, text):
        # The slider rounds to its steps; a threshold that was set elsewhere keeps its value.
        if abs(float(text) - self.threshold) > float(self.slider.cget("resolution")):
            self.setThreshold(float(text))

    def _onEntry(self, event):
        value = value_or_none(self._text.get())
        if value is None:
            self._say("The threshold must be a number, not '%s'." % self._text.get(), True)
            return
        self.setThreshold(value)
        self._text.set("%0.3f" % self.threshold)
        self.figure.canvas.get_tk_widget().focus_set()

    def _onMouse(self, event):
        if event.button == 1 and event.inaxes is self.axes:
            self.setThreshold(event.xdata)


def value_or_none(text):
    """Read a number that somebody typed, or None."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if np.isfinite(value) else None
