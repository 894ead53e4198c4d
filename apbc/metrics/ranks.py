"""Neighbours of points in order of their distance, fast and with honest ties.

A key of 64 bits holds the distance (float32, whose bits grow with its value) above a number that
no two neighbours share. So one partition and one sort of plain integers, which NumPy does with
vector instructions, orders neighbours and tells who they are, and the numbers decide between
neighbours at the same distance: at random, or by the order of the points.
Points that are the same are measured once, so that their distances are the same to the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LOW = np.uint64(0xFFFFFFFF)
HIGH_SHIFT = np.uint64(32)
BLOCK_VALUES = 4_000_000
"""Distances of a block: about 100 MB with all copies."""


class Neighbours:
    """Nearest neighbours of all points of a set, block by block.

    Parameters
    ----------
    points : ndarray, shape (n, dimensions)
    count : int
        Neighbours of each point, below n.
    seed : int or None
        Order of neighbours at the same distance: random, or that of the points for None.
    itself : bool, optional
        Count a point as its own neighbour.
    """

    def __init__(
        self, points: FloatArray, count: int, seed: int | None, itself: bool = False
    ) -> None:
        centred = points - points.mean(axis=0)
        self._distinct, kind = np.unique(centred, axis=0, return_inverse=True)
        self._kind = np.asarray(kind, np.int64).reshape(-1)
        if len(self._distinct) == len(centred):
            self._distinct, self._kind = centred, np.arange(len(centred))
        squares = np.einsum("ij,ij->i", self._distinct, self._distinct)[:, None]
        ones = np.ones_like(squares)
        # One product gives |a|² + |b|² - 2ab.
        self._left = np.hstack([-2 * self._distinct, ones, squares])
        self._right = np.hstack([self._distinct, squares, ones]).T.copy()
        self._seed = seed
        self._itself = itself
        self.n = len(points)
        self.count = count

    @property
    def tied(self) -> bool:
        """Whether some points are the same."""
        return len(self._distinct) < self.n

    def blocks(self) -> list[slice]:
        """Rows that are done at a time."""
        rows = max(1, BLOCK_VALUES // self.n)
        return [slice(start, min(start + rows, self.n)) for start in range(0, self.n, rows)]

    def block(self, rows: slice) -> IntArray:
        """Neighbours of some points.

        Parameters
        ----------
        rows : slice
            One of `blocks`.

        Returns
        -------
        ndarray of int, shape (rows, count)
            Nearest first.
        """
        keys = self._distances(rows).view(np.uint32).astype(np.uint64) << HIGH_SHIFT
        order = np.arange(self.n, dtype=np.uint64)
        turn = np.zeros((len(keys), 1), np.uint64)
        if self.tied and self._seed is not None:
            # One random order for the block; each row turns it by flipping bits, which leaves
            # the numbers different from each other.
            rng = np.random.default_rng((self._seed, rows.start))
            order = rng.permutation(order)
            bits = 2 ** int(self.n - 1).bit_length()
            turn = rng.integers(0, bits, turn.shape, np.uint64)
        keys |= order ^ turn
        if self.count < self.n:
            keys.partition(self.count - 1, axis=1)
        keys = keys[:, : self.count]
        keys.sort(axis=1)
        keys &= LOW
        keys ^= turn
        who = np.empty(self.n, np.int64)
        who[order] = np.arange(self.n)
        nearest: IntArray = who[keys]
        return nearest

    def _distances(self, rows: slice) -> npt.NDArray[np.float32]:
        """Squared distances to all points, float32, shape (rows, n); infinite to itself."""
        kind = self._kind[rows]
        if self.tied:
            own, again = np.unique(kind, return_inverse=True)
        else:
            own = again = kind
        # Rounding can leave a little less than nothing.
        squared = self._left[own] @ self._right
        short = np.maximum(squared, 0, out=np.empty(squared.shape, np.float32), casting="unsafe")
        if self.tied:
            short[np.arange(len(own)), own] = 0
            short = short[:, self._kind][np.asarray(again).reshape(-1)]
        if not self._itself:
            here = np.arange(len(kind))
            short[here, here + rows.start] = np.inf
        return short
