"""A classifier of one window as a network that gives the logits of windows at every step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

STEP = 16
"""Pixels from one window to the next."""
MARGIN = 64
"""Pixels that the layers see on each side of a window, where a window alone is padded."""


def sliding_config(config: dict[str, Any]) -> dict[str, Any]:
    """Change the settings of a chain of layers so that it scores windows every 16 pixels.

    A layer that would make the steps longer than that makes none, and the convolutions after
    it are dilated by as much, which gives the results of all shifted copies at once. The
    convolutions are not padded, so that tiles fit together: the network sees 64 pixels more
    on every side of a window.

    Parameters
    ----------
    config : dict
        Of a Keras model, as ``config.json`` of its file has it.

    Returns
    -------
    dict
        The weights of the layers stay as they are.
    """
    changed = copy.deepcopy(config)
    step = dilation = 1
    for layer in _layers_of(changed):
        settings = layer["config"]
        if layer["class_name"] == "Conv2D":
            settings["padding"] = "valid"
            settings["dilation_rate"] = [dilation, dilation]
        if "strides" in settings:
            own = _side(settings["strides"])
            if step * own > STEP:
                settings["strides"] = [1, 1]
                dilation *= own
            else:
                step *= own
    return changed


def _layers_of(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Layers of a model, and those of models in it, in their order."""
    for layer in config["layers"]:
        if "layers" in layer["config"]:
            yield from _layers_of(layer["config"])
        else:
            yield layer


def sliding_network(network: keras.Model) -> keras.Model:
    """Keras network of `sliding_config` with the weights of another.

    Parameters
    ----------
    network : keras.Model

    Returns
    -------
    keras.Model
        Images ``(batch, rows, cols, 1)`` to logits ``(batch, cells, cells, classes)``.
    """
    from keras import Model

    sliding = Model.from_config(sliding_config(network.get_config()))
    sliding.set_weights(network.get_weights())
    return sliding


def _side(value: Any) -> int:
    """Side of a stride that is given as a number or for rows and columns alike."""
    return int(value[0] if isinstance(value, (list, tuple)) else value)
