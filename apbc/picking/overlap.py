"""Of boxes that overlap too much the best stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from apbc.picking.peaks import first_of_pairs

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LIMIT = 0.3


def intersection_over_union(first: FloatArray, second: FloatArray, side: float) -> FloatArray:
    """How much square boxes of one side overlap.

    Parameters
    ----------
    first, second : ndarray, shape (n, 2)
        Centres of the boxes of each pair.
    side : float
        In the unit of the centres.

    Returns
    -------
    ndarray, shape (n,)
        Area of the intersection over that of the union, from 0 to 1.
    """
    common = np.maximum(side - np.abs(first - second), 0).prod(axis=1)
    return np.asarray(common / (2 * side**2 - common))


def suppress_overlaps(
    positions: FloatArray, scores: FloatArray, side: float, limit: float = LIMIT
) -> BoolArray:
    """Greedy non-maximum suppression of boxes.

    The box of the best score stays and those that overlap it by more than the limit go, then
    the best of what is left, and so on (Al-Azzawi et al. 2020, BMC Bioinformatics 21:509).

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
        Centres.
    scores : ndarray, shape (n,)
        Of boxes of one score the first goes first.
    side : float
        Side of the boxes, in the unit of the positions.
    limit : float, optional
        Largest intersection over union that is let be. At 0.3 boxes may come as near as
        0.54 sides along an axis, two thirds of a particle whose box is 1.25 diameters.

    Returns
    -------
    ndarray of bool, shape (n,)
        Which boxes stay.
    """
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    best_first = np.asarray(positions, float).reshape(-1, 2)[order]
    pairs = (
        cKDTree(best_first).query_pairs(side, p=np.inf, output_type="ndarray")
        if len(order) > 1
        else np.empty((0, 2), int)
    )
    overlap = intersection_over_union(best_first[pairs[:, 0]], best_first[pairs[:, 1]], side)
    kept = np.empty(len(order), bool)
    kept[order] = first_of_pairs(len(order), pairs[overlap > limit])
    return kept


def suppress_by_class(
    positions: FloatArray,
    scores: FloatArray,
    classes: npt.NDArray[np.integer],
    side: float,
    limit: float = LIMIT,
) -> BoolArray:
    """Suppress overlaps within each class, and then between the classes.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    scores : ndarray, shape (n,)
    classes : ndarray of int, shape (n,)
    side, limit : float
        See `suppress_overlaps`.

    Returns
    -------
    ndarray of bool, shape (n,)
        Which boxes stay.
    """
    kept = np.zeros(len(scores), bool)
    for one in np.unique(classes):
        rows = np.flatnonzero(classes == one)
        kept[rows] = suppress_overlaps(positions[rows], scores[rows], side, limit)
    rows = np.flatnonzero(kept)
    kept[rows] = suppress_overlaps(positions[rows], scores[rows], side, limit)
    return kept
