"""Random places for particles: apart from one another, in clusters, or overlapping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

JAMMED = 0.547
"""Share of an area beyond which discs put down one by one find no place (Feder, J. Theor. Biol.
87:237, 1980)."""
TRIES = 300
OVERLAP = (0.4, 0.95)
"""Distance of particles that overlap, in diameters."""
CLUSTER = (1.0, 1.2)
"""Distance of neighbours in a cluster, in diameters."""


class Places:
    """Discs on a plane, in cells so that neighbours are found fast.

    Parameters
    ----------
    largest : float
        Largest diameter that will be added.
    """

    def __init__(self, largest: float) -> None:
        self._cell = largest
        self._cells: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.points: list[tuple[float, float]] = []
        self.diameters: list[float] = []

    def __len__(self) -> int:
        """Count the discs."""
        return len(self.points)

    def add(self, x: float, y: float, diameter: float) -> None:
        """Put down a disc.

        Parameters
        ----------
        x, y, diameter : float
        """
        self._cells[self._of(x, y)].append(len(self.points))
        self.points.append((x, y))
        self.diameters.append(diameter)

    def has_room(self, x: float, y: float, diameter: float, share: float) -> bool:
        """Tell whether a disc keeps its distance from all others.

        Parameters
        ----------
        x, y, diameter : float
        share : float
            Least distance over the mean of the two diameters.

        Returns
        -------
        bool
        """
        column, row = self._of(x, y)
        for i in (column - 1, column, column + 1):
            for j in (row - 1, row, row + 1):
                for other in self._cells.get((i, j), ()):
                    ox, oy = self.points[other]
                    least = share * (diameter + self.diameters[other]) / 2
                    if (x - ox) ** 2 + (y - oy) ** 2 < least**2:
                        return False
        return True

    def _of(self, x: float, y: float) -> tuple[int, int]:
        return int(np.floor(x / self._cell)), int(np.floor(y / self._cell))


def place(
    places: Places,
    diameters: FloatArray,
    bounds: tuple[float, float, float, float],
    free: Callable[[float, float, float], bool],
    overlap: float,
    clusters: float,
    rng: np.random.Generator,
) -> IntArray:
    """Put particles down one by one at random.

    Parameters
    ----------
    places : Places
        What is there already; the particles are added.
    diameters : ndarray, shape (n,)
        Pixels.
    bounds : (float, float, float, float)
        Least and largest x, least and largest y.
    free : callable
        Of x, y and diameter: whether a particle may lie there.
    overlap : float
        Share of the particles that overlap another.
    clusters : float
        Share of the particles that are put next to another, so that clusters grow.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (m,)
        Indices of those that found a place, in their order.
    """
    left, right, low, high = bounds
    placed = []
    for index, diameter in enumerate(diameters):
        kind = rng.random()
        near = OVERLAP if kind < overlap else CLUSTER if kind < overlap + clusters else None
        share = OVERLAP[0] if near is OVERLAP else 1.0
        for _ in range(TRIES):
            if near is not None and len(places):
                other = int(rng.integers(len(places)))
                angle = rng.uniform(0, 2 * np.pi)
                step = rng.uniform(*near) * (diameter + places.diameters[other]) / 2
                x = places.points[other][0] + step * np.cos(angle)
                y = places.points[other][1] + step * np.sin(angle)
                if not (left <= x <= right and low <= y <= high):
                    continue
            else:
                x, y = rng.uniform(left, right), rng.uniform(low, high)
            if free(x, y, diameter) and places.has_room(x, y, diameter, share):
                places.add(x, y, diameter)
                placed.append(index)
                break
    return np.array(placed, np.int64)
