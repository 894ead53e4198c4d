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
    """Logistic calibration of scores.

    Attributes
    ----------
    slope, offset : float
        ``P = 1 / (1 + exp(-(slope * score + offset)))``; slope above zero.
    method : str
        How it was fitted.
    examples : int
        Examples that it was fitted on.
    """

    slope: float = 1.0
    offset: float = 0.0
    method: str = "none"
    examples: int = 0

    def probability(self, scores: npt.NDArray[Any]) -> FloatArray:
        """Probabilities of scores, same shape."""
        return np.asarray(expit(self.slope * np.asarray(scores, float) + self.offset))

    def score(self, probability: float) -> float:
        """Score of a probability, the inverse of `probability`; minus infinity for 0."""
        return float((logit(probability) - self.offset) / self.slope)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
