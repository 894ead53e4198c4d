import os

import mrcfile
import numpy as np
import pytest
import tifffile

from apbc.display import thumbnail
from apbc.errors import ApbcError


@pytest.fixture()
def micrograph(tmp_path):
    """A rectangular micrograph whose pixels tell their place."""
    rows, columns = np.mgrid[:330, :500].astype(np.float32)
    path = tmp_path / "mic.mrc"
    with mrcfile.new(path) as handle:
        handle.set_data(rows * 1000 + columns)
    return path


def test_thumbnail_is_binned_and_tells_its_place(micrograph):
    shown = thumbnail.read_thumbnail(micrograph, longest=100)
    assert shown.image.shape == (66, 100)
    assert shown.shape == (330, 500)
    assert shown.extent == (-0.5, 499.5, -0.5, 329.5)
    assert shown.scale == pytest.approx(0.2)
    assert shown.image[0, 0] == pytest.approx(2000 + 2)
    assert shown.image[65, 99] == pytest.approx(327 * 1000 + 497)


def test_strips_do_not_change_the_picture(micrograph, monkeypatch):
    whole = thumbnail.read_thumbnail(micrograph, longest=64).image
    monkeypatch.setattr(thumbnail, "STRIP_BYTES", 1)
    np.testing.assert_array_equal(thumbnail.read_thumbnail(micrograph, longest=64).image, whole)


def test_small_micrographs_are_shown_as_they_are(micrograph):
    assert thumbnail.read_thumbnail(micrograph).image.shape == (330, 500)


def test_region_is_read_at_its_own_scale(micrograph):
    shown = thumbnail.read_region(micrograph, (100.2, 179.8, -50, 60), longest=40)
    assert shown.image.shape == (30, 40)
    assert shown.extent == (99.5, 179.5, -0.5, 59.5)
    assert shown.image[0, 0] == pytest.approx(500 + 100.5)
    with pytest.raises(ValueError, match="outside"):
        thumbnail.read_region(micrograph, (600, 700, 0, 10))


def test_tiff_is_shown_in_mrc_row_order(tmp_path):
    rows = np.arange(64, dtype=np.float32)[:, None] * np.ones(48, np.float32)
    tifffile.imwrite(tmp_path / "mic.tif", rows)
    shown = thumbnail.read_thumbnail(tmp_path / "mic.tif")
    assert shown.image[0, 0] == 63
    assert thumbnail.read_region(tmp_path / "mic.tif", (0, 10, 60, 64)).image[-1, 0] == 0


def test_thumbnails_are_kept_until_the_file_changes(micrograph, tmp_path):
    cache = tmp_path / "cache"
    first = thumbnail.read_thumbnail(micrograph, cache, longest=100)
    (kept,) = cache.iterdir()
    again = thumbnail.read_thumbnail(micrograph, cache, longest=100)
    # What is kept has another zero and unit, and the same order of greys.
    assert np.corrcoef(first.image.ravel(), again.image.ravel())[0, 1] > 0.99999
    np.save(kept, np.zeros((66, 100), np.float16))
    assert not thumbnail.read_thumbnail(micrograph, cache, longest=100).image.any()
    kept.write_bytes(b"damaged")
    assert thumbnail.read_thumbnail(micrograph, cache, longest=100).image.any()
    os.utime(micrograph, (1, 1))
    thumbnail.read_thumbnail(micrograph, cache, longest=100)
    assert len(list(cache.iterdir())) == 2


def test_no_more_thumbnails_are_kept_than_agreed(micrograph, tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnail, "KEPT_FILES", 3)
    for longest in (50, 60, 70, 80, 90):
        thumbnail.read_thumbnail(micrograph, tmp_path / "cache", longest)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_micrographs_are_shown_where_no_thumbnail_can_be_kept(micrograph, tmp_path, caplog):
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    shown = thumbnail.read_thumbnail(micrograph, blocked, longest=100)
    assert shown.image.any()
    assert "is not kept" in caplog.text


def test_missing_micrograph_is_told(tmp_path):
    with pytest.raises(ApbcError, match="no micrograph"):
        thumbnail.read_thumbnail(tmp_path / "gone.mrc")


def test_band_pass_keeps_the_band():
    rng = np.random.default_rng(3)
    slow = np.linspace(0, 30, 200)[:, None] * np.ones(160)
    spot = np.hypot(*(np.mgrid[:200, :160] - np.array([90, 70])[:, None, None]))
    image = (slow + 4 * np.exp(-((spot / 6) ** 2)) + rng.normal(0, 1, slow.shape)).astype(
        np.float32
    )
    filtered = thumbnail.band_pass(image, low_pass=3, high_pass=20)
    assert filtered.shape == image.shape and filtered.dtype == np.float32
    assert np.unravel_index(filtered.argmax(), filtered.shape) == pytest.approx((90, 70), abs=2)
    assert abs(filtered[:, 20].mean() - filtered[:, 140].mean()) < 0.5
    assert thumbnail.band_pass(image) is image


def test_grey_limits_of_a_flat_image_differ():
    low, high = thumbnail.grey_limits(np.ones((50, 50), np.float32))
    assert high > low
