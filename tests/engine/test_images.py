import logging

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from apbc.errors import ApbcError
from apbc.io.images import (
    MicrographInfo,
    find_micrographs,
    micrograph_info,
    natural_key,
    pixel_size_of,
    read_micrograph,
)

RAMP = np.arange(12).reshape(3, 4)


def write_mrc(path, data, pixel_size=1.5):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = pixel_size
    return path


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint16", "float16"])
def test_every_mode_of_mrc_keeps_rows_and_values(tmp_path, dtype):
    path = write_mrc(tmp_path / "m.mrc", RAMP.astype(dtype))
    image = read_micrograph(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, RAMP)
    info = micrograph_info(path)
    assert (info.name, info.shape) == ("m", (3, 4))
    assert info.pixel_size == pytest.approx(1.5)


def test_mrc_with_extended_header_and_one_section(tmp_path):
    path = tmp_path / "m.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(RAMP[None].astype(np.float32))
        mrc.set_extended_header(np.zeros(100, np.int8))
    np.testing.assert_array_equal(read_micrograph(path), RAMP)


def test_mrc_without_identifier_is_read(tmp_path):
    path = write_mrc(tmp_path / "old.mrc", RAMP.astype(np.float32))
    data = bytearray(path.read_bytes())
    data[208:212] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_micrograph(path), RAMP)


def test_big_endian_mrc(tmp_path):
    path = write_mrc(tmp_path / "m.mrc", RAMP.astype(">f4"))
    np.testing.assert_array_equal(read_micrograph(path), RAMP)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_compressed_tiff(tmp_path, compression, dtype):
    path = tmp_path / "m.tif"
    Image.fromarray(RAMP.astype(dtype)).save(path, compression=compression)
    np.testing.assert_array_equal(read_micrograph(path), RAMP[::-1])
    assert micrograph_info(path).shape == (3, 4)


@pytest.mark.parametrize("dtype", ["int16", "int8", "float64", "uint32"])
def test_other_types_of_tiff(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "m.TIFF", RAMP.astype(dtype))
    np.testing.assert_array_equal(read_micrograph(tmp_path / "m.TIFF"), RAMP[::-1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(tmp_path, dtype):
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_micrograph(tmp_path / "m.png"), RAMP)


def test_grey_jpeg_saved_in_colour(tmp_path):
    grey = np.full((16, 32), 50, np.uint8)
    grey[:, 16:] = 200
    Image.fromarray(grey).convert("RGB").save(tmp_path / "m.jpg", quality=95)
    np.testing.assert_allclose(read_micrograph(tmp_path / "m.jpg"), grey, atol=3)


def bad_files(folder):
    """Unreadable micrographs and what their error must tell."""
    good = write_mrc(
        folder / "good.mrc", np.random.default_rng(0).normal(size=(64, 64)).astype("f4")
    )
    whole = good.read_bytes()
    files = {
        "short.mrc": (whole[:-1], "cut short"),
        "header.mrc": (whole[:500], "cut short or not an MRC"),
        "text.mrc": (b"this is text, not an image\n" * 100, "not an MRC file"),
        "empty.mrc": (b"", "cut short or not an MRC"),
        "text.tif": (b"text" * 300, "not a TIFF"),
        "text.png": (b"text" * 300, "not a PNG"),
        "micrograph.dm4": (b"text", "of no format"),
    }
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    for suffix, options in ((".png", {}), (".tif", {"compression": "tiff_lzw"}), (".jpg", {})):
        Image.fromarray(noise).save(folder / f"whole{suffix}", **options)
        whole_picture = (folder / f"whole{suffix}").read_bytes()
        files[f"short{suffix}"] = (whole_picture[: len(whole_picture) // 2], "cut short")
    tifffile.imwrite(folder / "plain.tif", noise)
    files["short_plain.tif"] = ((folder / "plain.tif").read_bytes()[:-100], "cut short")
    for name, (content, told) in files.items():
        (folder / name).write_bytes(content)
        yield folder / name, told
    nan = RAMP.astype(np.float32)
    nan[1, 1] = np.nan
    with pytest.warns(RuntimeWarning):
        yield write_mrc(folder / "nan.mrc", nan), "NaN"
    with pytest.warns(RuntimeWarning):
        yield write_mrc(folder / "inf.mrc", np.where(RAMP, RAMP, np.inf).astype("f4")), "infinite"
    yield write_mrc(folder / "zero.mrc", np.zeros((4, 4), np.float32)), "are zero"
    yield write_mrc(folder / "flat.mrc", np.full((4, 4), 7, np.float32)), "same value 7"
    yield write_mrc(folder / "movie.mrc", np.stack([RAMP, RAMP]).astype("f4")), "2 frames"
    tifffile.imwrite(folder / "movie.tif", np.zeros((5, 32, 32), "u1"))
    yield folder / "movie.tif", "5 frames"
    tifffile.imwrite(folder / "rgb.tif", np.zeros((8, 8, 3), "u1"), photometric="rgb")
    yield folder / "rgb.tif", "not a grey image"
    yield folder / "missing.mrc", "there is no micrograph"


def test_bad_micrographs_are_told_in_one_sentence_that_names_them(tmp_path):
    for path, told in bad_files(tmp_path):
        with pytest.raises(ApbcError) as caught:
            read_micrograph(path)
        message = str(caught.value)
        assert told in message, (path.name, message)
        assert str(path) in message and "\n" not in message


def test_find_micrographs_by_folder_glob_file_and_list(tmp_path, monkeypatch):
    for name in ("m10.mrc", "m2.mrc", "m1.tif", "notes.txt", ".m3.mrc", "m4.star"):
        (tmp_path / name).write_text("")
    names = ["m1.tif", "m2.mrc", "m10.mrc"]
    assert [p.name for p in find_micrographs(tmp_path)] == names
    assert [p.name for p in find_micrographs(str(tmp_path / "m*"))] == names
    assert find_micrographs(str(tmp_path / "m2.mrc")) == [tmp_path / "m2.mrc"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("m10.mrc\r\n\r\nm2.mrc\r\n")
    assert [str(p) for p in find_micrographs("notes.txt")] == ["m2.mrc", "m10.mrc"]
    assert [str(p) for p in find_micrographs(["m1.tif", "notes.txt", "m2.mrc"])] == names


def test_find_micrographs_tells_what_is_wrong(tmp_path):
    with pytest.raises(ApbcError, match="no micrographs found"):
        find_micrographs(tmp_path)
    with pytest.raises(ApbcError, match="there is no file or folder"):
        find_micrographs(str(tmp_path / "nowhere"))
    (tmp_path / "a.txt").write_text("x.mrc\n")
    with pytest.raises(ApbcError, match=r"line 1 of .*a\.txt names x\.mrc"):
        find_micrographs(str(tmp_path / "a.txt"))
    for name in ("m.mrc", "m.tif"):
        (tmp_path / name).write_text("")
    with pytest.raises(ApbcError, match="share the name m,"):
        find_micrographs(tmp_path)


def test_natural_order():
    assert sorted(["b1", "a10b", "a9", "10", "9"], key=natural_key) == [
        "9",
        "10",
        "a9",
        "a10b",
        "b1",
    ]


def infos(*sizes):
    return [MicrographInfo(f"m{i}.mrc", f"m{i}", (4, 4), s) for i, s in enumerate(sizes)]


def test_pixel_size_from_headers_and_override(caplog):
    assert pixel_size_of(infos(1.2, None, 1.205), None) == pytest.approx(1.2025)
    with pytest.raises(ApbcError, match=r"m0\.mrc has 1\.2 Å/px and m1\.mrc has 1\.3"):
        pixel_size_of(infos(1.2, 1.3), None)
    with pytest.raises(ApbcError, match="--pixel-size"):
        pixel_size_of(infos(None, None), None)
    with pytest.raises(ApbcError, match="is not a size"):
        pixel_size_of(infos(1.2), -1.0)
    with caplog.at_level(logging.WARNING):
        assert pixel_size_of(infos(1.2), 1.21) == 1.21
        assert not caplog.records
        assert pixel_size_of(infos(1.0), 1.77) == 1.77
    assert "the header of m0.mrc says 1 Å/px" in caplog.text


def test_a_header_without_pixel_size_is_unknown(tmp_path):
    assert micrograph_info(write_mrc(tmp_path / "m.mrc", RAMP.astype("f4"), 0)).pixel_size is None
