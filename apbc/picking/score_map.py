"""The network over a whole working image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from apbc.models.architecture import Architecture

if TYPE_CHECKING:
    import keras

FloatImage = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

NEAR = 0.25  # diameters
TILE = 600  # working pixels; larger images go through in tiles: less memory, no slower


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
    """

    scores: FloatImage
    stride: int
    origin: float

    def positions(self, cells: FloatArray) -> FloatArray:
        """Working pixels ``x, y`` of grid coordinates ``row, column``, shape (n, 2)."""
        return np.asarray(cells, float)[:, ::-1] * self.stride + self.origin

    @property
    def edges(self) -> FloatArray:
        """Lower left and upper right corner of the cells in working pixels, shape (2, 2)."""
        rows, columns = self.scores.shape
        return self.positions(np.array([[-0.5, -0.5], [rows - 0.5, columns - 0.5]]))


def run_network(network: keras.Model, images: FloatImage) -> FloatImage:
    """Mean logit of the members, ``(batch, cells, cells)``, of images ``(batch, rows, cols)``."""
    from keras import ops

    logits = network(images[..., None], training=False)
    return np.asarray(ops.convert_to_numpy(logits), np.float32).mean(axis=-1)


def middle_scores(
    network: keras.Model, architecture: Architecture, crops: FloatImage, diameter: float
) -> FloatArray:
    """Best score near the middle of crops: a label or a pick is seldom quite centred.

    Parameters
    ----------
    network : keras.Model
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
    logits = run_network(network, crops[:, first : first + side, first : first + side])
    places = first + architecture.first_cell + stride * np.arange(2 * around + 1) - size // 2
    far = np.hypot(*np.meshgrid(places, places)) > max(reach, np.abs(places).min() * 1.5)
    logits[:, far] = -np.inf
    return logits.max(axis=(1, 2)).astype(float)


def score_map(
    network: keras.Model, architecture: Architecture, pixels: FloatImage, tile: int = TILE
) -> ScoreMap:
    """Score every place of a working image.

    The image is mirrored at its borders so that the grid covers all of it. Tiles
    overlap by the network's window, so that they give the scores of the whole
    image; they only bound the memory.

    Parameters
    ----------
    network : keras.Model
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
    step = max(1, (tile - window) // stride + 1)
    scores = np.empty(counts, np.float32)
    for top in range(0, counts[0], step):
        for left in range(0, counts[1], step):
            ends = [min(top + step, counts[0]), min(left + step, counts[1])]
            rows = slice(top * stride, (ends[0] - 1) * stride + window)
            cols = slice(left * stride, (ends[1] - 1) * stride + window)
            piece = run_network(network, padded[None, rows, cols])[0]
            scores[top : ends[0], left : ends[1]] = piece
    return ScoreMap(scores, stride, architecture.first_cell - before)
