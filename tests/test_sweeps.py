"""Figures 3 and 5: which points there are, the lead over the next best method, and what is concluded from them.

Tolerance 1e-9: sums in another order.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from toy_answers import named, toy_material, toy_result

from amfir_lib.analysis.answers import ALL, UNDEGRADED, collect_answers
from amfir_lib.analysis.claims import FAILS, HOLDS
from amfir_lib.analysis.contrasts import accuracies
from amfir_lib.analysis.sweeps import (
    NEXT_BEST,
    episode_counts,
    leads,
    method_series,
    published_points,
    sweep_cells,
    sweep_claims,
    sweep_table,
)
from amfir_lib.errors import BadParameter
from amfir_lib.study.config import PROFILES
from amfir_lib.study.material import TestCell
from amfir_lib.study.statistics import Sample, jackknife

MATERIAL = toy_material("synth-ssv2")


def config(**options):
    profile = PROFILES["study"]
    return SimpleNamespace(
        profile=profile, options=options, size=lambda name: options.get(name) or getattr(profile, name)
    )


def cells(n_ways, n_shots, n_episodes=120):
    return [TestCell(w, k, n_query=3, n_episodes=n_episodes) for w in n_ways for k in n_shots]


def runs(shares, own):
    return [toy_result(MATERIAL, name, dict(zip(own, values, strict=True)), own) for name, values in shares.items()]


def answers_of(shares, own):
    return collect_answers(runs(shares, own), named)


SHOTS = cells([5], [1, 2, 3])
RISING = {"amfir": (0.7, 0.8, 0.9), "amfar": (0.4, 0.7, 0.85), "strm": (0.45, 0.6, 0.7)}


def test_points_that_table_1_has_take_its_episodes():
    found = sweep_cells(config(n_query=2), [MATERIAL], n_ways=[5], n_shots=[1, 2, 5])
    assert [(cell.n_shot, cell.n_episodes) for cell in found] == [(1, 1000), (2, 500), (5, 1000)]
    asked = sweep_cells(config(n_query=2, n_test_episodes=50), [MATERIAL], n_ways=[5], n_shots=[1, 2])
    assert {cell.n_episodes for cell in asked} == {50}


def test_a_point_without_interval_or_clips_is_left_out_with_a_sentence(capsys):
    found = sweep_cells(config(n_query=2), [MATERIAL], n_ways=[9, 10, 11], n_shots=[1])
    assert [cell.n_way for cell in found] == [9, 10]
    text = capsys.readouterr().out
    assert "11-way 1-shot is left out" in text and "13 test classes and there are 12" in text
    found = sweep_cells(config(n_query=4), [MATERIAL], n_ways=[5], n_shots=[4, 5])
    assert [cell.n_shot for cell in found] == [4] and "Lower n_query to 3" in capsys.readouterr().out
    folds = [MATERIAL, toy_material("synth-ssv2", first_class=20, n_classes=9)]  # the smallest fold decides
    assert [cell.n_way for cell in sweep_cells(config(n_query=2), folds, n_ways=[7, 8], n_shots=[1])] == [7]


def test_a_sweep_without_any_point_is_refused():
    with pytest.raises(BadParameter, match="allows none"):
        sweep_cells(config(n_query=2), [MATERIAL], n_ways=[12], n_shots=[1])
    with pytest.raises(BadParameter, match="has no episodes"):
        sweep_cells(config(), [MATERIAL], n_ways=[], n_shots=[1])


def test_methods_are_named_as_their_features_allow():
    names = {one.method: one.name for one in method_series(["strm_lf", "amfir"], MATERIAL)}
    assert names == {"strm_lf": "STRM-LF (our reading)", "amfir": "AMFIR"}
    with pytest.raises(BadParameter, match="must name amfir"):
        method_series(["strm", "amfar"], MATERIAL)
    with pytest.raises(ValueError, match="stmr"):
        method_series(["stmr", "amfir"], MATERIAL)


def test_the_next_best_method_is_found_anew_without_each_class():
    results = runs(RISING, SHOTS)
    frame = leads(collect_answers(results, named), "amfir", ["amfar"])
    assert set(frame["other"]) == {"amfar", NEXT_BEST} and len(frame) == 6
    over_best = frame[frame["other"] == NEXT_BEST].set_index("n_shot")
    assert over_best["next_best"].to_dict() == {1: "strm", 2: "amfar", 3: "amfar"}
    classes, theta = SHOTS[0].episodes(MATERIAL.layout()).classes, []
    for left_out in range(12):
        kept = (classes != left_out).all(1)
        means = {one.run.method: one.tests[SHOTS[0]].accuracy[kept].mean() for one in results}
        theta.append(means["amfir"] - max(means["strm"], means["amfar"]))
    se = np.sqrt(11 / 12 * np.square(np.array(theta) - np.mean(theta)).sum())
    assert over_best.loc[1, "half_width"] == pytest.approx(2.200985 * se, rel=1e-6)  # t table: .975, 11 degrees


def test_the_table_holds_every_point_the_leads_and_the_papers_numbers():
    answers, paper = answers_of(RISING, SHOTS), published_points("fig3", ["synth-ssv2"])
    frame = accuracies(answers)
    table = sweep_table(frame, leads(answers, "amfir", ["amfar"]), paper, swept="n_shot", caption="")
    assert table.data["kind"].value_counts().to_dict() == {"accuracy": 9, "lead": 6}
    rows = table.shown.set_index("method")[["1-shot", "2-shot", "3-shot"]]
    assert rows.loc["AMFIR, paper (as printed): about"].tolist() == ["70", "–", "–"]
    assert f"amfir − {NEXT_BEST}" in rows.index and " ± " in rows.loc["amfir", "1-shot"]


def test_shorter_lists_widen_the_conventional_interval():
    results = runs(RISING, SHOTS)
    frame = episode_counts(collect_answers(results, named), "amfir")
    assert frame["n_episodes"].tolist()[-2:] == [60, 120] and set(frame["n_shot"]) == {1}
    assert frame["conventional_half_width"].is_monotonic_decreasing
    values, classes = results[0].tests[SHOTS[0]].accuracy[:60], SHOTS[0].episodes(MATERIAL.layout()).classes[:60]
    assert frame["half_width"].iloc[-2] == pytest.approx(jackknife([[Sample(values, classes)]]).half_width)


def test_what_the_paper_says_of_figure_5_includes_an_upper_bound():
    frame = published_points("fig5", ["synth-ssv2", "synth-kinetics"])
    assert frame[frame["bound"]][["dataset", "n_way", "n_shot", "value"]].values.tolist() == [["synth-ssv2", 5, 1, 0.6]]
    assert set(frame.loc[~frame["bound"], "key"]) == {"amfir"}
    assert published_points("fig5", ["folder"]).empty


def claims_of(shares, own, swept):
    rows = sweep_claims(answers_of(shares, own), swept=swept, reference="amfir", notebook="06")
    assert {row["basis"] for row in rows} == {ALL, UNDEGRADED}
    return {row["key"]: row for row in rows if row["basis"] == ALL}


def test_claims_of_figure_3_follow_the_accuracies():
    found = claims_of({"amfir": (0.7, 0.8, 0.9), "strm": (0.1, 0.7, 0.85)}, SHOTS, "n_shot")
    assert found["accuracy_rises_with_shots"]["verdict"] == found["lead_largest_at_1_shot"]["verdict"] == HOLDS
    assert found["best_at_all_shots"]["value"].startswith("lead over the next best 1-shot +")
    assert "5-way, 1- to 3-shot" in found["best_at_all_shots"]["setting"]
    falling = claims_of(RISING | {"amfir": (0.95, 0.4, 0.95)}, SHOTS, "n_shot")
    assert falling["accuracy_rises_with_shots"]["verdict"] == FAILS
    alone = claims_of({"amfir": (0.7,), "strm": (0.1,)}, SHOTS[:1], "n_shot")
    assert alone["accuracy_rises_with_shots"]["value"] == "one point only"


def test_claims_of_figure_5_are_about_the_most_ways_tested():
    found = claims_of({"amfir": (0.8, 0.5), "strm": (0.3, 0.95)}, cells([5, 7], [1]), "n_way")
    assert found["accuracy_falls_with_ways"]["verdict"] == HOLDS
    assert found["lead_holds_to_10_way"]["verdict"] == FAILS
    assert "to 7-way (the paper: to 10-way" in found["lead_holds_to_10_way"]["claim"]
