"""Answers and contrasts: seeds averaged per episode, folds pooled, intervals over classes, verdicts after correction.

Tolerance 1e-9 where not exact: sums in another order.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from toy_answers import N_CLASSES, named, toy_answers, toy_material, toy_result, toy_results

from amfir_lib.analysis.answers import (
    ALL,
    BASES,
    COPIES,
    UNDEGRADED,
    collect_answers,
    episodes_in_words,
    estimate,
    on_basis,
)
from amfir_lib.analysis.contrasts import accuracies, contrast, covers, pooled_contrast, verdict
from amfir_lib.analysis.reliability import calibration, selection
from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.study.material import TestCell
from amfir_lib.study.statistics import Sample, holm, jackknife

CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=60)
TWO_SHOT = TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=50)
MATERIAL = toy_material()
CLASSES = CELL.episodes(MATERIAL.layout()).classes
SHARES = {"amfir": 0.9, "protonet": 0.5, "trx": 0.6}
RESULTS = [toy_result(MATERIAL, name, share, [CELL], seed=s) for name, share in SHARES.items() for s in range(3)]
ANSWERS = collect_answers(RESULTS, named)


def mean_of(method: str, results=RESULTS) -> np.ndarray:
    return np.mean([one.tests[CELL].accuracy for one in results if one.run.method == method], axis=0)


def test_an_accuracy_averages_the_seeds_of_each_episode_before_its_interval():
    row = accuracies(ANSWERS).set_index("method").loc["amfir"]
    expected = jackknife([[Sample(mean_of("amfir"), CLASSES)]])
    assert (row["accuracy"], row["half_width"]) == pytest.approx((expected.mean, expected.half_width), abs=1e-9)
    assert (row["n_seeds"], row["n_classes"], row["n_episodes"]) == (3, N_CLASSES, 60)
    deviation = np.std([one.tests[CELL].accuracy.mean() for one in RESULTS[:3]], ddof=1)
    assert row["seed_sd"] == pytest.approx(deviation, abs=1e-9)


def test_a_contrast_is_taken_on_identical_episodes_and_corrected_over_its_place():
    frame = contrast(ANSWERS, "amfir").set_index("other")
    for other, row in frame.iterrows():
        expected = jackknife([[Sample(mean_of("amfir") - mean_of(other), CLASSES)]])
        assert (row["difference"], row["half_width"]) == pytest.approx((expected.mean, expected.half_width), abs=1e-9)
    assert frame["p_holm"].to_numpy() == pytest.approx(holm(frame["p_value"]))
    assert frame["verdict"].tolist() == ["better", "better"] and frame["comparison"].iloc[0] == "amfir − protonet"
    assert contrast(ANSWERS, "amfir", ["trx"]).loc[0, "p_holm"] == frame.loc["trx", "p_value"]
    assert contrast(ANSWERS, "amfar").empty and contrast(ANSWERS, "amfir", ["amfar"]).empty


def test_a_verdict_needs_a_small_p_value_and_a_sign():
    assert [verdict(0.02, 0.01), verdict(-0.02, 0.01)] == ["better", "worse"]
    assert {verdict(0.02, 0.2), verdict(0.02, float("nan"))} == {"undecided"}


def test_too_few_classes_for_a_jackknife_leave_interval_and_verdict_open():
    wide = TestCell(n_way=11, n_shot=1, n_query=1, n_episodes=5)
    answers = toy_answers({"amfir": 0.9, "trx": 0.1}, [wide])
    row = contrast(answers, "amfir").iloc[0]
    assert np.isnan([row["half_width"], row["p_holm"]]).all() and row["difference"] > 0.5
    assert row["verdict"] == "undecided" and not pooled_contrast(answers, "amfir", "trx").defined


def test_undegraded_accuracy_counts_the_queries_that_are_not_degraded_and_no_other():
    place, row = ANSWERS[0], accuracies(ANSWERS, bases=[UNDEGRADED]).iloc[0]
    episodes, kinds = place.folds[0].episodes, MATERIAL.layout().degraded
    right, count = np.zeros(60), np.zeros(60)
    for episode in range(60):
        for query, clip in enumerate(episodes.query[episode].ravel()):
            if kinds[clip] == "none":
                count[episode] += 1
                right[episode] += np.mean([one.tests[CELL].correct["fused"][episode, query] for one in RESULTS[:3]])
    expected = jackknife([[Sample(right / np.maximum(count, 1), CLASSES, count)]])
    assert row["accuracy"] == pytest.approx(right.sum() / count.sum())
    assert row["half_width"] == pytest.approx(expected.half_width)


def test_bases_that_the_data_do_not_have_are_left_out_and_copies_are_a_basis_of_their_own():
    assert accuracies(toy_answers(SHARES, [CELL], degraded=()), bases=[UNDEGRADED]).empty  # unknown
    assert accuracies(toy_answers(SHARES, [CELL], degraded=["rgb"]), bases=[UNDEGRADED]).empty  # of no query
    both = toy_answers({"amfir": 0.9}, [CELL], names=["toy", "toy-clean"])
    frame = accuracies(both, bases=BASES)
    assert frame["basis"].tolist() == [ALL, UNDEGRADED, COPIES] and set(frame["dataset"]) == {"toy"}
    assert frame.loc[2, "accuracy"] == pytest.approx(both[1].of("amfir").mean())
    with pytest.raises(UnknownName, match='did you mean "undegraded queries"'):
        accuracies(ANSWERS, bases=["undegraded"])
    with pytest.raises(UnknownName, match='did you mean "amfir"'):
        ANSWERS[0].of("amfr")


def folds_of(method: str, seeds=(0, 1)):
    materials = [toy_material(first_class=start) for start in (0, N_CLASSES)]
    return [toy_result(m, method, share, [CELL], seed=s) for m, share in zip(materials, (0.4, 0.8), strict=True)
            for s in seeds]  # fmt: skip


def test_class_folds_are_pooled_as_independent_groups_of_classes():
    results = folds_of("amfir")
    row = accuracies(collect_answers(results, named)).iloc[0]
    samples = []
    for fold in (results[:2], results[2:]):
        classes = CELL.episodes(fold[0].run.material.layout()).classes
        samples.append([Sample(mean_of("amfir", fold), classes)])
    expected = jackknife(samples)
    assert (row["accuracy"], row["half_width"]) == pytest.approx((expected.mean, expected.half_width), abs=1e-9)
    assert (row["n_classes"], row["n_episodes"], row["n_seeds"]) == (2 * N_CLASSES, 120, 2)


def test_pooled_folds_keep_each_querys_degradation():
    (place,) = collect_answers(folds_of("amfir"), named)
    expected = []
    for fold in folds_of("amfir", seeds=[0]):
        layout = fold.run.material.layout()
        expected.append(layout.degraded[CELL.episodes(layout).query].reshape(60, -1))
    np.testing.assert_array_equal(place.degraded, np.concatenate(expected))


def test_data_sets_of_one_name_that_share_a_test_class_are_refused():
    other = toy_material()
    other.layout = lambda: replace(MATERIAL.layout(), groups=MATERIAL.layout().groups + 1)
    one = toy_result(MATERIAL, "amfir", 0.6, [CELL])
    for second, message in (
        (toy_result(other, "amfir", 0.6, [CELL]), "both hold the test class"),
        (toy_result(other, "trx", 0.6, [CELL]), "not all tested on the same"),
        (one, "seed 0 twice"),
    ):
        with pytest.raises(BadParameter, match=message):
            collect_answers([one, second], named)


def test_a_pooled_contrast_is_the_pooled_jackknife_of_the_differences_of_all_places():
    shares = {"amfir": 0.8, "protonet": 0.6}
    results = toy_results(shares, [CELL, TWO_SHOT], names=["toy", "other"])
    groups = []
    for own, other in (results[:2], results[2:]):
        layout = own.run.material.layout()
        pairs = [(own.tests[c].accuracy - other.tests[c].accuracy, c.episodes(layout)) for c in (CELL, TWO_SHOT)]
        groups.append([Sample(values, episodes.classes) for values, episodes in pairs])
    answers, expected = collect_answers(results, named), jackknife(groups)
    found = pooled_contrast(answers, "amfir", "protonet")
    assert (found.mean, found.half_width) == pytest.approx((expected.mean, expected.half_width), abs=1e-9)
    by_name = pooled_contrast(answers, "amfir", {"toy": "protonet"})
    assert by_name.mean == pytest.approx(jackknife(groups[:1]).mean, abs=1e-9)
    assert pooled_contrast(answers, "amfir", "trx") is None


def test_anything_known_per_episode_is_pooled_with_its_weights():
    found = estimate(ANSWERS, lambda place: (place.of("amfir"), np.arange(60)))
    expected = jackknife([[Sample(mean_of("amfir"), CLASSES, np.arange(60))]])
    assert (found.mean, found.half_width) == pytest.approx((expected.mean, expected.half_width), abs=1e-9)
    assert on_basis(ANSWERS, COPIES) == []


def test_a_score_is_counted_on_queries_that_one_modality_alone_gets_right():
    row = selection(ANSWERS).iloc[0]
    rates, shares = [], []
    for one in RESULTS[:3]:
        test = one.tests[CELL]
        hits = [
            (f2 < f1) == r2
            for f1, f2, r1, r2 in zip(
                *(test.free_energy[m].ravel() for m in ("rgb", "flow")),
                *(test.correct[m].ravel() for m in ("rgb", "flow")), strict=True,
            )
            if r1 != r2
        ]  # fmt: skip
        rates.append(np.mean(hits))
        shares.append(len(hits) / test.correct["rgb"].size)
    assert (row["hit_rate_free_energy"], row["decidable_share"]) == pytest.approx((np.mean(rates), np.mean(shares)))
    assert 0 < row["degraded_auroc_certainty"] < 1
    assert "degraded_auroc_certainty" not in selection(toy_answers(SHARES, [CELL], degraded=()))


def test_overconfidence_is_mean_certainty_minus_accuracy():
    row = calibration(ANSWERS).set_index(["method", "stream"]).loc[("amfir", "rgb")]
    tests = [one.tests[CELL] for one in RESULTS[:3]]
    expected = np.mean([t.certainty["rgb"].mean() - t.correct["rgb"].mean() for t in tests])
    assert row["overconfidence"] == pytest.approx(expected)
    assert 0 <= row["calibration_error"] <= 1


def test_a_caption_promises_an_interval_only_where_there_is_one():
    frame = pd.DataFrame({"half_width": [0.01, 0.02]})
    assert covers(frame, "bars: one", then="filled: shown") == "bars: one; filled: shown"
    assert "left out where" in covers(frame.assign(half_width=[0.01, np.nan]))
    assert covers(frame.assign(half_width=np.nan), then="filled").startswith("no intervals")
    assert episodes_in_words(ANSWERS) == "60 episodes of 6 queries from 12 test classes"
    assert episodes_in_words(collect_answers(folds_of("amfir"), named)).startswith("120 episodes")
