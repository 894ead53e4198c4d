"""Losses for labels that are few: what is not labelled is not the same as no particle."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

TARGET, KNOWN, UNLABELLED = 0, 1, 2  # channels of the truth of a logit
TINY = 1e-6


def _cross_entropies(logits: Any) -> tuple[Any, Any]:
    """Loss of each logit were it a particle, and were it none."""
    logits = ops.cast(logits, "float32")
    return ops.softplus(-logits), ops.softplus(logits)


@keras.saving.register_keras_serializable(package="apbc")
class WeakNegatives(keras.losses.Loss):
    """Cross entropy with unlabelled places as negatives of a small weight.

    The truth has three channels: the target (0 or 1), the weight of what is known,
    and the weight of what is unlabelled.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each logit, shape (n, cells, cells)."""
        positive, negative = _cross_entropies(y_pred[..., 0])
        target = y_true[..., TARGET]
        weight = y_true[..., KNOWN] + y_true[..., UNLABELLED]
        return weight * (target * positive + (1 - target) * negative)


@keras.saving.register_keras_serializable(package="apbc")
class PositiveNegativeUnlabelled(keras.losses.Loss):
    """Unlabelled places as a mixture of particles and none, with a prior.

    The risk of the unlabelled places is what they would cost as negatives, less the
    part of it that the particles among them cost, and not below zero: the
    non-negative estimator of Kiryo et al. 2017 (arXiv:1703.00593), with the known
    negatives (bad particles, rings round good ones) as a term of their own as in
    Sakai et al. 2017 (arXiv:1605.06955).

    Parameters
    ----------
    prior : float
        Share of the unlabelled places that are at the centre of a particle.
    """

    def __init__(
        self,
        prior: float = 0.03,
        name: str = "positive_negative_unlabelled",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.prior = prior

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each logit, shape (n, cells, cells)."""
        positive, negative = _cross_entropies(y_pred[..., 0])
        target, known, unlabelled = (y_true[..., i] for i in range(3))
        particles, none = target * known, (1 - target) * known
        count = ops.cast(ops.size(target), "float32")
        certain = particles * positive + none * negative
        risk = ops.sum(unlabelled * negative)
        share = ops.sum(unlabelled) / (ops.sum(particles) + TINY)
        risk = risk - self.prior * share * ops.sum(particles * negative)
        return certain + ops.maximum(risk, 0.0) / count

    def get_config(self) -> dict[str, Any]:
        """Tell the settings, for checkpoints."""
        return {**super().get_config(), "prior": self.prior}


@keras.saving.register_keras_serializable(package="apbc")
def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of the known places, by weight, that are called right."""
    target, known = y_true[..., TARGET], y_true[..., KNOWN]
    right = ops.cast(ops.equal(ops.cast(y_pred[..., 0] > 0, "float32"), target), "float32")
    return ops.sum(right * known) / (ops.sum(known) + TINY)


LOSSES: dict[str, type[keras.losses.Loss]] = {
    "weak": WeakNegatives,
    "pu": PositiveNegativeUnlabelled,
}
