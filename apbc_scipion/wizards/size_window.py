"""Windows that choose a length over a real micrograph: a particle's diameter, a box."""

import tkinter as tk
from tkinter import ttk

from apbc_scipion.wizards.micrograph_view import PALE, MicrographView, boxes, circles
from apbc_scipion.wizards.particle_sizes import BOX_RATIO, good_box_size, is_quick
from apbc_scipion.wizards.wizard_window import NumberField, WizardWindow

ROUGH_DIAMETER = 50  # px, where nothing at all is known


def or_middle(axes, points):
    """Give the points, or where there are none the middle of what is shown."""
    return points if len(points) else [[sum(axes.get_xlim()) / 2, sum(axes.get_ylim()) / 2]]


class DiameterWindow(WizardWindow):
    """Choose the particle's diameter in Å.

    Parameters
    ----------
    form : pyworkflow.gui.form.FormWindow
    parameter : str
        Of the form.
    pixelSize : float
        Å per pixel of the micrographs.
    value : float or None
        Diameter in the form, Å.
    suggested : float or None
        Å.
    reason : str
        Where the suggestion comes from, or why there is none.
    source : apbc_scipion.pick_sources.PickSource, optional
        Micrographs with places of particles; without it there is no picture.
    problem : str, optional
        Why there is no picture.
    cache : str, optional
        Folder of thumbnails.
    """

    def __init__(
        self, form, parameter, pixelSize, value, suggested, reason, source=None, problem="",
        cache=None,
    ):  # fmt: skip
        height = 700 if source is not None else 200
        WizardWindow.__init__(self, "Particle diameter", form, minsize=(860, height))
        self.parameter = parameter
        self.pixelSize = pixelSize
        start = value or round(suggested or ROUGH_DIAMETER * pixelSize)
        longest = 2.5 * max(start, suggested or 0)
        row = ttk.Frame(self.body)
        row.pack(side=tk.BOTTOM, fill=tk.X, pady=4)
        told = ttk.Frame(self.body)
        told.pack(side=tk.BOTTOM, fill=tk.X)
        ttk.Label(told, text=reason, foreground=PALE).pack(side=tk.LEFT, padx=8)
        self.view = None
        self.field = NumberField(
            row, "Diameter (Å)", start, (4 * pixelSize, longest), 1, self._changed
        )
        self.pixels = ttk.Label(row)
        self.pixels.pack(side=tk.LEFT, padx=8)
        if suggested:
            self.suggestion = ttk.Button(
                told,
                text="Use %.0f Å" % suggested,
                command=lambda: self.field.set(round(suggested)),
            )
            self.suggestion.pack(side=tk.LEFT)
        if source is None:
            ttk.Label(self.body, text=problem, wraplength=800).pack(padx=8, pady=12)
        else:
            self.view = MicrographView(self, source, self._mark, cache)
            self.view.load(start / pixelSize)
        self._changed()

    def _mark(self, axes, points):
        value = self.field.get()
        if not value or value <= 0:
            return []
        return [circles(axes, or_middle(axes, points), value / self.pixelSize)]

    def _changed(self):
        value = self.field.get()
        self.pixels.configure(
            text="= %.1f px of %.4g Å" % (value / self.pixelSize, self.pixelSize) if value else ""
        )
        if self.view is not None:
            self.view.redraw()

    def problem(self):
        """Tell why the diameter cannot be taken."""
        from apbc_scipion.protocols.protocol_base import diameter_problem

        value = self.field.get()
        if value is None:
            return "The diameter must be a number, in Å."
        return diameter_problem(value, self.pixelSize)

    def apply(self):
        """Write the diameter into the form."""
        self.form.setVar(self.parameter, self.field.get())


class BoxSizeWindow(WizardWindow):
    """Choose a box size in pixels, as a multiple of the diameter.

    Parameters
    ----------
    form : pyworkflow.gui.form.FormWindow
    parameter : str
        Of the form.
    source : apbc_scipion.pick_sources.PickSource
        Micrographs with places of particles, if these are known.
    value : int or None
        Box in the form, pixels.
    diameter : float
        Å.
    reason : str
        Where the diameter comes from.
    cache : str, optional
        Folder of thumbnails.
    """

    def __init__(self, form, parameter, source, value, diameter, reason, cache=None):
        WizardWindow.__init__(self, "Box size", form, minsize=(860, 700))
        self.parameter = parameter
        self.pixelSize = source.pixelSize
        self.diameter = diameter
        row = ttk.Frame(self.body)
        row.pack(side=tk.BOTTOM, fill=tk.X, pady=4)
        told = ttk.Frame(self.body)
        told.pack(side=tk.BOTTOM, fill=tk.X)
        ttk.Label(told, text=reason, foreground=PALE).pack(side=tk.LEFT, padx=8)
        proposed = good_box_size(BOX_RATIO * diameter / self.pixelSize)
        self.view = None
        start = value if value and value > 0 else proposed
        self.field = NumberField(
            row,
            "Box (px)",
            start,
            (diameter / self.pixelSize, 3 * diameter / self.pixelSize),
            2,
            self._changed,
        )
        self.suggestion = ttk.Button(
            told, text="Use %d px" % proposed, command=lambda: self.field.set(proposed)
        )
        self.suggestion.pack(side=tk.LEFT)
        self.quick = ttk.Button(told, command=self._takeQuick)
        self.quick.pack(side=tk.LEFT, padx=6)
        self.told = ttk.Label(row)
        self.told.pack(side=tk.LEFT, padx=8)
        self.view = MicrographView(self, source, self._mark, cache)
        self.view.load(diameter / self.pixelSize)
        self._changed()

    def _takeQuick(self):
        self.field.set(good_box_size(self.field.get()))

    def _mark(self, axes, points):
        side = self.field.get()
        if not side or side <= 0:
            return []
        points = or_middle(axes, points)
        return [circles(axes, points, self.diameter / self.pixelSize), boxes(axes, points, side)]

    def _changed(self):
        side = self.field.get()
        quick = bool(side) and side > 0 and is_quick(int(side))
        self.told.configure(
            text="= %.0f Å = %.2f diameters%s"
            % (
                side * self.pixelSize,
                side * self.pixelSize / self.diameter,
                ", quick to transform" if quick else "",
            )
            if side
            else ""
        )
        if side and side > 0 and not quick:
            self.quick.configure(text="Nearest quick size: %d px" % good_box_size(side))
            self.quick.state(["!disabled"])
        else:
            self.quick.configure(text="Nearest quick size")
            self.quick.state(["disabled"])
        if self.view is not None:
            self.view.redraw()

    def problem(self):
        """Tell why the box cannot be taken."""
        side = self.field.get()
        if side is None or side != int(side) or side < 2 or side % 2:
            return "The box size must be an even number of pixels."
        if side * self.pixelSize < self.diameter:
            return "A box of %d px (%.0f Å) is smaller than the particle (%.0f Å)." % (
                side,
                side * self.pixelSize,
                self.diameter,
            )
        return None

    def apply(self):
        """Write the box size into the form."""
        self.form.setVar(self.parameter, int(self.field.get()))
