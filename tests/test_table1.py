"""Table 1: the paper's order, its printed numbers, when a cell may be bold, and what stands under every table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from toy_answers import named, toy_answers, toy_material, toy_result, toy_results

from amfir_lib.analysis.answers import ALL, UNDEGRADED, collect_answers
from amfir_lib.analysis.claims import measure
from amfir_lib.analysis.table1 import (
    NOT_IN_PAPER,
    costs,
    doubts,
    heading,
    ordered_methods,
    table1,
    table1_claims,
    table1_paired,
)
from amfir_lib.analysis.training import drawn_curves, notes_of
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.methods import METHODS
from amfir_lib.paper import doubtful_cells, published, published_name
from amfir_lib.study.material import Material, TestCell

FIVE_WAY = TestCell(n_way=5, n_shot=5, n_query=2, n_episodes=60)


def frame_of(shares: dict[str, float], dataset: str = "synth-ssv2", cells=(FIVE_WAY,)) -> pd.DataFrame:
    results = toy_results(shares, cells, names=[dataset])
    return table1(collect_answers(results, named), results)


def test_rows_stand_in_the_order_of_the_paper_and_no_method_is_lost():
    assert ordered_methods(METHODS)[:4] == ["matchingnet", "trx", "hyrsm", "strm"]
    assert sorted(ordered_methods(METHODS)) == sorted(METHODS)
    assert frame_of({"amfir": 0.8, "otam": 0.4, "trx": 0.5})["method"].tolist() == ["trx", "amfir", "otam"]


def test_the_heading_is_the_modality_that_a_method_reads():
    assert [heading("trx", ("depth", "flow")), heading("trx_f", ("rgb", "flow"))] == ["Depth", "Flow"]
    assert heading("amfir", ("rgb", "flow")) == "Multimodal"
    assert heading("otam", ("rgb", "flow")) == heading("nearest_mean", ("rgb", "flow")) == NOT_IN_PAPER


def test_the_papers_number_of_the_same_cell_stands_beside_ours_with_its_doubts():
    frame = frame_of({"amfir": 0.8, "protonet_ec": 0.5, "otam": 0.4})
    rows = frame.set_index("method")
    assert rows.loc["amfir", "paper"] == pytest.approx(0.923)
    assert rows.loc["protonet_ec", "mark"] == "†" and np.isnan(rows.loc["otam", "paper"])
    assert rows.loc["amfir", "n_queries"] == 10
    row = next(row for row in doubts(frame).itertuples() if row.method == "protonet_ec")
    assert (row.label, row.paper, row.looks) == ("ProtoNet-EC (our reading)", 0.495, "suspicious")
    assert row.because.startswith("below its own flow-only branch")
    assert doubts(frame_of({"amfir": 0.8}, dataset="mine")).empty


def test_other_data_other_ways_and_other_shots_have_no_printed_number():
    assert frame_of({"amfir": 0.8}, dataset="my_clips")["paper"].isna().all()
    others = [TestCell(n_way=w, n_shot=k, n_query=2, n_episodes=60) for w, k in ((3, 5), (5, 2))]
    assert frame_of({"amfir": 0.8}, cells=others)["paper"].isna().all()
    assert published_name("synth-kinetics") == published_name("kinetics-100") == "Kinetics"
    assert published_name("ssv2-small") == published_name("utd_mhad_depth") == ""


def test_only_cells_that_the_notes_doubt_are_flagged():
    flagged = doubtful_cells()
    assert ("Matching Net", "Kinetics", 5) in flagged and ("ProtoNet-EA", "HMDB51", 5) in flagged
    assert ("Matching Net", "Kinetics", 1) not in flagged and ("TRX", "SSv2", 1) not in flagged
    printed = published("table1").set_index(["method", "dataset", "shot"])["accuracy"]
    assert len(printed) == 96 and all(np.isfinite(printed[cell]) for cell in flagged)
    assert list(dict.fromkeys(printed.index.get_level_values(0))) == [
        spec.paper_name for spec in METHODS.values() if spec.paper_name
    ]
    with pytest.raises(ValueError, match='did you mean "table1"'):
        published("tabel1")


def test_the_best_is_bold_only_if_it_differs_from_amfir_or_amfir_from_the_next():
    clear = frame_of({"amfir": 0.95, "amfar": 0.5, "trx": 0.4}).set_index("method")
    assert clear["bold"].tolist() == [False, False, True] and clear.loc["amfir", "best"]
    other = frame_of({"amfir": 0.5, "amfar": 0.95, "trx": 0.4}).set_index("method")
    assert other.loc["amfar", "bold"] and other["bold"].sum() == 1
    close = frame_of({"amfir": 0.8, "amfar": 0.8, "trx": 0.4})
    assert close["best"].sum() == 1 and not close["bold"].any()
    alone = frame_of({"amfir": 0.8})
    assert alone["best"].all() and not alone["bold"].any()


def test_differences_are_given_on_all_and_on_undegraded_queries_in_the_papers_order():
    results = toy_results({"amfir": 0.95, "amfar": 0.5, "trx": 0.5}, [FIVE_WAY])
    frame = table1_paired(collect_answers(results, named), results)
    assert frame["basis"].tolist() == [ALL, ALL, UNDEGRADED, UNDEGRADED]
    assert frame["label"].tolist()[:2] == ["TRX", "AMFAR (our reading)"] and frame["decided"].all()


def test_costs_come_from_the_records_and_an_untrained_method_has_none():
    trained, untrained = (toy_result(toy_material(), name, 0.5, []) for name in ("trx", "nearest_mean"))
    untrained.record |= {"seconds": 0.0, "best_step": None}
    frame = costs([trained, untrained]).set_index("method")
    assert frame.loc["trx", "step_ms"] == pytest.approx(200) and frame.loc["trx", "episodes"] == 80
    assert frame.loc["nearest_mean", ["step_ms", "steps", "selected_step"]].isna().all()


def test_an_assembled_method_has_the_steps_of_its_parts_and_their_time_together():
    assembled = toy_result(toy_material(), "trx_lf", 0.5, [])
    assembled.record |= {"seconds": 12.0, "best_step": None}
    assembled.run.parts = (toy_result(toy_material(), "trx", 0.5, []).run,)
    assembled.run.training = SimpleNamespace(steps=20, episodes_per_step=8)
    row = costs([assembled]).iloc[0]
    assert row["steps"] == 40 and row["step_ms"] == pytest.approx(300) and row["training_seconds"] == 12


def test_the_claims_of_table1_leave_out_what_was_not_run_and_say_which_method_was_best():
    shares = {"amfir": 0.8, "amfar": 0.7, "protonet": 0.5}
    results = toy_results(shares, [FIVE_WAY])
    found = measure(table1_claims(results), toy_answers(shares, [FIVE_WAY], degraded=()), notebook="04_toy")
    keys = ["amfir_above_best_other", "amfir_above_amfar", "multimodal_above_unimodal", "amfir_above_appearance"]
    assert [row["key"] for row in found] == keys
    assert found[0]["value"].endswith("; AMFIR − AMFAR on toy")
    assert {row["paper"] for row in found} == {""}  # no benchmark of the paper stands beside "toy"
    claims = {claim.key: claim for claim in table1_claims(toy_results(shares, [FIVE_WAY], names=["synth-ssv2"]))}
    gain = ((70.6 - 61.7) + (92.3 - 79.5)) / 2
    assert claims["amfir_above_amfar"].paper == f"+{gain:.1f} points, mean of 2 cells"


def run_on(test_classes: str, *, synthetic: bool = False, best_step: int | None = 20):
    """A run on nine classes of one clip each, of which those named are test classes."""
    splits = {label: "test" if label in test_classes else "train" for label in "abcdefghi"}
    rows = [(label, f"{label}.avi", label, split, label, 10, 12.0, 48, 48) for label, split in splits.items()]
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    dataset = Dataset("toy", Path("toy"), manifest, synthetic=synthetic, caption="toy, 9 clips")
    run = SimpleNamespace(material=Material(dataset, {}), method="amfir")
    return SimpleNamespace(run=run, record={"best_step": best_step})


def test_the_notes_of_real_clips_say_how_many_class_splits_and_test_classes_there_are():
    assert notes_of([run_on("abc")] * 2) == "toy, 9 clips; one class split, 3 test classes."
    folds = [run_on("abc"), run_on("def"), run_on("ghi"), run_on("abc")]
    assert notes_of(folds) == "toy, 9 clips; 3 class folds, 9 test classes."
    assert notes_of([run_on("abc", synthetic=True, best_step=step) for step in (20, None)]) == ""


def test_the_notes_say_where_the_untrained_state_is_shown():
    results = [run_on("abc", synthetic=True, best_step=step) for step in (0, 20, 0)]
    assert notes_of(results).endswith("the untrained state was kept and is shown: AMFIR on toy (2 of 3 runs).")


def test_a_drawn_line_is_the_mean_of_the_seeds_between_their_lowest_and_highest():
    curves = pd.DataFrame({"dataset": "toy", "series": "a", "seed": [0, 1], "step": 5, "value": [0.2, 0.4]})
    row = drawn_curves(curves, name="accuracy").iloc[0]
    assert (row["accuracy"], row["accuracy_lowest"], row["accuracy_highest"]) == pytest.approx((0.3, 0.2, 0.4))
