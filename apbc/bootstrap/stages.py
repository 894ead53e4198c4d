"""The stages that turn a noisy micrograph into one whose grey values can be clustered.

Normalisation, contrast stretch, histogram equalisation, Wiener filter, a second
equalisation with two adaptive ones (CLAHE), four passes of a guided filter, a second stretch
and a morphological opening: the preprocessing of Al-Azzawi et al. 2019, BMC Bioinformatics
20:326 (AutoCryoPicker) and 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7
(DeepCryoPicker), in the order of the authors' program. The filters have fixed sizes in
pixels, so they belong to a *detection scale* at which a particle is some 30 to 60 px wide
(`apbc.bootstrap.scale`); protein is dark. Equalisation is global: a whole micrograph
goes through, never a patch.

Every stage is a float64 image with values from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

FloatArray = npt.NDArray[np.float64]

LEVELS = 64
"""Grey levels that histogram equalisation leaves."""
TILES = 8
"""Tiles of the adaptive equalisation along either side."""
RAYLEIGH = 0.4
"""Parameter alpha of the Rayleigh distribution that adaptive equalisation aims at."""
GUIDED_PASSES = 4
GUIDED_SIDE = 5
GUIDED_EPSILON = 0.01
WIENER_SIDE = 5
OPENINGS = {
    "cross": ndimage.generate_binary_structure(2, 1),
    "square": np.ones((5, 5), bool),
}
"""Structuring elements: the 3 x 3 cross for regular shapes, the 5 x 5 square for irregular ones."""
FAR = 3.0
"""Grey values further outside the middle 99.8 % than this many times its width are clipped."""


@dataclass(frozen=True)
class Stages:
    """What each stage made of one micrograph; arrays of shape (rows, columns), 0 to 1."""

    normalised: FloatArray
    stretched: FloatArray
    equalised: FloatArray
    restored: FloatArray
    equalised_again: FloatArray
    adaptive: FloatArray
    adaptive_again: FloatArray
    smoothed: FloatArray
    adjusted: FloatArray
    opened: FloatArray

    @property
    def final(self) -> FloatArray:
        """The last stage, which is clustered."""
        return self.opened


def prepare(image: npt.ArrayLike, opening: str = "cross") -> Stages:
    """All stages of one micrograph at the detection scale.

    Parameters
    ----------
    image : array_like, shape (rows, columns)
        Micrograph at the detection scale, any grey values, protein dark.
    opening : {"cross", "square"}, optional
        Structuring element of the last stage; "square" opens with the 5 x 5 square before
        the cross, as the authors do for irregular particles (SuperCryoEMPicker, Genes
        10:666, 2019).

    Returns
    -------
    Stages
        A micrograph of one grey value gives stages of one grey value.

    Raises
    ------
    ValueError
        If `opening` is none of the two, or `image` is not a finite 2D image.
    """
    if opening not in OPENINGS:
        raise ValueError(f"opening must be one of {', '.join(OPENINGS)}, not {opening!r}")
    pixels = np.asarray(image, float)
    if pixels.ndim != 2 or pixels.size == 0 or not np.isfinite(pixels).all():
        raise ValueError("the stages need a 2D image of finite numbers")
    normalised = normalise(clip_far(pixels))
    stretched = stretch(normalised)
    equalised = equalise(stretched)
    restored = restore(equalised)
    equalised_again = equalise(np.clip(restored, 0, 1))
    adaptive = adaptive_equalise(equalised_again, 0.02)
    adaptive_again = adaptive_equalise(adaptive, 0.99)
    smoothed = smooth(adaptive_again)
    adjusted = stretch(smoothed)
    opened = adjusted if opening == "cross" else open_bright(adjusted, "square")
    return Stages(
        normalised=normalised,
        stretched=stretched,
        equalised=equalised,
        restored=restored,
        equalised_again=equalised_again,
        adaptive=adaptive,
        adaptive_again=adaptive_again,
        smoothed=smoothed,
        adjusted=adjusted,
        opened=open_bright(opened, "cross"),
    )


def clip_far(image: FloatArray) -> FloatArray:
    """Pull in grey values far outside all others: hot and dead pixels.

    The stretch clips the outer 1 % anyway; but one pixel of a million counts would leave
    all others in a few of its bins. Not in the authors' program, whose images were 16-bit.
    """
    low, high = np.percentile(image, (0.1, 99.9))
    far = FAR * (high - low)
    return image if far == 0 else np.clip(image, low - far, high + far)


def normalise(image: FloatArray) -> FloatArray:
    """Grey values from 0 to 1; all 0 where the image has one grey value."""
    low, high = image.min(), image.max()
    if low == high:
        return np.zeros(image.shape)
    return (image - low) / (high - low)


def stretch(image: FloatArray, low: float = 0.01, high: float = 0.99) -> FloatArray:
    """Stretch linearly between two quantiles and clip (MATLAB's stretchlim and imadjust).

    Parameters
    ----------
    image : ndarray
        Values outside 0 to 1 are clipped first.
    low, high : float, optional
        Parts of the pixels below and above which grey values are clipped.
    """
    bins = 65536
    clipped = np.clip(image, 0, 1)
    index = np.floor(clipped * (bins - 1) + 0.5).astype(np.intp)
    cumulative = np.cumsum(np.bincount(index.ravel(), minlength=bins)) / image.size
    bottom = float(np.argmax(cumulative > low)) / (bins - 1)
    top = float(np.argmax(cumulative >= high)) / (bins - 1)
    if bottom == top:
        bottom, top = 0.0, 1.0
    return (np.clip(clipped, bottom, top) - bottom) / (top - bottom)


def equalise(image: FloatArray) -> FloatArray:
    """Equalise the histogram to 64 flat levels (MATLAB's histeq); values from 0 to 1."""
    index = np.floor(255 * image + 0.5).astype(np.intp)
    histogram = np.bincount(index.ravel(), minlength=256).astype(float)
    pixels = image.size
    target = pixels * np.arange(1, LEVELS + 1) / LEVELS
    inner = histogram.copy()
    inner[[0, -1]] = 0
    error = target[:, None] - np.cumsum(histogram)[None, :] + inner[None, :] / 2
    error[error < -pixels * np.sqrt(np.finfo(float).eps)] = pixels
    return np.asarray(np.argmin(error, axis=0) / (LEVELS - 1))[index]


def restore(image: FloatArray) -> FloatArray:
    """Wiener filter in 5 x 5 windows, the noise taken as the mean local variance.

    Zeros stand outside the image, so that a rim of 2 px becomes darker (MATLAB's wiener2).
    """
    if not image.any():
        return image.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        # Windows of no variance divide by 0; the filter puts their mean there.
        return np.asarray(signal.wiener(image, (WIENER_SIDE, WIENER_SIDE)), float)


def adaptive_equalise(image: FloatArray, clip: float) -> FloatArray:
    """Contrast-limited adaptive equalisation towards a Rayleigh distribution.

    MATLAB's adapthisteq with 8 x 8 tiles and 256 bins; no library at hand has its
    Rayleigh target, and its way of clipping is its own.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Values from 0 to 1.
    clip : float
        Highest part of a tile's pixels in one bin: 0 flattens nothing, 1 clips nothing.
    """
    (before_rows, rows), (before_columns, columns) = (_tile_layout(n) for n in image.shape)
    pads = [
        (before, TILES * side - n - before)
        for before, side, n in zip(
            (before_rows, before_columns), (rows, columns), image.shape, strict=True
        )
    ]
    index = np.floor(255 * np.pad(image, pads, mode="symmetric") + 0.5).astype(np.intp)
    tables = _tile_tables(index, rows, columns, clip)

    inside = index[
        before_rows : before_rows + image.shape[0],
        before_columns : before_columns + image.shape[1],
    ]
    up, down, v = _neighbours(image.shape[0], before_rows, rows)
    left, right, u = _neighbours(image.shape[1], before_columns, columns)
    flat = tables.ravel()
    out = np.zeros(image.shape)
    for row, row_weight in ((up, 1 - v), (down, v)):
        for column, column_weight in ((left, 1 - u), (right, u)):
            place = (row[:, None] * TILES + column[None, :]) * 256
            out += row_weight[:, None] * column_weight[None, :] * flat[place + inside]
    return out


def _tile_layout(n: int) -> tuple[int, int]:
    """Pixels to pad before the first, and the even side of a tile, along an axis of n pixels."""
    side = -(-n // TILES)
    side += side % 2
    return (TILES * side - n) // 2, side


def _neighbours(
    n: int, before: int, side: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """Tiles before and after each of n pixels, and the weight of the one after."""
    distance = np.arange(n) + before - side / 2
    first = np.floor(distance / side).astype(np.intp)
    weight = distance / side - first
    return np.clip(first, 0, TILES - 1), np.clip(first + 1, 0, TILES - 1), weight


def _tile_tables(index: npt.NDArray[np.intp], rows: int, columns: int, clip: float) -> FloatArray:
    """Grey value of each of 256 bins in each tile; shape (tiles * tiles, 256)."""
    pixels = rows * columns
    tile = (np.arange(index.shape[0]) // rows * TILES)[:, None] + np.arange(
        index.shape[1]
    ) // columns
    counts = np.bincount((tile * 256 + index).ravel(), minlength=TILES * TILES * 256)
    histograms = counts.reshape(TILES * TILES, 256)
    least = -(-pixels // 256)
    limit = least + int(np.floor(clip * (pixels - least) + 0.5))
    clipped = np.stack([_clip_histogram(histogram, limit) for histogram in histograms])
    scale = 2 * RAYLEIGH**2
    part = -np.expm1(-1 / scale) * np.cumsum(clipped, axis=1) / pixels
    part[part >= 1] = 1 - np.finfo(float).eps
    return np.minimum(np.sqrt(-scale * np.log1p(-part)), 1)


def _clip_histogram(histogram: npt.NDArray[np.intp], limit: int) -> npt.NDArray[np.intp]:
    """Cut a histogram's bins at a limit, and spread what was cut over the bins below it."""
    excess = int(np.maximum(histogram - limit, 0).sum())
    share = excess // 256
    out = np.minimum(histogram + share, limit)
    excess -= int((out - np.minimum(histogram, limit)).sum())
    start = 0
    while excess > 0:
        walk = np.arange(start, 256, max(256 // excess, 1))
        free = walk[out[walk] < limit][:excess]
        out[free] += 1
        excess -= len(free)
        start = (start + 1) % 256
    return out


def smooth(image: FloatArray) -> FloatArray:
    """Four passes of a self-guided filter in 5 x 5 windows (He et al. 2013), not clipped."""
    for _ in range(GUIDED_PASSES):
        mean = ndimage.uniform_filter(image, GUIDED_SIDE, mode="nearest")
        variance = ndimage.uniform_filter(image**2, GUIDED_SIDE, mode="nearest") - mean**2
        slope = variance / (variance + GUIDED_EPSILON)
        offset = mean - slope * mean
        image = ndimage.uniform_filter(
            slope, GUIDED_SIDE, mode="nearest"
        ) * image + ndimage.uniform_filter(offset, GUIDED_SIDE, mode="nearest")
    return image


def open_bright(image: FloatArray, opening: str = "cross") -> FloatArray:
    """Grey opening: take out bright specks smaller than the structuring element.

    The authors open five times; an opening is idempotent, so once is the same.
    """
    return np.asarray(ndimage.grey_opening(image, footprint=OPENINGS[opening]), float)
