"""Precision, recall, F1 and average precision of picks.

The rule: a pick is right when it lies within half a particle diameter of a
particle that no other pick has claimed, the closest pair first. Precision,
recall and F1 are means over micrographs. Average precision and the best F1 come
from all scored picks in one list, where the best-scored pick chooses first.

Known particles that are not visible come last: they take what is left of the picks,
and these picks do not count, neither as right nor as false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Tuple

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.evaluation.expected import calibration_error
from apbc.evaluation.matching import NONE, match_by_score, match_closest_first
from apbc.evaluation.reference import Particles, particles_of

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Shape = Tuple[int, int]

DIGITS = 4


@dataclass(frozen=True)
class MicrographFigures:
    """Figures of one micrograph; precision and recall are 0 where nothing can be divided.

    `truth` counts the visible particles, `picks` those picks that are not on hidden ones.
    """

    name: str
    truth: int
    picks: int
    hits: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Match:
    """What became of the picks and the known particles of one micrograph.

    Attributes
    ----------
    picks : ndarray, shape (n, 3)
        x, y and score of the picks above the threshold and away from the border.
    hit, hidden : ndarray of bool, shape (n,)
        Whether a pick is on a visible particle, or on a hidden one; else it is false.
    rows : ndarray of int, shape (m,)
        Rows of the reference that were to be found.
    found : ndarray of bool, shape (m,)
        Which of them were.
    offsets : ndarray
        Distance of each hit from its particle, pixels.
    """

    picks: FloatArray
    hit: BoolArray
    hidden: BoolArray
    rows: IntArray
    found: BoolArray
    offsets: FloatArray

    @property
    def false(self) -> BoolArray:
        """Tell which picks are on no particle, shape (n,)."""
        return ~(self.hit | self.hidden)


@dataclass(frozen=True)
class Curve:
    """Precision and recall as the threshold falls.

    Attributes
    ----------
    threshold, precision, recall : ndarray, shape (n,)
        Row k: the k + 1 best-scored picks of all micrographs.
    """

    threshold: FloatArray
    precision: FloatArray
    recall: FloatArray

    @property
    def f1(self) -> FloatArray:
        """Harmonic mean of precision and recall, shape (n,)."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.maximum(total, 1e-12)

    @property
    def average_precision(self) -> float:
        """Area under the steps of the curve."""
        return float(np.sum(np.diff(self.recall, prepend=0) * self.precision))

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of the scores; None where they are no probabilities."""
        if self.threshold[0] > 1 or self.threshold[-1] < 0:
            return None
        hits = np.diff(self.precision * np.arange(1, len(self.precision) + 1), prepend=0)
        return calibration_error(self.threshold, hits)


@dataclass(frozen=True)
class Figures:
    """Figures of a set of micrographs.

    Attributes
    ----------
    per_micrograph : list of MicrographFigures
    curve : Curve or None
        None where picks have no scores.
    matches : dict of str to Match
        By micrograph.
    """

    per_micrograph: list[MicrographFigures]
    curve: Curve | None
    matches: dict[str, Match]

    @property
    def offsets(self) -> FloatArray:
        """Distance of each hit from its particle, pixels."""
        return np.concatenate([match.offsets for match in self.matches.values()])

    @property
    def precision(self) -> float:
        """Mean precision of the micrographs."""
        return float(np.mean([m.precision for m in self.per_micrograph]))

    @property
    def recall(self) -> float:
        """Mean recall of the micrographs."""
        return float(np.mean([m.recall for m in self.per_micrograph]))

    @property
    def f1(self) -> float:
        """Mean F1 of the micrographs."""
        return float(np.mean([m.f1 for m in self.per_micrograph]))

    @property
    def average_precision(self) -> float | None:
        """Average precision of all picks; None without scores."""
        return self.curve.average_precision if self.curve else None

    @property
    def best_f1(self) -> float | None:
        """Highest F1 of all picks over thresholds; None without scores."""
        return float(self.curve.f1.max()) if self.curve else None

    @property
    def best_threshold(self) -> float | None:
        """Score at which F1 is highest; None without scores."""
        return float(self.curve.threshold[np.argmax(self.curve.f1)]) if self.curve else None

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of all picks; None where scores are no probabilities."""
        return self.curve.calibration_error if self.curve else None

    def localisation_error(self, pixel_size: float) -> float | None:
        """Mean distance of the hits from their particles, in Å; None without hits."""
        offsets = self.offsets
        return float(offsets.mean() * pixel_size) if len(offsets) else None

    def as_dict(self, pixel_size: float) -> dict[str, Any]:
        """Figures as JSON knows them, rounded to four digits.

        Parameters
        ----------
        pixel_size : float
            Å per pixel of the coordinates.

        Returns
        -------
        dict
            Keys as ``docs/architecture.md`` lists them.
        """
        figures = {
            "micrographs": len(self.per_micrograph),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "average_precision": self.average_precision,
            "best_f1": self.best_f1,
            "calibration_error": self.calibration_error,
            "localisation_error": self.localisation_error(pixel_size),
        }
        return {
            **rounded(figures),
            "best_threshold": self.best_threshold,
            "per_micrograph": [rounded(asdict(m)) for m in self.per_micrograph],
        }


def f1_score(precision: float, recall: float) -> float:
    """Harmonic mean of precision and recall; 0 when both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def inside(coordinates: FloatArray, shape: Shape, edge: float) -> FloatArray:
    """Coordinates at least `edge` away from the border of a micrograph.

    Parameters
    ----------
    coordinates : ndarray, shape (n, 2) or more columns
        x, y in pixels first.
    shape : (int, int)
        Rows and columns of the micrograph.
    edge : float
        Pixels.

    Returns
    -------
    ndarray
        The rows that lie inside.
    """
    return coordinates[_is_inside(coordinates, shape, edge)]


def _is_inside(coordinates: FloatArray, shape: Shape, edge: float) -> BoolArray:
    rows, columns = shape
    x, y = coordinates[:, 0], coordinates[:, 1]
    return (x >= edge) & (x < columns - edge) & (y >= edge) & (y < rows - edge)


def score_picks(
    picks: Mapping[str, FloatArray],
    truth: Mapping[str, FloatArray | Particles],
    radius: float,
    shapes: Mapping[str, Shape] | None = None,
    edge: float = 0.0,
    threshold: float | None = None,
    only: Sequence[str] | None = None,
) -> Figures:
    """Score picks against known particles.

    Parameters
    ----------
    picks : mapping of str to ndarray, shape (n, 3)
        x, y in pixels and the score (NaN for none), by micrograph.
    truth : mapping of str to Particles or ndarray, shape (n, 2) or more columns
        Known particles. Every micrograph counts; one without picks has recall 0.
    radius : float
        Half the particle diameter, in pixels.
    shapes : mapping of str to (int, int), optional
        Rows and columns of each micrograph; picks and particles nearer than
        `edge` to the border, or outside, are left out on both sides.
    edge : float, optional
        Pixels.
    threshold : float, optional
        Picks of a lower score do not count for precision, recall and F1; the
        curve knows all picks.
    only : sequence of str, optional
        Micrographs to score.

    Returns
    -------
    Figures

    Raises
    ------
    ApbcError
        If there is no micrograph to score, or one of `only` or its shape is
        not known.
    """
    names = sorted(truth if only is None else only)
    if not names:
        raise ApbcError("there is no known particle to score against; give truth coordinates")
    rows, curves, matches, particles = [], [], {}, 0
    for name in names:
        if name not in truth:
            raise ApbcError(f"micrograph {name} has no known particles; check the name")
        known = truth[name]
        if not isinstance(known, Particles):
            known = particles_of(known)
        found = np.asarray(picks.get(name, np.empty((0, 3))), float).reshape(-1, 3)
        there = np.arange(len(known))
        if shapes is not None:
            if name not in shapes:
                raise ApbcError(
                    f"the size of micrograph {name} is not known; give it with --shape ROWS COLS"
                )
            there = there[_is_inside(known.xy, shapes[name], edge)]
            found = inside(found, shapes[name], edge)
        elif edge:
            raise ApbcError("leaving out an edge needs the size of the micrographs; give --shape")
        to_find, hidden = there[known.visible[there]], known.xy[there[~known.visible[there]]]
        particles += len(to_find)
        scores = found[:, 2]
        if len(found) and np.isfinite(scores).all():
            hit = match_by_score(found, scores, known.xy[to_find], radius) != NONE
            counts = hit.copy()
            counts[~hit] = match_by_score(found[~hit], scores[~hit], hidden, radius) == NONE
            curves.append(np.stack([scores, hit], axis=1)[counts])
        kept = found if threshold is None else found[scores >= threshold]
        match = matches[name] = _match(kept, known.xy, to_find, hidden, radius)
        rows.append(_figures(name, len(to_find), int((~match.hidden).sum()), int(match.hit.sum())))
    return Figures(rows, _curve(curves, particles), matches)


def _match(
    picks: FloatArray, xy: FloatArray, to_find: IntArray, hidden: FloatArray, radius: float
) -> Match:
    """Match picks with the particles that are to be found, and what is left with hidden ones."""
    match = match_closest_first(picks, xy[to_find], radius)
    hit = match != NONE
    on_hidden = np.zeros(len(picks), bool)
    on_hidden[~hit] = match_closest_first(picks[~hit], hidden, radius) != NONE
    found = np.zeros(len(to_find), bool)
    found[match[hit]] = True
    offsets = np.hypot(*(picks[hit, :2] - xy[to_find[match[hit]]]).T)
    return Match(picks, hit, on_hidden, to_find, found, offsets)


def _figures(name: str, truth: int, picks: int, hits: int) -> MicrographFigures:
    precision = hits / picks if picks else 0.0
    recall = hits / truth if truth else 0.0
    return MicrographFigures(
        name, truth, picks, hits, precision, recall, f1_score(precision, recall)
    )


def _curve(parts: list[FloatArray], particles: int) -> Curve | None:
    """Curve of the scores and hits of all micrographs; None if there is nothing to draw."""
    if not parts or not particles:
        return None
    pooled = np.concatenate(parts)
    pooled = pooled[np.argsort(-pooled[:, 0], kind="stable")]
    hits = np.cumsum(pooled[:, 1])
    return Curve(pooled[:, 0], hits / np.arange(1, len(hits) + 1), hits / particles)


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with those that are no whole numbers rounded to four digits."""
    return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in figures.items()}
