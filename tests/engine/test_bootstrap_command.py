"""``apbc bootstrap`` from bare micrographs to a data set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from apbc.bootstrap.table import read_examples
from apbc.dataset.labels import BAD, GOOD
from apbc.dataset.store import Dataset
from apbc.display.bootstrap import DRAWN, EXAMPLES, read_stages, stage_figure, stage_sheet
from apbc.io.coordinates import read_coordinate_folder, read_label_columns
from apbc.simulate.truth import write_micrograph
from conftest import run_apbc

PIXEL_SIZE = 3.0
ACROSS = 36  # pixels of a ball
DIAMETER = PIXEL_SIZE * ACROSS
SHAPE = (420, 480)
BALLS = 34


def simulate(path: Path, seed: int, balls: int = BALLS, bright: bool = False) -> np.ndarray:
    """A micrograph of balls that do not touch; gives their centres."""
    rng = np.random.default_rng(seed)
    centres = np.empty((0, 2))
    while len(centres) < balls:
        place = rng.uniform(ACROSS * 0.7, np.array(SHAPE[::-1]) - ACROSS * 0.7)
        if not len(centres) or np.hypot(*(centres - place).T).min() > 1.25 * ACROSS:
            centres = np.vstack([centres, place])
    image = np.zeros(SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for at in centres:
        depth = 1 - ((x - at[0]) ** 2 + (y - at[1]) ** 2) / (ACROSS / 2) ** 2
        image -= np.sqrt(np.clip(depth, 0, None))
    image = ndimage.gaussian_filter(image, 1.0) * (-1 if bright else 1)
    write_micrograph(path, (image + rng.normal(0, 1.0, SHAPE)).astype(np.float32), PIXEL_SIZE)
    return centres


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Folder of three micrographs, and the centres of their particles."""
    folder = tmp_path_factory.mktemp("field")
    return folder, {f"m{i}": simulate(folder / f"m{i}.mrc", i) for i in range(3)}


def call(folder: Path, out: Path, *more: object, diameter: float = DIAMETER) -> list[object]:
    return ["bootstrap", "--micrographs", folder, "--out", out, "--diameter", diameter, *more]


@pytest.fixture(scope="module")
def made(field, tmp_path_factory) -> Path:
    """Folder of a whole run."""
    out = tmp_path_factory.mktemp("made")
    run_apbc(call(field[0], out, "--shape", "top", "--samples", 60, "--keep-stages", 1))
    return out


def record_of(out: Path) -> dict:
    return json.loads((out / "bootstrap.json").read_text())


def test_particles_are_found_and_make_a_data_set(field, made):
    record = record_of(made)
    assert record["format"] == "apbc bootstrap 1" and record["data"] == "data.h5"
    assert record["diameter"] == DIAMETER and not record["diameter_estimated"]
    assert record["pixel_size"] == PIXEL_SIZE and record["contrast"] == "dark"
    assert record["failed"] == {} and list(record["micrographs"]) == ["m0", "m1", "m2"]
    good, bad = (read_coordinate_folder(made / kind) for kind in ("good", "bad"))
    found_of_all = 0
    for name, centres in field[1].items():
        found = read_examples(made / "examples" / f"{name}.csv")
        distance = np.hypot(*(found.positions[:, None] - centres[None]).transpose(2, 0, 1))
        near = distance.min(axis=1) < ACROSS / 4
        assert near[found.good].all()
        found_of_all += int((distance.min(axis=0) < ACROSS / 4).sum())
        told = record["micrographs"][name]
        assert (told["good"], told["bad"]) == (found.good.sum(), (~found.good).sum())
        assert (len(good[name]), len(bad[name])) == (told["good"], told["bad"])
        assert told["seconds"] > 0
    assert found_of_all >= 0.95 * 3 * BALLS
    views = read_label_columns(made / "good")
    assert all((columns["view"] == 1).all() for columns in views.values())
    with Dataset(made / "data.h5") as dataset:
        total = sum(told["good"] for told in record["micrographs"].values())
        assert total == record["shapes"]["top"]["good"]
        touching = sum(
            told["reasons"].get("out of round", 0) for told in record["micrographs"].values()
        )
        assert (dataset.kind == GOOD).sum() == total + touching == record["labels"]["good"]
        assert set(dataset.view[dataset.kind == GOOD]) == {1}
        assert not (dataset.kind == BAD).any() and dataset.preprocessing.diameter == DIAMETER
        doubtful = {name: read_examples(made / "examples" / f"{name}.csv") for name in field[1]}
        for name, found in doubtful.items():  # background is on nothing that was found
            here = dataset.coordinates[dataset.labels_on(name, -1)]
            assert len(here) > 10
            distance = here[:, None] - found.positions[None]
            assert np.hypot(*distance.transpose(2, 0, 1)).min() > 0.49 * ACROSS
    assert set(record["classes"]) == {"top", "background"}
    assert any("single patches" in sentence for sentence in record["warnings"])


def test_stages_are_drawn(made):
    assert [path.name for path in (made / "stages").iterdir()] == ["m0.npz"]
    record = read_stages(made / "stages" / "m0.npz")
    assert record.shape_of_image == SHAPE and record.pixel_size == PIXEL_SIZE
    found = read_examples(made / "examples" / "m0.csv")
    np.testing.assert_allclose(record.positions, found.positions, atol=0.01)
    assert record.stages[0] == "micrograph" and record.stages[-2:] == [DRAWN, EXAMPLES]
    assert len(record.circles) and not len(record.rectangles)
    for stage in record.stages:
        figure = stage_figure(record, stage)
        shown = figure.axes[0].images[0].get_array()
        assert shown.shape == SHAPE and np.ptp(shown) > 50, stage
    sheet = stage_sheet(record)
    assert len(sheet.axes) == len(record.stages) + 1


def test_batches_in_several_processes_give_what_one_run_gives(field, made, tmp_path):
    out = tmp_path / "out"
    batches = [["m0.mrc", "m1.mrc"], ["m2.mrc"]]
    for names in batches:
        files = [field[0] / name for name in names]
        run_apbc(
            ["bootstrap", "--micrographs", *files, "--out", out, "--diameter", DIAMETER]
            + ["--shape", "top", "--samples", 60, "--keep-stages", 1]
            + ["--examples-only", "--workers", 2]
        )
        assert record_of(out)["data"] is None and not (out / "data.h5").exists()
    tables = {path: path.stat().st_mtime_ns for path in (out / "examples").glob("*.csv")}
    assert len(tables) == 3
    run_apbc(call(field[0], out, "--shape", "top", "--samples", 60, "--keep-stages", 1))
    assert {path: path.stat().st_mtime_ns for path in tables} == tables  # none is found again
    for path in tables:
        assert path.read_text() == (made / "examples" / path.name).read_text()
    with Dataset(out / "data.h5") as mine, Dataset(made / "data.h5") as theirs:
        assert mine.data_hash == theirs.data_hash
    mine, theirs = record_of(out), record_of(made)
    assert mine["shapes"] == theirs["shapes"] and mine["classes"] == theirs["classes"]
    assert [path.name for path in (out / "stages").iterdir()] == ["m0.npz"]


def test_another_request_is_refused(field, made, capsys):
    before = record_of(made)
    run_apbc(call(field[0], made, "--shape", "top", diameter=1.2 * DIAMETER), expect=1)
    told = capsys.readouterr().err
    assert "diameter 108 then, 129.6 now" in told and "--out" in told
    assert record_of(made) == before


def test_bright_particles_are_told_before_anything_is_written(field, tmp_path, capsys):
    for i in range(3):
        simulate(tmp_path / "in" / f"m{i}.mrc", i, bright=True)
    out = tmp_path / "out"
    run_apbc(call(tmp_path / "in", out, "--shape", "top"), expect=1)
    assert "run again with --invert" in capsys.readouterr().err
    assert list(out.rglob("*.csv")) == []
    run_apbc(call(tmp_path / "in", out, "--shape", "top", "--invert", "--samples", 60))
    record = record_of(out)
    assert record["contrast"] == "light" and record["shapes"]["top"]["good"] >= 50
    with Dataset(out / "data.h5") as dataset:
        assert dataset.preprocessing.contrast == "light"
    run_apbc(call(field[0], tmp_path / "dark", "--shape", "top", "--invert"), expect=1)
    assert "leave --invert out" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "told"), [(1.0, None), (2.0, "not 216"), (0.5, "not 54")])
def test_a_wrong_diameter_is_told(field, tmp_path, factor, told):
    file, diameter = field[0] / "m0.mrc", factor * DIAMETER
    run_apbc(call(file, tmp_path, "--shape", "top", "--examples-only", diameter=diameter))
    sentences = [s for s in record_of(tmp_path)["warnings"] if "diameter" in s]
    assert [told in s for s in sentences] == [True] * (told is not None)


def test_irregular_particles_that_contradict_the_diameter_are_told(tmp_path):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros(SHAPE)
    for at in np.stack(np.meshgrid([50, 125, 200, 275, 350, 425], [50, 130, 210, 290, 370]), -1):
        for place in at:
            turn = rng.uniform(0, np.pi)
            along = (x - place[0]) * np.cos(turn) + (y - place[1]) * np.sin(turn)
            across = (y - place[1]) * np.cos(turn) - (x - place[0]) * np.sin(turn)
            depth = 1 - (2 * along / ACROSS) ** 2 - (4 * across / ACROSS) ** 2
            image -= np.sqrt(np.clip(depth, 0, None))
    file, out = tmp_path / "m.mrc", tmp_path / "out"
    image = 1.5 * image + rng.normal(0, 0.8, SHAPE)
    write_micrograph(file, image.astype(np.float32), PIXEL_SIZE)
    more = ("--shape", "irregular", "--examples-only")
    run_apbc(call(file, out, *more))
    record = record_of(out)
    assert record["shapes"]["irregular"]["good"] > 15 and record["warnings"] == []
    run_apbc(call(file, tmp_path / "double", *more, diameter=2.4 * DIAMETER))
    sentences = record_of(tmp_path / "double")["warnings"]
    assert len(sentences) == 1 and "irregular particles are about" in sentences[0]


def test_an_empty_micrograph_and_a_damaged_one_stop_nobody(field, tmp_path, caplog):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(2):
        (folder / f"m{i}.mrc").symlink_to(field[0] / f"m{i}.mrc")
    rng = np.random.default_rng(0)
    write_micrograph(folder / "noise.mrc", rng.normal(size=SHAPE).astype(np.float32), PIXEL_SIZE)
    (folder / "cut.mrc").write_bytes((field[0] / "m2.mrc").read_bytes()[:5000])
    more = ("--shape", "top", "--samples", 60)
    run_apbc(call(folder, out, *more), expect=3)
    record = record_of(out)
    assert list(record["failed"]) == ["cut"] and "cut short" in record["failed"]["cut"]
    noise = record["micrographs"]["noise"]
    assert noise["good"] <= 3, noise
    assert (out / "data.h5").is_file() and (out / "examples" / "noise.csv").is_file()
    (folder / "cut.mrc").unlink()
    run_apbc(call(folder, out, *more))
    assert record_of(out)["failed"] == {}


def noise(folder: Path, names: list[str]) -> None:
    """Micrographs without particles."""
    for seed, name in enumerate(names):
        image = np.random.default_rng(100 + seed).normal(size=(200, 220)).astype(np.float32)
        write_micrograph(folder / f"{name}.mrc", image, PIXEL_SIZE)


def test_empty_first_micrographs_do_not_settle_the_shapes(field, tmp_path):
    noise(tmp_path, ["a0", "a1"])
    out = tmp_path / "out"
    empty = [tmp_path / f"{name}.mrc" for name in ("a0", "a1")]
    balls = [field[0] / f"m{i}.mrc" for i in range(2)]
    more = ["--out", out, "--diameter", DIAMETER, "--examples-only"]
    run_apbc(["bootstrap", "--micrographs", *empty, balls[0], *more])
    record = record_of(out)
    assert list(record["shapes"]) == ["top"] and record["shapes"]["top"]["good"] > 20
    assert not any("shapes" in sentence for sentence in record["warnings"])

    more[1] = later = tmp_path / "later"
    run_apbc(["bootstrap", "--micrographs", empty[0], *more])
    assert any("too few good examples to tell" in s for s in record_of(later)["warnings"])
    run_apbc(["bootstrap", "--micrographs", balls[1], *more])
    record = record_of(later)
    assert record["shapes"]["top"]["good"] > 20
    assert not any("too few good examples to tell" in s for s in record["warnings"])


@pytest.mark.parametrize(("diameter", "told"), [(21, "7 pixels"), (660, "more than half")])
def test_a_diameter_that_cannot_be_is_refused_before_anything_is_searched(
    field, tmp_path, capsys, diameter, told
):
    run_apbc(call(field[0], tmp_path / "out", diameter=diameter), expect=1)
    sentence = capsys.readouterr().err
    assert told in sentence and "--pixel-size" in sentence
    assert list((tmp_path / "out").rglob("*.csv")) == []


def test_a_data_set_never_contradicts_the_record(field, made, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    more = ("--shape", "top", "--samples", 60)

    def fail(*_: object) -> None:
        raise RuntimeError("what nobody foresaw")

    monkeypatch.setattr("apbc.bootstrap.run.write_patches", fail)
    with pytest.raises(RuntimeError):
        run_apbc(call(field[0], out, *more))
    assert record_of(out)["data"] is None and not (out / "data.h5").exists()
    (out / "data.h5").write_bytes(b"of older examples")
    run_apbc(call(field[0], out, *more, "--examples-only"))
    assert record_of(out)["data"] is None and not (out / "data.h5").exists()


def test_examples_of_another_version_are_told(field, made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    note = out / "examples" / "request.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "apbc_version": "0.0.1"}))
    run_apbc(call(field[0], out, "--shape", "top", "--examples-only"))
    assert any("found by version 0.0.1" in sentence for sentence in record_of(out)["warnings"])


def test_why_all_micrographs_failed_is_told(field, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m0.mrc").symlink_to(field[0] / "m0.mrc")
    out = tmp_path / "out"
    (out / "good" / "m0.csv").mkdir(parents=True)
    run_apbc(call(tmp_path / "in", out, "--shape", "top"), expect=1)
    told = capsys.readouterr().err
    assert "all 1 micrographs failed, such as m0: " in told and "good examples" not in told


def test_too_few_good_examples_are_told_and_kept(field, tmp_path, capsys):
    run_apbc(call(field[0] / "m0.mrc", tmp_path, "--shape", "top"), expect=1)
    told = capsys.readouterr().err
    good = record_of(tmp_path)["micrographs"]["m0"]["good"]
    assert 20 <= good < 50 and f"only {good} good examples on 1 micrographs" in told
    assert "more micrographs" in told and "--diameter" in told
    assert (tmp_path / "examples" / "m0.csv").is_file()
    assert not (tmp_path / "data.h5").exists() and record_of(tmp_path)["data"] is None


def test_repeated_draws_are_told(field, tmp_path):
    run_apbc(call(field[0], tmp_path, "--shape", "top", "--samples", 600))
    record = record_of(tmp_path)
    repeated = record["classes"]["top"]["repeated"]
    assert repeated > 0  # some 100 examples in four directions do not make 600
    assert any(
        f"{repeated} of the 600 draws of the class top repeat" in told
        for told in record["warnings"]
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--shape", "round"], "top,side,irregular"),
        (["--diameter", -5], "above 0"),
        (["--workers", 0], "1 or more"),
        (["--samples", 3], "10 or more"),
        (["--keep-stages", -1], "0 or more"),
        (["--max-failed", 2], "0 to 1"),
        (["--pixel-size", 0], "above 0"),
    ],
)
def test_bad_options_are_told(field, tmp_path, capsys, more, told):
    run_apbc(call(field[0], tmp_path, *more), expect=1)
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
