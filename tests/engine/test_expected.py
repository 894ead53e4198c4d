import numpy as np
import pytest

from apbc.evaluation import expected


def test_best_threshold_maximises_the_expected_f1():
    rng = np.random.default_rng(0)
    p = rng.beta(0.4, 0.4, 3000)
    threshold = expected.best_expected_threshold(p)
    best = max(
        (2 * p[p >= t].sum() / ((p >= t).sum() + p.sum()), t) for t in np.linspace(0.01, 0.99, 99)
    )
    assert abs(threshold - best[1]) < 0.02
    assert expected.best_expected_threshold(np.full(10, 0.3)) == pytest.approx(
        0.5 * 2 * 3 / (10 + 3)
    )


def test_expected_precision_is_the_mean_of_the_scores_above():
    scores = np.array([0.9, 0.1, 0.7, 0.5])
    assert expected.expected_precision(scores, 0.5) == pytest.approx(0.7)
    assert expected.expected_precision(scores, 0.0) == pytest.approx(0.55)
    assert expected.expected_precision(scores, 0.95) is None


def test_threshold_for_precision_keeps_as_many_as_it_may():
    scores = np.array([0.9, 0.1, 0.7, 0.5])
    threshold = expected.threshold_for_precision(scores, 0.7)
    assert threshold == 0.5
    assert expected.expected_precision(scores, threshold) >= 0.7
    assert expected.threshold_for_precision(scores, 0.0) == 0.1
    assert expected.threshold_for_precision(scores, 0.95) is None
    assert expected.threshold_for_precision(np.array([]), 0.5) is None


def test_reliability_and_calibration_error_by_hand():
    scores = np.array([0.05, 0.85, 0.89, 1.0])
    right = np.array([False, True, False, True])
    mean, share, counts = expected.reliability(scores, right)
    np.testing.assert_allclose(mean, [0.05, 0.87, 1.0])
    np.testing.assert_allclose(share, [0, 0.5, 1])
    assert counts.tolist() == [1, 2, 1]
    assert expected.calibration_error(scores, right) == pytest.approx((0.05 + 2 * 0.37 + 0) / 4)
