import csv
import json
import shutil
import subprocess
import sys

import keras
import mrcfile
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from apbc.bootstrap.scale import DetectionScale
from apbc.display.score_picture import read_score_picture
from apbc.io.coordinates import read_coordinates, read_shapes
from apbc.models.alexnet import PATCH, build
from apbc.models.folder import save_network, write_card
from apbc.models.inference import OnnxNetwork, load_for_inference
from apbc.models.onnx_graph import onnx_graph
from apbc.models.sliding import MARGIN, STEP, sliding_config, sliding_network
from apbc.picking.areas import connected_areas, large_areas
from apbc.picking.overlap import intersection_over_union, suppress_by_class, suppress_overlaps
from apbc.picking.score_map import run_network
from apbc.picking.shapes import propose, shape_candidates
from apbc.picking.windows import (
    WindowImage,
    WindowMap,
    flat_windows,
    look,
    scale_factor,
    slide,
    slide_one_by_one,
    window_starts,
)
from apbc.preprocess.working import Preprocessing
from apbc.system.devices import select_for_inference
from conftest import run_apbc

CLASSES = ["top", "background"]
PIXEL_SIZE, DIAMETER = 2.0, 80.0  # 40 pixels; the box of 50 pixels is magnified 4.5 times
BOX = 1.25 * DIAMETER


@pytest.mark.parametrize(
    ("box", "factor"),
    [(94, 2.375), (120, 1.875), (187, 1.125), (221, 1.0), (300, 0.75), (320, 0.625), (9999, 0.125)],
)
def test_the_largest_eighth_keeps_the_box_below_the_window(box, factor):
    assert scale_factor(box) == factor
    assert factor * box < PATCH or factor == 0.125


def ring_detector():
    """Network that calls a window a particle where its middle is dark and its corners light."""
    network = build(len(CLASSES), fc_units=2)
    values = [np.zeros_like(value) for value in network.get_weights()]
    values[0][:, :, 0, 0] = 1 / 121  # mean grey value; larger through the poolings
    for kernel in values[2:10:2]:
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0, 0] = 1
    template = np.zeros((6, 6))
    template[[0, 0, -1, -1], [0, -1, 0, -1]] = 1 / 4
    template[2:4, 2:4] = -1 / 4
    values[10][:, :, 0, 0] = template
    values[11][0] = -0.1
    values[12][0, 0, 0, 0] = 1
    values[14][0, 0, 0, :] = [10, -10]
    values[15][:] = [-4, 4]
    network.set_weights(values)
    return network


@pytest.fixture(autouse=True, scope="module")
def full_precision():
    """Networks are built as picking builds them, whatever precision another test trained in."""
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alexnet") / "model"
    folder.mkdir()
    digest = save_network(ring_detector(), folder / "model.keras")
    write_card(
        folder,
        {
            "apbc_version": "0",
            "architecture": "alexnet",
            "members": 1,
            "diameter": DIAMETER,
            "phase_flipped": False,
            "preprocessing": Preprocessing(DIAMETER).to_dict(),
            "calibration": {"slope": 1.0, "offset": 0.0},
            "threshold": 0.5,
            "weights_sha256": digest,
            "training_micrographs": [],
            "metrics": {},
            "classes": CLASSES,
            "box": BOX,
            "patch": PATCH,
            "fc_units": 2,
            "activation": "relu",
            "dropout": 0.5,
            "detection": {"diameter": DIAMETER, "contrast": "dark", "opening": "cross"},
        },
    )
    return folder


def discs(shape, centres, radius, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = rng.normal(0.7, 0.03, shape)
    for cx, cy in centres:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] -= 0.35
    return image.astype(np.float32)


CENTRES = np.array([[80.0, 90], [161, 84], [250, 100], [90, 190], [200, 180], [15, 40]])


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    for seed in range(2):
        with mrcfile.new(folder / f"discs_{seed}.mrc") as mrc:
            mrc.set_data(discs((250, 330), CENTRES, 20, seed))
            mrc.voxel_size = PIXEL_SIZE
    return folder


@pytest.fixture
def image():
    """Part of a micrograph with one particle, 315 x 342 network pixels."""
    pixels = discs((70, 76), [(37, 34)], 20, seed=3)
    return WindowImage(np.clip(2 * pixels - 0.6, 0, 1), DetectionScale(40), 4.5, PIXEL_SIZE)


def test_parts_of_the_magnified_image_fit_together(image):
    whole = image.cut(0, 0, *image.shape)
    np.testing.assert_allclose(image.cut(130, 77, 90, 60), whole[130:220, 77:137], atol=1e-5)
    beyond = image.cut(-20, -30, 60, 70)
    np.testing.assert_allclose(beyond[20:, 30:], whole[:40, :40], atol=1e-5)
    np.testing.assert_allclose(beyond[:20, 30:], whole[:20, :40][::-1], atol=1e-5)
    dark = np.argwhere(whole < 0.5).mean(axis=0)[::-1]
    np.testing.assert_allclose(image.to_micrograph(dark), [[37, 34]], atol=0.5)


def test_the_map_is_that_of_windows_where_layers_are_not_padded(image):
    network = ring_detector()
    found = slide(sliding_network(network), image)
    assert len(found.y) == len(window_starts(315)) + 2 and found.y[1] == (PATCH - 1) / 2
    rows, cols = np.nonzero(found.logits[1:-2, 1:-2, 0] > -3.9)
    assert len(rows) > 5
    places = found.positions(np.stack([rows + 1, cols + 1], axis=1))
    there = found.probabilities[rows + 1, cols + 1]
    np.testing.assert_allclose(look(network, image, places), there, atol=1e-3)
    one_by_one = slide_one_by_one(network, image, 2, step=3 * STEP)
    np.testing.assert_allclose(
        one_by_one.logits[:2, :3], found.logits[1:5:3, 1:8:3], atol=1e-2, equal_nan=True
    )
    assert one_by_one.y[-1] == 315 - PATCH + (PATCH - 1) / 2


def test_tiles_and_runtimes_give_one_map(image, tmp_path):
    network = build(3, fc_units=8)
    save_network(network, tmp_path / "model.keras")
    whole = slide(sliding_network(network), image)
    sliding = OnnxNetwork(onnx_graph(tmp_path / "model.keras", sliding_config), 1)
    tiles = slide(sliding, image, tile=PATCH + 2 * MARGIN + 5 * STEP)
    assert whole.logits.std() > 0.01 and whole.logits.shape[2] == 3
    np.testing.assert_allclose(tiles.logits, whole.logits, atol=1e-4)


def test_flat_windows_are_not_looked_at():
    rng = np.random.default_rng(0)
    pixels = rng.random((200, 300)).astype(np.float32)
    pixels[:, :90] = 0.4
    image = WindowImage(pixels, DetectionScale(40), 4.5, 1.0)
    flat = flat_windows(image, [450.0], [113.0, 250.0, 800.0, 1200.0])
    assert flat.tolist() == [[True, True, False, False]]
    found = WindowMap(np.full((1, 2, 2), np.nan, np.float32), np.zeros(1), np.arange(2.0))
    assert (found.probabilities == 0).all() and (found.log_odds(0) == -np.inf).all()
    assert len(propose(found, [0], 200, 0.5)[0]) == 0
    blank = WindowImage(np.full((100, 100), 0.5, np.float32), DetectionScale(40), 4.5, 1.0)
    assert flat_windows(blank, [113.0], [113.0]).all()
    assert np.isnan(slide_one_by_one(run_network, blank, 2, step=100).logits).all()


def test_windows_end_at_the_border():
    assert window_starts(PATCH) == [0]
    assert window_starts(PATCH + 32) == [0, 16, 32]
    assert window_starts(PATCH + 35) == [0, 16, 32, 35]


def bumps(shape, centres, height=6.0, width=3.0, floor=-4.0):
    y, x = np.indices(shape)
    odds = np.full(shape, floor)
    for cx, cy in centres:
        near = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
        odds = np.maximum(odds, floor + (height - floor) * near)
    return odds


def test_a_crowd_outlives_the_cleaning_that_takes_an_area_of_ice():
    box = 10.0
    grid = [(x, y) for x in range(10, 75, 8) for y in range(10, 75, 8)]
    crowd = bumps((90, 90), grid, width=4.0)
    rng = np.random.default_rng(0)
    ice = np.full((90, 90), -4.0)
    ice[5:60, 5:60] = 5 + 0.2 * rng.normal(size=(55, 55))  # ripples, no particles
    for odds, gone in ((crowd, False), (ice, True)):
        probability = 1 / (1 + np.exp(-odds))
        labels = connected_areas(probability, 0.5)
        assert labels.max() == 1 and (labels > 0).sum() > 4 * box**2
        taken = large_areas(probability, odds, box, 0.5)
        assert taken.any() == gone
        assert (taken == ((labels > 0) & gone)).all()
    single = bumps((40, 40), [(20, 20)])
    assert not large_areas(1 / (1 + np.exp(-single)), single, box, 0.5).any()


def test_areas_of_close_scores_end_where_scores_jump():
    scores = np.array([[0.9, 0.85, 0.6, 0.1], [0.1, 0.1, 0.1, 0.58]])
    assert connected_areas(scores, 0.5).tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert connected_areas(scores, 0.5, 0.1).tolist() == [[1, 1, 2, 0], [0, 0, 0, 2]]


def test_overlap_of_boxes_as_in_the_specification():
    here = np.zeros((4, 2))
    there = np.array([[0, 0], [0.8, 0], [0.5385, 0], [1.2, 0.1]]) * 100
    overlap = intersection_over_union(here, there, 100)
    np.testing.assert_allclose(overlap, [1, 1 / 9, 0.3, 0], atol=1e-3)


def test_the_best_box_stays_and_what_it_removed_removes_nothing():
    line = np.array([[40.0, 0], [0, 0], [80, 0], [160, 0]])
    scores = np.array([0.8, 0.9, 0.7, 0.1])
    assert suppress_overlaps(line, scores, 100).tolist() == [False, True, True, True]
    assert suppress_overlaps(line, scores, 100, limit=0.5).all()
    assert suppress_overlaps(np.empty((0, 2)), np.empty(0), 100).tolist() == []


def test_classes_are_thinned_by_themselves_before_they_meet():
    # the first removes the second of its class, which would have removed the third of another
    line = np.array([[0.0, 0], [45, 0], [90, 0], [100, 30]])
    scores, classes = np.array([0.9, 0.8, 0.7, 0.75]), np.array([0, 0, 1, 2])
    assert suppress_by_class(line, scores, classes, 100).tolist() == [True, False, False, True]
    assert suppress_by_class(line[:3], scores[:3], classes[:3], 100).tolist() == [True, False, True]


def test_places_are_proposed_for_the_likeliest_shape_alone():
    top, side = bumps((60, 60), [(20, 20), (40.4, 30)]), bumps((60, 60), [(20.4, 41), (20, 20)], 3)
    side[20, 20] = 2
    logits = np.stack([top, np.zeros((60, 60)), side], axis=-1).astype(np.float32)
    grid = 100 + 16.0 * np.arange(60)
    positions, probabilities = propose(WindowMap(logits, grid, grid), [0, 2], 220, 0.5)
    order = np.lexsort((positions[:, 1], positions[:, 0]))
    expected = 100 + 16 * np.array([[20, 20], [20.4, 41], [40.4, 30]])
    np.testing.assert_allclose(positions[order], expected, atol=3)
    assert probabilities.argmax(axis=1)[order].tolist() == [0, 2, 0]


@pytest.fixture
def demo_particles(tmp_path):
    """A star file of one particle."""
    path = tmp_path / "particles.star"
    path.write_text(
        "data_particles\n\nloop_\n_rlnImageName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
        "_rlnMicrographName #4\n1@a.mrcs 10 10 a.mrc\n"
    )
    return path


@pytest.fixture(scope="module")
def picked(model_folder, micrographs):
    out = micrographs.parent / "picked"
    run_apbc(["pick", model_folder, "--micrographs", micrographs, "--out", out, "--gpu", ""])
    return out


def test_whole_particles_are_found_with_their_shape(picked):
    for seed in range(2):
        name = f"discs_{seed}.csv"
        found = read_coordinates(picked / "candidates" / name)
        distance = np.hypot(*(found[:, None, :2] - CENTRES[None, :-1]).transpose(2, 0, 1))
        assert len(found) == len(CENTRES) - 1, "one leaves the micrograph"
        assert distance.min(axis=0).max() < 10
        assert read_shapes(picked / "candidates" / name) == ["top"] * len(found)
        assert read_shapes(picked / name) == ["top"] * int((found[:, 2] >= 0.5).sum())


def test_record_and_map_tell_the_same(picked):
    run = json.loads((picked / "run.json").read_text())
    assert run["threshold"] == 0.5 and run["pixel_size"] == PIXEL_SIZE and run["failed"] == {}
    assert run["counts"]["discs_0"]["candidates"] == len(CENTRES) - 1
    scores, (left, right, bottom, _) = read_score_picture(picked / "maps" / "discs_0.png")
    at = np.rint((CENTRES[0] - [left, bottom]) / (STEP / 4.5) - 0.5).astype(int)
    assert scores[at[1], at[0]] > 0.5 and scores.mean() < 0.3
    assert left < PATCH / 2 / 4.5 and right > 330 - PATCH / 2 / 4.5


def test_resumed_picks_keep_their_shape_and_workers_find_the_same(
    picked, model_folder, micrographs, tmp_path
):
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(micrographs, source)
    shutil.copytree(picked, out)
    (out / "discs_0.csv").unlink()
    with mrcfile.new(source / "tiny.mrc") as mrc:
        mrc.set_data(discs((40, 300), [], 20))
        mrc.voxel_size = PIXEL_SIZE
    (out / "candidates" / "discs_1.csv").unlink()
    call = ["pick", model_folder, "--micrographs", source, "--out", out, "--gpu", ""]
    run_apbc([*call, "--resume", "--workers", 2], expect=3)
    for place in ("discs_0.csv", "candidates/discs_1.csv"):
        assert (out / place).read_text() == (picked / place).read_text()
    with (out / "failed.csv").open() as handle:
        (failed,) = csv.DictReader(handle)
    assert failed["micrograph"] == "tiny" and "smaller than the box" in failed["reason"]


def test_every_window_by_itself_finds_the_same_particle(model_folder, image):
    model = load_for_inference(model_folder, select_for_inference(""))
    each = slide_one_by_one(model.network, image, 2, step=2 * STEP)
    found = shape_candidates(model, image, each, 0.01, look_again=False)
    again = shape_candidates(model, image, slide(model.sliding, image), 0.01)
    assert found.shapes == again.shapes == ["top"]
    np.testing.assert_allclose(found.xy, [[37, 34]], atol=5)
    np.testing.assert_allclose(again.xy, [[37, 34]], atol=5)


@pytest.mark.parametrize("way", [[], ["--every-window"]])
def test_a_micrograph_without_contrast_gives_no_pick(way, model_folder, tmp_path):
    path = tmp_path / "blank.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.pad(np.ones((1, 1), np.float32), ((0, 69), (0, 75))))
        mrc.voxel_size = PIXEL_SIZE
    run_apbc(["pick", model_folder, "--micrographs", path, "--out", tmp_path, "--gpu", "", *way])
    assert (tmp_path / "candidates" / "blank.csv").read_text() == "x,y,score,shape\n"
    assert read_score_picture(tmp_path / "maps" / "blank.png")[0].max() == 0


def test_what_a_classifier_cannot_do_is_told(model_folder, micrographs, demo_particles, capsys):
    call = ["--micrographs", micrographs, "--out", micrographs / "no", "--gpu", ""]
    run_apbc(["pick", model_folder, *call, "--precision", 0.9], expect=1)
    assert "needs calibrated scores" in capsys.readouterr().err
    run_apbc(["screen", model_folder, demo_particles, "--out", micrographs / "no"], expect=1)
    told = capsys.readouterr().err.splitlines()[-1]
    assert "classifier of shapes" in told and "apbc screen" in told
    assert not (micrographs / "no").exists()


def test_a_classifier_loads_without_tensorflow(model_folder):
    script = (
        "import sys; from pathlib import Path;"
        "from apbc.models.inference import load_for_inference;"
        "from apbc.system.devices import select_for_inference;"
        "model = load_for_inference(Path(sys.argv[1]), select_for_inference(''));"
        "assert model.sliding is not None and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(model_folder)], check=True)
