import shutil

import h5py
import mrcfile
import numpy as np
import pytest

from apbc.dataset.crops import cut
from apbc.dataset.labels import BAD, GOOD, UNLABELLED
from apbc.dataset.split import TEST, TRAIN, VALIDATION, split_micrographs, split_particles
from apbc.dataset.store import Dataset
from apbc.errors import ApbcError
from apbc.io.coordinates import read_coordinates, write_coordinates
from apbc.io.images import read_micrograph
from apbc.preprocess.working import Preprocessing
from conftest import run_apbc


def test_crops_are_the_pixels_that_picking_sees(demo_data, demo_dataset, demo_diameter):
    with Dataset(demo_dataset) as dataset:
        name = dataset.micrograph_names[0]
        path = demo_data / "micrographs" / f"{name}.mrc"
        with mrcfile.open(path, header_only=True) as mrc:
            pixel_size = float(mrc.voxel_size.x)
        work = Preprocessing(demo_diameter).working_image(read_micrograph(path), pixel_size)
        good = read_coordinates(demo_data / "good" / f"{name}.csv")
        expected, _ = cut(work.pixels, work.to_working(good[:, :2]), dataset.crop_size)
        positions = [
            i
            for i in dataset.crops_of(None, (GOOD,))
            if dataset.micrograph[dataset.crop_rows[i]] == 0
        ]
        got = dataset.crops(np.array(positions))
        np.testing.assert_allclose(dataset.coordinates[dataset.crop_rows[positions]], good[:, :2])
        np.testing.assert_allclose(got, expected.astype(np.float16).astype(np.float32))


def test_split_is_by_micrograph_and_every_part_has_both_classes(demo_dataset):
    with Dataset(demo_dataset) as dataset:
        parts = {
            name: set(dataset.split[dataset.micrograph == i].tolist())
            for i, name in enumerate(dataset.micrograph_names)
        }
        assert all(len(part) == 1 for part in parts.values())
        assert set.union(*parts.values()) == {TRAIN, VALIDATION, TEST}
        for part in dataset.counts().values():
            assert part["good"] > 0 and part["bad"] > 0
        assert set(dataset.image_names) == set(parts)


def test_background_keeps_clear_of_labels(demo_dataset):
    with Dataset(demo_dataset) as dataset:
        background = dataset.working[dataset.kind == UNLABELLED]
        owner = dataset.micrograph[dataset.kind == UNLABELLED]
        labels = dataset.working[dataset.kind != UNLABELLED]
        of = dataset.micrograph[dataset.kind != UNLABELLED]
        assert len(background) > 50
        for i in range(len(dataset.micrograph_names)):
            gap = np.hypot(*(background[owner == i][:, None] - labels[of == i][None]).T)
            assert gap.min() >= dataset.preprocessing.diameter_pixels / 2


def test_same_input_gives_the_same_data(demo_data, demo_dataset, demo_diameter, tmp_path):
    again = tmp_path / "again.h5"
    run_apbc(
        ["dataset", "--micrographs", demo_data / "micrographs", "--good", demo_data / "good"]
        + ["--bad", demo_data / "bad", "--diameter", demo_diameter, "--out", again]
    )
    with Dataset(demo_dataset) as a, Dataset(again) as b:
        assert a.data_hash == b.data_hash
        assert a.provenance["inputs_sha256"] == b.provenance["inputs_sha256"]


def test_split_of_micrographs_has_the_shares_asked_for():
    rng = np.random.default_rng(3)
    counts = rng.integers(20, 60, (50, 2))
    parts = split_micrographs(counts, seed=0)
    assert np.bincount(parts).tolist() == [32, 8, 10]
    shares = np.array([counts[parts == p].sum(axis=0) for p in range(3)]) / counts.sum(axis=0)
    np.testing.assert_allclose(shares, np.array([[0.64], [0.16], [0.20]]).repeat(2, 1), atol=0.02)
    assert (split_micrographs(counts, seed=0) == parts).all()
    assert (split_micrographs(counts, seed=1) != parts).any()


def test_split_of_particles_is_stratified():
    kinds = np.array([GOOD] * 100 + [BAD] * 50)
    parts = split_particles(kinds, seed=0)
    assert np.bincount(parts[kinds == GOOD]).tolist() == [64, 16, 20]
    assert np.bincount(parts[kinds == BAD]).tolist() == [32, 8, 10]


def particle_stars(folder, demo_data, old=False, box=72):
    """Extract crops as Relion would (protein white) and write good and bad stars."""
    folder.mkdir()
    for kind in ("good", "bad"):
        images, rows = [], []
        for path in sorted((demo_data / "micrographs").glob("*.mrc")):
            pixels = read_micrograph(path)
            for x, y, _ in read_coordinates(demo_data / kind / f"{path.stem}.csv"):
                r, c = int(y) - box // 2, int(x) - box // 2
                if 0 <= r <= pixels.shape[0] - box and 0 <= c <= pixels.shape[1] - box:
                    images.append(-pixels[r : r + box, c : c + box])
                    rows.append(f"{len(images):06d}@{kind}.mrcs mics/{path.name} {x} {y}")
        with mrcfile.new(folder / f"{kind}.mrcs") as mrc:
            mrc.set_data(np.stack(images).astype(np.float32))
            mrc.voxel_size = 3.5
        columns = ["ImageName", "MicrographName", "CoordinateX", "CoordinateY"]
        if old:
            columns += ["DetectorPixelSize", "Magnification"]
            text = "data_\n\nloop_\n" + "".join(f"_rln{c} #{i}\n" for i, c in enumerate(columns, 1))
            text += "".join(f"{row} 3.5 10000\n" for row in rows)
        else:
            columns += ["OpticsGroup"]
            optics = {
                "OpticsGroup": 1,
                "OpticsGroupName": "opticsGroup1",
                "ImagePixelSize": 3.5,
                "Voltage": 300,
                "SphericalAberration": 2.7,
                "AmplitudeContrast": 0.1,
                "ImageSize": box,
                "ImageDimensionality": 2,
            }
            text = "# version 30001\n\ndata_optics\n\nloop_\n"
            text += "".join(f"_rln{label} #{i}\n" for i, label in enumerate(optics, 1))
            text += " ".join(map(str, optics.values())) + "\n\n\n"
            text += "# version 30001\n\ndata_particles\n\nloop_\n"
            text += "".join(f"_rln{c} #{i}\n" for i, c in enumerate(columns, 1))
            text += "".join(f"{row} 1\n" for row in rows)
        (folder / f"{kind}.star").write_text(text)
    return folder / "good.star", folder / "bad.star"


@pytest.mark.parametrize("old", [False, True])
def test_data_set_of_stacks_looks_like_that_of_micrographs(
    old, demo_data, demo_dataset, demo_diameter, tmp_path
):
    good, bad = particle_stars(tmp_path / "stacks", demo_data, old)
    out = tmp_path / "stacks.h5"
    run_apbc(
        ["dataset", "--good-particles", good, "--bad-particles", bad]
        + ["--diameter", demo_diameter, "--out", out]
    )
    with Dataset(out) as stacks, Dataset(demo_dataset) as micrographs:
        name = stacks.micrograph_names.index(micrographs.micrograph_names[0])
        row = int(np.flatnonzero((stacks.kind == GOOD) & (stacks.micrograph == name))[0])
        gap = np.abs(micrographs.coordinates - stacks.coordinates[row]).sum(axis=1)
        gap[micrographs.micrograph != 0] = np.inf
        same = int(gap.argmin())
        assert gap[same] < 0.01
        crop = stacks.crops(np.flatnonzero(stacks.crop_rows == row))[0]
        other = micrographs.crops(np.flatnonzero(micrographs.crop_rows == same))[0]
        first, side = stacks.crop_size // 2 - 12, 24
        middle = crop[first : first + side, first : first + side]
        likeness = {}
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                rows = slice(first + dy, first + dy + side)
                cols = slice(first + dx, first + dx + side)
                likeness[dy, dx] = np.corrcoef(middle.ravel(), other[rows, cols].ravel())[0, 1]
        # one is cut on whole pixels of the micrograph, the other on those of the working image,
        # so that they may differ by a pixel
        assert np.abs(max(likeness, key=likeness.get)).max() <= 1
        assert likeness[0, 0] > 0.7


def test_particle_stars_with_micrographs_are_cut_from_them(
    demo_data, demo_dataset, demo_diameter, tmp_path
):
    good, bad = particle_stars(tmp_path / "stacks", demo_data)
    out = tmp_path / "cut.h5"
    run_apbc(
        ["dataset", "--good-particles", good, "--bad-particles", bad, "--diameter", demo_diameter]
        + ["--micrographs", demo_data / "micrographs", "--out", out]
    )
    with Dataset(out) as dataset:
        assert dataset.provenance["source"] == "micrographs"
        assert (dataset.kind == UNLABELLED).any()


@pytest.fixture
def folder(demo_data, tmp_path):
    """A copy of the labels that a test may spoil."""
    for kind in ("good", "bad", "micrographs"):
        shutil.copytree(demo_data / kind, tmp_path / kind)
    return tmp_path


def fails(folder, capsys, diameter, *more):
    """Make a data set of a spoilt folder; give the one sentence, check that nothing is left."""
    out = folder / "out" / "data.h5"
    run_apbc(
        ["dataset", "--micrographs", folder / "micrographs", "--good", folder / "good"]
        + ["--bad", folder / "bad", "--diameter", diameter, "--out", out, *more],
        expect=1,
    )
    assert not (out.parent.exists() and list(out.parent.iterdir()))
    lines = [line for line in capsys.readouterr().err.splitlines() if "apbc: error:" in line]
    assert len(lines) == 1
    return lines[0]


def test_coordinates_outside_the_micrograph(folder, capsys, demo_diameter):
    path = sorted((folder / "good").glob("*.csv"))[0]
    path.write_text(path.read_text() + "9000,10\n")
    sentence = fails(folder, capsys, demo_diameter)
    assert path.stem in sentence and "outside" in sentence


def test_too_few_bad_particles(folder, capsys, demo_diameter):
    for path in (folder / "bad").glob("*.csv"):
        path.write_text("x,y\n200,200\n")
    assert "only 6 bad particles" in fails(folder, capsys, demo_diameter)


def test_no_bad_particles(folder, capsys, demo_diameter):
    for path in (folder / "bad").glob("*.csv"):
        write_coordinates(path, np.empty((0, 2)))
    assert "no bad particles" in fails(folder, capsys, demo_diameter)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.0])
def test_spoilt_pixels(folder, capsys, demo_diameter, value):
    path = sorted((folder / "micrographs").glob("*.mrc"))[-1]
    with mrcfile.open(path, "r+") as mrc:
        mrc.data[...] = value
    assert path.name in fails(folder, capsys, demo_diameter)


def test_truncated_micrograph(folder, capsys, demo_diameter):
    path = sorted((folder / "micrographs").glob("*.mrc"))[-1]
    path.write_bytes(path.read_bytes()[:-5000])
    assert path.name in fails(folder, capsys, demo_diameter)


def test_contradicting_pixel_sizes(folder, capsys, demo_diameter):
    with mrcfile.open(sorted((folder / "micrographs").glob("*.mrc"))[-1], "r+") as mrc:
        mrc.voxel_size = 1.2
    assert "--pixel-size" in fails(folder, capsys, demo_diameter)


def test_micrograph_smaller_than_a_box(folder, capsys):
    assert "smaller than a box" in fails(folder, capsys, 1500)


def test_labels_of_other_micrographs(folder, capsys, demo_diameter):
    for kind in ("good", "bad"):
        for path in (folder / kind).glob("*.csv"):
            path.rename(path.with_name("other_" + path.name))
    assert "file names must agree" in fails(folder, capsys, demo_diameter)


def test_other_files_are_no_data_sets(tmp_path):
    with pytest.raises(ApbcError, match="no data set"):
        Dataset(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("x,y\n")
    with pytest.raises(ApbcError, match="not an HDF5"):
        Dataset(tmp_path / "text.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as handle:
        handle["a"] = 1
    with pytest.raises(ApbcError, match="not a data set of this version"):
        Dataset(tmp_path / "foreign.h5")


@pytest.mark.parametrize("option", [["--seed", -1], ["--max-particles", 3]])
def test_impossible_options(option, folder, capsys, demo_diameter):
    assert option[0] in fails(folder, capsys, demo_diameter, *option)
