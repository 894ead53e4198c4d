"""All of the unsupervised search on one micrograph: stages, mask, shapes, good and bad.

Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7. All sizes
are multiples of the particle diameter, so that one set of rules serves every particle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .blobs import find_blobs
from .circles import find_circles
from .clusters import dark_mask
from .examples import SHAPES, Examples
from .masks import Mask, clean
from .quality import apart, contaminated, judge_blobs, judge_sides, judge_tops
from .rectangles import Rectangle, find_sides
from .stages import Stages, prepare

FloatArray = npt.NDArray[np.float64]

LEAST_SHARE = 0.1
"""Part of the good round and square particles that a shape makes up, to be taken for real."""
IRREGULAR_SHARE = 3.0
"""Irregular particles for one round or square one from which on all are irregular."""


@dataclass(frozen=True)
class DetectOptions:
    """What may be set; the defaults serve every particle whose diameter is about right.

    Attributes
    ----------
    clustering : str
        Of `apbc.bootstrap.clusters.METHODS`, for round and square particles.
    superpixels : str
        The same for irregular ones.
    area : float
        Smallest component of the mask, in areas of a disc of the diameter.
    irregular_area : float
        The same for irregular particles.
    radii : (float, float, float)
        Least and greatest radius of circles looked for, and the one at which the phase of the
        transform has turned once, in diameters.
    sensitivity : float
        Of the circle transform.
    apart : float
        Diameters between the centres of circles at least.
    """

    clustering: str = "icb"
    superpixels: str = "sp-kmeans"
    area: float = 0.2
    irregular_area: float = 0.1
    radii: tuple[float, float, float] = (0.4, 0.9, 1.5)
    sensitivity: float = 0.86
    apart: float = 0.7


@dataclass(frozen=True)
class Detection:
    """What was found on one micrograph, in its pixels.

    Attributes
    ----------
    examples : Examples
    stages : Stages
    masks : dict of str to ndarray of bool
        "cluster" and "cleaned"; those of irregular particles, where others were looked for
        too, "superpixels" and "superpixels cleaned"; "outlines" of side views;
        "contamination" where there is any.
    circles : ndarray, shape (n, 4)
        Circles that were drawn: ``x, y, radius`` and the height of the peak.
    rectangles : list of Rectangle
        Rectangles that were drawn.
    """

    examples: Examples
    stages: Stages
    masks: dict[str, Mask]
    circles: FloatArray = field(default_factory=lambda: np.empty((0, 4)))
    rectangles: list[Rectangle] = field(default_factory=list)


def detect(
    working: npt.ArrayLike,
    diameter: float,
    shapes: Sequence[str] | str = "auto",
    options: DetectOptions | None = None,
) -> Detection:
    """Find the particles of a micrograph and judge them.

    Parameters
    ----------
    working : array_like, shape (rows, columns)
        Micrograph at the detection scale (`apbc.bootstrap.scale`), dark particles.
    diameter : float
        Particle diameter in its pixels.
    shapes : sequence of str, or "auto", optional
        Shapes of `SHAPES` to look for; "auto" looks for all and keeps those that
        `present_shapes` finds; irregular ones where it finds none.
    options : DetectOptions, optional

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        If a shape is unknown, or the image is not a finite 2D image.
    """
    settings = options or DetectOptions()
    wanted = SHAPES if shapes == "auto" else tuple(shapes)
    if not wanted or set(wanted) - set(SHAPES):
        raise ValueError(f"shapes must be some of {', '.join(SHAPES)}, not {shapes!r}")
    stages = prepare(working)
    found = _search(stages, diameter, wanted, settings)
    if shapes == "auto":
        return _search(stages, diameter, present_shapes([found.examples]) or SHAPES[-1:], settings)
    return found


def _search(
    stages: Stages, diameter: float, shapes: tuple[str, ...], options: DetectOptions
) -> Detection:
    """Find and judge particles of the given shapes in a prepared micrograph."""
    parts: list[Examples] = []
    masks: dict[str, Mask] = {}
    circles = np.empty((0, 4))
    rectangles: list[Rectangle] = []
    disc = np.pi * diameter**2 / 4
    dirty = contaminated(stages.normalised, diameter)
    if "top" in shapes or "side" in shapes:
        masks["cluster"] = dark_mask(stages, options.clustering, diameter)
        masks["cleaned"] = clean(masks["cluster"], options.area * disc)
    if "side" in shapes:
        outlines, kind = find_sides(masks["cluster"], diameter)
        masks["outlines"] = outlines.labels > 0
        square = [i for i, what in enumerate(kind) if what != "other"]
        rectangles = [outlines.rectangles[i] for i in square]
        parts.append(judge_sides(outlines, kind, stages.final.shape))
    if "top" in shapes:
        mask = masks["cleaned"]
        if "side" in shapes:
            mask = mask & ~_widened(np.isin(outlines.labels, np.array(square, int) + 1))
        least, most, once = (share * diameter for share in options.radii)
        circles = find_circles(mask, least, most, options.sensitivity, once)
        circles = circles[apart(circles[:, :2], circles[:, 3], options.apart * diameter)]
        parts.append(judge_tops(circles, mask, stages.restored, diameter))
    if "irregular" in shapes:
        names = ("superpixels", "superpixels cleaned") if masks else ("cluster", "cleaned")
        cluster = dark_mask(stages, options.superpixels, diameter)
        cleaned = clean(cluster, options.irregular_area * disc)
        masks |= dict(zip(names, (cluster, cleaned), strict=True))
        blobs = find_blobs(cleaned, diameter)
        parts.append(judge_blobs(blobs, stages.normalised, diameter, dirty))
    examples = Examples.join(parts)
    if dirty.any():
        masks["contamination"] = dirty
        last = np.array(dirty.shape[::-1]) - 1
        x, y = np.clip(np.rint(examples.positions), 0, last).astype(int).T
        examples = examples.rejected(dirty[y, x], "contamination")
    return Detection(examples, stages, masks, circles, rectangles)


def present_shapes(found: Sequence[Examples]) -> tuple[str, ...]:
    """Tell which shapes the particles of some micrographs have.

    Where round and square particles are many, they are those; where irregular ones
    outnumber them by far, all are irregular: pieces of irregular particles are rarely round.

    Parameters
    ----------
    found : sequence of Examples
        Of micrographs on which all shapes were looked for.

    Returns
    -------
    tuple of str
        Of `SHAPES`; none where no example is good.
    """
    good = np.concatenate([examples.shape[examples.good] for examples in found])
    if not len(good):
        return ()
    top, side, irregular = np.bincount(good, minlength=len(SHAPES))
    regular = top + side
    if irregular > IRREGULAR_SHARE * regular:
        return ("irregular",)
    kept = [s for s, n in (("top", top), ("side", side)) if n > LEAST_SHARE * regular]
    return tuple(kept) or ("irregular",)


def _widened(mask: Mask) -> Mask:
    """Mask with a margin of the width of the filters that smoothed it."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=3), bool)
