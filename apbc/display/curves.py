"""Pictures of precision and recall over thresholds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from apbc.evaluation.figures import Curve
from apbc.io.files import atomic_path

INK, PALE, GRID = "#1b1f24", "#5c6670", "#e3e7ea"
PRECISION, RECALL, F1 = "#0072b2", "#d55e00", "#009e73"


def draw_curve(path: str | Path, curve: Curve) -> None:
    """Write precision against recall, and all figures against the threshold, as a PNG picture.

    Parameters
    ----------
    path : str or Path
    curve : Curve

    Raises
    ------
    ApbcError
        If the file cannot be written.
    """
    figure = Figure((11, 5), 120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    best = int(curve.f1.argmax())
    left.step(curve.recall, curve.precision, where="pre", color=PRECISION, linewidth=2)
    left.fill_between(curve.recall, curve.precision, step="pre", color=PRECISION, alpha=0.12, lw=0)
    left.plot(curve.recall[best], curve.precision[best], "o", color=F1, markersize=9)
    left.annotate(
        f"best F1 {curve.f1[best]:.3f}",
        (curve.recall[best], curve.precision[best]),
        xytext=(-12, -14),
        textcoords="offset points",
        ha="right",
        va="top",
        color=INK,
    )
    left.set_xlim(0, 1)
    _style(left, f"average precision {curve.average_precision:.3f}", "recall", "precision")
    for values, colour, name in (
        (curve.precision, PRECISION, "precision"),
        (curve.recall, RECALL, "recall"),
        (curve.f1, F1, "F1"),
    ):
        right.plot(curve.threshold, values, color=colour, linewidth=2, label=name)
    right.axvline(curve.threshold[best], color=PALE, linewidth=1, linestyle="--")
    right.legend(frameon=False, loc="lower center", ncol=3, labelcolor=INK)
    _style(right, f"highest F1 at {curve.threshold[best]:.3f}", "threshold", "figure")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _style(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_ylim(0, 1.02)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(color=PALE, labelcolor=PALE)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
