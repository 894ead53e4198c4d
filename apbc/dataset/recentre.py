"""Move labels onto the particles that they show, by the alignment that they carry."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc.dataset.labels import Labels, Places

logger = logging.getLogger(__name__)

FARTHEST = 0.5  # diameters; a shift beyond is no centring


def recentre(
    labels: Labels, diameter: float, pixel_size: float, shapes: dict[str, tuple[int, int]]
) -> tuple[Labels, dict[str, Any]]:
    """Move labels by their shifts.

    A shift of more than half a diameter is not believed (it leads to a neighbour, or is that of
    noise in a bad class), nor one that leads out of the micrograph; such labels stay.

    Parameters
    ----------
    labels : Labels
    diameter : float
        Of the particle, Å.
    pixel_size : float
        Å per pixel of the micrographs.
    shapes : dict of str to (int, int)
        Rows and columns of each micrograph.

    Returns
    -------
    labels : Labels
        Shifts that were taken are 0.
    record : dict
        ``moved``, ``left`` (shifts not believed), and ``median``, by how much labels were moved,
        in Å (None where none was).
    """
    distances: list[npt.NDArray[np.float64]] = []
    left = 0
    positions: dict[str, dict[int, Places]] = {}
    for name, kinds in labels.positions.items():
        positions[name] = {}
        for kind, places in kinds.items():
            distance = np.hypot(*places.shift.T)
            xy = places.xy + places.shift / pixel_size
            last = np.array(shapes[name][::-1]) - 1
            believed = (distance <= FARTHEST * diameter) & ((xy >= 0) & (xy <= last)).all(axis=1)
            told = distance > 0
            left += int((told & ~believed).sum())
            distances.append(distance[told & believed])
            taken = (told & believed)[:, None]
            positions[name][kind] = Places(
                np.where(taken, xy, places.xy),
                places.view,
                np.where(taken, 0.0, places.shift),
            )
    moved = np.concatenate([np.empty(0), *distances])
    record = {
        "moved": len(moved),
        "left": left,
        "median": float(np.median(moved)) if len(moved) else None,
    }
    if len(moved):
        logger.info(
            "%d of %d labels were moved onto their particles by the alignment that they carry, by "
            "%.1f Å in the median; --no-recentre leaves them where they were picked",
            len(moved),
            sum(len(places) for kinds in positions.values() for places in kinds.values()),
            record["median"],
        )
    if left:
        logger.warning(
            "%d labels stay where they were picked: their alignment shifts them by more than half "
            "a diameter or out of the micrograph",
            left,
        )
    return replace(labels, positions=positions), record
