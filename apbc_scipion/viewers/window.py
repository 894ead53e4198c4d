"""What the windows of the plugin share: a place for a figure, a status line, and their end.

The windows are Tk with Matplotlib and need no OpenGL, so that they work through X forwarding. What
they show is drawn by functions that know no window, so that the same can be written as a PNG
without a screen (`scipion3 python -m apbc_scipion.picture`).
"""

import time
import tkinter as tk
from tkinter import messagebox, ttk

from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.figure import Figure
from pyworkflow.gui import Window

from apbc_scipion.viewers.viewer_base import NoDisplayError, display_problem

SETTLE_MILLISECONDS, SLICE_SECONDS = 200, 0.04
TAKEN_PIXELS = 50  # of the screen's height, by the title of the window and a bar of the desktop
INK, PALE, ERROR = "#1b1f24", "#5c6670", "#b3261e"


class ApbcWindow(Window):
    """A window with a status line at its bottom.

    Parameters
    ----------
    title : str
    master : pyworkflow.gui.Window, optional
        The window it was opened from.
    minsize : (int, int)
    """

    def __init__(self, title, master=None, minsize=(900, 600)):
        problem = None if master is not None else display_problem()
        if problem:
            raise NoDisplayError(problem)
        Window.__init__(self, title, masterWindow=master, minsize=minsize)
        self._timers = {}
        self._jobs = {}
        self.content = ttk.Frame(self.root)
        self.content.grid(row=0, column=0, sticky="nsew")
        self._status = tk.Label(self.root, anchor="w", fg=PALE, padx=8, pady=3)
        self._status.grid(row=1, column=0, sticky="ew")
        self.root.rowconfigure(1, weight=0)
        self.root.minsize(*map(min, minsize, self._getRoom()))
        self.later("fit", self._fit, 0)

    def _getRoom(self):
        """Width and height that the screen has for a window."""
        return self.root.winfo_screenwidth(), self.root.winfo_screenheight() - TAKEN_PIXELS

    def _fit(self):
        """Make the window smaller if what is in it asks for more than the screen has."""
        self.root.update_idletasks()
        room = self._getRoom()
        wanted = self.root.winfo_reqwidth(), self.root.winfo_reqheight()
        if wanted[0] > room[0] or wanted[1] > room[1]:
            self.root.geometry("%dx%d" % tuple(map(min, wanted, room)))

    def addFigure(self, frame, width=8, height=6, dpi=100):
        """Put a Matplotlib figure into a frame, which it fills.

        Returns
        -------
        matplotlib.figure.Figure
            Its ``canvas`` is the Tk canvas; ``canvas.get_tk_widget()`` the widget.
        """
        figure = Figure((width, height), dpi)
        canvas = FigureCanvasTkAgg(figure, master=frame)
        canvas.get_tk_widget().pack(fill=tk.BOTH, expand=True)
        return figure

    def say(self, text, error=False):
        """Show a sentence in the status line."""
        self._status.configure(text=text, fg=ERROR if error else PALE)

    def getStatus(self):
        """Sentence in the status line."""
        return self._status.cget("text")

    def ask(self, question, title="apbc"):
        """Ask yes or no; returns whether it was yes."""
        return messagebox.askyesno(title, question, parent=self.root)

    def every(self, milliseconds, function):
        """Call a function again and again until the window closes."""

        def again():
            # First, so that a run's file that is locked for a moment does not end it.
            self._timers[function] = self.root.after(milliseconds, again)
            function()

        self._timers[function] = self.root.after(milliseconds, again)

    def later(self, name, function, milliseconds=SETTLE_MILLISECONDS):
        """Call a function once things have rested; a later call replaces an earlier one."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            self.root.after_cancel(timer)

        def now():
            self._timers.pop(name, None)
            function()

        self._timers[name] = self.root.after(milliseconds, now)

    def startJob(self, name, steps):
        """Do work in slices between the events; a new job of a name ends the old one."""
        self._jobs[name] = steps

        def go():
            self._timers.pop("job " + name, None)
            if self._jobs.get(name) is not steps:
                return
            end = time.time() + SLICE_SECONDS
            on = False
            try:
                for _ in steps:
                    if time.time() > end:
                        on = True
                        self._timers["job " + name] = self.root.after(5, go)
                        return
            finally:
                if not on:  # done, or failed
                    self._jobs.pop(name, None)

        self._timers["job " + name] = self.root.after(5, go)

    def isBusy(self):
        """Tell whether work goes on in the background."""
        return bool(self._jobs) or any(isinstance(name, str) for name in self._timers)

    def mayClose(self):
        """Tell whether the window may close now; asks where something is not saved."""
        return True

    def close(self, e=None):
        """Close the window, and end its program if it was opened from none."""
        for timer in self._timers.values():
            self.root.after_cancel(timer)
        self._timers.clear()
        hidden = self.root.master
        self.root.destroy()
        # Without a main window the windows hang on a hidden root, whose end ends the program.
        if self.master is None and not any(
            isinstance(child, tk.Toplevel) for child in hidden.winfo_children()
        ):
            hidden.destroy()

    def _onClosing(self):
        if self.mayClose():
            if self.master is not None:
                self.master.getRoot().focus_set()
            self.close()
