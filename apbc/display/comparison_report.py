"""The report of a comparison of pickers: JSON, tables, pictures, and one page with all of it."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from apbc import __version__
from apbc.display import comparison as drawing
from apbc.display.tables import STYLE, Row, csv_table, html_table
from apbc.evaluation.compare import ANY_CLASS, Comparison, sentences
from apbc.evaluation.contamination import KINDS
from apbc.evaluation.views import VIEWS
from apbc.io.files import atomic_path, write_json, write_text

FORMAT = "apbc comparison 1"
RECORD = "compare.json"
PAGE = "report.html"
MOST_CURVE_POINTS = 500


def write_report(folder: str | Path, comparison: Comparison, parameters: Mapping[str, Any]) -> None:
    """Write the report; ``compare.json`` comes last and names the other files.

    Parameters
    ----------
    folder : str or Path
        Made if missing.
    comparison : Comparison
    parameters : mapping of str to object
        With what it was made, for the record.

    Raises
    ------
    ApbcError
        If the folder cannot be written or the disk is full.
    """
    folder = Path(folder)
    tables, pictures, told = (
        make_tables(comparison),
        make_pictures(comparison),
        sentences(comparison),
    )
    for name, rows in tables.items():
        write_text(folder / name, csv_table(rows))
    pixels: dict[str, bytes] = {}
    for name, figure in pictures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        pixels[name] = buffer.getvalue()
        _write_bytes(folder / name, pixels[name])
    write_text(folder / PAGE, page(comparison, parameters, told, tables, pixels))
    record = {
        "format": FORMAT,
        "apbc_version": __version__,
        "parameters": parameters,
        "told": told,
        **comparison.as_dict(),
        "tables": list(tables),
        "pictures": list(pictures),
    }
    write_json(folder / RECORD, record)


def make_pictures(comparison: Comparison) -> dict[str, Figure]:
    """Draw what there is to draw.

    Returns
    -------
    dict of str to matplotlib.figure.Figure
        By the name of the file.
    """
    pictures = {
        "figures.png": drawing.draw_bars(comparison),
        "precision_recall.png": drawing.draw_precision_recall(comparison),
    }
    if comparison.has_classes:
        pictures["classes.png"] = drawing.draw_classes(comparison)
    if comparison.has_views:
        pictures["views.png"] = drawing.draw_views(comparison)
    if comparison.contamination is not None:
        pictures["contamination.png"] = drawing.draw_contamination(comparison)
    if len(comparison.figures) > 1:
        pictures["agreement.png"] = drawing.draw_agreement(comparison)
        pictures["found_by.png"] = drawing.draw_found_by(comparison)
    pictures["micrographs.png"] = drawing.draw_micrographs(comparison)
    pictures["localisation.png"] = drawing.draw_localisation(comparison)
    return pictures


def make_tables(comparison: Comparison) -> dict[str, list[Row]]:
    """Tables of a comparison.

    Returns
    -------
    dict of str to list of dict
        Rows by the name of the file.
    """
    tables = {"compare.csv": _pickers(comparison)}
    if comparison.has_classes:
        tables["per_class.csv"] = _classes(comparison)
    if comparison.has_views:
        tables["per_view.csv"] = _views(comparison)
    if comparison.contamination is not None:
        tables["contamination.csv"] = _contamination(comparison)
    if comparison.agreements:
        tables["agreement.csv"] = _agreement(comparison)
    tables["per_micrograph.csv"] = _micrographs(comparison)
    if any(figures.curve for figures in comparison.figures.values()):
        tables["curves.csv"] = _curves(comparison)
    return tables


def _pickers(comparison: Comparison) -> list[Row]:
    rows = []
    pickers = comparison.as_dict()["pickers"]
    for name in comparison.ranking:
        known = pickers[name]
        low, high = known["f1_interval"] or (None, None)
        keys = ("threshold", "picks", "hits", "false", "on_hidden", "precision", "recall", "f1")
        last = (
            "average_precision",
            "best_f1",
            "best_threshold",
            "localisation_error",
            "found_by_it_alone",
            "false_shared",
        )
        rows.append(
            {
                "picker": name,
                **{key: known[key] for key in keys},
                "f1_low": low,
                "f1_high": high,
                **{key: known[key] for key in last},
            }
        )
    return rows


def _classes(comparison: Comparison) -> list[Row]:
    return [
        {"picker": name, "class": part.part, **_recall(part)}
        for name, losses in comparison.losses.items()
        for part in losses.classes
    ]


def _views(comparison: Comparison) -> list[Row]:
    return [
        {
            "picker": name,
            "class": None if of == ANY_CLASS else of,
            "view": part.part + 1,
            "tilt_from": VIEWS[part.part].tilt[0],
            "tilt_to": VIEWS[part.part].tilt[1],
            "rot_from": VIEWS[part.part].rot[0],
            "rot_to": VIEWS[part.part].rot[1],
            **_recall(part),
        }
        for name, losses in comparison.losses.items()
        for of, parts in losses.views.items()
        for part in parts
    ]


def _recall(part: Any) -> Row:
    return {
        "particles": part.particles,
        "found": part.found,
        "recall": part.recall,
        "low": part.low,
        "high": part.high,
        "lost": int(part.lost),
    }


def _contamination(comparison: Comparison) -> list[Row]:
    assert comparison.contamination is not None and comparison.areas is not None
    rows = []
    for name, counts in comparison.contamination.items():
        for kind, count, area in zip(KINDS, counts, comparison.areas):
            share = count / counts.sum() if counts.sum() else None
            rows.append(
                {"picker": name, "kind": kind, "false_picks": count, "share": share, "area": area}
            )
    return rows


def _agreement(comparison: Comparison) -> list[Row]:
    return [
        {
            "picker": pair.first,
            "other": pair.second,
            "picks": pair.first_picks,
            "picks_of_other": pair.second_picks,
            "common": pair.common,
            "share": pair.share,
            "f1": pair.f1,
        }
        for pair in comparison.agreements
    ]


def _micrographs(comparison: Comparison) -> list[Row]:
    rows = []
    for name, figures in comparison.figures.items():
        for m in figures.per_micrograph:
            match = figures.matches[m.name]
            error = match.offsets.mean() * comparison.pixel_size if m.hits else None
            rows.append(
                {
                    "picker": name,
                    "micrograph": m.name,
                    "particles": m.truth,
                    "picks": m.picks,
                    "hits": m.hits,
                    "on_hidden": int(match.hidden.sum()),
                    "precision": m.precision,
                    "recall": m.recall,
                    "f1": m.f1,
                    "localisation_error": error,
                }
            )
    return rows


def _curves(comparison: Comparison) -> list[Row]:
    """Curves by rising recall, of at most so many points each."""
    rows = []
    for name, figures in comparison.figures.items():
        curve = figures.curve
        if curve is None:
            continue
        last = len(curve.threshold) - 1
        for k in np.unique(np.linspace(0, last, MOST_CURVE_POINTS).round().astype(int)):
            rows.append(
                {
                    "picker": name,
                    "threshold": f"{curve.threshold[k]:.6g}",
                    "precision": curve.precision[k],
                    "recall": curve.recall[k],
                    "f1": curve.f1[k],
                }
            )
    return rows


# --------------------------------- the page ----------------------------------------

SECTIONS = {
    "figures.png": "Figures",
    "precision_recall.png": "Precision and recall",
    "classes.png": "Classes",
    "views.png": "Views",
    "contamination.png": "Contamination",
    "agreement.png": "Agreement",
    "found_by.png": "Who finds what",
    "micrographs.png": "Micrographs",
    "localisation.png": "Localisation",
}
EXPLAINED = {
    "figures.png": "A pick is right when it lies within half a diameter of a particle that no "
    "other pick has claimed, the closest pair first. The line on F1 is its 95% interval, from "
    "drawing micrographs again and again.",
    "precision_recall.png": "A curve follows a picker's picks from its best score down. It needs "
    "all candidates, those below the threshold too, to be told to its end.",
    "classes.png": "Bars are 95% intervals (Wilson). A class is lost when its recall is, beyond "
    "chance and by more than a tenth, below the recall of all particles.",
    "views.png": "Half a sphere of directions in 17 parts of equal area; a direction and its "
    "opposite show mirror images, and count as one. Numbers are percent. A view is lost when its "
    "recall is, beyond chance and by more than a tenth, below that of all views of the class.",
    "contamination.png": "The first bar is the share of the area. Kinds that are much longer "
    "below it than in it attract the picker.",
    "agreement.png": "Of two pickers, whatever the reference says; all micrographs together.",
    "found_by.png": "Particles of the reference by the number of pickers that find them.",
    "micrographs.png": "A picker that fails on a few micrographs shows here.",
    "localisation.png": "How near picks are to the middle of their particles.",
}
OF_SECTION = {
    "figures.png": "compare.csv",
    "classes.png": "per_class.csv",
    "views.png": "per_view.csv",
    "contamination.png": "contamination.csv",
    "agreement.png": "agreement.csv",
    "micrographs.png": "per_micrograph.csv",
}
OPEN = ("compare.csv", "agreement.csv", "contamination.csv")


def page(
    comparison: Comparison,
    parameters: Mapping[str, Any],
    told: Sequence[str],
    tables: Mapping[str, list[Row]],
    pictures: Mapping[str, bytes],
) -> str:
    """Write the report as one HTML page that needs no other file.

    Returns
    -------
    str
    """
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in told)
    parts = [f"<h1>Pickers compared</h1><ul>{items}</ul>"]
    for name, pixels in pictures.items():
        image = base64.b64encode(pixels).decode()
        parts.append(
            f"<h2>{SECTIONS[name]}</h2><p>{EXPLAINED[name]}</p>"
            f"<img alt='{SECTIONS[name]}' src='data:image/png;base64,{image}'>"
        )
        table = OF_SECTION.get(name, "")
        if table in tables:
            parts.append(html_table(tables[table], table in OPEN))
    facts = [f"{key.replace('_', ' ')}: {_told(value)}" for key, value in parameters.items()]
    parts.append(
        "<h2>How it was made</h2><ul>"
        + "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
        + f"<li>apbc {__version__}</li></ul>"
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Pickers compared"
        f"</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(one)}" for key, one in value.items()) or "none"
    return "not told" if value is None else str(value)


def _write_bytes(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
