"""Training samples: augmented crops with a target and a weight for every logit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from keras.utils import PyDataset
from scipy import ndimage
from scipy.spatial import cKDTree

from apbc.dataset.labels import BAD, GOOD, UNLABELLED
from apbc.dataset.store import Dataset
from apbc.models.architecture import Architecture

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Distances in diameters.
HIT_RADIUS = 0.15  # a logit this near to a good label is to be positive
BAD_RADIUS = 0.25  # this near to a bad label it is to be negative
RING = (0.45, 0.8)  # round a particle no other centre fits: negative, so that scores peak

# Weights of one logit, before the classes are balanced.
GOOD_WEIGHT = 1.0
BAD_WEIGHT = 1.0
RING_WEIGHT = 0.3
BACKGROUND_WEIGHT = 0.1  # unlabelled: mostly empty, but full of unlabelled particles

SHARES = {GOOD: 0.5, BAD: 0.25, UNLABELLED: 0.25}  # of the crops of an epoch
BATCHES_PER_EPOCH = (50, 100)


@dataclass
class Neighbours:
    """Labels near the middle of one crop, relative to it, in working pixels.

    Attributes
    ----------
    good, bad : ndarray, shape (n, 2)
    hidden : ndarray, shape (n, 2)
        Labels of other splits, of which training is to learn nothing.
    """

    good: FloatArray
    bad: FloatArray
    hidden: FloatArray = field(default_factory=lambda: np.empty((0, 2)))


def find_neighbours(dataset: Dataset, positions: IntArray) -> list[Neighbours]:
    """Labels within each crop.

    Parameters
    ----------
    dataset : Dataset
    positions : ndarray of int, shape (n,)
        Crops, by their position among the crops.

    Returns
    -------
    list of Neighbours
        For particles of stacks, whose neighbours are not known, the label alone.
    """
    rows = dataset.crop_rows[positions]
    if dataset.provenance["source"] == "stacks":
        here, none = np.zeros((1, 2)), np.empty((0, 2))
        return [
            Neighbours(here, none) if dataset.kind[row] == GOOD else Neighbours(none, here)
            for row in rows
        ]
    reach = dataset.crop_size
    found: list[Neighbours] = [Neighbours(np.empty((0, 2)), np.empty((0, 2)))] * len(rows)
    for micrograph in np.unique(dataset.micrograph[rows]):
        mine = np.flatnonzero(dataset.micrograph[rows] == micrograph)
        middles = np.rint(dataset.working[rows[mine]].astype(float))
        here = dataset.micrograph == micrograph
        mine_too = np.isin(dataset.split, np.unique(dataset.split[rows]))
        groups = [
            here & (dataset.kind == GOOD) & mine_too,
            here & (dataset.kind == BAD) & mine_too,
            here & (dataset.kind != UNLABELLED) & ~mine_too,
        ]
        near = [_near(dataset.working[group].astype(float), middles, reach) for group in groups]
        for i, good, bad, hidden in zip(mine, *near, strict=True):
            found[i] = Neighbours(good, bad, hidden)
    return found


def _near(labels: FloatArray, middles: FloatArray, reach: float) -> list[FloatArray]:
    """Labels within reach of each middle, relative to it."""
    if not len(labels):
        return [np.empty((0, 2))] * len(middles)
    lists = cKDTree(labels).query_ball_point(middles, reach)
    return [(labels[i] - m).reshape(-1, 2) for i, m in zip(lists, middles, strict=True)]


def targets(
    neighbours: Neighbours, x: FloatArray, y: FloatArray, diameter: float
) -> tuple[FloatImage, FloatImage]:
    """Target and weight of each logit of a crop.

    Parameters
    ----------
    neighbours : Neighbours
    x, y : ndarray, shape (cells, cells)
        Centres of the logits relative to the middle of the crop, in working pixels.
    diameter : float
        Particle diameter in working pixels.

    Returns
    -------
    target, weight : ndarray of float32, shape (cells, cells)
        Target 1 near a good label, else 0. Weight 0 where it cannot be told.
    """
    target = np.zeros(x.shape, np.float32)
    weight = np.full(x.shape, BACKGROUND_WEIGHT, np.float32)
    if len(neighbours.bad):
        weight[_distance(neighbours.bad, x, y) <= BAD_RADIUS * diameter] = BAD_WEIGHT
    if len(neighbours.good):
        distance = _distance(neighbours.good, x, y) / diameter
        ring = (distance > RING[0]) & (distance < RING[1])
        weight[ring] = np.maximum(weight[ring], RING_WEIGHT)
        weight[distance <= RING[0]] = 0.0
        target[distance <= HIT_RADIUS] = 1.0
        weight[distance <= HIT_RADIUS] = GOOD_WEIGHT
    if len(neighbours.hidden):
        far = _distance(neighbours.hidden, x, y) > RING[0] * diameter
        target, weight = target * far, weight * far
    return target, weight


def _distance(labels: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Distance of each logit to the nearest label."""
    return np.hypot(x[..., None] - labels[:, 0], y[..., None] - labels[:, 1]).min(axis=-1)


class Samples(PyDataset):
    """Batches of crops with targets and weights.

    Parameters
    ----------
    dataset : Dataset
    positions : ndarray of int, shape (n,)
        The crops to draw from.
    architecture : Architecture
    batch_size : int
    seed : int
    augment : bool
        Draw and augment at random (training), or give every crop once as it is
        (validation).
    """

    def __init__(
        self,
        dataset: Dataset,
        positions: IntArray,
        architecture: Architecture,
        batch_size: int,
        seed: int,
        augment: bool,
    ) -> None:
        super().__init__(workers=1)
        self._dataset = dataset
        self._positions = positions
        self._architecture = architecture
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self._epoch = 0
        self._diameter = dataset.preprocessing.diameter_pixels
        self._kinds = dataset.kind[dataset.crop_rows[positions]]
        self._neighbours = find_neighbours(dataset, positions)
        steps = -(-len(positions) // batch_size)
        self._steps = int(np.clip(steps, *BATCHES_PER_EPOCH)) if augment else steps
        self._order = self._draw()
        self._good_weight = 1.0
        self._scale = 1.0
        self._balance()

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self._steps

    def start_at(self, epoch: int) -> None:
        """Draw for an epoch, so that a resumed run sees what an unbroken one would."""
        self._epoch = epoch
        self._order = self._draw()

    def on_epoch_end(self) -> None:
        """Draw the crops of the next epoch."""
        self.start_at(self._epoch + 1)

    def __getitem__(self, index: int) -> tuple[FloatImage, FloatImage, FloatImage]:
        """Images (n, side, side, 1), targets (n, cells, cells, 1), weights (n, cells, cells)."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        rng = np.random.default_rng([self._seed, self._epoch, index])
        stored = self._dataset.crops(self._positions[chosen])
        side = self._architecture.training_crop
        images = np.empty((len(chosen), side, side, 1), np.float32)
        maps = []
        for i, (crop, sample) in enumerate(zip(stored, chosen, strict=True)):
            image, target, weight = self._sample(crop, self._neighbours[sample], rng)
            images[i, ..., 0] = image
            maps.append((target, weight))
        target = np.stack([t for t, _ in maps])
        weight = np.stack([w for _, w in maps])
        weight = np.where(target > 0, weight * self._good_weight, weight) * self._scale
        return images, target[..., None], weight.astype(np.float32)

    def _sample(
        self, crop: FloatImage, neighbours: Neighbours, rng: np.random.Generator
    ) -> tuple[FloatImage, FloatImage, FloatImage]:
        """One crop at the size of training, turned, shifted and rescaled if asked for."""
        architecture = self._architecture
        most = min(architecture.most_shift, (crop.shape[0] - architecture.training_crop) // 2)
        shift = rng.integers(-most, most + 1, 2) if self._augment else np.zeros(2, int)
        if self._augment and architecture.continuous_rotation:
            angle = rng.uniform(-1, 1) * architecture.continuous_rotation * 360
            crop = ndimage.rotate(crop, angle, reshape=False, order=1, mode="reflect")
        x, y, first = self._grid(crop.shape[0], shift)
        side = architecture.training_crop
        image = crop[first[1] : first[1] + side, first[0] : first[0] + side]
        target, weight = targets(neighbours, x, y, self._diameter)
        if self._augment:
            turns, mirrored = rng.integers(4), rng.integers(2)
            image, target, weight = (
                np.rot90(a[:, ::-1] if mirrored else a, turns) for a in (image, target, weight)
            )
            image = image * rng.uniform(0.8, 1.25) + rng.normal(0, 0.1)
        return image.astype(np.float32), target, weight

    def _grid(
        self, stored: int, shift: npt.NDArray[np.integer]
    ) -> tuple[FloatArray, FloatArray, tuple[int, int]]:
        """Centres of the logits relative to the stored middle, and the first pixel ``x, y``."""
        architecture = self._architecture
        side = architecture.training_crop
        cells = np.arange(architecture.cells(side)) * architecture.stride + architecture.first_cell
        first = stored // 2 - side // 2 + shift
        x, y = np.meshgrid(
            cells + first[0] - stored // 2, cells + first[1] - stored // 2, indexing="xy"
        )
        return x, y, (int(first[0]), int(first[1]))

    def _draw(self) -> IntArray:
        """Draw the samples of one epoch; the kinds are mixed by `SHARES`."""
        if not self._augment:
            return np.arange(len(self._positions))
        rng = np.random.default_rng([self._seed, self._epoch])
        present = {kind: np.flatnonzero(self._kinds == kind) for kind in SHARES}
        total = sum(SHARES[kind] for kind, members in present.items() if len(members))
        wanted = self._steps * self._batch_size
        drawn = []
        for kind, members in present.items():
            if len(members):
                n = math.ceil(wanted * SHARES[kind] / total)
                rounds = math.ceil(n / len(members))
                pool = np.concatenate([rng.permutation(members) for _ in range(rounds)])
                drawn.append(pool[:n])
        return rng.permutation(np.concatenate(drawn))[:wanted]

    def _balance(self) -> None:
        """Weigh positives as much as negatives in total, and the mean loss to one."""
        sample = self._order[: 40 * self._batch_size]
        x, y, _ = self._grid(self._dataset.crop_size, np.zeros(2, int))
        maps = [targets(self._neighbours[i], x, y, self._diameter) for i in sample]
        positive = sum(float((t * w).sum()) for t, w in maps)
        negative = sum(float(((1 - t) * w).sum()) for t, w in maps)
        if positive > 0 and negative > 0:
            self._good_weight = negative / positive
        total = negative + positive * self._good_weight
        self._scale = len(sample) * x.size / total if total else 1.0
