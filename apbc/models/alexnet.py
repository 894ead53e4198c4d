"""The classifier of DeepCryoPicker: a network of AlexNet's shape, laid out to score micrographs.

Sources: Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7
(the 13 layers and their sizes); Krizhevsky et al. 2012 (AlexNet). What the paper does not
tell, or tells so that it cannot be trained, is a setting with a default here: fully
connected layers of 512 units rather than 4096, ReLU rather than a sigmoid, random starts of
He et al. 2015 (of Glorot and Bengio 2010 with sigmoids) rather than weights from 0 to 1.

The card of a model, beside what every card has:

==============  =================================================================
``classes``     names of the classes in the order of the logits; those of
                `PARTICLE_CLASSES` are particles, all others are none
``box``         side in Å of what the window of 227 pixels sees
``patch``       227
``fc_units``    units of the two fully connected layers
``activation``  ``relu`` or ``sigmoid``
``dropout``     share of units left out in training
``detection``   how a micrograph is prepared: ``diameter`` (Å), ``contrast``
                (``dark`` or ``light`` protein), ``opening`` (as for
                `apbc.bootstrap.stages.prepare`), ``pixel_size`` (Å of a pixel at
                the detection scale of the training), ``stage`` (``opened``)
``members``     1
``threshold``   0.5: a place is a particle from this probability on
==============  =================================================================

Logits become probabilities by a softmax over the classes (`probabilities`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.models.architecture import Architecture

if TYPE_CHECKING:
    import keras

NAME = "alexnet"
PATCH = 227
STRIDE = 32
FC_UNITS = 512
PAPER_FC_UNITS = 4096
MOST_FC_UNITS = 8192
MOST_CLASSES = 16
ACTIVATIONS = ("relu", "sigmoid")
DROPOUT = 0.5
PARTICLE_CLASSES = ("top", "side", "irregular")
BACKGROUND, NEGATIVE = "background", "negative"
THRESHOLD = 0.5
CARD_KEYS = ("classes", "box", "patch", "fc_units", "activation", "detection")


def build(
    classes: int = 4, fc_units: int = FC_UNITS, activation: str = "relu", dropout: float = DROPOUT
) -> keras.Model:
    """Make the network.

    The fully connected layers are written as convolutions of 6 x 6 and of 1 x 1 pixels:
    on a patch of 227 pixels these are the same functions with the same weights, and on a
    larger image they give the logits of a window every 32 pixels. The three last
    convolutions and the second are padded, so that windows of an image see their
    surroundings where a patch sees zeros.

    Parameters
    ----------
    classes : int, optional
    fc_units : int, optional
        Units of each fully connected layer; 4096 in the paper.
    activation : {"relu", "sigmoid"}, optional
        The paper's is the sigmoid.
    dropout : float, optional
        Share of the units of both fully connected layers left out in training.

    Returns
    -------
    keras.Model
        Images ``(batch, rows, columns, 1)``, values from 0 to 1, to logits
        ``(batch, cells, cells, classes)``: one cell for 227 pixels, and one more for
        every 32 more. With 4 classes and 4096 units 58,274,500 parameters.

    Raises
    ------
    ValueError
        If `activation` is none of the two.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    from keras import Input, Model, layers

    start = "he_normal" if activation == "relu" else "glorot_uniform"

    def layer(x, filters: int, kernel: int, stride: int = 1, padding: str = "same"):  # type: ignore[no-untyped-def]
        x = layers.Conv2D(
            filters, kernel, strides=stride, padding=padding, kernel_initializer=start
        )(x)
        return layers.ReLU()(x) if activation == "relu" else layers.Activation("sigmoid")(x)

    def pool(x):  # type: ignore[no-untyped-def]
        return layers.MaxPooling2D(3, strides=2)(x)

    image = Input((None, None, 1), name="image")
    x = pool(layer(image, 96, 11, 4, "valid"))
    x = pool(layer(x, 256, 5))
    x = layer(x, 384, 3)
    x = layer(x, 384, 3)
    x = pool(layer(x, 256, 3))
    x = layers.Dropout(dropout)(layer(x, fc_units, 6, padding="valid"))
    x = layers.Dropout(dropout)(layer(x, fc_units, 1))
    logits = layers.Conv2D(
        classes, 1, kernel_initializer="glorot_uniform", dtype="float32", name="logit"
    )(x)
    return Model(image, logits, name=NAME)


def alexnet(
    classes: int = 4, fc_units: int = FC_UNITS, activation: str = "relu", dropout: float = DROPOUT
) -> Architecture:
    """Architecture of some settings; see `build`."""
    return Architecture(
        name=NAME,
        build=partial(build, classes, fc_units, activation, dropout),
        window=PATCH,
        stride=STRIDE,
        training_crop=PATCH,
        learning_rate=1e-4,
        decays=False,
        epochs=30,
        patience=5,
        continuous_rotation=0.0,
        most_shift=0,
        outputs=classes,
    )


def alexnet_of(card: Mapping[str, Any], where: str) -> Architecture:
    """Architecture of a model's card.

    Parameters
    ----------
    card : mapping
    where : str
        Path of the card, for the sentence.

    Raises
    ------
    ApbcError
        If the card lacks what this network needs, or tells of one that cannot be.
    """
    missing = [key for key in CARD_KEYS if key not in card]
    if missing:
        raise ApbcError(f"{where} lacks {', '.join(missing)}; copy the model again")
    classes, units, dropout = card["classes"], card["fc_units"], card.get("dropout", DROPOUT)
    sensible = (
        isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and 2 <= len(set(classes)) == len(classes) <= MOST_CLASSES
        and any(name in PARTICLE_CLASSES for name in classes)
        and isinstance(units, int)
        and 1 <= units <= MOST_FC_UNITS
        and isinstance(dropout, (int, float))
        and 0 <= dropout < 1
        and card["activation"] in ACTIVATIONS
        and card["patch"] == PATCH
        and isinstance(card["box"], (int, float))
        and 0 < card["box"] < float("inf")
        and card["members"] == 1
    )
    if not sensible:
        raise ApbcError(f"{where} describes an {NAME} that cannot be; copy the model again")
    return alexnet(len(classes), units, card["activation"], dropout)


def probabilities(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Softmax over the last axis, the classes; same shape."""
    shifted = np.asarray(logits, float)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def particle_columns(classes: list[str]) -> list[int]:
    """Positions of the classes that are particles."""
    return [i for i, name in enumerate(classes) if name in PARTICLE_CLASSES]
