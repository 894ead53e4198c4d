"""Training samples: crops, how each is turned and shifted, and the truth of every logit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from keras.utils import PyDataset
from scipy.spatial import cKDTree

from apbc.dataset.labels import BAD, GOOD, UNLABELLED
from apbc.dataset.store import Dataset
from apbc.dataset.views import quotas
from apbc.models.architecture import Architecture
from apbc.training.augment import carry, placements

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Distances in diameters.
HIT_RADIUS = 0.15  # a logit this near to a good label is to be positive
BAD_RADIUS = 0.25  # this near to a bad label it is to be negative
RING = (0.25, 0.6)  # beside a centre, where no other fits: negative, so that scores peak
HIDDEN_RADIUS = 0.45  # this near to what is not to be learnt from, nothing is

# Weights of one logit, before the classes are balanced.
GOOD_WEIGHT = 1.0
BAD_WEIGHT = 1.0
RING_WEIGHT = 0.3
BACKGROUND_WEIGHT = 0.1  # unlabelled: mostly empty, but full of unlabelled particles

SHARES = {GOOD: 0.5, BAD: 0.25, UNLABELLED: 0.25}  # of the crops of an epoch
BATCHES_PER_EPOCH = (50, 100)
GAIN = (0.8, 1.25)  # grey values of a training crop are multiplied by this much
OFFSET = 0.1  # deviation of what is added to them
FAR = 1e6  # stands for a label that is not there

Inputs = tuple[npt.NDArray[np.float16], FloatImage, FloatImage]


@dataclass
class Neighbours:
    """Labels near the middles of crops, relative to them, in working pixels.

    Each is an array of shape ``(crops, most labels, 2)``; places that are not used
    are far away.

    Attributes
    ----------
    good, bad : ndarray
    hidden : ndarray
        Of which training is to learn nothing: labels of other splits, and places that
        may be particles that nobody labelled.
    """

    good: FloatArray
    bad: FloatArray
    hidden: FloatArray = field(default_factory=lambda: np.full((1, 1, 2), FAR))

    def of(self, crops: IntArray) -> Neighbours:
        """Those of some of the crops."""
        hidden = self.hidden if len(self.hidden) == 1 else self.hidden[crops]
        return Neighbours(self.good[crops], self.bad[crops], hidden)


@dataclass(frozen=True)
class Feedback:
    """Places that a network found on the training micrographs, in working pixels.

    Attributes
    ----------
    likely : dict
        ``{name of micrograph: (n, 2)}``: unlabelled places that look like particles.
    mined : dict
        Places that look like particles where bad labels say that there are none.
    often : ndarray, shape (labels,)
        How often to draw each label of the data set: as many times as particles that
        look like it are labelled too seldom.
    """

    likely: dict[str, FloatArray]
    mined: dict[str, FloatArray]
    often: FloatArray


def find_neighbours(
    dataset: Dataset,
    positions: IntArray,
    feedback: Feedback | None = None,
    centres: FloatArray | None = None,
) -> Neighbours:
    """Labels within each crop.

    Parameters
    ----------
    dataset : Dataset
    positions : ndarray of int, shape (n,)
        Crops, by their position among the crops.
    feedback : Feedback, optional
        What else is known of the micrographs.
    centres : ndarray, shape (labels, 2), optional
        Where the labels' particles are, in working pixels; default: where the labels are.

    Returns
    -------
    Neighbours
        For particles of stacks, whose neighbours are not known, the label alone.
    """
    rows = dataset.crop_rows[positions]
    if dataset.provenance["source"] == "stacks":
        here = np.where((dataset.kind[rows] == GOOD)[:, None, None], 0.0, FAR) * np.ones((1, 1, 2))
        return Neighbours(here, FAR - here)
    centres = dataset.working.astype(float) if centres is None else centres
    groups: list[list[FloatArray]] = [[np.empty((0, 2))] * len(rows) for _ in range(3)]
    mine_too = np.isin(dataset.split, np.unique(dataset.split[rows]))
    for micrograph in np.unique(dataset.micrograph[rows]):
        mine = np.flatnonzero(dataset.micrograph[rows] == micrograph)
        middles = np.rint(dataset.working[rows[mine]].astype(float))
        here = dataset.micrograph == micrograph
        labels = [
            centres[chosen]
            for chosen in (
                here & (dataset.kind == GOOD) & mine_too,
                here & (dataset.kind == BAD) & mine_too,
                here & (dataset.kind != UNLABELLED) & ~mine_too,
            )
        ]
        if feedback is not None:
            name = dataset.micrograph_names[micrograph]
            for kind, found in ((1, feedback.mined), (2, feedback.likely)):
                if name in found:
                    labels[kind] = np.concatenate([labels[kind], found[name]])
        for group, places in zip(groups, labels, strict=True):
            for i, near in zip(mine, _near(places, middles, dataset.crop_size), strict=True):
                group[i] = near
    return Neighbours(*map(_padded, groups))


def _near(labels: FloatArray, middles: FloatArray, reach: float) -> list[FloatArray]:
    """Labels within reach of each middle, relative to it."""
    if not len(labels):
        return [np.empty((0, 2))] * len(middles)
    lists = cKDTree(labels).query_ball_point(middles, reach)
    return [(labels[i] - m).reshape(-1, 2) for i, m in zip(lists, middles, strict=True)]


def _padded(lists: list[FloatArray]) -> FloatArray:
    """Make one array of lists of places."""
    out = np.full((len(lists), max([1, *map(len, lists)]), 2), FAR)
    for row, places in zip(out, lists, strict=True):
        row[: len(places)] = places
    return out


def targets(
    neighbours: Neighbours, places: FloatArray, diameter: float
) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Target and weights of each logit of crops.

    Parameters
    ----------
    neighbours : Neighbours
        Of n crops.
    places : ndarray, shape (n, logits, 2)
        Centres ``x, y`` of the logits relative to the middle of the crop, in working
        pixels.
    diameter : float
        Particle diameter in working pixels.

    Returns
    -------
    target, known, unlabelled : ndarray of float32, shape (n, logits)
        Target 1 near a good label, else 0; the weight of what labels tell; and that of
        what they do not. Both weights are 0 where nothing is to be learnt.
    """
    good, bad, hidden = (
        _distance(labels, places) / diameter
        for labels in (neighbours.good, neighbours.bad, neighbours.hidden)
    )
    hit, ring = good <= HIT_RADIUS, (good > RING[0]) & (good < RING[1])
    known = np.where(bad <= BAD_RADIUS, BAD_WEIGHT, 0.0)
    known = np.where(ring, np.maximum(known, RING_WEIGHT), known)
    known = np.where(good <= RING[0], np.where(hit, GOOD_WEIGHT, 0.0), known)
    unlabelled = np.where((known == 0) & (good > RING[0]), BACKGROUND_WEIGHT, 0.0)
    clear = hidden > HIDDEN_RADIUS
    labelled = hit | (bad <= BAD_RADIUS)  # what is only likely does not undo a label
    return (
        hit.astype(np.float32),
        (known * (clear | labelled)).astype(np.float32),
        (unlabelled * clear).astype(np.float32),
    )


def _distance(labels: FloatArray, places: FloatArray) -> FloatArray:
    """Distance of each logit to the nearest label, shape (n, logits)."""
    nearest = np.full(places.shape[:2], np.inf)
    for k in range(labels.shape[1]):  # few labels a crop, so no large array is made
        step = places - labels[:, k, None]
        np.minimum(nearest, np.einsum("nlc,nlc->nl", step, step), out=nearest)
    return np.sqrt(nearest)


class Samples(PyDataset):
    """Batches of crops with their placements, and the truth of each logit.

    Crops are read from the file as they are; the network's first layer
    (`apbc.training.augment.Augment`) turns, mirrors and shifts them.

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
    feedback : Feedback, optional
    balance_views : bool, optional
        Draw good particles so that all views (2D classes) are seen alike.
    centres : ndarray, shape (labels, 2), optional
        Where the labels' particles are, in working pixels; default: where the labels are.
    """

    def __init__(
        self,
        dataset: Dataset,
        positions: IntArray,
        architecture: Architecture,
        batch_size: int,
        seed: int,
        augment: bool,
        feedback: Feedback | None = None,
        balance_views: bool = True,
        centres: FloatArray | None = None,
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
        rows = dataset.crop_rows[positions]
        self._kinds = dataset.kind[rows]
        good = self._kinds == GOOD
        self._often = np.ones(len(rows))
        if balance_views and good.any():
            self._often[good] = quotas(dataset.view[rows[good]])
        if feedback is not None:
            self._often = self._often * feedback.often[rows]
        self._neighbours = find_neighbours(dataset, positions, feedback, centres)
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

    def __getitem__(self, index: int) -> tuple[Inputs, FloatImage]:
        """Give inputs of the training network, and truth (n, cells, cells, 3) for its loss."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        rng = np.random.default_rng([self._seed, self._epoch, index])
        placement, levels = self._placed(len(chosen), rng)
        target, known, unlabelled = self._truth(chosen, placement)
        known = np.where(target > 0, known * self._good_weight, known)
        truth = np.stack([target, known * self._scale, unlabelled * self._scale], axis=-1)
        cells = self._architecture.cells(self._architecture.training_crop)
        crops = self._dataset.stored_crops(self._positions[chosen])
        return (crops, placement, levels), truth.reshape(-1, cells, cells, 3)

    def _placed(self, n: int, rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
        """Draw turns and shifts of crops, and gain and offset of their grey values."""
        arch, stored = self._architecture, self._dataset.crop_size
        if not self._augment:
            still = placements(
                np.zeros(n), np.zeros(n, bool), np.zeros((n, 2)), stored, arch.training_crop
            )
            return still, np.tile(np.array([1, 0], np.float32), (n, 1))
        most = min(arch.most_shift, (stored - arch.training_crop) // 2)
        turns = rng.integers(4, size=n) / 4
        if arch.continuous_rotation:
            turns = turns + rng.uniform(-1, 1, n) * arch.continuous_rotation
        mirrored, shifts = (
            rng.integers(2, size=n) > 0,
            rng.integers(-most, most + 1, (n, 2)).astype(float),
        )
        levels = np.stack([rng.uniform(*GAIN, n), rng.normal(0, OFFSET, n)], axis=1)
        placement = placements(turns, mirrored, shifts, stored, arch.training_crop)
        return placement, levels.astype(np.float32)

    def _truth(
        self, chosen: IntArray, placement: FloatImage
    ) -> tuple[FloatImage, FloatImage, FloatImage]:
        """Target and weights of the logits, shape (n, cells * cells)."""
        arch = self._architecture
        along = np.arange(arch.cells(arch.training_crop)) * arch.stride + arch.first_cell
        centres = np.stack(np.meshgrid(along, along, indexing="xy"), axis=-1).reshape(-1, 2)
        places = carry(placement.astype(float), centres) - self._dataset.crop_size // 2
        return targets(self._neighbours.of(chosen), places, self._diameter)

    def _draw(self) -> IntArray:
        """Draw the samples of one epoch; the kinds are mixed by `SHARES`."""
        if not self._augment:
            return np.arange(len(self._positions))
        rng = np.random.default_rng([self._seed, self._epoch])
        present = {kind: np.flatnonzero(self._kinds == kind) for kind in SHARES}
        total = sum(SHARES[kind] for kind, members in present.items() if len(members))
        wanted = self._steps * self._batch_size
        drawn = [
            _drawn(members, self._often[members], math.ceil(wanted * SHARES[kind] / total), rng)
            for kind, members in present.items()
            if len(members)
        ]
        return rng.permutation(np.concatenate(drawn))[:wanted]

    def _balance(self) -> None:
        """Weigh positives as much as negatives in total, and the mean loss to one."""
        sample = self._order[: 40 * self._batch_size]
        placement, _ = self._placed(len(sample), np.random.default_rng(self._seed))
        target, known, unlabelled = self._truth(sample, placement)
        positive = float((target * known).sum())
        negative = float(((1 - target) * known + unlabelled).sum())
        if positive > 0 and negative > 0:
            self._good_weight = negative / positive
        total = negative + positive * self._good_weight
        self._scale = target.size / total if total else 1.0


def _drawn(members: IntArray, often: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
    """Draw n of the members, each as often as its weight says and as evenly as can be."""
    expected = often / often.sum() * n
    whole = np.floor(expected).astype(int)
    rest = expected - whole
    missing = n - int(whole.sum())
    if missing:  # systematic sampling of what is left: each at most once
        order = rng.permutation(len(rest))
        edges = np.cumsum(rest[order])
        marks = (rng.uniform() + np.arange(missing)) * edges[-1] / missing
        whole[order[np.minimum(np.searchsorted(edges, marks), len(rest) - 1)]] += 1
    return np.repeat(members, whole)
