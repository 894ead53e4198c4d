"""Training samples of a classifier of shapes: patches as drawn, from any stage, smoothed.

Source: Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7
(in training a patch is replaced by one of another stage, and smoothed at random).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from keras.utils import PyDataset

from apbc.dataset.patch_store import Patches, place

FloatImages = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

OTHER_STAGE = 0.5  # share of training patches that come from a random stage
SMOOTHED = 0.5  # share of them that a Gaussian smooths
KERNELS = (3, 5)  # its sides in pixels
SIGMAS = (0.05, 1.0)


class PatchSamples(PyDataset):
    """Batches of patches at the detection scale, and their classes.

    Parameters
    ----------
    patches : Patches
    drawn : ndarray of int, shape (m,)
        The draws to show, by index; each once an epoch.
    batch_size : int
    seed : int
    augment : bool
        Shuffle, and take a random stage, turn, mirror and smooth (training); or give every
        draw in its order as it is (validation and test).
    """

    def __init__(
        self, patches: Patches, drawn: IntArray, batch_size: int, seed: int, augment: bool
    ) -> None:
        super().__init__(workers=1)
        self._patches = patches
        self._drawn = drawn
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self.start_at(0)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return -(-len(self._drawn) // self._batch_size)

    def start_at(self, epoch: int) -> None:
        """Shuffle for an epoch, so that a resumed run sees what an unbroken one would."""
        self._epoch = epoch
        self._order = self._drawn
        if self._augment:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._drawn)

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self.start_at(self._epoch + 1)

    def __getitem__(self, index: int) -> tuple[FloatImages, IntArray]:
        """Give windows (n, side, side), values from 0 to 1, and classes (n,)."""
        patches = self._patches
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        draws, n = patches.draws.some(chosen), len(chosen)
        stages = np.full(n, len(patches.stages) - 1)
        rng = np.random.default_rng([self._seed, self._epoch, index])
        if self._augment:
            other = rng.random(n) < OTHER_STAGE
            stages[other] = rng.integers(len(patches.stages), size=int(other.sum()))
            draws = replace(
                draws,
                turn=(draws.turn + rng.integers(4, size=n)) % 4,
                mirrored=draws.mirrored ^ (rng.integers(2, size=n) > 0),
            )
        windows = place(patches.stored(draws.row, stages), draws, patches.side).astype(np.float32)
        if self._augment:
            windows = smoothed(windows, kernels(n, rng))
        return windows, patches.label[draws.row].astype(np.int64)


def kernels(n: int, rng: np.random.Generator) -> FloatImages:
    """Draw Gaussian kernels along one axis, shape (n, 5); those that smooth nothing are 0 0 1 0 0.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator
    """
    reach = rng.choice(KERNELS, n) // 2
    sigma = rng.uniform(*SIGMAS, n)
    smooths = rng.random(n) < SMOOTHED
    away = np.abs(np.arange(-2, 3))
    weight = np.exp(-(away**2) / (2 * sigma[:, None] ** 2)) * (away <= reach[:, None])
    weight[~smooths] = away == 0
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


def smoothed(images: FloatImages, kernel: FloatImages) -> FloatImages:
    """Smooth each image by its own kernel along rows and columns.

    Parameters
    ----------
    images : ndarray of float32, shape (n, rows, columns)
    kernel : ndarray of float32, shape (n, 5)
        Symmetric; its sum is 1. What lies outside an image is mirrored.

    Returns
    -------
    ndarray of float32, shape (n, rows, columns)
    """
    _, rows, columns = images.shape
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)), mode="reflect")
    across = np.zeros((len(images), rows + 4, columns), np.float32)
    out = np.zeros_like(images)
    for k in range(5):
        across += kernel[:, k, None, None] * padded[:, :, k : k + columns]
    for k in range(5):
        out += kernel[:, k, None, None] * across[:, k : k + rows]
    return out
