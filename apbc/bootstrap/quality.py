"""Which of the particles found are good examples to learn from.

The rules of Al-Azzawi et al. 2020, BMC Bioinformatics 21:509 (DeepCryoPicker): round
particles against the average roundness, irregular ones against the average area, side
views by the rectangle that fits them. Beyond the paper: darkness that noise does not
reach, and what lies on contamination.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.filters import threshold_otsu
from skimage.measure import perimeter

from ..preprocess.normalise import MAD_TO_SIGMA
from .blobs import Blobs
from .examples import Examples
from .masks import EIGHT
from .rectangles import Outlines, overlapping

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

RADII = (0.75, 1.25)
"""Radii of round particles, in median radii."""
CLEAR_CIRCLE = 0.25
"""Height of the peak of a disc that blobs of noise do not reach."""
ALIKE = 0.5
"""Correlation of a round particle's radial profile with the average one of its micrograph."""
PROFILE = 0.75
"""Length of that profile in diameters."""
LEAST_OVERLAP = 0.6
"""Of a disc with the mask within its box, as intersection over union."""
ROUND = 1.25
"""Roundness (perimeter² / 4 pi area; of a disc of pixels 1.1) that is always good."""
AREAS = (0.75, 1.75)
"""Areas of good irregular particles, in average areas."""
LARGEST = 3.0
"""Areas of a disc of the particle diameter; what is larger is no particle."""
OFF_CENTRE = 0.15
"""Boxes between the centroid and the centre of the bounding box of a good irregular particle."""
MOST_DECOYS = 0.3
"""Part of irregular particles that noise may make up, by bright blobs of the same height."""
DECOYS_AT_LEAST = 3
"""Bright blobs that are counted in addition, so that a few dark ones prove nothing."""
WIDE = 0.8
"""Radius in diameters of a dark disc that is no particle."""
SEPARATE = 6.0
"""Distance of contamination from background in standard deviations of both; noise has 4."""
FAR_BELOW = 9.0
"""Standard deviations below it where contamination is too little to be a part; crowds reach 8."""
TOUCH = 0.4
"""Diameters from the centre of a particle to contamination that touches it."""
COARSE = 12.0
"""Pixels of a diameter where contamination is looked for."""
BOX = 1.25
"""Side of the box of a particle in diameters."""
BOX_FERET = 1.15
"""Side of the box of a side view in largest Feret diameters."""


def judge_tops(
    circles: FloatArray, mask: BoolArray, image: FloatArray, diameter: float
) -> Examples:
    """Judge discs.

    A disc is good whose piece of the mask is about as round as the average one or rounder,
    fills it, and gave a clear peak. Discs much smaller or larger than the median are bad, and
    those whose grey values from the centre outwards are unlike the average of the others'.

    Parameters
    ----------
    circles : ndarray, shape (n, 4)
        ``x, y, radius`` in pixels and the height of the peak.
    mask : ndarray of bool, shape (rows, columns)
        Cleaned mask in which they were found.
    image : ndarray, shape (rows, columns)
        Micrograph with even contrast.
    diameter : float
        Particle diameter in pixels.

    Returns
    -------
    found : Examples
    """
    if not len(circles):
        return Examples.empty()
    radius = circles[:, 2]
    reference = float(np.median(radius))
    small, large = radius < RADII[0] * reference, radius > RADII[1] * reference
    half = reference + 2
    parts = [_disc_and_mask(circle, mask, half) for circle in circles]
    roundness = np.array([_roundness(part) for _, part in parts])
    overlap = np.array([(d & part).sum() / max((d | part).sum(), 1) for d, part in parts])
    average, clearest = ROUND, ~small & ~large & np.isfinite(roundness)
    if clearest.any():
        average = float(roundness[clearest].mean())
        clearest &= circles[:, 3] >= np.median(circles[clearest, 3])
    alike = _likeness(image, circles[:, :2], clearest, diameter)
    reason = np.select(
        [
            large,
            small,
            _near_border(circles[:, :2], mask.shape, BOX * diameter),
            alike < ALIKE,
            circles[:, 3] < CLEAR_CIRCLE,
            (overlap < LEAST_OVERLAP) | (roundness > max(average, ROUND)),
        ],
        ["large", "small", "border", "unlike", "faint", "out of round"],
        "",
    )
    size = np.stack([2 * radius, 2 * radius], axis=1)
    return Examples.of_shape("top", circles[:, :2], size, circles[:, 3], reason.tolist())


def judge_sides(outlines: Outlines, kind: list[str], shape: tuple[int, ...]) -> Examples:
    """Judge the components that look like side views, single or merged.

    Parameters
    ----------
    outlines : Outlines
    kind : list of str
        "side", "merged" or something else for each component; others are left out.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    found : Examples
    """
    chosen = [i for i, what in enumerate(kind) if what in ("side", "merged")]
    if not chosen:
        return Examples.empty()
    rectangles = [outlines.rectangles[i] for i in chosen]
    positions = np.array([[r.x, r.y] for r in rectangles])
    longest = outlines.feret[chosen, 0]
    merged = np.array([kind[i] == "merged" for i in chosen])
    typical = float(np.median(longest[~merged])) if (~merged).any() else 0.0
    reason = np.select(
        [
            merged,
            overlapping(rectangles),
            _near_border(positions, shape, BOX_FERET * longest),
            longest < 0.6 * typical,
            longest > 1.6 * typical,
        ],
        ["merged", "overlaps", "border", "small", "merged"],
        "",
    )
    return Examples.of_shape(
        "side",
        positions,
        np.array([[r.length + 1, r.width + 1] for r in rectangles]),
        outlines.extent[chosen],
        reason.tolist(),
        np.array([r.angle for r in rectangles]),
    )


def judge_blobs(
    blobs: Blobs, image: FloatArray, diameter: float, dirty: BoolArray | None = None
) -> Examples:
    """Judge irregular particles.

    Good ones have about the average area, stand whole and alone in their box, and are darker
    than noise makes them (`stand_out`).

    Parameters
    ----------
    blobs : Blobs
    image : ndarray, shape (rows, columns)
        Micrograph before its histogram was changed, dark particles.
    diameter : float
        Particle diameter in pixels.
    dirty : ndarray of bool, shape (rows, columns), optional
        Contamination.

    Returns
    -------
    found : Examples
    """
    outlines = blobs.outlines
    count = len(outlines.area)
    if not count:
        return Examples.empty()
    each = np.arange(1, count + 1)
    darkness, least = stand_out(image, diameter, dirty)
    dark = np.asarray(ndimage.maximum(darkness, outlines.labels, each), float)
    whole = outlines.area[~blobs.merged]
    average = float(np.mean(whole)) if len(whole) >= 20 else float(np.median(outlines.area))
    box = BOX * diameter
    boxes = ndimage.find_objects(outlines.labels)
    middle = np.array([[(s.start + s.stop - 1) / 2 for s in both[::-1]] for both in boxes])
    disc = np.pi * diameter**2 / 4
    reason = np.select(
        [
            outlines.area > LARGEST * disc,
            _near_border(blobs.centres, image.shape, box),
            dark < least,
            blobs.merged | (outlines.area > AREAS[1] * average),
            outlines.area < AREAS[0] * average,
            (np.abs(middle - blobs.centres) > OFF_CENTRE * box).any(axis=1),
        ],
        ["large", "border", "faint", "merged", "small", "off centre"],
        "",
    )
    sides = np.array([[r.length + 1, r.width + 1] for r in outlines.rectangles])
    angle = np.array([r.angle for r in outlines.rectangles])
    return Examples.of_shape(
        "irregular", blobs.centres, sides, outlines.solidity, reason.tolist(), angle
    )


def stand_out(
    image: FloatArray, diameter: float, dirty: BoolArray | None = None
) -> tuple[FloatArray, float]:
    """Measure how dark each place is at the size of a particle, and how dark noise gets.

    The image is filtered by a difference of Gaussians. Noise gives as many light blobs as
    dark ones, so that the light blobs above a height tell how many of the dark ones are
    noise. (Not in the paper, which takes all of the average size.)

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Dark particles.
    diameter : float
        Particle diameter in pixels.
    dirty : ndarray of bool, shape (rows, columns), optional
        Contamination, whose blobs do not count.

    Returns
    -------
    darkness : ndarray, shape (rows, columns)
        Filtered image, particles above zero.
    least : float
        Lowest height at which no more than `MOST_DECOYS` of the dark blobs are noise;
        infinite where there is none.
    """
    fine, coarse = (ndimage.gaussian_filter(image, s * diameter) for s in (0.18, 0.5))
    darkness = coarse - fine
    counted = np.ones(image.shape, bool) if dirty is None else ~dirty
    dark = np.sort(_peak_heights(darkness, counted, diameter))
    light = np.sort(_peak_heights(-darkness, counted, diameter))
    above = len(dark) - np.arange(len(dark))
    decoys = len(light) - np.searchsorted(light, dark, side="left")
    enough = np.flatnonzero(decoys + DECOYS_AT_LEAST <= MOST_DECOYS * above)
    return darkness, float(dark[enough[0]]) if len(enough) else np.inf


def contaminated(image: FloatArray, diameter: float) -> BoolArray:
    """Find carbon, ice and the like: darkness that reaches farther than a particle.

    The lightest place within a disc wider than a particle is background wherever the
    background is clean. Where its histogram falls into two separate parts (Otsu's
    threshold), the darker one is foil or thick ice; what lies far below the rest is, too.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Micrograph before its histogram was changed, dark particles.
    diameter : float
        Particle diameter in pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        True where the centre of a particle would lie on contamination or touch it.
    """
    step = max(1, int(diameter / COARSE))
    smooth = ndimage.gaussian_filter(image, 0.2 * diameter, mode="nearest")[::step, ::step]
    reach = WIDE * diameter / step
    lightest = ndimage.maximum_filter(smooth, footprint=_disc(reach), mode="nearest")
    if lightest.min() == lightest.max():
        return np.zeros(image.shape, bool)
    below = lightest <= threshold_otsu(lightest)
    low, high = lightest[below], lightest[~below]
    spread = np.sqrt((low.var() * low.size + high.var() * high.size) / lightest.size)
    bad = below & (high.mean() - low.mean() > SEPARATE * spread)
    clean = lightest[~bad]
    usual = np.median(clean)
    deviation = MAD_TO_SIGMA * np.median(np.abs(clean - usual))
    bad |= lightest < usual - FAR_BELOW * deviation
    if not bad.any():
        return np.zeros(image.shape, bool)
    bad = ndimage.distance_transform_edt(~bad) <= reach + TOUCH * diameter / step
    rows, cols = (np.arange(n) // step for n in image.shape)
    return np.asarray(bad[np.ix_(rows, cols)], bool)


def apart(positions: FloatArray, order: FloatArray, distance: float) -> BoolArray:
    """Choose the best of those that lie nearer than a distance to each other.

    Parameters
    ----------
    positions : ndarray, shape (n, 2)
    order : ndarray, shape (n,)
        Higher is better.
    distance : float

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    kept = np.ones(len(positions), bool)
    if not len(positions):
        return kept
    near = cKDTree(positions).query_ball_point(positions, distance)
    done = np.zeros(len(positions), bool)
    for i in np.argsort(-order, kind="stable"):
        done[i] = True
        if kept[i]:
            kept[[j for j in near[i] if not done[j]]] = False
    return kept


def _peak_heights(image: FloatArray, counted: BoolArray, diameter: float) -> FloatArray:
    """Heights of the maxima of an image within 0.7 diameters, half a box from its border."""
    side = 2 * round(0.35 * diameter) + 1
    peaks = (image == ndimage.maximum_filter(image, side)) & (image > 0) & counted
    margin = int(np.ceil(BOX * diameter / 2))
    inside = (slice(margin, -margin), slice(margin, -margin))
    return image[inside][peaks[inside]]


def _disc(radius: float) -> BoolArray:
    """Pixels of a disc round its middle."""
    reach = int(np.ceil(radius))
    rows, cols = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(rows**2 + cols**2 <= radius**2)


def _near_border(
    positions: FloatArray, shape: tuple[int, ...], box: FloatArray | float
) -> BoolArray:
    """Tell whose box leaves the image."""
    size = np.array(shape[::-1])
    room = np.minimum(positions, size - 1 - positions).min(axis=1)
    return np.asarray(room < np.asarray(box) / 2)


def _disc_and_mask(circle: FloatArray, mask: BoolArray, half: float) -> tuple[BoolArray, BoolArray]:
    """Disc of a circle and the largest component of the mask, both in the box round it."""
    x, y, radius = circle[:3]
    top, left = (max(0, int(np.floor(v - half))) for v in (y, x))
    crop = mask[top : int(np.ceil(y + half)) + 1, left : int(np.ceil(x + half)) + 1]
    rows, cols = np.ogrid[top : top + crop.shape[0], left : left + crop.shape[1]]
    disc = (rows - y) ** 2 + (cols - x) ** 2 <= radius**2
    labels, count = ndimage.label(crop, EIGHT)
    if not count:
        return disc, crop
    return disc, labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _likeness(
    image: FloatArray, positions: FloatArray, typical: BoolArray, diameter: float
) -> FloatArray:
    """Correlate radial profiles with the average of the typical ones, areas for weights.

    Where none is typical, all are alike.
    """
    if not typical.any():
        return np.ones(len(positions))
    radius = np.arange(0.5, PROFILE * diameter)
    turn = np.arange(0, 2 * np.pi, np.pi / 18)[:, None]
    across = positions[:, 0, None, None] + radius * np.cos(turn)
    down = positions[:, 1, None, None] + radius * np.sin(turn)
    values = ndimage.map_coordinates(image, [down, across], order=1, mode="nearest")
    profiles = values.mean(axis=1)
    profiles -= np.average(profiles, axis=1, weights=radius)[:, None]
    average = profiles[typical].mean(axis=0)
    norm = np.sqrt((radius * profiles**2).sum(axis=1) * (radius * average**2).sum())
    return np.asarray((radius * profiles * average).sum(axis=1) / np.maximum(norm, 1e-12))


def _roundness(part: BoolArray) -> float:
    """Perimeter² / (4 pi area), least for a disc; infinite for nothing."""
    around, area = perimeter(np.pad(part, 1)), part.sum()
    return float(around**2 / (4 * np.pi * area)) if area else np.inf
