"""Figures 3 and 5: which points there are, the lead over the next best method, and what is concluded from them.

Tolerance 1e-9: sums in another order.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from toy_points import named, toy_material, toy_result

from amfir_lib.claim_rows import FAILS, HOLDS, UNDECIDED
from amfir_lib.errors import BadParameter
from amfir_lib.experiments import TestCell
from amfir_lib.leave_out import points
from amfir_lib.profiles import PROFILES
from amfir_lib.statistics import Interval
from amfir_lib.sweep_claims import monotone_verdict, shot_claims, sweep_sentences, way_claims
from amfir_lib.sweep_tables import (
    NEXT_BEST,
    episodes_frame,
    lead_over_next_best,
    published_points,
    shown_sweep,
    sweep_caption,
    sweep_frames,
)
from amfir_lib.sweeps import method_series, sweep_cells

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
    names = {one.method: one.name for one in method_series(["strm", "amfir"], MATERIAL)}
    assert names == {"strm": "STRM", "amfir": "AMFIR"}
    with pytest.raises(BadParameter, match="must name amfir"):
        method_series(["strm", "amfar"], MATERIAL)
    with pytest.raises(ValueError, match="stmr"):
        method_series(["stmr", "amfir"], MATERIAL)


def test_the_next_best_method_is_found_anew_without_each_class():
    results = runs(RISING | {"strm": (0.41, 0.6, 0.7)}, SHOTS)
    point = points(results, series=named)[0]
    episodes = SHOTS[0].episodes(MATERIAL.layout())
    found = lead_over_next_best(point, "amfir")
    for position, left_out in enumerate([None, *range(12)]):
        kept = [left_out not in classes for classes in episodes.classes]
        means = {one.run.method: one.tests[SHOTS[0]].accuracy[kept].mean() for one in results}
        assert found[position] == pytest.approx(means["amfir"] - max(means["amfar"], means["strm"]), abs=1e-9)


def test_frames_hold_every_point_and_the_leads():
    found, accuracy, lead = sweep_frames(runs(RISING, SHOTS), named, leads=["amfar"])
    assert len(found) == 3 and len(accuracy) == 9
    assert set(lead["other"]) == {"amfar", NEXT_BEST}
    best = lead[lead["other"] == NEXT_BEST].set_index("n_shot")["next_best"]
    assert best.to_dict() == {1: "strm", 2: "amfar", 3: "amfar"}
    shown = shown_sweep(accuracy, lead, published_points("fig3", ["synth-ssv2"]), swept="n_shot", caption="").shown
    paper = shown[shown["method"] == "AMFIR, paper (as printed)"].iloc[0]
    assert paper[["1-shot", "2-shot", "3-shot"]].tolist() == ["≈ 70", "–", "–"]
    assert "5-way, 120 episodes a point" in sweep_caption(accuracy, swept="n_shot", kind="synthetic clips")
    assert "(over strm)" in sweep_sentences(accuracy, lead, swept="n_shot")


def test_shorter_lists_widen_the_conventional_interval():
    found = points(runs(RISING, SHOTS), series=named)
    frame = episodes_frame(found, "amfir")
    assert frame["n_episodes"].tolist() == [12, 24, 60, 120]
    assert frame["conventional_half_width"].is_monotonic_decreasing


def test_what_the_paper_says_of_figure_5_includes_an_upper_bound():
    frame = published_points("fig5", ["synth-ssv2", "synth-kinetics"])
    assert frame[frame["bound"]][["dataset", "n_way", "n_shot", "value"]].values.tolist() == [["synth-ssv2", 5, 1, 0.6]]
    assert set(frame.loc[~frame["bound"], "key"]) == {"amfir"}
    assert published_points("fig5", ["folder"]).empty


def one(mean, half_width):
    return Interval(mean, half_width, half_width / 2, 10, np.nan)


def test_a_rise_holds_if_no_step_goes_down_and_fails_if_one_surely_does():
    up, level, down = one(0.03, 0.02), one(0.001, 0.02), one(-0.03, 0.02)
    assert monotone_verdict(up, [up, level]) == HOLDS
    assert monotone_verdict(up, [up, one(-0.001, 0.02)]) == UNDECIDED
    assert monotone_verdict(up, [up, down]) == FAILS
    assert monotone_verdict(down, [down, down], sign=-1) == HOLDS


def test_claims_of_figure_3_follow_the_accuracies():
    rows = shot_claims({"all queries": points(runs(RISING, SHOTS), series=named)}, "amfir")
    verdicts = {row["key"]: row["verdict"] for row in rows}
    assert verdicts["accuracy_rises_with_shots"] == HOLDS
    assert verdicts["lead_largest_at_1_shot"] == HOLDS
    assert verdicts["fig3_amfir_best_everywhere"] in (HOLDS, UNDECIDED)
    falling = points(runs(RISING | {"amfir": (0.9, 0.5, 0.9)}, SHOTS), series=named)
    assert shot_claims({"all queries": falling}, "amfir")[0]["verdict"] == FAILS


def test_claims_of_figure_5_are_about_the_most_ways_tested():
    ways = cells([5, 7], [1])
    rows = way_claims(
        {"all queries": points(runs({"amfir": (0.8, 0.6), "strm": (0.3, 0.95)}, ways), series=named)}, "amfir"
    )
    held = {row["key"]: row for row in rows}
    assert held["accuracy_falls_with_ways"]["verdict"] == HOLDS
    assert held["lead_holds_to_10_way"]["verdict"] == FAILS
    assert "to 7-way (the paper: to 10-way" in held["lead_holds_to_10_way"]["claim"]
    assert isinstance(pd.DataFrame(rows)["value"].iloc[0], str)
