"""Figures 3 and 5: which points there are, the lead over the next best method, and what is concluded from them.

Tolerance 1e-9: sums in another order.
"""

from types import SimpleNamespace

import pandas as pd
import pytest
from toy_points import named, toy_material, toy_result

from amfir_lib.analysis.claims.claim import FAILS, HOLDS
from amfir_lib.analysis.claims.sweeps import sweep_claims
from amfir_lib.analysis.studies.episode_counts import episodes_frame, shown_episodes
from amfir_lib.analysis.studies.sweep_findings import sweep_sentences
from amfir_lib.analysis.studies.sweep_tables import (
    NEXT_BEST,
    lead_captions,
    published_points,
    shown_sweep,
    sweep_captions,
    sweep_frames,
)
from amfir_lib.analysis.studies.sweeps import method_series, sweep_cells
from amfir_lib.errors import BadParameter
from amfir_lib.study.config import PROFILES
from amfir_lib.study.runs import TestCell

MATERIAL = toy_material("synth-ssv2", n_classes=12)


def config(profile="study", **options):
    return SimpleNamespace(profile=PROFILES[profile], options=options)


def cells(n_ways, n_shots, n_episodes=120):
    return [TestCell(w, k, n_query=3, n_episodes=n_episodes) for w in n_ways for k in n_shots]


def runs(shares, own):
    return [toy_result(MATERIAL, name, dict(zip(own, values, strict=True)), own) for name, values in shares.items()]


SHOTS = cells([5], [1, 2, 3])
RISING = {"amfir": (0.7, 0.8, 0.9), "amfar": (0.4, 0.7, 0.85), "strm": (0.45, 0.6, 0.7)}


def test_points_that_table_1_has_take_its_episodes():
    found = sweep_cells(config(n_query=2), [MATERIAL], n_ways=[5], n_shots=[1, 2, 5])
    assert [(cell.n_shot, cell.n_episodes) for cell in found] == [(1, 1000), (2, 500), (5, 1000)]
    asked = sweep_cells(config(n_query=2, n_test_episodes=50), [MATERIAL], n_ways=[5], n_shots=[1, 2])
    assert {cell.n_episodes for cell in asked} == {50}


def test_a_point_without_an_interval_is_left_out_with_a_sentence(capsys):
    found = sweep_cells(config(n_query=2), [MATERIAL], n_ways=[9, 10, 11], n_shots=[1])
    assert [cell.n_way for cell in found] == [9, 10]
    text = capsys.readouterr().out
    assert "11-way 1-shot is left out" in text and "13 test classes and there are 12" in text


def test_a_point_without_enough_clips_is_left_out_with_a_sentence(capsys):
    found = sweep_cells(config(n_query=4), [MATERIAL], n_ways=[5], n_shots=[4, 5])
    assert [cell.n_shot for cell in found] == [4]
    assert "Lower n_query to 3" in capsys.readouterr().out


def test_a_sweep_without_any_point_is_refused():
    with pytest.raises(BadParameter, match="allows none"):
        sweep_cells(config(n_query=2), [MATERIAL], n_ways=[12], n_shots=[1])
    with pytest.raises(BadParameter, match="has no episodes"):
        sweep_cells(config(), [MATERIAL], n_ways=[], n_shots=[1])


def test_the_smallest_class_fold_decides(capsys):
    folds = [MATERIAL, toy_material("synth-ssv2", first_class=20, n_classes=9)]
    assert [cell.n_way for cell in sweep_cells(config(n_query=2), folds, n_ways=[7, 8], n_shots=[1])] == [7]


def test_methods_are_named_as_their_features_allow():
    names = {one.method: one.name for one in method_series(["strm_lf", "amfir"], MATERIAL)}
    assert names == {"strm_lf": "STRM-LF (our reading)", "amfir": "AMFIR"}
    with pytest.raises(BadParameter, match="must name amfir"):
        method_series(["strm", "amfar"], MATERIAL)
    with pytest.raises(ValueError, match="stmr"):
        method_series(["stmr", "amfir"], MATERIAL)


def test_frames_hold_every_point_and_the_leads():
    accuracy, lead = sweep_frames(runs(RISING, SHOTS), named, leads=["amfar"])
    assert len(accuracy) == 9 and len(lead) == 6
    assert set(lead["other"]) == {"amfar", NEXT_BEST}
    best = lead[lead["other"] == NEXT_BEST].set_index("n_shot")["next_best"]
    assert best.to_dict() == {1: "strm", 2: "amfar", 3: "amfar"}
    shown = shown_sweep(accuracy, lead, published_points("fig3", ["synth-ssv2"]), swept="n_shot", caption="").shown
    paper = shown[shown["method"] == "AMFIR, paper (as printed): about"].iloc[0]
    assert paper[["1-shot", "2-shot", "3-shot"]].tolist() == ["70", "–", "–"]
    drawn, written = sweep_captions(accuracy, published_points("fig3", []), swept="n_shot", kind="synthetic clips")
    assert "5-way, 120 episodes a point" in drawn and "bars:" in drawn and "bars:" not in written
    text = sweep_sentences(accuracy, lead, swept="n_shot")
    assert "next best method (strm or amfar)" in text and "at 1-shot and" in text


def test_the_caption_of_the_leads_names_the_next_best_of_each_point():
    rows = {"dataset": "a", "n_way": 5, "n_shot": [1, 2, 3], "other": NEXT_BEST, "half_width": 0.01}
    same = pd.DataFrame(rows | {"next_best": "AMFAR (our reading)"})
    assert "a, 5-way: AMFAR at every point)" in lead_captions(same, swept="n_shot")[0]
    other = same.assign(next_best=["AMFAR", "STRM", "AMFAR"])
    assert "a, 5-way: AMFAR at 1 and 3 shots, STRM at 2 shots)" in lead_captions(other, swept="n_shot")[1]


def test_shorter_lists_widen_the_conventional_interval():
    frame = episodes_frame(runs(RISING, SHOTS))
    assert frame["n_episodes"].tolist()[-2:] == [60, 120]
    assert frame["conventional_half_width"].is_monotonic_decreasing
    assert "class folds" not in shown_episodes(frame).caption
    assert "a: the first of 3 class folds" in shown_episodes(frame.assign(dataset="a", n_folds=3)).caption


def test_what_the_paper_says_of_figure_5_includes_an_upper_bound():
    frame = published_points("fig5", ["synth-ssv2", "synth-kinetics"])
    assert frame[frame["bound"]][["dataset", "n_way", "n_shot", "value"]].values.tolist() == [["synth-ssv2", 5, 1, 0.6]]
    assert set(frame.loc[~frame["bound"], "key"]) == {"amfir"}
    assert published_points("fig5", ["folder"]).empty


def verdicts(shares, own, swept):
    claims = sweep_claims(runs(shares, own), swept=swept, reference="amfir", series=named, notebook="06")
    return {claim.key: claim for claim in claims if claim.basis == "all queries"}


def test_claims_of_figure_3_follow_the_accuracies():
    found = verdicts({"amfir": (0.7, 0.8, 0.9), "strm": (0.1, 0.7, 0.85)}, SHOTS, "n_shot")
    assert found["accuracy_rises_with_shots"].verdict == HOLDS
    assert found["lead_largest_at_1_shot"].verdict == HOLDS
    assert found["best_at_all_shots"].value.startswith("lead over the next best 1-shot +")
    assert "5-way, 1- to 3-shot" in found["best_at_all_shots"].setting
    falling = verdicts(RISING | {"amfir": (0.95, 0.4, 0.95)}, SHOTS, "n_shot")
    assert falling["accuracy_rises_with_shots"].verdict == FAILS


def test_claims_of_figure_5_are_about_the_most_ways_tested():
    found = verdicts({"amfir": (0.8, 0.5), "strm": (0.3, 0.95)}, cells([5, 7], [1]), "n_way")
    assert found["accuracy_falls_with_ways"].verdict == HOLDS
    assert found["lead_holds_to_10_way"].verdict == FAILS
    assert "to 7-way (the paper: to 10-way" in found["lead_holds_to_10_way"].claim
