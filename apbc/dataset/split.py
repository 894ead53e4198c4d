"""Split of labels into training, validation and test."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from apbc.dataset.labels import BAD, GOOD

logger = logging.getLogger(__name__)

TRAIN, VALIDATION, TEST = 0, 1, 2
NAMES = ("train", "validation", "test")
SHARES = (0.64, 0.16, 0.20)
FEWEST_MICROGRAPHS = 5
TRIALS = 300

IntArray = npt.NDArray[np.int64]


def split_micrographs(counts: IntArray, seed: int) -> IntArray:
    """Assign whole micrographs to training, validation and test.

    Of many seeded shuffles the one is kept whose shares of good and of bad labels
    come closest to 64/16/20. Every part gets at least one micrograph.

    Parameters
    ----------
    counts : ndarray of int, shape (n_micrographs, 2)
        Good and bad labels of each micrograph.
    seed : int

    Returns
    -------
    ndarray of int, shape (n_micrographs,)
        0 training, 1 validation, 2 test.

    Raises
    ------
    ValueError
        If there are fewer than 3 micrographs.
    """
    n = len(counts)
    if n < len(SHARES):
        raise ValueError(f"{n} micrographs cannot be split in {len(SHARES)}")
    sizes = [max(1, round(n * share)) for share in SHARES[1:]]
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    rng = np.random.default_rng(seed)
    best, best_cost = np.zeros(n, np.int64), np.inf
    for _ in range(TRIALS):
        order = rng.permutation(n)
        parts = np.full(n, TRAIN, np.int64)
        parts[order[: sizes[0]]] = VALIDATION
        parts[order[sizes[0] : sum(sizes)]] = TEST
        got = np.array([shares[parts == part].sum(axis=0) for part in (VALIDATION, TEST)])
        cost = np.abs(got - np.array(SHARES[1:])[:, None]).sum()
        if cost < best_cost:
            best, best_cost = parts, cost
    return best


def split_particles(kinds: IntArray, seed: int) -> IntArray:
    """Assign particles to training, validation and test, class by class.

    Parameters
    ----------
    kinds : ndarray of int, shape (n,)
        Label of each particle.
    seed : int

    Returns
    -------
    ndarray of int, shape (n,)
        0 training, 1 validation, 2 test.
    """
    rng = np.random.default_rng(seed)
    parts = np.full(len(kinds), TRAIN, np.int64)
    for kind in np.unique(kinds):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        n_validation, n_test = (round(len(members) * share) for share in SHARES[1:])
        parts[members[:n_validation]] = VALIDATION
        parts[members[n_validation : n_validation + n_test]] = TEST
    return parts


def split_labels(
    kinds: IntArray, micrographs: IntArray, by: str, seed: int
) -> tuple[IntArray, str]:
    """Split of every label, by micrograph where that can be done.

    Parameters
    ----------
    kinds : ndarray of int, shape (n,)
        `GOOD`, `BAD` or `UNLABELLED`.
    micrographs : ndarray of int, shape (n,)
        Index of the micrograph of each label.
    by : {"micrograph", "particle"}
    seed : int

    Returns
    -------
    parts : ndarray of int, shape (n,)
        0 training, 1 validation, 2 test.
    by : str
        What was split: ``"particle"`` where there were fewer than 5 micrographs.
    """
    present, position = np.unique(micrographs, return_inverse=True)
    if by == "micrograph" and len(present) < FEWEST_MICROGRAPHS:
        logger.warning(
            "only %d micrographs have labels: particles are split and not micrographs, so the "
            "figures of the report will flatter the model",
            len(present),
        )
        by = "particle"
    if by == "particle":
        return split_particles(kinds, seed), by
    counts = np.stack(
        [np.bincount(position[kinds == k], minlength=len(present)) for k in (GOOD, BAD)]
    )
    return split_micrographs(counts.T, seed)[position], by
