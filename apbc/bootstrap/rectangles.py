"""Side views: Feret diameters and the rectangles that stand for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage.draw import polygon

from .masks import EIGHT, area_open

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


_PIXEL = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
"""Corners of a pixel round its centre."""

SPECK, LEAST_AREA = 0.06, 0.18
"""Components that are left out before and after smoothing, in areas of a disc of the diameter."""
RATIOS = (1.2, 1.55)
"""Largest over smallest Feret diameter of a side view."""
SQUARE = 0.82
"""Part of the smallest rectangle that a side view fills; a disc fills less, pi / 4."""
SOLID = 0.9
"""Part of its convex hull that a particle fills."""
DISC = 0.8
"""Part of a component in its largest disc from which on it is round; of a square pi / 4."""
SIDE_AREAS = (0.5, 2.0)
"""Areas of side views, in areas of a disc of the diameter."""
MERGED = 1.35
"""A side view of more median areas is two that touch."""


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in any direction.

    Attributes
    ----------
    x, y : float
        Centre in pixels.
    length, width : float
        Sides in pixels, the longer first.
    angle : float
        Direction of the length in degrees from the x axis towards the y axis, 0 to 180.
    """

    x: float
    y: float
    length: float
    width: float
    angle: float

    @property
    def corners(self) -> FloatArray:
        """The four corners in order, shape (4, 2), ``x, y``."""
        turn = np.deg2rad(self.angle)
        along = np.array([np.cos(turn), np.sin(turn)]) * self.length / 2
        across = np.array([-np.sin(turn), np.cos(turn)]) * self.width / 2
        centre = np.array([self.x, self.y])
        return centre + np.stack([along + across, along - across, -along - across, across - along])


@dataclass(frozen=True)
class Outlines:
    """Measures of the components of a mask.

    Attributes
    ----------
    labels : ndarray of int, shape of the mask
        0 outside, component ``i`` has ``i + 1``.
    rectangles : list of Rectangle, length n
        Of the smallest area round each component.
    feret : ndarray, shape (n, 2)
        Largest and smallest Feret diameter in pixels.
    area, solidity, extent : ndarray, shape (n,)
        Pixels; part of the convex hull and of the rectangle that the component fills.
    """

    labels: npt.NDArray[np.int32]
    rectangles: list[Rectangle]
    feret: FloatArray
    area: FloatArray
    solidity: FloatArray
    extent: FloatArray


def feret(points: npt.ArrayLike) -> tuple[float, float]:
    """Largest and smallest Feret diameter of a set of pixels.

    The width at an angle is the range of the pixel centres along that direction plus
    one pixel, over whole degrees from 0 to 179.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        Pixels, at least one.

    Returns
    -------
    largest, smallest : float
        Pixels.
    """
    turn = np.deg2rad(np.arange(180))
    along = _hull(points) @ np.stack([np.cos(turn), np.sin(turn)])
    widths = np.ptp(along, axis=0) + 1
    return float(widths.max()), float(widths.min())


def minimum_area_rectangle(points: npt.ArrayLike) -> Rectangle:
    """Rectangle of the smallest area that holds all points.

    One of its sides lies along a side of the convex hull (Freeman and Shapira, Commun.
    ACM 18:409, 1975), so that trying these is exact.

    Parameters
    ----------
    points : array_like, shape (n, 2)
        ``x, y``, at least one.

    Returns
    -------
    Rectangle
    """
    hull = _hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    turns = np.unique(np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2))
    along = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    a, b = hull @ along.T, hull @ across.T
    best = int(np.argmin(np.ptp(a, axis=0) * np.ptp(b, axis=0)))
    middle = (
        along[best] * (a[:, best].max() + a[:, best].min()) / 2
        + across[best] * (b[:, best].max() + b[:, best].min()) / 2
    )
    length, width = float(np.ptp(a[:, best])), float(np.ptp(b[:, best]))
    angle = float(np.rad2deg(turns[best]))
    if width > length:
        length, width, angle = width, length, angle + 90
    return Rectangle(float(middle[0]), float(middle[1]), length, width, angle)


def measure_outlines(components: npt.NDArray[np.generic], least_area: float = 1) -> Outlines:
    """Measure components.

    Parameters
    ----------
    components : ndarray of bool or int, shape (rows, columns)
        A mask, whose 8-connected components are measured; or labels, 0 outside.
    least_area : float, optional
        Components of fewer pixels are left out.

    Returns
    -------
    Outlines
    """
    labels = ndimage.label(components, EIGHT)[0] if components.dtype == bool else components
    sizes = np.bincount(labels.ravel())
    kept = np.flatnonzero((sizes >= least_area) & (np.arange(len(sizes)) > 0))
    renumber = np.zeros(len(sizes), np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    labels = renumber[labels]
    rectangles, ferets, hulls = [], [], []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        points = _ends(labels[box] == number) + np.array([box[1].start, box[0].start])
        rectangles.append(minimum_area_rectangle(points))
        ferets.append(feret(points))
        hulls.append(ConvexHull((points[:, None] + _PIXEL).reshape(-1, 2)).volume)
    area = sizes[kept].astype(float)
    boxes = np.array([max(r.length * r.width, 1.0) for r in rectangles])
    return Outlines(
        labels,
        rectangles,
        np.array(ferets).reshape(-1, 2),
        area,
        area / np.array(hulls),
        area / boxes,
    )


def find_sides(mask: BoolArray, diameter: float) -> tuple[Outlines, list[str]]:
    """Tell by their outlines which components are side views.

    The paper describes this step without a program: remove what is small, round or not
    square, smooth the rest, measure its Feret diameters, put a perfect rectangle in its
    place (Al-Azzawi et al. 2020, BMC Bioinformatics 21:509).

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Dark pixels, not cleaned.
    diameter : float
        Particle diameter in pixels.

    Returns
    -------
    outlines : Outlines
        Of the smoothed mask, without small components.
    kind : list of str
        "side", "merged" (rectangles too long for one particle) or "other" for each component.
    """
    disc = np.pi * diameter**2 / 4
    solid = smooth_outlines(area_open(mask, SPECK * disc), diameter)
    outlines = measure_outlines(solid, LEAST_AREA * disc)
    long = outlines.feret[:, 0] / outlines.feret[:, 1]
    firm = (outlines.area >= SIDE_AREAS[0] * disc) & (outlines.solidity >= SOLID)
    square = firm & (outlines.extent >= SQUARE) & (long >= RATIOS[0]) & ~_discs(outlines)
    one = square & (long <= RATIOS[1]) & (outlines.area <= SIDE_AREAS[1] * disc)
    if one.any():
        one &= outlines.area <= MERGED * np.median(outlines.area[one])
    kind = np.select([one, square], ["side", "merged"], "other")
    return outlines, kind.tolist()


def smooth_outlines(mask: BoolArray, diameter: float) -> BoolArray:
    """Close the gaps of a mask, fill its holes and take thin parts away.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Dark pixels, the darkest among them.
    diameter : float
        Particle diameter in pixels; discs of 0.027 and 0.11 of it close and open.

    Returns
    -------
    ndarray of bool, shape of the mask
    """
    gap, thin = max(1.0, round(0.027 * diameter)), max(1.0, round(0.11 * diameter))
    pad = int(np.ceil(gap + thin)) + 1
    solid = np.pad(mask, pad)
    solid = ~_dilate(~_dilate(solid, gap), gap)
    solid = ndimage.binary_fill_holes(solid)
    solid = _dilate(~_dilate(~solid, thin), thin)
    return solid[pad:-pad, pad:-pad]


def overlapping(rectangles: list[Rectangle]) -> BoolArray:
    """Tell which rectangles share a pixel with another.

    Parameters
    ----------
    rectangles : list of Rectangle

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    taken: dict[tuple[int, int], int] = {}
    shared = np.zeros(len(rectangles), bool)
    for number, rectangle in enumerate(rectangles):
        x, y = rectangle.corners.T
        for pixel in zip(*(a.tolist() for a in polygon(y, x)), strict=True):
            other = taken.setdefault(pixel, number)
            if other != number:
                shared[[number, other]] = True
    return shared


def _discs(outlines: Outlines) -> BoolArray:
    """Tell which components are discs, debris at their rim or not: most lies in one disc."""
    depth = ndimage.distance_transform_edt(np.pad(outlines.labels > 0, 1))[1:-1, 1:-1]
    each = np.arange(1, len(outlines.area) + 1)
    radius = np.asarray(ndimage.maximum(depth, outlines.labels, each), float)
    return np.asarray(np.pi * radius**2 > DISC * outlines.area)


def _ends(part: BoolArray) -> IntArray:
    """First and last pixel ``x, y`` of each row of a component: its convex hull is theirs."""
    rows = np.flatnonzero(part.any(axis=1))
    first = part[rows].argmax(axis=1)
    last = part.shape[1] - 1 - part[rows, ::-1].argmax(axis=1)
    return np.stack([np.concatenate([first, last]), np.tile(rows, 2)], axis=1)


def _hull(points: npt.ArrayLike) -> FloatArray:
    """Corners of the convex hull in order; all points where they lie on a line."""
    every = np.asarray(points, float).reshape(-1, 2)
    try:
        return every[ConvexHull(every).vertices]
    except (QhullError, ValueError):
        return every


def _dilate(mask: BoolArray, radius: float) -> BoolArray:
    """Dilate by a disc of a radius in pixels."""
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)
