"""Fit the calibration of scores on held-out data."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from apbc.models.calibration import Calibration

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FEWEST_LABELLED = 15  # of the candidates, for the fit with unlabelled ones
SLOPE_SPREAD = 1.0  # standard deviation of the log slope's prior
TINY = 1e-12


def from_candidates(scores: FloatArray, good: BoolArray, bad: BoolArray) -> Calibration | None:
    """Calibrate with candidates of held-out micrographs, most of them unlabelled.

    A candidate of score s is a particle with probability ``p(s) = expit(a s + b)``.
    It carries a good label with probability ``c p(s)`` and a bad one with
    probability ``d (1 - p(s))``: labels are a random share c of the particles and d
    of the others, the assumption of Elkan and Noto (KDD 2008,
    doi:10.1145/1401890.1401920). The four unknowns are found together by maximum
    likelihood, so that the share of particles among the unlabelled is estimated
    and not assumed. A weak prior keeps the slope near one where labels are few.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Mean logits of the candidates.
    good, bad : ndarray of bool, shape (n,)
        Whether a good or a bad label lies at the candidate.

    Returns
    -------
    Calibration or None
        None where there are too few labelled candidates.
    """
    if good.sum() < FEWEST_LABELLED or len(scores) - good.sum() < FEWEST_LABELLED:
        return None
    good = good.astype(bool)
    bad = bad.astype(bool) & ~good
    neither = ~good & ~bad

    def loss(unknown: FloatArray) -> float:
        log_slope, offset, c, d = unknown
        z = np.exp(log_slope) * scores + offset
        log_c, log_d = log_expit(c), log_expit(d)
        rest = 1 - np.exp(log_c) * expit(z) - np.exp(log_d) * expit(-z)
        likelihood = (
            (log_c + log_expit(z[good])).sum()
            + (log_d + log_expit(-z[bad])).sum()
            + np.log(np.maximum(rest[neither], TINY)).sum()
        )
        return float(-likelihood + 0.5 * (log_slope / SLOPE_SPREAD) ** 2)

    starts = [(0.0, offset, c, -2.0) for offset in (-2.0, 0.0, 2.0) for c in (-1.5, 0.0, 1.5)]
    fits = [
        minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}) for start in starts
    ]
    best = min(fits, key=lambda fit: fit.fun)
    log_slope, offset, c, _ = best.x
    return Calibration(
        slope=float(np.exp(log_slope)),
        offset=float(offset),
        method="candidates of held-out micrographs",
        labelled_share=float(expit(c)),
        examples=len(scores),
    )


def from_crops(scores: FloatArray, good: BoolArray) -> Calibration:
    """Calibrate with good and bad crops alone (Platt 1999, with his soft targets).

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Mean logit of each crop.
    good : ndarray of bool, shape (n,)

    Returns
    -------
    Calibration
        Without examples: scores as they are.
    """
    n_good, n_bad = int(good.sum()), int((~good).sum())
    if n_good + n_bad == 0:
        return Calibration()
    target = np.where(good, (n_good + 1) / (n_good + 2), 1 / (n_bad + 2))

    def loss(unknown: FloatArray) -> float:
        z = np.exp(unknown[0]) * scores + unknown[1]
        likelihood = (target * log_expit(z) + (1 - target) * log_expit(-z)).sum()
        return float(-likelihood + 0.5 * (unknown[0] / SLOPE_SPREAD) ** 2)

    fit = minimize(loss, (0.0, 0.0), method="Nelder-Mead", options={"maxiter": 2000})
    return Calibration(
        slope=float(np.exp(fit.x[0])),
        offset=float(fit.x[1]),
        method="good and bad crops of the validation split",
        examples=len(scores),
    )
