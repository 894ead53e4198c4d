"""Whether the particles of a micrograph are dark, as the stages need them, or bright."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .diameter import SURE_HEIGHT, find_discs
from .scale import shrink
from .stages import clip_far

FloatArray = npt.NDArray[np.float64]

DISC_SCALES = (1.0, 1.3)
"""Diameters at which discs are looked for, in particle diameters."""
LEAST_DISCS = 3
BLOB_SCALES = (0.35, 0.5, 0.7)
"""Widths of the blobs whose grey values are weighed, in particle diameters."""
BLOB_PX = 10.0
"""Pixels that the smallest of them is wide where they are weighed."""
SURE = 6.0
"""Standard errors that a skewness must be from 0."""
CLIP = 6.0
"""Standard deviations that a blob counts for at most."""


def bright_particles(image: npt.ArrayLike, diameter_px: float) -> bool | None:
    """Tell whether particles are bright on darker ground.

    Discs of the particle's size are looked for in the micrograph and in its complement (as
    `apbc.bootstrap.diameter` does); where neither has them, the blobs that are smaller than a
    particle are weighed: protein, being denser than ice, makes few strong ones of its own sign, and
    noise makes as many of either. What contaminates a micrograph is denser than ice, too.

    Parameters
    ----------
    image : array_like, shape (rows, columns)
        Micrograph.
    diameter_px : float
        Particle diameter in its pixels.

    Returns
    -------
    bool or None
        True for bright, False for dark particles, None where it cannot be told.

    Raises
    ------
    ValueError
        If `diameter_px` is not above 0.
    """
    if not diameter_px > 0:
        raise ValueError(f"the diameter must be above 0 px, not {diameter_px}")
    pixels = clip_far(np.asarray(image, float))
    dark, bright = (_discs(sign * pixels, diameter_px) for sign in (1, -1))
    if max(dark, bright) >= LEAST_DISCS and max(dark, bright) > 3 * min(dark, bright):
        return bright > dark
    errors = _skewness(pixels, diameter_px)
    strongest = float(errors[np.argmax(np.abs(errors))])
    return strongest > 0 if abs(strongest) >= SURE else None


def _discs(image: FloatArray, diameter_px: float) -> int:
    """Sure dark discs of about the diameter."""
    found = np.concatenate([find_discs(image, scale * diameter_px) for scale in DISC_SCALES])
    near = np.abs(np.log(found[:, 0] / diameter_px)) < np.log(1.4)
    return int((near & (found[:, 1] >= SURE_HEIGHT)).sum())


def _skewness(image: FloatArray, diameter_px: float) -> FloatArray:
    """Skewness of the blobs of each size, in standard errors of that of noise."""
    factor = min(1.0, BLOB_PX / (BLOB_SCALES[0] * diameter_px))
    small = shrink(image, factor)
    out = []
    for scale in BLOB_SCALES:
        sigma = max(scale * diameter_px * factor / np.sqrt(8), 0.7)
        blobs = -ndimage.gaussian_laplace(small, sigma, mode="nearest")
        # What a filter of a few sigma makes of the border is left out.
        edge = int(4 * sigma) + 1
        inner = blobs[edge:-edge, edge:-edge]
        if inner.size < 2 or not inner.std() > 0:
            out.append(0.0)
            continue
        spread = np.sqrt(ndimage.uniform_filter(np.square(inner), int(30 * sigma))) + 1e-12
        ranked = np.clip(inner / spread, -CLIP, CLIP)
        ranked -= ranked.mean()
        # Values closer than about two sigma are one measurement.
        independent = inner.size / (2 * np.pi * sigma**2)
        out.append(float(np.mean((ranked / ranked.std()) ** 3)) * np.sqrt(independent / 6))
    return np.array(out)
