"""Which views a picker finds: recall of the good labels of each 2D class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from apbc.dataset.views import UNKNOWN

FEWEST_LABELS = 8  # of a view, to say that it is lost
LOST = 0.75  # a view with less than this share of the recall of all is lost


def recall_of_views(
    view: npt.NDArray[np.integer], found: npt.NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """Recall of each view.

    Parameters
    ----------
    view : ndarray of int, shape (n,)
        2D class of each held-out good label, -1 where it is not known.
    found : ndarray of bool, shape (n,)
        Whether the label was picked.

    Returns
    -------
    dict
        ``{class: {"labels": n, "recall": share}}``; empty where no class is known.
    """
    known = np.unique(view[view != UNKNOWN])
    return {
        str(number): {
            "labels": int((view == number).sum()),
            "recall": float(found[view == number].mean()),
        }
        for number in known.tolist()
    }


def lost_views(views: dict[str, dict[str, Any]]) -> list[str]:
    """Name the views that are found much less often than all labels together.

    Parameters
    ----------
    views : dict
        See `recall_of_views`.

    Returns
    -------
    list of str
        Classes with at least 8 held-out labels whose recall is less than three quarters
        of that of all labels together.
    """
    total = sum(v["labels"] for v in views.values())
    if not total:
        return []
    mean = sum(v["labels"] * v["recall"] for v in views.values()) / total
    return [
        name
        for name, v in views.items()
        if v["labels"] >= FEWEST_LABELS and v["recall"] < LOST * mean
    ]
