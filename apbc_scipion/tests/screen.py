"""A screen of their own for the tests of windows: Xvfb, with a window manager."""

import atexit
import os
import shutil
import subprocess
import time
import unittest

SIZE = "1600x1000x24"
SECONDS = 20
_display, _main = [], []


def need_screen():
    """Start the screen, once a process, and point DISPLAY to it; skip loudly without one."""
    missing = [name for name in ("Xvfb", "openbox") if not shutil.which(name)]
    if missing:
        raise unittest.SkipTest(
            "SKIPPED: tests of windows need %s (apt-get install xvfb openbox)" % missing[0]
        )
    if not _display:
        _start()
    os.environ["DISPLAY"] = _display[0]


def main_window():
    """Give the window from which others open: one a process, since Scipion keeps its icons."""
    from pyworkflow.gui import Window

    if not _main:
        _main.append(Window("main"))
    return _main[0]


def _start():
    """Start Xvfb on a display that it chooses, and openbox on it."""
    reading, writing = os.pipe()
    # It ends with its last client: a server that is stopped before ends this program with an error.
    subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(writing),
            "-screen",
            "0",
            SIZE,
            "-nolisten",
            "tcp",
            "-terminate",
        ],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        number = told.readline().strip()
    if not number:
        raise RuntimeError("Xvfb did not start")
    display = ":" + number
    manager = subprocess.Popen(
        ["openbox"],
        env=dict(os.environ, DISPLAY=display),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(_stop, manager)
    _display.append(display)
    time.sleep(0.5)


def _stop(process):
    """End a program that the tests started."""
    process.terminate()
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def pump(window, until=None, seconds=SECONDS):
    """Let a window handle its events.

    Parameters
    ----------
    window : ApbcWindow
    until : callable, optional
        Go on until it is true; without it the events that wait are handled.
    seconds : float
        Longest time; after it the test fails.
    """
    end = time.time() + seconds
    while True:
        window.root.update()
        if until is None or until():
            return
        if time.time() > end:
            raise AssertionError("the window did not get there in %g s" % seconds)
        time.sleep(0.02)


def grab(path):
    """Write a picture of the whole screen."""
    from PIL import ImageGrab

    ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).save(path)
