"""The plain files of a training's report, which a viewer reads without the engine."""

import csv
import json

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from apbc.dataset.labels import BAD, GOOD
from apbc.dataset.store import Dataset
from apbc.models.calibration import Calibration
from apbc.system.devices import Device
from apbc.training import sheet
from apbc.training.fit import Checkpoint
from apbc.training.report import MOST_CURVE_POINTS, ReportData, summary
from apbc.training.train import TrainingOptions, train


@pytest.fixture
def report(demo_model):
    return json.loads((demo_model / "report.json").read_text())


@pytest.fixture
def crops(demo_model):
    return json.loads((demo_model / "crops.json").read_text())


def pixels_of(folder):
    with np.load(folder / "crops.npz", allow_pickle=False) as file:
        assert file.files == ["pixels"]
        return file["pixels"]


def test_the_report_agrees_with_card_and_history(demo_model, report):
    card = json.loads((demo_model / "card.json").read_text())
    assert report["part"] == "test" and report["threshold"] == card["threshold"]
    test = card["metrics"]["test"]
    assert sum(report["reliability"]["count"]) == test["samples"]
    assert sum(report["histogram"]["good"]) == test["tp"] + test["fn"]
    assert sum(report["histogram"]["bad"]) == test["tn"] + test["fp"]
    assert len(report["histogram"]["edges"]) == len(report["histogram"]["good"]) + 1
    with (demo_model / "history.csv").open() as handle:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    kept = card["promise"]["held_out_precision"]["best F1"]
    assert kept["threshold"] > 0 and (kept["promised"] is None or 0 < kept["promised"] <= 0.95)
    assert card["promise"]["part"] == "test"
    page = (demo_model / "report.html").read_text()
    assert "promises a precision of" in page and "counted with decoys" in page
    split, refit = report["fits"]
    assert [{"member": 1, **row} for row in split["history"]] == rows
    assert split["name"] == "split_1" and split["best_epoch"] == card["best_epochs"][0]
    assert refit["name"] == "all_1" and "val_loss" not in refit["history"][0]


def test_precision_and_recall_run_to_both_ends(demo_model, report):
    curve = report["precision_recall"]
    assert curve["recall"][0] == 0 and curve["recall"][-1] == 1
    assert curve["recall"] == sorted(curve["recall"])
    assert len(curve["recall"]) == len(curve["precision"]) <= MOST_CURVE_POINTS
    assert 0 <= curve["at_threshold"]["precision"] <= 1


def data_of(probabilities, good):
    return ReportData(
        card={"threshold": 0.5},
        fits=[],
        probabilities=np.asarray(probabilities, float),
        good=np.asarray(good, bool),
        part="test",
        candidates=None,
        calibration=Calibration(),
    )


def test_a_summary_by_hand():
    found = summary(data_of([0.9, 0.6, 0.2, 0.7, 0.1], [1, 1, 1, 0, 0]))
    curve = found["precision_recall"]
    assert curve["at_threshold"] == {"precision": 2 / 3, "recall": 2 / 3}
    assert curve["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3, abs=1e-5)
    assert found["histogram"]["candidates"] is None
    assert found["histogram"]["good"][22] == 1 and found["histogram"]["good"].sum() == 3


def test_long_curves_are_thinned_and_keep_their_average():
    rng = np.random.default_rng(0)
    good = rng.uniform(size=5000) < 0.5
    found = summary(data_of(rng.uniform(size=5000), good))["precision_recall"]
    assert len(found["recall"]) <= MOST_CURVE_POINTS
    assert (found["recall"][0], found["recall"][-1]) == (0, 1)
    assert found["average_precision"] == pytest.approx(0.5, abs=0.03)


def test_labels_of_one_kind_have_no_curve():
    assert summary(data_of([0.9, 0.8], [1, 1]))["precision_recall"] is None


def test_the_sheet_holds_what_its_rows_promise(demo_dataset, demo_model, crops):
    scores = np.array([crop["score"] for crop in crops["crops"]])
    labels = np.array([crop["label"] for crop in crops["crops"]])
    rows = crops["rows"]
    assert set(rows) == {"best", "worst", "doubtful", "good, scored low", "bad, scored high"}
    assert all(0 < len(row) <= sheet.MOST_OF_A_ROW for row in rows.values())
    for name, sign in (("best", -1), ("worst", 1), ("good, scored low", 1)):
        assert (np.diff(sign * scores[rows[name]]) >= 0).all(), name
    assert (np.diff(scores[rows["bad, scored high"]]) <= 0).all()
    assert (np.diff(np.abs(scores[rows["doubtful"]] - 0.5)) >= 0).all()
    assert set(labels[rows["good, scored low"]]) == {"good"}
    assert set(labels[rows["bad, scored high"]]) == {"bad"}
    assert sorted({i for row in rows.values() for i in row}) == list(range(len(scores)))


def test_crops_are_those_of_the_data_set(demo_dataset, demo_model, crops):
    pixels = pixels_of(demo_model)
    assert pixels.dtype == np.uint8 and len(pixels) == len(crops["crops"])
    assert pixels.shape[1] == pixels.shape[2]
    width = pixels.shape[1] * crops["pixel_size"] / crops["diameter"]
    assert width == pytest.approx(sheet.SHOWN_DIAMETERS, abs=0.05)
    kinds = {"good": GOOD, "bad": BAD}
    with Dataset(demo_dataset) as dataset:
        positions = dataset.crops_of(2, (GOOD, BAD))
        known = {
            (dataset.micrograph_names[dataset.micrograph[r]], int(dataset.kind[r]))
            + tuple(np.round(dataset.coordinates[r].astype(float), 2)): int(p)
            for p in positions
            for r in [dataset.crop_rows[p]]
        }
        middle, half = dataset.crop_size // 2, pixels.shape[1] // 2
        for crop, shown in zip(crops["crops"], pixels, strict=True):
            place = (crop["micrograph"], kinds[crop["label"]], crop["x"], crop["y"])
            cut = dataset.crops(np.array([known[place]]))[0]
            expected = np.clip((cut[middle, middle] + 3) / 6 * 255, 0, 255)
            assert shown[half, half] == pytest.approx(expected, abs=1)


def test_particles_of_stacks_have_no_place(demo_dataset):
    with Dataset(demo_dataset) as dataset:
        dataset.provenance["source"] = "stacks"
        positions = dataset.crops_of(2, (GOOD, BAD))
        good = dataset.kind[dataset.crop_rows[positions]] == GOOD
        made = sheet.make_sheet(dataset, positions, np.linspace(0, 1, len(good)), good, "test")
    assert {(crop["micrograph"], crop["x"], crop["y"]) for crop in made.crops} == {
        (None, None, None)
    }


def test_a_split_without_crops_gives_an_empty_sheet(demo_dataset, tmp_path):
    none = np.empty(0)
    with Dataset(demo_dataset) as dataset:
        made = sheet.make_sheet(dataset, none.astype(np.int64), none, none.astype(bool), "test")
    sheet.write_sheet(tmp_path, made)
    assert len(pixels_of(tmp_path)) == 0
    assert json.loads((tmp_path / "crops.json").read_text())["crops"] == []


def test_a_running_training_tells_how_far_it_is(demo_dataset, tmp_path, monkeypatch):
    states = []

    def look(self, _):
        states.append(json.loads((self._folder / "state.json").read_text()))

    monkeypatch.setattr(Checkpoint, "_report", look)
    with Dataset(demo_dataset) as dataset:
        options = TrainingOptions(epochs=2, ensemble=2)
        train(dataset, tmp_path / "model", options, Device("cpu", "cpu"))
    assert [(s["name"], s["epoch"], s["epochs"]) for s in states[:4]] == [
        ("split_1_start", 1, 1),
        ("split_1", 1, 1),
        ("split_2_start", 1, 1),
        ("split_2", 1, 1),
    ]
    assert [s["name"] for s in states if s["epoch"] == 1][4:] == ["all_1", "all_2"]
    assert all(s["seconds_per_epoch"] > 0 and len(s["history"]) == s["epoch"] for s in states)
    report = json.loads((tmp_path / "model" / "report.json").read_text())
    assert [fit["name"] for fit in report["fits"]] == ["split_1", "split_2", "all_1", "all_2"]
    finished = [s for s in states if s["finished"]]
    assert all(s["finished"] == (s["epoch"] == s["epochs"]) for s in states)
    for fit in report["fits"]:
        parts = [s["history"] for s in finished if s["name"].removesuffix("_start") == fit["name"]]
        rows = [row for part in parts for row in part]
        assert [row["loss"] for row in fit["history"]] == [row["loss"] for row in rows]
        assert [row["epoch"] for row in fit["history"]] == list(range(1, len(rows) + 1))
