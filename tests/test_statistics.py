"""Intervals and paired comparisons.  Tolerance 1e-12: float64 sums in a different order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.study.statistics import Sample, auroc, holm, jackknife, jackknife_of


def episodes(n_episodes=200, n_classes=9, n_way=3, seed=0):
    rng = np.random.default_rng(seed)
    classes = np.stack([rng.choice(n_classes, n_way, replace=False) for _ in range(n_episodes)])
    return rng.integers(0, 16, n_episodes) / 15, classes


def of_one(values, classes, weights=None):
    return jackknife([[Sample(values, classes, weights)]])


def test_jackknife_matches_an_explicit_loop_over_classes():
    accuracy, classes = episodes()
    theta = []
    for c in range(9):
        theta.append(np.mean([a for a, own in zip(accuracy, classes, strict=True) if c not in own]))
    se = np.sqrt(8 / 9 * sum((t - np.mean(theta)) ** 2 for t in theta))
    found = of_one(accuracy, classes)
    assert found.se == pytest.approx(se, abs=1e-12)
    assert found.half_width == pytest.approx(2.306004 * se, rel=1e-6)  # t table: .975, 8 degrees of freedom
    assert found.mean == pytest.approx(np.mean(accuracy)) and found.n_classes == 9
    assert found.conventional_half_width == pytest.approx(1.959964 * np.std(accuracy, ddof=1) / 200**0.5, rel=1e-6)
    assert found.high - found.low == pytest.approx(2 * found.half_width)


def test_one_way_episodes_give_the_textbook_standard_error_of_the_class_means():
    value = np.array([0.1, 0.5, 0.4, 0.8])  # one episode per class: theta_c is the mean of the other classes
    found = of_one(value, np.arange(4)[:, None])
    assert found.se == pytest.approx(np.std(value, ddof=1) / 2, abs=1e-12)


def test_the_p_value_is_that_of_a_t_test_and_a_method_minus_itself_has_p_one():
    accuracy, classes = episodes()
    found = of_one(accuracy - episodes(seed=1)[0], classes)
    assert found.p_value == pytest.approx(2 * stats.t.cdf(-abs(found.mean) / found.se, 8), abs=1e-12)
    same = of_one(accuracy - accuracy, classes)
    assert (same.mean, same.half_width, same.p_value) == (0, 0, 1)


@settings(deadline=None, max_examples=30)
@given(shift=st.floats(-1, 1), seed=st.integers(0, 1000))
def test_the_interval_excludes_zero_exactly_when_p_is_below_five_percent(shift, seed):
    accuracy, classes = episodes(seed=seed)
    found = of_one(accuracy + shift - accuracy[::-1], classes)
    assert (found.p_value < 0.05) == (abs(found.mean) > found.half_width)


@pytest.mark.parametrize(
    "classes",
    [
        episodes(n_classes=4)[1],  # 3-way episodes need 5 classes
        np.array([[7, 1], [7, 2], [7, 3], [7, 4]]),  # without class 7 there is no episode
    ],
)
def test_the_interval_is_undefined_with_too_few_classes_or_a_class_in_every_episode(classes):
    values = np.linspace(0, 1, len(classes))
    for found in (of_one(values, classes), jackknife_of(lambda means: means[0], [[{0: Sample(values, classes)}]])):
        assert found.mean == pytest.approx(0.5) and not found.defined
        assert np.isnan([found.half_width, found.se, found.p_value]).all()
    assert np.isfinite(of_one(values, classes).conventional_half_width)


def test_a_class_in_every_episode_that_counts_leaves_the_interval_undefined():
    accuracy, classes = episodes()
    assert not of_one(accuracy, classes, (classes == 0).any(1)).defined


def test_values_that_are_not_finite_are_refused():
    accuracy, classes = episodes()
    accuracy[3] = np.nan
    with pytest.raises(BadParameter, match="199 of 200 per-episode values are finite"):
        of_one(accuracy, classes)


def test_arrays_of_different_length_and_negative_weights_are_refused():
    accuracy, classes = episodes()
    with pytest.raises(ShapeError, match="same E"):
        of_one(accuracy[:-1], classes)
    with pytest.raises(BadParameter, match="negative"):
        of_one(accuracy, classes, -np.ones(200))


def test_holm_matches_the_step_down_rule_by_hand():
    # sorted .01 .02 .03 .5 times 4 3 2 1 = .04 .06 .06 .5, then the running maximum
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06], atol=1e-12)
    assert len(holm([])) == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_agrees_with_statsmodels(p_values):
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-12)


def test_holm_leaves_undefined_comparisons_out_and_refuses_what_is_no_probability():
    np.testing.assert_allclose(holm([0.03, np.nan, 0.02]), [0.04, np.nan, 0.04])
    with pytest.raises(BadParameter, match="must lie in"):
        holm([0.1, 1.5])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_matches_counting_all_pairs(pairs):
    score, positive = np.array([s for s, _ in pairs]), np.array([p for _, p in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(auroc(score, positive))
        return
    wins = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auroc(score, positive) == pytest.approx(np.mean(wins), abs=1e-12)


def mean_without(values, weights, classes, c):
    """sum(w v) / sum(w) over the episodes without class c, one by one."""
    pairs = [(w * v, w) for v, w, own in zip(values, weights, classes, strict=True) if c not in own]
    return sum(top for top, _ in pairs) / sum(bottom for _, bottom in pairs)


def jackknife_variance(theta):
    return (len(theta) - 1) / len(theta) * sum((t - np.mean(theta)) ** 2 for t in theta)


def test_weighted_jackknife_is_the_ratio_of_right_answers_to_queries_without_each_class():
    rng = np.random.default_rng(5)
    _, classes = episodes()
    counts = rng.integers(0, 6, len(classes))  # queries that count, none in some episodes
    right = rng.binomial(counts, 0.6)
    with np.errstate(invalid="ignore"):
        share = right / counts  # NaN where no query counts
    found = of_one(share, classes, counts)
    theta = [mean_without(np.nan_to_num(share), counts, classes, c) for c in range(9)]
    assert found.mean == pytest.approx(right.sum() / counts.sum(), abs=1e-12)
    assert found.se == pytest.approx(jackknife_variance(theta) ** 0.5, abs=1e-12)


def test_pooled_cells_leave_each_class_out_of_all_cells_at_once_and_data_sets_add_their_variances():
    cells = [[episodes(seed=1), episodes(300, seed=2)], [episodes(n_classes=7, seed=3), episodes(n_classes=7, seed=4)]]
    variances, means = [], []
    for group, n_classes in zip(cells, (9, 7), strict=True):
        theta = [np.mean([mean_without(v, np.ones(len(v)), own, c) for v, own in group]) for c in range(n_classes)]
        variances.append(jackknife_variance(theta) / 4)  # each data set counts one half
        means.append(np.mean([v.mean() for v, _ in group]))
    found = jackknife([[Sample(*cell) for cell in group] for group in cells])
    df = sum(variances) ** 2 / (variances[0] ** 2 / 8 + variances[1] ** 2 / 6)
    assert found.mean == pytest.approx(np.mean(means), abs=1e-12)
    assert found.se == pytest.approx(sum(variances) ** 0.5, abs=1e-12)
    assert found.df == pytest.approx(df) and found.n_classes == 16
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, df) * found.se, abs=1e-12)


def test_cells_of_a_group_must_hold_the_same_classes():
    samples = [Sample(*episodes()), Sample(*episodes(n_classes=8))]
    with pytest.raises(BadParameter, match="different test classes"):
        jackknife([samples])
    with pytest.raises(BadParameter, match="no cell to pool"):
        jackknife([])


def test_a_function_of_means_is_evaluated_anew_without_each_class_of_each_fold():
    folds = [{name: Sample(*episodes(n_classes=n, seed=seed + s)) for s, name in enumerate("abc")}
             for n, seed in ((9, 0), (7, 10))]  # fmt: skip

    def lead(means):
        return means["a"] - np.maximum(means["b"], means["c"])

    whole = {name: np.mean([fold[name].values.mean() for fold in folds]) for name in "abc"}
    variance = 0.0
    for number, fold in enumerate(folds):
        theta = []
        for c in fold["a"].names:
            means = {}
            for name in "abc":
                parts = [other[name].values.mean() for other in folds]
                parts[number] = mean_without(fold[name].values, np.ones(200), fold[name].classes, c)
                means[name] = np.mean(parts)
            theta.append(lead(means))
        variance += jackknife_variance(theta)
    found = jackknife_of(lead, [folds])
    assert found.mean == pytest.approx(lead(whole), abs=1e-12)
    assert found.se == pytest.approx(variance**0.5, abs=1e-12)
    twice = jackknife_of(lead, [folds, folds])  # as if of two data sets
    assert twice.se == pytest.approx(found.se / 2**0.5, abs=1e-12)


def test_a_difference_has_the_same_interval_as_a_sum_and_as_a_function_of_means():
    accuracy, classes = episodes()
    other = episodes(seed=1)[0]
    samples = {"a": Sample(accuracy, classes), "b": Sample(other, classes)}
    paired = of_one(accuracy - other, classes)
    for found in (
        jackknife_of(lambda means: means["a"] - means["b"], [[samples]]),
        jackknife([list(samples.values())], shares=[[1, -1]]),
    ):
        assert (found.mean, found.half_width, found.df) == pytest.approx((paired.mean, paired.half_width, paired.df))


def test_the_pooled_interval_covers_the_truth_about_as_often_as_it_says():
    """Two data sets of 12 classes at two shots, drawn 400 times; the conventional interval misses most of the time."""
    rng = np.random.default_rng(0)
    lists = [np.stack([rng.permutation(12)[:3] for _ in range(400)]) for _ in range(4)]
    hits, conventional_hits = 0, 0
    for _ in range(400):
        groups = []
        for pair in (lists[:2], lists[2:]):
            ability = rng.normal(0, 0.1, 12)  # of a drawn class, the same at both shots; the truth is a mean of 0
            groups.append([Sample(ability[own].mean(1) + rng.normal(0, 0.2, 400), own) for own in pair])
        found = jackknife(groups)
        hits += abs(found.mean) < found.half_width
        conventional_hits += abs(found.mean) < found.conventional_half_width
    assert 0.92 <= hits / 400 <= 0.98
    assert conventional_hits / 400 < 0.6
