"""Intervals and paired comparisons.  Tolerance 1e-12: float64 sums in a different order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.statistics import auroc, class_jackknife, holm, paired_difference


def episodes(n_episodes=200, n_classes=9, n_way=3, seed=0):
    rng = np.random.default_rng(seed)
    classes = np.stack([rng.choice(n_classes, n_way, replace=False) for _ in range(n_episodes)])
    return rng.integers(0, 16, n_episodes) / 15, classes


def test_jackknife_matches_an_explicit_loop_over_classes():
    accuracy, classes = episodes()
    theta = []
    for c in range(9):
        theta.append(np.mean([a for a, own in zip(accuracy, classes, strict=True) if c not in own]))
    se = np.sqrt(8 / 9 * sum((t - np.mean(theta)) ** 2 for t in theta))
    found = class_jackknife(accuracy, classes)
    assert found.se == pytest.approx(se, abs=1e-12)
    assert found.half_width == pytest.approx(2.306004 * se, rel=1e-6)  # t table: .975, 8 degrees of freedom
    assert found.mean == pytest.approx(np.mean(accuracy)) and found.n_classes == 9
    assert found.conventional_half_width == pytest.approx(1.959964 * np.std(accuracy, ddof=1) / 200**0.5, rel=1e-6)
    assert found.high - found.low == pytest.approx(2 * found.half_width)


def test_one_way_episodes_give_the_textbook_standard_error_of_the_class_means():
    value = np.array([0.1, 0.5, 0.4, 0.8])  # one episode per class: theta_c is the mean of the other classes
    found = class_jackknife(value, np.arange(4)[:, None])
    assert found.se == pytest.approx(np.std(value, ddof=1) / 2, abs=1e-12)


def test_equal_accuracy_in_every_episode_gives_an_interval_of_width_zero():
    _, classes = episodes()
    assert class_jackknife(np.full(200, 0.75), classes).half_width == pytest.approx(0, abs=1e-12)


def test_paired_difference_is_the_jackknife_of_the_differences_with_a_t_test():
    accuracy, classes = episodes()
    other = episodes(seed=1)[0]
    found, plain = paired_difference(accuracy, other, classes), class_jackknife(accuracy - other, classes)
    assert (found.mean, found.se, found.half_width) == (plain.mean, plain.se, plain.half_width)
    assert found.p_value == pytest.approx(2 * stats.t.cdf(-abs(found.mean) / found.se, 8), abs=1e-12)
    assert paired_difference(other, accuracy, classes).mean == -found.mean


def test_a_method_compared_with_itself_differs_by_zero_with_p_one():
    accuracy, classes = episodes()
    found = paired_difference(accuracy, accuracy, classes)
    assert (found.mean, found.half_width, found.p_value) == (0, 0, 1)


@settings(deadline=None, max_examples=30)
@given(shift=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_the_interval_excludes_zero_exactly_when_p_is_below_five_percent(shift, seed):
    accuracy, classes = episodes(seed=seed)
    found = paired_difference(accuracy + shift, accuracy[::-1], classes)
    assert (found.p_value < 0.05) == (abs(found.mean) > found.half_width)


def test_too_few_classes_for_the_ways_are_refused_with_the_rule():
    accuracy, classes = episodes(n_classes=4)
    with pytest.raises(BadParameter, match=r"needs n_way \+ 2 = 5 classes for 3-way episodes, but the episodes hold 4"):
        class_jackknife(accuracy, classes)


def test_a_class_in_every_episode_is_refused_by_name():
    classes = np.array([[7, 1], [7, 2], [7, 3]])
    with pytest.raises(BadParameter, match="class 7 is in each of the 3 episodes"):
        class_jackknife(np.array([0.1, 0.2, 0.3]), classes)


def test_values_that_are_not_finite_are_refused():
    accuracy, classes = episodes()
    accuracy[3] = np.nan
    with pytest.raises(BadParameter, match="199 of 200 per-episode values are finite"):
        class_jackknife(accuracy, classes)


def test_episode_lists_of_different_length_are_refused():
    accuracy, classes = episodes()
    with pytest.raises(ShapeError, match="same episode list"):
        paired_difference(accuracy, accuracy[:-1], classes)
    with pytest.raises(ShapeError, match="same E"):
        class_jackknife(accuracy[:-1], classes)


def test_holm_matches_the_step_down_rule_by_hand():
    # sorted .01 .02 .03 .5 times 4 3 2 1 = .04 .06 .06 .5, then the running maximum
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06], atol=1e-12)
    assert len(holm([])) == 0


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(BadParameter, match="must lie in"):
        holm([0.1, np.nan])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_matches_counting_all_pairs(pairs):
    score, positive = np.array([s for s, _ in pairs]), np.array([p for _, p in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(auroc(score, positive))
        return
    wins = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auroc(score, positive) == pytest.approx(np.mean(wins), abs=1e-12)
