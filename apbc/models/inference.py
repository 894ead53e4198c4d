"""Networks that only score: ONNX Runtime on a CPU, compiled TensorFlow on a GPU.

On two cores both need the same time a micrograph, but ONNX Runtime starts in a
fraction of a second where TensorFlow takes five, and needs a sixth of its memory.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from apbc.models.architecture import CLASSIFIERS, Architecture
from apbc.models.folder import NETWORK_FILE, Model, check_folder, join, load_model, members_of
from apbc.models.onnx_graph import IMAGE, CannotConvertError, onnx_graph
from apbc.models.sliding import sliding_config, sliding_network
from apbc.system.cores import workers

if TYPE_CHECKING:
    import keras

    from apbc.system.devices import Device

logger = logging.getLogger(__name__)

FloatImages = npt.NDArray[np.float32]

HALF = "mixed_float16"


class OnnxNetwork:
    """A network in ONNX Runtime, on the CPU.

    Parameters
    ----------
    graph : bytes
        See `onnx_graph`.
    threads : int, optional
        The cores of this process when left out.
    """

    def __init__(self, graph: bytes, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or workers()
        # Waiting threads would take the cores from what prepares the next micrograph.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: FloatImages, training: bool = False) -> FloatImages:
        """Logits ``(batch, cells, cells, members)`` of images ``(batch, rows, cols, 1)``."""
        if training:
            raise ValueError("a network of ONNX Runtime cannot be trained")
        batch, rows, columns, _ = images.shape
        given = np.ascontiguousarray(images, np.float32).reshape(batch, 1, rows, columns)
        try:
            (logits,) = self._session.run(None, {IMAGE: given})
        except _runtime_errors() as error:
            if "alloc" in str(error):
                raise MemoryError("the memory does not hold the network's layers") from error
            raise
        return np.moveaxis(logits, 1, -1)


class CompiledNetwork:
    """A Keras network with TensorFlow as one graph for tiles of any size."""

    def __init__(self, network: keras.Model) -> None:
        import tensorflow as tf

        def logits(images: Any) -> Any:
            return network(images, training=False)

        shape = tf.TensorSpec([None, None, None, 1], tf.float32)
        self._graph = tf.function(logits, input_signature=[shape], autograph=False)

    def __call__(self, images: FloatImages, training: bool = False) -> FloatImages:
        """Logits ``(batch, cells, cells, members)`` of images ``(batch, rows, cols, 1)``."""
        from tensorflow.errors import ResourceExhaustedError

        if training:
            raise ValueError("a compiled network cannot be trained")
        try:
            return np.asarray(self._graph(images).numpy(), np.float32)
        except ResourceExhaustedError as error:
            raise MemoryError("the memory does not hold the network's layers") from error


def load_for_inference(folder: Path, device: Device) -> Model:
    """Load a model folder for scoring alone, in the quickest way that the device has.

    Parameters
    ----------
    folder : Path
    device : Device
        What `apbc.system.devices.select_for_inference` chose.

    Returns
    -------
    Model
        Its network maps arrays ``(batch, rows, cols, 1)`` to logits; so does that of a
        classifier, which also has a sliding one.

    Raises
    ------
    ApbcError
        As `load_model`.
    """
    folder = Path(folder)
    if device.kind == "cpu" and _has_onnx_runtime():
        model = check_folder(folder)
        try:
            return _in_onnx_runtime(model)
        except _runtime_errors(CannotConvertError) as error:
            logger.info("ONNX Runtime cannot run %s: %s; TensorFlow does", folder, error)
    model = load_model(folder)

    import keras

    network = model.network
    sliding = sliding_network(network) if model.architecture.name in CLASSIFIERS else None
    if keras.config.dtype_policy().name == HALF and sliding is None:
        network = join(members_of(network), model.architecture, HALF)
    if keras.backend.backend() != "tensorflow":
        return replace(model, network=network, sliding=sliding)
    return replace(
        model, network=CompiledNetwork(network), sliding=sliding and CompiledNetwork(sliding)
    )


def _in_onnx_runtime(model: Model) -> Model:
    """Model with its networks in ONNX Runtime."""
    path = model.folder / NETWORK_FILE
    network, sliding = OnnxNetwork(onnx_graph(path)), None
    _check_shape(network, model.architecture, int(model.card["members"]))
    if model.architecture.name in CLASSIFIERS:
        sliding = OnnxNetwork(onnx_graph(path, sliding_config))
    return replace(model, network=network, sliding=sliding)


def _has_onnx_runtime() -> bool:
    """Whether ONNX Runtime is installed, and for this machine."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        logger.info("ONNX Runtime cannot be used (%s); TensorFlow scores", error)
        return False
    return True


def _runtime_errors(*others: type[BaseException]) -> tuple[type[BaseException], ...]:
    """Errors of ONNX Runtime for a graph or an image that it cannot take, and others."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        *others,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    )


def _check_shape(network: OnnxNetwork, architecture: Architecture, members: int) -> None:
    """Refuse a network that does not see the window or make the steps of its architecture."""
    sides = (architecture.window, architecture.window + architecture.stride)
    logits = network(np.zeros((1, *sides, 1), np.float32))
    if logits.shape != (1, 1, 2, members * architecture.outputs):
        raise CannotConvertError(f"it gives {logits.shape} for a window of {sides}")
