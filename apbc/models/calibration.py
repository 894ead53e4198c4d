"""From a network's score to the probability that a particle is there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Logistic calibration of scores, with a ceiling.

    Attributes
    ----------
    slope, offset : float
        ``P = ceiling / (1 + exp(-(slope * score + offset)))``; slope above zero.
    method : str
        How it was fitted.
    examples : int
        Examples that it was fitted on.
    ceiling : float
        Probability that no score exceeds; above 0, at most 1 (also in cards without one).
    """

    slope: float = 1.0
    offset: float = 0.0
    method: str = "none"
    examples: int = 0
    ceiling: float = 1.0

    def probability(self, scores: npt.NDArray[Any]) -> FloatArray:
        """Probabilities of scores, same shape."""
        z = self.slope * np.asarray(scores, float) + self.offset
        return np.asarray(self.ceiling * expit(z))

    def score(self, probability: float) -> float:
        """Score of a probability, the inverse of `probability`.

        Minus infinity for 0, infinity from the ceiling on, which no score reaches.
        """
        share = min(1.0, probability / self.ceiling)
        return float((logit(share) - self.offset) / self.slope)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
