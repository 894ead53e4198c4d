import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from apbc.display import search as pages
from apbc.evaluation.label_ranks import (
    LabelRanks,
    candidates_of_labels,
    difference_error,
    measure,
    pick_window,
    ranks_of,
    shares,
)
from apbc.models.architecture import architecture
from apbc.training.search_plan import (
    DEFAULTS,
    Summary,
    Trial,
    changed,
    most_settings,
    next_trial,
    single_changes,
    told,
)
from conftest import run_apbc

FASTER = (("learning_rate", 2.0),)
SLOWER = (("learning_rate", 0.5),)
LONGER = (("epochs", 2.0),)
BOTH = (*FASTER, *LONGER)
SINGLES = [FASTER, SLOWER, LONGER]
PARTICLES = 100.0
QUICK = ["--epochs", 1, "--batch-size", 4, "--gpu", ""]


# ------------------------------ the measure ----------------------------------------


def test_ranks_by_hand():
    positions = np.array([[10.0, 10], [50, 50], [90, 90]])
    scores = np.array([3.0, 1.0, -2.0])
    near = candidates_of_labels(positions, np.array([[52.0, 50], [10, 13], [70, 70]]), 5)
    assert near.tolist() == [1, 0, -1]
    pooled = np.concatenate([scores, [2.0, 0.0, 1.0]])  # of another micrograph; one tie
    ranks = ranks_of(near, scores, pooled, micrographs=2)
    assert ranks.tolist() == [2.0, 0.5, np.inf]
    np.testing.assert_allclose(shares(ranks, np.array([0.4, 0.5, 2, 99])), [0, 1 / 3, 2 / 3, 2 / 3])


def test_nothing_to_find_and_nothing_found():
    none = np.empty((0, 2))
    assert candidates_of_labels(none, np.ones((2, 2)), 5).tolist() == [-1, -1]
    assert len(candidates_of_labels(np.ones((2, 2)), none, 5)) == 0
    window = pick_window(PARTICLES)
    lost = LabelRanks(np.full(4, np.inf), np.empty(0))
    assert measure(lost, window) == 0
    assert measure(LabelRanks(np.ones(4), np.empty(0)), window) == 1
    assert measure(LabelRanks(np.ones(4), np.ones(4)), window) == 0


def test_bad_labels_weigh_as_good_ones_and_together_no_more_than_them():
    window = pick_window(PARTICLES)
    assert measure(LabelRanks(np.ones(10), np.ones(1)), window) == pytest.approx(0.9)
    assert measure(LabelRanks(np.ones(10), np.r_[np.ones(20), np.full(20, np.inf)]), window) == 0.5


def test_the_measure_ranks_pickers_as_the_truth_does_whatever_the_share_of_labels():
    """Pickers of different quality, and a fifth of the particles labelled."""
    rng = np.random.default_rng(0)
    found = []
    for contrast in (0.5, 1.0, 2.0, 4.0):
        particles, noise = rng.normal(contrast, 1, 600), rng.normal(0, 1, 3000)
        pooled = np.concatenate([particles, noise])
        picked = np.argsort(-pooled)[:600]
        f1 = (picked < 600).mean()  # as many picks as particles: F1, precision and recall
        labels = rng.choice(600, 120, replace=False)
        ranks = LabelRanks(ranks_of(labels, particles, pooled, 1), np.empty(0))
        assert shares(ranks.good, np.array([600.0]))[0] == pytest.approx(f1, abs=0.1)
        found.append((f1, measure(ranks, pick_window(600))))
    assert found == sorted(found) and found[-1][1] > found[0][1] + 0.3


def test_the_error_of_a_difference_is_that_of_many_draws_of_labels():
    rng = np.random.default_rng(1)
    window = pick_window(PARTICLES)
    one = LabelRanks(rng.uniform(0, 300, 200), rng.uniform(0, 900, 50))
    other = LabelRanks(one.good * rng.uniform(0.5, 1.5, 200), one.bad * rng.uniform(0.5, 1.5, 50))
    draws = []
    for _ in range(400):
        good, bad = rng.integers(200, size=200), rng.integers(50, size=50)
        drawn = [LabelRanks(ranks.good[good], ranks.bad[bad]) for ranks in (one, other)]
        draws.append(measure(drawn[0], window) - measure(drawn[1], window))
    assert difference_error(one, other, window) == pytest.approx(np.std(draws), rel=0.15)
    assert difference_error(one, one, window) == 0


# ------------------------------- what comes next ------------------------------------


def trial(changes, found, seed=0, labels=200):
    """Trial that finds a share of the labels at once and the others never."""
    ranks = np.where(np.arange(labels) < round(found * labels), 1.0, np.inf)
    folder = f"trials/{told(changes)}-{seed}"
    return Trial(changes, seed, LabelRanks(ranks, np.empty(0)), PARTICLES, 3, 60.0, folder)


def searched(quality, most=8, spread=0.0, failed=()):
    """Order of the trials of a search whose settings have known measures."""
    trials, order, broken = [], [], {}
    while (wanted := next_trial(SINGLES, trials, most, broken)) is not None:
        order.append(wanted)
        changes, seed = wanted
        if changes in failed:
            broken[changes] = "the loss is not a number"
        else:
            trials.append(trial(changes, quality[changes] - spread * seed, seed))
        assert len(order) < 20
    return order, Summary(trials)


def test_the_defaults_come_first_then_single_changes_then_what_helped_together():
    quality = {DEFAULTS: 0.5, FASTER: 0.7, SLOWER: 0.4, LONGER: 0.6, BOTH: 0.8}
    order, summary = searched(quality)
    assert order == [
        (DEFAULTS, 0),
        (DEFAULTS, 1),
        (FASTER, 0),
        (SLOWER, 0),
        (LONGER, 0),
        (BOTH, 0),
        (BOTH, 1),
    ]
    assert summary.chosen() == BOTH and summary.verdict(SLOWER) == "worse"
    assert summary.rows()[0]["settings"] == "learning rate x 2, epochs x 2"


def test_a_search_never_leaves_the_defaults_for_less_than_noise():
    quality = {DEFAULTS: 0.5, FASTER: 0.52, SLOWER: 0.4, LONGER: 0.3}
    order, summary = searched(quality, spread=0.1)
    assert order[-1] == (FASTER, 1)
    assert summary.leader() == FASTER and summary.chosen() == DEFAULTS
    assert summary.verdict(FASTER) == "within noise"
    assert summary.seed_spread() == pytest.approx(0.1 / np.sqrt(2), rel=0.01)


def test_settings_that_were_not_repeated_are_not_chosen():
    defaults = [trial(DEFAULTS, 0.5, seed) for seed in (0, 1)]
    summary = Summary([*defaults, trial(FASTER, 0.9)])
    assert summary.verdict(FASTER) == "better" and summary.chosen() == DEFAULTS
    assert Summary([*defaults, *(trial(FASTER, 0.9, s) for s in (0, 1))]).chosen() == FASTER


def test_few_trials_and_failed_ones():
    quality = {DEFAULTS: 0.5, FASTER: 0.9, SLOWER: 0.4, LONGER: 0.6}
    assert searched(quality, most=1)[0] == [(DEFAULTS, 0)]
    order, _ = searched(quality, most=3)
    assert [changes for changes, _ in order].count(SLOWER) == 1 and (LONGER, 0) not in order
    order, summary = searched(quality, failed=(FASTER,))
    assert order.count((FASTER, 0)) == 1 and FASTER not in summary.trials
    assert summary.chosen() == LONGER


@dataclass(frozen=True)
class Options:
    """Options of a training, without TensorFlow behind them."""

    architecture: str = "dense"
    epochs: int | None = None
    learning_rate: float | None = None
    unlabelled: str = "weak"
    seed: int = 3


def test_changes_multiply_what_the_architecture_or_the_user_says():
    dense, published = (architecture(name) for name in ("dense", "autopick-bc"))
    options = changed(Options(), BOTH, seed=1)
    assert (options.learning_rate, options.epochs) == (2 * dense.learning_rate, 2 * dense.epochs)
    assert options.seed == 4
    given = changed(Options(learning_rate=0.1, epochs=3), BOTH, seed=0)
    assert (given.learning_rate, given.epochs, given.seed) == (0.2, 6, 3)
    other = changed(Options(), (*FASTER, ("architecture", "autopick-bc")), seed=0)
    assert other.learning_rate == 2 * published.learning_rate and other.epochs is None


def test_what_is_given_is_not_searched():
    names = [changes[0][0] for changes in single_changes(Options(), ("epochs",))]
    assert "epochs" not in names and "learning_rate" in names
    assert (("architecture", "dense"),) not in single_changes(Options(), ())
    assert most_settings(SINGLES) == 6


# ------------------------------- with real trainings --------------------------------


@pytest.fixture(scope="module")
def searched_folder(demo_dataset, tmp_path_factory):
    """A search of two settings with tiny trainings."""
    pytest.importorskip("tensorflow")
    out = tmp_path_factory.mktemp("search") / "s"
    run_apbc(
        ["search", demo_dataset, "--out", out, "--trials", 2, "--architecture", "dense", *QUICK]
    )
    return out


def test_a_search_leaves_a_table_and_a_model(searched_folder, demo_dataset):
    from apbc.dataset.store import Dataset
    from apbc.models.folder import load_model

    record = json.loads((searched_folder / "search.json").read_text())
    assert record["finished"] and record["fixed"] == ["epochs", "architecture"]
    settings = [row["settings"] for row in record["trials"]]
    assert set(settings) == {"defaults", "learning rate x 2"} and record["chosen"] in settings
    assert (searched_folder / "search.csv").read_text().count("\n") == 3
    assert "data:image/png" in (searched_folder / "search.html").read_text()
    with Dataset(demo_dataset) as dataset:
        counts = dataset.counts()
        assert record["data_hash"] == dataset.data_hash
    assert record["good_labels"] == counts["validation"]["good"]
    assert record["test"]["good_labels"] == counts["test"]["good"]
    model = load_model(searched_folder / "model")
    assert model.card["refitted"] is True
    assert "Search of training settings" in (searched_folder / "model/report.html").read_text()
    for row in record["trials"]:
        for folder in row["folders"]:
            card = load_model(searched_folder / folder / "model").card
            assert card["refitted"] is False and card["data_hash"] == record["data_hash"]


def test_what_is_complete_is_not_trained_again_and_what_is_missing_is(
    searched_folder, demo_dataset, tmp_path, monkeypatch
):
    from apbc.training import search

    out = tmp_path / "s"
    shutil.copytree(searched_folder, out)
    lost = next((out / "trials").glob("*/trial.json"))
    before = json.loads(lost.read_text())
    lost.unlink()
    trained = []
    monkeypatch.setattr(search, "train", lambda *args: trained.append(args))
    run_apbc(
        ["search", demo_dataset, "--out", out, "--trials", 2, "--architecture", "dense", *QUICK]
    )
    assert trained == []
    again = json.loads(lost.read_text())
    assert again["good"] == before["good"] and again["request"] == before["request"]
    page = (out / "model" / "report.html").read_text()
    assert page.count("Search of training settings") == 1


def test_the_time_limit_ends_a_search_between_trials(
    searched_folder, demo_dataset, tmp_path, caplog
):
    out = tmp_path / "s"
    shutil.copytree(searched_folder, out)
    command = ["search", demo_dataset, "--out", out, "--architecture", "dense", *QUICK]
    run_apbc([*command, "--trials", 3, "--time-limit", 0.0001])
    record = json.loads((out / "search.json").read_text())
    assert not record["finished"] and len(record["trials"]) == 2
    assert "not complete" in "".join(record["told"]) and (out / "model/card.json").is_file()


def test_what_a_search_refuses(searched_folder, demo_dataset, demo_data, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    run_apbc(["search", demo_dataset, "--out", tmp_path / "mine", *QUICK], expect=1)
    assert "something else" in capsys.readouterr().err
    run_apbc(["search", demo_dataset, "--out", tmp_path / "s", "--trials", 0], expect=1)
    assert "--trials" in capsys.readouterr().err
    diameter = json.loads((demo_data / "simulation.json").read_text())["diameter"]
    other = tmp_path / "d.h5"
    run_apbc(
        ["dataset", "--micrographs", demo_data / "micrographs", "--good", demo_data / "good"]
        + ["--bad", demo_data / "bad", "--diameter", diameter, "--out", other]
        + ["--split-by", "particle"]
    )
    run_apbc(["search", other, "--out", tmp_path / "s", *QUICK], expect=1)
    assert "whole micrographs" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_sentences_tell_what_is_within_noise():
    trials = [trial(DEFAULTS, 0.5), trial(DEFAULTS, 0.45, 1), trial(FASTER, 0.51)]
    summary = Summary(trials)
    record = {
        "trials": summary.rows(),
        "chosen": told(summary.chosen()),
        "leader": told(summary.leader()),
        "micrographs": 1,
        "good_labels": 200,
        "bad_labels": 0,
        "failed": {"epochs x 2": "the disk is full"},
        "finished": True,
        "test": None,
        "particles": PARTICLES,
    }
    sentences = pages.sentences(record)
    assert sentences[0].startswith("The defaults stay") and "noise" in sentences[0]
    assert "1 validation micrograph with 200 good labels" in sentences[1]
    assert "the disk is full" in sentences[2]
