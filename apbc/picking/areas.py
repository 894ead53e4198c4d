"""Large connected areas of high scores: ice and carbon, or a crowd of particles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components
from skimage.feature import peak_local_max
from skimage.morphology import h_maxima

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

LARGE = 4.0  # boxes
PEAKS = 0.5  # in the area of a box, from which on it is a crowd
APART = 0.25  # sides of a box
DIP = 1.0  # of the log-odds between two peaks
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def connected_areas(
    scores: FloatArray, threshold: float, closeness: float | None = None
) -> IntArray:
    """Areas of places that are above a threshold and touch, also at corners.

    Parameters
    ----------
    scores : ndarray, shape (rows, cols)
    threshold : float
    closeness : float, optional
        Neighbours belong together only if their scores differ by no more than this
        ("close scores" in the paper, which gives no figure).

    Returns
    -------
    ndarray of int, shape (rows, cols)
        Number of the area from 1 on; 0 below the threshold.
    """
    mask = scores >= threshold
    if closeness is None:
        labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
        return np.asarray(labels, np.int64)
    number = np.arange(scores.size).reshape(scores.shape)
    pairs = []
    for down, across in NEIGHBOURS:
        rows = scores.shape[0] - down
        here = (slice(0, rows), slice(max(0, -across), scores.shape[1] - max(0, across)))
        there = (slice(down, None), slice(max(0, across), scores.shape[1] + min(0, across)))
        joined = mask[here] & mask[there]
        joined &= np.abs(scores[here] - scores[there]) <= closeness
        pairs.append(np.stack([number[here][joined], number[there][joined]], axis=1))
    first, second = np.concatenate(pairs).T
    graph = sparse.coo_matrix(
        (np.ones(len(first)), (first, second)), shape=(scores.size, scores.size)
    )
    _, parts = connected_components(graph, directed=False)
    labels = np.zeros(scores.shape, np.int64)
    labels[mask] = np.unique(parts.reshape(scores.shape)[mask], return_inverse=True)[1] + 1
    return labels


def large_areas(
    probability: FloatArray,
    log_odds: FloatArray,
    box: float,
    threshold: float,
    closeness: float | None = None,
) -> BoolArray:
    """Tell areas that are too large for a particle and have no peaks as particles have.

    An area of more than four boxes is left out (Al-Azzawi et al. 2020, BMC Bioinformatics
    21:509, gives neither threshold nor size), unless there is at least one peak in every two
    boxes of it: particles side by side make one area, too. A peak stands out by a factor e
    of the odds and is the highest within a quarter of a box, so that the ripples of an even
    area are none.

    Parameters
    ----------
    probability : ndarray, shape (rows, cols)
        Of one class.
    log_odds : ndarray, shape (rows, cols)
        Of the same; it has peaks also where the probability is 1 to all its digits.
    box : float
        Side of a particle's box in steps of the map.
    threshold : float
        Lowest probability in an area.
    closeness : float, optional
        See `connected_areas`.

    Returns
    -------
    ndarray of bool, shape (rows, cols)
        Places where no particle is to be taken.
    """
    labels = connected_areas(probability, threshold, closeness)
    area = np.bincount(labels.ravel()) / box**2
    large = area > LARGE
    large[0] = False
    if not large.any():
        return np.zeros(labels.shape, bool)
    seen = np.where(np.isfinite(log_odds), log_odds, np.min(log_odds[np.isfinite(log_odds)]))
    tops = h_maxima(seen, DIP).astype(bool)
    peaks = peak_local_max(
        np.where(tops, seen, seen.min() - 1),
        min_distance=max(1, round(APART * box)),
        threshold_abs=seen.min(),
        exclude_border=False,
    )
    count = np.bincount(labels[tuple(peaks.T)], minlength=len(area))
    return np.asarray((large & (count < PEAKS * area))[labels])
