import h5py
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from apbc.dataset.labels import BAD, GOOD
from apbc.dataset.split import TEST, TRAIN, VALIDATION
from apbc.dataset.store import Dataset
from apbc.evaluation.label_ranks import measure, pick_window
from apbc.models.calibration import Calibration
from apbc.models.folder import load_model
from apbc.training.candidates import (
    candidates_on,
    find_candidates,
    found_labels,
    rank_labels,
    recall_of_views,
)
from apbc.training.feedback import (
    MOST_OFTEN,
    SURE,
    Round,
    find_feedback,
    held_out_measure,
    propensity_weights,
    rounds,
)
from apbc.training.samples import BAD_RADIUS, HIDDEN_RADIUS, find_neighbours
from apbc.training.train import Trained, _recall_before


@pytest.fixture(scope="module")
def model(demo_model):
    return load_model(demo_model)


def nearest(places, labels):
    return np.hypot(*(places[:, None] - labels[None]).transpose(2, 0, 1)).min(axis=1)


# ------------------------------ what a network finds --------------------------------


def test_feedback_is_of_training_micrographs_and_keeps_off_labels(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        diameter = dataset.preprocessing.diameter_pixels
        found, purity = find_feedback(dataset, model.network, model.architecture, model.calibration)
        names = dataset.images_of(TRAIN)
        assert set(found.likely) == set(found.mined) == set(names)
        assert 0.8 < purity <= 1
        assert sum(map(len, found.likely.values())) > 20
        for name in names:
            good, bad = (
                dataset.working[dataset.labels_on(name, kind)].astype(float) for kind in (GOOD, BAD)
            )
            assert (nearest(found.likely[name], good) > HIDDEN_RADIUS * diameter).all()
            assert (nearest(found.likely[name], bad) > BAD_RADIUS * diameter).all()
            xy, scores = candidates_on(dataset, model.network, model.architecture, name)
            sure = xy[model.calibration.probability(scores) >= SURE]
            for places in (found.likely[name], found.mined[name]):
                assert {*map(tuple, places)} <= {*map(tuple, sure)}


def test_likely_places_are_hidden_and_mined_ones_are_negatives(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        found, _ = find_feedback(dataset, model.network, model.architecture, model.calibration)
        name = next(name for name, places in found.likely.items() if len(places))
        found.mined[name] = found.likely[name][:1] + 1.0
        owner = dataset.micrograph_names.index(name)
        positions = np.flatnonzero(dataset.micrograph[dataset.crop_rows] == owner)
        plain, more = (find_neighbours(dataset, positions, given) for given in (None, found))

        def places(group):
            rows = dataset.crop_rows[positions]
            middles = np.rint(dataset.working[rows].astype(float))[:, None]
            known = (group < 1e5).all(axis=2)
            return {tuple(np.round(xy, 2)) for xy in (group + middles)[known]}

        assert places(more.good) == places(plain.good)
        mined = places(more.bad) - places(plain.bad)
        assert mined <= {tuple(np.round(xy, 2)) for xy in found.mined[name]}
        assert not places(plain.hidden)
        assert places(more.hidden) <= {tuple(np.round(xy, 2)) for xy in found.likely[name]}
        assert places(more.hidden)


def test_labels_are_found_where_candidates_are(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        ranks, scores = rank_labels(dataset, model.network, model.architecture, VALIDATION)
        found = find_candidates(dataset, model.network, model.architecture, (VALIDATION,))
        np.testing.assert_array_equal(np.sort(scores), np.sort(found[VALIDATION].scores))
        assert len(ranks.good) == found[VALIDATION].labels
        assert np.isfinite(ranks.good).sum() >= found[VALIDATION].good.sum() > 0
        assert np.median(ranks.good) < np.median(ranks.bad)
        told = held_out_measure(dataset, model.network, model.architecture, 40.0)
        assert told == measure(ranks, pick_window(40.0)) > 0.3
        assert held_out_measure(dataset, model.network, model.architecture, 0.0) is None


def test_recall_of_views_on_held_out_micrographs(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        args = (dataset, model.network, model.architecture)
        assert recall_of_views(*args, -np.inf) == []
        held_out = np.flatnonzero((dataset.kind == GOOD) & (dataset.split != TRAIN))
        dataset.view = np.where(dataset.kind == GOOD, 3, -1)
        dataset.view[held_out[:2]], dataset.view[held_out[2]] = 5, -1
        three, five = recall_of_views(*args, -np.inf)
        assert (three.part, three.particles) == (3, len(held_out) - 3)
        assert (five.part, five.particles) == (5, 2)
        assert three.recall > 0.8 and not three.lost
        assert recall_of_views(*args, np.inf)[0].recall == 0
        # Labels that lie where nothing is are a view that is lost.
        dataset.view[held_out[::2]], dataset.view[held_out[1::2]] = 5, 3
        dataset.working[held_out[::2]] = -99
        assert [view.lost for view in recall_of_views(*args, -np.inf)] == [False, True]


def test_no_candidates_are_no_failure(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        name = dataset.image_names[0]
        none = np.empty((0, 2))
        labels = dataset.labels_on(name, GOOD)
        assert found_labels(dataset, name, GOOD, none).tolist() == [-1] * len(labels)


def test_split_particles_have_no_held_out_micrographs(demo_dataset, model):
    with Dataset(demo_dataset) as dataset:
        dataset.provenance["options"]["split_by"] = "particle"
        assert dataset.images_of(TRAIN, VALIDATION, TEST) == []
        assert held_out_measure(dataset, model.network, model.architecture, 40.0) is None
        assert recall_of_views(dataset, model.network, model.architecture, 0.0) == []


# ------------------------------ how often labels are drawn ---------------------------


def test_labels_that_score_low_are_drawn_as_often_as_their_particles_say():
    rng = np.random.default_rng(0)
    scores = rng.uniform(2, 6, 4000)  # particles, all sure, evenly over the scores
    labels = np.concatenate([rng.uniform(2, 4, 100), rng.uniform(4, 6, 300), [np.nan] * 5])
    weights = propensity_weights(labels, scores, Calibration(slope=10.0))
    assert (weights[-5:] == 1).all()
    low, high = weights[:100].mean(), weights[100:400].mean()
    assert low / high == pytest.approx(3, rel=0.25)
    assert weights.max() <= MOST_OFTEN
    few = propensity_weights(labels[:40], scores, Calibration(slope=10.0))
    assert (few == 1).all()


# ------------------------------ rounds ------------------------------------------------


def run_rounds(most, figures):
    """Rounds over numbers in the place of networks: each is its own name."""
    asked = []

    def again(number, before):
        asked.append(before)
        return number, Round(number, None, sure=10 * number, purity=0.9, mined=number)

    best, records = rounds(most, 0, lambda made: figures[made], again)
    return best, records, asked


def test_rounds_go_on_while_the_figure_rises():
    best, records, asked = run_rounds(5, [0.5, 0.6, 0.7, 0.7, 0.9])
    assert best == 2 and asked == [0, 1, 2]
    assert [one.measure for one in records] == [0.5, 0.6, 0.7, 0.7]
    assert [one.kept for one in records] == [False, False, True, False]
    assert records[2].sure == 20


def test_a_first_round_that_does_not_help_is_dropped():
    best, records, asked = run_rounds(3, [0.5, 0.4, 0.9])
    assert best == 0 and asked == [0] and records[0].kept


def test_no_rounds_without_a_figure_to_judge_them_by(caplog):
    best, records, asked = run_rounds(3, [None])
    assert best == 0 and asked == [] and records == [Round(0, None, kept=True)]
    assert "no validation micrographs" in caplog.text


# ------------------------------ crops past HDF5 ----------------------------------------


def test_crops_are_those_that_hdf5_reads(demo_dataset):
    with Dataset(demo_dataset) as dataset, h5py.File(demo_dataset, "r") as handle:
        chosen = np.array([7, 0, 7, len(dataset.crop_rows) - 1])
        wanted = np.stack([handle["crops"][i] for i in chosen])
        np.testing.assert_array_equal(dataset.stored_crops(chosen), wanted)
        assert dataset.stored_crops(chosen[:0]).shape == (0, *wanted.shape[1:])


def test_the_recall_of_views_before_feedback_is_that_of_the_first_training(
    demo_dataset, demo_model
):
    model = load_model(demo_model)
    with Dataset(demo_dataset) as dataset:
        dataset.view = np.where(dataset.kind == GOOD, 3, -1).astype(np.int32)
        found = find_candidates(dataset, model.network, model.architecture)
        first = Trained([], model.network, model.calibration, found)
        before = _recall_before(dataset, model.architecture, None, first)
        assert list(before) == [3] and 0 < before[3] <= 1
        assert _recall_before(dataset, model.architecture, None, None) == {}
        by_parent = _recall_before(dataset, model.architecture, model, first)
    assert list(by_parent) == [3]
