"""Candidates: the maxima of a score map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from apbc.picking.score_map import ScoreMap

FloatArray = npt.NDArray[np.float64]


def find_peaks(
    score_map: ScoreMap, shape: tuple[int, ...], diameter: float, floor: float
) -> tuple[FloatArray, FloatArray]:
    """Positions and scores of the candidates of a working image.

    A candidate is a local maximum of the score map, refined between grid points by
    a parabola through its neighbours. Of two nearer than half a diameter the
    better one stays (greedy non-maximum suppression). Edge rule: a centre nearer
    than half a diameter to the border of the image is left out, because the
    particle is not whole.

    Parameters
    ----------
    score_map : ScoreMap
    shape : (int, int)
        Rows and columns of the working image.
    diameter : float
        Particle diameter in working pixels.
    floor : float
        Lowest score of a candidate.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        ``x, y`` in working pixels, best score first.
    scores : ndarray, shape (n,)
    """
    scores = score_map.scores
    best_near = ndimage.maximum_filter(scores, size=3, mode="nearest")
    rows, cols = np.nonzero((scores == best_near) & (scores >= floor))
    values = scores[rows, cols].astype(float)
    cells = np.stack(
        [rows + vertex(scores, rows, cols, 0), cols + vertex(scores, rows, cols, 1)], axis=1
    )
    positions = score_map.positions(cells)
    radius = diameter / 2
    size = np.array(shape[::-1])
    whole = ((positions >= radius) & (positions <= size - 1 - radius)).all(axis=1)
    positions, values = positions[whole], values[whole]
    order = np.argsort(-values, kind="stable")
    positions, values = positions[order], values[order]
    kept = suppress(positions, radius)
    return positions[kept], values[kept]


def suppress(positions: FloatArray, radius: float) -> npt.NDArray[np.bool_]:
    """Greedy non-maximum suppression of positions sorted best first.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    radius : float
        Of two positions nearer than this the first stays.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if len(positions) < 2:
        return np.ones(len(positions), bool)
    return first_of_pairs(
        len(positions), cKDTree(positions).query_pairs(radius, output_type="ndarray")
    )


def first_of_pairs(count: int, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Greedy choice among things sorted best first, some of which exclude each other.

    Parameters
    ----------
    count : int
    pairs : ndarray, shape (n, 2)
        Numbers of two that cannot both stay, the lower first.

    Returns
    -------
    ndarray of bool, shape (count,)
        What stays: the first, and each that no earlier one that stays excludes.
    """
    kept = np.ones(count, bool)
    for i, j in sorted(map(tuple, pairs)):
        if kept[i]:
            kept[j] = False
    return kept


def vertex(
    scores: npt.NDArray[np.floating],
    rows: npt.NDArray[np.integer],
    cols: npt.NDArray[np.integer],
    axis: int,
) -> FloatArray:
    """Offset of the maximum of a parabola through three neighbours, within half a cell.

    Parameters
    ----------
    scores : ndarray, shape (rows, cols)
        Finite.
    rows, cols : ndarray of int, shape (n,)
        Local maxima.
    axis : {0, 1}
        Whether the neighbours are above and below, or left and right.

    Returns
    -------
    ndarray, shape (n,)
        Cells.
    """
    padded = np.pad(scores, 1, mode="edge").astype(float)
    r, c = rows + 1, cols + 1
    dr, dc = (1, 0) if axis == 0 else (0, 1)
    low, middle, high = padded[r - dr, c - dc], padded[r, c], padded[r + dr, c + dc]
    curvature = low - 2 * middle + high
    safe = np.where(curvature < 0, curvature, -1.0)
    return np.where(curvature < 0, np.clip((low - high) / (2 * safe), -0.5, 0.5), 0.0)
