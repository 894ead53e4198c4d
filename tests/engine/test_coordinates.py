import shutil
import subprocess

import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.io.coordinates import read_coordinate_folder, read_coordinates, write_coordinates

XY = np.array([[10.25, 20.5], [100, 7]])
SCORES = np.array([0.875, 0.25])


@pytest.mark.parametrize("suffix", [".csv", ".star", ".box"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    whole = np.rint(XY) if suffix == ".box" else XY
    write_coordinates(path, whole, SCORES, 32)
    np.testing.assert_allclose(read_coordinates(path), np.c_[whole, SCORES])
    write_coordinates(path, whole, None, 32)
    np.testing.assert_allclose(read_coordinates(path), np.c_[whole, [np.nan, np.nan]])
    write_coordinates(path, np.empty((0, 2)), [], 32)
    assert read_coordinates(path).shape == (0, 3)


def test_the_text_of_each_format(tmp_path):
    for suffix in (".csv", ".box", ".star"):
        write_coordinates(tmp_path / f"m{suffix}", XY, SCORES, 20)
    assert (tmp_path / "m.csv").read_text() == (
        "x,y,score\n10.25,20.50,0.875000\n100.00,7.00,0.250000\n"
    )
    assert (tmp_path / "m.box").read_text().splitlines()[1] == "90\t-3\t20\t20\t0.250000"
    assert (
        "_rlnAutopickFigureOfMerit #3\n10.25 20.50 0.875000\n" in (tmp_path / "m.star").read_text()
    )


def test_csv_of_other_programs(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xef\xbb\xbfid, Y , X,score\r\n1,20.5,10.25,\r\n\r\n2,7,100,0.5\r\n")
    np.testing.assert_allclose(read_coordinates(path), [[10.25, 20.5, np.nan], [100, 7, 0.5]])


def test_box_centres(tmp_path):
    (tmp_path / "m.box").write_bytes(b"0 10 31 20\r\n5\t5\t10\t10\t0.5\r\n")
    expected = [[15.5, 20, np.nan], [10, 10, 0.5]]
    np.testing.assert_allclose(read_coordinates(tmp_path / "m.box"), expected)


def test_star_with_windows_line_ends(tmp_path):
    (tmp_path / "m.star").write_bytes(
        b"\r\ndata_\r\n\r\nloop_\r\n_rlnCoordinateY #1\r\n_rlnCoordinateX #2\r\n 2 1\r\n\r\n"
    )
    np.testing.assert_allclose(read_coordinates(tmp_path / "m.star"), [[1, 2, np.nan]])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("m.csv", "x,z\n1,2\n", "has no column y"),
        ("m.csv", "1,2\n3,4\n", "has no column x"),
        ("m.csv", "", "has no column x"),
        ("m.csv", "x,y\n1,a\n", "line 2 of"),
        ("m.csv", "x,y\n1\n", "line 2 of"),
        ("m.csv", "x,y\n1,nan\n", "coordinate 1 of"),
        ("m.box", "1 2 3\n", "line 1 of"),
        ("m.box", "1 2 3 b\n", "no number"),
        ("m.star", "hello\n", "not a star file"),
        ("m.star", "data_\nloop_\n_rlnCoordinateX\n1\n", "no column _rlnCoordinateY"),
        ("m.txt", "", "no coordinate file"),
    ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(ApbcError, match=told) as caught:
        read_coordinates(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    for suffix in (".csv", ".star", ".box"):
        with pytest.raises(ApbcError, match="there is no file"):
            read_coordinates(tmp_path / f"none{suffix}")


def test_a_folder_takes_csv_first_and_leaves_the_rest(tmp_path):
    for i, suffix in enumerate((".csv", ".box", ".star")):
        write_coordinates(tmp_path / f"m1{suffix}", [[i, i]], None, 2)
    write_coordinates(tmp_path / "m2.star", [[5, 6]])
    write_coordinates(tmp_path / "m3.csv", np.empty((0, 2)))
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "failed.csv").write_text("micrograph,reason\n")
    (tmp_path / ".m4.csv").write_text("half")
    (tmp_path / "candidates").mkdir()
    found = read_coordinate_folder(tmp_path)
    assert list(found) == ["m1", "m2", "m3"]
    assert found["m1"][0, 0] == 0 and found["m2"][0, 0] == 5 and found["m3"].shape == (0, 3)


def test_one_star_file_for_many_micrographs(tmp_path):
    (tmp_path / "all.star").write_text(
        "data_particles\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
        "mics/b.mrc 1 2\nmics/a.mrc 3 4\nmics/b.mrc 5 6\n"
    )
    found = read_coordinate_folder(tmp_path / "all.star")
    assert list(found) == ["a", "b"]
    np.testing.assert_allclose(found["b"][:, :2], [[1, 2], [5, 6]])
    np.testing.assert_allclose(found["a"][:, :2], [[3, 4]])


def test_a_star_file_with_no_rows(tmp_path):
    (tmp_path / "all.star").write_text(
        "data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n\n"
    )
    assert read_coordinate_folder(tmp_path / "all.star") == {}


def test_an_empty_folder(tmp_path):
    with pytest.raises(ApbcError, match="holds no coordinate files"):
        read_coordinate_folder(tmp_path)


@pytest.mark.skipif(not shutil.which("relion_preprocess"), reason="RELION is not installed")
@pytest.mark.parametrize("name", ["m.mrc", "m.tif"])
def test_relion_extracts_the_particles_from_our_star_file(tmp_path, name):
    import mrcfile
    import tifffile

    from apbc.io.images import read_micrograph

    image = np.zeros((64, 80), np.float32)
    image[40, 20] = image[30, 60] = 1
    if name.endswith("mrc"):
        with mrcfile.new(tmp_path / name) as mrc:
            mrc.set_data(image)
            mrc.voxel_size = 1.0
    else:
        tifffile.imwrite(tmp_path / name, image)
    rows, cols = np.nonzero(read_micrograph(tmp_path / name))  # as apbc sees them
    write_coordinates(tmp_path / "m_apbc.star", np.column_stack([cols, rows]), [0.9, 0.8])
    (tmp_path / "mics.star").write_text(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n"
        "_rlnMicrographPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
        "g1 1 1.0 300 2.7 0.1\n\n\n# version 30001\n\ndata_micrographs\n\nloop_\n"
        f"_rlnMicrographName\n_rlnOpticsGroup\n{name} 1\n\n"
    )
    command = "relion_preprocess --i mics.star --coord_dir . --coord_suffix _apbc.star"
    command += " --part_dir Extract/ --part_star Extract/p.star --extract --extract_size 8"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with mrcfile.open(next((tmp_path / "Extract").rglob("*.mrcs"))) as mrc:
        assert mrc.data.shape == (2, 8, 8)
        assert [np.unravel_index(p.argmax(), p.shape) for p in mrc.data] == [(4, 4), (4, 4)]
