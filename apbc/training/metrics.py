"""Figures of a classifier on good and bad particles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from apbc.evaluation.expected import calibration_error

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def figures(
    probabilities: FloatArray, good: BoolArray, threshold: float = 0.5
) -> dict[str, float | int | None]:
    """Take the figures of the table that Autopick-BC prints, and more.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
    good : ndarray of bool, shape (n,)
        True labels.
    threshold : float, optional
        Called good from this probability on.

    Returns
    -------
    dict
        ``samples``, ``accuracy``, ``tp``, ``tn``, ``fp``, ``fn``, ``precision``,
        ``recall``, ``auc``, ``calibration_error``; None where undefined.
    """
    called = probabilities >= threshold
    tp, tn = int((called & good).sum()), int((~called & ~good).sum())
    fp, fn = int((called & ~good).sum()), int((~called & good).sum())
    n = len(good)
    both = 0 < good.sum() < n
    return {
        "samples": n,
        "accuracy": (tp + tn) / n if n else None,
        "tp": tp,
        "tn": tn,
        "fp": fp,
        "fn": fn,
        "precision": tp / (tp + fp) if tp + fp and not good.all() else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "auc": float(sk.roc_auc_score(good, probabilities)) if both else None,
        "calibration_error": calibration_error(probabilities, good) if n else None,
    }


def precision_recall(probabilities: FloatArray, good: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Precision and recall at every threshold."""
    precision, recall, _ = sk.precision_recall_curve(good, probabilities)
    return precision, recall


def average_precision(probabilities: FloatArray, good: BoolArray) -> float:
    """Mean precision over recall, of all thresholds."""
    return float(sk.average_precision_score(good, probabilities))
