"""What the pictures of metrics share: paper, colours, axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from apbc.io.files import atomic_path

INK, PALE, GRID = "#1b1f24", "#5c6670", "#e3e7ea"
# Okabe and Ito's colours, told apart by colour-blind readers.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1b1f24", "#8a6d3b")
DOTS_PER_INCH = 120


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of so many inches.

    Parameters
    ----------
    width, height : float

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure((width, height), DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG picture.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or Path

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def style_axes(axes: Axes, title: str, across: str = "", up: str = "") -> None:
    """Give axes their title and labels, and the plain look of all pictures.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    title, across, up : str
    """
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(color=PALE, labelcolor=PALE)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def class_colours(n: int) -> npt.NDArray[np.float64]:
    """Colours of so many classes, shape (n, 4): twenty that differ, or more along a map."""
    if n <= 10:
        return np.array(colormaps["tab10"](np.arange(n)))
    if n <= 20:
        return np.array(colormaps["tab20"](np.arange(n)))
    return np.array(colormaps["turbo"](np.linspace(0.02, 0.98, n)))
