"""What the viewers share: a window where there is a screen, a picture where there is none.

Scipion imports the viewers when it starts, so that Tk and Matplotlib are imported later.
"""

import os

from pyworkflow.viewer import View, Viewer


class NoDisplayError(Exception):
    """There is no screen to open a window on."""


class CreationError(Exception):
    """No coordinates can be created now; the message says why."""


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
    import tkinter as tk

    try:
        root = tk.Tk()
    except tk.TclError as error:
        return "The display %s cannot be opened (%s): %s." % (name, error, remedy)
    root.destroy()
    return None


def tell_failure(project, run):
    """Tell in a sentence that a run failed; "" where it has not."""
    if run.isActive():
        project._updateProtocol(run)
    return "The run failed: %s" % run.getErrorMessage() if run.isFailed() else ""


def tell_state(project, run, what):
    """Tell in a sentence why a run has nothing to show yet.

    Parameters
    ----------
    project : pyworkflow.project.Project
    run : Protocol or None
    what : str
        What it is to show: ``report``, or a word like it.

    Returns
    -------
    str
    """
    if run is None:
        return "The files of the %s have gone." % what
    failure = tell_failure(project, run)
    if failure:
        return failure
    if run.isAborted():
        return "The run was stopped: it had no %s yet." % what
    if run.isFinished():
        return "There is no %s in the folder of the run; run the protocol again." % what
    if run.isActive():
        return "The run goes on; wait here for its %s." % what
    return "The run has not been started: there is nothing to show yet."


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
