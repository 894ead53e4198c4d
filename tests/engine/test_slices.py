"""Projections as slices of a volume's Fourier transform."""

import numpy as np
import pytest
import scipy.fft

from apbc.geometry import euler_to_matrix
from apbc.simulate.slices import SliceProjector, project_in_real_space, shift_phases


def blobs(box, centres, width):
    """Gaussian balls at centres (x, y, z) counted from the volume's centre."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * width**2))
        for a, b, c in centres
    ).astype(np.float32)


def peak(image):
    """Place of a lone blob from the image's centre, x and y, from the pixels round its peak."""
    rows, columns = np.indices(image.shape) - image.shape[0] // 2
    r, c = np.unravel_index(image.argmax(), image.shape)
    near = np.hypot(*(np.indices(image.shape) - [[[r]], [[c]]])) <= 6
    weight = np.where(near, image, 0)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.fixture(scope="module")
def rotations():
    rng = np.random.default_rng(3)
    return euler_to_matrix(rng.uniform([-180, 0, -180], [180, 180, 180], (8, 3)))


@pytest.mark.parametrize("box", [64, 65])
def test_a_blob_lands_where_the_rotation_puts_it(rotations, box):
    place = np.array([9.3, -4.0, 6.0])
    projector = SliceProjector(blobs(box, [place], 2.0))
    for rotation in rotations:
        assert peak(projector.project(rotation)) == pytest.approx((rotation @ place)[:2], abs=0.1)


def test_slices_agree_with_the_projection_of_the_turned_volume(rotations):
    rng = np.random.default_rng(0)
    volume = blobs(64, rng.uniform(-14, 14, (12, 3)), 2.5)
    projector = SliceProjector(volume)
    for rotation in rotations[:3]:
        slow, fast = project_in_real_space(volume, rotation), projector.project(rotation)
        assert np.corrcoef(slow.ravel(), fast.ravel())[0, 1] > 0.999
        assert fast.sum() == pytest.approx(volume.sum(), rel=1e-4)


def test_a_coarser_projection_keeps_grey_values_and_places(rotations):
    place = np.array([9.3, -4.0, 6.0])
    volume = blobs(64, [place], 4.0)
    fine, coarse = SliceProjector(volume), SliceProjector(volume, 32)
    for rotation in rotations[:3]:
        image = coarse.project(rotation)
        assert image.shape == (32, 32)
        assert image.max() == pytest.approx(fine.project(rotation).max(), rel=0.05)
        assert 2 * peak(image) == pytest.approx((rotation @ place)[:2], abs=0.2)


def test_magnification_moves_what_is_off_centre():
    place = np.array([12.0, 8.0, 0.0])
    projector = SliceProjector(blobs(64, [place], 2.0), magnification=63 / 64)
    assert peak(projector.project(np.eye(3))) == pytest.approx(place[:2] * 63 / 64, abs=0.05)


def test_shift_phases_move_content_right_and_down():
    image = blobs(32, [(0, 0, 0)], 2.0).sum(axis=0)
    moved = scipy.fft.irfft2(scipy.fft.rfft2(image) * shift_phases((32, 32), (3.5, -2.0)))
    assert peak(moved) == pytest.approx([3.5, -2.0], abs=0.05)


def test_what_cannot_be_projected_is_refused():
    with pytest.raises(ValueError, match="cube"):
        SliceProjector(np.zeros((4, 8, 8)))
    with pytest.raises(ValueError, match="output box"):
        SliceProjector(np.zeros((8, 8, 8)), 16)
