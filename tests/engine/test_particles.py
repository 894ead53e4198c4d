import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.io.particles import read_particles
from apbc.io.star import read_star

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnImagePixelSize #4
opticsGroup1 1 0.885000 3.540000
opticsGroup2 2 0.885000 1.770000

"""
PARTICLES = """
# version 30001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnMicrographName #3
_rlnImageName #4
_rlnOpticsGroup #5
_rlnComment #6
  107.000000   10.5 mics/a.mrc 000002@Extract/a.mrcs 1 it's#1
  7.000000 1e1 mics/b.mrc 000001@Extract/b.mrcs 2 'two words'
  8.000000 nan mics/a.mrc 000001@Extract/a.mrcs 1 <NA>

"""
OLD = """
data_images
loop_
_rlnImageName
_rlnDetectorPixelSize
_rlnMagnification
1@a.mrcs 5.0 50000
"""


def write(folder, text):
    path = folder / "particles.star"
    path.write_text(text)
    return path


def test_columns_of_relion_3_1(tmp_path):
    particles = read_particles(write(tmp_path, OPTICS + PARTICLES))
    assert particles.n == 3
    np.testing.assert_array_equal(particles.coordinates, [[107, 10.5], [7, 10], [8, np.nan]])
    assert particles.micrograph_names == ["mics/a.mrc", "mics/b.mrc", "mics/a.mrc"]
    np.testing.assert_allclose(particles.pixel_sizes, [3.54, 1.77, 3.54])
    assert particles.micrograph_pixel_size == pytest.approx(0.885)
    with pytest.raises(ApbcError, match=r"differ in image pixel size \(1\.77 and 3\.54"):
        _ = particles.pixel_size
    assert particles.subset(np.array([1, 0, 1], bool)).pixel_size == pytest.approx(3.54)


def test_pixel_size_of_relion_3_0(tmp_path):
    particles = read_particles(write(tmp_path, OLD))
    assert particles.pixel_size == pytest.approx(1.0)
    assert particles.coordinates is None and particles.micrograph_names is None
    assert particles.micrograph_pixel_size is None


def test_the_pixel_size_of_the_micrograph_goes_before_that_of_the_movie(tmp_path):
    text = OPTICS.replace("_rlnImagePixelSize", "_rlnMicrographPixelSize").replace("1.77", "3.54")
    assert read_particles(write(tmp_path, text + PARTICLES)).micrograph_pixel_size == 3.54


def test_stacks_are_found_from_the_project_and_from_the_star(tmp_path, monkeypatch):
    job = tmp_path / "Select" / "job002"
    job.mkdir(parents=True)
    (tmp_path / "Extract").mkdir()
    for name in "ab":
        (tmp_path / "Extract" / f"{name}.mrcs").touch()
    path = write(job, OPTICS + PARTICLES)
    index, stacks = read_particles(path).images
    assert index.tolist() == [1, 0, 0]
    assert [s.name for s in stacks] == ["a.mrcs", "b.mrcs", "a.mrcs"]
    assert all(s.is_file() for s in stacks)
    monkeypatch.chdir(tmp_path)
    assert [str(s) for s in read_particles(path).images[1]][:1] == ["Extract/a.mrcs"]
    (tmp_path / "Extract" / "b.mrcs").unlink()
    with pytest.raises(ApbcError, match=r"names the stack Extract/b\.mrcs"):
        _ = read_particles(path).images


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_is_written_is_what_was_read(tmp_path, end):
    path = tmp_path / "in.star"
    path.write_bytes((OPTICS + PARTICLES).replace("\n", end).encode())
    particles = read_particles(path)
    particles.write(tmp_path / "all.star")
    assert (tmp_path / "all.star").read_text().split() == (OPTICS + PARTICLES).split()
    chosen = particles.subset(np.array([False, True, True])).with_column("rlnScore", [0.5, 0.25])
    chosen.write(tmp_path / "some.star")
    star = read_star(tmp_path / "some.star")
    assert list(star.tables) == ["optics", "particles"]
    assert star.version == "# version 30001"
    assert star.tables["particles"].labels[-2:] == ["rlnComment", "rlnScore"]
    assert star.tables["particles"].rows == [
        "7.000000 1e1 mics/b.mrc 000001@Extract/b.mrcs 2 'two words' 0.500000",
        "8.000000 nan mics/a.mrc 000001@Extract/a.mrcs 1 <NA> 0.250000",
    ]
    assert star.tables["particles"].text("rlnComment") == ["two words", "<NA>"]
    again = chosen.with_column("rlnScore", ["x", "y"]).table
    assert again.text("rlnScore") == ["x", "y"] and len(again.labels) == 7
    assert again.text("rlnComment") == ["two words", "<NA>"]


def test_a_block_without_loop_is_kept(tmp_path):
    general = "data_general\n\n_rlnFinalResolution 3.50\n_rlnName  'two words'\n\n"
    path = write(tmp_path, general + PARTICLES)
    read_particles(path).write(tmp_path / "out.star")
    table = read_star(tmp_path / "out.star").tables["general"]
    assert not table.loop
    assert table.text("rlnFinalResolution") == ["3.50"] and table.text("rlnName") == ["two words"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a star file"),
        ("hello\nworld\n", "not a star file"),
        (OPTICS, "holds no particles: no block"),
        (OPTICS + PARTICLES.split("  107")[0], "holds no particles; give"),
        (OPTICS + PARTICLES.replace(" 1 it's#1", ""), "has 4 values and its block"),
    ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, text, told):
    path = write(tmp_path, text)
    with pytest.raises(ApbcError, match=told) as caught:
        read_particles(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_bad_values_are_told_when_they_are_needed(tmp_path):
    text = OPTICS + PARTICLES
    with pytest.raises(ApbcError, match="no column _rlnImageName"):
        _ = read_particles(write(tmp_path, text.replace("rlnImageName", "rlnOther"))).images
    with pytest.raises(ApbcError, match="not NUMBER@STACK"):
        _ = read_particles(write(tmp_path, text.replace("000002@", "two@"))).images
    with pytest.raises(ApbcError, match="no number"):
        _ = read_particles(write(tmp_path, text.replace("10.5", "ten"))).coordinates
    with pytest.raises(ApbcError, match="optics group 2 is used"):
        _ = read_particles(write(tmp_path, text.replace("opticsGroup2 2", "g 3"))).pixel_sizes
    with pytest.raises(ApbcError, match="not above 0"):
        _ = read_particles(write(tmp_path, text.replace("3.540000", "0"))).pixel_sizes
