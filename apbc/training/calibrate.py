"""Fit the calibration of scores on held-out data."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_expit

from apbc.models.calibration import Calibration

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FEWEST_CANDIDATES = 100  # and as many decoys, for a fit with them
SLOPE_SPREAD = 1.0  # standard deviation of the log slope's prior


def from_decoys(scores: FloatArray, decoys: FloatArray) -> Calibration | None:
    """Calibrate with the candidates of held-out micrographs and of their negatives.

    Most particles of a micrograph carry no label, so labels cannot tell how many
    of the candidates are false. A micrograph with its sign turned can: it has the
    same noise and no dark particle, so its candidates, the decoys, are all false.
    Per score s there are ``k`` times as many false candidates as decoys (k is below
    one, because particles take up room), and a candidate is a particle with
    probability ``p(s) = expit(a s + b)``; so of candidates and decoys together the
    share ``q / (1 + q)``, ``q = k (1 + exp(a s + b))``, are candidates. k, a and b
    are found together by maximum likelihood, which makes the share of particles an
    estimate and not an assumption. The idea is that of target and decoy searches
    in proteomics (Elias and Gygi 2007, doi:10.1038/nmeth1019).

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Mean logits of the candidates, down to scores that no particle has.
    decoys : ndarray, shape (m,)
        Mean logits of the candidates of the same micrographs with turned sign.

    Returns
    -------
    Calibration or None
        None where there are too few of either.
    """
    if min(len(scores), len(decoys)) < FEWEST_CANDIDATES:
        return None
    together = np.concatenate([scores, decoys])
    is_candidate = np.arange(len(together)) < len(scores)

    def loss(unknown: FloatArray) -> float:
        log_k, log_slope, offset = unknown
        log_odds = log_k + np.logaddexp(0, np.exp(log_slope) * together + offset)
        likelihood = np.where(is_candidate, log_expit(log_odds), log_expit(-log_odds)).sum()
        return float(-likelihood + 0.5 * (log_slope / SLOPE_SPREAD) ** 2)

    starts = [(-1.0, 0.0, offset) for offset in (-3.0, 0.0, 3.0)]
    fits = [
        minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}) for start in starts
    ]
    _, log_slope, offset = min(fits, key=lambda fit: fit.fun).x
    return Calibration(
        slope=float(np.exp(log_slope)),
        offset=float(offset),
        method="candidates and decoys",
        examples=len(together),
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
