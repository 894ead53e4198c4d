"""Window that chooses a threshold on the histogram of scores."""

import tkinter as tk
from tkinter import ttk

from apbc.evaluation.expected import expected_precision, threshold_for_precision
from apbc_scipion.viewers.picks_figure import draw_histogram
from apbc_scipion.viewers.window import INK, PALE
from apbc_scipion.wizards.wizard_window import NumberField, WizardWindow

WANTED_PRECISION = 0.9
OWN_VALUE = -1.0


def draw_scores(axes, scores, threshold):
    """Draw a histogram of scores and what a threshold keeps of them.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    scores : apbc_scipion.wizards.score_sources.Scores
    threshold : float
    """
    marks = [] if scores.own is None else [(scores.own, scores.ownName)]
    label = (
        "score (probability of being a particle)" if scores.calibrated else "score of the picker"
    )
    draw_histogram(
        axes, scores.values, threshold, scores.limits, marks, (label, "number of %s" % scores.what)
    )
    if not len(scores.values):
        axes.text(
            0.5, 0.5, "no %s" % scores.what, ha="center", color=PALE, transform=axes.transAxes
        )
        axes.set_yticks([])
    axes.axvline(threshold, color=INK, linewidth=2)


def describe(scores, threshold):
    """Tell what a threshold keeps.

    Parameters
    ----------
    scores : apbc_scipion.wizards.score_sources.Scores
    threshold : float

    Returns
    -------
    str
    """
    if not len(scores.values):
        return "There are no %s to count." % scores.what
    kept = int((scores.values >= threshold).sum())
    text = "%d of %d %s kept" % (kept, len(scores.values), scores.what)
    if scores.micrographs:
        text += ", %.1f a micrograph" % (kept / scores.micrographs)
    precision = expected_precision(scores.values, threshold) if scores.calibrated else None
    if precision is not None:
        text += "; expected precision %.2f" % precision
    return text + "."


class ThresholdWindow(WizardWindow):
    """Choose a threshold.

    Parameters
    ----------
    form : pyworkflow.gui.form.FormWindow
    parameter : str
        Of the form.
    scores : apbc_scipion.wizards.score_sources.Scores
    value : float
        In the form; -1 is the model's own, or that of the run.
    """

    def __init__(self, form, parameter, scores, value):
        WizardWindow.__init__(self, "Threshold", form, minsize=(860, 560))
        self.parameter = parameter
        self.scores = scores
        self.takesOwn = scores.own is not None and (value is None or value == OWN_VALUE)
        row = ttk.Frame(self.body)
        row.pack(side=tk.BOTTOM, fill=tk.X, pady=4)
        buttons = ttk.Frame(self.body)
        buttons.pack(side=tk.BOTTOM, fill=tk.X, padx=8, pady=4)
        ttk.Label(self.body, text=scores.told, foreground=PALE).pack(
            side=tk.BOTTOM, anchor=tk.W, padx=8
        )
        self.figure = self.addFigure(self.body, 8.6, 4.4)
        self.axes = self.figure.add_axes([0.09, 0.13, 0.88, 0.75])
        self._held = False
        for name, function in (
            ("button_press_event", self._onPress),
            ("motion_notify_event", self._onMove),
            ("button_release_event", self._onRelease),
        ):
            self.figure.canvas.mpl_connect(name, function)
        low, high = scores.limits
        start = scores.own if self.takesOwn else value
        if start is None or start == OWN_VALUE:
            start = low
        self.field = NumberField(
            row, "Threshold", start, (low, high), 0.01 if scores.calibrated else (high - low) / 200,
            self._changed,
        )  # fmt: skip
        self.told = ttk.Label(row)
        self.told.pack(side=tk.LEFT, padx=8)
        if scores.own is not None:
            name = scores.ownName[0].upper() + scores.ownName[1:]
            self.ownButton = ttk.Button(
                buttons, text="%s (%.2f)" % (name, scores.own), command=self.takeOwn
            )
            self.ownButton.pack(side=tk.LEFT)
        self.precise = (
            threshold_for_precision(scores.values, WANTED_PRECISION)
            if scores.calibrated and len(scores.values)
            else None
        )
        if self.precise is not None:
            self.preciseButton = ttk.Button(
                buttons,
                text="Most picks at expected precision %g (%.2f)"
                % (WANTED_PRECISION, self.precise),
                command=lambda: self.field.set(self.precise),
            )
            self.preciseButton.pack(side=tk.LEFT, padx=6)
        self._draw()

    def takeOwn(self):
        """Take the model's own threshold, or that of the run, which the form calls -1."""
        self.field.set(self.scores.own)
        self.takesOwn = True
        self._draw()

    def _changed(self):
        self.takesOwn = False
        self._draw()

    def _draw(self):
        value = self.field.get()
        if value is None:
            return
        draw_scores(self.axes, self.scores, value)
        self.told.configure(text=describe(self.scores, value))
        if self.takesOwn:
            self.say("The form will hold -1: %s." % self.scores.ownName)
        elif self.scores.calibrated:
            self.say("Drag the line, or type. Of picks with a score of 0.7, 70 % are particles.")
        else:
            self.say("Drag the line, or type. What the scores mean is up to their picker.")
        self.figure.canvas.draw_idle()

    def _onPress(self, event):
        if event.inaxes is self.axes and event.button == 1:
            self._held = True
            self._onMove(event)

    def _onMove(self, event):
        if self._held and event.inaxes is self.axes:
            low, high = self.scores.limits
            self.field.set(round(min(max(event.xdata, low), high), 2))

    def _onRelease(self, event):
        self._held = False

    def problem(self):
        """Tell why the threshold cannot be taken."""
        value = self.field.get()
        if value is None or (self.scores.calibrated and not 0 <= value <= 1):
            return "The threshold must be a number%s." % (
                " between 0 and 1" if self.scores.calibrated else ""
            )
        return None

    def apply(self):
        """Write the threshold into the form."""
        self.form.setVar(self.parameter, OWN_VALUE if self.takesOwn else self.field.get())
