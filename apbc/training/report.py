"""The report of a training: a picture, a page, and plain files for a viewer."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from apbc.dataset.labels import GOOD_ALONE
from apbc.display import training as display
from apbc.display.card import lost_told, promise_told, rounds_told, views_told
from apbc.display.tables import STYLE
from apbc.evaluation.expected import reliability
from apbc.io.files import atomic_path, write_json, write_text
from apbc.models.calibration import Calibration
from apbc.training import metrics
from apbc.training.sheet import Sheet, write_sheet

if TYPE_CHECKING:
    from apbc.training.candidates import Candidates

FloatArray = npt.NDArray[np.float64]

FORMAT = "apbc report 1"
REPORT_FILE, PAGE_FILE = "report.json", "report.html"
SHEET_COLUMNS = 12
SCORE_BINS = 25
MOST_CURVE_POINTS = 500
DIGITS = 5


@dataclass
class ReportData:
    """What the report shows.

    Attributes
    ----------
    card : dict
    fits : list of dict
        What each fit did, as `Fitted.record` tells it: those on the training split, then
        those on all labels.
    probabilities : ndarray, shape (n,)
        Of the crops of the reported split.
    good : ndarray of bool, shape (n,)
    part : str
        Name of that split.
    candidates : Candidates or None
        Of held-out micrographs.
    calibration : Calibration
    """

    card: dict[str, Any]
    fits: list[dict[str, Any]]
    probabilities: FloatArray
    good: npt.NDArray[np.bool_]
    part: str
    candidates: Candidates | None
    calibration: Calibration


def write_report(folder: Path, data: ReportData, sheet: Sheet) -> None:
    """Write ``report.json``, the crops of the sheet, ``report.png`` and ``report.html``.

    Parameters
    ----------
    folder : Path
    data : ReportData
    sheet : Sheet

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    report = summary(data)
    write_json(folder / REPORT_FILE, report)
    write_sheet(folder, sheet)
    figure = draw(data.card, report, sheet)
    with atomic_path(folder / "report.png") as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    write_text(folder / PAGE_FILE, page(data, picture.getvalue()))


def add_section(folder: Path, name: str, section: str) -> None:
    """Put a section at the end of ``report.html``; one of the same name is replaced.

    Parameters
    ----------
    folder : Path
    name : str
    section : str
        HTML.

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    path = folder / PAGE_FILE
    begin, end = f"<section id='{name}'>", "</section></body>"
    text = path.read_text(encoding="utf-8")
    kept = text.partition(begin)[0].partition("</body>")[0]
    write_text(path, f"{kept}{begin}{section}{end}</html>\n")


def summary(data: ReportData) -> dict[str, Any]:
    """Figures that the report draws, as ``report.json`` holds them.

    Returns
    -------
    dict
        ``part`` (the split that was scored), ``threshold``, ``fits``, ``precision_recall``
        (None where the labels are of one kind), ``reliability`` and ``histogram``.
    """
    mean, share, counts = reliability(data.probabilities, data.good)
    return {
        "format": FORMAT,
        "part": data.part,
        "threshold": data.card["threshold"],
        "fits": data.fits,
        "precision_recall": _precision_recall(data),
        "reliability": {"score": _short(mean), "share": _short(share), "count": counts},
        "histogram": _histogram(data),
    }


def _precision_recall(data: ReportData) -> dict[str, Any] | None:
    """Curve of the labels by rising recall, of at most so many points, and where the threshold is.

    The curve's ends and average precision are those of all points.
    """
    good = data.good
    if not 0 < good.sum() < len(good):
        return None
    precision, recall = metrics.precision_recall(data.probabilities, good)
    order = np.unique(np.linspace(0, len(recall) - 1, MOST_CURVE_POINTS).round().astype(int))[::-1]
    kept = data.probabilities >= data.card["threshold"]
    hits = int((kept & good).sum())
    return {
        "recall": _short(recall[order]),
        "precision": _short(precision[order]),
        "average_precision": round(metrics.average_precision(data.probabilities, good), DIGITS),
        "at_threshold": {
            "precision": hits / int(kept.sum()) if kept.any() else None,
            "recall": hits / int(good.sum()),
        },
    }


def _histogram(data: ReportData) -> dict[str, Any]:
    """Count scores: labels and, where micrographs are held out, candidates and decoys."""
    edges = np.linspace(0, 1, SCORE_BINS + 1)

    def counted(probabilities: FloatArray) -> npt.NDArray[np.int64]:
        return np.histogram(probabilities, edges)[0]

    promised = data.calibration.probability
    candidates = data.candidates
    return {
        "edges": _short(edges),
        "good": counted(data.probabilities[data.good]),
        "bad": counted(data.probabilities[~data.good]),
        "candidates": None if candidates is None else counted(promised(candidates.scores)),
        "decoys": None if candidates is None else counted(promised(candidates.decoys)),
    }


def _short(values: FloatArray) -> FloatArray:
    return np.round(values, DIGITS)


def draw(card: dict[str, Any], report: dict[str, Any], sheet: Sheet) -> Figure:
    """Draw the report on one page.

    Parameters
    ----------
    card : dict
    report : dict
        See `summary`.
    sheet : Sheet

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(13, 14.5), layout="constrained")
    figure.suptitle(
        f"apbc {card['architecture']}, particle of {card['diameter']:g} Å, "
        f"{card['pixel_size']:.2f} Å/px",
        fontsize=14,
        color=display.INK,
    )
    grid = figure.add_gridspec(3, 3, height_ratios=(1, 1, 1.6))
    display.draw_curves(figure.add_subplot(grid[0, 0]), report["fits"], "loss", "Loss")
    display.draw_curves(figure.add_subplot(grid[0, 1]), report["fits"], "accuracy", "Accuracy")
    display.draw_table(figure.add_subplot(grid[0, 2]), card["metrics"])
    display.draw_precision_recall(figure.add_subplot(grid[1, 0]), report)
    display.draw_reliability(figure.add_subplot(grid[1, 1]), report)
    display.draw_histogram(figure.add_subplot(grid[1, 2]), report)
    rows = {name: members[:SHEET_COLUMNS] for name, members in sheet.rows.items()}
    axes = figure.add_subplot(grid[2, :])
    display.draw_sheet(axes, sheet.pixels, sheet.crops, rows, SHEET_COLUMNS)
    axes.set_title(f"Crops of the {sheet.part} split with their scores", color=display.INK)
    axes.legend(
        handles=display.label_handles(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncol=2,
        frameon=False,
    )
    return figure


def _promise(card: dict[str, Any]) -> list[str]:
    """Sentences on what the scores promise; see `apbc.training.candidates.promise`."""
    promise = card.get("promise")
    if promise is None:
        return []
    text = display.figure_text
    rows = [
        *promise_told(card),
        f"an estimated {text(promise['prior'])} of all candidates are particles, and no score "
        f"promises more than {text(promise['ceiling'])}",
    ]
    for name, kept in promise["held_out_precision"].items():
        wanted = "best F1" if name == "best F1" else f"precision {name}"
        if kept["threshold"] is None:
            rows.append(f"{promise['part']} micrographs, {wanted}: no threshold promises it")
            continue
        row = (
            f"{promise['part']} micrographs, {wanted} (threshold {text(kept['threshold'])}): "
            f"promised {text(kept['promised'])}, counted with decoys {text(kept['by_decoys'])}"
        )
        if kept["of_labelled"] is not None:
            row += (
                f", good among the {kept['labelled_good'] + kept['labelled_bad']} picks with a "
                f"label {text(kept['of_labelled'])}"
            )
        rows.append(row)
    return [*rows, f"these precisions are {promise['caveat']}"]


def page(data: ReportData, picture: bytes) -> str:
    """Write the report as one HTML page with the picture inside."""
    card = data.card
    parts = list(card["metrics"])
    head = "".join(f"<th>{html.escape(p)}</th>" for p in parts)
    body = "".join(
        f"<tr><th>{html.escape(label)}</th>"
        + "".join(f"<td>{display.figure_text(card['metrics'][p][key])}</td>" for p in parts)
        + "</tr>"
        for label, key in display.TABLE_ROWS
    )
    facts = [
        f"{card['members']} network{'s' if card['members'] > 1 else ''} of architecture "
        f"{card['architecture']}, trained on {card['device']} in {card['seconds']:.0f} s",
        f"particle diameter {card['diameter']:g} Å, working pixel size {card['pixel_size']:.2f} Å",
        *(
            f"{part} micrographs: {figures['picks']:.0f} picks each at the best threshold "
            f"to be expected, which hold {figures['label_recall']:.0%} of the good labels; "
            f"{figures['expected_precision']:.0%} of the picks are expected to be particles"
            for part, figures in card["picking"].items()
        ),
        "phases flipped" if card["phase_flipped"] else "phases not flipped",
        *([GOOD_ALONE] if not any(row["bad"] for row in card["labels"].values()) else []),
        f"scores calibrated on: {card['calibration']['method']}",
        *_promise(card),
        *rounds_told(card),
        *views_told(card),
        *lost_told(card),
        "delivered weights were fitted again on all labels; the figures are those of the networks "
        "that saw the training split alone"
        if card["refitted"]
        else "delivered weights are those of the training split",
        *(
            [
                f"{len(card['held_out_seen_before'])} held-out micrographs trained the model that "
                "this one goes on from, so the figures flatter it"
            ]
            if card["held_out_seen_before"]
            else []
        ),
        f"{len(card['training_micrographs'])} labelled micrographs; data set "
        f"{card['data_hash'][:12]}; apbc {card['apbc_version']}, Keras {card['keras_version']}",
    ]
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    image = base64.b64encode(picture).decode()
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>apbc training</title>"
        f"<style>{STYLE}</style></head><body><h1>Training report</h1>"
        f"<ul>{items}</ul><table><tr><th></th>{head}</tr>{body}</table>"
        f"<img alt='curves and crops' src='data:image/png;base64,{image}'></body></html>\n"
    )
