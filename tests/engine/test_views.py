import numpy as np
import pytest

from apbc.dataset.views import count, described, evenly, quotas

MANY = np.repeat([3, 7, 9, -1], [800, 150, 40, 10])


def totals(view, weights):
    return {number: float(weights[view == number].sum()) for number in np.unique(view)}


def test_views_get_the_same_total():
    view = np.repeat([3, 7, -1], [60, 30, 20])
    weights = quotas(view)
    assert weights.mean() == pytest.approx(1)
    assert list(totals(view, weights).values()) == pytest.approx([110 / 3] * 3)


def test_a_label_is_repeated_so_often_and_no_more():
    weights = quotas(MANY)
    assert weights.mean() == pytest.approx(1)
    assert weights.max() == pytest.approx(4)
    found = totals(MANY, weights)
    assert found[-1] == pytest.approx(40) and found[9] == pytest.approx(160)
    assert found[3] == pytest.approx(found[7]) == pytest.approx(400)


@pytest.mark.parametrize("view", [np.full(5, -1), np.full(7, 2), np.arange(6), np.empty(0, int)])
def test_one_view_or_as_many_as_labels_weigh_alike(view):
    np.testing.assert_allclose(quotas(view), np.ones(len(view)))


def test_weights_follow_the_labels_and_not_their_order():
    shuffled = np.random.default_rng(1).permutation(len(MANY))
    np.testing.assert_allclose(quotas(MANY)[shuffled], quotas(MANY[shuffled]))


def test_a_cut_keeps_rare_views_whole():
    chosen = evenly(MANY, 300, np.random.default_rng(0))
    assert len(chosen) == 300 == len(set(chosen.tolist()))
    assert count(MANY[chosen]) == {-1: 10, 3: 125, 7: 125, 9: 40}


def test_a_cut_is_spread_seeded_and_exact():
    view = np.full(1000, -1)
    chosen = evenly(view, 97, np.random.default_rng(0))
    assert len(chosen) == 97 and np.diff(chosen).max() <= 22
    assert (chosen == evenly(view, 97, np.random.default_rng(0))).all()
    assert (chosen != evenly(view, 97, np.random.default_rng(1))).any()
    assert len(evenly(np.repeat(np.arange(7), 30), 100, np.random.default_rng(0))) == 100
    assert evenly(view[:5], 9, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_fewer_labels_than_views():
    chosen = evenly(np.arange(50), 7, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 7


def test_views_in_words():
    assert described(MANY) == "class 3: 800, class 7: 150, class 9: 40, unknown: 10"
