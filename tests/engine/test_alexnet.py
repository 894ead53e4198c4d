"""The classifier of shapes: its network, its training, and its model folder."""

import csv
import json
import shutil

import h5py
import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras
from patch_data import make_patches
from scipy import ndimage

from apbc.dataset.store import Dataset
from apbc.errors import ApbcError
from apbc.models.alexnet import alexnet, build, probabilities
from apbc.models.architecture import architecture
from apbc.models.folder import load_model, members_of
from apbc.models.inference import OnnxNetwork
from apbc.models.onnx_graph import onnx_graph
from apbc.system.devices import Device
from apbc.training.classifier import (
    ClassifierOptions,
    class_figures,
    slowings,
    train_classifier,
)
from apbc.training.fit import SCORER, Checkpoint
from apbc.training.patch_samples import PatchSamples, kernels, smoothed
from conftest import run_apbc

CPU = Device("cpu", "cpu")
TINY = ClassifierOptions(epochs=2, fc_units=8, batch_size=10)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Data set with 8 patches of each of three classes."""
    return make_patches(tmp_path_factory.mktemp("alexnet") / "data", samples=8)[0]


@pytest.fixture(scope="module")
def model(data):
    """Model that was trained for one epoch by the command."""
    out = data.parent / "model"
    run_apbc(
        ["train", data, "--out", out, "--architecture", "alexnet", "--fc-units", 8]
        + ["--batch-size", 10, "--epochs", 1, "--gpu", ""]
    )
    return out


def test_the_network_of_the_paper_has_its_parameters():
    network = build(classes=4, fc_units=4096)
    layers = [layer.count_params() for layer in network.layers if layer.count_params()]
    convolutions = [11_712, 614_656, 885_120, 1_327_488, 884_992]
    assert layers == [*convolutions, 37_752_832, 16_781_312, 16_388]
    assert network.count_params() == sum(layers) == 58_274_500


def test_a_patch_gives_one_cell_and_more_pixels_more():
    arch = alexnet(classes=3, fc_units=2)
    network = arch.build()
    for side, cells in ((227, 1), (258, 1), (259, 2)):
        logits = network(np.zeros((1, side, 227, 1), np.float32))
        assert logits.shape == (1, cells, 1, 3) and arch.cells(side) == cells
    assert architecture("alexnet").outputs == 4


def test_probabilities_are_a_softmax():
    values = probabilities(np.array([[0.0, np.log(3)], [1000.0, 0.0]], np.float32))
    np.testing.assert_allclose(values, [[0.25, 0.75], [1, 0]], atol=1e-6)


def test_the_model_folder_and_its_card(data, model):
    loaded = load_model(model)
    card = loaded.card
    with Dataset(data) as dataset:
        patches = dataset.patches
        assert card["data_hash"] == patches.data_hash
        assert card["training_micrographs"] == dataset.micrograph_names
    assert card["classes"] == ["top", "side", "background"] and card["box"] == patches.box
    assert (card["patch"], card["fc_units"], card["activation"]) == (227, 8, "relu")
    assert (card["members"], card["threshold"], card["refitted"]) == (1, 0.5, False)
    assert card["detection"] == {
        "diameter": 80.0,
        "contrast": "dark",
        "opening": "cross",
        "pixel_size": 2.0,
        "stage": "opened",
    }
    for part, of_a_class in (("train", 5), ("validation", 1), ("test", 2)):
        row = card["classifier"][part]
        assert np.sum(row["confusion"], axis=1).tolist() == [of_a_class] * 3
        assert row["accuracy"] == np.trace(row["confusion"]) / (3 * of_a_class)
        two = card["metrics"][part]
        assert two["tp"] + two["fn"] == 2 * of_a_class and two["tn"] + two["fp"] == of_a_class
    assert loaded.architecture.outputs == 3
    assert not model.with_name("model.partial").exists()


def test_onnx_gives_the_logits_of_keras(model):
    loaded = load_model(model)
    image = np.random.default_rng(0).random((1, 259, 227, 1)).astype(np.float32)
    keras_logits = np.asarray(loaded.network(image))
    onnx_logits = OnnxNetwork(onnx_graph(model / "model.keras"))(image)
    assert keras_logits.shape == (1, 2, 1, 3) and keras_logits.std() > 0
    np.testing.assert_allclose(onnx_logits, keras_logits, rtol=1e-3, atol=1e-4)


def test_the_report_tells_the_classes(model):
    page = (model / "report.html").read_text()
    assert "called background" in page and "data:image/png" in page
    crops = json.loads((model / "crops.json").read_text())
    with np.load(model / "crops.npz", allow_pickle=False) as file:
        assert len(file["pixels"]) == len(crops["crops"]) == 6
    assert {crop["class"] for crop in crops["crops"]} == {"top", "side", "background"}
    assert all(
        (crop["label"] == "bad") == (crop["class"] == "background") for crop in crops["crops"]
    )
    fits = json.loads((model / "report.json").read_text())["fits"]
    assert [fit["name"] for fit in fits] == ["split_1"] and len(fits[0]["history"]) == 1


class Killed(Exception):
    """Stands for the power cut."""


def history(folder):
    with (folder / "history.csv").open() as handle:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]


@pytest.fixture
def dies(monkeypatch):
    """Cut off a training once its first epoch is written."""
    report = Checkpoint._report

    def die(self, figures):
        report(self, figures)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "_report", die)
        yield patch


def test_a_killed_training_goes_on_and_a_seed_repeats_it(data, model, tmp_path, dies):
    with Dataset(data) as dataset:
        with pytest.raises(Killed):
            train_classifier(dataset, tmp_path / "model", TINY, CPU)
        assert not (tmp_path / "model").exists()
        epochs = []
        dies.setattr(Checkpoint, "_report", lambda self, _: epochs.append(self.epoch))
        train_classifier(dataset, tmp_path / "model", TINY, CPU)
    assert epochs == [2]
    assert not (tmp_path / "model.partial").exists()
    first, second = history(tmp_path / "model")
    assert second["epoch"] == 2
    assert first == pytest.approx(history(model)[0], rel=0.01)  # nothing but the seed is shared


def test_going_on_from_a_model(data, model, tmp_path, dies):
    with Dataset(data) as dataset:
        with pytest.raises(Killed):
            train_classifier(dataset, tmp_path / "more", ClassifierOptions(), CPU, model)
        with pytest.raises(ApbcError, match=r"fc_units of .* is 8"):
            train_classifier(dataset, tmp_path / "x", ClassifierOptions(fc_units=16), CPU, model)
    last = keras.models.load_model(tmp_path / "more.partial" / "split_1" / "last_1.keras")
    begun = members_of(load_model(model).network)[0].get_weights()
    moved = [
        np.abs(one - other).max()
        for one, other in zip(last.get_layer(SCORER).get_weights(), begun, strict=True)
    ]
    assert 0 < max(moved) < 1e-4  # a step of a fifth of 0.0001, from their places


def test_a_data_set_without_patches_is_refused(data, tmp_path, capsys):
    bare = tmp_path / "bare.h5"
    shutil.copy(data, bare)
    with h5py.File(bare, "r+") as file:
        del file["patches"]
    run_apbc(
        ["train", bare, "--out", tmp_path / "m", "--architecture", "alexnet", "--gpu", ""], expect=1
    )
    assert "make the data set with apbc bootstrap" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [bare]


@pytest.mark.parametrize(
    ("verb", "architecture", "option"),
    [
        ("train", "alexnet", ["--ensemble", 2]),
        ("train", "alexnet", ["--precision", 0.9]),
        ("train", "alexnet", ["--no-refit"]),
        ("train", "dense", ["--fc-units", 16]),
        ("train", "autopick-bc", ["--paper"]),
        ("train", "alexnet", ["--fc-units", 0]),
        ("search", "alexnet", ["--trials", 1]),
    ],
)
def test_options_that_do_not_go_together(verb, architecture, option, data, tmp_path, capsys):
    run_apbc(
        [verb, data, "--out", tmp_path / "m", "--architecture", architecture, *option], expect=1
    )
    named = "search" if verb == "search" else option[0]
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fc_units", 10**6),
        ("fc_units", 16),
        ("classes", ["top", "background"]),
        ("classes", ["ice", "carbon", "background"]),
        ("activation", "exec"),
        ("box", None),
        ("members", 2),
        ("detection", KeyError),
    ],
)
def test_a_card_that_was_changed_is_refused(key, value, model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    card = json.loads((copy / "card.json").read_text())
    if value is KeyError:
        del card[key]
    else:
        card[key] = value
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(ApbcError, match="copy the model again"):
        load_model(copy)


def test_training_samples_vary_by_seed_and_epoch_alone(data):
    with Dataset(data) as dataset:
        patches = dataset.patches
        drawn = patches.drawn(0)
        first, same, other = (PatchSamples(patches, drawn, 10, s, augment=True) for s in (1, 1, 2))
        windows, _ = first[0]
        assert windows.shape == (10, patches.side, patches.side) and windows.dtype == np.float32
        np.testing.assert_array_equal(windows, same[0][0])
        assert not np.array_equal(windows, other[0][0])
        same.on_epoch_end()
        assert not np.array_equal(windows, same[0][0])
        same.start_at(0)
        np.testing.assert_array_equal(windows, same[0][0])
        every = np.concatenate([first[i][1] for i in range(len(first))])
        assert np.bincount(every).tolist() == [5, 5, 5]
        still = PatchSamples(patches, drawn, 10, 1, augment=False)
        kept = patches.stored(patches.draws.row[drawn[:1]], np.array([3]))[0]
        inner = slice(patches.margin, -patches.margin)
        turned = np.rot90(kept[inner, inner], patches.draws.turn[drawn[0]])
        np.testing.assert_array_equal(still[0][0][0], turned.astype(np.float32))


def test_smoothing_is_that_of_a_gaussian():
    rng = np.random.default_rng(0)
    kernel = kernels(400, rng)
    assert kernel.shape == (400, 5)
    np.testing.assert_allclose(kernel.sum(axis=1), 1, rtol=1e-5)
    untouched = (kernel == [0, 0, 1, 0, 0]).all(axis=1)
    narrow = (kernel[:, 0] == 0) & ~untouched
    assert 0.4 < untouched.mean() < 0.65 and 0.1 < narrow.mean() < 0.4
    image = rng.random((2, 30, 20)).astype(np.float32)
    taps = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    weight = np.float32([taps / taps.sum(), [0, 0, 1, 0, 0]])
    out = smoothed(image, weight)
    wanted = ndimage.correlate(image[0], np.outer(weight[0], weight[0]), mode="mirror")
    np.testing.assert_allclose(out[0], wanted, rtol=1e-5)
    np.testing.assert_array_equal(out[1], image[1])


def test_the_learning_rate_falls_where_the_loss_does_not():
    assert slowings([3, 2, 1]) == 0
    assert slowings([1, 2, 3]) == 1
    assert slowings([3, 2, 2.5, 1, 1.5, 1.2, 1.1, 1.3]) == 2


def test_figures_over_the_classes_by_hand():
    values = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]])
    told = class_figures(values, np.array([0, 0, 1, 1]), ["top", "side", "background"])
    assert told["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert told["accuracy"] == 0.5 and told["samples"] == 4
    assert told["precision"] == {"top": 1.0, "side": 0.5, "background": 0.0}
    assert told["recall"] == {"top": 0.5, "side": 0.5, "background": None}
    nothing = class_figures(np.empty((0, 2)), np.empty(0, np.int64), ["top", "background"])
    assert nothing["accuracy"] is None and nothing["recall"]["top"] is None


def test_the_settings_of_the_paper():
    paper = ClassifierOptions.as_in_the_paper(seed=3)
    assert (paper.fc_units, paper.activation, paper.learning_rate) == (4096, "sigmoid", 1e-4)
    assert paper.plain_descent and paper.dropout == 0 and paper.seed == 3
    assert ClassifierOptions.as_in_the_paper(fc_units=16).fc_units == 16
    kernel = build(2, 2, "sigmoid").layers[1].kernel
    limit = np.sqrt(6 / (121 + 121 * 96))  # Glorot's uniform
    assert 0.9 * limit < np.abs(kernel).max() <= limit
    with pytest.raises(ValueError, match="relu, sigmoid"):
        build(2, 2, "tanh")
