"""Candidates of the micrographs of a data set, and what calibrates scores with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from apbc.dataset.labels import BAD, GOOD, UNLABELLED
from apbc.dataset.split import NAMES, TEST, TRAIN, VALIDATION
from apbc.dataset.store import Dataset
from apbc.dataset.views import UNKNOWN
from apbc.evaluation.expected import (
    best_expected_threshold,
    expected_precision,
    promised_threshold,
    threshold_for_precision,
)
from apbc.evaluation.label_ranks import LabelRanks, candidates_of_labels, ranks_of
from apbc.evaluation.recall import PartRecall, recall_of_parts
from apbc.models.architecture import Architecture
from apbc.models.calibration import Calibration
from apbc.picking.peaks import find_peaks
from apbc.picking.score_map import middle_scores, score_map
from apbc.training import calibrate

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

LABEL_RADIUS = 0.25  # a candidate within this many diameters of a label has it
LOWEST_SCORE = -8.0  # logit of the lowest candidate that calibration sees
SCORE_BATCH = 256
DEFAULT_THRESHOLD = 0.5  # where no candidates tell a better one
PROMISES = (0.8, 0.9)  # precisions whose promises are looked at on held-out micrographs
CAVEAT = (
    "counted without the truth: decoys tell noise alone, so that at most the ceiling's share of "
    "the picks counts as particles, whatever they look like; labels lie on the clear particles, so "
    "that the share of good ones flatters"
)


@dataclass
class Candidates:
    """Scores of the candidates of some micrographs.

    Attributes
    ----------
    scores : ndarray, shape (n,)
    good, bad : ndarray of bool, shape (n,)
        Whether a good label lies at the candidate, or a bad one.
    decoys : ndarray, shape (m,)
        Scores of the candidates of the same micrographs with turned sign.
    beside : ndarray, shape (m,)
        Best score of a candidate near each decoy; minus infinity where there is none.
    labels : int
        Good labels of these micrographs.
    micrographs : int
    """

    scores: FloatArray
    good: npt.NDArray[np.bool_]
    bad: npt.NDArray[np.bool_]
    decoys: FloatArray
    beside: FloatArray
    labels: int
    micrographs: int = 1

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Candidates of several sets of micrographs together."""
        return cls(
            np.concatenate([c.scores for c in parts]),
            np.concatenate([c.good for c in parts]),
            np.concatenate([c.bad for c in parts]),
            np.concatenate([c.decoys for c in parts]),
            np.concatenate([c.beside for c in parts]),
            sum(c.labels for c in parts),
            sum(c.micrographs for c in parts),
        )

    def figures(self, calibration: Calibration, threshold: float) -> dict[str, float]:
        """Tell what picking at a threshold gives on these micrographs.

        Returns
        -------
        dict
            ``micrographs``, ``picks`` (a micrograph), ``label_recall`` (share of the
            good labels that were picked), ``expected_precision`` (mean score).
        """
        probabilities = calibration.probability(self.scores)
        kept = probabilities >= threshold
        return {
            "micrographs": self.micrographs,
            "picks": float(kept.sum() / self.micrographs),
            "label_recall": float((kept & self.good).sum() / max(1, self.labels)),
            "expected_precision": float(probabilities[kept].mean()) if kept.any() else 0.0,
        }

    def kept_promise(self, calibration: Calibration, threshold: float | None) -> dict[str, Any]:
        """Compare what a threshold promises with what these micrographs tell otherwise.

        Parameters
        ----------
        calibration : Calibration
        threshold : float or None

        Returns
        -------
        dict
            ``threshold``; ``promised`` (mean score of the picks); ``by_decoys`` (precision
            counted with decoys); ``labelled_good`` and ``labelled_bad`` (picks that lie at
            a label), ``of_labelled`` (share of good ones among these). None where nothing
            tells it; of a threshold that there is not, nothing does.
        """
        keys = "threshold promised by_decoys labelled_good labelled_bad of_labelled"
        if threshold is None:
            return dict.fromkeys(keys.split())
        probabilities = calibration.probability(self.scores)
        kept = probabilities >= threshold
        lowest = float(self.scores[kept].min()) if kept.any() else math.inf
        clear = calibrate.clear_of_particles(self.decoys, self.beside, calibration)
        most = 1.0 if clear.all() else math.inf
        good, bad = int((kept & self.good).sum()), int((kept & self.bad & ~self.good).sum())
        values = (
            threshold,
            expected_precision(probabilities, threshold),
            calibrate.precision_by_decoys(self.scores, self.decoys[clear], lowest, most),
            good,
            bad,
            good / (good + bad) if good + bad else None,
        )
        return dict(zip(keys.split(), values, strict=True))


def crop_scores(
    dataset: Dataset,
    network: keras.Model,
    arch: Architecture,
    positions: npt.NDArray[np.integer],
) -> FloatArray:
    """Score of the middle of crops of a data set, shape (n,)."""
    diameter = dataset.preprocessing.diameter_pixels
    scores = [
        middle_scores(network, arch, dataset.crops(positions[i : i + SCORE_BATCH]), diameter)
        for i in range(0, len(positions), SCORE_BATCH)
    ]
    return np.concatenate(scores) if scores else np.empty(0)


def is_good(dataset: Dataset, positions: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether crops of a data set show good particles."""
    return np.asarray(dataset.kind[dataset.crop_rows[positions]] == GOOD)


def calibrate_on(
    dataset: Dataset, network: keras.Model, arch: Architecture
) -> tuple[Calibration, dict[int, Candidates]]:
    """Calibration on the validation split, and the candidates of the held-out micrographs."""
    candidates: dict[int, Candidates] = {}
    if dataset.split_by_micrograph:
        candidates = find_candidates(dataset, network, arch, (VALIDATION, TEST))
    found = (
        from_candidates([candidates[VALIDATION]], "validation")
        if VALIDATION in candidates
        else None
    )
    if found is None:
        positions = dataset.crops_of(VALIDATION, (GOOD, BAD))
        against = "bad"
        if dataset.good_alone:
            positions = np.concatenate([positions, _as_much_background(dataset, len(positions))])
            against = "background"
        logger.info("scores are calibrated on good and %s crops alone", against)
        scores = crop_scores(dataset, network, arch, positions)
        found = calibrate.from_crops(scores, is_good(dataset, positions))
        found = replace(found, method=f"good and {against} crops of the validation split")
    return found, candidates


def _as_much_background(dataset: Dataset, n: int) -> npt.NDArray[np.int64]:
    """Background crops in the place of bad ones; held-out ones where there are some."""
    held_out = dataset.crops_of(VALIDATION, (UNLABELLED,))
    background = held_out if len(held_out) else dataset.crops_of(None, (UNLABELLED,))
    return background[:: max(1, len(background) // max(1, n))]


def from_candidates(candidates: list[Candidates], which: str) -> Calibration | None:
    """Calibration on the candidates and decoys of some micrographs, or None.

    A calibration that promises fewer particles than half of the good labels there
    is refused: the network does not tell particles from decoys then.
    """
    if not candidates:
        return None
    together = Candidates.joined(candidates)
    found = calibrate.from_decoys(together.scores, together.decoys, together.beside)
    if found and found.probability(together.scores).sum() < together.labels / 2:
        logger.warning(
            "the network hardly tells particles from noise on the %s micrographs; look at the "
            "report before you pick with it",
            which,
        )
        return None
    return found and replace(found, method=f"candidates and decoys of the {which} micrographs")


def default_threshold(
    candidates: Sequence[Candidates], calibration: Calibration, precision: float | None = None
) -> float:
    """Score from which candidates are exported by default.

    Parameters
    ----------
    candidates : sequence of Candidates
    calibration : Calibration
    precision : float, optional
        Share of particles that is to be promised; default, and where none can promise
        it: the threshold with the best F1 to be expected.

    Returns
    -------
    float
    """
    scores = np.concatenate([np.empty(0), *(c.scores for c in candidates)])
    probabilities = calibration.probability(scores)
    best = best_expected_threshold(probabilities) if len(scores) else DEFAULT_THRESHOLD
    if precision is None:
        return best
    return promised_threshold(probabilities, precision, best).threshold


def promise(
    everywhere: Sequence[Candidates],
    calibration: Calibration,
    threshold: float,
    held_out: Mapping[int, Candidates],
    held_out_calibration: Calibration,
    asked: float | None = None,
) -> dict[str, Any] | None:
    """Tell what the default threshold promises, and how promises were kept on held-out data.

    Parameters
    ----------
    everywhere : sequence of Candidates
        Of the delivered network, with its `calibration` and `threshold`.
    calibration : Calibration
    threshold : float
    held_out : mapping of int to Candidates
        By split, of the network that saw the training split alone, with its calibration.
    held_out_calibration : Calibration
    asked : float, optional
        Precision that the user asked for.

    Returns
    -------
    dict or None
        ``precision`` that the threshold promises, and ``asked``; ``prior``, the share of
        particles among all candidates, as estimated; ``ceiling`` of the calibration; ``part``
        of the held-out micrographs (test where there are some) and ``held_out_precision``:
        `Candidates.kept_promise` for the threshold of the best F1 and for those that promise
        0.8, 0.9 and what was asked for; ``caveat``. None where no micrographs are kept.
    """
    if not held_out:
        return None
    probabilities = calibration.probability(Candidates.joined(everywhere).scores)
    part = max(held_out)
    found = held_out[part]
    own = held_out_calibration.probability(found.scores)
    thresholds: dict[str, float | None] = {
        "best F1": default_threshold([found], held_out_calibration)
    }
    for precision in sorted({*PROMISES, *([] if asked is None else [asked])}):
        thresholds[f"{precision:g}"] = threshold_for_precision(own, precision)
    return {
        "precision": expected_precision(probabilities, threshold),
        "asked": asked,
        "prior": float(probabilities.mean()) if len(probabilities) else None,
        "ceiling": calibration.ceiling,
        "part": NAMES[part],
        "held_out_precision": {
            name: found.kept_promise(held_out_calibration, t) for name, t in thresholds.items()
        },
        "caveat": CAVEAT,
    }


def find_candidates(
    dataset: Dataset,
    network: keras.Model,
    arch: Architecture,
    splits: tuple[int, ...] = (TRAIN, VALIDATION, TEST),
) -> dict[int, Candidates]:
    """Candidates of the micrographs that the data set keeps, by split."""
    diameter = dataset.preprocessing.diameter_pixels
    parts: dict[int, list[Candidates]] = {}
    for name in dataset.image_names:
        part = dataset.split_of_micrograph(name)
        if part not in splits:
            continue
        xy, scores = candidates_on(dataset, network, arch, name)
        at, decoys = candidates_on(dataset, network, arch, name, negative=True)
        beside = _best_near(at, xy, scores, calibrate.HALO * diameter)
        near = [found_labels(dataset, name, kind, xy) for kind in (GOOD, BAD)]
        good, bad = (np.isin(np.arange(len(xy)), found) for found in near)
        parts.setdefault(part, []).append(
            Candidates(scores, good, bad, decoys, beside, len(near[0]))
        )
    return {part: Candidates.joined(found) for part, found in parts.items()}


def candidates_on(
    dataset: Dataset, network: keras.Model, arch: Architecture, name: str, negative: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Candidates of a micrograph that the data set keeps, down to scores that no particle has.

    Parameters
    ----------
    dataset : Dataset
    network : keras.Model
    arch : Architecture
    name : str
        Of the micrograph.
    negative : bool, optional
        Turn its sign: the candidates are decoys.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        ``x, y`` in working pixels, best score first.
    scores : ndarray, shape (n,)
    """
    pixels = -dataset.image(name) if negative else dataset.image(name)
    diameter = dataset.preprocessing.diameter_pixels
    return find_peaks(score_map(network, arch, pixels), pixels.shape, diameter, LOWEST_SCORE)


def found_labels(
    dataset: Dataset, name: str, kind: int, xy: FloatArray, radius: float = LABEL_RADIUS
) -> npt.NDArray[np.int64]:
    """Candidate of each label of a kind on a micrograph, -1 where there is none.

    Parameters
    ----------
    dataset : Dataset
    name : str
        Of the micrograph.
    kind : int
    xy : ndarray, shape (n, 2)
        Of the candidates, in working pixels.
    radius : float, optional
        In diameters.

    Returns
    -------
    ndarray of int, shape (labels,)
        In the order of `Dataset.labels_on`.
    """
    labels = dataset.working[dataset.labels_on(name, kind)].astype(float)
    return candidates_of_labels(xy, labels, radius * dataset.preprocessing.diameter_pixels)


def rank_labels(
    dataset: Dataset, network: keras.Model, arch: Architecture, part: int
) -> tuple[LabelRanks, FloatArray]:
    """When the labels of a split's micrographs are found, as candidates are picked.

    Parameters
    ----------
    dataset : Dataset
        It keeps micrographs of that split.
    network : keras.Model
    arch : Architecture
    part : int
        The split.

    Returns
    -------
    ranks : LabelRanks
    scores : ndarray
        Of the candidates of all these micrographs.
    """
    names = dataset.images_of(part)
    found = {name: candidates_on(dataset, network, arch, name) for name in names}
    pooled = np.concatenate([scores for _, scores in found.values()])

    def ranks(kind: int) -> FloatArray:
        return np.concatenate(
            [
                ranks_of(found_labels(dataset, name, kind, xy), scores, pooled, len(names))
                for name, (xy, scores) in found.items()
            ]
        )

    return LabelRanks(ranks(GOOD), ranks(BAD)), pooled


def recall_of_views(
    dataset: Dataset, network: keras.Model, arch: Architecture, threshold: float
) -> list[PartRecall]:
    """Recall of each view on the held-out micrographs that the data set keeps.

    Parameters
    ----------
    dataset : Dataset
    network : keras.Model
    arch : Architecture
    threshold : float
        Score, as the network gives it, from which a candidate is picked.

    Returns
    -------
    list of PartRecall
        By rising 2D class; empty where no class is known.
    """
    views, found = [np.empty(0, np.int64)], [np.empty(0, bool)]
    for name in dataset.images_of(VALIDATION, TEST):
        view = dataset.view[dataset.labels_on(name, GOOD)]
        known = view != UNKNOWN
        if known.any():
            xy, scores = candidates_on(dataset, network, arch, name)
            at = found_labels(dataset, name, GOOD, xy[scores >= threshold])
            views.append(view[known].astype(np.int64))
            found.append(at[known] >= 0)
    parts, hits = np.concatenate(views), np.concatenate(found)
    overall = float(hits.mean()) if len(hits) else 0.0
    return recall_of_parts(parts, hits, overall, len(np.unique(parts)))


def _best_near(places: FloatArray, xy: FloatArray, scores: FloatArray, radius: float) -> FloatArray:
    """Best score of the candidates within a radius of each place, minus infinity for none."""
    if not len(places) or not len(xy):
        return np.full(len(places), -np.inf)
    near = cKDTree(xy).query_ball_point(places, radius)
    return np.array([scores[i].max() if i else -np.inf for i in near])
