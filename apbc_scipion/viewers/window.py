"""What the windows of the plugin share: a place for a figure, a status line, and their end.

The windows are Tk with Matplotlib and need no OpenGL, so that they work through X forwarding. What
they show is drawn by functions that know no window, so that the same can be written as a PNG
without a screen (`scipion3 python -m apbc_scipion.picture`).
"""

import os
import tkinter as tk
from tkinter import messagebox, ttk

from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.figure import Figure
from pyworkflow.gui import Window
from pyworkflow.viewer import View, Viewer

INK, PALE, ERROR = "#1b1f24", "#5c6670", "#b3261e"


class NoDisplayError(Exception):
    """There is no screen to open a window on."""


def display_problem():
    """Tell in a sentence why no window can be opened, or return None.

    Returns
    -------
    str or None
    """
    name = os.environ.get("DISPLAY")
    remedy = (
        "log in with 'ssh -X', or write a picture instead: "
        "scipion3 python -m apbc_scipion.picture --help"
    )
    if not name:
        return "There is no display (DISPLAY is not set): %s." % remedy
    try:
        root = tk.Tk()
    except tk.TclError as error:
        return "The display %s cannot be opened (%s): %s." % (name, error, remedy)
    root.destroy()
    return None


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
        self.content = ttk.Frame(self.root)
        self.content.grid(row=0, column=0, sticky="nsew")
        self._status = tk.Label(self.root, anchor="w", fg=PALE, padx=8, pady=3)
        self._status.grid(row=1, column=0, sticky="ew")
        self.root.rowconfigure(1, weight=0)

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
            function()
            self._timers[function] = self.root.after(milliseconds, again)

        self._timers[function] = self.root.after(milliseconds, again)

    def mayClose(self):
        """Tell whether the window may close now; asks where something is not saved."""
        return True

    def close(self, e=None):
        """Close the window, and end its program if it was opened from none."""
        for timer in self._timers.values():
            self.root.after_cancel(timer)
        self._timers.clear()
        if self.master is not None:
            self.root.destroy()
        else:
            # The hidden root that Scipion's windows make; its end ends the main loop.
            self.root.master.destroy()

    def _onClosing(self):
        if self.mayClose():
            if self.master is not None:
                self.master.getRoot().focus_set()
            self.close()


class WindowView(View):
    """Hands a window to Scipion.

    Parameters
    ----------
    window : ApbcWindow
    """

    def __init__(self, window):
        self.window = window

    def show(self):
        """Show the window; other windows go on."""
        # With a main window its main loop runs already.
        if self.window.master is None:
            self.window.show()
        else:
            self.window.root.deiconify()
            self.window.root.focus_set()


class ApbcViewer(Viewer):
    """Base of the plugin's viewers: a window on the screen, or the same as a PNG."""

    def _visualize(self, obj, **kwargs):
        problem = display_problem()
        if problem:
            raise NoDisplayError(problem)
        return [WindowView(self.makeWindow(obj))]

    def makeWindow(self, obj):
        """Make the window that shows an object or a protocol.

        Returns
        -------
        ApbcWindow
        """
        raise NotImplementedError

    def writePicture(self, obj, path, **options):
        """Write what the window would show as a PNG; needs no screen.

        Parameters
        ----------
        obj : Protocol or EMObject
        path : str
        **options
            As the viewer's `PICTURE_OPTIONS` names them.
        """
        raise NotImplementedError
