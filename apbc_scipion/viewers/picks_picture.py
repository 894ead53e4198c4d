"""A micrograph with its picks and the histogram of all scores, as a PNG."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from apbc.display.thumbnail import band_pass
from apbc.io.files import atomic_path
from apbc_scipion.pick_sources import SourceError
from apbc_scipion.viewers.picks_figure import (
    INK,
    PicksPainter,
    draw_histogram,
    draw_legend,
    draw_micrograph,
)


def write_picks_picture(review, path, micrograph=None, threshold=None, view="both"):
    """Write what the picks viewer shows of one micrograph.

    Parameters
    ----------
    review : PicksReview
    path : str
        PNG to write.
    micrograph : str, optional
        Its label; default: the first.
    threshold : float, optional
        Default: that of the run.
    view : str
        ``accepted``, ``rejected`` or ``both``.

    Raises
    ------
    SourceError
        If there is no such micrograph or there are no scores.
    """
    if not review.labels:
        raise SourceError("No micrograph is picked yet: there is nothing to show.")
    label = micrograph or review.labels[0]
    if label not in review.labels:
        raise SourceError(
            "There is no picked micrograph '%s'; there are %s%s."
            % (label, ", ".join(review.labels[:5]), ", ..." if len(review.labels) > 5 else "")
        )
    if threshold is not None:
        if not review.hasScores():
            raise SourceError("These picks have no scores, so there is no threshold to set.")
        review.threshold = threshold
    for _ in review.load():
        pass
    if label in review.problems:
        raise SourceError(review.problems[label])
    source, selection = review.source, review.getSelection(label)
    compare = source.hasReference()
    figure = Figure((13, 8.2), 110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.06, 0.62, 0.88))
    axes.set_axis_off()
    thumbnail = review.getThumbnail(label)
    image = band_pass(thumbnail.image, source.diameter / source.pixelSize * thumbnail.scale / 24)
    draw_micrograph(axes, thumbnail, image)
    painter = PicksPainter(axes, source.diameter / source.pixelSize, review.getLimits())
    painter.draw(selection, view, compare)
    axes.set_title(label, loc="left", fontsize=13, color=INK, fontweight="bold")
    draw_legend(axes, selection, view, compare)
    kept, total = review.count()
    lines = ["%d of %d candidates on %d micrographs" % (kept, total, len(review.labels))]
    if review.hasScores():
        marks = [source.suggested] if source.suggested is not None else []
        below = figure.add_axes((0.7, 0.12, 0.28, 0.34))
        draw_histogram(below, review.getScores(), review.threshold, review.getLimits(), marks)
        below.axvline(review.threshold, color=INK, linewidth=2)
        lines.insert(0, "Threshold %0.3f" % review.threshold)
        promised = review.getExpectedPrecision()
        if promised is not None:
            lines.append("Expected precision at this threshold: %0.2f" % promised)
    else:
        lines = ["%d picks on %d micrographs" % (kept, len(review.labels)), "They have no scores."]
    if compare:
        lines.append(
            "Here: precision %0.3f, recall %0.3f" % (selection.precision, selection.recall)
        )
    figure.text(0.66, 0.9, "\n".join(lines), fontsize=12, color=INK, va="top", linespacing=1.7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
