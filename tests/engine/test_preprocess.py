import numpy as np
import pytest
from scipy import fft, ndimage

from apbc.errors import ApbcError
from apbc.preprocess.binning import crop_spectrum, fourier_resample, resampled_shape
from apbc.preprocess.normalise import high_pass, normalise
from apbc.preprocess.working import Preprocessing
from apbc.system.cores import workers


def wave(shape, cycles_x, cycles_y):
    y, x = np.indices(shape)
    return np.cos(2 * np.pi * (cycles_x * x / shape[1] + cycles_y * y / shape[0])).astype(
        np.float32
    )


@pytest.mark.parametrize("new_shape", [(40, 50), (120, 130)])
def test_resampling_keeps_a_wave_and_its_phase(new_shape):
    small = fourier_resample(wave((80, 90), 3, 5) + 2, new_shape)
    np.testing.assert_allclose(small, wave(new_shape, 3, 5) + 2, atol=1e-4)


def test_resampling_removes_what_the_new_grid_cannot_hold():
    small = fourier_resample(wave((80, 80), 30, 0), (40, 40))
    assert np.abs(small).max() < 1e-4


def test_resampling_keeps_the_place_of_a_point():
    image = np.zeros((128, 128), np.float32)
    image[60, 40] = 1
    small = fourier_resample(image, (64, 64))
    assert np.unravel_index(small.argmax(), small.shape) == (30, 20)


@pytest.mark.parametrize("new_shape", [(300, 260), (1200, 1100)])
def test_strips_give_the_resampling_of_the_whole(new_shape):
    image = np.random.default_rng(0).normal(100, 5, (1030, 777)).astype(np.float32)
    spectrum = crop_spectrum(fft.rfft2(image), image.shape, new_shape)
    whole = fft.irfft2(spectrum, s=new_shape)
    np.testing.assert_allclose(fourier_resample(image, new_shape), whole, atol=1e-3)


@pytest.mark.parametrize(("told", "found"), [("3", 3), ("", None), ("many", None), ("0", None)])
def test_threads_are_those_told_or_the_cores(told, found, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert workers() == found if found else workers() >= 1


def test_odd_shapes_are_refused():
    with pytest.raises(ValueError, match="even"):
        fourier_resample(np.zeros((8, 8), np.float32), (5, 4))


def test_resampled_shape_is_even_and_near():
    assert resampled_shape((4096, 4092), 1.77, 1.77 * 4) == (1024, 1024)
    assert resampled_shape((101, 99), 1.0, 1.0) == (100, 100) or resampled_shape(
        (101, 99), 1.0, 1.0
    ) == (100, 98)


def test_high_pass_removes_a_ramp_and_keeps_a_spot():
    _, x = np.indices((200, 200))
    image = (x * 0.5).astype(np.float32)
    image[100, 100] += 50
    flat = high_pass(image, 10)
    assert abs(flat[60:140, 60:140].mean()) < 0.1
    assert flat[100, 100] > 45


@pytest.mark.parametrize(("shape", "sigma"), [((300, 200), 28.0), ((90, 41), 28.0), ((64, 64), 3)])
def test_high_pass_is_the_image_less_a_mirrored_gaussian(shape, sigma):
    image = np.random.default_rng(0).normal(1000, 30, shape).astype(np.float32)
    blurred = ndimage.gaussian_filter(image.astype(float), sigma, mode="reflect", truncate=3.0)
    np.testing.assert_allclose(high_pass(image, sigma), image - blurred, atol=2e-3)


def test_normalisation_ignores_a_few_extreme_pixels():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, (100, 100)).astype(np.float32)
    image[:2] = 1e6
    out = normalise(image, clip=6)
    assert abs(np.median(out)) < 0.05
    assert abs(out[2:].std() - 1) < 0.05
    assert out.max() == 6


def test_working_image_is_the_same_whatever_the_binning_of_the_input():
    rng = np.random.default_rng(1)
    coarse = rng.normal(size=(256, 256)).astype(np.float32)
    fine = fourier_resample(coarse, (512, 512))
    preprocessing = Preprocessing(diameter=160)
    a = preprocessing.working_image(coarse, 4.0)
    b = preprocessing.working_image(fine, 2.0)
    assert a.pixels.shape == b.pixels.shape
    assert np.corrcoef(a.pixels.ravel(), b.pixels.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(b.to_micrograph(b.to_working([[100.0, 200.0]])), [[100, 200]])
    np.testing.assert_allclose(2 * a.to_micrograph([[30.0, 40.0]]), b.to_micrograph([[30.0, 40.0]]))


def test_light_particles_become_dark():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(256, 256)).astype(np.float32)
    dark = Preprocessing(diameter=100).working_image(image, 4.0)
    light = Preprocessing(diameter=100, contrast="light").working_image(image, 4.0)
    np.testing.assert_array_equal(dark.pixels, -light.pixels)


def test_phase_flipping_without_a_ctf_is_refused():
    with pytest.raises(ApbcError, match="--ctf"):
        Preprocessing(diameter=100, phase_flipped=True).working_image(
            np.zeros((64, 64), np.float32), 4.0
        )


@pytest.mark.parametrize("diameter", [0, -5, float("nan")])
def test_impossible_diameters_are_refused(diameter):
    with pytest.raises(ApbcError, match="--diameter"):
        Preprocessing(diameter=diameter)
