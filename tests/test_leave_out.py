"""Statistics of left-out classes: the textbook jackknife where there is one, and loops where there is none.

Tolerance 1e-9: sums in another order.
"""

import numpy as np
import pytest
from scipy import stats
from toy_points import named, toy_material, toy_result

from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.experiments import TestCell
from amfir_lib.leave_out import (
    UNDEGRADED,
    accuracy_frame,
    difference_frame,
    independent_difference,
    interval_of,
    points,
)
from amfir_lib.statistics import class_jackknife, paired_difference

CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=60)
WIDE = TestCell(n_way=9, n_shot=1, n_query=2, n_episodes=20)
MATERIAL = toy_material()
RESULTS = [
    toy_result(MATERIAL, name, accuracy, [CELL], seed=seed)
    for name, accuracy in (("amfir", 0.8), ("strm", 0.5))
    for seed in (0, 1)
]


def by_hand(name):
    own = [one.tests[CELL].accuracy for one in RESULTS if one.run.method == name]
    return np.mean(own, axis=0), CELL.episodes(MATERIAL.layout()).classes


def test_a_mean_and_its_interval_are_those_of_the_class_jackknife():
    row = accuracy_frame(points(RESULTS, series=named)).set_index("method").loc["amfir"]
    expected = class_jackknife(*by_hand("amfir"))
    assert row["accuracy"] == pytest.approx(expected.mean, abs=1e-9)
    assert row["half_width"] == pytest.approx(expected.half_width, abs=1e-9)
    assert row["conventional_half_width"] == pytest.approx(expected.conventional_half_width, rel=1e-4)
    assert (row["n_seeds"], row["n_classes"], row["n_episodes"]) == (2, 10, 60)


def test_a_difference_is_the_paired_one():
    (a, classes), (b, _) = by_hand("amfir"), by_hand("strm")
    row = difference_frame(points(RESULTS, series=named), "amfir").iloc[0]
    expected = paired_difference(a, b, classes)
    assert row["difference"] == pytest.approx(expected.mean, abs=1e-9)
    assert row["half_width"] == pytest.approx(expected.half_width, abs=1e-9)
    assert row["p_value"] == pytest.approx(expected.p_value, abs=1e-9)
    assert row["comparison"] == "amfir − strm" and row["verdict"] == "better"


def test_undegraded_queries_are_counted_one_by_one():
    (point,) = points(RESULTS, series=named, queries=UNDEGRADED)
    table, episodes = MATERIAL.layout(), CELL.episodes(MATERIAL.layout())
    for left_out, expected in zip([None, *range(10)], point.means("amfir"), strict=True):
        right, counted = 0.0, 0
        for e in range(len(episodes)):
            for q, clip in enumerate(episodes.query[e].ravel()):
                if table.degraded[clip] == "none" and left_out not in episodes.classes[e]:
                    counted += 1
                    right += np.mean([one.tests[CELL].correct["fused"][e, q] for one in RESULTS[:2]])
        assert right / counted == pytest.approx(expected, abs=1e-9)


def test_clips_of_unknown_degradation_give_no_undegraded_point():
    result = toy_result(toy_material(degraded=False), "amfir", 0.5, [CELL])
    assert points([result], queries=UNDEGRADED) == []
    with pytest.raises(UnknownName, match="choice of queries"):
        points([result], queries="all")


def test_class_folds_are_independent_groups_of_equal_weight():
    folds = [toy_material(first_class=start) for start in (0, 10)]
    results = [toy_result(fold, "amfir", share, [CELL]) for fold, share in zip(folds, (0.4, 0.8), strict=True)]
    row = accuracy_frame(points(results)).iloc[0]
    alone = [
        class_jackknife(one.tests[CELL].accuracy, CELL.episodes(one.run.material.layout()).classes) for one in results
    ]
    se = np.hypot(alone[0].se, alone[1].se) / 2
    freedom = (alone[0].se ** 2 + alone[1].se ** 2) ** 2 / (alone[0].se ** 4 / 9 + alone[1].se ** 4 / 9)
    assert row["accuracy"] == pytest.approx((alone[0].mean + alone[1].mean) / 2, abs=1e-9)
    assert row["half_width"] == pytest.approx(stats.t.ppf(0.975, freedom) * se, abs=1e-9)
    assert (row["n_classes"], row["n_episodes"]) == (20, 120)


def test_too_few_classes_leave_the_interval_open():
    (row,) = accuracy_frame(points([toy_result(MATERIAL, "amfir", 0.5, [WIDE])])).to_dict("records")
    assert np.isnan(row["half_width"]) and 0.3 < row["accuracy"] < 0.7


def test_the_first_episodes_are_a_prefix():
    (point,) = points(RESULTS, series=named)
    assert point.first(20).means("strm")[0] == pytest.approx(by_hand("strm")[0][:20].mean(), abs=1e-9)


def test_a_difference_of_two_data_sets_adds_their_variances():
    a, b = (interval_of(np.array(values)) for values in ([0.5, 0.4, 0.5, 0.6], [0.2, 0.1, 0.2, 0.25, 0.3]))
    found = independent_difference(a, b)
    assert found.mean == pytest.approx(0.3) and found.se == pytest.approx(np.hypot(a.se, b.se))
    freedom = (a.se**2 + b.se**2) ** 2 / (a.se**4 / 2 + b.se**4 / 3)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * found.se)


def test_a_class_in_every_episode_is_refused():
    with pytest.raises(BadParameter, match="Raise n_episodes"):
        interval_of(np.array([0.5, np.nan, 0.5]))


def test_an_unknown_series_is_refused_with_the_nearest_name():
    (point,) = points(RESULTS, series=named)
    with pytest.raises(UnknownName, match='did you mean "amfir"'):
        point.means("amfr")
