"""Diameter and polarity from bare micrographs: discs, irregular particles, noise, real data."""

import subprocess
import sys

import mrcfile
import numpy as np
import pytest
from scipy import ndimage

from apbc.bootstrap.diameter import estimate_diameter
from apbc.bootstrap.polarity import bright_particles
from apbc.errors import ApbcError

PIXEL_SIZE = 3.0
SHAPE = (440, 480)
ACROSS = 40


def field(template: np.ndarray, number: int, noise: float, seed: int) -> np.ndarray:
    """Dark copies of a template, turned by quarters, that do not touch, in white noise."""
    rng = np.random.default_rng(seed)
    half = template.shape[0] // 2
    image, taken = np.zeros(SHAPE), np.empty((0, 2))
    while len(taken) < number:
        at = rng.integers(half, np.array(SHAPE) - half - 1)
        if not len(taken) or np.hypot(*(taken - at).T).min() > 1.3 * ACROSS:
            taken = np.vstack([taken, at])
            part = slice(at[0] - half, at[0] + half + 1), slice(at[1] - half, at[1] + half + 1)
            image[part] -= np.rot90(template, rng.integers(4))
    return ndimage.gaussian_filter(image, 1) + rng.normal(0, noise, SHAPE)


def disc() -> np.ndarray:
    y, x = np.mgrid[-24:25, -24:25]
    return (np.hypot(x, y) <= ACROSS / 2).astype(float)


def lumps() -> np.ndarray:
    """Small lumps in a square of ACROSS from corner to corner: nothing round about it."""
    y, x = np.mgrid[-24:25, -24:25]
    side = ACROSS / 2**0.5
    inside = (np.abs(x) <= side / 2) & (np.abs(y) <= side / 2)
    return inside * np.maximum(np.cos(x * 0.75) * np.cos(y * 0.75), 0)


def noise(seed: int = 0) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1)


def test_discs_give_their_diameter_bright_ones_too():
    estimate = estimate_diameter([-field(disc(), 30, 0.8, 1)], PIXEL_SIZE)
    assert estimate.method == "discs"
    assert estimate.diameter == pytest.approx(ACROSS * PIXEL_SIZE, rel=0.06)
    assert estimate.low <= ACROSS * PIXEL_SIZE <= estimate.high < 1.4 * estimate.low
    assert len(estimate.discs) > 10


def test_irregular_particles_give_their_extent():
    estimate = estimate_diameter([field(lumps(), 30, 0.4, 2)], PIXEL_SIZE)
    assert estimate.method == "extents"
    assert estimate.diameter == pytest.approx(ACROSS * PIXEL_SIZE, rel=0.15)
    assert estimate.low < ACROSS * PIXEL_SIZE < estimate.high
    assert np.isfinite(estimate.extents[:, 1]).sum() >= 3
    # The variation inside a particle is well above that outside.
    distance, variation = estimate.profile.T
    inside = variation[distance < 0.4 * ACROSS * PIXEL_SIZE].mean()
    assert inside > 3 * variation[distance > 0.6 * ACROSS * PIXEL_SIZE].mean()


@pytest.mark.parametrize("image", [noise(), np.full(SHAPE, 3.0)])
def test_nothing_to_see_is_a_guess_with_all_bounds(image):
    estimate = estimate_diameter([image], PIXEL_SIZE)
    assert estimate.method == "guess"
    assert estimate.high > 5 * estimate.low


def test_estimate_needs_room_and_an_image():
    with pytest.raises(ApbcError, match="too small"):
        estimate_diameter([noise()[:60, :60]], PIXEL_SIZE)
    with pytest.raises(ApbcError, match="without a micrograph"):
        estimate_diameter([], PIXEL_SIZE)


@pytest.mark.parametrize(("template", "spread"), [(disc(), 0.8), (lumps(), 0.3)])
def test_polarity_of_discs_and_irregular_particles(template, spread):
    image = field(template, 30, spread, 3)
    assert bright_particles(image, ACROSS) is False
    assert bright_particles(-image, ACROSS) is True


def test_polarity_of_nothing_cannot_be_told():
    assert bright_particles(noise(), ACROSS) is None
    assert bright_particles(np.full(SHAPE, 3.0), ACROSS) is None
    with pytest.raises(ValueError, match="above 0"):
        bright_particles(noise(), 0)


@pytest.mark.parametrize(
    ("name", "bin_by", "diameter"), [("empiar-10146", 1, 110), ("klh", 2, 330)]
)
def test_real_micrographs(bench_folder, tmp_path, name, bin_by, diameter):
    subprocess.run(
        [sys.executable, bench_folder / "prepare.py", tmp_path]
        + ["--set", name, "--bin", str(bin_by)],
        check=True,
        capture_output=True,
    )
    path = sorted((tmp_path / "micrographs").glob("*.mrc"))[0]
    with mrcfile.open(path) as file:
        image, pixel_size = file.data.astype(float), float(file.voxel_size.x)
    estimate = estimate_diameter([image], pixel_size)
    assert estimate.diameter == pytest.approx(diameter, rel=0.15)
    assert estimate.low < diameter < estimate.high
    assert bright_particles(image, diameter / pixel_size) is False
