"""From outcomes to estimates, tables, claims, sentences and figures; reliability diagrams and confusion.

Tolerance 1e-9: sums in another order.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import toy_results
from matplotlib.figure import Figure
from toy_tables import QUICK, toy_material

from amfir_lib import figures
from amfir_lib.analysis.claims import robustness as claims_of
from amfir_lib.analysis.claims.claim import COPIES, FAILS, HOLDS, UNDECIDED
from amfir_lib.analysis.robustness import confusion, costs, findings, tables, weighing
from amfir_lib.analysis.robustness.conditions import CLEAN, Condition, missing_conditions, spoilt_conditions
from amfir_lib.analysis.robustness.confusion import Confusion
from amfir_lib.analysis.robustness.estimates import estimate
from amfir_lib.analysis.robustness.outcomes import Outcomes
from amfir_lib.analysis.robustness.reliability_diagram import reliability_frame, shown_reliability
from amfir_lib.analysis.robustness.scarcity import CLASSES, CLIPS, EVERYTHING, Amount
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.runs import Run, TestCell, run_all
from amfir_lib.study.statistics import class_jackknife, paired_difference

CELLS = [TestCell(n_way=3, n_shot=k, n_query=2, n_episodes=60) for k in (1, 5)]
METHODS = ("protonet", "protonet_f", "protonet_lf", "strm_ec", "amfar", "amfir")
TITLES = {name: name.upper() for name in METHODS}
SPOILT = spoilt_conditions(["blur", "reversal"], [0.5, 1.0])
MISSING = missing_conditions(("rgb", "flow"))
SINGLE = {"synth-kinetics": "protonet", "synth-ssv2": "protonet_f"}


def toy_outcomes(loss=None, *, conditions=(CLEAN, *SPOILT, *MISSING), n_classes: int = 12) -> list[Outcomes]:
    """Sixty episodes of two data sets; each method is right in 80 % less what it loses in a condition.

    Args:
        loss: (method, condition) -> what is lost.
        conditions: all of them.
        n_classes: test classes.
    """
    found = []
    for dataset in ("synth-kinetics-clean", "synth-ssv2-clean"):
        for cell in CELLS:
            rng = np.random.default_rng([len(dataset), cell.n_shot])
            classes = np.stack([rng.permutation(n_classes)[:3] for _ in range(60)])
            common = 0.02 * rng.standard_normal(60)
            values = {}
            for method in METHODS:
                for c in conditions:
                    lost = loss(method, c) if loss and c not in (CLEAN, EVERYTHING) else 0.0
                    own = (0.8 - lost + common + 0.005 * rng.standard_normal((2, 60))).astype(np.float32)
                    values[method, c] = {"fused": own}
                    if method in ("amfir", "amfar"):
                        spared = 0.2 if getattr(c, "kind", "") == "blur" else 0.0
                        values[method, c] |= {
                            "rgb": own, "flow": own, "weight": np.full((2, 60), 0.5 + spared) + 0.01 * own,
                            "group": np.full((2, 60), 0.5), "decidable": np.full((2, 60), 4.0),
                            "first right": np.full((2, 60), 3.0),
                        }  # fmt: skip
            found.append(Outcomes(dataset, cell, "fold", ("rgb", "flow"), classes, values))
    return found


def test_the_estimate_of_one_cell_is_the_class_jackknife():
    one = toy_outcomes()[0]
    found, expected = estimate([one], lambda o: o.of("amfir")), class_jackknife(one.of("amfir"), one.classes)
    assert found.mean == pytest.approx(expected.mean, abs=1e-9)
    assert found.half_width == pytest.approx(expected.half_width, abs=1e-9)


def test_too_few_classes_leave_the_mean_without_an_interval():
    found = estimate(toy_outcomes(n_classes=4), lambda o: o.of("amfir"))
    assert np.isfinite(found.mean) and found.interval is None and np.isnan(found.half_width)


def test_the_table_holds_the_loss_against_sound_queries():
    outcomes = toy_outcomes(lambda method, c: 0.3 * c.severity if method == "protonet" else 0.0)
    frame = tables.accuracy_frame(outcomes, TITLES)
    part = frame[(frame["key"] == "protonet") & (frame["kind"] == "blur") & (frame["n_shot"] == 0)]
    np.testing.assert_allclose(part.sort_values("severity")["cost"][:2], 0.15, atol=0.01)
    assert set(frame["n_shot"]) == {0, 1, 5} and set(frame["dataset"]) == {"synth-kinetics", "synth-ssv2"}
    shown = tables.shown_spoilt(frame[~frame["kind"].str.startswith("without")], severity=1.0, caption="").shown
    assert list(shown["queries"]) == ["as they are", "blur", "reversal"] * 2
    paired = tables.paired_frame(outcomes, TITLES)
    row = paired[(paired["key"] == "protonet") & (paired["severity"] == 1.0) & (paired["n_shot"] == 1)].iloc[0]
    one = outcomes[0]
    lost = {m: one.of(m) - one.of(m, Condition("blur", 1.0)) for m in ("amfir", "protonet")}
    expected = paired_difference(lost["protonet"], lost["amfir"], one.classes)
    assert row["cost_difference"] == pytest.approx(expected.mean, abs=1e-9)
    assert row["cost_difference_half_width"] == pytest.approx(expected.half_width, abs=1e-9)


@pytest.mark.parametrize(("late", "verdict"), [(0.2, HOLDS), (0.0, FAILS), (0.1, UNDECIDED)])
def test_robust_means_to_lose_less_than_late_fusion(late, verdict):
    outcomes = toy_outcomes(lambda method, c: {"protonet_lf": late, "amfir": 0.1}.get(method, 0.0))
    found = claims_of.spoilt_claims(outcomes, best_single=SINGLE, notebook="10")
    keys = [claim.key for claim in found]
    assert keys == [f"{f}_{w}" for f in ("sensor_noise", "motion_ambiguity") for w in ("loses_less", "stays_ahead")]
    assert found[0].verdict == found[2].verdict == verdict and found[1].verdict == FAILS
    assert found[0].basis == COPIES and "severity 1" in found[0].setting and "blur" in found[0].value


def test_scarce_data_is_judged_at_the_least_of_it():
    amounts = (EVERYTHING, Amount(CLASSES, 24), Amount(CLASSES, 8), Amount(CLIPS, 6))
    lost = {("protonet_lf", Amount(CLASSES, 8)): 0.3, ("protonet_lf", Amount(CLIPS, 6)): 0.3}
    outcomes = toy_outcomes(lambda method, c: lost.get((method, c), 0.0), conditions=amounts)
    less, ahead = claims_of.scarcity_claims(outcomes, best_single=SINGLE, notebook="10")
    assert less.verdict == HOLDS and "8 base classes or 6 clips per class" in less.setting
    assert ahead.key == "scarce_data_stays_ahead"
    frame, paired = tables.accuracy_frame(outcomes, TITLES), tables.paired_frame(outcomes, TITLES)
    assert "8 base classes" in findings.scarcity_sentences(frame, paired)
    assert list(tables.shown_scarce(frame, caption="").shown["base data"])[:2] == ["all", "24 base classes"]


def test_weight_is_judged_by_who_is_spared():
    spares_rgb = lambda method, c: 0.3 if method == "protonet_f" and c.kind == "blur" else 0.0  # noqa: E731
    outcomes = [one.only(METHODS, [CLEAN, *SPOILT]) for one in toy_outcomes(spares_rgb)]
    frame = weighing.weights_frame(outcomes)
    blurred = frame[(frame["kind"] == "blur") & (frame["n_shot"] == 0)]
    assert set(blurred["spared_verdict"]) == {"rgb"} and (blurred["weight_gain"] > 0.15).all()
    assert frame.loc[frame["kind"] == "none", "spared_verdict"].eq("").all()
    np.testing.assert_allclose(frame["right_share"], 0.75)
    (claim,) = claims_of.weight_claim(outcomes, notebook="10")
    assert claim.verdict == HOLDS
    count = "grows in 2 of 2 cases (beyond its interval in 2) and shrinks in 0 of 2 cases"
    assert count in findings.weight_sentences(frame, severity=1.0) and count in claim.value
    spares_flow = lambda method, c: 0.3 if method == "protonet" and c.kind == "blur" else 0.0  # noqa: E731
    (claim,) = claims_of.weight_claim(toy_outcomes(spares_flow), notebook="10")
    assert claim.verdict == FAILS


def test_a_missing_modality_stands_beside_the_other_one_alone():
    frame = tables.missing_frame(toy_outcomes(), TITLES)
    assert set(frame["key"]) == {"protonet_lf", "strm_ec", "amfar", "amfir"}
    assert frame.loc[frame["kind"] == "none", "alone_accuracy"].isna().all()
    assert frame.loc[frame["kind"] != "none", "alone_accuracy"].between(0.7, 0.9).all()
    shown = tables.shown_missing(frame, caption="").shown
    assert list(shown["missing"])[:3] == ["nothing", "rgb (queries)", "flow (queries)"]
    assert "Without RGB" in findings.missing_sentences(frame)


def test_sentences_name_the_worst_disturbance():
    outcomes = [one.only(METHODS, [CLEAN, *SPOILT]) for one in toy_outcomes(lambda m, c: 0.2 * (c.kind == "blur"))]
    accuracy, paired = tables.accuracy_frame(outcomes, TITLES), tables.paired_frame(outcomes, TITLES)
    text = findings.spoilt_sentences(accuracy, paired, severity=1.0)
    assert text.count("AMFIR loses most to blur") == 2


def cost_table(**adds: int) -> pd.DataFrame:
    return pd.DataFrame([
        {"key": key, "parameters": 10, "multiply_adds": n, "support_multiply_adds": n, "backbone_multiply_adds": 10**7,
         "head_ms": 0.1, "reading_ms": 5.0, "query_ms": 5.1, "memory_mb": 1.0}
        for key, n in adds.items()
    ])  # fmt: skip


def test_efficient_means_no_dearer_and_better_than_what_costs_as_much():
    outcomes = toy_outcomes()
    frame = cost_table(amfir=100, protonet_lf=100, strm_ec=900, protonet=50, protonet_f=50, amfar=100)
    cost, worth = claims_of.efficiency_claims(frame, outcomes, notebook="10")
    assert (
        cost.verdict == HOLDS and "0.11 times the multiply-adds of STRM-EC" in cost.value and worth.verdict == UNDECIDED
    )
    dear = cost_table(amfir=120, protonet_lf=100, strm_ec=900)
    assert claims_of.efficiency_claims(dear, outcomes, notebook="10")[0].verdict == FAILS
    prices = costs.with_accuracy(frame, tables.accuracy_frame(outcomes, TITLES))
    assert len(prices) == 2 * 6
    assert "PROTONET_LF" in findings.cost_sentence(prices.drop_duplicates("key"), TITLES)


def test_a_calibrated_modality_lies_on_the_diagonal():
    one = toy_results.result("amfir", 0, 0.5)
    rng = np.random.default_rng(0)
    cell = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=4000)
    shape = (4000, 6)
    certainty = rng.uniform(1 / 3, 1, shape).astype(np.float32)
    right = {m: rng.random(shape) < certainty for m in ("rgb", "flow")} | {"fused": np.ones(shape, bool)}
    both = dict.fromkeys(("rgb", "flow"), certainty)
    tests = {cell: QueryResults(right, {}, both, both, both)}
    frame = reliability_frame([SimpleNamespace(run=one.run, tests=tests, record={})])
    assert frame.groupby("stream")["share"].sum().round(6).eq(1).all()
    assert ((frame["accuracy"] - frame["certainty"]).abs() < 0.05).all() and (frame["half_width"] > 0).all()
    assert len(shown_reliability(frame, caption="").shown) == 2
    assert "RGB from" in findings.reliability_sentence(frame)
    assert isinstance(figures.reliability_diagram(frame), Figure)


def test_predictions_are_those_of_the_evaluation(tmp_path):
    material, cell = toy_material(tmp_path), TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=90)
    (result,) = run_all([Run(material, "amfir", training=QUICK)], [cell], cache_dir=tmp_path / "cache")
    table = result.run.read.table()
    episodes = cell.episodes(table)
    said = confusion.predictions(result.method(), table, episodes)
    correct = evaluate(result.method(), table, episodes).correct["fused"]
    np.testing.assert_array_equal(said == episodes.target, correct)
    (found,) = confusion.best_and_worst([result], cell)
    assert found.accuracy == pytest.approx(correct.mean()) and found.taken.sum() == correct.size
    assert np.diag(found.taken).sum() == correct.sum()
    np.testing.assert_array_equal(np.diag(found.possible), found.taken.sum(1))
    assert found.possible.sum() == 3 * correct.size


def test_the_most_confused_pair_comes_first_and_stands_side_by_side():
    taken = np.full((6, 6), 2)
    taken[1, 4] = taken[4, 1] = 30
    np.fill_diagonal(taken, 50)
    possible = np.full((6, 6), 100)
    one = Confusion("toy", 5, tuple("abcdef"), taken, possible, 0.5)
    order = one.order().tolist()
    assert abs(order.index(1) - order.index(4)) == 1
    pairs = confusion.pairs_frame([one])
    assert set(pairs.iloc[0][["true_class", "taken_for"]]) == {"b", "e"} and pairs["rate"].iloc[0] == 0.3
    first = confusion.shown_pairs(pairs, caption="").shown.iloc[0]
    assert {first["class"], first["and"]} == {"b", "e"}
    assert "b and e" in findings.confusion_sentences([one], pairs)
    assert isinstance(figures.confusion_maps([one]), Figure)
    numbered = Confusion("toy", 5, tuple(f"test_action{i:03}" for i in range(6)), taken, possible, 0.5)
    axes = figures.confusion_maps([numbered]).axes[0]
    assert axes.get_xlabel() == "taken for (test_action…)"
    assert {text.get_text() for text in axes.get_xticklabels()} == set("012345")
