import mrcfile
import numpy as np
import pytest

from apbc.commands.main import main
from apbc.io.particles import read_particles
from apbc.io.stacks import ParticleStack, write_stack
from apbc.io.volumes import read_volume, write_volume
from apbc.preprocess import downsample
from apbc.preprocess.binning import fourier_resample_centred
from conftest import run_apbc

STAR = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
_rlnImageSize #3
_rlnVoltage #4
1 2.000000 40 300.0

# version 30001

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnOriginXAngst #3
_rlnAngleRot #4
"""


def blob(box, place, sigma, dimensions):
    """Gaussian at a place (x, y, z) from the centre, in pixels."""
    axis = np.arange(box) - box // 2
    lines = [np.exp(-((axis - p) ** 2) / (2 * sigma**2)) for p in place[:dimensions][::-1]]
    image = lines[0]
    for line in lines[1:]:
        image = image[..., None] * line
    return image.astype(np.float32)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("old", "new"), [(48, 32), (45, 31), (48, 31), (45, 32), (30, 45)])
def test_the_centre_and_the_grey_values_stay(old, new, dimensions):
    place, sigma = np.array([5.0, -3.5, 2.0]), 0.055 * old
    small = fourier_resample_centred(blob(old, place, sigma, dimensions), new, dimensions)
    scale = new / old
    expected = blob(new, place * scale, sigma * scale, dimensions)
    np.testing.assert_allclose(small, expected, atol=2e-3)
    assert small.shape == (new,) * dimensions and small.dtype == np.float32


def test_images_of_a_stack_are_resampled_each_for_itself():
    stack = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    together = fourier_resample_centred(stack, 14, 2)
    for image, one in zip(stack, together, strict=True):
        np.testing.assert_allclose(fourier_resample_centred(image, 14, 2), one, atol=1e-6)
    np.testing.assert_allclose(together.mean(axis=(1, 2)), stack.mean(axis=(1, 2)), atol=1e-6)
    assert fourier_resample_centred(stack, 20, 2) is stack
    with pytest.raises(ValueError, match="must be equal"):
        fourier_resample_centred(np.zeros((3, 4), np.float32), 2, 2)


def test_cropping_a_spectrum_joins_the_signal_and_drops_noise():
    noise = np.random.default_rng(1).normal(size=(20, 64, 64)).astype(np.float32)
    small = fourier_resample_centred(noise, 32, 2)
    # 4 x the ratio of signal to noise, but for the Nyquist frequency, which is left out.
    assert noise.var() / small.var() == pytest.approx(4 / (31 / 32) ** 2, rel=0.03)


def test_a_volume_gets_its_pixel_size(tmp_path, capsys):
    write_volume(tmp_path / "in.mrc", blob(48, (5, 0, -7), 3.5, 3), 1.5)
    run_apbc(["downsample", tmp_path / "in.mrc", "--out", tmp_path / "out.mrc", "--box", 24])
    small = read_volume(tmp_path / "out.mrc")
    assert small.box_size == 24 and small.pixel_size == pytest.approx(3)
    np.testing.assert_allclose(small.data, blob(24, (2.5, 0, -3.5), 1.75, 3), atol=2e-3)
    assert capsys.readouterr().out.endswith("out.mrc: 3 Å per pixel\n")
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert mrc.is_volume() and np.allclose(mrc.voxel_size.tolist(), 3)


def test_a_pixel_size_gives_the_nearest_even_box(tmp_path):
    write_volume(tmp_path / "in.mrc", blob(45, (0, 0, 0), 3, 3), 1.5)
    words = ["downsample", tmp_path / "in.mrc", "--out", tmp_path / "out.mrc"]
    run_apbc([*words, "--pixel-size", 2.2])
    small = read_volume(tmp_path / "out.mrc")
    assert small.box_size == 30 and small.pixel_size == pytest.approx(2.25)
    run_apbc([*words, "--pixel-size", 3, "--from-pixel-size", 2])
    assert read_volume(tmp_path / "out.mrc").box_size == 30


@pytest.mark.parametrize("name", ["in.mrcs", "in.mrc"])
def test_a_stack_is_written_in_parts(tmp_path, monkeypatch, name):
    stack = np.random.default_rng(2).normal(size=(11, 24, 24)).astype(np.float32)
    write_stack(tmp_path / name, [stack[:4], stack[4:]], 11, 24, 1.2)
    monkeypatch.setattr(downsample, "PIXELS_AT_ONCE", 3 * 24 * 24)
    words = ["downsample", tmp_path / name, "--out", tmp_path / "out.mrcs", "--box", 16]
    run_apbc(words + ([] if name == "in.mrcs" else ["--stack"]))
    small = ParticleStack(tmp_path / "out.mrcs")
    assert (small.n, small.box_size) == (11, 16) and small.pixel_size == pytest.approx(1.8)
    np.testing.assert_allclose(
        small.read(range(11)), fourier_resample_centred(stack, 16, 2), atol=1e-6
    )
    with mrcfile.open(tmp_path / "out.mrcs") as mrc:
        assert mrc.is_image_stack()


@pytest.fixture
def particles(tmp_path):
    """Star file of five particles in two stacks, in another order than in the stacks."""
    rng = np.random.default_rng(3)
    stacks = {"a": rng.normal(size=(3, 40, 40)), "b": rng.normal(size=(2, 40, 40))}
    (tmp_path / "Extract").mkdir()
    for name, images in stacks.items():
        write_stack(tmp_path / "Extract" / f"{name}.mrcs", [images], len(images), 40, 2.0)
    order = [("a", 2), ("b", 1), ("a", 0), ("b", 0), ("a", 1)]
    rows = [
        f"{row + 1:06d}@Extract/{name}.mrcs 1 {3.5 * n:.6f} {10 * n}.5"
        for n, (name, row) in enumerate(order)
    ]
    path = tmp_path / "particles.star"
    path.write_text(STAR + "\n".join(rows) + "\n")
    return path, np.array([stacks[name][row] for name, row in order], np.float32)


def test_particles_of_a_star_file_keep_what_is_known_of_them(particles, tmp_path):
    path, images = particles
    run_apbc(["downsample", path, "--out", tmp_path / "small" / "p.star", "--pixel-size", 4])
    found = read_particles(tmp_path / "small" / "p.star")
    optics = found.star.tables["optics"]
    assert found.pixel_size == pytest.approx(4) and optics.text("rlnImageSize") == ["20"]
    assert optics.text("rlnVoltage") == ["300.0"]
    assert found.table.text("rlnAngleRot") == ["0.5", "10.5", "20.5", "30.5", "40.5"]
    np.testing.assert_allclose(found.table.numbers("rlnOriginXAngst"), 3.5 * np.arange(5))
    index, stacks = found.images
    assert set(stacks) == {tmp_path / "small" / "p.mrcs"}
    np.testing.assert_array_equal(index, np.arange(5))
    small = ParticleStack(stacks[0])
    assert small.pixel_size == pytest.approx(4)
    np.testing.assert_allclose(
        small.read(index), fourier_resample_centred(images, 20, 2), atol=1e-6
    )


def test_shifts_in_pixels_of_older_star_files_are_scaled(particles, tmp_path):
    path, _ = particles
    lines = path.read_text().split("data_particles")[1].replace("rlnOriginXAngst", "rlnOriginX")
    lines = lines.replace("_rlnOpticsGroup", "_rlnMagnification")
    lines = lines.replace(".mrcs 1 ", ".mrcs 50000 ")
    rows = lines.strip().splitlines()
    rows.insert(5, "_rlnDetectorPixelSize #5")
    rows = [f"{row} 10" if "@" in row else row for row in rows]
    path.write_text("data_\n\n" + "\n".join(rows) + "\n")
    run_apbc(["downsample", path, "--out", tmp_path / "out.star", "--box", 20])
    found = read_particles(tmp_path / "out.star")
    assert found.pixel_size == pytest.approx(4)
    np.testing.assert_allclose(found.table.numbers("rlnOriginX"), 1.75 * np.arange(5))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--box", "64"], "detail cannot be added"),
        (["--box", "1"], "--box 1 is not a box"),
        (["--pixel-size", "1"], "detail cannot be added"),
        (["--pixel-size", "0"], "is not a size"),
        (["--box", "16", "--from-pixel-size", "-1"], "is not a size"),
        (["--box", "16", "--out", "in.mrc"], "is the input"),
        (["--box", "16", "--out", "out.star"], "is of another"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_volume("in.mrc", blob(32, (0, 0, 0), 3, 3), 1.5)
    before = (tmp_path / "in.mrc").read_bytes()
    assert main(["downsample", "in.mrc", "--out", "out.mrc", *words]) == 1
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mrc"]
    assert (tmp_path / "in.mrc").read_bytes() == before


def test_a_file_without_a_pixel_size_asks_for_one(tmp_path, capsys):
    write_stack(tmp_path / "in.mrcs", [np.zeros((2, 16, 16))], 2, 16, 0.0)
    words = ["downsample", str(tmp_path / "in.mrcs"), "--out", str(tmp_path / "o.mrcs")]
    assert main([*words, "--box", "8"]) == 1
    assert "--from-pixel-size" in capsys.readouterr().err
    assert main([*words, "--box", "8", "--from-pixel-size", "2"]) == 0
    assert ParticleStack(tmp_path / "o.mrcs").pixel_size == pytest.approx(4)


def test_stacks_of_different_boxes_are_named(particles, tmp_path, capsys):
    path, _ = particles
    write_stack(tmp_path / "Extract" / "b.mrcs", [np.zeros((2, 30, 30))], 2, 30, 2.0)
    assert main(["downsample", str(path), "--out", str(tmp_path / "o.star"), "--box", "8"]) == 1
    assert "one by one" in capsys.readouterr().err
    assert not (tmp_path / "o.star").exists() and not (tmp_path / "o.mrcs").exists()
