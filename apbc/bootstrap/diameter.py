"""The particle diameter from micrographs alone.

Two measurements, neither of which needs to know the diameter beforehand:

- *Discs.* The stages, the darkest cluster and the Hough transform (`apbc.bootstrap.circles`) are
  run at a ladder of scales. Round particles appear with one and the same diameter on several
  steps of the ladder, those of noise with one that grows with the step. This is twice the
  median radius of Al-Azzawi et al. 2020, doi:10.1186/s12859-020-03809-7, without its
  knowledge of the scale.
- *Extents.* Out of focus a particle of any shape is a patch where the image varies more, light or
  dark. At each of many candidate diameters the patches of that size are found, centred, and the
  median variation round them is followed outwards to where it ends. A candidate that leads back to
  itself is the diameter. Patches count only where they stand above every patch of an
  image of the same power spectrum with random phases.

Discs are exact where there are any; extents of irregular particles are not, and the bounds say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from ..errors import ApbcError
from .circles import find_circles
from .clusters import dark_mask
from .masks import clean
from .scale import shrink
from .stages import clip_far, prepare

FloatArray = npt.NDArray[np.float64]

SMALLEST, LARGEST = 60.0, 800.0
"""Diameters looked for, in Å, as far as pixels and micrographs allow."""
DISC_STEP = 1.6
"""Ratio of the steps at which discs are looked for; each finds discs from 0.7 to 1.4 times."""
DISC_PX = 36.0
"""Pixels that a candidate diameter has where discs are looked for."""
DISC_SIDE = 380
"""Largest side of the piece that is searched for discs, in those pixels."""
SURE_HEIGHT = 0.3
"""Height of the peak of a disc above those of noise."""
LEAST_DISCS = 5
SAME = 0.1
"""Discs within this part of one another are of one size."""

EXTENT_STEP = 1.2
EXTENT_PX = 20.0
"""Pixels that a candidate diameter has where extents are measured."""
EXTENT_SIDE = 800
"""Largest side of the piece that is searched, in pixels of `FINE`."""
FINE = 5.0
"""Å per pixel at which the variation is taken, or the micrograph's where that is larger."""
COARSE, WIDE = 250.0, 1500.0
"""Å beyond which grey values are background, and over which the variation is made even."""
FALSE_PART = 0.15
"""Part of the patches that may be noise."""
NEAR = 0.6
"""Natural logarithm of the ratio up to which a candidate is asked for a diameter."""
LEAST_AGREEING = 3
LEAST_PATCHES = 12
MOST_PATCHES = 300
EDGE, INNER = 0.03, 0.25
"""Part of the excess variation that is left at a particle's edge, and surely inside it."""


@dataclass(frozen=True)
class DiameterEstimate:
    """A particle diameter measured from micrographs, with what it was read from.

    Attributes
    ----------
    diameter, low, high : float
        Å; the diameter lies between `low` and `high` in the judgement of the measurement.
    method : {"discs", "extents", "guess"}
        What it was read from; "guess" means that nothing stood out, and the bounds are all that
        was looked for.
    discs : ndarray, shape (n, 2)
        Diameter in Å and height of the peak of every disc found, on all steps of the ladder.
    extents : ndarray, shape (k, 2)
        Candidate diameters and the extents of their patches, both in Å; NaN where too few
        patches stood out. The line where both are equal is the answer of the extents.
    profile : ndarray, shape (m, 2)
        Distance from the centre in Å and median variation there, at the answer of the extents.
    """

    diameter: float
    low: float
    high: float
    method: str
    discs: FloatArray = field(default_factory=lambda: np.empty((0, 2)))
    extents: FloatArray = field(default_factory=lambda: np.empty((0, 2)))
    profile: FloatArray = field(default_factory=lambda: np.empty((0, 2)))


def estimate_diameter(images: Sequence[npt.ArrayLike], pixel_size: float) -> DiameterEstimate:
    """Measure the particle diameter.

    Parameters
    ----------
    images : sequence of array_like, shape (rows, columns)
        One to three micrographs of one pixel size, protein dark or bright.
    pixel_size : float
        Å per pixel.

    Returns
    -------
    DiameterEstimate

    Raises
    ------
    ApbcError
        If there is no image, or the micrographs are too small to hold particles.
    """
    if not len(images):
        raise ApbcError("the diameter cannot be estimated without a micrograph; give --diameter")
    micrographs = [clip_far(np.asarray(image, float)) for image in images]
    shortest = min(min(image.shape) for image in micrographs) * pixel_size
    smallest, largest = max(SMALLEST, 8 * pixel_size), min(LARGEST, shortest / 4)
    if smallest * DISC_STEP > largest:
        raise ApbcError(
            f"micrographs of {shortest:.0f} Å are too small to estimate the diameter from; "
            "give --diameter"
        )
    discs, found = _round(micrographs, pixel_size, smallest, largest)
    extent = _extent(micrographs, pixel_size, smallest, largest)
    evidence = {"discs": discs, "extents": extent.curve, "profile": extent.profile}
    if len(found):
        diameter = float(np.median(found))
        low, high = np.percentile(found, (10, 90))
        low, high = min(low, 0.93 * diameter), max(high, 1.07 * diameter)
        if extent.diameter > 1.3 * diameter and extent.low > high:
            # Other views, or another particle, are larger than the discs.
            high = extent.diameter
        return DiameterEstimate(diameter, float(low), float(high), "discs", **evidence)
    if np.isfinite(extent.diameter):
        return DiameterEstimate(extent.diameter, extent.low, extent.high, "extents", **evidence)
    middle = float(np.sqrt(smallest * largest))
    return DiameterEstimate(middle, smallest, largest, "guess", **evidence)


def ladder(smallest: float, largest: float, step: float) -> FloatArray:
    """Candidate diameters from the smallest to the largest, about `step` apart as a ratio."""
    number = max(2, 1 + round(np.log(largest / smallest) / np.log(step)))
    return np.geomspace(smallest, largest, number)


def _middle(image: FloatArray, side: float) -> FloatArray:
    """Cut out the middle of an image, at most `side` pixels wide and high."""
    rows, columns = (
        slice(int((n - min(n, side)) / 2), int((n + min(n, side)) / 2)) for n in image.shape
    )
    return image[rows, columns]


def find_discs(image: FloatArray, diameter_px: float) -> FloatArray:
    """Dark discs of roughly a diameter in the middle of a micrograph.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
    diameter_px : float
        Pixels of the image; discs of 0.7 to 1.8 times this are looked for.

    Returns
    -------
    ndarray, shape (n, 2)
        Diameter in pixels of the image and height of the peak.
    """
    factor = DISC_PX / diameter_px
    working = shrink(_middle(image, DISC_SIDE / factor), factor)
    area = np.pi * DISC_PX**2 / 4
    mask = clean(dark_mask(prepare(working)), 0.15 * area)
    circles = find_circles(mask, 0.35 * DISC_PX, 0.9 * DISC_PX)
    return np.stack([2 * circles[:, 2] / factor, circles[:, 3]], axis=1)


def _round(
    micrographs: list[FloatArray], pixel_size: float, smallest: float, largest: float
) -> tuple[FloatArray, FloatArray]:
    """All discs (diameter in Å, height), and the diameters of those that are of one size."""
    dark = np.empty((0, 3))
    for sign in (1.0, -1.0):
        found = np.concatenate(
            [
                np.insert(find_discs(sign * image, step / pixel_size), 2, step, axis=1)
                for image in micrographs
                for step in ladder(smallest, largest, DISC_STEP)
            ]
        ) * (pixel_size, 1, 1)
        same = of_one_size(found)
        if len(same):
            # Once more where the filters fit.
            diameter = float(np.median(same)) / pixel_size
            again = [find_discs(sign * image, 1.1 * diameter) for image in micrographs]
            sizes = np.concatenate(again)
            sizes = sizes[sizes[:, 1] >= SURE_HEIGHT, 0]
            sizes = sizes[np.abs(np.log(sizes / diameter)) < 2 * SAME] * pixel_size
            return found[:, :2], sizes if len(sizes) >= LEAST_DISCS else same
        if sign > 0:
            dark = found
    return dark[:, :2], np.empty(0)


def of_one_size(discs: FloatArray) -> FloatArray:
    """Diameters of the sure discs round their commonest diameter; none where they differ.

    Discs (diameter, height, step of the ladder) count where more than one step has them.
    """
    sure = discs[discs[:, 1] >= SURE_HEIGHT]
    if not len(sure):
        return np.empty(0)
    near = np.abs(np.log(sure[:, :1] / sure[:, 0])) < SAME
    same = sure[near[near.sum(axis=1).argmax()]]
    enough = len(same) >= max(LEAST_DISCS, 0.6 * len(sure)) and len(set(same[:, 2])) > 1
    return same[:, 0] if enough else np.empty(0)


class _Extent(NamedTuple):
    """Answer of the extents: Å, and its evidence."""

    diameter: float
    low: float
    high: float
    curve: FloatArray
    profile: FloatArray


class _Edges(NamedTuple):
    """Diameters at which the variation round patches ends: where most, nearly all, all has."""

    inner: float
    edge: float
    end: float


def _extent(
    micrographs: list[FloatArray], pixel_size: float, smallest: float, largest: float
) -> _Extent:
    """Measure the extents at all candidate diameters and find the one that leads to itself."""
    pixel = max(FINE, pixel_size)
    pairs = [_variation(image, pixel_size, pixel) for image in micrographs]
    steps = ladder(smallest, largest, EXTENT_STEP)
    curve = np.stack([steps, np.full(len(steps), np.nan)], axis=1)
    known: list[tuple[FloatArray, _Edges]] = []
    for row in curve:
        profile = _patches(pairs, row[0], pixel)
        if profile is not None:
            known.append((profile, _edges(profile, row[0])))
            row[1] = known[-1][1].edge
    tried, measured = curve[np.isfinite(curve[:, 1])].T
    crossings = np.flatnonzero((measured[:-1] >= tried[:-1]) & (measured[1:] < tried[1:]))
    if not len(crossings):
        return _Extent(np.nan, np.nan, np.nan, curve, np.empty((0, 2)))
    diameters = [_where_equal(tried[k : k + 2], measured[k : k + 2]) for k in crossings]
    # What is a particle has one extent, whichever size of patch finds it.
    agreeing = [_agreeing(curve, diameter) for diameter in diameters]
    best = int(np.argmax(agreeing))
    diameter, k = diameters[best], crossings[best]
    profile, at = known[k]
    low = float(np.clip(at.inner, 0.5 * diameter, 0.8 * diameter))
    high = max(at.end, 1.25 * diameter)
    if agreeing[best] < LEAST_AGREEING:
        low, high = diameter / 2, max(high, 2 * diameter)
    others = [d for d, n in zip(diameters, agreeing, strict=True) if 2 * n > agreeing[best]]
    distance = np.arange(len(profile)) * tried[k] / EXTENT_PX
    return _Extent(
        diameter,
        min(low, *others, diameter),
        max(high, *others, diameter),
        curve,
        np.stack([distance, profile], axis=1),
    )


def _where_equal(steps: FloatArray, measured: FloatArray) -> float:
    """Where the measured diameter equals the candidate, between two candidates."""
    above, below = np.log(measured / steps)
    return float(steps[0] * (steps[1] / steps[0]) ** (above / (above - below)))


def _agreeing(curve: FloatArray, diameter: float) -> int:
    """Candidates near a diameter that lead to it."""
    near = np.abs(np.log(curve[:, 0] / diameter)) < NEAR
    return int(np.sum(near & (np.abs(np.log(curve[:, 1] / diameter)) < SAME)))


def _variation(image: FloatArray, pixel_size: float, pixel: float) -> tuple[FloatArray, FloatArray]:
    """Squared deviation from the local mean, of an image and of its like with random phases."""
    factor = pixel_size / pixel
    small = shrink(_middle(image, EXTENT_SIDE / factor), factor)
    even = small - ndimage.gaussian_filter(small, COARSE / 2.355 / pixel)
    even = ndimage.gaussian_filter(even, 1)
    # Ice that gets thicker and edges vary more than what is near them.
    even /= np.sqrt(ndimage.gaussian_filter(np.square(even), WIDE / 2.355 / pixel)) + 1e-12
    spectrum = fft.rfft2(even)
    noise = fft.rfft2(np.random.default_rng(0).normal(size=even.shape))
    like = fft.irfft2(np.abs(spectrum) * noise / np.maximum(np.abs(noise), 1e-12), even.shape)
    return _squared(even), _squared(like)


def _squared(image: FloatArray) -> FloatArray:
    """Square, in units of its mean, with what exceeds three standard deviations clipped."""
    scale = image.std()
    return np.minimum(np.square(image / scale), 9.0) if scale > 0 else np.zeros(image.shape)


def _patches(
    pairs: list[tuple[FloatArray, FloatArray]], diameter: float, pixel: float
) -> FloatArray | None:
    """Median variation by distance (pixels of which `EXTENT_PX` are a diameter) round patches."""
    factor = min(1.0, EXTENT_PX * pixel / diameter)
    size = diameter * factor / pixel
    reach = int(np.ceil(1.6 * size))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    ring = np.rint(np.hypot(rows, columns) * EXTENT_PX / size).astype(int)
    kept = []
    for real, like in pairs:
        image, noise = (shrink(a, factor) for a in (real, like))
        places, heights = _blobs(image, size)
        places = places[: _standing_out(heights, _blobs(noise, size)[1])][:MOST_PATCHES]
        padded = np.pad(image, reach, mode="reflect")
        for row, column in places:
            piece = padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
            kept.append(
                np.bincount(ring.ravel(), piece.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
            )
    if len(kept) < LEAST_PATCHES:
        return None
    used = int(1.5 * EXTENT_PX) + 1
    return np.median(kept, axis=0)[:used]


def _blobs(image: FloatArray, size: float) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Bright blobs of a size: places (row, column), highest first, and heights."""
    response = -ndimage.gaussian_laplace(image, size / np.sqrt(8), mode="nearest")
    window = 2 * int(size / 2) + 1
    peak = response == ndimage.maximum_filter(response, window)
    edge = int(0.6 * size) + 1
    peak[:edge] = peak[-edge:] = False
    peak[:, :edge] = peak[:, -edge:] = False
    places = np.argwhere(peak)
    heights = response[peak]
    order = np.argsort(-heights)
    return places[order], heights[order]


def _standing_out(heights: FloatArray, like: FloatArray) -> int:
    """How many of the heights (highest first) hardly any of those like noise reach."""
    reached = np.searchsorted(np.sort(like), heights)
    false = len(like) - reached
    good = np.flatnonzero(false <= FALSE_PART * np.arange(1, len(heights) + 1))
    return int(good[-1]) + 1 if len(good) else 0


def _edges(profile: FloatArray, diameter: float) -> _Edges:
    """Follow a profile outwards from its highest part to its first lowest."""
    scale = 2 * diameter / EXTENT_PX
    smooth = ndimage.gaussian_filter1d(profile, 0.5)
    top = int(smooth[: int(0.4 * EXTENT_PX) + 1].argmax())
    end = top + int(smooth[top : int(1.2 * EXTENT_PX) + 1].argmin())
    excess = (smooth - smooth[end]) / max(smooth[top] - smooth[end], 1e-12)

    def crossing(part: float) -> float:
        k = top + int(np.argmax(excess[top : end + 1] <= part))
        if k == top:
            return top * scale
        return float(k - (part - excess[k]) / (excess[k - 1] - excess[k])) * scale

    return _Edges(crossing(INNER), crossing(EDGE), end * scale)
