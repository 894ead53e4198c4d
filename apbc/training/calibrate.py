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

FEWEST_CANDIDATES = 100  # and as many decoys, for a fit with them
SLOPE_SPREAD = 1.0  # standard deviation of the log slope's prior
HALO = 0.5  # diameters round a particle in which no other candidate is kept, but decoys are
CEILING = 0.95  # share of particles among candidates that look like particles in every way


def noise_share(scores: FloatArray, decoys: FloatArray, most: float = 1.0) -> float:
    """Return the number of false candidates for each decoy.

    Candidates are counted against decoys where the middle half of the decoys lies, as
    hardly any particle scores so low (Storey 2002, doi:10.1111/1467-9868.00346, counts
    true null hypotheses so). The particles that do make the share too high, and the
    calibration careful. Lower still, candidates between particles score worse than
    any noise does.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Of the candidates.
    decoys : ndarray, shape (m,)
        m above zero.
    most : float, optional
        Largest number; where all decoys are counted 1, as particles take up room.

    Returns
    -------
    float
    """
    low, high = np.quantile(decoys, (0.25, 0.75))
    among = ((scores >= low) & (scores <= high)).sum()
    return float(min(most, among / ((decoys >= low) & (decoys <= high)).sum()))


def clear_of_particles(
    decoys: FloatArray, beside: FloatArray, calibration: Calibration
) -> npt.NDArray[np.bool_]:
    """Whether each decoy is no halo of a particle.

    Round a dark particle the contrast transfer makes a light ring, which is dark once the
    sign is turned, so that decoys at particles score better than noise does. Candidates
    so near to a better one give way to it, so that there are none which they stand for.

    Parameters
    ----------
    decoys : ndarray, shape (m,)
    beside : ndarray, shape (m,)
        Best score of a candidate within `HALO` diameters of each decoy.
    calibration : Calibration
        A first one, which tells what is a particle.

    Returns
    -------
    ndarray of bool, shape (m,)
        All True where too few decoys would be left.
    """
    clear = calibration.probability(beside) < calibration.ceiling / 2
    return clear if clear.sum() >= FEWEST_CANDIDATES else np.ones(len(decoys), bool)


def from_decoys(
    scores: FloatArray, decoys: FloatArray, beside: FloatArray | None = None
) -> Calibration | None:
    """Calibrate with the candidates of held-out micrographs and of their negatives.

    Most particles of a micrograph carry no label, and those that do are the clear
    ones, so labels cannot tell how many of the candidates are false. A micrograph
    with its sign turned can: it has the same noise and no dark particle, so its
    candidates, the decoys, are all false (the idea of target and decoy searches in
    proteomics, Elias and Gygi 2007, doi:10.1038/nmeth1019). Particles take up room,
    so there are k = `noise_share` false candidates for each decoy. A candidate of
    score s is no noise with the probability ``p(s) = expit(a s + b)``, whose squared
    error over the candidates needs no labels: with y = 1 for what is no noise,

    ``sum_candidates (p - y)^2 = sum_candidates (1 - p)^2 + k sum_decoys (2 p - 1)``

    in expectation (the unbiased risk of du Plessis et al. 2015, PMLR 37:1386, with
    negatives in the place of positives). a and b minimise it; below the decoys'
    median every candidate counts as false. The squared error, unlike the likelihood,
    has no eye for the far tail, where decoys vanish faster than any logistic
    curve allows; that made the curve too steep.

    Decoys beside particles are left out: they are no noise (`clear_of_particles`). A first
    fit with all decoys tells where particles are.

    What decoys cannot tell is how many of the candidates that look like particles
    in every way are none: contamination, and what an expert would refuse. Labels do
    not tell it either, as the bad ones score far lower. So it is stated and not
    estimated: probabilities end at CEILING.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Mean logits of the candidates, down to scores that no particle has.
    decoys : ndarray, shape (m,)
        Mean logits of the candidates of the same micrographs with turned sign.
    beside : ndarray, shape (m,), optional
        Best score of a candidate within `HALO` diameters of each decoy, minus infinity
        where there is none; default: no decoy is beside a particle.

    Returns
    -------
    Calibration or None
        None where there are too few of either.
    """
    if min(len(scores), len(decoys)) < FEWEST_CANDIDATES:
        return None
    found = _fit(scores, decoys, noise_share(scores, decoys))
    if beside is not None:
        clear = decoys[clear_of_particles(decoys, beside, found)]
        if len(clear) < len(decoys):
            found = _fit(scores, clear, noise_share(scores, clear, np.inf))
    return found


def _fit(scores: FloatArray, decoys: FloatArray, k: float) -> Calibration:
    """Minimise the risk of `from_decoys`."""
    middle = np.median(decoys)
    false, unknown, noise = (
        scores[scores <= middle],
        scores[scores > middle],
        decoys[decoys > middle],
    )

    def loss(parameters: FloatArray) -> float:
        slope, offset = np.exp(parameters[0]), parameters[1]
        risk = (
            (expit(slope * false + offset) ** 2).sum()
            + (expit(-slope * unknown - offset) ** 2).sum()
            + k * (2 * expit(slope * noise + offset) - 1).sum()
        )
        return float(risk + 0.5 * (parameters[0] / SLOPE_SPREAD) ** 2)

    starts = [(0.0, offset) for offset in (-3.0, 0.0, 3.0)]
    fits = [
        minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}) for start in starts
    ]
    log_slope, offset = min(fits, key=lambda fit: fit.fun).x
    return Calibration(
        slope=float(np.exp(log_slope)),
        offset=float(offset),
        method="candidates and decoys",
        examples=len(scores) + len(decoys),
        ceiling=CEILING,
    )


def precision_by_decoys(
    scores: FloatArray, decoys: FloatArray, lowest: float, most: float = 1.0
) -> float | None:
    """Precision of the candidates from a score on, counted with decoys.

    It takes no shape of the calibration for granted, but its ceiling.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Of the candidates.
    decoys : ndarray, shape (m,)
    lowest : float
    most : float, optional
        As for `noise_share`.

    Returns
    -------
    float or None
        None where no candidate is kept, or there are no decoys to count with.
    """
    kept = int((scores >= lowest).sum())
    if not kept or len(decoys) < FEWEST_CANDIDATES:
        return None
    false = noise_share(scores, decoys, most) * (decoys >= lowest).sum()
    return float(CEILING * max(0.0, 1 - false / kept))


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
