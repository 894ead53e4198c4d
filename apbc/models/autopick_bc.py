"""The network of Autopick-BC, laid out so that it also scores whole micrographs.

Source: https://github.com/joelmeyerson/autopick-bc (``gen_model.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apbc.models.architecture import Architecture

if TYPE_CHECKING:
    import keras

WINDOW = 64


def build() -> keras.Model:
    """Make the published network.

    Three convolutions of 32, 64 and 128 filters with 2 x 2 kernels, each with
    batch normalisation, ReLU and 2 x 2 max pooling, then 32 hidden units, dropout
    0.25 and one sigmoid unit. The hidden layer is written as a 7 x 7 convolution,
    which on a 64 x 64 image is the same function with the same weights and on a
    larger one gives a logit every 8 pixels. The sigmoid is applied by the loss and
    by the calibration.

    Returns
    -------
    keras.Model
        Images ``(batch, rows, cols, 1)`` to logits ``(batch, cells, cells, 1)``.
    """
    from keras import Input, Model, layers

    image = Input((None, None, 1), name="image")
    x = image
    for filters, padding in ((32, "same"), (64, "valid"), (128, "valid")):
        x = layers.Conv2D(filters, 2, padding=padding)(x)
        # Keras' slower default lags behind for the first epochs, and validation stops them
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(32, 7)(x)
    x = layers.ReLU()(x)
    x = layers.Dropout(0.25)(x)
    logits = layers.Conv2D(1, 1, dtype="float32", name="logit")(x)
    return Model(image, logits, name="autopick_bc")


AUTOPICK_BC = Architecture(
    name="autopick-bc",
    build=build,
    window=WINDOW,
    stride=8,
    training_crop=WINDOW,
    learning_rate=5e-5,
    decays=False,
    epochs=50,
    patience=2,
    continuous_rotation=0.2,
    most_shift=0,
)
