"""The default network: strided convolutions that give a score map at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apbc.models.architecture import Architecture

if TYPE_CHECKING:
    import keras


def build() -> keras.Model:
    """Make the network.

    Only unpadded convolutions, so that a crop and the same place of a whole
    micrograph give the same logit: a window of 45 pixels (1.6 diameters) and one
    logit every 4 pixels (a seventh of a diameter).

    Returns
    -------
    keras.Model
        Images ``(batch, rows, cols, 1)`` to logits ``(batch, cells, cells, 1)``.
    """
    from keras import Input, Model, layers

    def block(x, filters: int, kernel: int, stride: int = 1):  # type: ignore[no-untyped-def]
        x = layers.Conv2D(filters, kernel, strides=stride, use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x)

    image = Input((None, None, 1), name="image")
    x = block(image, 24, 5, 2)
    x = block(x, 32, 3)
    x = block(x, 64, 3, 2)
    for _ in range(4):
        x = block(x, 64, 3)
    x = block(x, 64, 1)
    x = layers.Dropout(0.2)(x)
    logits = layers.Conv2D(1, 1, dtype="float32", name="logit")(x)
    return Model(image, logits, name="dense")


DENSE = Architecture(
    name="dense",
    build=build,
    window=45,
    stride=4,
    training_crop=81,
    learning_rate=2e-3,
    decays=True,
    epochs=8,
    patience=8,
    continuous_rotation=0.0,
    most_shift=4,
)
