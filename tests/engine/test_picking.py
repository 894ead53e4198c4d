import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import mrcfile
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from test_dataset import particle_stars

from apbc.io.coordinates import read_coordinates
from apbc.io.images import read_micrograph
from apbc.io.particles import read_particles
from apbc.models.folder import load_model
from apbc.picking.peaks import find_peaks, suppress
from apbc.picking.score_map import ScoreMap, score_map
from apbc.preprocess.working import Preprocessing
from conftest import run_apbc


def bumps(shape, centres, width=3.0):
    y, x = np.indices(shape)
    total = sum(
        h * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2)) for cx, cy, h in centres
    )
    return (total - 5).astype(np.float32)


def test_peaks_lie_between_grid_points():
    grid = ScoreMap(bumps((60, 60), [(20.3, 30.7, 10.0)]), stride=4, origin=2.0)
    xy, scores = find_peaks(grid, (240, 240), diameter=28, floor=0.0)
    assert len(xy) == 1 and scores[0] == pytest.approx(5, abs=0.3)
    np.testing.assert_allclose(xy[0], [20.3 * 4 + 2, 30.7 * 4 + 2], atol=0.4)


def test_of_two_near_peaks_the_better_stays():
    grid = ScoreMap(bumps((60, 60), [(20, 20, 8), (22.9, 20, 9), (40, 40, 7)], 0.8), 4, 0.0)
    xy, _ = find_peaks(grid, (240, 240), diameter=28, floor=0.0)
    np.testing.assert_allclose(xy, [[22.9 * 4, 80], [160, 160]], atol=0.5)


def test_suppression_is_greedy():
    line = np.array([[0.0, 0], [8, 0], [16, 0], [40, 0]])
    assert suppress(line, 10).tolist() == [True, False, True, True]
    assert suppress(np.empty((0, 2)), 10).tolist() == []


def test_edge_rule_leaves_out_what_is_not_whole():
    grid = ScoreMap(bumps((60, 60), [(3.4, 30, 9), (3.8, 45, 9)], 1.0), 4, 0.0)
    xy, _ = find_peaks(grid, (240, 240), diameter=30, floor=0.0)
    np.testing.assert_allclose(xy, [[15.2, 180]], atol=0.4)  # 13.6 is nearer than half of 30


def test_tiles_give_the_scores_of_the_whole(demo_model, demo_data, demo_diameter):
    model = load_model(demo_model)
    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    work = Preprocessing(demo_diameter).working_image(read_micrograph(path), 3.5)
    whole = score_map(model.network, model.architecture, work.pixels)
    tiled = score_map(model.network, model.architecture, work.pixels, tile=150)
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-3)


@pytest.fixture(scope="module")
def picks(demo_model, demo_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("picks") / "out"
    run_apbc(
        ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out, "--gpu", ""]
    )
    return out


def test_picks_find_the_particles(picks, demo_data, demo_diameter, tmp_path):
    report = tmp_path / "figures.json"
    run_apbc(
        ["evaluate", picks, demo_data / "truth", "--diameter", demo_diameter, "--json", report]
        + ["--edge", demo_diameter / 2]
    )
    figures = json.loads(report.read_text())
    assert figures["micrographs"] == 6
    assert figures["f1"] > 0.7
    assert figures["average_precision"] > 0.7


def test_formats_agree_and_the_threshold_only_chooses(picks, demo_model):
    run = json.loads((picks / "run.json").read_text())
    assert run["threshold"] == load_model(demo_model).threshold and run["device"] == "cpu"
    spare = 0
    for name in run["shapes"]:
        candidates = read_coordinates(picks / "candidates" / f"{name}.csv")
        kept = candidates[candidates[:, 2] >= run["threshold"]]
        assert run["counts"][name] == {"candidates": len(candidates), "exported": len(kept)}
        spare += len(candidates) - len(kept)
        np.testing.assert_allclose(read_coordinates(picks / f"{name}.csv"), kept, atol=1e-3)
        star = read_coordinates(picks / f"{name}.star")
        np.testing.assert_allclose(star, kept, atol=1e-3)
        box = read_coordinates(picks / f"{name}.box")
        np.testing.assert_allclose(box[:, :2], kept[:, :2], atol=1)
    assert spare > 0


def test_threshold_zero_exports_every_candidate(demo_model, demo_data, tmp_path):
    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    run_apbc(
        ["pick", demo_model, "--micrographs", path, "--out", tmp_path, "--threshold", 0]
        + ["--format", "csv", "--gpu", ""]
    )
    assert (tmp_path / f"{path.stem}.csv").read_text().splitlines()[1:]
    np.testing.assert_array_equal(
        read_coordinates(tmp_path / f"{path.stem}.csv"),
        read_coordinates(tmp_path / "candidates" / f"{path.stem}.csv"),
    )
    assert not list(tmp_path.glob("*.star"))


def test_resume_does_only_what_is_left(demo_model, demo_data, picks, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(picks, out)
    names = sorted(path.stem for path in (out / "candidates").glob("*.csv"))
    marked = out / "candidates" / f"{names[0]}.csv"
    marked.write_text("x,y,score\n100,100,0.9\n")
    (out / "candidates" / f"{names[1]}.csv").unlink()
    before = {n: (out / "candidates" / f"{n}.csv").stat().st_mtime_ns for n in names[2:]}
    run_apbc(
        ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out]
        + ["--resume", "--gpu", ""]
    )
    assert read_coordinates(out / f"{names[0]}.csv").tolist() == [[100, 100, 0.9]]
    assert (
        read_coordinates(out / f"{names[1]}.csv").shape
        == read_coordinates(picks / f"{names[1]}.csv").shape
    )
    for name, then in before.items():
        assert (out / "candidates" / f"{name}.csv").stat().st_mtime_ns == then


def test_resume_with_another_floor_is_refused(demo_model, demo_data, picks, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(picks, out)
    run_apbc(
        ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out]
        + ["--resume", "--floor", 0.2, "--gpu", ""],
        expect=1,
    )
    assert "another model, floor or pixel size" in capsys.readouterr().err


def test_failed_micrographs_are_listed_and_the_others_are_picked(
    demo_model, demo_data, tmp_path, capsys
):
    source = tmp_path / "in"
    source.mkdir()
    paths = sorted((demo_data / "micrographs").glob("*.mrc"))[:3]
    for path in paths:
        shutil.copy(path, source)
    with mrcfile.open(source / paths[0].name, "r+") as mrc:
        mrc.data[5, 5] = np.nan
    short = source / paths[1].name
    short.write_bytes(short.read_bytes()[:-9000])
    call = ["pick", demo_model, "--micrographs", source, "--out", tmp_path / "out", "--gpu", ""]
    run_apbc(call, expect=3)
    with (tmp_path / "out" / "failed.csv").open() as handle:
        failed = {row["micrograph"]: row["reason"] for row in csv.DictReader(handle)}
    assert set(failed) == {paths[0].stem, paths[1].stem}
    assert "finite" in failed[paths[0].stem] and "short" in failed[paths[1].stem]
    done = {path.stem for path in (tmp_path / "out" / "candidates").glob("*.csv")}
    assert done == {paths[2].stem}
    run_apbc([*call, "--max-failed", 0.7], expect=0)
    shutil.copy(paths[0], source)
    shutil.copy(paths[1], source)
    run_apbc([*call, "--resume"], expect=0)
    assert not (tmp_path / "out" / "failed.csv").exists()


def test_no_particle_is_a_valid_result(demo_model, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "flat.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(rng.normal(size=(400, 512)).astype(np.float32))  # rectangular as well
        mrc.voxel_size = 3.5
    out = tmp_path / "out"
    call = ["pick", demo_model, "--micrographs", path, "--out", out, "--gpu", ""]
    run_apbc([*call, "--threshold", 1])
    assert (out / "flat.csv").read_text() == "x,y,score\n"
    assert read_coordinates(out / "flat.star").shape == (0, 3)
    assert json.loads((out / "run.json").read_text())["counts"]["flat"]["exported"] == 0


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float16", "int16"])
def test_other_pixel_types_give_the_same_picks(dtype, demo_model, demo_data, picks, tmp_path):
    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    image = read_micrograph(path)
    low, high = np.percentile(image, [0.01, 99.99])
    scaled = np.clip((image - low) / (high - low), 0, 1) * 120
    with mrcfile.new(tmp_path / path.name) as mrc:
        mrc.set_data(scaled.astype(dtype))
        mrc.voxel_size = 3.5
    out = tmp_path / "out"
    run_apbc(["pick", demo_model, "--micrographs", tmp_path / path.name, "--out", out, "--gpu", ""])
    mine = read_coordinates(out / f"{path.stem}.csv")[:, :2]
    theirs = read_coordinates(picks / f"{path.stem}.csv")[:, :2]
    gap = np.hypot(*(mine[:, None] - theirs[None]).transpose(2, 0, 1)).min(axis=1)
    assert np.mean(gap < 4) > 0.9
    assert abs(len(mine) - len(theirs)) <= 0.1 * len(theirs)


def test_other_pixel_sizes_give_the_same_picks(demo_model, demo_data, picks, tmp_path):
    from apbc.preprocess.binning import fourier_resample

    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    image = read_micrograph(path)
    with mrcfile.new(tmp_path / path.name) as mrc:
        mrc.set_data(fourier_resample(image, (1280, 1280)))
        mrc.voxel_size = 1.75
    out = tmp_path / "out"
    run_apbc(["pick", demo_model, "--micrographs", tmp_path / path.name, "--out", out, "--gpu", ""])
    mine = read_coordinates(out / f"{path.stem}.csv")[:, :2] / 2
    theirs = read_coordinates(picks / f"{path.stem}.csv")[:, :2]
    assert mine.shape == theirs.shape
    gap = np.hypot(*(mine[:, None] - theirs[None]).transpose(2, 0, 1)).min(axis=1)
    assert gap.max() < 1


def test_a_phase_flipped_model_asks_for_the_ctf(demo_data, demo_diameter, tmp_path, capsys):
    micrographs, ctf = demo_data / "micrographs", demo_data / "micrographs_ctf.star"
    run_apbc(
        ["dataset", "--micrographs", micrographs, "--good", demo_data / "good", "--bad"]
        + [demo_data / "bad", "--diameter", demo_diameter, "--ctf", ctf]
        + ["--out", tmp_path / "d.h5"]
    )
    run_apbc(
        ["train", tmp_path / "d.h5", "--out", tmp_path / "m", "--epochs", 1, "--no-refit"]
        + ["--gpu", ""]
    )
    one = sorted(micrographs.glob("*.mrc"))[0]
    call = ["pick", tmp_path / "m", "--micrographs", one, "--out", tmp_path / "p", "--gpu", ""]
    run_apbc(call, expect=1)
    assert "--ctf" in capsys.readouterr().err
    run_apbc([*call, "--ctf", ctf])
    assert len(read_coordinates(tmp_path / "p" / "candidates" / f"{one.stem}.csv")) > 0


@pytest.mark.parametrize("old", [False, True])
def test_screening_sorts_and_keeps_everything(old, demo_model, demo_data, tmp_path):
    good, bad = particle_stars(tmp_path / "stars", demo_data, old)
    merged = tmp_path / "stars" / "all.star"
    bad_rows = [line for line in bad.read_text().splitlines() if "@" in line]
    merged.write_text(good.read_text() + "\n".join(bad_rows) + "\n")
    out = tmp_path / "screened"
    run_apbc(["screen", demo_model, merged, "--out", out, "--threshold", 0.5, "--gpu", ""])
    table = read_particles(merged)
    true, false = (read_particles(out / f"particles_{k}.star") for k in ("true", "false"))
    assert true.n + false.n == table.n
    assert true.table.labels == [*table.table.labels, "rlnParticleFigureOfMerit"]
    assert set(true.star.tables) == set(table.star.tables)
    names = table.table.text("rlnImageName")
    with (out / "scores.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["row"]) for row in rows] == list(range(table.n))
    kept = [n for n, row in zip(names, rows, strict=True) if float(row["score"]) >= 0.5]
    assert true.table.text("rlnImageName") == kept
    right = sum("good" in n for n in true.table.text("rlnImageName")) + sum(
        "bad" in n for n in false.table.text("rlnImageName")
    )
    assert right / table.n > 0.75


def test_screening_on_micrographs(demo_model, demo_data, tmp_path):
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    run_apbc(
        ["screen", demo_model, good, "--micrographs", demo_data / "micrographs"]
        + ["--out", tmp_path / "out", "--gpu", ""]
    )
    table = read_particles(good)
    assert read_particles(tmp_path / "out" / "particles_true.star").n > 0.7 * table.n


def test_relion_reads_what_screening_writes(demo_model, demo_data, tmp_path):
    if shutil.which("relion_star_handler") is None:
        pytest.skip("NO RELION: relion_star_handler is not on PATH")
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    out = tmp_path / "out"
    run_apbc(["screen", demo_model, good, "--out", out, "--gpu", "", "--threshold", 0.7])
    for name in ("particles_true", "particles_false"):
        again = tmp_path / f"{name}_again.star"
        subprocess.run(
            ["relion_star_handler", "--i", out / f"{name}.star", "--o", again, "--select"]
            + ["rlnParticleFigureOfMerit", "--minval", "0", "--maxval", "1"],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ},
        )
        mine, theirs = read_particles(out / f"{name}.star"), read_particles(again)
        assert theirs.n == mine.n > 0
        np.testing.assert_allclose(
            theirs.table.numbers("rlnParticleFigureOfMerit"),
            mine.table.numbers("rlnParticleFigureOfMerit"),
            atol=1e-5,
        )


def test_a_stack_of_one_particle(demo_model, demo_data, tmp_path):
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    with mrcfile.open(tmp_path / "stars" / "good.mrcs") as mrc:
        one = mrc.data[0].copy()
    with mrcfile.new(tmp_path / "stars" / "good.mrcs", overwrite=True) as mrc:
        mrc.set_data(one)
        mrc.voxel_size = 3.5
    lines = good.read_text().splitlines()
    rows = [line for line in lines if "@" in line]
    good.write_text("\n".join([line for line in lines if "@" not in line] + rows[:1]) + "\n")
    run_apbc(["screen", demo_model, good, "--out", tmp_path / "out", "--gpu", ""])
    scores = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert len(scores) == 2


def test_a_stack_with_fewer_particles_than_its_star(demo_model, demo_data, tmp_path, capsys):
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    with mrcfile.open(tmp_path / "stars" / "good.mrcs") as mrc:
        some = mrc.data[:5].copy()
    with mrcfile.new(tmp_path / "stars" / "good.mrcs", overwrite=True) as mrc:
        mrc.set_data(some)
        mrc.voxel_size = 3.5
    run_apbc(["screen", demo_model, good, "--out", tmp_path / "out", "--gpu", ""], expect=1)
    assert "which has 5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_candidates_of_another_model_are_not_taken_over(demo_model, demo_data, picks, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(picks, out)
    note = out / "candidates" / "model.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "weights_sha256": "other"}))
    one = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    run_apbc(["pick", demo_model, "--micrographs", one, "--out", out, "--gpu", ""])
    assert [path.stem for path in (out / "candidates").glob("*.csv")] == [one.stem]
    assert [path.stem for path in out.glob("*.star")] == [one.stem]


def test_candidates_without_a_note_are_not_resumed(demo_model, demo_data, picks, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(picks, out)
    (out / "candidates" / "model.json").unlink()
    call = ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out]
    run_apbc([*call, "--resume", "--gpu", ""], expect=1)
    assert "cannot be resumed" in " ".join(capsys.readouterr().err.split())


def test_screening_coordinates_outside_the_micrograph(demo_model, demo_data, tmp_path, capsys):
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    lines = good.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if "@" in line)
    words = lines[row].split()
    lines[row] = " ".join([*words[:2], "9000", *words[3:]])
    good.write_text("\n".join(lines) + "\n")
    call = ["screen", demo_model, good, "--micrographs", demo_data / "micrographs"]
    run_apbc([*call, "--out", tmp_path / "out", "--gpu", ""], expect=1)
    assert "lie outside micrograph" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("label", "status"), [("MicrographPixelSize", 1), ("MicrographOriginalPixelSize", 0)]
)
def test_pixel_sizes_of_star_and_micrographs(
    label, status, demo_model, demo_data, tmp_path, caplog
):
    """The size of the micrographs must agree; that of the movies may differ by binning."""
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    text = good.read_text().replace(
        "_rlnImageDimensionality #8\n", f"_rlnImageDimensionality #8\n_rln{label} #9\n"
    )
    good.write_text(text.replace(" 72 2\n", " 72 2 1.75\n"))
    call = ["screen", demo_model, good, "--micrographs", demo_data / "micrographs"]
    run_apbc([*call, "--out", tmp_path / "out", "--gpu", ""], expect=status)
    assert "1.75 Å/px" in caplog.text or status == 1


def test_screening_leaves_a_record(demo_model, demo_data, tmp_path):
    good, _ = particle_stars(tmp_path / "stars", demo_data)
    run_apbc(["screen", demo_model, good, "--out", tmp_path / "out", "--gpu", ""])
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["device"] == "cpu"
    assert run["true"] + run["false"] == read_particles(good).n


def test_a_damaged_compressed_tiff_fails_alone(demo_model, demo_data, tmp_path):
    from PIL import Image

    folder = tmp_path / "in"
    folder.mkdir()
    for i, path in enumerate(sorted((demo_data / "micrographs").glob("*.mrc"))[:2]):
        image = read_micrograph(path)
        Image.fromarray(image[::-1]).save(folder / f"m{i}.tif", compression="tiff_lzw")
    data = bytearray((folder / "m0.tif").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    (folder / "m0.tif").write_bytes(bytes(data))
    out = tmp_path / "out"
    call = ["pick", demo_model, "--micrographs", folder, "--out", out, "--pixel-size", 3.5]
    run_apbc([*call, "--gpu", ""], expect=3)
    assert list(json.loads((out / "run.json").read_text())["failed"]) == ["m0"]
    assert len(read_coordinates(out / "m1.csv")) > 0


def test_workers_find_what_one_process_finds(demo_model, demo_data, picks, tmp_path):
    out = tmp_path / "out"
    call = ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out]
    run_apbc([*call, "--gpu", "", "--workers", 2])
    mine, theirs = (json.loads((folder / "run.json").read_text()) for folder in (out, picks))
    assert mine == theirs and len(mine["counts"]) == 6
    for name in mine["counts"]:
        for file in (f"candidates/{name}.csv", f"{name}.star"):
            assert (out / file).read_text() == (picks / file).read_text()


def test_a_worker_that_dies_fails_its_micrographs_and_resume_mends_that(
    demo_model, demo_data, tmp_path
):
    """The process is killed as the kernel does it where the memory is full."""
    third = sorted(path.stem for path in (demo_data / "micrographs").iterdir())[3]
    killed = tmp_path / "killed.py"
    killed.write_text(
        "import os, signal, sys\n"
        "from apbc.commands.main import main\n"
        "from apbc.picking import pipeline\n"
        "real = pipeline.read_micrograph\n"
        "def deadly(path):\n"
        f"    if path.stem == {third!r}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(path)\n"
        "pipeline.read_micrograph = deadly\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    out = tmp_path / "out"
    call = ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", out]
    call = [str(word) for word in [*call, "--gpu", "", "--workers", 2]]
    done = subprocess.run([sys.executable, killed, *call], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    failed = json.loads((out / "run.json").read_text())["failed"]
    assert 2 <= len(failed) <= 3 and all("SIGKILL" in reason for reason in failed.values())
    assert len(list((out / "candidates").glob("*.csv"))) == 6 - len(failed)
    assert sorted(out.glob(".*.csv")) == []
    run_apbc([*call, "--resume"])
    assert json.loads((out / "run.json").read_text())["failed"] == {}
    assert len(list((out / "candidates").glob("*.csv"))) == 6


def test_an_interrupt_ends_all_workers_and_keeps_what_is_done(demo_model, demo_data, tmp_path):
    out, many = tmp_path / "out", tmp_path / "in"
    many.mkdir()
    source = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    for i in range(400):
        (many / f"m{i:03d}.mrc").symlink_to(source)
    call = [sys.executable, "-m", "apbc", "pick", demo_model, "--micrographs", many, "--out", out]
    process = subprocess.Popen(
        [*map(str, call), "--gpu", "", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while len(list((out / "candidates").glob("m*.csv"))) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted" in told and "Traceback" not in told
    found = list((out / "candidates").glob("m*.csv"))
    assert 4 <= len(found) < 400
    time.sleep(1)
    assert list((out / "candidates").glob("m*.csv")) == found  # nobody goes on
    assert list(out.rglob(".*.csv")) == []


def test_runs_beside_each_other_lose_no_record(demo_model, demo_data, picks, tmp_path):
    paths = sorted((demo_data / "micrographs").glob("*.mrc"))
    out = tmp_path / "out"
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "apbc", "pick", demo_model, "--micrographs", path]
            + ["--out", out, "--gpu", "", "--no-maps"]
        )
        for path in paths[:4]
    ]
    assert [process.wait() for process in running] == [0] * 4
    run = json.loads((out / "run.json").read_text())
    whole = json.loads((picks / "run.json").read_text())
    assert run["counts"] == {path.stem: whole["counts"][path.stem] for path in paths[:4]}


@pytest.mark.parametrize(
    ("count", "gpus", "plan"),
    [
        (1, None, [None]),
        (2, "", ["", ""]),
        (1, "0", ["0"]),
        (1, "2,0", ["2", "0"]),
        (3, "2,0", ["2", "0", "2"]),
    ],
)
def test_each_process_has_a_gpu(count, gpus, plan):
    from apbc.picking.workers import plan_workers

    assert plan_workers(count, gpus) == plan


def test_tiles_are_sized_to_the_memory(tmp_path):
    from apbc.picking.score_map import SMALLEST_TILE, TILE, fitting_tile
    from apbc.system.memory import available_memory

    assert fitting_tile(16 << 30, 1) == TILE
    assert fitting_tile(0, 1) == SMALLEST_TILE
    assert fitting_tile(1 << 30, 8, 2000) == fitting_tile(1 << 28, 2, 2000) == 362
    info, group = tmp_path / "meminfo", tmp_path / "group"
    info.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert available_memory(info, group) == 8000 * 1024
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("500000\n")
    assert available_memory(info, group) == 8000 * 1024
    (group / "memory.max").write_text("1000000\n")
    (group / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    assert available_memory(info, group) == 1000000 - 500000 + 200000


def test_tiles_have_one_shape_and_cover_everything(demo_model):
    model = load_model(demo_model)
    shapes = set()

    def network(images, training):
        shapes.add(images.shape)
        return model.network(images, training=training)

    pixels = np.random.default_rng(0).normal(size=(330, 410)).astype(np.float32)
    tiled = score_map(network, model.architecture, pixels, tile=150)
    assert len(shapes) == 1 and max(next(iter(shapes))) <= 150
    whole = score_map(model.network, model.architecture, pixels)
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-3)


def test_a_precision_sets_the_threshold_over_all_candidates(
    demo_model, demo_data, picks, tmp_path, caplog
):
    paths = sorted((demo_data / "micrographs").glob("*.mrc"))
    out = tmp_path / "out"
    call = ["pick", demo_model, "--out", out, "--gpu", "", "--precision", 0.9, "--resume"]
    run_apbc([*call, "--micrographs", *paths[:2]])  # as a batch of a stream
    first = json.loads((out / "run.json").read_text())
    run_apbc([*call, "--micrographs", *paths[2:], "--workers", 2])
    run = json.loads((out / "run.json").read_text())
    scores = {p.stem: read_coordinates(p)[:, 2] for p in (picks / "candidates").glob("*.csv")}
    joined = np.concatenate(list(scores.values()))
    assert run["precision_asked"] == 0.9 and run["threshold"] != first["threshold"]
    assert run["precision_expected"] == pytest.approx(joined[joined >= run["threshold"]].mean())
    assert run["precision_expected"] >= 0.9
    lower = np.sort(joined[joined < run["threshold"]])[-1]
    assert joined[joined >= lower].mean() < 0.9
    for name, values in scores.items():
        kept = int((values >= run["threshold"]).sum())
        assert run["counts"][name] == {"candidates": len(values), "exported": kept}
        assert len(read_coordinates(out / f"{name}.star")) == kept
    caplog.clear()
    run_apbc([*call, "--precision", 1, "--micrographs", *paths])
    assert "NO THRESHOLD PROMISES A PRECISION OF 1" in caplog.text
    run = json.loads((out / "run.json").read_text())
    assert run["threshold"] == load_model(demo_model).threshold
    assert run["precision_expected"] == pytest.approx(joined[joined >= run["threshold"]].mean())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--threshold", 0.5, "--precision", 0.9], "exclude each other"),
        (["--precision", 1.5], "from 0 to 1"),
        (["--workers", 0], "at least 1"),
        (["--every-window"], "is for alexnet models"),
    ],
)
def test_options_that_cannot_be(options, told, demo_model, demo_data, tmp_path, capsys):
    call = ["pick", demo_model, "--micrographs", demo_data / "micrographs", "--out", tmp_path / "o"]
    run_apbc([*call, *options], expect=1)
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()


def test_disagreement_is_the_deviation_of_the_probabilities(demo_model):
    from apbc.picking.pipeline import candidates
    from apbc.preprocess.working import WorkingImage

    model = load_model(demo_model)
    surest = model.calibration.score(0.8)
    first = bumps((60, 60), [(20, 30, 5 + surest), (45, 45, 4.5 + surest)])
    members = np.stack([first + 1, first - 1], axis=-1)
    work = WorkingImage(np.zeros((240, 240), np.float32), (0.5, 0.5))
    found = candidates(model, work, ScoreMap(first, 4, 0.0, members), 0.1)
    np.testing.assert_allclose(found[:, :2], [[160, 240], [360, 360]], atol=1e-3)
    logits = np.array([surest, surest - 0.5])
    spread = model.calibration.probability(logits + 1) - model.calibration.probability(logits - 1)
    np.testing.assert_allclose(found[:, 3], spread / 2, atol=1e-6)
    assert candidates(model, work, ScoreMap(first, 4, 0.0), 0.1).shape == (2, 3)


def test_an_ensemble_tells_how_far_its_members_disagree(demo_model, demo_data, tmp_path):
    import hashlib

    from apbc.models.folder import join, save_network

    single = load_model(demo_model)
    doubtful = single.architecture.build()
    weights = single.network.get_weights()
    doubtful.set_weights([*weights[:-1], weights[-1] - 2])  # as sure as the other, less 2
    folder = tmp_path / "model"
    members = [*single.network.layers[1:2], doubtful]
    save_network(join(members, single.architecture), folder / "model.keras")
    digest = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    card = {**single.card, "members": 2, "weights_sha256": digest}
    (folder / "card.json").write_text(json.dumps(card))
    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    call = ["pick", folder, "--micrographs", path, "--out", tmp_path / "out", "--gpu", ""]
    run_apbc(call)
    file = tmp_path / "out" / "candidates" / f"{path.stem}.csv"
    with file.open() as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["x", "y", "score", "disagreement"]
    disagreement = np.array([float(row["disagreement"]) for row in rows])
    assert 0 < disagreement.max() <= 0.5 and disagreement.min() >= 0
    assert read_coordinates(file).shape == (len(rows), 3)
    assert (tmp_path / "out" / f"{path.stem}.csv").read_text().startswith("x,y,score\n")
    before = file.read_text()
    run_apbc([*call, "--resume"])
    assert file.read_text() == before


def test_short_memory_makes_smaller_tiles(demo_model, demo_data, demo_diameter, monkeypatch):
    from apbc.picking import pipeline as module

    model = load_model(demo_model)
    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    work = Preprocessing(demo_diameter).working_image(read_micrograph(path), 3.5)
    real, tiles = module.score_map, []

    def greedy(network, architecture, pixels, tile):
        tiles.append(tile)
        if tile > 300:
            raise MemoryError
        return real(network, architecture, pixels, tile)

    monkeypatch.setattr(module, "SMALLEST_TILE", 100)
    monkeypatch.setattr(module, "score_map", greedy)
    scores = module.candidate_scores(model, work, 2048)
    assert len(tiles) == 2 and tiles[1] == max(work.pixels.shape) // 2
    np.testing.assert_allclose(
        scores.scores, real(model.network, model.architecture, work.pixels).scores, atol=1e-3
    )


def test_score_maps_show_the_candidates_where_they_are(demo_model, demo_data, tmp_path):
    from apbc.display.score_picture import read_score_picture
    from apbc.io.coordinates import read_coordinates
    from apbc.io.images import micrograph_info

    out = tmp_path / "picks"
    path = sorted((demo_data / "micrographs").glob("*.mrc"))[0]
    run_apbc(["pick", demo_model, "--micrographs", path, "--out", out, "--gpu", ""])
    scores, (left, right, bottom, top) = read_score_picture(out / "maps" / f"{path.stem}.png")
    rows, columns = micrograph_info(path).shape
    assert left == pytest.approx(0, abs=12) and right == pytest.approx(columns, abs=12)
    assert bottom == pytest.approx(0, abs=12) and top == pytest.approx(rows, abs=12)
    found = read_coordinates(out / "candidates" / f"{path.stem}.csv")
    best = found[found[:, 2] > 0.5]
    assert len(best) > 3
    across = ((best[:, 0] - left) / (right - left) * scores.shape[1]).astype(int)
    down = ((best[:, 1] - bottom) / (top - bottom) * scores.shape[0]).astype(int)
    np.testing.assert_allclose(scores[down, across], best[:, 2], atol=0.1)

    run_apbc(
        ["pick", demo_model, "--micrographs", path, "--out", tmp_path / "bare", "--no-maps"]
        + ["--gpu", ""]
    )
    assert not (tmp_path / "bare" / "maps").exists()
