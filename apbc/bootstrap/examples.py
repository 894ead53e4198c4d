"""Particles found without a label, each judged a good or a bad example."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: Shapes of particles; `Examples.shape` counts along it.
SHAPES = ("top", "side", "irregular")

#: Reasons that say that there is no particle at all, not merely a bad picture of one.
NO_PARTICLE = ("large", "contamination", "unlike")
#: Reasons of particles that touch or cover others: no pictures of their shape, but particles
#: whose centres are known.
TOUCHING = ("out of round", "overlaps")


@dataclass(frozen=True)
class Examples:
    """What was found in one image, in pixels of that image.

    Attributes
    ----------
    positions : ndarray, shape (n, 2)
        Centres ``x, y``.
    shape : ndarray of int8, shape (n,)
        Index into `SHAPES`.
    good : ndarray of bool, shape (n,)
        Fit to teach a network.
    reason : list of str, length n
        Why an example is bad, one or two words; "" for good ones.
    size : ndarray, shape (n, 2)
        Length and width; of a disc its diameter twice.
    angle : ndarray, shape (n,)
        Direction of the length in degrees from the x axis towards the y axis, 0 to 180.
    metric : ndarray, shape (n,)
        How well the shape fits, 0 and more: the peak of the circle transform (top), the
        part of its rectangle that a component fills (side), its solidity (irregular).
    """

    positions: FloatArray
    shape: npt.NDArray[np.int8]
    good: BoolArray
    reason: list[str]
    size: FloatArray
    angle: FloatArray
    metric: FloatArray

    def __post_init__(self) -> None:
        """Check that all columns have one length."""
        columns = (self.positions, self.shape, self.good, self.reason, self.size, self.angle)
        lengths = {len(column) for column in columns} | {len(self.metric)}
        if len(lengths) != 1:
            raise ValueError(f"the columns of examples differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        """Count of examples, good and bad."""
        return len(self.positions)

    @classmethod
    def empty(cls) -> Examples:
        """No example."""
        none = np.empty(0)
        pairs = np.empty((0, 2))
        return cls(pairs, none.astype(np.int8), none.astype(bool), [], pairs, none, none)

    @classmethod
    def of_shape(
        cls,
        shape: str,
        positions: FloatArray,
        size: FloatArray,
        metric: FloatArray,
        reason: Sequence[str],
        angle: FloatArray | None = None,
    ) -> Examples:
        """Examples of one shape; those without a reason are good.

        Parameters
        ----------
        shape : str
            One of `SHAPES`.
        positions, size : ndarray, shape (n, 2)
        metric : ndarray, shape (n,)
        reason : sequence of str, length n
        angle : ndarray, shape (n,), optional
            Zero without.

        Returns
        -------
        found : Examples
        """
        count = len(positions)
        return cls(
            np.asarray(positions, float).reshape(-1, 2),
            np.full(count, SHAPES.index(shape), np.int8),
            np.array([not why for why in reason], bool),
            list(reason),
            np.asarray(size, float).reshape(-1, 2),
            np.zeros(count) if angle is None else np.asarray(angle, float),
            np.asarray(metric, float),
        )

    @classmethod
    def join(cls, parts: Iterable[Examples]) -> Examples:
        """All examples of several sets, in their order."""
        sets = [cls.empty(), *parts]
        return cls(
            np.concatenate([part.positions for part in sets]),
            np.concatenate([part.shape for part in sets]),
            np.concatenate([part.good for part in sets]),
            [why for part in sets for why in part.reason],
            np.concatenate([part.size for part in sets]),
            np.concatenate([part.angle for part in sets]),
            np.concatenate([part.metric for part in sets]),
        )

    @property
    def is_particle(self) -> BoolArray:
        """False only where the reason says that there is no particle, shape (n,)."""
        return np.array([why not in NO_PARTICLE for why in self.reason], bool)

    @property
    def is_label(self) -> BoolArray:
        """Good ones, and those that merely touch others, shape (n,).

        A picker that learns of no particle in a crowd leaves them out.
        """
        return self.good | np.array([why in TOUCHING for why in self.reason], bool)

    def select(self, which: npt.NDArray[np.generic]) -> Examples:
        """Choose some of the examples.

        Parameters
        ----------
        which : ndarray
            Indices, or a boolean per example.

        Returns
        -------
        found : Examples
        """
        index = np.arange(len(self))[which]
        return Examples(
            self.positions[index],
            self.shape[index],
            self.good[index],
            [self.reason[i] for i in index],
            self.size[index],
            self.angle[index],
            self.metric[index],
        )

    def rejected(self, which: BoolArray, reason: str) -> Examples:
        """Make some examples bad for one reason, which replaces the one they may have.

        Parameters
        ----------
        which : ndarray of bool, shape (n,)
        reason : str

        Returns
        -------
        found : Examples
        """
        told = [reason if w else why for w, why in zip(which, self.reason, strict=True)]
        return replace(self, good=self.good & ~which, reason=told)

    def scaled(self, factor: float) -> Examples:
        """Convert to pixels of another image of the same field.

        Parameters
        ----------
        factor : float
            Pixels of the other image per pixel of this one, edges upon edges:
            ``x' = (x + 0.5) factor - 0.5``.

        Returns
        -------
        found : Examples
        """
        positions = (self.positions + 0.5) * factor - 0.5
        return replace(self, positions=positions, size=self.size * factor)

    def moved(self, x: float, y: float) -> Examples:
        """Add `x` and `y` pixels to all positions."""
        return replace(self, positions=self.positions + np.array([x, y]))
