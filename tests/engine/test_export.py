"""Coordinates for other programs; Relion's own programs import and extract them."""

import json
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from apbc.commands.main import main
from apbc.io.coordinates import read_coordinate_folder, read_coordinates, write_coordinates
from apbc.io.export import relion_path
from apbc.io.star import read_star

SHAPE = (200, 300)  # rows, columns
BOX = 16
# By the micrograph's path in the project: x, y of dark pixels, no two alike.
SPOTS = {
    "Raw/a/m1.mrc": [(100, 60), (220, 150)],
    "Raw/b/m2.mrc": [(40, 150), (260, 31), (150, 100)],
    "Raw/c/empty.mrc": [],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Folder of a Relion project with micrographs in nested folders, picks, and a run.json."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    for name, spots in SPOTS.items():
        image = rng.normal(0, 0.1, SHAPE).astype(np.float32)
        for depth, (x, y) in enumerate(spots, start=50):
            image[y, x] = -depth
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path) as handle:
            handle.set_data(image)
            handle.voxel_size = 2.0
        scores = np.linspace(0.9, 0.5, len(spots))
        write_coordinates(tmp_path / "picks" / f"{path.stem}.csv", spots, scores)
        low = np.array([*spots, (20, 20)], float)
        write_coordinates(
            tmp_path / "picks" / "candidates" / f"{path.stem}.csv", low, [*scores, 0.1]
        )
    (tmp_path / "picks" / "run.json").write_text(json.dumps({"pixel_size": 2.0, "box_size": BOX}))
    return tmp_path


def relion(program, *words):
    if shutil.which(program) is None:
        pytest.skip(f"NO RELION: {program} is not in the PATH, so what it reads was not tried")
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def import_micrographs():
    """Import the micrographs into the Relion project; return their star file."""
    Path("Import/job001").mkdir(parents=True)
    relion(
        *("relion_import", "--do_micrographs", "--i", "Raw/*/*.mrc", "--odir", "Import/job001/"),
        *("--ofile", "micrographs.star", "--angpix", 2),
    )
    return "Import/job001/micrographs.star"


def extract(project, micrographs, coordinates):
    """Run Relion's extraction as its window does, given what is chosen as coordinates."""
    folder, chosen = coordinates.rsplit("/", 1)
    job = project / "Extract" / "job009"
    job.mkdir(parents=True)
    told = relion(
        *("relion_preprocess", "--i", micrographs, "--coord_dir", f"{folder}/"),
        *("--coord_suffix", chosen.removeprefix("coords_suffix")),
        *("--part_star", "Extract/job009/particles.star", "--part_dir", "Extract/job009/"),
        *("--extract", "--extract_size", BOX),
    )
    assert "does not exist" not in told
    return read_star(job / "particles.star").table_with("rlnImageName")


def check_extracted(project, particles, expected=SPOTS):
    """The particles are those that were picked, and each centre is its spot."""
    names = particles.text("rlnMicrographName")
    xy = np.stack([particles.numbers(f"rlnCoordinate{axis}") for axis in "XY"], axis=1)
    found = {name: [] for name in expected}
    for name, image, (x, y) in zip(names, particles.text("rlnImageName"), xy, strict=True):
        number, stack = image.split("@")
        with mrcfile.open(project / stack) as handle:
            picture = handle.data.reshape(-1, BOX, BOX)[int(number) - 1]
        assert np.unravel_index(picture.argmin(), picture.shape) == (BOX // 2, BOX // 2)
        assert picture.min() <= -50
        found[name].append((round(x), round(y)))
    assert found == expected


@pytest.mark.parametrize("kind", ["star", "glob"])
def test_relion_extracts_what_was_picked_from_nested_folders(project, kind):
    star = import_micrographs()
    given = star if kind == "star" else "Raw/*/*.mrc"
    assert main(["export", "picks", "--micrographs", given, "--out", "Apbc/picks"]) == 0
    assert (project / "Apbc" / "picks" / "coords_suffix_apbc.star").read_text() == f"{given}\n"
    particles = extract(project, star, "Apbc/picks/coords_suffix_apbc.star")
    check_extracted(project, particles)
    assert sorted(particles.numbers("rlnAutopickFigureOfMerit")) == [0.5, 0.5, 0.7, 0.9, 0.9]


def test_relion_imports_what_lies_beside_the_micrographs(project):
    star = import_micrographs()
    assert main(["export", "picks", "--micrographs", star, "--out", "."]) == 0
    (project / "Import" / "job002").mkdir()
    relion(
        *("relion_import", "--do_coordinates", "--i", "Raw/*/*_apbc.star"),
        *("--odir", "Import/job002/", "--ofile", "coords_suffix_apbc.star"),
    )
    particles = extract(project, star, "Import/job002/coords_suffix_apbc.star")
    check_extracted(project, particles)


def test_relion_extracts_from_eman_boxes(project):
    star = import_micrographs()
    assert (
        main(["export", "picks", "--micrographs", star, "--out", "Apbc", "--format", "eman"]) == 0
    )
    assert (project / "Apbc/Raw/a/m1.box").read_text().splitlines()[0].split()[:4] == (
        ["92", "52", "16", "16"]
    )
    particles = extract(project, star, "Apbc/.box")
    check_extracted(project, particles)


def test_relion_reads_particles_of_motion_corrected_micrographs(project):
    """Relion leaves out the job in front of a name: so does the export."""
    (project / "MotionCorr" / "job002").mkdir(parents=True)
    shutil.move(project / "Raw", project / "MotionCorr" / "job002" / "Raw")
    moved = {f"MotionCorr/job002/{name}": spots for name, spots in SPOTS.items()}
    head = "data_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n"
    head += "_rlnMicrographOriginalPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n"
    head += "_rlnAmplitudeContrast\none 1 2.0 2.0 300 2.7 0.1\n\n"
    rows = "".join(f"{name} 1\n" for name in moved)
    star = project / "MotionCorr" / "job002" / "corrected_micrographs.star"
    star.write_text(f"{head}data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\n{rows}")
    given = "MotionCorr/job002/corrected_micrographs.star"
    assert main(["export", "picks", "--micrographs", given, "--out", "Apbc"]) == 0
    assert (project / "Apbc" / "Raw" / "b" / "m2_apbc.star").is_file()
    particles = extract(project, given, "Apbc/coords_suffix_apbc.star")
    check_extracted(project, particles, moved)


def test_the_list_of_relion_4_names_every_file(project):
    assert main(["export", "picks", "--micrographs", "Raw/*/*.mrc", "--out", "Apbc"]) == 0
    star = read_star(project / "Apbc" / "autopick.star")
    table = star.tables["coordinate_files"]
    named = zip(
        table.text("rlnMicrographName"), table.text("rlnMicrographCoordinates"), strict=True
    )
    for name, path in named:
        assert [tuple(row) for row in read_coordinates(project / path)[:, :2]] == SPOTS[name]
    assert table.text("rlnMicrographName") == list(SPOTS)


def test_a_threshold_takes_candidates(project):
    words = ["export", "picks", "--micrographs", "Raw/*/*.mrc", "--format", "star,csv"]
    assert main([*words, "--out", "few", "--threshold", "0.8"]) == 0
    assert main([*words, "--out", "all", "--threshold", "0"]) == 0
    few, all_ = (read_coordinate_folder(project / n / "coordinates.star") for n in ("few", "all"))
    assert {name: len(rows) for name, rows in few.items()} == {"m1": 1, "m2": 1}
    assert {name: len(rows) for name, rows in all_.items()} == {"m1": 3, "m2": 4, "empty": 1}
    np.testing.assert_allclose(few["m2"], [[40, 150, 0.9]])
    np.testing.assert_allclose(read_coordinates(project / "few/Raw/b/m2.csv"), [[40, 150, 0.9]])


def test_coordinates_are_scaled_to_the_micrographs_of_relion(project):
    star = project / "binned.star"
    star.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n1 4.0\n\n"
        "data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\nRaw/a/m1.mrc 1\n"
    )
    (project / "picks" / "run.json").write_text(json.dumps({"pixel_size": 2.0, "box_size": 18}))
    words = ["export", "picks", "--micrographs", "binned.star", "--out", "o"]
    assert main([*words, "--format", "csv,eman", "--json", "told.json"]) == 0
    assert json.loads((project / "told.json").read_text()) == {
        "picks": 2,
        "micrographs": 1,
        "left_out": ["empty", "m2"],
        "scale": 0.5,
        "box_size": 8,
        "formats": ["csv", "eman"],
    }
    np.testing.assert_allclose(read_coordinates(project / "o/Raw/a/m1.csv")[0, :2], [50, 30])
    assert (project / "o/Raw/a/m1.box").read_text().split()[:4] == ["46", "26", "8", "8"]


def test_labels_stand_for_stems_that_are_not_unique(project):
    star = project / "mics.star"
    star.write_text(
        "data_\n\nloop_\n_rlnMicrographName\n_apbcLabel\nA/x.mrc m1\nB/x.mrc m2\nC/x.mrc m3\n"
    )
    assert main(["export", "picks", "--micrographs", "mics.star", "--out", "o"]) == 0
    assert len(read_coordinates(project / "o/A/x_apbc.star")) == 2
    assert len(read_coordinates(project / "o/B/x_apbc.star")) == 3
    assert not (project / "o/C").exists()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("MotionCorr/job002/Raw/a/x.y.mrc", "Raw/a/x.y"),
        ("Import/job1234/x.mrc", "x"),
        ("Raw/x.tiff", "Raw/x"),
        ("/data/Raw/x.mrc", "data/Raw/x"),
        ("jobs/x.mrc", "jobs/x"),
    ],
)
def test_where_relion_looks(name, path):
    assert str(relion_path(name)) == path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format", "spider"], "give some of relion,eman,star,csv"),
        (["--suffix", "a/b"], "give letters"),
        (["--box-size", "0"], "give a size above 0"),
        (["--micrographs", "Raw/none*.mrc"], "no micrographs found"),
        (["--micrographs", "other.star"], "none of the picked micrographs"),
        (["--micrographs", "out.star"], "holds '..'"),
        (["--micrographs", "twice.star"], "would share one coordinate file"),
    ],
)
def test_bad_input_is_told(project, capsys, words, told):
    head = "data_\n\nloop_\n_rlnMicrographName\n"
    (project / "other.star").write_text(f"{head}q.mrc\n")
    (project / "out.star").write_text(f"{head}../Raw/m1.mrc\n")
    (project / "twice.star").write_text(
        f"{head[:-1]}\n_apbcLabel\nA/job001/x.mrc m1\nB/job002/x.mrc m2\n"
    )
    given = ["--micrographs", "Raw/*/*.mrc"] if "--micrographs" not in words else []
    assert main(["export", "picks", *given, *words, "--out", "o"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("apbc: error: ") and told in error


def test_scores_and_box_size_are_asked_for(project, capsys):
    (project / "manual").mkdir()
    write_coordinates(project / "manual" / "m1.csv", [(3, 4)])
    words = ["export", "manual", "--micrographs", "Raw/*/*.mrc", "--out", "o"]
    assert main([*words, "--threshold", "0.5"]) == 1
    assert "without scores; leave --threshold out" in capsys.readouterr().err
    assert main([*words, "--format", "eman"]) == 1
    assert "give --box-size" in capsys.readouterr().err
    assert main([*words, "--format", "eman", "--box-size", "20"]) == 0
    assert (project / "o/Raw/a/m1.box").read_text().split() == ["-7", "-6", "20", "20"]
