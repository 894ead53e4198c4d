import json
import subprocess
import sys

import numpy as np
import pytest

from apbc.errors import ApbcError
from apbc.evaluation.figures import inside, score_picks
from apbc.evaluation.matching import match_by_score, match_closest_first
from apbc.io.coordinates import read_coordinate_folder, write_coordinates

NAN = np.nan


def test_the_closest_pair_goes_first():
    truth = np.array([[0, 0], [10, 0]], float)
    picks = np.array([[4, 0], [1, 0], [30, 0]], float)
    assert match_closest_first(picks, truth, 7).tolist() == [1, 0, -1]
    assert match_closest_first(picks, truth, 5).tolist() == [-1, 0, -1]


def test_a_pair_at_the_radius_counts_and_a_particle_is_claimed_once():
    truth = np.array([[0, 0]], float)
    assert match_closest_first(np.array([[3, 4]], float), truth, 5).tolist() == [0]
    assert match_closest_first(np.array([[3, 4.001]], float), truth, 5).tolist() == [-1]
    assert match_closest_first(np.zeros((3, 2)), truth, 5).tolist() == [0, -1, -1]


def test_the_best_score_goes_first():
    truth = np.array([[0, 0], [10, 0]], float)
    picks = np.array([[4, 0], [1, 0]], float)
    assert match_by_score(picks, np.array([0.9, 0.1]), truth, 7).tolist() == [0, -1]
    assert match_by_score(picks, np.array([0.1, 0.9]), truth, 7).tolist() == [1, 0]


def test_nothing_to_match():
    nothing, one = np.empty((0, 2)), np.zeros((1, 2))
    assert match_closest_first(nothing, one, 5).shape == (0,)
    assert match_closest_first(one, nothing, 5).tolist() == [-1]
    assert match_by_score(one, np.ones(1), nothing, 5).tolist() == [-1]


def test_figures_by_hand():
    truth = {
        "a": [[10, 10, NAN], [50, 10, NAN], [90, 10, NAN], [10, 90, NAN]],
        "b": [[20, 20, NAN]],
        "c": [[30, 30, NAN]],
    }
    picks = {
        "a": [[13, 14, 0.9], [50, 12, 0.6], [70, 70, 0.8]],
        "b": [[20, 20, 0.7], [21, 20, 0.5]],
        "other": [[1, 1, 1]],
    }
    figures = score_picks(picks, truth, radius=6)
    assert [(m.name, m.truth, m.picks, m.hits) for m in figures.per_micrograph] == [
        ("a", 4, 3, 2),
        ("b", 1, 2, 1),
        ("c", 1, 0, 0),
    ]
    assert figures.precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert figures.recall == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert figures.f1 == pytest.approx((4 / 7 + 2 / 3 + 0) / 3)
    # By falling score: hit .9, false .8, hit .7, hit .6, false .5; six particles.
    np.testing.assert_allclose(figures.curve.threshold, [0.9, 0.8, 0.7, 0.6, 0.5])
    np.testing.assert_allclose(figures.curve.precision, [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5])
    np.testing.assert_allclose(figures.curve.recall, np.array([1, 1, 2, 3, 3]) / 6)
    assert figures.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 6)
    assert figures.best_f1 == pytest.approx(2 * 3 / (4 + 6))
    assert figures.best_threshold == 0.6
    assert figures.calibration_error == pytest.approx((0.1 + 0.8 + 0.3 + 0.4 + 0.5) / 5)
    assert figures.localisation_error(2.0) == pytest.approx(2 * (5 + 2 + 0) / 3)
    above = score_picks(picks, truth, radius=6, threshold=0.7, only=["a", "b"])
    assert [(m.picks, m.hits) for m in above.per_micrograph] == [(2, 1), (1, 1)]
    assert above.best_f1 == pytest.approx(2 * 3 / (4 + 5))


def test_the_edge_is_left_out_on_both_sides():
    points = np.array([[4, 50, NAN], [5, 50, NAN], [74, 50, NAN], [75, 50, NAN], [40, 95, NAN]])
    assert inside(points, (100, 80), 5)[:, 0].tolist() == [5, 74]
    figures = score_picks({"a": points}, {"a": points}, 3, shapes={"a": (100, 80)}, edge=5)
    assert (figures.per_micrograph[0].truth, figures.per_micrograph[0].picks) == (2, 2)
    with pytest.raises(ApbcError, match="give --shape"):
        score_picks({"a": points}, {"a": points}, 3, edge=5)
    with pytest.raises(ApbcError, match="size of micrograph a"):
        score_picks({"a": points}, {"a": points}, 3, shapes={}, edge=5)


def test_without_scores_there_is_no_curve():
    figures = score_picks({"a": [[1, 1, NAN]]}, {"a": [[1, 1, NAN]]}, 3)
    assert figures.f1 == 1
    told = figures.as_dict(1.0)
    assert told["average_precision"] is told["best_f1"] is told["best_threshold"] is None
    assert told["calibration_error"] is None


def test_scores_that_are_no_probabilities_have_no_calibration_error():
    figures = score_picks({"a": [[1, 1, 7.5], [9, 9, -2.0]]}, {"a": [[1, 1, NAN]]}, 3)
    assert figures.best_f1 == 1
    assert figures.calibration_error is None


def test_nothing_found_and_nothing_known():
    figures = score_picks({}, {"a": np.empty((0, 3))}, 3)
    assert (figures.precision, figures.recall, figures.f1) == (0, 0, 0)
    assert figures.localisation_error(1.0) is None
    with pytest.raises(ApbcError, match="no known particle"):
        score_picks({}, {}, 3)
    with pytest.raises(ApbcError, match="micrograph b has no known"):
        score_picks({}, {"a": np.empty((0, 3))}, 3, only=["b"])


def agree(bench, picks, truth, diameter, edge, shape, threshold=None, only=None):
    """Compare our figures with those of the benchmark's own script."""
    command = [sys.executable, bench / "score.py", picks, truth, "--diameter", diameter]
    command += ["--edge", edge, "--shape", *shape]
    command += [] if threshold is None else ["--threshold", threshold]
    command += ["--only", *only] if only else []
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout.splitlines()[-1])
    known = read_coordinate_folder(truth)
    figures = score_picks(
        read_coordinate_folder(picks),
        known,
        diameter / 2,
        shapes=dict.fromkeys(known, shape),
        edge=edge,
        threshold=threshold,
        only=only,
    )
    ours = figures.as_dict(1.0)
    assert {key: ours[key] for key in expected} == expected
    return expected


@pytest.mark.parametrize("peer", ["crYOLO", "topaz", "deepPicker"])
def test_figures_of_peers_are_those_of_the_benchmark(bench_folder, peer):
    data = bench_folder / "data" / "empiar-10017"
    picks = data / "peers" / peer
    names = sorted(p.stem for p in picks.iterdir())
    expected = agree(bench_folder, picks, data / "truth", 108, 96, (4096, 4096), only=names)
    assert expected["micrographs"] == 8 and expected["average_precision"] > 0.1
    half = expected["best_threshold"]
    agree(bench_folder, picks, data / "truth", 108, 96, (4096, 4096), threshold=half)


def test_figures_of_random_picks_are_those_of_the_benchmark(bench_folder, tmp_path):
    random = np.random.default_rng(5)
    for name in "abc":
        truth = random.uniform(0, 300, (40, 2))
        picks = np.r_[truth[:30] + random.normal(0, 6, (30, 2)), random.uniform(0, 300, (20, 2))]
        write_coordinates(tmp_path / "truth" / f"{name}.csv", truth)
        if name != "c":
            scores = random.integers(0, 10, 50) / 10
            write_coordinates(tmp_path / "picks" / f"{name}.csv", picks, scores)
    agree(bench_folder, tmp_path / "picks", tmp_path / "truth", 30, 0, (300, 300))
    agree(bench_folder, tmp_path / "picks", tmp_path / "truth", 30, 20, (300, 280), threshold=0.5)
