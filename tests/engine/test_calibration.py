"""Calibration on mixtures whose particles are known, and what scores promise."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from apbc.commands.main import main
from apbc.evaluation import expected
from apbc.models.calibration import Calibration
from apbc.training import calibrate
from apbc.training.candidates import Candidates, default_threshold, promise


def mixture(particles, false=3000, decoys=9000, apart=6.0, seed=0, tail=0):
    """Scores of candidates, which of them are particles, and decoys.

    Of what looks like a particle, a share as large as the ceiling is one; `tail` more
    false candidates score lower than any decoy.
    """
    rng = np.random.default_rng(seed)
    scores = np.concatenate(
        [
            rng.normal(-3, 2, false),
            rng.normal(apart - 3, 1.5, particles),
            rng.uniform(-12, -8, tail),
        ]
    )
    truth = np.zeros(len(scores), bool)
    truth[false : false + particles] = rng.uniform(size=particles) < calibrate.CEILING
    return scores, truth, rng.normal(-3, 2, decoys)


@pytest.mark.parametrize(
    ("particles", "apart", "decoys", "tail"),
    [
        (1500, 6, 9000, 0),
        (1500, 6, 3000, 0),
        (300, 6, 9000, 0),
        (6000, 6, 9000, 0),
        (1500, 5, 9000, 0),
        (1500, 10, 9000, 0),
        (1500, 6, 9000, 1500),
    ],
)
def test_the_prior_is_estimated_and_scores_keep_their_promise(particles, apart, decoys, tail):
    scores, truth, noise = mixture(particles, apart=apart, decoys=decoys, tail=tail)
    found = calibrate.from_decoys(scores, noise)
    probabilities = found.probability(scores)
    assert probabilities.sum() == pytest.approx(truth.sum(), rel=0.1)
    assert expected.calibration_error(probabilities, truth) < 0.03
    for asked in (0.7, 0.8, 0.9):
        threshold = expected.threshold_for_precision(probabilities, asked)
        assert truth[probabilities >= threshold].mean() == pytest.approx(asked, abs=0.05)


def test_the_halos_of_particles_are_no_noise():
    """Decoys beside particles score better than noise does; they made scores promise too little."""
    scores, truth, noise = mixture(1500, apart=6, decoys=9000)
    halos = np.random.default_rng(1).normal(2, 1, 3000)
    decoys = np.concatenate([noise, halos])
    beside = np.concatenate([np.full(len(noise), -np.inf), np.full(len(halos), 5.0)])
    errors = [
        expected.calibration_error(found.probability(scores), truth)
        for found in (
            calibrate.from_decoys(scores, decoys),
            calibrate.from_decoys(scores, decoys, beside),
        )
    ]
    assert errors[0] > 0.1 and errors[1] < 0.03


@pytest.mark.parametrize("decoys", [3000, 9000])
def test_false_candidates_for_each_decoy(decoys):
    scores, _, noise = mixture(1000, decoys=decoys, apart=8)
    assert calibrate.noise_share(scores, noise) == pytest.approx(3000 / decoys, rel=0.06)


def test_a_hundred_candidates_are_enough_and_fewer_are_not():
    scores, truth, noise = mixture(100, false=100, decoys=200, apart=8)
    found = calibrate.from_decoys(scores, noise)
    assert expected.calibration_error(found.probability(scores), truth) < 0.1
    assert calibrate.from_decoys(scores[:99], noise) is None
    assert calibrate.from_decoys(scores, noise[:99]) is None


def test_noise_alone_promises_hardly_anything():
    rng = np.random.default_rng(3)
    scores, noise = rng.normal(-3, 2, 3000), rng.normal(-3, 2, 3000)
    probabilities = calibrate.from_decoys(scores, noise).probability(scores)
    assert probabilities.mean() < 0.02


def test_probabilities_rise_with_the_score_up_to_the_ceiling():
    scores, _, noise = mixture(1500)
    found = calibrate.from_decoys(scores, noise)
    rising = found.probability(np.linspace(-30, 30, 200))
    assert (np.diff(rising) >= 0).all()
    assert rising[0] < 0.01 and rising[-1] == pytest.approx(calibrate.CEILING)
    probabilities = found.probability(scores)
    thresholds = [expected.threshold_for_precision(probabilities, p) for p in (0.6, 0.7, 0.8, 0.9)]
    assert thresholds == sorted(thresholds)
    assert expected.threshold_for_precision(probabilities, 0.96) is None


def test_precision_counted_with_decoys():
    scores, truth, noise = mixture(1500)
    for lowest in (-2.0, 0.0, 2.0):
        counted = calibrate.precision_by_decoys(scores, noise, lowest)
        assert counted == pytest.approx(truth[scores >= lowest].mean(), abs=0.05)
    assert calibrate.precision_by_decoys(scores, noise, 99.0) is None
    assert calibrate.precision_by_decoys(scores, noise[:50], 0.0) is None


def test_platt_calibration_of_crops():
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 3, 4000)
    good = rng.uniform(size=4000) < 1 / (1 + np.exp(-(1.5 * scores - 1)))
    found = calibrate.from_crops(scores, good)
    assert found.slope == pytest.approx(1.5, abs=0.15)
    assert found.offset == pytest.approx(-1, abs=0.2)
    assert calibrate.from_crops(scores[:0], good[:0]) == Calibration()


@pytest.mark.parametrize("ceiling", [1.0, 0.95])
def test_a_calibration_and_its_inverse(ceiling):
    calibration = Calibration(slope=2.0, offset=-1.0, ceiling=ceiling)
    assert calibration.score(float(calibration.probability(np.array(0.7)))) == pytest.approx(0.7)
    assert calibration.score(0.0) == -np.inf
    assert calibration.score(ceiling) == calibration.score(1.0) == np.inf
    assert Calibration(**calibration.to_dict()) == calibration


def test_a_calibration_of_an_older_card_has_no_ceiling():
    older = {"slope": 2.0, "offset": -1.0, "method": "candidates and decoys", "examples": 9}
    assert Calibration(**older).probability(np.array(99.0)) == 1.0


def held_out():
    """Ten candidates at scores -9, -7, ... 9; labels at five of them."""
    good, bad = np.zeros(10, bool), np.zeros(10, bool)
    good[[7, 8, 9]] = bad[[1, 6]] = True
    none = np.empty(0)
    return Candidates(np.arange(-9.0, 10, 2), good, bad, none, none, labels=4, micrographs=2)


def test_what_held_out_micrographs_tell_of_a_promise():
    calibration = Calibration(ceiling=0.95)
    kept = held_out().kept_promise(calibration, calibration.probability(np.array(2.0)).item())
    assert (kept["labelled_good"], kept["labelled_bad"], kept["of_labelled"]) == (3, 1, 0.75)
    assert kept["promised"] == pytest.approx(
        calibration.probability(np.array([3.0, 5, 7, 9])).mean()
    )
    assert kept["by_decoys"] is None
    assert set(held_out().kept_promise(calibration, None).values()) == {None}


def test_the_promise_of_a_card():
    calibration = Calibration(ceiling=0.95)
    found = held_out()
    told = promise([found], calibration, 0.5, {1: found}, calibration, asked=0.99)
    probabilities = calibration.probability(found.scores)
    assert told["precision"] == pytest.approx(probabilities[probabilities >= 0.5].mean())
    assert told["prior"] == pytest.approx(probabilities.mean())
    assert (told["part"], told["ceiling"], told["asked"]) == ("validation", 0.95, 0.99)
    kept = told["held_out_precision"]
    assert list(kept) == ["best F1", "0.8", "0.9", "0.99"]
    assert kept["0.9"]["promised"] >= 0.9 and kept["0.99"]["threshold"] is None
    assert promise([], calibration, 0.5, {}, calibration) is None


def test_the_default_threshold_promises_the_precision_asked_for(caplog):
    calibration, found = Calibration(ceiling=0.95), held_out()
    best = default_threshold([found], calibration)
    strict = default_threshold([found], calibration, 0.93)
    assert strict > best and not caplog.records
    kept = calibration.probability(found.scores)
    assert kept[kept >= strict].mean() >= 0.93
    assert default_threshold([found], calibration, 0.97) == best
    assert "0.97" in caplog.text
    assert default_threshold([], calibration) == 0.5


@pytest.mark.parametrize("precision", ["0", "1.5", "-0.1"])
def test_a_precision_that_cannot_be_is_refused(precision, tmp_path, capsys):
    words = ["train", tmp_path / "d.h5", "--out", tmp_path / "m", "--precision", precision]
    assert main([str(word) for word in words]) == 1
    assert "--precision" in capsys.readouterr().err
