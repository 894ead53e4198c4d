"""Tables of a report: as HTML for its page, and as CSV."""

from __future__ import annotations

import csv
import html
import io
from typing import Any, Dict, Sequence

from apbc.evaluation.figures import DIGITS

Row = Dict[str, Any]

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:1100px;margin:2em auto;"
    "padding:0 1em}table{border-collapse:collapse;margin:1em 0;font-size:13px}"
    "th,td{padding:.25em .55em;border-bottom:1px solid #ddd;text-align:right;"
    "font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}"
    "td:first-child{white-space:nowrap}"
    ".lost{color:#d7191c;font-weight:bold}.wide{overflow-x:auto}img{max-width:100%}"
    "h2{margin-top:2em}summary{cursor:pointer}li{margin:.3em 0}"
)
SHOWN_DIGITS = 3


def html_table(rows: Sequence[Row], is_open: bool = True) -> str:
    """Write a table as HTML.

    Parameters
    ----------
    rows : sequence of dict
        At least one, all with the keys of the first, which are the headings. A row whose
        ``lost`` is true is marked.
    is_open : bool, optional
        Show it; else it unfolds at a click.

    Returns
    -------
    str
    """
    head = "".join(f"<th>{html.escape(_heading(key))}</th>" for key in rows[0])
    body = "".join(
        f"<tr{' class=lost' if row.get('lost') else ''}>"
        + "".join(f"<td>{html.escape(_cell(value, SHOWN_DIGITS))}</td>" for value in row.values())
        + "</tr>"
        for row in rows
    )
    table = f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"
    if is_open:
        return table
    return f"<details><summary>Table of {len(rows)} rows</summary>{table}</details>"


def csv_table(rows: Sequence[Row]) -> str:
    """Write a table as CSV; None becomes an empty cell.

    Parameters
    ----------
    rows : sequence of dict
        At least one, all with the keys of the first.

    Returns
    -------
    str
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value, DIGITS) for value in row.values()] for row in rows)
    return text.getvalue()


def _heading(key: str) -> str:
    return key.replace("_", " ").replace("f1", "F1")


def _cell(value: Any, digits: int) -> str:
    """Write a value of a table; nothing where there is none."""
    if value is None:
        return ""
    if isinstance(value, float):
        return (
            f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits > 3 else f"{value:.{digits}f}"
        )
    return str(value)
