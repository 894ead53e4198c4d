"""How far pickers agree with each other, whatever the reference says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from apbc.evaluation.matching import NONE, match_closest_first

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """Picks that two pickers have in common.

    Attributes
    ----------
    first, second : str
    first_picks, second_picks, common : int
        On all micrographs together.
    """

    first: str
    second: str
    first_picks: int
    second_picks: int
    common: int

    @property
    def f1(self) -> float:
        """F1 of one against the other, whichever; 0 where neither picks anything."""
        total = self.first_picks + self.second_picks
        return 2 * self.common / total if total else 0.0

    @property
    def share(self) -> float:
        """Share of the first one's picks that the second has, too."""
        return self.common / self.first_picks if self.first_picks else 0.0


def agreements(picks: Mapping[str, Mapping[str, FloatArray]], radius: float) -> list[Agreement]:
    """Agreement of every picker with every other one.

    Parameters
    ----------
    picks : mapping of str to mapping of str to ndarray, shape (n, 2) or more columns
        By picker and micrograph: x, y in pixels. All have the same micrographs.
    radius : float
        Largest distance of a pick and its like, in pixels.

    Returns
    -------
    list of Agreement
        Both orders of each pair.
    """
    names = list(picks)
    counts = {name: sum(map(len, picks[name].values())) for name in names}
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            common = sum(
                int((match_closest_first(points, picks[second][name], radius) != NONE).sum())
                for name, points in picks[first].items()
            )
            for one, other in ((first, second), (second, first)):
                found.append(Agreement(one, other, counts[one], counts[other], common))
    return sorted(found, key=lambda pair: (names.index(pair.first), names.index(pair.second)))


def shared(picks: FloatArray, others: Sequence[FloatArray], radius: float) -> int:
    """Count picks that at least one other picker has, too.

    Parameters
    ----------
    picks : ndarray, shape (n, 2) or more columns
    others : sequence of ndarray
        Of each other picker.
    radius : float
        Pixels.

    Returns
    -------
    int
    """
    common = np.zeros(len(picks), bool)
    for other in others:
        common |= match_closest_first(picks, other, radius) != NONE
    return int(common.sum())
