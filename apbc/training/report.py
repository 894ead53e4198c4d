"""The one-page report of a training, as a picture and as a page."""

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

from apbc.dataset.store import Dataset
from apbc.io.files import atomic_path, write_text
from apbc.models.calibration import Calibration
from apbc.training import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from apbc.training.train import Candidates

FloatArray = npt.NDArray[np.float64]

INK, BLUE, ORANGE, GREY = "#222222", "#1f6fb2", "#d9822b", "#999999"
SHEET_COLUMNS = 12
ROWS = (
    ("samples", "samples"),
    ("accuracy", "accuracy"),
    ("TP", "tp"),
    ("TN", "tn"),
    ("FP", "fp"),
    ("FN", "fn"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("AUC", "auc"),
    ("calibration error", "calibration_error"),
)


@dataclass
class ReportData:
    """What the report shows.

    Attributes
    ----------
    card : dict
    histories : list
        Figures by epoch, one list a member.
    probabilities : ndarray, shape (n,)
        Of the crops of the reported split.
    good : ndarray of bool, shape (n,)
    part : str
        Name of that split.
    positions : ndarray of int, shape (n,)
        Its crops in the data set.
    candidates : Candidates or None
        Of held-out micrographs.
    calibration : Calibration
    """

    card: dict[str, Any]
    histories: list[list[dict[str, float]]]
    probabilities: FloatArray
    good: npt.NDArray[np.bool_]
    part: str
    positions: npt.NDArray[np.int64]
    candidates: Candidates | None
    calibration: Calibration


def write_report(folder: Path, data: ReportData, dataset: Dataset) -> None:
    """Write ``report.png`` and ``report.html``.

    Parameters
    ----------
    folder : Path
    data : ReportData
    dataset : Dataset
        For the sheet of crops.
    """
    figure = draw(data, dataset)
    with atomic_path(folder / "report.png") as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    write_text(folder / "report.html", page(data, picture.getvalue()))


def draw(data: ReportData, dataset: Dataset) -> Figure:
    """Draw the report on one page."""
    figure = Figure(figsize=(13, 13.5), layout="constrained")
    figure.suptitle(
        f"apbc {data.card['architecture']}, particle of {data.card['diameter']:g} Å, "
        f"{data.card['pixel_size']:.2f} Å/px",
        fontsize=14,
        color=INK,
    )
    grid = figure.add_gridspec(3, 3, height_ratios=(1, 1, 1.45))
    _curve(figure.add_subplot(grid[0, 0]), data, "loss", "Loss")
    _curve(figure.add_subplot(grid[0, 1]), data, "accuracy", "Accuracy")
    _table(figure.add_subplot(grid[0, 2]), data)
    _precision_recall(figure.add_subplot(grid[1, 0]), data)
    _reliability(figure.add_subplot(grid[1, 1]), data)
    _histogram(figure.add_subplot(grid[1, 2]), data)
    _sheet(figure.add_subplot(grid[2, :]), data, dataset)
    return figure


def _curve(axes: Axes, data: ReportData, key: str, title: str) -> None:
    for i, history in enumerate(data.histories):
        epochs = [row["epoch"] for row in history]
        label = i == 0
        axes.plot(epochs, [r[key] for r in history], color=INK, label="training" if label else None)
        if history and f"val_{key}" in history[0]:
            values = [row[f"val_{key}"] for row in history]
            axes.plot(epochs, values, color=BLUE, label="validation" if label else None)
    axes.set(title=title, xlabel="epoch")
    axes.legend(frameon=False)
    _tidy(axes)


def _table(axes: Axes, data: ReportData) -> None:
    axes.axis("off")
    parts = list(data.card["metrics"])
    cells = [[_text(data.card["metrics"][p][key]) for p in parts] for _, key in ROWS]
    table = axes.table(
        cellText=cells, rowLabels=[label for label, _ in ROWS], colLabels=parts, loc="center"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(0.8, 1.35)
    for cell in table.get_celld().values():
        cell.set_edgecolor("#dddddd")
    axes.set_title("Good and bad particles at score 0.5")


def _precision_recall(axes: Axes, data: ReportData) -> None:
    if 0 < data.good.sum() < len(data.good):
        precision, recall = metrics.precision_recall(data.probabilities, data.good)
        axes.plot(recall, precision, color=BLUE)
    axes.set(
        title=f"Precision and recall, {data.part} split",
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    _tidy(axes)


def _reliability(axes: Axes, data: ReportData) -> None:
    """Observed against promised share of good particles, among good and bad crops."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    mean, observed, counts = metrics.reliability(data.probabilities, data.good)
    axes.plot(mean, observed, "o-", color=BLUE)
    for x, y, n in zip(mean, observed, counts, strict=True):
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axes.set(
        title=f"Reliability on labels, {data.part} split",
        xlabel="score",
        ylabel="share of good",
        xlim=(0, 1.02),
        ylim=(0, 1.05),
    )
    _tidy(axes)


def _histogram(axes: Axes, data: ReportData) -> None:
    """Scores of labels and, where micrographs are held out, of their candidates and decoys."""
    bins = np.linspace(0, 1, 26).tolist()
    if data.candidates is not None:
        promised = data.calibration.probability
        axes.hist(promised(data.candidates.scores), bins, color="#cccccc", label="candidates")
        axes.hist(
            promised(data.candidates.decoys), bins, histtype="step", color=INK, label="decoys"
        )
    axes.hist(data.probabilities[data.good], bins, color=BLUE, alpha=0.7, label="good labels")
    axes.hist(data.probabilities[~data.good], bins, color=ORANGE, alpha=0.7, label="bad labels")
    axes.axvline(data.card["threshold"], color=INK, linewidth=1, linestyle=":")
    top = max(1, int((data.probabilities[data.good] > 0).sum()))
    axes.set(
        title=f"Scores, {data.part} split", xlabel="score", ylabel="count", ylim=(0, 1.1 * top)
    )
    axes.legend(frameon=False)
    _tidy(axes)


def _sheet(axes: Axes, data: ReportData, dataset: Dataset) -> None:
    """Best, worst and most doubtful crops of the reported split."""
    order = np.argsort(data.probabilities, kind="stable")
    doubtful = np.argsort(np.abs(data.probabilities - 0.5), kind="stable")
    rows = {
        "best": order[::-1][:SHEET_COLUMNS],
        "worst": order[:SHEET_COLUMNS],
        "doubtful": doubtful[:SHEET_COLUMNS],
        "good, scored low": [i for i in order if data.good[i]][:SHEET_COLUMNS],
        "bad, scored high": [i for i in order[::-1] if not data.good[i]][:SHEET_COLUMNS],
    }
    side = dataset.crop_size // 2 * 2
    first = (dataset.crop_size - side) // 2
    sheet = np.full((len(rows) * (side + 4), SHEET_COLUMNS * (side + 4)), np.nan)
    for r, members in enumerate(rows.values()):
        chosen = np.asarray(members, int)
        if not len(chosen):
            continue
        crops = dataset.crops(data.positions[chosen])[:, first : first + side, first : first + side]
        for c, (crop, i) in enumerate(zip(crops, chosen, strict=True)):
            top, left = r * (side + 4) + 2, c * (side + 4) + 2
            sheet[top : top + side, left : left + side] = np.clip(crop[::-1], -3, 3)
            axes.text(
                left + 4,
                top + 4,
                f"{data.probabilities[i]:.2f} {'good' if data.good[i] else 'bad'}",
                fontsize=7,
                va="top",
                color="white",
                bbox={"facecolor": BLUE if data.good[i] else ORANGE, "pad": 1, "edgecolor": "none"},
            )
    axes.imshow(sheet, cmap="gray", interpolation="nearest", aspect="equal")
    axes.set_yticks([(r + 0.5) * (side + 4) for r in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.set_title(f"Crops of the {data.part} split with score and label")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)


def _text(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def page(data: ReportData, picture: bytes) -> str:
    """Write the report as one HTML page with the picture inside."""
    card = data.card
    parts = list(card["metrics"])
    head = "".join(f"<th>{html.escape(p)}</th>" for p in parts)
    body = "".join(
        f"<tr><th>{html.escape(label)}</th>"
        + "".join(f"<td>{_text(card['metrics'][p][key])}</td>" for p in parts)
        + "</tr>"
        for label, key in ROWS
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
        f"scores calibrated on: {card['calibration']['method']}",
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
        "<style>body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:1100px;margin:2em "
        "auto;padding:0 1em}table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .9em;"
        "border-bottom:1px solid #ddd;text-align:right}th:first-child{text-align:left}"
        "img{max-width:100%}</style></head><body><h1>Training report</h1>"
        f"<ul>{items}</ul><table><tr><th></th>{head}</tr>{body}</table>"
        f"<img alt='curves and crops' src='data:image/png;base64,{image}'></body></html>\n"
    )
