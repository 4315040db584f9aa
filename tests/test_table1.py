"""Table 1: the paper's order, its printed numbers, and when a cell may be bold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from amfir_lib.analysis.tables.rows import NOT_IN_PAPER, heading
from toy_results import TABLE, methods, result

from amfir_lib.analysis import tables
from amfir_lib.methods import METHODS
from amfir_lib.paper import doubtful_cells, published, published_name
from amfir_lib.study.runs import TestCell

FIVE_WAY = TestCell(n_way=5, n_shot=5, n_query=2, n_episodes=60)


def frame_of(accuracies: dict[str, float], dataset: str = "synth-ssv2", cells=(FIVE_WAY,)) -> pd.DataFrame:
    return tables.table1_frame(methods(accuracies, dataset=dataset, cells=cells))


def test_rows_stand_in_the_order_of_the_paper_and_no_method_is_lost():
    assert tables.ordered_methods(METHODS)[:4] == ["matchingnet", "trx", "hyrsm", "strm"]
    assert sorted(tables.ordered_methods(METHODS)) == sorted(METHODS)
    printed = list(dict.fromkeys(published("table1")["method"]))
    assert printed == [spec.paper_name for spec in METHODS.values() if spec.paper_name]


def test_the_heading_is_the_modality_that_a_method_reads():
    assert heading("trx", ("depth", "flow")) == "Depth"
    assert heading("trx_f", ("rgb", "flow")) == "Flow"
    assert heading("amfir", ("rgb", "flow")) == "Multimodal"
    assert heading("otam", ("rgb", "flow")) == heading("nearest_mean", ("rgb", "flow")) == NOT_IN_PAPER


def test_the_papers_number_of_the_same_cell_stands_beside_ours():
    frame = frame_of({"amfir": 0.8, "protonet_ec": 0.5, "otam": 0.4}).set_index("method")
    assert frame.loc["amfir", "paper"] == pytest.approx(0.923)
    assert "49.5" not in frame.loc["protonet_ec", "paper_doubt"] and frame.loc["protonet_ec", "paper_doubt"]
    assert np.isnan(frame.loc["otam", "paper"])
    shown = tables.shown_table1(frame.reset_index(), caption="").shown.set_index("method")
    assert "*paper 49.5†*" in shown.loc["ProtoNet-EC (our reading)", "synth-ssv2 5-shot"]
    assert shown.loc["OTAM", "modality"] == NOT_IN_PAPER


def test_other_data_other_ways_and_other_shots_have_no_printed_number():
    assert frame_of({"amfir": 0.8}, dataset="my_clips")["paper"].isna().all()
    three_way = TestCell(n_way=3, n_shot=5, n_query=2, n_episodes=60)
    two_shot = TestCell(n_way=5, n_shot=2, n_query=2, n_episodes=60)
    assert frame_of({"amfir": 0.8}, cells=(three_way, two_shot))["paper"].isna().all()
    assert published_name("synth-kinetics") == published_name("kinetics-100") == "Kinetics"
    assert published_name("ssv2-small") == published_name("utd_mhad_depth") == ""


def test_only_cells_that_the_notes_doubt_are_flagged():
    doubts = doubtful_cells()
    assert ("Matching Net", "Kinetics", 5) in doubts and ("ProtoNet-EA", "HMDB51", 5) in doubts
    assert ("Matching Net", "Kinetics", 1) not in doubts and ("TRX", "SSv2", 1) not in doubts
    printed = published("table1").set_index(["method", "dataset", "shot"])["accuracy"]
    assert all(np.isfinite(printed[cell]) for cell in doubts)


def test_the_best_is_bold_only_if_it_differs_from_amfir_or_amfir_from_the_next():
    clear = frame_of({"amfir": 0.95, "amfar": 0.5, "trx": 0.4}).set_index("method")
    assert clear["bold"].tolist() == [False, False, True] and clear.loc["amfir", "best"]
    other = frame_of({"amfir": 0.5, "amfar": 0.95, "trx": 0.4}).set_index("method")
    assert other.loc["amfar", "bold"] and other["bold"].sum() == 1
    close = frame_of({"amfir": 0.8, "amfar": 0.8, "trx": 0.4})
    assert close["best"].sum() == 1 and not close["bold"].any()


def test_one_method_alone_is_best_and_not_bold():
    frame = frame_of({"amfir": 0.8})
    assert frame["best"].all() and not frame["bold"].any()


def test_the_caption_says_what_is_measured_and_what_is_not():
    frame = frame_of({"amfir": 0.8, "protonet_ec": 0.5})
    caption = tables.caption_of_table1(frame, kind="synthetic clips")
    for part in ("synthetic", "5-way", "60 episodes of 10 queries", "12 test classes", "real data", "table1_doubts"):
        assert part in caption
    assert "paper" not in tables.caption_of_table1(frame_of({"amfir": 0.8}, dataset="mine"), kind="real clips")


def test_a_doubtful_cell_is_named_with_its_reason_in_a_table_of_its_own():
    doubts = tables.doubts_table(frame_of({"amfir": 0.8, "protonet_ec": 0.5, "trx": 0.4}))
    row = doubts.shown.set_index("method").loc["ProtoNet-EC"]
    assert (row["data set"], row["shots"], row["printed (%)"], row["looks"]) == ("SSv2", 5, "49.5", "suspicious")
    assert row["because"].startswith("below its own flow-only branch") and "TRX" not in set(doubts.shown["method"])
    assert doubts.data["paper"].max() <= 1 and len(doubts.data) == len(doubts.shown)
    assert tables.doubts_table(frame_of({"amfir": 0.8}, dataset="mine")).data.empty


def test_a_caption_without_intervals_speaks_of_none():
    frame = frame_of({"amfir": 0.8, "trx": 0.4}).assign(half_width=np.nan)
    assert "±" not in tables.caption_of_table1(frame, kind="real clips")


def test_differences_are_given_on_all_and_on_undegraded_queries():
    some = np.where(np.arange(len(TABLE.labels)) % 2 == 0, "rgb", "none")
    table = TABLE.__class__(**{**vars(TABLE), "degraded": some})
    frame = tables.table1_paired(methods({"amfir": 0.95, "amfar": 0.5}, table=table))
    assert frame["basis"].tolist() == [tables.ALL, tables.UNDEGRADED]
    shown = tables.shown_table1_paired(frame, caption="").shown
    assert shown.loc[0, "toy 1-shot"].startswith("**+")


def test_bases_stand_side_by_side_and_a_missing_one_is_a_dash():
    results, copies = methods({"amfir": 0.8, "trx": 0.5}), methods({"amfir": 0.7}, dataset="toy-clean")
    shown = tables.bases_table(results, copies, methods=["trx", "amfir"]).shown
    assert shown["method"].tolist() == ["TRX", "AMFIR"]
    assert shown["1-shot, degradation-free copies"][0] == "–" != shown["1-shot, degradation-free copies"][1]
    assert "1-shot, undegraded queries" not in shown  # every clip of the toy table is degraded


def test_costs_come_from_the_records_and_an_untrained_method_has_none():
    trained, untrained = result("trx", 0, 0.5), result("nearest_mean", 0, 0.5)
    for one, seconds, best in ((trained, 8.0, 30), (untrained, 0.0, None)):
        one.record.update(
            seconds=seconds, step_seconds=seconds / 40, parameters=1234, best_step=best, device="cpu", val_accuracy=None
        )
        one.run.training = type("Training", (), {"steps": 40, "episodes_per_step": 2})()
    frame = tables.cost_table([trained, untrained]).set_index("method")
    assert frame.loc["trx", "step_ms"] == pytest.approx(200) and frame.loc["trx", "episodes"] == 80
    assert np.isnan(frame.loc["nearest_mean", "step_ms"])
    shown = tables.shown_costs(frame.reset_index()).shown
    assert shown.loc[0, "parameters"] == "1,234" and shown.loc[1, "ms per step"] == "–"


def test_an_assembled_method_has_the_steps_of_its_parts_and_their_time_together():
    found = {name: result(name, 0, 0.5) for name in ("protonet", "trx", "trx_f", "trx_lf")}
    for name, seconds, steps in (("protonet", 1.0, 20), ("trx", 8.0, 40), ("trx_f", 4.0, 40), ("trx_lf", 12.0, 20)):
        one = found[name]
        one.record.update(seconds=seconds, parameters=1, best_step=None, device="cpu")
        one.run.training = SimpleNamespace(steps=steps, episodes_per_step=8)
    trx, trx_f = found["trx"].run, found["trx_f"].run
    found["trx_lf"].run.parts = lambda: (trx, trx_f)
    row = tables.cost_table(found.values()).set_index("method").loc["trx_lf"]
    assert row["steps"] == 40 and row["step_ms"] == pytest.approx(300) and row["training_seconds"] == 12
    seen = [found["protonet"], found["protonet"], found["protonet"], found["trx"], found["trx_lf"]]
    assert tables.budget(seen, series=lambda one: one.run.method) == (
        "Each trained method saw 160 training episodes (20 steps of 8); 320: trx, trx_lf."
    )
