import numpy as np
import pytest

pytest.importorskip("tensorflow")

from apbc.dataset.labels import BAD, GOOD
from apbc.dataset.store import Dataset
from apbc.models.architecture import architecture
from apbc.models.folder import load_model
from apbc.training.candidates import candidates_on
from apbc.training.centres import REACH, can_centre, label_centres
from apbc.training.samples import find_neighbours


@pytest.fixture(scope="module")
def model(demo_model):
    return load_model(demo_model)


def test_good_labels_move_onto_the_peaks_beside_them(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        diameter = dataset.preprocessing.diameter_pixels
        centres = label_centres(dataset, model.network, model.architecture)
        away = np.hypot(*(centres - dataset.working).T) / diameter
        good = dataset.kind == GOOD
        assert not away[~good].any() and away.max() <= REACH
        moved = good & (away > 0)
        assert moved.sum() > 0.5 * good.sum()
        at = []
        for name in dataset.image_names:
            xy, _ = candidates_on(dataset, model.network, model.architecture, name)
            mine = moved & (dataset.micrograph == dataset.micrograph_names.index(name))
            steps = centres[mine][:, None] - xy[None]
            at += list(np.hypot(*steps.transpose(2, 0, 1)).min(axis=1) / diameter)
        # Half precision, and a grid that begins elsewhere in the crop than in the micrograph.
        assert np.median(at) < 0.05


def test_training_sees_the_particles_where_they_were_found(demo_dataset):
    with Dataset(demo_dataset) as dataset:
        positions = dataset.crops_of(None, (GOOD, BAD))[:20]
        plain = find_neighbours(dataset, positions)
        centres = dataset.working + np.where(dataset.kind == GOOD, 3.0, 0.0)[:, None]
        moved = find_neighbours(dataset, positions, centres=centres)
        inside = (np.abs(plain.good) < 30).all(axis=2) & (plain.good < 1e5).all(axis=2)
        found = {tuple(np.round(xy, 2)) for row in moved.good for xy in row}
        assert {tuple(np.round(xy + 3.0, 2)) for xy in plain.good[inside]} <= found
        np.testing.assert_array_equal(moved.bad, plain.bad)


def test_what_cannot_be_centred(demo_dataset):
    with Dataset(demo_dataset) as dataset:
        assert can_centre(dataset, architecture("dense"))
        assert not can_centre(dataset, architecture("autopick-bc"))
        dataset.provenance = {**dataset.provenance, "source": "stacks"}
        assert not can_centre(dataset, architecture("dense"))
