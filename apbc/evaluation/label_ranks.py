"""How early a picker finds labels: a measure of pickers that needs no truth and no full labels.

Labels hold only a part of the particles, so a candidate without a label may be right, and
neither precision nor recall can be counted. But where two pickers make the same number of
picks and labels are a fair sample of the particles, the one that finds more of the good labels
finds more particles, and so is better in precision, recall and F1 alike, however many particles
carry no label. Bad labels are places known to be wrong: each one picked is a loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]

WINDOW = (0.5, 2.0)  # numbers of picks, in estimated numbers of particles
WINDOW_POINTS = 21


@dataclass(frozen=True)
class LabelRanks:
    """When labels are found, as candidates are picked from the best score down.

    Attributes
    ----------
    good, bad : ndarray, shape (n,), (m,)
        Picks per micrograph at which each label is found; infinite where it never is.
    """

    good: FloatArray
    bad: FloatArray

    @property
    def bad_weight(self) -> float:
        """Weight of the share of bad labels: each counts as a good one, all together as 1."""
        return min(1.0, len(self.bad) / max(1, len(self.good)))


def pick_window(particles: float) -> FloatArray:
    """Numbers of picks per micrograph over which labels are counted.

    Parameters
    ----------
    particles : float
        Estimated number of particles of a micrograph, above zero.

    Returns
    -------
    ndarray
        From half to twice that number, evenly spaced on a logarithmic scale.
    """
    return particles * np.geomspace(*WINDOW, WINDOW_POINTS)


def candidates_of_labels(
    positions: FloatArray, labels: FloatArray, radius: float
) -> npt.NDArray[np.int64]:
    """Index of the candidate that is nearest to each label, -1 where none is within a radius.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        Of candidates.
    labels : ndarray, shape (m, 2)
    radius : float
    """
    if not len(positions) or not len(labels):
        return np.full(len(labels), -1, np.int64)
    distance, index = cKDTree(positions).query(labels)
    return np.where(distance <= radius, index, -1).astype(np.int64)


def ranks_of(
    found: npt.NDArray[np.int64], scores: FloatArray, pooled: FloatArray, micrographs: int
) -> FloatArray:
    """Tell at how many picks per micrograph the labels of one micrograph are found.

    Parameters
    ----------
    found : ndarray of int, shape (m,)
        Candidate of each label, -1 for none.
    scores : ndarray, shape (n,)
        Of the candidates of this micrograph.
    pooled : ndarray
        Scores of the candidates of all micrographs: one threshold serves all.
    micrographs : int

    Returns
    -------
    ndarray, shape (m,)
    """
    ordered = np.sort(-pooled)
    ranks = np.full(len(found), np.inf)
    has = found >= 0
    ranks[has] = np.searchsorted(ordered, -scores[found[has]], side="right") / micrographs
    return ranks


def shares(ranks: FloatArray, picks: FloatArray) -> FloatArray:
    """Share of labels found at each number of picks per micrograph; 0 where there are none."""
    if not len(ranks):
        return np.zeros(len(picks))
    return np.searchsorted(np.sort(ranks), picks, side="right") / len(ranks)


def credit(ranks: FloatArray, window: FloatArray) -> FloatArray:
    """Share of a window of numbers of picks at which each label is found, shape (n,)."""
    return (ranks[:, None] <= window).mean(axis=1)


def measure(ranks: LabelRanks, window: FloatArray) -> float:
    """Share of good labels found less that of bad labels picked, mean over a window.

    Parameters
    ----------
    ranks : LabelRanks
    window : ndarray
        See `pick_window`; the same for all pickers that are compared.

    Returns
    -------
    float
        At most 1; chance is near 0.
    """
    good, bad = credit(ranks.good, window), credit(ranks.bad, window)
    lost = ranks.bad_weight * bad.mean() if len(bad) else 0.0
    return float((good.mean() if len(good) else 0.0) - lost)


def difference_error(first: LabelRanks, second: LabelRanks, window: FloatArray) -> float:
    """Take the standard error of the difference of two pickers' measures on the same labels.

    Labels are compared one by one, so what all pickers find or miss adds nothing.

    Parameters
    ----------
    first, second : LabelRanks
        Of the same labels in the same order.
    window : ndarray

    Returns
    -------
    float
    """
    variance = 0.0
    for weight, one, other in (
        (1.0, first.good, second.good),
        (first.bad_weight, first.bad, second.bad),
    ):
        if len(one) > 1:
            gained = credit(one, window) - credit(other, window)
            variance += weight**2 * gained.var(ddof=1) / len(one)
    return float(np.sqrt(variance))
