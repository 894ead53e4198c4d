import json

import numpy as np
import pytest
from density import angle_between, chain
from scipy.spatial.transform import Rotation

from apbc.commands.main import main
from apbc.io.volumes import read_volume, write_volume
from apbc.metrics.align import Alignment, align_volume, apply_alignment, rotation_grid
from apbc.metrics.fsc import fourier_shell_correlation
from apbc.simulate.structures import load_structures


@pytest.mark.parametrize("seed", range(20))
def test_a_random_rotation_shift_and_hand_are_found(seed):
    rng = np.random.default_rng(seed)
    rotation, shift = Rotation.random(random_state=seed).as_matrix(), rng.uniform(-6, 6, 3)
    mirror = bool(seed % 2)
    moving = chain(seed)
    reference = chain(seed, rotation=rotation, shift=shift, mirror=mirror)
    if seed % 4 >= 2:
        noise = 0.5 * reference.std()
        moving = moving + noise * rng.normal(size=moving.shape)
        reference = reference + noise * rng.normal(size=moving.shape)
    found = align_volume(moving, reference)
    assert found.mirrored == mirror
    assert angle_between(found.rotation, rotation) < 2
    np.testing.assert_allclose(found.shift_px, shift, atol=0.25)
    assert found.score > found.score_other_hand + 0.05
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_larger_box_is_aligned_as_exactly():
    rotation, shift = Rotation.random(random_state=5).as_matrix(), np.array([5.5, -3.25, 8.0])
    moving = chain(1, box=97, sigma=2)
    reference = chain(1, box=97, sigma=2, rotation=rotation, shift=shift)
    found = align_volume(moving, reference, mirror=False)
    assert np.isnan(found.score_other_hand) and not found.mirrored
    assert angle_between(found.rotation, rotation) < 0.3
    np.testing.assert_allclose(found.shift_px, shift, atol=0.05)
    curve = fourier_shell_correlation(apply_alignment(moving, found), reference, 1.0)
    assert curve.values[:30].min() > 0.99


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_particle_far_from_the_centre_is_found(seed):
    rotation, shift = Rotation.random(random_state=seed).as_matrix(), np.array([14.0, -12.0, 9.0])
    noise = np.random.default_rng(seed).normal(size=(2, 64, 64, 64))
    moving = chain(seed, sigma=1.2, spread=0.08, shift=(-9, 4, 11))
    moved = rotation @ [-9, 4, 11] + shift
    reference = chain(seed, sigma=1.2, spread=0.08, rotation=rotation, shift=moved)
    noise *= 0.5 * reference.std()
    found = align_volume(moving + noise[0], reference + noise[1])
    assert not found.mirrored
    # Five voxels from its centre, 4 degrees are a third of a voxel.
    assert angle_between(found.rotation, rotation) < 4
    np.testing.assert_allclose(found.shift_px, shift, atol=0.5)


@pytest.mark.parametrize("box", [31, 32])
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_alignment_moves_a_point_where_it_says(box, mirrored):
    rotation, shift = Rotation.random(random_state=1).as_matrix(), np.array([1.0, -2.0, 3.0])
    alignment = Alignment(rotation, shift, mirrored, 1.0, 0.5)
    sigma = 2.5
    moved = apply_alignment(chain(3, box, sigma), alignment)
    expected = chain(3, box, sigma, rotation, shift, mirrored)
    assert np.corrcoef(moved.ravel(), expected.ravel())[0, 1] > 0.9999


def test_the_grid_leaves_no_rotation_far_away():
    grid = rotation_grid(4608)
    np.testing.assert_allclose(
        grid @ grid.swapaxes(1, 2), np.tile(np.eye(3), (4608, 1, 1)), atol=1e-9
    )
    for other in Rotation.random(50, random_state=0).as_matrix():
        nearest = np.einsum("nij,ij->n", grid, other).max()
        assert np.degrees(np.arccos(np.clip((nearest - 1) / 2, -1, 1))) < 13


def test_cubes_of_one_size_are_asked_for():
    with pytest.raises(ValueError, match="one size"):
        align_volume(np.zeros((16, 16, 16)), np.zeros((18, 18, 18)))
    with pytest.raises(ValueError, match="too small"):
        align_volume(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))


def test_the_command_writes_the_aligned_volume(tmp_path, capsys):
    rotation = Rotation.random(random_state=2).as_matrix()
    write_volume(tmp_path / "moving.mrc", chain(2, 48), 3.0)
    reference = chain(2, 48, rotation=rotation, shift=(2, 0, -3), mirror=True)
    write_volume(tmp_path / "reference.mrc", reference, 3.0)
    words = ["metrics", "align", str(tmp_path / "moving.mrc"), str(tmp_path / "reference.mrc")]
    words += ["--out", str(tmp_path / "out.mrc"), "--json", str(tmp_path / "out.json")]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out.json").read_text())
    assert told["mirrored"]
    assert angle_between(np.array(told["rotation"]), rotation) < 1
    np.testing.assert_allclose(told["shift_angstrom"], [6, 0, -9], atol=0.3)
    moved = read_volume(tmp_path / "out.mrc")
    assert moved.pixel_size == pytest.approx(3)
    assert fourier_shell_correlation(moved.data, reference, 3.0).values[:16].min() > 0.98


def test_volumes_on_different_grids_are_refused(tmp_path, capsys):
    write_volume(tmp_path / "a.mrc", chain(0, 32), 3.0)
    write_volume(tmp_path / "b.mrc", chain(0, 24), 3.0)
    words = ["metrics", "align", str(tmp_path / "a.mrc"), str(tmp_path / "b.mrc")]
    assert main([*words, "--out", str(tmp_path / "out.mrc")]) == 1
    assert "apbc downsample" in capsys.readouterr().err
    assert not (tmp_path / "out.mrc").exists()


def test_two_states_that_lie_on_one_another_stay_so():
    states = load_structures(builtin=["hinge-open", "hinge-closed"], pixel_size=4, box_size=64)
    found = align_volume(states[0].volume.data, states[1].volume.data)
    assert not found.mirrored
    assert angle_between(found.rotation, np.eye(3)) < 10
    assert np.abs(found.shift_px).max() < 2
