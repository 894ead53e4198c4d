"""Candidates of a classifier of shapes: where a class has a peak, and which class it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from apbc.models.alexnet import particle_columns
from apbc.models.folder import Model
from apbc.models.sliding import STEP
from apbc.picking.areas import large_areas
from apbc.picking.export import Found
from apbc.picking.overlap import suppress_by_class
from apbc.picking.peaks import vertex
from apbc.picking.windows import WindowImage, WindowMap, look

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NEAR = 0.3  # sides of a box, within which a peak is the highest place
PROPOSED = 0.3  # probability in the map from which on a place is looked at


def propose(
    found: WindowMap, columns: Sequence[int], box: float, threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Places where the probability of a particle class has a peak.

    Parameters
    ----------
    found : WindowMap
    columns : sequence of int
        Which classes are particles.
    box : float
        Side of a particle's box in network pixels.
    threshold : float
        Probability from which on places make an area that may be too large, see
        `apbc.picking.areas.large_areas`.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        ``x, y`` in network pixels, between the windows' centres by a parabola.
    probabilities : ndarray, shape (n, classes)
        Of all classes at the nearest window's centre.
    """
    probabilities = found.probabilities
    likeliest = np.array(columns)[probabilities[..., list(columns)].argmax(axis=-1)]
    reach = int(NEAR * box / STEP)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    near = np.hypot(x, y) <= NEAR * box / STEP
    cells = [np.empty((0, 2))]
    there = [np.empty((0, probabilities.shape[-1]))]
    for column in columns:
        odds = found.log_odds(column)
        if not np.isfinite(odds).any():
            continue
        odds = np.maximum(odds, odds[np.isfinite(odds)].min() - 1)
        of_it = probabilities[..., column]
        peak = odds == ndimage.maximum_filter(odds, footprint=near, mode="nearest")
        peak &= (likeliest == column) & (of_it >= PROPOSED)
        peak &= ~large_areas(of_it, odds, box / STEP, threshold)
        rows, cols = np.nonzero(peak)
        offsets = [vertex(odds, rows, cols, axis) for axis in (0, 1)]
        cells.append(np.stack([rows + offsets[0], cols + offsets[1]], axis=1))
        there.append(probabilities[rows, cols])
    return found.positions(np.concatenate(cells)), np.concatenate(there)


def shape_candidates(
    model: Model, image: WindowImage, found: WindowMap, floor: float, look_again: bool = True
) -> Found:
    """Candidates of a micrograph with their shapes.

    A candidate is a window whose likeliest class is a particle. Boxes that leave the
    micrograph are left out, and of those that overlap the best stays, first within each
    class and then between them.

    Parameters
    ----------
    model : Model
        Of a classifier, see `apbc.models.alexnet`.
    image : WindowImage
    found : WindowMap
    floor : float
        Lowest probability of a candidate.
    look_again : bool, optional
        Whether the map only proposes and each place is scored through a window of its own;
        False for a map of windows that were cut one by one.

    Returns
    -------
    Found
        In pixels of the micrograph, best first.
    """
    classes, box = model.card["classes"], model.card["box"] * image.per_angstrom
    columns = particle_columns(classes)
    positions, scores = propose(found, columns, box, model.threshold)
    size = np.array(image.shape[::-1])
    inside = ((positions + 0.5 >= box / 2) & (positions + 0.5 <= size - box / 2)).all(axis=1)
    positions, scores = positions[inside], scores[inside]
    if look_again and len(positions):
        scores = look(model.network, image, positions)
    kinds = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), kinds]
    wanted = np.isin(kinds, columns) & (best >= floor)
    positions, kinds, best = positions[wanted], kinds[wanted], best[wanted]
    kept = np.flatnonzero(suppress_by_class(positions, best, kinds, box))
    kept = kept[np.argsort(-best[kept], kind="stable")]
    return Found(
        image.to_micrograph(positions[kept]), best[kept], shapes=[classes[k] for k in kinds[kept]]
    )


def particle_probability(model: Model, found: WindowMap) -> FloatArray:
    """Probability that a window shows a particle of any shape, shape (rows, cols)."""
    columns = particle_columns(model.card["classes"])
    return np.asarray(found.probabilities[..., columns].sum(axis=-1))
