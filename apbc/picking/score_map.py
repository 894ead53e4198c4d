"""The network over a whole working image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc.models.architecture import Architecture

FloatImage = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Network = Callable[..., Any]  # images (batch, rows, cols, 1) to logits, one a member

NEAR = 0.25  # diameters
TILE = 600  # working pixels; larger images go through in tiles: less memory, no slower
SMALLEST_TILE = 256
BYTES_PER_PIXEL = 512  # of the layers, a member; the hungrier architecture took 370


@dataclass(frozen=True)
class ScoreMap:
    """Scores on a regular grid of a working image.

    Attributes
    ----------
    scores : ndarray of float32, shape (rows, cols)
        Mean logit of the ensemble's members.
    stride : int
        Working pixels between grid points.
    origin : float
        Working pixel, along x and along y, of the first grid point.
    members : ndarray of float32, shape (rows, cols, members), optional
        Logits of each member of an ensemble.
    """

    scores: FloatImage
    stride: int
    origin: float
    members: FloatImage | None = None

    def positions(self, cells: FloatArray) -> FloatArray:
        """Working pixels ``x, y`` of grid coordinates ``row, column``, shape (n, 2)."""
        return np.asarray(cells, float)[:, ::-1] * self.stride + self.origin

    def members_at(self, positions: FloatArray) -> FloatArray:
        """Logits of the members, shape (n, members), at the grid points next to working pixels."""
        if self.members is None:
            raise ValueError("the scores are those of a single network")
        last = np.array(self.scores.shape) - 1
        cells = np.rint((np.asarray(positions, float)[:, ::-1] - self.origin) / self.stride)
        rows, columns = np.clip(cells, 0, last).astype(int).T
        return self.members[rows, columns].astype(float)

    @property
    def edges(self) -> FloatArray:
        """Lower left and upper right corner of the cells in working pixels, shape (2, 2)."""
        rows, columns = self.scores.shape
        return self.positions(np.array([[-0.5, -0.5], [rows - 0.5, columns - 0.5]]))


def fitting_tile(
    available: int,
    members: int,
    largest: int = TILE,
    smallest: int = SMALLEST_TILE,
    bytes_per_pixel: int = BYTES_PER_PIXEL,
) -> int:
    """Side of the tiles that fit into the memory, in working pixels.

    Parameters
    ----------
    available : int
        Free bytes, half of which the layers may take.
    members : int
        Networks in the ensemble.
    largest, smallest : int, optional
    bytes_per_pixel : int, optional
        Of the layers of one network.

    Returns
    -------
    int
        At least `smallest`, at most `largest`.
    """
    side = math.isqrt(max(available, 0) // (2 * bytes_per_pixel * members))
    return max(smallest, min(largest, side))


def run_network(network: Network, images: FloatImage) -> FloatImage:
    """Logits ``(batch, cells, cells, members)`` of images ``(batch, rows, cols)``."""
    logits = network(images[..., None], training=False)
    if not isinstance(logits, np.ndarray):
        from keras import ops

        logits = ops.convert_to_numpy(logits)
    return np.asarray(logits, np.float32)


def middle_scores(
    network: Network, architecture: Architecture, crops: FloatImage, diameter: float
) -> FloatArray:
    """Best score near the middle of crops: a label or a pick is seldom quite centred.

    Parameters
    ----------
    network : callable
        A Keras model, or one of `apbc.models.inference`.
    architecture : Architecture
    crops : ndarray of float32, shape (n, size, size)
        With pixel ``size // 2`` in the middle.
    diameter : float
        Particle diameter in working pixels; a quarter of it is near.

    Returns
    -------
    ndarray, shape (n,)
        Mean logit of the members at the best of the near grid points.
    """
    size, stride = crops.shape[1], architecture.stride
    reach = diameter * NEAR
    around = min(int(reach // stride) + 1, (size - architecture.window) // (2 * stride))
    side = architecture.window + 2 * around * stride
    first = (size - side + 1) // 2
    logits = run_network(network, crops[:, first : first + side, first : first + side]).mean(-1)
    places = first + architecture.first_cell + stride * np.arange(2 * around + 1) - size // 2
    far = np.hypot(*np.meshgrid(places, places)) > max(reach, np.abs(places).min() * 1.5)
    logits[:, far] = -np.inf
    return logits.max(axis=(1, 2)).astype(float)


def score_map(
    network: Network, architecture: Architecture, pixels: FloatImage, tile: int = TILE
) -> ScoreMap:
    """Score every place of a working image.

    The image is mirrored at its borders so that the grid covers all of it. Tiles
    overlap by the network's window, so that they give the scores of the whole
    image; they only bound the memory. All tiles of an image have one shape.

    Parameters
    ----------
    network : callable
        A Keras model, or one of `apbc.models.inference`.
    architecture : Architecture
    pixels : ndarray of float32, shape (rows, cols)
    tile : int, optional
        Largest side that goes through the network at once, in working pixels.

    Returns
    -------
    ScoreMap
    """
    window, stride = architecture.window, architecture.stride
    before = int(architecture.first_cell)
    counts = [-(-n // stride) for n in pixels.shape]
    after = [
        max(0, stride * (count - 1) + window - n - before)
        for count, n in zip(counts, pixels.shape, strict=True)
    ]
    padded = np.pad(pixels, [(before, a) for a in after], mode="symmetric")
    most = max(1, (tile - window) // stride + 1)
    sides = [-(-count // -(-count // most)) for count in counts]
    logits: FloatImage | None = None
    for top in tile_starts(counts[0], sides[0]):
        for left in tile_starts(counts[1], sides[1]):
            rows = slice(top * stride, (top + sides[0] - 1) * stride + window)
            cols = slice(left * stride, (left + sides[1] - 1) * stride + window)
            piece = run_network(network, padded[None, rows, cols])[0]
            if logits is None:
                logits = np.empty((*counts, piece.shape[-1]), np.float32)
            logits[top : top + sides[0], left : left + sides[1]] = piece
    assert logits is not None
    members = logits if logits.shape[-1] > 1 else None
    return ScoreMap(logits.mean(axis=-1), stride, architecture.first_cell - before, members)


def tile_starts(count: int, side: int) -> list[int]:
    """First cells of tiles of one size that cover all cells; the last may overlap."""
    return [min(first, count - side) for first in range(0, count, side)]
