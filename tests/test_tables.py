"""Tables from results: seeds averaged per episode, folds pooled, intervals over classes, verdicts after correction."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from toy_results import CELL, EPISODES, N_CLASSES, TABLE, fold_of, result

from amfir_lib.analysis import tables
from amfir_lib.analysis.tables import (
    UNDEGRADED,
    accuracy_table,
    calibration_table,
    grouped,
    paired_table,
    percent,
    pooled_difference,
    selection_table,
    verdict,
)
from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.runs import TestCell
from amfir_lib.study.statistics import Sample, class_jackknife, paired_difference, pooled_jackknife

RESULTS = [result("amfir", seed, 0.9, 1) for seed in range(3)] + [result("protonet", seed, 0.5, 2) for seed in range(3)]


def test_an_accuracy_averages_the_seeds_of_each_episode_before_its_interval():
    table = accuracy_table(RESULTS).set_index("method")
    mean = np.mean([one.tests[CELL].accuracy for one in RESULTS[:3]], axis=0)
    expected = class_jackknife(mean, EPISODES.classes)
    row = table.loc["AMFIR"]
    assert row["accuracy"] == pytest.approx(expected.mean)
    assert row["half_width"] == pytest.approx(expected.half_width)
    assert (row["n_seeds"], row["n_classes"], row["n_episodes"]) == (3, N_CLASSES, 40)


def test_a_paired_difference_is_taken_on_identical_episodes():
    row = paired_table(RESULTS, "AMFIR").iloc[0]
    means = [np.mean([one.tests[CELL].accuracy for one in part], axis=0) for part in (RESULTS[:3], RESULTS[3:])]
    expected = paired_difference(*means, EPISODES.classes)
    assert row["difference"] == pytest.approx(expected.mean)
    assert row["half_width"] == pytest.approx(expected.half_width)
    assert row["verdict"] == "better"


def test_the_correction_counts_every_comparison_of_one_data_set_and_shot():
    others = [result("protonet_f", seed, 0.88, 3) for seed in range(3)]
    alone, both = paired_table(RESULTS, "AMFIR"), paired_table(RESULTS + others, "AMFIR")
    p = both.set_index("other").loc["ProtoNet", "p_holm"]
    assert p >= alone.loc[0, "p_holm"]
    assert len(both) == 2


def test_too_few_classes_for_a_jackknife_leave_the_interval_open():
    cell = TestCell(n_way=11, n_shot=1, n_query=1, n_episodes=5)
    rng = np.random.default_rng(0)
    tests = {cell: QueryResults({"fused": rng.random((5, 11)) < 0.5}, {}, {}, {}, {})}
    one = SimpleNamespace(run=RESULTS[0].run, tests=tests, record={})
    row = accuracy_table([one]).iloc[0]
    assert np.isnan(row["half_width"]) and np.isfinite(row["accuracy"])
    assert pooled_difference([one], "AMFIR", "AMFIR").interval is None


def test_a_verdict_needs_a_small_p_value_and_a_sign():
    assert verdict(0.02, 0.01) == "better"
    assert verdict(-0.02, 0.01) == "worse"
    assert verdict(0.02, 0.2) == "undecided"
    assert verdict(0.02, float("nan")) == "undecided"


def test_overconfidence_is_mean_certainty_minus_accuracy():
    row = calibration_table(RESULTS).set_index(["method", "stream"]).loc[("AMFIR", "rgb")]
    tests = [one.tests[CELL] for one in RESULTS[:3]]
    expected = np.mean([t.certainty["rgb"].mean() - t.correct["rgb"].mean() for t in tests])
    assert row["overconfidence"] == pytest.approx(expected)
    assert 0 <= row["calibration_error"] <= 1


def test_selection_averages_the_seeds():
    table = selection_table(RESULTS)
    assert list(table["method"]) == ["AMFIR", "ProtoNet"]
    assert table["hit_rate_free_energy"].between(0, 1).all()


def test_scores_are_shown_in_percent_under_names_in_words_and_stay_shares_in_the_file():
    frame = selection_table(RESULTS)
    table = tables.shown_selection(frame)
    assert table.data.equals(frame)
    by_f = table.shown["right modality picked: by F"]
    assert by_f.tolist() == [percent(share) for share in frame["hit_rate_free_energy"]]
    assert not any("_" in name for name in table.shown)


def test_degraded_streams_are_mentioned_only_where_they_are_known():
    frame = selection_table(RESULTS)
    unknown = frame.drop(columns=[column for column in frame if column.startswith("degraded")])
    known = frame.assign(degraded_auroc_free_energy=0.6, degraded_auroc_certainty=0.5)
    assert "degraded" not in tables.shown_selection(unknown).caption
    assert "AUROC, degraded stream: by F" in tables.shown_selection(known).shown
    assert "which stream is degraded" in tables.shown_selection(known).caption


def test_calibration_is_shown_in_percent_and_free_energy_in_nats():
    frame = calibration_table(RESULTS).assign(overconfidence=-0.1989, free_energy=-1.829, n_way=5)
    row = tables.shown_calibration(frame).shown.iloc[0]
    assert row["overconfidence (points)"] == "−19.9" and row["F (nats)"] == "−1.83" and row["stream"] == "RGB"
    assert "ways" not in row
    two = tables.shown_calibration(frame.assign(n_way=range(len(frame)))).shown
    assert two["ways"].tolist() == list(range(len(frame)))


def test_a_caption_promises_an_interval_only_where_there_is_one():
    frame = pd.DataFrame({"half_width": [0.01, 0.02]})
    assert tables.interval_note(frame) == "± is the 95 % class-jackknife interval"
    assert tables.interval_note(frame, "bars: one") == "bars: one"
    assert "left out where" in tables.interval_note(frame.assign(half_width=[0.01, np.nan]))
    assert tables.interval_note(frame.assign(half_width=np.nan)).startswith("no intervals")
    assert tables.interval_note(frame, then="filled: shown").endswith("interval; filled: shown")
    assert "filled" not in tables.interval_note(frame.assign(half_width=np.nan), then="filled: shown")


def test_without_an_interval_a_difference_has_no_verdict():
    frame = pd.DataFrame({"dataset": "a", "n_shot": 1, "comparison": ["x − y", "x − z"], "difference": [0.02, 0.01]})
    frame = frame.assign(half_width=0.01, p_value=[0.001, 0.04], p_holm=[0.002, 0.04], verdict="better")
    assert tables.holm_note(frame).startswith("Holm's correction over the 2 comparisons of one data set and number")
    assert tables.shown_differences(frame, caption="").shown["verdict"].tolist() == ["better", "better"]
    nothing = frame.assign(half_width=np.nan, p_value=np.nan, p_holm=np.nan, verdict="undecided")
    shown = tables.shown_differences(nothing, caption="").shown
    assert shown["verdict"].tolist() == ["–", "–"]
    alone = tables.shown_differences(frame.assign(p_holm=frame["p_value"]), caption="").shown
    assert "p" in alone and "p (Holm)" not in alone


def test_fractions_are_shown_with_fixed_decimals_and_a_true_minus():
    shown = tables.rounded(pd.DataFrame({"a": [-0.5, np.nan, -0.001], "n": [1, 2, 3], "s": list("xyz")}))
    assert shown["a"].tolist() == ["−0.50", "–", "0.00"] and shown["n"].tolist() == [1, 2, 3]


def test_undegraded_accuracy_counts_the_queries_that_are_not_degraded_and_no_other():
    table = accuracy_table(RESULTS, basis=UNDEGRADED)
    assert table.empty  # every clip of this table is degraded
    some = replace(TABLE, degraded=np.where(np.arange(len(TABLE.labels)) % 3 == 0, "rgb", "none"))
    results = [result("amfir", seed, 0.7, table=some) for seed in range(2)]
    row = accuracy_table(results, basis=UNDEGRADED).iloc[0]
    right, count = np.zeros(len(EPISODES)), np.zeros(len(EPISODES))
    for episode in range(len(EPISODES)):
        for query, clip in enumerate(EPISODES.query[episode].ravel()):
            if some.degraded[clip] == "none":
                count[episode] += 1
                right[episode] += np.mean([one.tests[CELL].correct["fused"][episode, query] for one in results])
    expected = class_jackknife(right / np.maximum(count, 1), EPISODES.classes, weights=count)
    assert row["accuracy"] == pytest.approx(right.sum() / count.sum())
    assert row["half_width"] == pytest.approx(expected.half_width)


def test_data_without_known_degradation_has_no_undegraded_accuracy():
    unknown = [result("amfir", 0, 0.7, table=replace(TABLE, degraded=None))]
    assert accuracy_table(unknown, basis=UNDEGRADED).empty and len(accuracy_table(unknown)) == 1
    with pytest.raises(UnknownName, match='did you mean "undegraded queries"'):
        accuracy_table(RESULTS, basis="undegraded")


def test_class_folds_are_pooled_as_independent_groups_of_classes():
    results = [result("amfir", seed, 0.6, fold, table=fold_of(fold)) for fold in (0, 1) for seed in (0, 1)]
    row = accuracy_table(results).iloc[0]
    samples = []
    for fold in (0, 1):
        own = [one.tests[CELL].accuracy for one in results[2 * fold : 2 * fold + 2]]
        samples.append([Sample(np.mean(own, axis=0), CELL.episodes(fold_of(fold)).classes)])
    expected = pooled_jackknife(samples)
    assert row["accuracy"] == pytest.approx(expected.mean)
    assert row["half_width"] == pytest.approx(expected.half_width)
    assert (row["n_classes"], row["n_episodes"], row["n_seeds"]) == (N_CLASSES, 2 * len(EPISODES), 2)


def test_pooled_folds_keep_each_querys_degradation():
    (group,) = grouped([result("amfir", 0, 0.6, fold, table=fold_of(fold)) for fold in (0, 1)])
    expected = [fold_of(fold).degraded[CELL.episodes(fold_of(fold)).query] for fold in (0, 1)]
    np.testing.assert_array_equal(group.degraded[group.episodes.query], np.concatenate(expected))


def test_data_sets_of_one_name_that_share_a_test_class_are_refused():
    other = replace(TABLE, groups=TABLE.groups + 1)
    with pytest.raises(BadParameter, match="both hold the test class"):
        accuracy_table([result("amfir", 0, 0.6), result("amfir", 0, 0.6, table=other)])
    with pytest.raises(BadParameter, match="not all tested on the same"):
        accuracy_table([result("amfir", 0, 0.6), result("protonet", 0, 0.6, table=other)])
    with pytest.raises(BadParameter, match="seed 0 twice"):
        accuracy_table([result("amfir", 0, 0.6), result("amfir", 0, 0.6)])


def test_a_pooled_difference_is_the_pooled_jackknife_of_the_differences_of_all_cells():
    cells = (CELL, TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=30))
    results = [
        result(method, 0, share, number, cells=cells, dataset=name, table=TABLE)
        for name, shift in (("toy", 0), ("other", 1))
        for number, (method, share) in enumerate((("amfir", 0.8), ("protonet", 0.6)), start=10 * shift)
    ]
    groups = []
    for own, other in (results[:2], results[2:]):
        pairs = [(own.tests[c].accuracy - other.tests[c].accuracy, c.episodes(TABLE).classes) for c in cells]
        groups.append([Sample(*pair) for pair in pairs])
    found, expected = pooled_difference(results, "AMFIR", "ProtoNet"), pooled_jackknife(groups)
    assert found.interval.mean == pytest.approx(expected.mean)
    assert found.interval.half_width == pytest.approx(expected.half_width)
    assert len(found.cells) == 4
    by_name = pooled_difference(results, "AMFIR", {"toy": "ProtoNet"})
    assert by_name.cells["dataset"].unique().tolist() == ["toy"]
    assert pooled_difference(results, "AMFIR", "TRX") is None


def test_shares_compare_the_gain_of_two_cells():
    cells = (CELL, TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=30))
    results = [result("amfir", 0, 0.8, 1, cells=cells), result("protonet", 0, 0.6, 2, cells=cells)]
    found = pooled_difference(results, "AMFIR", "ProtoNet", share=lambda dataset, way, shot: 1 if shot == 1 else -1)
    one, two = found.cells["difference"]
    assert found.interval.mean == pytest.approx(one - two)


def test_percentages_show_what_does_not_exist_as_a_dash():
    assert percent(0.5241, 0.019) == "52.4 ± 1.9"
    assert percent(0.021, 0.008, signed=True) == "+2.1 ± 0.8"
    assert percent(-0.021, 0.008, signed=True) == "−2.1 ± 0.8"
    assert percent(-0.0002, signed=True) == "0.0"
    assert percent(0.5, float("nan")) == "50.0"
    assert percent(float("nan")) == "–"
    assert isinstance(pd.Series([percent(0.1)]).iloc[0], str)


def test_methods_that_are_cut_off_or_best_untrained_are_named():
    rows = [("A", step, value) for step, value in ((0, 0.3), (50, 0.5), (100, 0.52))]
    rows += [("B", step, value) for step, value in ((0, 0.4), (50, 0.3), (100, 0.35))]
    rows += [("C", step, value) for step, value in ((0, 0.3), (50, 0.4), (100, 0.5), (150, 0.5), (200, 0.54))]
    curves = pd.DataFrame(rows, columns=["series", "step", "value"]).assign(dataset="toy", seed=0, column="accuracy")
    kept = pd.DataFrame({"dataset": "toy", "series": ["A", "B", "C"], "seed": 0, "step": [100, 0, 200]})
    text = tables.cut_off_sentence(curves, kept)
    assert "A (toy +2.0); C (toy +4.0). Best before any training (median of the seeds): B (toy)." in text
    level = tables.cut_off_sentence(curves.query("series == 'A' and step < 100"), kept.assign(step=0).head(1))
    assert "kept: no method" in level and "A (toy)" in level
