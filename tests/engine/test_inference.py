import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras

from apbc.models.architecture import ARCHITECTURES, architecture
from apbc.models.folder import join, load_model, members_of, save_network
from apbc.models.inference import HALF, CompiledNetwork, OnnxNetwork, load_for_inference
from apbc.models.onnx_graph import CannotConvertError, onnx_graph
from apbc.system.devices import (
    Device,
    has_bfloat16_units,
    precision_for,
    select_for_inference,
)

CPU = Device("cpu", "cpu")


def ensemble(name, members):
    """Untrained networks with statistics of batch normalisation that do something."""
    keras.utils.set_random_seed(3)
    arch = architecture(name)
    rng = np.random.default_rng(0)
    built = [arch.build() for _ in range(members)]
    for network in built:
        network.set_weights(
            [w + rng.uniform(0, 0.5, w.shape) * (w.ndim == 1) for w in network.get_weights()]
        )
    return arch, join(built, arch)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_way_of_inference_gives_the_same_logits(name, members, tmp_path):
    arch, network = ensemble(name, members)
    save_network(network, tmp_path / "model.keras")
    sides = (arch.window + 5 * arch.stride, arch.window + 7 * arch.stride + 1)
    images = np.random.default_rng(1).normal(size=(2, *sides, 1)).astype(np.float32)
    expected = np.asarray(network(images, training=False))
    assert expected.shape == (2, 6, 8, members)
    for fast in (OnnxNetwork(onnx_graph(tmp_path / "model.keras"), 1), CompiledNetwork(network)):
        np.testing.assert_allclose(fast(images), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="trained"):
        fast(images, training=True)


def test_a_network_of_unknown_layers_is_not_converted(tmp_path):
    image = keras.Input((None, None, 1), name="image")
    keras.Model(image, keras.layers.Conv2D(1, 3, activation="elu")(image)).save(
        tmp_path / "model.keras"
    )
    with pytest.raises(CannotConvertError, match="Conv2D"):
        onnx_graph(tmp_path / "model.keras")
    (tmp_path / "model.keras").write_bytes(b"no archive")
    with pytest.raises(CannotConvertError, match="layout"):
        onnx_graph(tmp_path / "model.keras")


def test_tensorflow_takes_what_onnx_runtime_cannot(demo_model, tmp_path, monkeypatch):
    from apbc.models import inference

    def refuse(path):
        raise CannotConvertError("a layer")

    images = np.random.default_rng(0).normal(size=(1, 90, 90, 1)).astype(np.float32)
    fast = load_for_inference(demo_model, CPU)
    assert isinstance(fast.network, OnnxNetwork)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)  # as where its import fails
        assert isinstance(load_for_inference(demo_model, CPU).network, CompiledNetwork)
    monkeypatch.setattr(inference, "onnx_graph", refuse)
    slow = load_for_inference(demo_model, CPU)
    assert isinstance(slow.network, CompiledNetwork)
    np.testing.assert_allclose(fast.network(images), slow.network(images), atol=1e-4)
    assert fast.card == load_model(demo_model).card == slow.card


@pytest.mark.parametrize(
    ("wanted", "capabilities", "precision"),
    [
        (True, [(8, 0), (7, 0)], HALF),
        (True, [(8, 0), (6, 1)], "float32"),
        (True, [], "float32"),
        (False, [(9, 0)], "float32"),
    ],
)
def test_half_precision_where_every_gpu_has_the_units(wanted, capabilities, precision):
    assert precision_for(wanted, capabilities) == precision


def test_bfloat16_on_a_processor_that_has_the_units(tmp_path):
    description = tmp_path / "cpuinfo"
    description.write_text("processor : 0\nflags\t\t: fpu avx512_bf16 sse\nbugs : none\n")
    assert has_bfloat16_units(description)
    assert precision_for(True, [], has_bfloat16_units(description)) == "mixed_bfloat16"
    assert precision_for(False, [], True) == "float32"
    assert precision_for(True, [(6, 1)], True) == "float32"
    description.write_text("flags : fpu avx512f avx512_bf16_other\n")
    assert not has_bfloat16_units(description)
    assert not has_bfloat16_units(tmp_path / "none")


def test_half_precision_gives_nearly_the_same_logits():
    arch, network = ensemble("dense", 2)
    half = join(members_of(network), arch, HALF)
    assert members_of(half)[0].layers[1].compute_dtype == "float16"
    images = np.random.default_rng(1).normal(size=(1, 90, 90, 1)).astype(np.float32)
    exact = np.asarray(network(images, training=False))
    np.testing.assert_allclose(CompiledNetwork(half)(images), exact, rtol=0.02, atol=0.02)


def test_inference_on_a_cpu_does_not_import_tensorflow(demo_model):
    code = (
        "import sys; from pathlib import Path\n"
        "from apbc.models.inference import load_for_inference\n"
        "from apbc.system.devices import select_for_inference\n"
        "load_for_inference(Path(sys.argv[1]), select_for_inference(''))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, demo_model]).returncode == 0


def test_the_cpu_is_chosen_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert select_for_inference("") == CPU
