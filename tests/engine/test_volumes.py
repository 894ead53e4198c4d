"""Volumes, and the rotations by which they are seen."""

import mrcfile
import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.geometry import euler_to_matrix, matrix_to_euler
from apbc.io.volumes import Volume, check_same_grid, read_volume, write_volume


def test_a_volume_comes_back_as_it_was_written(tmp_path):
    data = np.random.default_rng(0).standard_normal((8, 8, 8)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", data, 1.5)
    volume = read_volume(tmp_path / "a.mrc")
    assert np.array_equal(volume.data, data)
    assert volume.pixel_size == pytest.approx(1.5)
    assert (volume.name, volume.box_size) == ("a", 8)


def test_a_wrong_machine_stamp_is_read_all_the_same(tmp_path):
    data = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    write_volume(tmp_path / "a.mrc", data, 1.5)
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[212:216] = b"\x00\x00\x00\x00"
    (tmp_path / "a.mrc").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "a.mrc").data, data)


def test_a_machine_stamp_of_the_other_byte_order_is_not_believed(tmp_path):
    data = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    write_volume(tmp_path / "a.mrc", data, 1.5)
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[212:216] = b"\x11\x11\x00\x00"
    (tmp_path / "a.mrc").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "a.mrc").data, data)


def test_bad_volumes_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(ApbcError, match="no file"):
        read_volume(tmp_path / "none.mrc")
    with mrcfile.new(tmp_path / "flat.mrc", np.zeros((4, 8, 8), np.float32)) as mrc:
        mrc.voxel_size = 1
    with pytest.raises(ApbcError, match="8 x 8 x 4 voxels and volumes must be cubic"):
        read_volume(tmp_path / "flat.mrc")
    write_volume(tmp_path / "nan.mrc", np.full((4, 4, 4), np.nan), 1)
    with pytest.raises(ApbcError, match="no finite numbers"):
        read_volume(tmp_path / "nan.mrc")


def test_volumes_of_different_grids_are_named():
    one, two = Volume(np.zeros((8, 8, 8), np.float32), 1.5, "one"), np.zeros((9, 9, 9), np.float32)
    with pytest.raises(ApbcError, match=r"one has a box of 8 voxels and two one of 9"):
        check_same_grid([one, Volume(two, 1.5, "two")])
    with pytest.raises(ApbcError, match=r"one has 1.5 Å per voxel and two 1.6"):
        check_same_grid([one, Volume(one.data, 1.6, "two")])
    check_same_grid([one, Volume(one.data, 1.5001, "two")])


def test_euler_angles_and_matrices_are_one_another():
    rng = np.random.default_rng(0)
    angles = rng.uniform([-180, 0, -180], [180, 180, 180], (200, 3))
    assert matrix_to_euler(euler_to_matrix(angles)) == pytest.approx(angles, abs=1e-6)
    poles = euler_to_matrix([[30, 0, 40], [30, 180, 40]])
    assert euler_to_matrix(matrix_to_euler(poles)) == pytest.approx(poles, abs=1e-9)


def test_a_tilt_turns_the_z_axis_towards_x():
    # RELION's view direction is the last row: (sin tilt cos rot, sin tilt sin rot, cos tilt).
    (matrix,) = euler_to_matrix([[30, 60, 10]])
    view = [np.sin(np.pi / 3) * np.cos(np.pi / 6), np.sin(np.pi / 3) / 2, 0.5]
    assert matrix[2] == pytest.approx(view)
