"""What the windows of the wizards share: a body, OK and Cancel, and how they tell a problem."""

import tkinter as tk
from tkinter import ttk

from pyworkflow.gui import dialog

from apbc_scipion.viewers.threshold_panel import value_or_none
from apbc_scipion.viewers.window import ApbcWindow


def tell(form, sentence):
    """Show why a wizard cannot open.

    Parameters
    ----------
    form : pyworkflow.gui.form.FormWindow
    sentence : str
    """
    dialog.showWarning("apbc", sentence, form.root)


class WizardWindow(ApbcWindow):
    """A window that writes what was chosen into a form.

    Parameters
    ----------
    title : str
    form : pyworkflow.gui.form.FormWindow
    minsize : (int, int)
    """

    def __init__(self, title, form, minsize=(900, 600)):
        ApbcWindow.__init__(self, title, master=form, minsize=minsize)
        self.form = form
        buttons = ttk.Frame(self.content)
        buttons.pack(side=tk.BOTTOM, fill=tk.X, padx=8, pady=6)
        self.cancelButton = ttk.Button(buttons, text="Cancel", command=self.close)
        self.cancelButton.pack(side=tk.RIGHT)
        self.okButton = ttk.Button(buttons, text="OK", command=self.ok)
        self.okButton.pack(side=tk.RIGHT, padx=6)
        self.body = ttk.Frame(self.content)
        self.body.pack(side=tk.TOP, fill=tk.BOTH, expand=True)
        self.root.bind("<Escape>", self.close)
        self.root.transient(form.root)

    def open(self):
        """Show the window; the form waits behind it."""
        self.show()
        self.root.wait_visibility()
        self.root.grab_set()
        self.root.focus_set()

    def show(self):
        """Bring the window up without a main loop of its own."""
        self.root.update_idletasks()
        self.root.deiconify()

    def problem(self):
        """Tell in a sentence why what was entered cannot be taken, or return None."""
        return None

    def apply(self):
        """Write what was chosen into the form."""
        raise NotImplementedError

    def ok(self, event=None):
        """Write and close, unless something is wrong."""
        problem = self.problem()
        if problem:
            self.say(problem, error=True)
            return
        self.apply()
        self.close()


class NumberField:
    """An entry and a slider for the same number.

    Parameters
    ----------
    frame : ttk.Frame
    label : str
    value : float
    limits : (float, float)
        Of the slider; the entry takes anything that is a number.
    step : float
    changed : callable
        Called when there is another number.
    """

    def __init__(self, frame, label, value, limits, step, changed):
        self._changed = changed
        self._step = step
        ttk.Label(frame, text=label).pack(side=tk.LEFT, padx=(8, 4))
        self.text = tk.StringVar(value=self._format(value))
        self.entry = ttk.Entry(frame, textvariable=self.text, width=8)
        self.entry.pack(side=tk.LEFT)
        self.slider = ttk.Scale(frame, from_=limits[0], to=limits[1], length=260)
        self.slider.set(min(max(value, limits[0]), limits[1]))
        self.slider.configure(command=self._slid)
        self.slider.pack(side=tk.LEFT, padx=8)
        self.text.trace_add("write", self._typed)

    def _format(self, value):
        return "%g" % round(value, 3)

    def get(self):
        """Give the number, or None where the entry holds none."""
        return value_or_none(self.text.get())

    def set(self, value):
        """Set the number."""
        self.text.set(self._format(value))

    def _slid(self, value):
        stepped = self._step * round(float(value) / self._step)
        if self._format(stepped) != self.text.get():
            self.text.set(self._format(stepped))

    def _typed(self, *_):
        value = self.get()
        if value is not None:
            low, high = self.slider.cget("from"), self.slider.cget("to")
            # The slider must not answer, or it would round what is being typed.
            self.slider.configure(command="")
            self.slider.set(min(max(value, low), high))
            self.slider.configure(command=self._slid)
        self._changed()
