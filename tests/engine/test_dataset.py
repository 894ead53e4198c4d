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
            columns += ["OpticsGroup", "ClassNumber"]
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
            text += "".join(f"{row} 1 {5 if kind == 'good' else 6}\n" for row in rows)
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
        views = (-1, -1) if old else (5, 6)
        assert [set(stacks.view[stacks.kind == kind]) for kind in (GOOD, BAD)] == [
            {view} for view in views
        ]


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


def test_a_micrograph_without_labels_is_left_out(folder, demo_diameter):
    name = sorted((folder / "good").glob("*.csv"))[0].stem
    for kind in ("good", "bad"):
        write_coordinates(folder / kind / f"{name}.csv", np.empty((0, 2)))
    run_apbc(
        ["dataset", "--micrographs", folder / "micrographs", "--good", folder / "good"]
        + ["--bad", folder / "bad", "--diameter", demo_diameter, "--out", folder / "d.h5"]
    )
    with Dataset(folder / "d.h5") as dataset:
        assert len(dataset.micrograph_names) == 5 and name not in dataset.micrograph_names


def packed_anew(dataset, path, dtype, **how):
    """A copy of a data set as another program may write it; its crops."""
    with h5py.File(dataset, "r") as old, h5py.File(path, "w") as new:
        new.attrs.update(old.attrs)
        for part in ("images", "labels", "micrographs"):
            old.copy(part, new)
        crops = old["crops"][:]
        new.create_dataset("crops", data=crops.astype(dtype), chunks=(1, *crops.shape[1:]), **how)
    return crops


def test_crops_that_were_compressed_are_refused(demo_dataset, tmp_path):
    packed_anew(demo_dataset, tmp_path / "d.h5", np.float16, compression="gzip")
    with Dataset(tmp_path / "d.h5") as dataset, pytest.raises(ApbcError, match="packed it anew"):
        dataset.stored_crops(np.arange(3))


def test_crops_of_the_other_byte_order(demo_dataset, tmp_path):
    crops = packed_anew(demo_dataset, tmp_path / "d.h5", ">f2")
    with Dataset(tmp_path / "d.h5") as dataset:
        stored = dataset.stored_crops(np.arange(3))
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, crops[:3])


def test_good_labels_alone(demo_data, demo_dataset, demo_diameter, tmp_path, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "good.h5"
    make = ["dataset", "--micrographs", demo_data / "micrographs", "--diameter", demo_diameter]
    run_apbc([*make, "--good", demo_data / "good", "--out", out])
    said = caplog.text
    assert said.count("good labels alone") == 1 and "lacks good or bad" not in said
    with Dataset(out) as alone, Dataset(demo_dataset) as both:
        assert alone.good_alone and not both.good_alone
        for part, counts in alone.counts().items():
            assert counts["bad"] == 0 and counts["good"] > 0 and counts["unlabelled"] > 0, part
        good = both.coordinates[both.kind == GOOD]
        assert sorted(map(tuple, alone.coordinates[alone.kind == GOOD])) == sorted(map(tuple, good))


def test_good_stars_alone(demo_data, demo_diameter, tmp_path, capsys):
    good, bad = particle_stars(tmp_path / "stacks", demo_data)
    make = ["dataset", "--diameter", demo_diameter, "--out", tmp_path / "a.h5"]
    run_apbc([*make, "--good-particles", good, "--micrographs", demo_data / "micrographs"])
    with Dataset(tmp_path / "a.h5") as dataset:
        assert dataset.good_alone
    capsys.readouterr()
    run_apbc([*make, "--good-particles", good], expect=1)
    assert "give --bad-particles, or --micrographs" in capsys.readouterr().err
    run_apbc([*make, "--bad-particles", bad], expect=1)
    assert "no good particles" in capsys.readouterr().err


def with_columns(folder, **columns):
    """Add columns to the CSV files of a folder; a value is a number or a function of the rows."""
    for path in sorted(folder.glob("*.csv")):
        rows = read_coordinates(path)
        header, *lines = path.read_text().splitlines()
        for name, told in columns.items():
            values = told(rows) if callable(told) else [told] * len(rows)
            header += f",{name}"
            lines = [f"{line},{value}" for line, value in zip(lines, values, strict=True)]
        path.write_text("\n".join([header, *lines]) + "\n")


def test_views_of_csv_files(folder, demo_data, demo_diameter, caplog):
    caplog.set_level("INFO")
    with_columns(folder / "good", view=lambda rows: [3 if x < 320 else "" for x in rows[:, 0]])
    out = folder / "data.h5"
    run_apbc(
        ["dataset", "--micrographs", folder / "micrographs", "--good", folder / "good"]
        + ["--bad", folder / "bad", "--diameter", demo_diameter, "--out", out]
    )
    with Dataset(out) as dataset:
        good = dataset.kind == GOOD
        expected = np.where(dataset.coordinates[good][:, 0] < 320, 3, -1)
        np.testing.assert_array_equal(dataset.view[good], expected)
        assert (dataset.view[~good] == -1).all() and dataset.view.dtype == np.int32
        n = int((expected == 3).sum())
        assert dataset.provenance["views"] == {"-1": len(expected) - n, "3": n}
    assert f"views: class 3: {n}, unknown: {len(expected) - n}" in caplog.text


def test_older_data_sets_have_no_views(demo_dataset, tmp_path):
    old = shutil.copy(demo_dataset, tmp_path / "old.h5")
    with h5py.File(old, "r+") as handle:
        del handle["labels/view"]
    with Dataset(old) as dataset:
        assert len(dataset.view) == len(dataset.kind) and (dataset.view == -1).all()


def test_a_class_that_is_no_number(folder, capsys, demo_diameter):
    with_columns(folder / "bad", view="2.5")
    assert "no whole number" in fails(folder, capsys, demo_diameter)


def test_a_rare_view_survives_the_cut(folder, demo_diameter):
    numbers = iter(range(10_000))
    with_columns(folder / "good", view=lambda rows: [1 + (next(numbers) % 20 == 0) for _ in rows])
    out = folder / "data.h5"
    run_apbc(
        ["dataset", "--micrographs", folder / "micrographs", "--good", folder / "good"]
        + ["--diameter", demo_diameter, "--out", out, "--max-particles", 40]
    )
    with Dataset(out) as dataset:
        of_crops = dataset.view[dataset.crop_rows[dataset.crops_of(None, (GOOD,))]]
        rare = int((dataset.view == 2).sum())
        assert 0 < rare < 20 and np.sum(of_crops == 2) == rare and len(of_crops) == 40


def star_of_labels(path, folder, shift, view, old=False, size=3.5):
    """Write the labels of a folder as a star file, moved away by a shift in Å that it tells."""
    rows = []
    for csv in sorted(folder.glob("*.csv")):
        for x, y, _ in read_coordinates(csv):
            x, y = x - shift[0] / size, y - shift[1] / size
            origin = [-value / (2 * size if old else 1) for value in shift]
            rows.append(f"{csv.stem}.mrc {x:.6f} {y:.6f} {origin[0]:.6f} {origin[1]:.6f} {view}")
    unit = "" if old else "Angst"
    columns = ["MicrographName", "CoordinateX", "CoordinateY"]
    columns += [f"OriginX{unit}", f"OriginY{unit}", "ClassNumber"]
    if old:
        columns += ["DetectorPixelSize", "Magnification"]
        rows = [f"{row} {2 * size} 10000" for row in rows]
    text = "data_particles\n\nloop_\n"
    text += "".join(f"_rln{name} #{i}\n" for i, name in enumerate(columns, 1))
    path.write_text(text + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("old", [False, True])
def test_labels_are_moved_onto_their_particles(demo_data, demo_diameter, tmp_path, caplog, old):
    caplog.set_level("INFO")
    shift = (17.5, 10.5)
    stars = {
        kind: star_of_labels(tmp_path / f"{kind}.star", demo_data / kind, shift, view, old)
        for kind, view in (("good", 4), ("bad", 9))
    }
    make = ["dataset", "--micrographs", demo_data / "micrographs", "--diameter", demo_diameter]
    make += ["--good-particles", stars["good"], "--bad-particles", stars["bad"]]
    found = {}
    for name, more in (("moved", []), ("left", ["--no-recentre"])):
        run_apbc([*make, "--out", tmp_path / f"{name}.h5", *more])
        with Dataset(tmp_path / f"{name}.h5") as dataset:
            found[name] = dataset.coordinates[dataset.kind != UNLABELLED]
            assert set(dataset.view[dataset.kind == GOOD].tolist()) == {4}
            assert set(dataset.view[dataset.kind == BAD].tolist()) == {9}
            told = dataset.provenance["recentred"]
            n = len(found[name]) if name == "moved" else 0
            assert (told["moved"], told["left"]) == (n, 0)
    said = caplog.text
    assert f"{len(found['moved'])} of {len(found['moved'])} labels were moved" in said
    assert "by 20.4 Å in the median" in said
    with Dataset(tmp_path / "moved.h5") as dataset:
        for i, name in enumerate(dataset.micrograph_names):
            mine = (dataset.micrograph == i) & (dataset.kind == GOOD)
            expected = read_coordinates(demo_data / "good" / f"{name}.csv")[:, :2]
            np.testing.assert_allclose(dataset.coordinates[mine], expected, atol=0.01)
    np.testing.assert_allclose(found["moved"] - found["left"] - [[5, 3]], 0, atol=0.01)


def test_shifts_that_are_not_believed(folder, demo_diameter, caplog):
    size = 3.5
    far = 0.6 * demo_diameter
    with_columns(folder / "good", shift_x=-far, shift_y=0)
    edge = sorted((folder / "bad").glob("*.csv"))[0]
    with_columns(folder / "bad", shift_x=lambda rows: [2 * size] * len(rows), shift_y=0)
    edge.write_text(edge.read_text() + f"638,300,{5 * size},0\n638,300,,\n")
    out = folder / "data.h5"
    run_apbc(
        ["dataset", "--micrographs", folder / "micrographs", "--good", folder / "good"]
        + ["--bad", folder / "bad", "--diameter", demo_diameter, "--out", out]
    )
    with Dataset(out) as dataset:
        told = dataset.provenance["recentred"]
        n_good, n_bad = (int((dataset.kind == kind).sum()) for kind in (GOOD, BAD))
        assert (told["moved"], told["left"]) == (n_bad - 2, n_good + 1)
        assert told["median"] == pytest.approx(2 * size)
        for i, name in enumerate(dataset.micrograph_names):
            for kind, folder_name, moved in ((GOOD, "good", 0), (BAD, "bad", 2)):
                mine = (dataset.micrograph == i) & (dataset.kind == kind)
                rows = read_coordinates(folder / folder_name / f"{name}.csv")[:, 0]
                moved = np.where(rows == 638, 0, moved)
                np.testing.assert_allclose(dataset.coordinates[mine][:, 0], rows + moved, atol=0.01)
    assert f"{n_good + 1} labels stay where they were picked" in caplog.text


def test_shifts_in_pixels_of_unknown_size(demo_data, demo_diameter, tmp_path, capsys):
    star = star_of_labels(tmp_path / "good.star", demo_data / "good", (3.5, 0), 1)
    star.write_text(star.read_text().replace("Angst", ""))
    make = ["dataset", "--micrographs", demo_data / "micrographs", "--diameter", demo_diameter]
    make += ["--good-particles", star, "--out", tmp_path / "data.h5"]
    run_apbc(make, expect=1)
    assert "--no-recentre" in capsys.readouterr().err
    run_apbc([*make, "--no-recentre"])


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
