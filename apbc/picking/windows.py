"""A classifier's window over a whole micrograph: the scale, the map, and windows one by one.

DeepCryoPicker (Al-Azzawi et al. 2020, BMC Bioinformatics 21:509,
doi:10.1186/s12859-020-03809-7) magnifies the prepared micrograph until a particle's box
just fits into the network's window of 227 pixels, moves the window over it and writes down
the probabilities of the classes. Cutting 28,000 windows out of a micrograph of 1240 x 1200
pixels one by one takes minutes. Here the layers are computed once for the whole image
(`slide`), which is some hundred times less work, and only the places that are then proposed
are looked at through windows of their own (`look`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from apbc.bootstrap.scale import DetectionScale, shrink
from apbc.bootstrap.stages import prepare
from apbc.errors import ApbcError
from apbc.geometry import angstrom_to_pixels
from apbc.models.alexnet import PATCH, probabilities
from apbc.models.sliding import MARGIN, STEP
from apbc.picking.score_map import Network, run_network, tile_starts

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

GRID = 8  # factors are whole numbers of eighths
REACH = 3  # pixels, at least, that the bicubic kernel and its rounding take from beside a cut
BEYOND = 1  # steps that the map goes on beyond the border, to tell where a peak is
BATCH = 64
FLAT = 0.25
TILE = 2400  # network pixels; larger images go through in tiles
GPU_TILE = 4096
SMALLEST_TILE = 3 * PATCH
BYTES_PER_PIXEL = 128  # of the layers; a tile of 3155 took 93


def scale_factor(box: float) -> float:
    """How much to magnify a micrograph for the window.

    Parameters
    ----------
    box : float
        Side of a particle's box in pixels of the micrograph; of several classes the
        largest one decides for all.

    Returns
    -------
    float
        The largest eighth that keeps the box smaller than the window of 227 pixels, at
        least an eighth (the rule of the paper: up in steps of 0.125 for small boxes, down
        for large ones).

    Raises
    ------
    ValueError
        If `box` is not above 0.
    """
    if not box > 0:
        raise ValueError(f"the box must be above 0 pixels, not {box}")
    return max(math.floor(GRID * (PATCH - 1) / box), 1) / GRID


@dataclass(frozen=True)
class WindowImage:
    """A prepared micrograph that is magnified only where it is looked at.

    Attributes
    ----------
    pixels : ndarray of float32, shape (rows, cols)
        Last stage at the detection scale, values from 0 to 1.
    detection : DetectionScale
    factor : float
        Network pixels per pixel of the micrograph.
    pixel_size : float
        Å per pixel of the micrograph.
    """

    pixels: FloatImage
    detection: DetectionScale
    factor: float
    pixel_size: float

    @property
    def zoom(self) -> float:
        """Network pixels per pixel at the detection scale."""
        return self.factor / self.detection.factor

    @property
    def per_angstrom(self) -> float:
        """Network pixels per Å."""
        return self.factor / self.pixel_size

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns in network pixels."""
        rows, columns = (math.floor(n * self.zoom + 1e-9) for n in self.pixels.shape)
        return rows, columns

    def cut(self, top: int, left: int, rows: int, columns: int) -> FloatImage:
        """Part of the magnified image (bicubic), mirrored beyond its borders.

        Parameters
        ----------
        top, left : int
            First row and column, in network pixels; may lie outside.
        rows, columns : int

        Returns
        -------
        ndarray of float32, shape (rows, columns)
        """
        spans = []
        for first, count, size in zip((top, left), (rows, columns), self.pixels.shape, strict=True):
            reach = math.ceil(REACH * max(1.0, 1 / self.zoom))
            low = math.floor(first / self.zoom) - reach
            high = math.ceil((first + count) / self.zoom) + reach
            spans.append((low, mirrored(np.arange(low, high), size)))
        (low_y, y), (low_x, x) = spans
        box = (
            left / self.zoom - low_x,
            top / self.zoom - low_y,
            (left + columns) / self.zoom - low_x,
            (top + rows) / self.zoom - low_y,
        )
        source = Image.fromarray(self.pixels[np.ix_(y, x)])
        resized = source.resize((columns, rows), Image.Resampling.BICUBIC, box)
        return np.asarray(resized, np.float32)

    def to_micrograph(self, positions: npt.ArrayLike) -> FloatArray:
        """Micrograph pixels of network pixels ``x, y``, shape (n, 2): x / s + 0.5 / s - 0.5."""
        return (np.asarray(positions, float).reshape(-1, 2) + 0.5) / self.factor - 0.5


def mirrored(index: IntArray, size: int) -> IntArray:
    """Index into a line of `size` that repeats itself, mirrored at its ends."""
    period = index % (2 * size)
    return np.where(period < size, period, 2 * size - 1 - period)


def window_image(
    image: npt.NDArray[Any], pixel_size: float, box: float, detection: dict[str, Any]
) -> WindowImage:
    """Prepare a micrograph as the classifier's training patches were.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Micrograph.
    pixel_size : float
        Å per pixel of it.
    box : float
        Side in Å of a particle's box.
    detection : dict
        Of the model's card: ``diameter`` in Å, ``contrast``, ``opening``.

    Returns
    -------
    WindowImage

    Raises
    ------
    ApbcError
        If the window does not fit into the micrograph.
    """
    factor = scale_factor(angstrom_to_pixels(box, pixel_size))
    scale = DetectionScale(angstrom_to_pixels(detection["diameter"], pixel_size))
    if min(image.shape) * min(factor, 1.0) < 1 or min(image.shape) * factor < PATCH:
        raise ApbcError(
            f"it is smaller than the box of a particle ({image.shape[1]} x {image.shape[0]} "
            f"pixels of {pixel_size:g} Å, and the box has {box:.0f} Å); check its pixel size"
        )
    working = shrink(image, scale.factor)
    if detection["contrast"] == "light":
        working = -working
    final = prepare(working, detection["opening"]).final
    return WindowImage(final.astype(np.float32), scale, factor, pixel_size)


@dataclass(frozen=True)
class WindowMap:
    """What the classifier says of windows all over a micrograph.

    Attributes
    ----------
    logits : ndarray of float32, shape (rows, cols, classes)
        NaN where nothing was looked at.
    y, x : ndarray, shape (rows,) and (cols,)
        Centres of the windows in network pixels, rising.
    """

    logits: FloatImage
    y: FloatArray
    x: FloatArray

    @property
    def probabilities(self) -> FloatArray:
        """Probability of each class, shape (rows, cols, classes); 0 where nothing was seen."""
        return np.nan_to_num(probabilities(self.logits))

    def log_odds(self, column: int) -> FloatArray:
        """Logarithm of the odds of a class, shape (rows, cols); minus infinity if not seen.

        It orders places as the probability does, also where that is 1 to all its digits.
        """
        logits = self.logits.astype(float)
        others = np.delete(logits, column, axis=-1)
        odds = logits[..., column] - np.logaddexp.reduce(others, axis=-1)
        return np.where(np.isnan(odds), -np.inf, odds)

    def positions(self, cells: FloatArray) -> FloatArray:
        """Network pixels ``x, y`` of grid coordinates ``row, column``, shape (n, 2)."""
        rows, columns = np.asarray(cells, float).reshape(-1, 2).T
        return np.stack(
            [
                np.interp(columns, np.arange(len(self.x)), self.x),
                np.interp(rows, np.arange(len(self.y)), self.y),
            ],
            axis=1,
        )

    @property
    def edges(self) -> FloatArray:
        """Lower left and upper right corner of the cells in network pixels, shape (2, 2)."""
        half = STEP / 2
        return np.array(
            [[self.x[0] - half, self.y[0] - half], [self.x[-1] + half, self.y[-1] + half]]
        )


def slide(network: Network, image: WindowImage, tile: int = TILE) -> WindowMap:
    """Score windows every 16 pixels, all layers computed once for the whole image.

    The windows overlap, and so do their layers: all but the last pooling and what follows
    have steps of 16 pixels or less, and those are taken at every step of 16 (dilated)
    instead of four shifted copies. The map is not quite that of windows cut one by one,
    because a padded convolution sees the surroundings where a window sees zeros, which
    reaches 3 of the 13 cells of the last layers from every side. Measured on 200 windows
    drawn at random from an apoferritin micrograph (EMPIAR-10146, May08_04.32.27), with a
    network of full width that learned for five epochs from 150 patches a class of a start
    without labels: the probabilities correlated by 0.969 with those of windows cut one by
    one, differed by 0.040 in the mean and by less than 0.086 for nine in ten, and 97.5% were
    on the same side of 0.5. So the map proposes generously, and `look` decides.

    The map covers all places where a window lies in the image, and one step more on every
    side, so that it shows whether a peak at the border lies within.

    Parameters
    ----------
    network : callable
        Of `apbc.models.sliding`: images ``(batch, rows, cols, 1)`` to logits.
    image : WindowImage
    tile : int, optional
        Largest side that goes through the network at once, in network pixels.

    Returns
    -------
    WindowMap

    Raises
    ------
    MemoryError
        If the memory does not hold a tile.
    """
    counts = [-(-(n - PATCH) // STEP) + 1 + 2 * BEYOND for n in image.shape]
    most = max(1, (tile - PATCH - 2 * MARGIN) // STEP + 1)
    sides = [-(-count // -(-count // most)) for count in counts]
    first = -BEYOND * STEP
    rows, columns = ((side - 1) * STEP + PATCH + 2 * MARGIN for side in sides)
    logits: FloatImage | None = None
    for top in tile_starts(counts[0], sides[0]):
        for left in tile_starts(counts[1], sides[1]):
            part = image.cut(
                first + top * STEP - MARGIN, first + left * STEP - MARGIN, rows, columns
            )
            piece = run_network(network, part[None])[0]
            if logits is None:
                logits = np.empty((*counts, piece.shape[-1]), np.float32)
            logits[top : top + sides[0], left : left + sides[1]] = piece
    assert logits is not None
    y, x = (first + (PATCH - 1) / 2 + STEP * np.arange(count) for count in counts)
    return _without_flat(WindowMap(logits, y, x), image)


def window_starts(size: int, step: int = STEP) -> list[int]:
    """First pixels of windows from one end to the other; the last one ends at the border."""
    last = size - PATCH
    return [*range(0, last, step), last]


def slide_one_by_one(
    network: Network, image: WindowImage, classes: int, step: int = STEP
) -> WindowMap:
    """Score windows that are cut out one by one, as in the paper; flat ones are left out.

    Parameters
    ----------
    network : callable
        Images ``(batch, 227, 227, 1)`` to logits ``(batch, 1, 1, classes)``.
    image : WindowImage
    classes : int
    step : int, optional
        Network pixels from one window to the next. The last row and column are as near to
        the border as they can be.

    Returns
    -------
    WindowMap
    """
    tops, lefts = (np.array(window_starts(n, step)) for n in image.shape)
    y, x = (starts + (PATCH - 1) / 2 for starts in (tops, lefts))
    bumpy = ~flat_windows(image, y, x)
    logits = np.full((len(y), len(x), classes), np.nan, np.float32)
    for row, top in enumerate(tops):
        strip = image.cut(int(top), 0, PATCH, image.shape[1])
        seen = np.flatnonzero(bumpy[row])
        for some in np.split(seen, range(BATCH, len(seen), BATCH)):
            if not len(some):
                continue
            windows = np.stack([strip[:, left : left + PATCH] for left in lefts[some]])
            logits[row, some] = run_network(network, windows)[:, 0, 0]
    return WindowMap(logits, y, x)


def look(network: Network, image: WindowImage, positions: FloatArray) -> FloatArray:
    """Probabilities of windows that are cut out one by one round some places.

    Parameters
    ----------
    network : callable
        Images ``(batch, 227, 227, 1)`` to logits ``(batch, 1, 1, classes)``.
    image : WindowImage
    positions : ndarray, shape (n, 2)
        ``x, y`` in network pixels; a window that would leave the image is moved to its border.

    Returns
    -------
    ndarray, shape (n, classes)
    """
    last = np.array(image.shape[::-1]) - PATCH
    starts = np.clip(np.rint(positions - (PATCH - 1) / 2), 0, last).astype(int)
    found: list[FloatArray] = []
    for some in np.split(starts, range(BATCH, len(starts), BATCH)):
        if len(some):
            windows = np.stack([image.cut(top, left, PATCH, PATCH) for left, top in some.tolist()])
            found.append(probabilities(run_network(network, windows)[:, 0, 0]))
    return np.concatenate(found) if found else np.empty((0, 0))


def flat_windows(
    image: WindowImage, y: Sequence[float] | FloatArray, x: Sequence[float] | FloatArray
) -> npt.NDArray[np.bool_]:
    """Tell windows without contrast: their deviation is below a quarter of the median.

    Parameters
    ----------
    image : WindowImage
    y, x : sequence of float
        Centres in network pixels.

    Returns
    -------
    ndarray of bool, shape (len(y), len(x))
        All of an image of one grey value.
    """
    side = max(1, round(PATCH / image.zoom))
    pixels = image.pixels.astype(float)
    mean = ndimage.uniform_filter(pixels, side, mode="reflect")
    square = ndimage.uniform_filter(pixels**2, side, mode="reflect")
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    rows, columns = (
        np.clip(np.rint((np.asarray(at, float) + 0.5) / image.zoom - 0.5), 0, size - 1).astype(int)
        for at, size in zip((y, x), pixels.shape, strict=True)
    )
    there = deviation[np.ix_(rows, columns)]
    return np.asarray(there <= max(FLAT * float(np.median(there)), 1e-6))


def _without_flat(found: WindowMap, image: WindowImage) -> WindowMap:
    logits = found.logits.copy()
    logits[flat_windows(image, found.y, found.x)] = np.nan
    return WindowMap(logits, found.y, found.x)
