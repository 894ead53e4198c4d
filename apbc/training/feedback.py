"""Feedback: what a network finds on the training micrographs, for the next one to learn from.

Most particles of a micrograph carry no label, and a network that learns all other places as
negatives learns to miss some of them. So a first network picks the training micrographs;
places that it is sure of and that nobody labelled are no negatives for the next network, and
confident picks at the side of bad labels become negatives (hard ones). Labels lie mostly on clear
particles: 2D classes of doubtful ones are seldom chosen. So a label that scores low is drawn as
much more often as there are more unlabelled particles to be expected at its score (weights by the
inverse of the propensity to be labelled: Bekker et al. 2019, arXiv:1809.03207). Whether that helped
is measured on the labels of held-out micrographs; rounds go on while it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from apbc.dataset.labels import BAD, GOOD
from apbc.dataset.split import TRAIN, VALIDATION
from apbc.dataset.store import Dataset
from apbc.evaluation.label_ranks import measure, pick_window
from apbc.models.architecture import Architecture
from apbc.models.calibration import Calibration
from apbc.training.candidates import LABEL_RADIUS, candidates_on, found_labels, rank_labels
from apbc.training.samples import BAD_RADIUS, HIDDEN_RADIUS, Feedback

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

SURE = 0.5  # calibrated score from which a place is no negative any more
BAD_REGION = 0.75  # diameters round a bad label in which confident picks are mined
NEAR_LABEL = 0.35  # diameters to the candidate that gives a label its score: labels lie beside
MOST_OFTEN = 4.0  # a label is drawn at most so many times as often as the mean one
TENTHS = 10
FEWEST_SCORED = 50  # labels with a score, to weigh them by it


@dataclass(frozen=True)
class Round:
    """What one round of feedback did, for card and report.

    Attributes
    ----------
    number : int
        0 for the training without feedback.
    measure : float or None
        `apbc.evaluation.label_ranks.measure` on the validation micrographs.
    sure : int
        Confident picks on the training micrographs that it learnt from.
    purity : float or None
        Good labels among those of the picks that have a label at all.
    mined : int
        Hard negatives.
    kept : bool
        Whether the delivered network is of this round.
    """

    number: int
    measure: float | None
    sure: int = 0
    purity: float | None = None
    mined: int = 0
    kept: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def find_feedback(
    dataset: Dataset, network: keras.Model, arch: Architecture, calibration: Calibration
) -> tuple[Feedback, float | None]:
    """Confident picks of a network on the training micrographs that the data set keeps.

    Parameters
    ----------
    dataset : Dataset
    network : keras.Model
    arch : Architecture
    calibration : Calibration

    Returns
    -------
    feedback : Feedback
    purity : float or None
        Good labels among the confident picks that have a label; None where none has.
    """
    diameter = dataset.preprocessing.diameter_pixels
    likely, mined, at_good, at_bad = {}, {}, 0, 0
    pooled, label_scores = [np.empty(0)], np.full(len(dataset.kind), np.nan)
    for name in dataset.images_of(TRAIN):
        xy, scores = candidates_on(dataset, network, arch, name)
        pooled.append(scores)
        good, bad = (dataset.labels_on(name, kind) for kind in (GOOD, BAD))
        at = found_labels(dataset, name, GOOD, xy, NEAR_LABEL)
        label_scores[good[at >= 0]] = scores[at[at >= 0]]
        xy = xy[calibration.probability(scores) >= SURE]
        to_good, to_bad = (
            _distance(xy, dataset.working[rows].astype(float)) / diameter for rows in (good, bad)
        )
        free = to_good > HIDDEN_RADIUS
        near_bad = free & (to_bad <= BAD_REGION)
        likely[name] = xy[free & ~near_bad]
        mined[name] = xy[near_bad & (to_bad > BAD_RADIUS)]
        at_good += int((to_good <= LABEL_RADIUS).sum())
        at_bad += int((to_bad <= LABEL_RADIUS).sum())
    labelled = at_good + at_bad
    often = propensity_weights(label_scores, np.concatenate(pooled), calibration)
    return Feedback(likely, mined, often), at_good / labelled if labelled else None


def propensity_weights(
    label_scores: FloatArray, scores: FloatArray, calibration: Calibration
) -> FloatArray:
    """How often to draw labels so that particles of all scores count as in the micrographs.

    Parameters
    ----------
    label_scores : ndarray, shape (n,)
        Score of each label's candidate; nan where there is none.
    scores : ndarray, shape (m,)
        Of all candidates.
    calibration : Calibration

    Returns
    -------
    ndarray, shape (n,)
        For each tenth of the labels the number of particles to be expected at its scores,
        over the mean of all tenths, within `MOST_OFTEN` and its inverse; 1 for labels
        without score.
    """
    weights = np.ones(len(label_scores))
    known = np.isfinite(label_scores)
    if known.sum() < FEWEST_SCORED:
        return weights
    edges = np.quantile(label_scores[known], np.linspace(0, 1, TENTHS + 1)[1:-1])
    particles = np.bincount(np.searchsorted(edges, scores), calibration.probability(scores), TENTHS)
    ratio = np.clip(particles / particles.mean(), 1 / MOST_OFTEN, MOST_OFTEN)
    weights[known] = ratio[np.searchsorted(edges, label_scores[known])]
    return weights


def held_out_measure(
    dataset: Dataset, network: keras.Model, arch: Architecture, particles: float
) -> float | None:
    """How early a network finds the good labels of the validation micrographs.

    Parameters
    ----------
    dataset : Dataset
    network : keras.Model
    arch : Architecture
    particles : float
        Estimated number of particles of a micrograph; the same for all that are compared.

    Returns
    -------
    float or None
        See `apbc.evaluation.label_ranks.measure`; None without such micrographs.
    """
    if not dataset.images_of(VALIDATION) or particles <= 0:
        return None
    ranks, _ = rank_labels(dataset, network, arch, VALIDATION)
    return measure(ranks, pick_window(particles))


def rounds(
    most: int,
    first: Any,
    judge: Callable[[Any], float | None],
    again: Callable[[int, Any], tuple[Any, Round]],
) -> tuple[Any, list[Round]]:
    """Train with feedback while the held-out figure rises.

    Parameters
    ----------
    most : int
        Most rounds.
    first : object
        What was trained without feedback.
    judge : callable
        Held-out figure of what was trained.
    again : callable
        Takes the number of a round and what the round before made; returns what this
        one made and its record, without figure.

    Returns
    -------
    best : object
    records : list of Round
        Of all rounds, the one of `best` marked.
    """
    best, figure = first, judge(first)
    records, kept = [Round(0, figure)], 0
    if figure is None and most:
        logger.warning("no validation micrographs to judge feedback by: there is none")
        most = 0
    for number in range(1, most + 1):
        made, record = again(number, best)
        new = judge(made)
        records.append(Round(**{**record.to_dict(), "measure": new}))
        logger.info(
            "feedback %d: %d confident picks%s, %d hard negatives; held-out figure %.4f (was %.4f)",
            number,
            record.sure,
            "" if record.purity is None else f" (purity {record.purity:.3f})",
            record.mined,
            new,
            figure,
        )
        if new is None or figure is None or new <= figure:
            logger.info("feedback stops: the held-out figure rises no more")
            break
        best, figure, kept = made, new, number
    records[kept] = Round(**{**records[kept].to_dict(), "kept": True})
    return best, records


def _distance(xy: FloatArray, labels: FloatArray) -> FloatArray:
    """Distance of each place to the nearest label; infinite where there is none."""
    if not len(labels) or not len(xy):
        return np.full(len(xy), np.inf)
    return np.asarray(cKDTree(labels).query(xy)[0])
