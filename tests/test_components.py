"""Table 2 and Figure 4: what is switched off, what the paper prints for it, and verdicts that follow the numbers."""

import numpy as np
import pytest
from toy_points import named, toy_material, toy_result

from amfir_lib.analysis.claims.claim import FAILS, HOLDS, NOT_TESTED, UNDECIDED
from amfir_lib.analysis.claims.components import strategy_claims, table2_claims
from amfir_lib.analysis.claims.joint import joint_verdict, listed, monotone_verdict, shown
from amfir_lib.analysis.studies.component_findings import ablation_sentences, strategy_sentences
from amfir_lib.analysis.studies.component_tables import (
    accuracies,
    differences,
    shown_accuracies_by_basis,
    shown_bases,
    shown_table2,
    with_published_differences,
)
from amfir_lib.analysis.studies.components import (
    CONTROL,
    FULL,
    MUTUAL,
    NO_AMI,
    distillation_strategies,
    one_sided,
    published_ablation,
    published_frame,
    strategies_in_table2,
    table2_configurations,
    with_published,
)
from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.methods import resolve_options
from amfir_lib.paper import published
from amfir_lib.study.runs import TestCell
from amfir_lib.study.statistics import Interval

CELL = TestCell(n_way=5, n_shot=1, n_query=4, n_episodes=150)
ROWS = table2_configurations(("rgb", "flow"))


def interval(mean, half_width):
    return Interval(mean, half_width, half_width / 2, 10, np.nan)


def results_of(shares, *, names=("synth-kinetics", "synth-ssv2")):
    materials = [toy_material(name) for name in names]
    return [toy_result(m, name, share, [CELL]) for m in materials for name, share in shares.items()]


def test_the_check_marks_are_those_of_the_papers_table():
    printed = published("table2")[["row", "asi_rd", "asi_fd", "amd", "ami"]].drop_duplicates()
    ours = table2_configurations(("rgb", "flow"), readings=["a"])
    assert [tuple(map(int, one.marks.values())) for one in ours] == [tuple(row[1:]) for row in printed.to_numpy()]
    assert [one.name for one in ours[:2]] == ["flow-dominant only (a)", "RGB-dominant only (a)"]


def test_each_row_switches_off_what_it_says():
    options = {one.name: resolve_options("amfir", one.options) for one in ROWS}
    assert options["flow-dominant only (a)"].kd_strategy == "fd_only"
    assert options["RGB-dominant only (a)"].kd_strategy == "rd_only"
    assert options["flow-dominant only (b)"].kd_strategy == "t_flow"
    assert options["RGB-dominant only (b)"].kd_strategy == "t_rgb"
    assert options["no AMD"].kd_strategy == "none"
    assert options[NO_AMI].ami_weight == "equal"
    assert options[FULL] == resolve_options("amfir", {})


def test_the_third_reading_lets_the_dominant_modality_decide_alone():
    (motion, appearance) = one_sided(table2_configurations(("depth", "flow"), readings=["c"]), reading="c")
    assert motion.options["ami_weight"] == "second" and appearance.options["ami_weight"] == "first"
    assert appearance.name == "depth-dominant only (c)"


def test_the_weight_of_distillation_holds_for_every_row():
    rows = table2_configurations(("rgb", "flow"), kd_lambda=0.5, score="entropy", ami_off="hard")
    assert all(one.options["kd_lambda"] == 0.5 and one.options["score"] == "entropy" for one in rows)
    assert {one.name: one for one in rows}[NO_AMI].options["ami_weight"] == "hard"


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


def test_strategies_are_named_as_the_rows_of_table_2_with_the_same_options():
    strategies, rows = distillation_strategies(("depth", "flow")), table2_configurations(("depth", "flow"))
    said = strategies_in_table2(strategies, rows)
    for part in ("T-depth is depth-dominant only (b)", "T-Flow is flow-dominant only (b)", "no distillation is no AMD"):
        assert part in said
    assert CONTROL not in said
    assert not strategies_in_table2(strategies, table2_configurations(("depth", "flow"), kd_lambda=0.5))


def test_published_cells_are_found_by_their_check_marks():
    marks = {one.name: one.marks for one in ROWS}
    assert published_ablation("synth-kinetics", 5, marks[FULL]) == pytest.approx(0.9611)
    assert published_ablation("synth-ssv2", 1, marks["flow-dominant only (b)"]) == pytest.approx(0.5803)
    assert np.isnan(published_ablation("utd_mhad_depth", 1, marks[FULL]))
    frame = published_frame(["synth-ssv2", "folder"], CELL).set_index("method")["value"]
    assert frame.to_dict() == {"bidirectional": pytest.approx(0.706), "no distillation": pytest.approx(0.6181)}


def test_a_joint_claim_holds_where_every_interval_lies_above_zero():
    assert joint_verdict([interval(0.02, 0.01), interval(0.03, 0.02)]) == HOLDS
    assert joint_verdict([interval(0.02, 0.01), interval(0.01, 0.02)]) == UNDECIDED
    assert joint_verdict([interval(0.02, 0.01), interval(-0.03, 0.02)]) == FAILS
    assert joint_verdict([interval(0.02, 0.01), None]) == UNDECIDED
    assert joint_verdict([]) == NOT_TESTED


def test_a_rise_holds_if_no_step_goes_down_and_fails_if_one_surely_does():
    up, level, down = interval(0.03, 0.02), interval(0.001, 0.02), interval(-0.03, 0.02)
    assert monotone_verdict(up, [up, level]) == HOLDS
    assert monotone_verdict(up, [up, interval(-0.001, 0.02)]) == UNDECIDED
    assert monotone_verdict(up, [up, down]) == FAILS
    assert monotone_verdict(None, [up]) == UNDECIDED


def test_values_are_shown_with_sign_and_interval():
    assert listed({"a": interval(0.021, 0.008), "b": interval(-0.0001, 0.01), "c": None}) == (
        "a +2.1 ± 0.8, b 0.0 ± 1.0, c –"
    )
    assert shown(interval(-3.97, np.nan), scale=1, decimals=2) == "−3.97"


SHARES = {one.name: 0.5 for one in ROWS} | {FULL: 0.8, NO_AMI: 0.98}
HOW = {"series": named, "notebook": "05"}


def copies_of(shares):
    return results_of(shares, names=("synth-kinetics-clean", "synth-ssv2-clean"))


def test_component_claims_follow_the_paired_differences():
    claims = table2_claims(results_of(SHARES), copies_of(SHARES | {NO_AMI: 0.4}), configurations=ROWS, **HOW)
    found = {(claim.key, claim.basis): claim for claim in claims}
    assert found["amd_helps", "all queries"].verdict == HOLDS
    assert found["rgb_only_dominance_b", "undegraded queries"].verdict == HOLDS
    assert found["ami_helps", "all queries"].verdict == FAILS
    assert found["ami_helps", "degradation-free copies"].verdict == HOLDS
    assert "only flow may be dominant (reading (a))" in found["flow_only_dominance_a", "all queries"].claim
    assert found["flow_only_dominance_a", "all queries"].paper.startswith("Kinetics +18.8 / +27.2, SSv2 +12.6")
    assert "the opposite" in found["ami_counts_more_on_ssv2", "all queries"].paper


def test_ami_counting_more_on_one_set_is_a_difference_of_differences():
    shares = {FULL: 0.9, NO_AMI: 0.9} | {one.name: 0.6 for one in ROWS if one.name not in (FULL, NO_AMI)}
    more = results_of(shares | {NO_AMI: 0.3}, names=["synth-ssv2"])
    results = results_of(shares, names=["synth-kinetics"]) + more
    claims = table2_claims(results, configurations=ROWS, **HOW)
    claim = next(one for one in claims if one.key == "ami_counts_more_on_ssv2")
    assert claim.verdict == HOLDS and claim.value.startswith(("+5", "+6"))
    assert not [one for one in table2_claims(more, configurations=ROWS, **HOW) if "ami_counts" in one.key]


STRATEGIES = distillation_strategies(("rgb", "flow"))
TAUGHT = {"no distillation": 0.5, "T-RGB": 0.7, "T-Flow": 0.3, "bidirectional": 0.9, "both teach all": 0.9}


def test_strategy_claims_ask_for_every_direction():
    claims = strategy_claims(results_of(TAUGHT), strategies=STRATEGIES, **HOW)
    assert {claim.key: claim.verdict for claim in claims if claim.basis == "all queries"} == {
        "bidirectional_above_t_rgb": HOLDS,
        "bidirectional_above_t_flow": HOLDS,
        "bidirectional_above_none": HOLDS,
        "t_rgb_above_none": HOLDS,
        "t_flow_above_none": FAILS,
    }
    assert {claim.claim for claim in claims} >= {"Bidirectional distillation is better than T-Flow"}
    text = strategy_sentences(differences(results_of(TAUGHT), [], MUTUAL, series=named))
    assert "bidirectional beats *no distillation*, *T-RGB*" in text
    assert "no difference is shown to *both teach all*" in text
    assert "Holm" in text


def test_table_2_shows_check_marks_and_the_papers_number():
    frame = with_published(accuracies(results_of(SHARES), series=named), ROWS)
    table = shown_table2(frame, ROWS, caption="")
    assert list(table.shown["configuration"]) == [one.name for one in ROWS]
    assert table.shown.loc[0, ["RD", "FD", "AMD", "AMI"]].tolist() == ["×", "✓", "✓", "✓"]
    assert table.shown["synth-kinetics 1-shot, paper"].tolist()[-1] == "82.8"
    assert len(table.data) == 2 * 2 * len(ROWS)  # bases and data sets
    assert list(shown_accuracies_by_basis(frame, caption="").shown)[-2:] == ["all queries", "undegraded queries"]


def test_differences_carry_bases_and_the_papers_difference():
    frame = differences(results_of(SHARES), copies_of(SHARES), FULL, series=named)
    frame = with_published_differences(frame, ROWS)
    assert set(frame["dataset"]) == {"synth-kinetics", "synth-ssv2"}  # copies bear the benchmark's name
    shown_frame = shown_bases(frame, caption="").shown
    assert shown_frame.loc[0, "paper"] == "+18.8" and shown_frame.loc[0, "verdict"] == "better"
    assert {"all queries", "undegraded queries", "degradation-free copies"} <= set(shown_frame)
    assert "On undegraded queries all verdicts stay" in ablation_sentences(frame)


def test_options_for_all_rows_give_way_to_what_a_row_switches():
    given = {"kd_strategy": "t_rgb", "margin": 0.1}
    rows = {one.name: one.options for one in table2_configurations(("rgb", "flow"), method_options=given)}
    assert rows[FULL]["kd_strategy"] == "t_rgb" and rows["no AMD"]["kd_strategy"] == "none"
    assert all(options["margin"] == 0.1 for options in rows.values())
