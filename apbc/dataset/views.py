"""Views, the 2D classes that labels are of, and how often each is to be learnt from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

UNKNOWN = -1  # view of a label that nobody classified
MOST_REPEATED = 4.0  # a label is drawn at most this many times as often as the mean one


def count(view: npt.NDArray[np.integer]) -> dict[int, int]:
    """Labels of each view, by its number; those of an unknown one under -1."""
    numbers, counts = np.unique(view, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def described(view: npt.NDArray[np.integer]) -> str:
    """Name the views and the labels of each: ``"class 3: 120, class 7: 8, unknown: 2"``."""
    found = count(view)
    known = [f"class {number}: {n}" for number, n in found.items() if number != UNKNOWN]
    return ", ".join([*known, *([f"unknown: {found[UNKNOWN]}"] if UNKNOWN in found else [])])


def quotas(view: npt.NDArray[np.integer], most: float = MOST_REPEATED) -> FloatArray:
    """Weight with which to draw each label, so that all views are seen alike.

    Parameters
    ----------
    view : ndarray of int, shape (n,)
        View of each label; labels of an unknown one (-1) count as one view.
    most : float, optional
        Largest weight. A view of so few labels that even this does not give it its share
        stays below it, so that a handful of labels are not learnt by heart.

    Returns
    -------
    ndarray, shape (n,)
        Mean 1; the sum of each view's is the same but for the views that `most` holds down.
    """
    if not len(view):
        return np.empty(0)
    _, members, counts = np.unique(view, return_inverse=True, return_counts=True)
    totals = _shared(most * counts, float(len(view)))
    return np.asarray((totals / counts)[members])


def evenly(view: npt.NDArray[np.integer], n: int, rng: np.random.Generator) -> IntArray:
    """Choose labels evenly over the views: rare views whole, of the others as many of each.

    Parameters
    ----------
    view : ndarray of int, shape (m,)
        View of each label, in the order of the micrographs.
    n : int
        Labels to choose.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int
        The chosen ones, rising: all if there are no more than `n`, else `n` of them. Those of
        a view are spread over the order that they are in.
    """
    if len(view) <= n:
        return np.arange(len(view))
    numbers, counts = np.unique(view, return_counts=True)
    wanted = _shared(counts.astype(float), float(n))
    whole = np.floor(wanted + 1e-9).astype(int)
    rest = rng.permutation(np.flatnonzero(counts > whole))[: n - int(whole.sum())]
    whole[rest] += 1
    chosen = []
    for number, k in zip(numbers, whole, strict=True):
        members = np.flatnonzero(view == number)
        first = np.arange(k) * len(members) // k if k else np.empty(0, int)
        ends = np.append(first[1:], len(members))
        chosen.append(members[rng.integers(first, ends)])
    return np.sort(np.concatenate(chosen))


def _shared(capacities: FloatArray, total: float) -> FloatArray:
    """Share a total out alike; who can take less than the others takes what it can.

    The capacities sum to `total` or more.
    """
    order = np.sort(capacities)
    before = np.concatenate([[0.0], np.cumsum(order)[:-1]])
    levels = (total - before) / np.arange(len(order), 0, -1)
    level = levels[np.argmax(levels <= order * (1 + 1e-9))]
    return np.minimum(capacities, level)
