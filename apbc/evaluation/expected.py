"""What calibrated scores promise without any truth, and how well they keep it where it is known.

If a candidate's score is the probability that it is a particle, the expected
precision of the candidates above a threshold is the mean of their scores.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]

BINS = 10


@dataclass(frozen=True)
class Promise:
    """A threshold, and the precision to be expected of what it keeps (None of nothing)."""

    threshold: float
    expected: float | None


def expected_precision(scores: FloatArray, threshold: float) -> float | None:
    """Return the expected share of particles among the candidates above a threshold.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Calibrated scores.
    threshold : float

    Returns
    -------
    float or None
        None if no candidate is above.
    """
    kept = np.asarray(scores)[np.asarray(scores) >= threshold]
    return float(kept.mean()) if len(kept) else None


def threshold_for_precision(scores: FloatArray, precision: float) -> float | None:
    """Lowest threshold whose candidates are expected to have a precision.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Calibrated scores.
    precision : float
        0 to 1.

    Returns
    -------
    float or None
        None if even the best candidates do not promise it.
    """
    ordered = np.sort(np.asarray(scores, float))[::-1]
    if not len(ordered):
        return None
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    enough = np.flatnonzero(means >= precision)
    return float(ordered[enough[-1]]) if len(enough) else None


def promised_threshold(scores: FloatArray, precision: float, otherwise: float) -> Promise:
    """Lowest threshold that promises a precision; a warning where none does.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Calibrated scores of all candidates.
    precision : float
    otherwise : float
        Threshold where the promise cannot be kept.

    Returns
    -------
    Promise
    """
    threshold = threshold_for_precision(scores, precision)
    if threshold is not None:
        return Promise(threshold, expected_precision(scores, threshold))
    expected = expected_precision(scores, otherwise)
    if not len(scores):
        logger.warning("no candidates: a precision of %g cannot be promised", precision)
    else:
        logger.warning(
            "NO THRESHOLD PROMISES A PRECISION OF %g: even the best candidate has a score of %.3f "
            "only; %.3f is taken instead, which promises %s",
            precision,
            scores.max(),
            otherwise,
            "nothing" if expected is None else f"{expected:.3f}",
        )
    return Promise(otherwise, expected)


def best_expected_threshold(scores: FloatArray) -> float:
    """Threshold with the best F1 to be expected of candidates, from their scores alone.

    Keeping the k best candidates has an expected F1 of about
    ``2 sum_k(p) / (k + sum(p))``; the best k is where p falls below half of that
    (Lipton et al. 2014, doi:10.1007/978-3-662-44851-9_15).

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Calibrated scores; n above zero.

    Returns
    -------
    float
        At most 0.5.
    """
    ordered = np.sort(scores)[::-1]
    f1 = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    return float(f1.max() / 2)


def reliability(
    probabilities: FloatArray, good: Array
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Mean probability, observed share and count in ten equal bins; empty bins are left out."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    mean = np.bincount(bins, probabilities, BINS)[filled] / counts[filled]
    share = np.bincount(bins, np.asarray(good, float), BINS)[filled] / counts[filled]
    return mean, share, counts[filled]


def calibration_error(probabilities: FloatArray, good: Array) -> float:
    """Take the expected calibration error: the mean gap of `reliability`, by counts.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
        n above zero.
    good : ndarray, shape (n,)
        Whether, or with which probability, each is right.

    Returns
    -------
    float
    """
    mean, share, counts = reliability(probabilities, good)
    return float((np.abs(mean - share) * counts).sum() / counts.sum())
