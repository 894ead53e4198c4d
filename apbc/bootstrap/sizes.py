"""Whether the particles of a micrograph are as wide as they are said to be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from apbc.bootstrap.diameter import (
    LEAST_DISCS,
    SAME,
    SURE_HEIGHT,
    find_discs,
    ladder,
    of_one_size,
)
from apbc.bootstrap.stages import clip_far

FloatArray = npt.NDArray[np.float64]

FAR = 1.5
"""A diameter is wrong where the particles are this many times wider or narrower."""
STEP = 1.3
"""Ratio of the scales that are tried; discs of one size show on more than one of them."""
FARTHEST = 2.5
"""Ratio up to which other diameters are looked for."""


def other_diameter(images: Sequence[FloatArray], diameter_px: float) -> float | None:
    """Diameter of round particles, where it is far from what they are said to have.

    Discs are looked for at the diameter, and where there are none of about that size, on all
    scales round it, as `apbc.bootstrap.diameter` does to estimate one.

    Parameters
    ----------
    images : sequence of ndarray, shape (rows, columns)
        Micrographs with dark particles.
    diameter_px : float
        What the particles are said to have, in pixels of the micrographs.

    Returns
    -------
    float or None
        Pixels of the micrographs; None where the diameter is right, or where no discs of one
        size tell.
    """
    micrographs = [clip_far(image) for image in images]
    here = np.concatenate([find_discs(image, diameter_px) for image in micrographs])
    right = np.abs(np.log(here[:, 0] / diameter_px)) < np.log(FAR)
    sure = here[:, 1] >= SURE_HEIGHT
    if (right & sure).sum() >= LEAST_DISCS and _share_of_one_size(here[right & sure, 0]) >= 0.6:
        return None
    steps = ladder(diameter_px / FARTHEST, diameter_px * FARTHEST, STEP)
    found = [
        np.insert(find_discs(image, step), 2, step, axis=1)
        for image in micrographs
        for step in steps
    ]
    same = of_one_size(np.concatenate(found))
    if not len(same):
        return None
    other = float(np.median(same))
    return other if abs(np.log(other / diameter_px)) > np.log(FAR) else None


def _share_of_one_size(sizes: FloatArray) -> float:
    """Share of sizes that are close to the commonest."""
    near = np.abs(np.log(sizes[:, None] / sizes)) < SAME
    return float(near.mean(axis=1).max())
