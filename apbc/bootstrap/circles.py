"""Top views: discs in a mask by the phase-coded circular Hough transform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import local_maxima, reconstruction

from .masks import EIGHT

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_STEP = 0.5  # pixels between the radii that are tried
_CHUNK = 2_000_000  # votes that are held at a time, or as many as pixels


def find_circles(
    mask: BoolArray,
    r_min: float,
    r_max: float,
    sensitivity: float = 0.85,
    r_turn: float | None = None,
) -> FloatArray:
    """Discs of a mask, merged and broken ones too.

    Every edge pixel votes for the centres that lie along its gradient, with a phase
    that tells the radius; where the votes of one radius meet they add up, and those of
    other radii turn against each other (Atherton and Kerbyson, Image Vision Comput.
    17:795, 1999). The detector of the top views of Al-Azzawi et al., BMC
    Bioinformatics 20:326, 2019 and 21:509, 2020.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        True on particles.
    r_min, r_max : float
        Radii looked for, in pixels.
    sensitivity : float, optional
        Between 0 and 1; a peak must rise 1 - `sensitivity` above its surroundings.
    r_turn : float, optional
        Radius at which the phase has turned round once, `r_max` or more (the default is
        `r_max`). The larger, the better a worn outline still adds up.

    Returns
    -------
    ndarray, shape (n, 4)
        ``x, y, radius`` in pixels and the height of the peak (about 1 for a whole disc),
        highest first.

    Raises
    ------
    ValueError
        If not ``0 < r_min < r_max <= r_turn``.
    """
    once = r_max if r_turn is None else r_turn
    if not 0 < r_min < r_max <= once:
        raise ValueError(f"radii must satisfy 0 < r_min < r_max, not {r_min} and {r_max}")
    votes = _votes(mask, np.arange(r_min, r_max + 1e-9, _STEP), once)
    height = np.abs(votes)
    least = 1 - sensitivity
    flat = _suppressed(ndimage.median_filter(height, 5, mode="constant"), least)
    peaks, count = ndimage.label(local_maxima(flat) & (flat >= least), EIGHT)
    if not count:
        return np.empty((0, 4))
    centres = np.array(ndimage.center_of_mass(height, peaks, np.arange(1, count + 1)))
    rows, cols = np.rint(centres).astype(int).T
    turn = (np.angle(votes[rows, cols]) + np.pi) / (2 * np.pi)
    radius = r_min * (once / r_min) ** turn
    circles = np.stack([centres[:, 1], centres[:, 0], radius, flat[rows, cols]], axis=1)
    circles = circles[circles[:, 3] >= least]
    return circles[np.argsort(-circles[:, 3], kind="stable")]


def _votes(mask: BoolArray, radii: FloatArray, once: float) -> npt.NDArray[np.complex128]:
    """Complex sum of the votes of all edge pixels, shape of the mask."""
    smooth = ndimage.gaussian_filter(mask.astype(float), 1.5, radius=2, mode="nearest")
    down = ndimage.sobel(smooth, axis=0, mode="nearest")
    right = ndimage.sobel(smooth, axis=1, mode="nearest")
    slope = np.hypot(down, right)
    if not slope.max() > 0:
        return np.zeros(mask.shape, complex)
    at = np.nonzero(slope > slope.max() * threshold_otsu(slope / slope.max(), nbins=256))
    unit_y, unit_x = down[at] / slope[at], right[at] / slope[at]

    phase = 2 * np.pi * np.log(radii / radii[0]) / np.log(once / radii[0]) - np.pi
    weights = np.exp(1j * phase) / (2 * np.pi * radii)
    # With a margin no vote falls outside; 0.5 rounds when the fraction is cut off.
    margin = int(np.ceil(radii[-1])) + 1
    rows, cols = (n + 2 * margin for n in mask.shape)
    y, x = at[0] + margin + 0.5, at[1] + margin + 0.5
    total = np.zeros(rows * cols, complex)
    many = max(1, max(_CHUNK, mask.size) // len(x))
    for first in range(0, len(radii), many):
        r = radii[first : first + many, None]
        place = ((y + r * unit_y).astype(np.intp) * cols + (x + r * unit_x).astype(np.intp)).ravel()
        weight = np.repeat(weights[first : first + many], len(x))
        total.real += np.bincount(place, weight.real, len(total))
        total.imag += np.bincount(place, weight.imag, len(total))
    return total.reshape(rows, cols)[margin:-margin, margin:-margin]


def _suppressed(height: FloatArray, least: float) -> FloatArray:
    """Maxima lower than `least` above their surroundings removed; exact above `least`.

    What lies below `least` cannot hold a peak, so that each connected area above it is
    rebuilt alone.
    """
    flat = np.zeros_like(height)
    areas, _ = ndimage.label(height >= least, EIGHT)
    for number, box in enumerate(ndimage.find_objects(areas), start=1):
        own = np.where(areas[box] == number, height[box], 0.0)
        if own.max() >= 2 * least:
            flat[box] = np.maximum(flat[box], reconstruction(np.maximum(own - least, 0), own))
    return flat
