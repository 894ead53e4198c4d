"""Recall of parts of the particles, and which parts a picker loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri

FloatArray = npt.NDArray[np.float64]

CONFIDENCE = 0.95
LOSS = 0.9  # a part is lost when its recall is below this share of the recall of all
RESAMPLES, FEWEST_VALUES = 2000, 3


@dataclass(frozen=True)
class PartRecall:
    """Recall of the particles of one class or view.

    Attributes
    ----------
    part : int
        The class, or the index of the view.
    particles, found : int
    low, high : float
        Interval of 95% of the recall (Wilson).
    lost : bool
        Whether the recall is surely, and by more than a tenth, below that of all particles.
    """

    part: int
    particles: int
    found: int
    low: float
    high: float
    lost: bool

    @property
    def recall(self) -> float:
        """Share of the particles that are found."""
        return self.found / self.particles


def wilson(found: int, particles: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a share.

    Parameters
    ----------
    found, particles : int
        `particles` above zero.
    confidence : float, optional
        Probability that the interval holds the true share.

    Returns
    -------
    low, high : float
        E. B. Wilson, J. Am. Stat. Assoc. 22:209 (1927).
    """
    z = float(ndtri((1 + confidence) / 2))
    share, weight = found / particles, z * z / particles
    middle = (share + weight / 2) / (1 + weight)
    half = (
        z / (1 + weight) * float(np.sqrt(share * (1 - share) / particles + weight / particles / 4))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def recall_of_parts(
    parts: npt.NDArray[np.int64], found: npt.NDArray[np.bool_], overall: float, tests: int
) -> list[PartRecall]:
    """Recall of every part of the particles.

    Parameters
    ----------
    parts : ndarray of int, shape (n,)
        Part of each particle.
    found : ndarray of bool, shape (n,)
    overall : float
        Recall of all particles, with which that of a part is compared.
    tests : int
        How many parts of this picker are compared in all. The more, the surer each has to be
        (binomial test, Bonferroni), so that of pickers which lose nothing at most one in twenty
        is blamed.

    Returns
    -------
    list of PartRecall
        By rising part.
    """
    rows = []
    for part in np.unique(parts):
        of_it = parts == part
        particles, hits = int(of_it.sum()), int(found[of_it].sum())
        low, high = wilson(hits, particles)
        chance = bdtr(hits, particles, overall)  # to find no more than that, of particles like all
        surely = chance < (1 - CONFIDENCE) / max(1, tests)
        lost = bool(surely) and hits / particles < LOSS * overall
        rows.append(PartRecall(int(part), particles, hits, low, high, lost))
    return rows


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """Interval of 95% of a mean, by drawing micrographs again and again (bootstrap).

    Parameters
    ----------
    values : sequence of float
        One a micrograph.
    seed : int, optional

    Returns
    -------
    (float, float) or None
        B. Efron, Ann. Stat. 7:1 (1979). None for fewer than three micrographs.
    """
    known = np.asarray(values, float)
    if len(known) < FEWEST_VALUES:
        return None
    random = np.random.default_rng(seed)
    means = [random.choice(known, len(known)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
