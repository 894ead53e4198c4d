"""Which pick has found which particle: each pick at most one, each particle at most once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NONE = -1


def match_closest_first(picks: FloatArray, truth: FloatArray, radius: float) -> IntArray:
    """Pair picks with particles, the closest pair of all first.

    Parameters
    ----------
    picks : ndarray, shape (n, 2) or more columns
        x, y in pixels; further columns are not looked at.
    truth : ndarray, shape (m, 2) or more columns
    radius : float
        Largest distance of a pair, in pixels; half a particle diameter.

    Returns
    -------
    ndarray of int, shape (n,)
        Row of `truth` that each pick has found, or -1.
    """
    found = np.full(len(picks), NONE)
    if not len(picks) or not len(truth):
        return found
    pairs = cKDTree(picks[:, :2]).sparse_distance_matrix(
        cKDTree(truth[:, :2]), radius, output_type="ndarray"
    )
    free = np.ones(len(truth), bool)
    for k in np.lexsort((pairs["j"], pairs["i"], pairs["v"])):
        pick, particle = pairs["i"][k], pairs["j"][k]
        if found[pick] == NONE and free[particle]:
            found[pick] = particle
            free[particle] = False
    return found


def match_by_score(
    picks: FloatArray, scores: FloatArray, truth: FloatArray, radius: float
) -> IntArray:
    """Pair picks with particles, the pick of the best score first.

    Each takes the nearest particle that is still free. So a pick's outcome does
    not depend on worse picks, as a curve over thresholds needs it.

    Parameters
    ----------
    picks : ndarray, shape (n, 2) or more columns
        x, y in pixels.
    scores : ndarray, shape (n,)
        Of picks of one score the first goes first.
    truth : ndarray, shape (m, 2) or more columns
    radius : float
        Largest distance of a pair, in pixels.

    Returns
    -------
    ndarray of int, shape (n,)
        Row of `truth` that each pick has found, or -1.
    """
    found = np.full(len(picks), NONE)
    if not len(picks) or not len(truth):
        return found
    near = cKDTree(truth[:, :2]).query_ball_point(picks[:, :2], radius)
    free = np.ones(len(truth), bool)
    for pick in np.argsort(-np.asarray(scores), kind="stable"):
        candidates = [particle for particle in near[pick] if free[particle]]
        if candidates:
            distances = np.hypot(*(truth[candidates, :2] - picks[pick, :2]).T)
            found[pick] = candidates[int(np.argmin(distances))]
            free[found[pick]] = False
    return found
