"""Irregular particles: the components of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from .masks import EIGHT
from .rectangles import Outlines, measure_outlines

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MERGED = 1.8
"""A component of more than so many median areas is taken for several particles."""
APART = 0.4
"""Diameters that the centres of particles in one component are apart at least."""
SMALLEST = 15
"""Percentile of filled areas below which components are left out."""


@dataclass(frozen=True)
class Blobs:
    """Irregular particles found in a mask.

    Attributes
    ----------
    outlines : Outlines
        Of n components, those that were split in parts counted by part.
    centres : ndarray, shape (n, 2)
        Centroids ``x, y`` in pixels.
    merged : ndarray of bool, shape (n,)
        Part of a component that holds several particles.
    """

    outlines: Outlines
    centres: FloatArray
    merged: BoolArray


def find_blobs(mask: BoolArray, diameter: float) -> Blobs:
    """Find irregular particles as components, and split merged ones.

    The smallest components are left out (SuperCryoEMPicker, Al-Azzawi et al., Genes
    10:666, 2019); components much larger than the median are split by a watershed of the
    distance to their outline.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Cleaned mask of the particles.
    diameter : float
        Particle diameter in pixels.

    Returns
    -------
    Blobs
    """
    labels, count = ndimage.label(mask, EIGHT)
    if not count:
        return Blobs(measure_outlines(labels), np.empty((0, 2)), np.empty(0, bool))
    filled = np.zeros(count + 1)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        filled[number] = ndimage.binary_fill_holes(labels[box] == number).sum()
    kept = filled >= np.percentile(filled[1:], SMALLEST)
    kept[0] = False
    large = kept & (filled > MERGED * np.median(filled[kept]))

    together = large[labels]
    inside = ndimage.distance_transform_edt(together)
    apart = max(1, round(APART * diameter))
    peaks = peak_local_max(inside, min_distance=apart, labels=np.where(together, labels, 0))
    seeds = np.zeros(mask.shape, np.intp)
    seeds[tuple(peaks.T)] = count + 1 + np.arange(len(peaks))
    parts = watershed(-inside, seeds, mask=together)
    outlines = measure_outlines(np.where(parts > 0, parts, np.where(kept[labels], labels, 0)))

    each = np.arange(1, len(outlines.area) + 1)
    middle = np.array(ndimage.center_of_mass(outlines.labels > 0, outlines.labels, each))
    merged = ndimage.maximum(together, outlines.labels, each)
    return Blobs(outlines, middle.reshape(-1, 2)[:, ::-1], np.array(merged, bool))
