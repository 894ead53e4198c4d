import json

import mrcfile
import numpy as np
import pytest
from PIL import Image

from apbc.commands.main import main
from apbc.display.overlay import FALSE, HIT, LONGEST_SIDE, MISS, for_the_eye
from apbc.io.coordinates import write_coordinates


@pytest.fixture
def micrograph(tmp_path):
    """Noise with a bright patch in the first rows."""
    image = np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32)
    image[10:40, 300:340] += 30
    path = tmp_path / "m1.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 2.0
    return path


def colours(path, colour):
    """Number of pixels of nearly one colour, and their mean row."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    rows = np.nonzero((abs(pixels - wanted) < 24).all(axis=2))[0]
    return len(rows), rows.mean() / len(pixels) if len(rows) else np.nan


def show(*words):
    return main(["show", *map(str, words)])


def test_row_0_is_at_the_bottom(micrograph, tmp_path):
    write_coordinates(tmp_path / "p.csv", [[200, 20]])
    assert (
        show(
            micrograph, "--picks", tmp_path / "p.csv", "--diameter", 60, "--out", tmp_path / "o.png"
        )
        == 0
    )
    count, row = colours(tmp_path / "o.png", HIT)
    assert count > 50 and row > 0.7
    grey = np.asarray(Image.open(tmp_path / "o.png").convert("L")).astype(float)
    assert min(grey.shape) > 600 and max(grey.shape) < 1600
    body = grey[120:-90, 40:-40]
    assert body[-60:].max() > 250 and np.median(body) < 120


def test_hits_misses_and_false_picks_have_their_colours(micrograph, tmp_path):
    write_coordinates(tmp_path / "picks" / "m1.csv", [[50, 150], [150, 250]], [0.9, 0.8])
    write_coordinates(tmp_path / "truth" / "m1.csv", [[52, 150], [300, 50]])
    (tmp_path / "picks" / "run.json").write_text(json.dumps({"diameter": 60.0}))
    words = [micrograph, "--picks", tmp_path / "picks", "--out", tmp_path / "o.png"]
    assert show(*words, "--truth", tmp_path / "truth") == 0
    for colour in (HIT, MISS, FALSE):
        assert colours(tmp_path / "o.png", colour)[0] > 50
    assert show(*words) == 0
    assert colours(tmp_path / "o.png", FALSE)[0] == 0


def test_hidden_particles_are_neither_missed_nor_make_picks_false(micrograph, tmp_path):
    write_coordinates(tmp_path / "picks" / "m1.csv", [[50, 150], [150, 250]], [0.9, 0.8])
    truth = tmp_path / "truth" / "m1.csv"
    truth.parent.mkdir()
    truth.write_text("x,y,visible\n52,150,1\n150,252,0\n300,50,0\n")
    words = [micrograph, "--picks", tmp_path / "picks", "--truth", truth, "--diameter", 60]
    assert show(*words, "--pixel-size", 1, "--out", tmp_path / "o.png") == 0
    assert colours(tmp_path / "o.png", HIT)[0] > 50
    # The legend names the others, too.
    shown = [colours(tmp_path / "o.png", colour)[0] for colour in (MISS, FALSE)]
    truth.write_text("x,y\n52,150\n300,50\n")
    assert show(*words, "--pixel-size", 1, "--out", tmp_path / "o.png") == 0
    both = [colours(tmp_path / "o.png", colour)[0] for colour in (MISS, FALSE)]
    assert all(few < many - 50 for few, many in zip(shown, both, strict=True))


def test_the_threshold_and_an_empty_list(micrograph, tmp_path, caplog):
    write_coordinates(tmp_path / "p.box", [[50, 150], [150, 250]], [0.9, 0.2], 30)
    words = [micrograph, "--picks", tmp_path / "p.box", "--out", tmp_path / "o.png"]
    with caplog.at_level("INFO"):
        assert show(*words, "--threshold", 0.5) == 0
        assert "1 of 2 picks drawn" in caplog.text
        assert show(*words, "--threshold", 0.95) == 0
        assert "0 of 2 picks drawn" in caplog.text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--picks", "p.csv"], "give --diameter"),
        (["--picks", "p.csv", "--diameter", "-5"], "not a size"),
        (["--picks", "p.csv", "--diameter", "60", "--threshold", "0.5"], "has no scores"),
        (["--picks", "none.csv", "--diameter", "60"], "there is no file"),
        (["--picks", "other", "--diameter", "60"], "no coordinates of the micrograph m1"),
        (["--picks", "p.csv", "--diameter", "60", "--out", "o.jpg"], "ends in .png"),
    ],
)
def test_what_is_wrong_is_told(micrograph, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    write_coordinates("p.csv", [[50, 150]])
    write_coordinates("other/m2.csv", [[50, 150]])
    assert show(micrograph, "--out", "o.png", *words) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "o.png").exists()


def test_picks_outside_are_warned_about(micrograph, tmp_path, caplog):
    write_coordinates(tmp_path / "p.csv", [[50, 350]])
    assert (
        show(
            micrograph, "--picks", tmp_path / "p.csv", "--diameter", 60, "--out", tmp_path / "o.png"
        )
        == 0
    )
    assert "1 of 1 picks" in caplog.text


def test_large_micrographs_are_binned():
    image = np.zeros((1500, 4097), np.float32)
    image[600:900] = 9
    small = for_the_eye(image, 30)
    assert small.shape == (500, 1365) and max(small.shape) <= LONGEST_SIDE
    assert small[250, 700] == pytest.approx(9) and small[10, 700] == pytest.approx(0)
