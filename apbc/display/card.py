"""What the card of a model tells of its training, as sentences and rows of tables.

Older cards lack rounds, views and promise; nothing is told of what is not there.
"""

from __future__ import annotations

from typing import Any, List, Mapping

Card = Mapping[str, Any]
Rows = List[List[str]]

ROUND_HEADS = ("round", "held-out figure", "confident picks", "purity", "hard negatives", "")
VIEW_HEADS = ("2D class", "held-out labels", "found", "found before", "")
MOST_VIEWS = 6  # in a sentence; all are in the table
ROUNDING = 1e-3


def round_rows(card: Card) -> Rows:
    """Tell of every round of feedback, with cells as `ROUND_HEADS` names them.

    Parameters
    ----------
    card : dict
        Contents of ``card.json``.

    Returns
    -------
    list of list of str
        Empty for a training without feedback.
    """
    rounds = card.get("rounds") or []
    if len(rounds) < 2:
        return []
    return [
        [
            str(one["number"]),
            _share(one.get("measure")),
            str(one["sure"]) if one["number"] else "-",
            _share(one.get("purity")),
            str(one["mined"]) if one["number"] else "-",
            "kept" if one.get("kept") else "",
        ]
        for one in rounds
    ]


def view_rows(card: Card) -> Rows:
    """Tell the recall of every 2D class, with cells as `VIEW_HEADS` names them; worst first."""
    lost = lost_views(card)
    return [
        [
            name,
            str(view["labels"]),
            _share(view["recall"]),
            _share(view.get("recall_before")),
            "lost" if name in lost else "",
        ]
        for name, view in _views(card)
    ]


def lost_views(card: Card) -> list[str]:
    """Name the 2D classes whose particles the model finds much less often than others."""
    return [str(name) for name in card.get("lost_views") or []]


def rounds_told(card: Card) -> list[str]:
    """Tell which round of feedback was kept, and what it learnt from."""
    rounds = card.get("rounds") or []
    kept = next((one for one in rounds if one.get("kept")), None)
    if len(rounds) < 2 or kept is None:
        return []
    done = len(rounds) - 1
    if not kept["number"]:
        last = rounds[-1]
        return [
            f"feedback: none of {done} round{'s' * (done > 1)} raised the held-out figure "
            f"({_share(last.get('measure'))} after {_share(kept.get('measure'))}), so that the "
            "training without was kept"
        ]
    purity = kept.get("purity")
    pure = "" if purity is None else f" ({purity:.0%} good of those with a label)"
    return [
        f"feedback: round {kept['number']} of {done} was kept (held-out figure "
        f"{_share(kept.get('measure'))}, {_share(rounds[0].get('measure'))} without); it learnt "
        f"from {kept['sure']} confident picks{pure} and {kept['mined']} hard negatives"
    ]


def views_told(card: Card) -> list[str]:
    """Tell the recall of the 2D classes that are found least."""
    views = _views(card)
    if not views:
        return []
    told = []
    for name, view in views[:MOST_VIEWS]:
        before = view.get("recall_before")
        was = "" if before is None else f" (before {_share(before)})"
        told.append(f"{name}: {_share(view['recall'])}{was} of {view['labels']}")
    more = len(views) - len(told)
    return [
        "held-out labels found, by 2D class: " + ", ".join(told) + (f", {more} more" * (more > 0))
    ]


def lost_told(card: Card) -> list[str]:
    """Tell which 2D classes the model loses."""
    lost = lost_views(card)
    if not lost:
        return []
    named = lost[0] if len(lost) == 1 else ", ".join(lost[:-1]) + " and " + lost[-1]
    return [f"the model loses 2D class{'es' * (len(lost) > 1)} {named}"]


def promise_told(card: Card) -> list[str]:
    """Tell which precision the threshold promises, and whether more was asked for."""
    promise = card.get("promise") or {}
    precision, asked = promise.get("precision"), promise.get("asked")
    if precision is None:
        return []
    told = f"the threshold {card['threshold']:g} promises a precision of {precision:.2f}"
    if asked is not None and precision < asked - ROUNDING:
        told += f"; {asked:g} was asked for, and no threshold promises that"
    return [told]


def _views(card: Card) -> list[tuple[str, Mapping[str, Any]]]:
    """Give the views with their names, those that are found least first."""
    views: Mapping[str, Mapping[str, Any]] = card.get("views") or {}
    return sorted(views.items(), key=lambda item: float(item[1]["recall"]))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
