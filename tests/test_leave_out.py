"""Statistics of left-out classes: the textbook jackknife where there is one, and loops where there is none.

Tolerance 1e-9: sums in another order.
"""

import numpy as np
import pytest
from toy_points import named, toy_material, toy_result

from amfir_lib.analysis.studies.leave_out import LeftOut, average, contrast, points
from amfir_lib.analysis.tables import UNDEGRADED, accuracy_table, paired_table
from amfir_lib.errors import BadParameter, ShapeError, UnknownName
from amfir_lib.study.runs import TestCell
from amfir_lib.study.statistics import class_jackknife

CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=60)
OTHER = TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=60)
WIDE = TestCell(n_way=9, n_shot=1, n_query=2, n_episodes=20)
MATERIAL = toy_material()
SHARES = {"amfir": 0.8, "strm": 0.55, "amfar": 0.5}
RESULTS = [toy_result(MATERIAL, name, share, [CELL, OTHER], seed=s) for name, share in SHARES.items() for s in (0, 1)]


@pytest.mark.parametrize("basis", ["all queries", UNDEGRADED])
def test_a_mean_and_its_interval_are_those_of_the_accuracy_table(basis):
    row = accuracy_table(RESULTS, series=named, basis=basis).query("method == 'amfir'").iloc[0]
    found = points(RESULTS, named, basis=basis)[0].accuracy("amfir").interval()
    assert (found.mean, found.half_width) == pytest.approx((row["accuracy"], row["half_width"]), abs=1e-9)


def test_a_lead_over_one_method_is_the_paired_difference():
    two = [one for one in RESULTS if one.run.method != "amfar"]
    row = paired_table(two, "amfir", series=named).iloc[0]
    found = points(two, named)[0].lead("amfir").interval()
    assert (found.mean, found.half_width, found.p_value) == pytest.approx(
        (row["difference"], row["half_width"], row["p_value"]), abs=1e-9
    )


def test_the_next_best_method_is_found_anew_without_each_class():
    point = points(RESULTS, named)[0]
    found, episodes = point.lead("amfir"), CELL.episodes(MATERIAL.layout())
    for expected, left_out in zip([found.whole, *found.without[0]], [None, *range(10)], strict=True):
        kept = [left_out not in classes for classes in episodes.classes]
        means = {
            name: np.mean([one.tests[CELL].accuracy[kept] for one in RESULTS if one.run.method == name])
            for name in SHARES
        }
        assert means["amfir"] - max(means["strm"], means["amfar"]) == pytest.approx(expected, abs=1e-9)
    assert point.next_best("amfir") == max(("strm", "amfar"), key=point.mean)


def test_class_folds_are_independent_groups_of_equal_weight():
    folds = [toy_material(first_class=start) for start in (0, 10)]
    results = [toy_result(fold, "amfir", share, [CELL]) for fold, share in zip(folds, (0.4, 0.8), strict=True)]
    row = accuracy_table(results).iloc[0]
    found = points(results)[0].accuracy("amfir").interval()
    assert (found.mean, found.half_width) == pytest.approx((row["accuracy"], row["half_width"]), abs=1e-9)
    assert found.n_classes == 20


def test_too_few_classes_leave_the_statistic_undefined():
    point = points([toy_result(MATERIAL, "amfir", 0.5, [WIDE]), toy_result(MATERIAL, "strm", 0.5, [WIDE])])[0]
    assert point.accuracy("amfir") is None and point.lead("amfir") is None
    assert 0.3 < point.mean("amfir") < 0.7
    assert average([None]) is None and average([]) is None


def test_a_contrast_of_two_cells_leaves_the_same_class_out_of_both():
    a, b = points(RESULTS, named)
    found = contrast(a, b, lambda point: point.accuracy("strm"))
    values = [np.mean([one.tests[c].accuracy for one in RESULTS[2:4]], axis=0) for c in (CELL, OTHER)]
    classes = [cell.episodes(MATERIAL.layout()).classes for cell in (CELL, OTHER)]
    for c, expected in enumerate(found.without[0]):
        means = [v[(k != c).all(1)].mean() for v, k in zip(values, classes, strict=True)]
        assert means[0] - means[1] == pytest.approx(expected, abs=1e-9)


def test_a_contrast_of_cells_with_other_classes_is_refused():
    few = toy_result(toy_material("else", n_classes=6), "strm", 0.5, [CELL])
    with pytest.raises(ShapeError, match="different test classes"):
        contrast(points(RESULTS, named)[0], points([few], named)[0], lambda point: point.accuracy("strm"))


def test_an_average_over_data_sets_adds_their_variances():
    accuracy = np.array([0.5, 0.6, 0.7, 0.4, 0.9])
    classes = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]])
    expected = class_jackknife(accuracy, classes)
    own = LeftOut(expected.mean, (np.array([accuracy[(classes != c).all(1)].mean() for c in range(5)]),))
    both = average([own, own]).interval()
    assert both.mean == pytest.approx(expected.mean)
    assert both.se == pytest.approx(expected.se / np.sqrt(2))
    assert own.interval().half_width == pytest.approx(expected.half_width)


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(BadParameter, match="Raise n_episodes"):
        LeftOut(0.5, (np.array([np.nan, 0.5]),)).interval()


def test_an_unknown_series_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match='did you mean "amfir"'):
        points(RESULTS, named)[0].accuracy("amfr")
