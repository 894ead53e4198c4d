"""A saved network as an ONNX graph, without TensorFlow."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET = 17
IR_VERSION = 8  # what goes with the opset; newer ones are refused by older runtimes
IMAGE = "image"


class CannotConvertError(ValueError):
    """The network has a layer that is not known here."""


def onnx_graph(
    path: Path, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> bytes:
    """ONNX graph of a Keras file.

    The layers that the architectures use are known: Conv2D, BatchNormalization,
    ReLU, sigmoid, MaxPooling2D, Dropout, Concatenate, and models of them.

    Parameters
    ----------
    path : Path
        ``model.keras``.
    change : callable, optional
        What is to be changed of the layers' settings, such as
        `apbc.models.sliding.sliding_config`; their weights stay.

    Returns
    -------
    bytes
        Images ``(batch, 1, rows, cols)`` to logits ``(batch, members, cells, cells)``.

    Raises
    ------
    CannotConvertError
        If a layer, or what is set of it, is not known.
    """
    from onnx import TensorProto, helper

    graph = _Graph()
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
            stored = io.BytesIO(archive.read("model.weights.h5"))
        if change is not None:
            config = change(config)
        with h5py.File(stored, "r") as weights:
            logits = graph.add_model(config, weights["layers"], IMAGE)
    except (KeyError, IndexError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise CannotConvertError(f"an unknown layout ({error})") from error
    kind = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "apbc",
            [helper.make_tensor_value_info(IMAGE, kind, ["batch", 1, "rows", "columns"])],
            [helper.make_tensor_value_info(logits, kind, ["batch", "members", "down", "across"])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add_model(self, config: dict[str, Any], weights: h5py.Group, image: str) -> str:
        """Add a functional model's layers and return the name of its result."""
        results: dict[str, str] = {}
        seen: Counter[str] = Counter()
        for layer in config["layers"]:
            kind, settings = layer["class_name"], layer["config"]
            # Keras numbers the groups of layers by their class
            group = _GROUPS.get(kind, "")
            place = f"{group}_{seen[group]}" if seen[group] else group
            seen[group] += 1
            inputs = [results[name] for name in _histories(layer["inbound_nodes"])]
            if kind == "InputLayer":
                result = image
            elif kind == "Functional":
                result = self.add_model(settings, weights[place]["layers"], *inputs)
            elif kind == "Dropout":
                (result,) = inputs
            else:
                stored = weights[place]["vars"] if group else {}
                values = [np.asarray(stored[str(i)]) for i in range(len(stored))]
                result = self.add_layer(kind, settings, values, inputs)
            results[layer["name"]] = result
        output = config["output_layers"]
        return results[output[0] if isinstance(output[0], str) else output[0][0]]

    def add_layer(
        self, kind: str, settings: dict[str, Any], values: list[np.ndarray], inputs: list[str]
    ) -> str:
        """Add a layer and return the name of its result."""
        channels_last = settings.get("data_format", "channels_last") == "channels_last"
        if kind == "Conv2D" and settings["activation"] == "linear" and channels_last:
            # rows, columns, in, out -> out, in, rows, columns
            values = [values[0].transpose(3, 2, 0, 1), *values[1:]]
            return self.node(
                "Conv",
                inputs,
                values,
                auto_pad=_padding(settings),
                strides=settings["strides"],
                dilations=settings["dilation_rate"],
                group=settings["groups"],
            )
        if kind == "BatchNormalization" and settings["axis"] in (-1, 3) and len(values) == 4:
            return self.node(
                "BatchNormalization", inputs, values, epsilon=float(settings["epsilon"])
            )
        if (
            kind == "ReLU"
            and settings["max_value"] is None
            and not (settings["negative_slope"] or settings["threshold"])
        ):
            return self.node("Relu", inputs)
        if kind == "Activation" and settings["activation"] == "sigmoid":
            return self.node("Sigmoid", inputs)
        if kind == "MaxPooling2D" and channels_last:
            return self.node(
                "MaxPool",
                inputs,
                auto_pad=_padding(settings),
                kernel_shape=settings["pool_size"],
                strides=settings["strides"],
            )
        if kind == "Concatenate" and settings["axis"] in (-1, 3):
            return self.node("Concat", inputs, axis=1)
        raise CannotConvertError(f"the layer {settings.get('name')} ({kind})")

    def node(
        self, operator: str, inputs: list[str], values: list[np.ndarray] | None = None, **how: Any
    ) -> str:
        """Add an operator with its weights and return the name of its result."""
        from onnx import helper, numpy_helper

        result = f"{operator.lower()}_{len(self.nodes)}"
        names = [f"{result}_weights_{i}" for i in range(len(values or []))]
        for name, value in zip(names, values or [], strict=True):
            array = np.ascontiguousarray(value, np.float32)
            self.constants.append(numpy_helper.from_array(array, name))
        self.nodes.append(helper.make_node(operator, [*inputs, *names], [result], **how))
        return result


_GROUPS = {
    "Conv2D": "conv2d",
    "BatchNormalization": "batch_normalization",
    "Functional": "functional",
}


def _padding(settings: dict[str, Any]) -> str:
    return {"valid": "VALID", "same": "SAME_UPPER"}[settings["padding"]]


def _histories(value: Any) -> list[str]:
    """Names of the layers whose results a layer takes, in their order."""
    if isinstance(value, dict):
        if "keras_history" in value:
            return [value["keras_history"][0]]
        return _histories(list(value.values()))
    if isinstance(value, list):
        return [name for one in value for name in _histories(one)]
    return []
