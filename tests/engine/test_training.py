import csv
import json

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras

from apbc.dataset.labels import GOOD
from apbc.dataset.store import Dataset
from apbc.dataset.views import quotas
from apbc.errors import ApbcError
from apbc.models.architecture import ARCHITECTURES, architecture
from apbc.models.folder import join, load_model, members_of
from apbc.system.devices import Device
from apbc.training import metrics
from apbc.training.augment import Augment, placements
from apbc.training.fit import Checkpoint
from apbc.training.losses import LOSSES
from apbc.training.samples import Neighbours, Samples, targets
from apbc.training.train import TrainingOptions, train
from conftest import run_apbc

CPU = Device("cpu", "cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_crop_and_its_place_in_an_image_give_the_same_logit(name):
    arch = architecture(name)
    network = arch.build()
    rng = np.random.default_rng(0)
    side = arch.window + 3 * arch.stride
    image = rng.normal(size=(1, side, side, 1)).astype(np.float32)
    whole = np.asarray(network(image, training=False))[0, ..., 0]
    assert whole.shape == (4, 4) == (arch.cells(side),) * 2
    window = image[:, 2 * arch.stride :][:, : arch.window, arch.stride :][:, :, : arch.window]
    one = np.asarray(network(window, training=False))[0, ..., 0]
    assert one.shape == (1, 1)
    if name == "dense":  # the published network pads its first layer by one pixel
        np.testing.assert_allclose(one[0, 0], whole[2, 1], rtol=1e-4, atol=1e-5)


def test_the_published_network_has_the_published_size():
    convolutions = 32 * (4 + 1) + 64 * (32 * 4 + 1) + 128 * (64 * 4 + 1)
    normalisation = 4 * (32 + 64 + 128)
    hidden_and_output = (7 * 7 * 128 + 1) * 32 + (32 + 1)
    expected = convolutions + normalisation + hidden_and_output
    assert architecture("autopick-bc").build().count_params() == expected


def test_unknown_architectures_are_refused():
    with pytest.raises(ApbcError, match="dense, autopick-bc"):
        architecture("resnet")


FAR = np.full((1, 1, 2), 1e6)
GRID = np.stack(np.meshgrid(np.arange(-40, 41, 4.0), np.arange(-40, 41, 4.0)), -1).reshape(1, -1, 2)


def test_targets_mark_hits_rings_and_bad_labels():
    here = np.zeros((1, 1, 2))
    target, known, unlabelled = targets(Neighbours(good=here, bad=FAR), GRID, diameter=28)
    distance = np.hypot(*GRID.T).T / 28
    assert (target == (distance <= 0.15)).all()
    silent = (distance > 0.15) & (distance <= 0.25)
    assert not known[silent].any() and not unlabelled[silent].any()
    ring = (distance > 0.25) & (distance < 0.6)
    assert (known[ring] > unlabelled[distance > 0.65].max()).all()
    assert not known[distance > 0.65].any() and unlabelled[distance > 0.65].all()
    target, known, unlabelled = targets(Neighbours(good=FAR, bad=here), GRID, diameter=28)
    assert not target.any()
    assert known[distance <= 0.25].min() == known.max() > unlabelled.max()


def test_samples_are_balanced_and_repeatable(demo_dataset):
    arch = architecture("dense")
    with Dataset(demo_dataset) as dataset:
        positions = dataset.crops_of(0, (1, 0, -1))
        samples = Samples(dataset, positions, arch, 32, seed=3, augment=True)
        (crops, placement, levels), truth = samples[0]
        assert crops.shape == (32, dataset.crop_size, dataset.crop_size)
        assert placement.shape == (32, 2, 3) and levels.shape == (32, 2)
        assert truth.shape == (32, 10, 10, 3)
        positive = negative = 0.0
        for i in range(20):
            target, known, unlabelled = np.moveaxis(samples[i][1], -1, 0)
            positive += float((known * target).sum())
            negative += float((known * (1 - target) + unlabelled).sum())
        assert 0.8 < positive / negative < 1.25
        samples.on_epoch_end()
        assert not np.array_equal(samples[0][1], truth)
        samples.start_at(0)
        again = samples[0]
        np.testing.assert_array_equal(again[1], truth)
        for mine, first in zip(again[0], (crops, placement, levels), strict=True):
            np.testing.assert_array_equal(mine, first)


def test_augmented_targets_follow_their_crops(demo_dataset):
    """A crop with a dark spot on the label has its target on the spot however it is turned."""
    arch = architecture("dense")
    with Dataset(demo_dataset) as dataset:
        positions = dataset.crops_of(None, (GOOD,))[:32]
        samples = Samples(dataset, positions, arch, 32, seed=0, augment=True)
        samples._neighbours = Neighbours(np.zeros((32, 1, 2)), np.full((32, 1, 2), 1e6))
        spots = np.zeros((32, dataset.crop_size, dataset.crop_size), np.float16)
        spots[:, dataset.crop_size // 2, dataset.crop_size // 2] = -100
        (_, placement, levels), truth = samples[0]
        images = np.asarray(Augment(arch.training_crop)((spots, placement, levels)))[..., 0]
        assert len(np.unique(placement[:, :, :2], axis=0)) == 8
        for image, target in zip(images, truth[..., 0], strict=True):
            row, col = np.unravel_index(image.argmin(), image.shape)
            hits = np.argwhere(target > 0) * arch.stride + arch.first_cell
            assert len(hits) > 0
            assert np.abs(hits.mean(axis=0) - (row, col)).max() <= arch.stride / 2 + 0.5


@pytest.mark.parametrize(("stored", "side"), [(92, 81), (92, 64), (91, 64)])
def test_augmented_crops_are_turned_as_arrays_are(stored, side):
    crops = np.random.default_rng(0).normal(size=(3, stored, stored)).astype(np.float16)
    shifts = np.array([[0.0, 0.0], [2.0, -3.0], [0.0, 0.0]])
    place = placements(np.array([0, 0, 0.25]), np.zeros(3, bool), shifts, stored, side)
    levels = np.array([[1, 0], [1, 0], [2, 0.5]], np.float32)
    images = np.asarray(Augment(side)((crops, place, levels)))[..., 0]
    first = stored // 2 - side // 2
    whole = crops.astype(np.float32)
    np.testing.assert_allclose(images[0], whole[0, first : first + side, first : first + side])
    np.testing.assert_allclose(
        images[1], whole[1, first - 3 : first - 3 + side, first + 2 : first + 2 + side]
    )
    turned = np.rot90(whole[2, first : first + side, first : first + side])
    np.testing.assert_allclose(images[2], turned * 2 + 0.5, rtol=1e-6)


def test_rare_views_are_drawn_as_often_as_their_quota_says(demo_dataset):
    arch = architecture("dense")
    with Dataset(demo_dataset) as dataset:
        positions = dataset.crops_of(None, (GOOD,))
        view = np.ones(len(dataset.kind), np.int32)
        rare = dataset.crop_rows[positions[: len(positions) // 8]]
        view[rare] = 2
        dataset.view = view
        shares = []
        for balanced in (False, True):
            samples = Samples(
                dataset, positions, arch, 32, seed=0, augment=True, balance_views=balanced
            )
            drawn = dataset.crop_rows[positions[samples._order]]
            shares.append(np.isin(drawn, rare).mean())
    share = len(rare) / len(positions)
    assert shares[0] == pytest.approx(share, abs=0.02)
    wanted = quotas(view[dataset.crop_rows[positions]])[0] * share
    assert shares[1] == pytest.approx(wanted, abs=0.02) and wanted > 3 * share


def losses_of(logits, truth):
    truth = np.asarray(truth, np.float32)[None, None]
    logits = np.asarray(logits, np.float32)[None, None, :, None]
    return (float(LOSSES[mode]()(truth, logits)) for mode in ("weak", "pu"))


def test_unlabelled_particles_cost_less_as_a_mixture_than_as_negatives():
    """One labelled particle, one known negative, and unlabelled places of which one is called."""
    truth = [[1, 1, 0], [0, 1, 0], *[[0, 0, 0.1]] * 8]
    blind, finder = [6, -6, *[-6] * 8], [6, -6, 6, *[-6] * 7]
    weak_blind, pu_blind = losses_of(blind, truth)
    weak_finder, pu_finder = losses_of(finder, truth)
    assert weak_finder > 5 * weak_blind
    assert pu_finder - pu_blind < 0.8 * (weak_finder - weak_blind)
    _, pu_wrong = losses_of([6, 6, *[-6] * 8], truth)
    assert pu_wrong > pu_blind + 0.4  # a known negative stays one


def test_card_report_and_history(demo_dataset, demo_model, demo_diameter):
    card = json.loads((demo_model / "card.json").read_text())
    assert card["diameter"] == demo_diameter
    assert card["refitted"] is True and card["device"] == "cpu"
    assert set(card["metrics"]) == {"train", "validation", "test"}
    for row in card["metrics"].values():
        assert row["tp"] + row["tn"] + row["fp"] + row["fn"] == row["samples"] > 0
        assert row["accuracy"] == (row["tp"] + row["tn"]) / row["samples"]
    assert card["metrics"]["test"]["auc"] > 0.9
    with Dataset(demo_dataset) as dataset:
        assert card["data_hash"] == dataset.data_hash
        assert card["training_micrographs"] == dataset.micrograph_names
    with (demo_model / "history.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert (demo_model / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (demo_model / "report.html").read_text()
    assert "data:image/png" in page and "fitted again on all labels" in page
    assert not demo_model.with_name("model.partial").exists()


class Killed(Exception):
    """Stands for the power cut."""


def test_a_killed_training_goes_on_where_it_stopped(demo_dataset, tmp_path, monkeypatch):
    # One epoch before labels are centred, two after.
    options = TrainingOptions(epochs=3, refit=False, seed=5)
    with Dataset(demo_dataset) as dataset:
        unbroken = train(dataset, tmp_path / "unbroken", options, CPU)
        report = Checkpoint._report

        def die(self, figures):
            report(self, figures)
            if (self.name, self.epoch) == ("split_1", 1):
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "_report", die)
            with pytest.raises(Killed):
                train(dataset, tmp_path / "model", options, CPU)
        assert not (tmp_path / "model").exists()
        epochs = []
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "_report", lambda self, _: epochs.append(self.epoch))
            resumed = train(dataset, tmp_path / "model", options, CPU)
    assert epochs == [2]
    assert resumed["metrics"]["test"] == pytest.approx(unbroken["metrics"]["test"], abs=0.02)
    assert not (tmp_path / "model.partial").exists()


@pytest.fixture(scope="module")
def more(demo_dataset, demo_model, tmp_path_factory):
    """An ensemble that goes on from the model, with a round of feedback."""
    out = tmp_path_factory.mktemp("more") / "more"
    run_apbc(
        ["train", demo_dataset, "--out", out, "--from", demo_model, "--ensemble", 2]
        + ["--epochs", 1, "--no-refit", "--feedback", 1, "--gpu", ""]
    )
    return out


def test_ensembles_and_going_on_from_a_model(more, demo_model):
    model = load_model(more)
    first, second = model.card["rounds"]
    assert first["kept"] == (second["measure"] <= first["measure"]) != second["kept"]
    assert second["sure"] > 0 and 0.5 < second["purity"] <= 1
    assert model.card["members"] == 2 and model.card["refitted"] is False
    assert model.card["trained_from"] == str(demo_model)
    image = np.zeros((1, 45, 45, 1), np.float32)
    assert np.asarray(model.network(image)).shape == (1, 1, 1, 2)
    assert model.card["metrics"]["test"]["auc"] > 0.9  # one epoch alone would not do


def test_going_on_from_another_architecture_is_refused(demo_dataset, demo_model, tmp_path, capsys):
    run_apbc(
        ["train", demo_dataset, "--out", tmp_path / "m", "--from", demo_model, "--gpu", ""]
        + ["--architecture", "autopick-bc"],
        expect=1,
    )
    assert "--architecture dense" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_autopick_bc_trains_and_loads(demo_dataset, tmp_path):
    run_apbc(
        ["train", demo_dataset, "--out", tmp_path / "m", "--architecture", "autopick-bc"]
        + ["--epochs", 1, "--batch-size", 4, "--no-refit", "--gpu", ""]
    )
    model = load_model(tmp_path / "m")
    assert model.architecture.name == "autopick-bc"
    assert model.network.count_params() == architecture("autopick-bc").build().count_params()


def test_a_model_is_not_overwritten(demo_dataset, demo_model, capsys):
    before = (demo_model / "card.json").read_bytes()
    run_apbc(["train", demo_dataset, "--out", demo_model, "--gpu", ""], expect=1)
    assert "already holds a model" in capsys.readouterr().err
    assert (demo_model / "card.json").read_bytes() == before


@pytest.fixture
def copied(demo_model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("card.json", "model.keras"):
        (folder / name).write_bytes((demo_model / name).read_bytes())
    return folder


def test_a_model_that_was_tampered_with_is_refused(copied):
    data = bytearray((copied / "model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "model.keras").write_bytes(bytes(data))
    with pytest.raises(ApbcError, match="hash differs"):
        load_model(copied)


def test_a_network_that_is_not_that_of_the_card_is_refused(copied):
    import hashlib

    keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 3)]).save(
        copied / "model.keras"
    )
    card = json.loads((copied / "card.json").read_text())
    card["weights_sha256"] = hashlib.sha256((copied / "model.keras").read_bytes()).hexdigest()
    (copied / "card.json").write_text(json.dumps(card))
    with pytest.raises(ApbcError, match="not the network"):
        load_model(copied)


def test_a_network_with_code_in_it_is_refused(copied):
    import hashlib

    keras.Sequential([keras.Input((None, None, 1)), keras.layers.Lambda(lambda x: x)]).save(
        copied / "model.keras"
    )
    card = json.loads((copied / "card.json").read_text())
    card["weights_sha256"] = hashlib.sha256((copied / "model.keras").read_bytes()).hexdigest()
    (copied / "card.json").write_text(json.dumps(card))
    with pytest.raises(ApbcError, match="Keras cannot load"):
        load_model(copied)


@pytest.mark.parametrize("key", ["calibration", "weights_sha256", "preprocessing"])
def test_a_card_that_lacks_something_is_refused(copied, key):
    card = json.loads((copied / "card.json").read_text())
    del card[key]
    (copied / "card.json").write_text(json.dumps(card))
    with pytest.raises(ApbcError, match=key):
        load_model(copied)


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ApbcError, match="no apbc model"):
        load_model(tmp_path)


def test_figures_by_hand():
    good = np.array([True, True, True, False, False])
    row = metrics.figures(np.array([0.9, 0.6, 0.2, 0.7, 0.1]), good)
    assert (row["tp"], row["tn"], row["fp"], row["fn"]) == (2, 1, 1, 1)
    assert row["accuracy"] == 0.6
    assert row["precision"] == pytest.approx(2 / 3) and row["recall"] == pytest.approx(2 / 3)
    assert row["auc"] == pytest.approx(4 / 6)


def test_half_precision_stays_in_training():
    arch = architecture("dense")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        member = arch.build()
        joined = join([member, member], arch)
    finally:
        keras.config.set_dtype_policy("float32")
    assert member.layers[1].compute_dtype == "float16"
    for copy in members_of(joined):
        assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
        for mine, theirs in zip(copy.get_weights(), member.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_labels_of_other_splits_are_hidden():
    other = np.array([[[20.0, 0.0]]])
    neighbours = Neighbours(np.zeros((1, 1, 2)), FAR, other)
    target, known, unlabelled = targets(neighbours, GRID, diameter=28)
    near = np.hypot(GRID[..., 0] - 20, GRID[..., 1]) <= 0.45 * 28
    assert not known[near].any() and not unlabelled[near].any()
    assert (target * known).any() and unlabelled.any()


def test_split_by_particle_does_not_train_on_held_out_labels(demo_data, demo_diameter, tmp_path):
    out = tmp_path / "d.h5"
    run_apbc(
        ["dataset", "--micrographs", demo_data / "micrographs", "--good", demo_data / "good"]
        + ["--bad", demo_data / "bad", "--diameter", demo_diameter, "--out", out]
        + ["--split-by", "particle"]
    )
    from apbc.training.samples import find_neighbours

    with Dataset(out) as dataset:
        positions = dataset.crops_of(0, (1, 0, -1))
        held_out = {
            (int(m), *np.round(w, 3))
            for m, w, s in zip(dataset.micrograph, dataset.working, dataset.split, strict=True)
            if s != 0
        }
        near = find_neighbours(dataset, positions)
        hidden = int((near.hidden < 1e5).all(axis=2).sum())
        for i, position in enumerate(positions):
            row = dataset.crop_rows[position]
            middle = np.rint(dataset.working[row].astype(float))
            for xy in np.concatenate([near.good[i], near.bad[i]]):
                assert (int(dataset.micrograph[row]), *np.round(xy + middle, 3)) not in held_out
        assert hidden > 0


def test_going_on_from_a_model_that_saw_the_held_out_micrographs(demo_dataset, more):
    card = json.loads((more / "card.json").read_text())
    with Dataset(demo_dataset) as dataset:
        held_out = {
            name
            for i, name in enumerate(dataset.micrograph_names)
            if dataset.split[dataset.micrograph == i][0] != 0
        }
    assert set(card["held_out_seen_before"]) == held_out
    assert "flatter" in (more / "report.html").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"calibration": None},
        {"calibration": {"slope": -1.0, "offset": 0.0}},
        {"calibration": {"slope": "steep", "offset": 0.0}},
        {"threshold": 2.0},
        {"diameter": 10.0},
    ],
)
def test_a_card_with_wrong_values_is_refused(copied, change):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(ApbcError, match=r"card\.json"):
        load_model(copied)


@pytest.mark.parametrize("option", [["--seed", -1], ["--epochs", 0], ["--learning-rate", -1]])
def test_impossible_options_of_training(option, demo_dataset, tmp_path, capsys):
    run_apbc(["train", demo_dataset, "--out", tmp_path / "m", "--gpu", "", *option], expect=1)
    assert option[0] in capsys.readouterr().err


def test_a_folder_in_the_way_of_the_checkpoints_is_kept(demo_dataset, tmp_path, capsys):
    mine = tmp_path / "m.partial" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    run_apbc(["train", demo_dataset, "--out", tmp_path / "m", "--gpu", ""], expect=1)
    assert "holds something else" in capsys.readouterr().err
    assert mine.read_text() == "years of work"


def test_good_labels_alone(demo_data, demo_diameter, tmp_path):
    data, out = tmp_path / "data.h5", tmp_path / "model"
    run_apbc(
        ["dataset", "--micrographs", demo_data / "micrographs", "--good", demo_data / "good"]
        + ["--diameter", demo_diameter, "--split-by", "particle", "--out", data]
    )
    run_apbc(["train", data, "--out", out, "--epochs", 1, "--no-refit", "--gpu", ""])
    card = json.loads((out / "card.json").read_text())
    assert card["calibration"]["method"] == "good and background crops of the validation split"
    test = card["metrics"]["test"]
    assert test["samples"] == test["tp"] + test["fn"] and test["precision"] is None
    assert "good labels alone: places without a label" in (out / "report.html").read_text()
