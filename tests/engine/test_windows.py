import json
import time

import mrcfile
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from apbc.bootstrap.scale import DetectionScale
from apbc.io.coordinates import read_coordinates, read_shapes
from apbc.models.alexnet import PATCH, build
from apbc.models.folder import load_model, save_network, write_card
from apbc.models.inference import load_for_inference
from apbc.models.sliding import MARGIN, STEP, sliding_network
from apbc.picking.areas import connected_areas, large_areas
from apbc.picking.overlap import intersection_over_union, suppress_by_class, suppress_overlaps
from apbc.picking.score_map import run_network
from apbc.picking.shapes import propose
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
from apbc.system.devices import Device
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


CENTRES = np.array([[80.0, 90], [161, 84], [250, 100], [90, 190], [200, 180], [280, 210], [15, 40]])


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    for seed in range(2):
        with mrcfile.new(folder / f"discs_{seed}.mrc") as mrc:
            mrc.set_data(discs((270, 350), CENTRES, 20, seed))
            mrc.voxel_size = PIXEL_SIZE
    return folder


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
