"""Table 2 and Figure 4: what is switched off, what the paper prints for it, and verdicts that follow the numbers."""

import numpy as np
import pytest
from toy_answers import toy_answers

from amfir_lib.analysis.answers import ALL, BASES, COPIES, UNDEGRADED
from amfir_lib.analysis.claims import FAILS, HOLDS, measure
from amfir_lib.analysis.components import (
    FULL,
    NO_AMI,
    ami_claim,
    distillation_strategies,
    one_shot,
    published_ablation,
    published_strategies,
    strategy_claims,
    table2_claims,
    table2_configurations,
    with_published,
)
from amfir_lib.analysis.contrasts import accuracies, contrast
from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.methods import resolve_options
from amfir_lib.paper import published
from amfir_lib.study.material import TestCell

CELL = TestCell(n_way=5, n_shot=1, n_query=4, n_episodes=150)
ROWS = table2_configurations(("rgb", "flow"))
SHARES = {one.name: 0.5 for one in ROWS} | {FULL: 0.8, NO_AMI: 0.98}
SETS, COPIED = ["synth-kinetics", "synth-ssv2"], ["synth-kinetics-clean", "synth-ssv2-clean"]


def test_the_check_marks_are_those_of_the_papers_table():
    printed = published("table2")[["row", "asi_rd", "asi_fd", "amd", "ami"]].drop_duplicates()
    ours = table2_configurations(("rgb", "flow"), readings=["a"])
    assert [tuple(map(int, one.marks.values())) for one in ours] == [tuple(row[1:]) for row in printed.to_numpy()]
    assert [one.name for one in ours[:2]] == ["flow-dominant only (a)", "RGB-dominant only (a)"]


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("flow-dominant only (a)", "kd_strategy", "fd_only"),
        ("RGB-dominant only (a)", "kd_strategy", "rd_only"),
        ("flow-dominant only (b)", "kd_strategy", "t_flow"),
        ("RGB-dominant only (b)", "kd_strategy", "t_rgb"),
        ("RGB-dominant only (c)", "ami_weight", "first"),
        ("flow-dominant only (c)", "ami_weight", "second"),
        ("no AMD", "kd_strategy", "none"),
        (NO_AMI, "ami_weight", "equal"),
    ],
)
def test_each_row_switches_off_what_it_says(name, option, value):
    rows = {one.name: one for one in table2_configurations(("rgb", "flow"), readings=["a", "b", "c"])}
    assert getattr(resolve_options("amfir", rows[name].series.options), option) == value
    assert resolve_options("amfir", rows[FULL].options) == resolve_options("amfir", {})


def test_options_for_all_rows_give_way_to_what_a_row_switches():
    given = {"kd_lambda": 0.5, "ami_off": "hard", "method_options": {"kd_strategy": "t_rgb", "margin": 0.1}}
    rows = {one.name: one.options for one in table2_configurations(("rgb", "flow"), **given)}
    assert rows[FULL]["kd_strategy"] == "t_rgb" and rows["no AMD"]["kd_strategy"] == "none"
    assert rows[NO_AMI]["ami_weight"] == "hard"
    assert all(options["margin"] == 0.1 and options["kd_lambda"] == 0.5 for options in rows.values())


def test_unknown_readings_and_weights_are_refused():
    with pytest.raises(UnknownName, match="reading of one-sided dominance"):
        table2_configurations(("rgb", "flow"), readings=["d"])
    with pytest.raises(BadParameter, match="each once"):
        table2_configurations(("rgb", "flow"), readings=["a", "a"])
    with pytest.raises(UnknownName, match="ami_off"):
        table2_configurations(("rgb", "flow"), ami_off="certainty")


def test_the_strategies_of_figure_4_teach_all_queries_one_way():
    found = {one.name: resolve_options("amfir", one.options) for one in distillation_strategies(("rgb", "flow"))}
    assert list(found) == ["no distillation", "T-RGB", "T-Flow", "bidirectional", "both teach all"]
    assert [one.kd_strategy for one in found.values()] == ["none", "t_rgb", "t_flow", "bidirectional", "bidirectional"]
    assert found["both teach all"].kd_scope == "all"
    assert len(distillation_strategies(("depth", "flow"), control=False)) == 4


def test_published_cells_are_found_by_their_check_marks():
    marks = {one.name: one.marks for one in ROWS}
    assert published_ablation("synth-kinetics", 5, marks[FULL]) == pytest.approx(0.9611)
    assert published_ablation("synth-ssv2", 1, marks["flow-dominant only (b)"]) == pytest.approx(0.5803)
    assert np.isnan(published_ablation("utd_mhad_depth", 1, marks[FULL]))
    assert np.isnan(published_ablation("synth-ssv2", 1, marks[FULL], n_way=3))
    frame = published_strategies(["synth-ssv2", "folder"], CELL).set_index("method")["value"]
    assert frame.to_dict() == {"bidirectional": pytest.approx(0.706), "no distillation": pytest.approx(0.6181)}


def test_accuracies_and_differences_carry_what_the_paper_prints():
    answers = toy_answers(SHARES, [CELL], names=SETS + COPIED)
    frame = with_published(accuracies(answers, bases=BASES), ROWS)
    full = frame[frame["method"] == FULL].iloc[0]
    assert (full["paper"], full["amd"], full["reading"]) == (pytest.approx(0.8285), True, "")
    differences = with_published(contrast(answers, FULL, bases=BASES), ROWS)
    assert set(differences["dataset"]) == set(SETS)  # copies bear the benchmark's name
    assert differences.loc[0, "paper"] == pytest.approx(0.188, abs=1e-3) and differences.loc[0, "verdict"] == "better"


def test_component_claims_follow_the_paired_differences():
    answers = toy_answers(SHARES, [CELL], names=SETS) + toy_answers(SHARES | {NO_AMI: 0.4}, [CELL], names=COPIED)
    found = {(row["key"], row["basis"]): row for row in measure(table2_claims(ROWS), answers, notebook="05")}
    assert found["amd_helps", ALL]["verdict"] == found["rgb_only_dominance_b", UNDEGRADED]["verdict"] == HOLDS
    assert (found["ami_helps", ALL]["verdict"], found["ami_helps", COPIES]["verdict"]) == (FAILS, HOLDS)
    row = found["flow_only_dominance_a", ALL]
    assert "only flow may be dominant (reading (a))" in row["claim"]
    assert row["paper"].startswith("Kinetics +18.8 / +27.2, SSv2 +12.6")


def test_ami_counting_more_on_one_set_is_a_difference_of_differences():
    shares = {FULL: 0.9, NO_AMI: 0.9}
    more = toy_answers(shares | {NO_AMI: 0.3}, [CELL], names=SETS[1:])
    claims, places = ami_claim(ROWS, toy_answers(shares, [CELL], names=SETS[:1]) + more)
    row = measure(claims, places, notebook="05")[0]
    assert row["verdict"] == HOLDS and row["value"].startswith(("+5", "+6")) and "the opposite" in row["paper"]
    assert ami_claim(ROWS, more) == ([], [])


def test_strategy_claims_ask_for_every_direction_at_one_shot():
    taught = {"no distillation": 0.5, "T-RGB": 0.7, "T-Flow": 0.3, "bidirectional": 0.9, "both teach all": 0.9}
    five = TestCell(n_way=5, n_shot=3, n_query=4, n_episodes=150)
    answers = one_shot(toy_answers(taught, [five, CELL]))
    assert [place.cell for place in answers] == [CELL] and one_shot(toy_answers(taught, [five]))
    rows = measure(strategy_claims(distillation_strategies(("rgb", "flow"))), answers, notebook="07")
    assert {row["key"]: row["verdict"] for row in rows if row["basis"] == ALL} == {
        "bidirectional_above_t_rgb": HOLDS,
        "bidirectional_above_t_flow": HOLDS,
        "bidirectional_above_none": HOLDS,
        "t_rgb_above_none": HOLDS,
        "t_flow_above_none": FAILS,
    }
    assert "Bidirectional distillation is better than T-Flow" in {row["claim"] for row in rows}
