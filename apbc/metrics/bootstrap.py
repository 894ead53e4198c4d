"""Paired bootstrap: whether two methods differ by more than the choice of images explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2000
FEWEST_ITEMS = 5
COVERAGE = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean difference of two methods on the same items.

    Attributes
    ----------
    items : int
    first, second : float
        Means of the methods.
    difference : float
        First less second.
    low, high : float
        95 % confidence interval of the difference.
    p : float
        Two-sided: twice the share of resamples with a difference of the other sign, at least
        1 in the number of resamples.
    """

    items: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(first: FloatArray, second: FloatArray, seed: int = 0) -> Difference | None:
    """Compare two methods on the same items by resampling the items.

    Percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters
    13 and 16). Items count as independent of each other; where they are not, as images of one
    refinement, the interval is too narrow.

    Parameters
    ----------
    first, second : ndarray, shape (n,)
        Figure of each item by either method.
    seed : int, optional

    Returns
    -------
    Difference or None
        None with fewer than five items.
    """
    n = len(first)
    if n < FEWEST_ITEMS:
        return None
    rng = np.random.default_rng(seed)
    differences = first - second
    means = np.array([differences[rng.integers(n, size=n)].mean() for _ in range(RESAMPLES)])
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    other = min((means <= 0).mean(), (means >= 0).mean())
    return Difference(
        n,
        float(first.mean()),
        float(second.mean()),
        float(differences.mean()),
        float(low),
        float(high),
        float(min(1.0, max(2 * other, 1 / RESAMPLES))),
    )
