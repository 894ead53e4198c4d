"""What a card tells of rounds of feedback, views and the promise of the threshold."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from apbc.display import card as told
from apbc.display.training import MOST_ROWS, draw_rows

FIRST = {"number": 0, "measure": 0.8, "sure": 0, "purity": None, "mined": 0, "kept": False}
SECOND = {"number": 1, "measure": 0.85, "sure": 320, "purity": 0.9, "mined": 12, "kept": True}
THIRD = {"number": 2, "measure": 0.84, "sure": 300, "purity": None, "mined": 9, "kept": False}


def card(**values: Any) -> dict[str, Any]:
    return {"threshold": 0.412, **values}


def test_older_cards_tell_nothing() -> None:
    for old in (card(), card(rounds=[FIRST], views={}, lost_views=[], promise=None)):
        assert told.rounds_told(old) == told.views_told(old) == told.promise_told(old) == []
        assert told.lost_told(old) == []
        assert told.round_rows(old) == told.view_rows(old) == []


def test_the_round_that_was_kept() -> None:
    (sentence,) = told.rounds_told(card(rounds=[FIRST, SECOND, THIRD]))
    assert "round 1 of 2 was kept (held-out figure 0.850, 0.800 without)" in sentence
    assert "320 confident picks (90% good of those with a label) and 12 hard negatives" in sentence
    rows = told.round_rows(card(rounds=[FIRST, SECOND, THIRD]))
    assert rows[0] == ["0", "0.800", "-", "-", "-", ""]
    assert rows[1] == ["1", "0.850", "320", "0.900", "12", "kept"]
    assert rows[2][3] == "-"


def test_feedback_that_did_not_help() -> None:
    (sentence,) = told.rounds_told(card(rounds=[{**FIRST, "kept": True}, {**THIRD, "number": 1}]))
    assert "none of 1 round raised the held-out figure (0.840 after 0.800)" in sentence


def test_views_come_worst_first_and_lost_ones_are_named() -> None:
    views = {
        "2": {"labels": 40, "recall": 0.9, "recall_before": None},
        "7": {"labels": 9, "recall": 0.3, "recall_before": 0.5},
    }
    found = card(views=views, lost_views=["7"])
    assert told.views_told(found) == [
        "held-out labels found, by 2D class: 7: 0.300 (before 0.500) of 9, 2: 0.900 of 40"
    ]
    assert told.view_rows(found) == [
        ["7", "9", "0.300", "0.500", "lost"],
        ["2", "40", "0.900", "-", ""],
    ]
    assert told.lost_told(found) == ["the model loses 2D class 7"]
    assert told.lost_told(card(lost_views=["3", "7", "9"])) == [
        "the model loses 2D classes 3, 7 and 9"
    ]


def test_many_views_end_in_a_count() -> None:
    views = {str(n): {"labels": 10, "recall": n / 20} for n in range(20)}
    (sentence,) = told.views_told(card(views=views))
    assert sentence.endswith("5: 0.250 of 10, 14 more")
    axes = Figure().subplots()
    draw_rows(axes, told.VIEW_HEADS, told.view_rows(card(views=views)), "views")
    texts = [cell.get_text().get_text() for cell in axes.tables[0].get_celld().values()]
    assert f"{20 - MOST_ROWS} more" in texts
    assert "found before" in texts


def test_a_promise_that_cannot_be_kept_is_told() -> None:
    kept = card(promise={"precision": 0.9 - 1e-12, "asked": 0.9})
    assert told.promise_told(kept) == ["the threshold 0.412 promises a precision of 0.90"]
    (broken,) = told.promise_told(card(promise={"precision": 0.8, "asked": 0.9}))
    assert broken.endswith("; 0.9 was asked for, and no threshold promises that")
    assert told.promise_told(card(promise={"precision": None, "asked": 0.9})) == []
