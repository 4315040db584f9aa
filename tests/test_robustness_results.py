"""From answers to tables and claims of the robustness study; reliability diagrams and confusion.

Tolerance 1e-9: sums in another order.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from toy_tables import QUICK, toy_material

from amfir_lib import figures
from amfir_lib.analysis import confusion
from amfir_lib.analysis import robustness_claims as claims_of
from amfir_lib.analysis.answers import AS_IS, COPIES, Answers, Fold, join_folds
from amfir_lib.analysis.claims import FAILS, HOLDS, UNDECIDED
from amfir_lib.analysis.confusion import Confusion, reliability_frame
from amfir_lib.analysis.robustness import ACCURACY, LEAD, by_condition, weights_frame
from amfir_lib.analysis.scarcity import CLASSES, CLIPS, Amount
from amfir_lib.analysis.spoilt import CLEAN, Condition, spoilt_conditions
from amfir_lib.data.spoiling import MOTION, SENSOR
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.statistics import Sample, jackknife

CELLS = [TestCell(n_way=3, n_shot=k, n_query=2, n_episodes=60) for k in (1, 5)]
METHODS = ("protonet", "protonet_f", "protonet_lf", "strm_ec", "amfar", "amfir")
TITLES = {name: name.upper() for name in METHODS}
SPOILT = spoilt_conditions({SENSOR: ["blur"], MOTION: ["reversal"]}, [0.5, 1.0])
SINGLE = {"synth-kinetics": "protonet", "synth-ssv2": "protonet_f"}


def toy_fold(seed, n_episodes: int = 60, n_classes: int = 12) -> Fold:
    rng = np.random.default_rng(seed)
    classes = np.stack([rng.permutation(n_classes)[:3] for _ in range(n_episodes)])
    return Fold(Episodes(np.zeros((n_episodes, 3, 1), int), np.zeros((n_episodes, 3, 2), int), classes))


def toy_answers(loss=None, *, conditions=(CLEAN, *SPOILT), n_classes: int = 12) -> list[Answers]:
    """Sixty episodes of two data sets; each method is right in 80 % less what it loses in a condition.

    Args:
        loss: (method, condition) -> what is lost.
        conditions: all of them.
        n_classes: test classes.
    """
    places = []
    for dataset in ("synth-kinetics-clean", "synth-ssv2-clean"):
        for cell in CELLS:
            rng = np.random.default_rng([len(dataset), cell.n_shot])
            common = 0.02 * rng.standard_normal(60)
            given = {}
            for method in METHODS:
                for c in conditions:
                    lost = loss(method, c) if loss and c != type(c)() else 0.0
                    right = (0.8 - lost + common + 0.005 * rng.standard_normal((2, 60))).astype(np.float32)
                    quantities = {"fused": right}
                    if method in ("amfir", "amfar"):
                        weight = 0.5 + 0.2 * (getattr(c, "kind", "") == "blur") + 0.01 * right
                        quantities |= {"weight": weight, "group": np.full((2, 60), 0.5)}
                        quantities |= {"decidable": np.full((2, 60), 4.0), "first right": np.full((2, 60), 3.0)}
                    given[method, c] = [{name: x[seed] for name, x in quantities.items()} for seed in (0, 1)]
            fold = toy_fold([len(dataset), cell.n_shot], n_classes=n_classes)
            places.append(Answers(dataset, cell, (fold,), given))
    return places


def verdicts(claims) -> dict[str, str]:
    return {claim["key"]: claim["verdict"] for claim in claims}


def test_the_table_holds_the_loss_against_undegraded_queries():
    answers = toy_answers(lambda method, c: 0.3 * c.severity if method == "protonet" else 0.0)
    frame, lead = by_condition(answers, ACCURACY, TITLES), by_condition(answers, LEAD, {"protonet": "ProtoNet"})
    blurred = frame[(frame["key"] == "protonet") & (frame["kind"] == "blur") & (frame["n_shot"] == 0)]
    np.testing.assert_allclose(blurred.sort_values("severity")["cost"][:2], 0.15, atol=0.01)
    assert set(frame["n_shot"]) == {0, 1, 5} and set(frame["dataset"]) == {"synth-kinetics", "synth-ssv2"}
    assert isinstance(
        figures.lines(frame, x="severity", y="accuracy", series="key", rows=["dataset"], columns=["kind"]), Figure
    )
    row = lead[(lead["kind"] == "blur") & (lead["severity"] == 1.0) & (lead["n_shot"] == 1)].iloc[0]
    place = answers[0]
    lost = {m: place.of(m, CLEAN) - place.of(m, Condition("blur", 1.0)) for m in ("amfir", "protonet")}
    expected = jackknife([[Sample(lost["protonet"] - lost["amfir"], place.folds[0].episodes.classes)]])
    assert row["cost_difference"] == pytest.approx(expected.mean, abs=1e-9)
    assert row["cost_difference_half_width"] == pytest.approx(expected.half_width, abs=1e-9)


def test_too_few_classes_leave_means_without_intervals_and_claims_undecided():
    answers = toy_answers(lambda method, c: 0.1 * (method == "protonet_lf"), n_classes=4)
    frame = by_condition(answers, ACCURACY, TITLES)
    assert np.isfinite(frame["accuracy"]).all() and frame["half_width"].isna().all() and (frame["n_classes"] == 0).all()
    assert set(verdicts(claims_of.condition_claims(answers, SINGLE, notebook="10")).values()) == {UNDECIDED}


def test_class_folds_are_one_place_whose_classes_are_left_out_fold_by_fold():
    one, other = toy_answers()[:2]
    (both,) = join_folds([one, Answers(one.dataset, one.cell, other.folds, other.given)])
    (row,) = by_condition([both.only(["amfir"], [CLEAN])], ACCURACY, {"amfir": "AMFIR"}).to_dict("records")
    samples = [[Sample(p.of("amfir", CLEAN), p.folds[0].episodes.classes)] for p in (one, other)]
    expected = jackknife(samples)
    assert row["accuracy"] == pytest.approx(expected.mean, abs=1e-9) and row["n_episodes"] == 120
    assert row["half_width"] == pytest.approx(expected.half_width, abs=1e-9)


@pytest.mark.parametrize(("late", "verdict"), [(0.2, HOLDS), (0.0, FAILS), (0.1, UNDECIDED)])
def test_robust_means_to_lose_less_than_late_fusion(late, verdict):
    answers = toy_answers(lambda method, c: {"protonet_lf": late, "amfir": 0.1}.get(method, 0.0))
    claims = claims_of.condition_claims(answers, SINGLE, notebook="10")
    expected = {"sensor_noise_loses_less": verdict, "sensor_noise_stays_ahead": FAILS}
    expected |= {"motion_ambiguity_loses_less": verdict, "motion_ambiguity_stays_ahead": FAILS}
    assert verdicts(claims) == expected
    assert claims[0]["basis"] == COPIES and "severity 1" in claims[0]["setting"] and "blur" in claims[0]["value"]


def test_scarce_data_is_judged_at_the_least_of_it():
    amounts = (Amount(), Amount(CLASSES, 24), Amount(CLASSES, 8), Amount(CLIPS, 6))
    lost = {("protonet_lf", Amount(CLASSES, 8)): 0.3, ("protonet_lf", Amount(CLIPS, 6)): 0.3}
    answers = toy_answers(lambda method, c: lost.get((method, c), 0.0), conditions=amounts)
    less, ahead = claims_of.condition_claims(answers, SINGLE, notebook="10")
    assert less["verdict"] == HOLDS and "8 base classes or 6 clips per class" in less["setting"]
    assert ahead["key"] == "scarce_data_stays_ahead"
    frame = by_condition(answers, ACCURACY, TITLES)
    late = frame[(frame["key"] == "protonet_lf") & (frame["n_left"] == 8)]
    np.testing.assert_allclose(late["cost"], 0.3, atol=0.01)


@pytest.mark.parametrize(("hurt", "spared", "verdict"), [("protonet_f", "rgb", HOLDS), ("protonet", "flow", FAILS)])
def test_weight_is_judged_by_who_is_spared(hurt, spared, verdict):
    answers = toy_answers(lambda method, c: 0.3 if method == hurt and c.kind == "blur" else 0.0)
    frame = weights_frame(answers, ("rgb", "flow"))
    blurred = frame[(frame["kind"] == "blur") & (frame["n_shot"] == 0)]
    sign = 1 if verdict == HOLDS else -1
    assert set(blurred["spared_verdict"]) == {spared} and (sign * blurred["weight_gain"] > 0.15).all()
    alike = frame[frame["kind"] == "none"]
    assert alike["spared_verdict"].eq("").all() and alike["weight_gain"].isna().all()
    np.testing.assert_allclose(frame["right_share"], 0.75)
    (claim,) = claims_of.weight_claim(answers, frame, notebook="10")
    assert claim["verdict"] == verdict
    word = "grows" if verdict == HOLDS else "shrinks"
    assert f"{word} in 2 of 2 cases (beyond its interval in 2)" in claim["value"]


def test_efficient_means_no_dearer_and_better_than_what_costs_as_much():
    def costs(**adds: int) -> pd.DataFrame:
        return pd.DataFrame([{"key": key, "multiply_adds": n} for key, n in adds.items()])

    answers = toy_answers()
    cheap = costs(amfir=100, protonet_lf=100, strm_ec=900, protonet=50, protonet_f=50, amfar=100)
    cost, worth = claims_of.efficiency_claims(cheap, answers, notebook="10")
    assert cost["verdict"] == HOLDS and worth["verdict"] == UNDECIDED
    assert "0.11 times the multiply-adds of STRM-EC" in cost["value"]
    dear = costs(amfir=120, protonet_lf=100, strm_ec=900)
    assert verdicts(claims_of.efficiency_claims(dear, answers, notebook="10"))["efficiency_cost"] == FAILS


def test_a_calibrated_modality_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    fold, shape = toy_fold(0, 4000), (4000, 6)
    certainty = rng.uniform(1 / 3, 1, shape).astype(np.float32)
    right = {m: rng.random(shape) < certainty for m in ("rgb", "flow")} | {"fused": np.ones(shape, bool)}
    both = dict.fromkeys(("rgb", "flow"), certainty)
    given = {("AMFIR", AS_IS): [QueryResults(right, {}, both, both, both)]}
    frame = reliability_frame([Answers("toy", CELLS[0], (fold,), given)])
    assert frame.groupby("stream")["share"].sum().round(6).eq(1).all()
    assert ((frame["accuracy"] - frame["certainty"]).abs() < 0.05).all() and (frame["half_width"] > 0).all()
    assert isinstance(figures.reliability_diagram(frame), Figure)


def test_confusion_counts_what_the_evaluation_counts(tmp_path):
    material, cell = toy_material(tmp_path), TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=90)
    (result,) = run_all([Run(material, "amfir", training=QUICK)], [cell], cache_dir=tmp_path / "cache")
    table = result.run.read.table()
    correct = evaluate(result.method(), table, cell.episodes(table)).correct["fused"]
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
    one = Confusion("toy", 5, tuple("abcdef"), taken, possible)
    order = one.order().tolist()
    assert abs(order.index(1) - order.index(4)) == 1
    pairs = confusion.pairs_frame([one])
    assert set(pairs.iloc[0][["true_class", "taken_for"]]) == {"b", "e"} and pairs["rate"].iloc[0] == 0.3
    numbered = Confusion("toy", 5, tuple(f"test_action{i:03}" for i in range(6)), taken, possible)
    axes = figures.confusion_maps([numbered]).axes[0]
    assert axes.get_xlabel() == "taken for (test_action…)"
    assert {text.get_text() for text in axes.get_xticklabels()} == set("012345")
