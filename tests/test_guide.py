"""The guide of a study, and the list of ablations: every command can be typed as printed."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace

import pandas as pd
import pytest

from amfir_lib import paths
from amfir_lib.analysis.decisions import DECISIONS
from amfir_lib.analysis.studies.components import table2_configurations
from amfir_lib.exports import Table, write_table
from amfir_lib.methods import METHODS, resolve_options
from amfir_lib.run.notebooks import find_notebooks, read_notebook
from amfir_lib.run.parameters import check_values, read_parameters
from amfir_lib.run.planning import parse_assignments, variant_name
from amfir_lib.run.report import guide
from amfir_lib.run.report.expected_time import alone_seconds, estimate
from amfir_lib.run.report.reruns import METHOD, OPTIONS, Ablation, ablations, available
from amfir_lib.storage import read_json, write_json

NOTEBOOKS = {name: read_notebook(path) for name, path in find_notebooks(paths.NOTEBOOKS).items()}
ENVIRONMENT = {"cores": 2, "device": "cpu"}
COMMITTED = paths.RESULTS / "study" / "records"
BASELINE = {
    "seconds": 80.0,
    "environment": ENVIRONMENT,
    "seeds": [0, 1],
    "options": {"train_steps": 0},
    "profile": {"train_steps": 400, "n_way": 5},
    "numbers": {
        "runs": [
            {"key": "a", "series": "AMFIR", "training_seconds": 3.0, "best_step": 50},
            {"key": "b", "series": "AMFIR", "training_seconds": 5.0, "best_step": 0},
            {"key": "b", "series": "the same run again", "training_seconds": 5.0, "best_step": 0},
            {"key": "c", "series": "ProtoNet", "training_seconds": 1.0, "best_step": 50},
            {"key": "d", "series": "ProtoNet-LF", "training_seconds": 9.0, "best_step": None},
        ]
    },
}


def row_of(parameter: str, value: str, **changes) -> Ablation:
    return Ablation("any", "02_training", parameter, (value,), **changes)


@pytest.mark.parametrize("row", [row for row in ablations() if row.notebook in NOTEBOOKS], ids=lambda row: row.name)
def test_every_value_of_an_ablation_is_one_that_its_notebook_takes(row):
    for assignment in row.assignments:
        check_values(row.notebook, NOTEBOOKS[row.notebook].parameters, parse_assignments([assignment]))


@pytest.mark.parametrize("row", [row for row in ablations() if row.parameter == OPTIONS], ids=lambda row: row.name)
def test_every_option_of_an_ablation_is_one_that_the_method_takes(row):
    declared = read_parameters(f"{OPTIONS}: dict = {{}}  # options of the method")
    for assignment in row.assignments:
        values = check_values("any", declared, parse_assignments([assignment]))
        resolve_options(METHOD, values[OPTIONS])


def test_every_decided_option_of_amfir_has_a_row():
    listed = " ".join(value for row in ablations() for value in (row.parameter, *row.values))
    known = METHODS[METHOD].options.__dataclass_fields__
    for one in DECISIONS:
        assert one.option not in known or not one.alternatives or one.option in listed, one.option


def test_every_decision_that_an_ablation_questions_has_a_row():
    assert {row.decision for row in ablations() if row.decision} <= {one.id for one in DECISIONS}


def test_the_series_that_an_ablation_reaches_are_those_of_its_notebook():
    for row in ablations():
        path = COMMITTED / f"{row.notebook}.json"
        if row.reaches and path.exists():
            assert set(row.reaches) <= {run["series"] for run in read_json(path)["numbers"]["runs"]}, row.name


@pytest.mark.parametrize("row", [row for row in ablations() if row.parameter == OPTIONS], ids=lambda row: row.name)
def test_an_option_reaches_exactly_the_configurations_of_table_2_that_it_changes(row):
    option = read_parameters(f"{OPTIONS}: dict = {{}}  # options of the method")
    given = check_values("any", option, parse_assignments([row.assignments[0]]))[OPTIONS]
    before, after = (table2_configurations(("rgb", "flow"), method_options=one) for one in ({}, given))
    changed = {
        old.name
        for old, new in zip(before, after, strict=True)
        if asdict(resolve_options(METHOD, old.options)) != asdict(resolve_options(METHOD, new.options))
    }
    assert changed == set(row.reaches or [one.name for one in before])


def test_an_estimate_lies_between_the_training_of_what_is_reached_and_that_and_the_whole_baseline():
    found = estimate(row_of("kd_lambda", "0.5", reaches=("AMFIR",)), BASELINE)
    assert (found.n_runs, found.run_seconds, found.training_seconds) == (2, 4.0, 4.0)  # 3 s and 5 s, two at once
    assert found.words == "4 s to 1:24 min, estimated (2 runs of 4.0 s)"


def test_an_estimate_counts_every_trained_run_once_and_nothing_that_is_not_trained():
    found = estimate(row_of("margin", "0.1"), BASELINE)
    assert (found.n_runs, found.run_seconds * found.n_runs) == (3, 9.0)
    assert estimate(row_of("margin", "0.1"), BASELINE | {"numbers": {}}) is None


def test_an_estimate_grows_with_steps_ways_and_further_seeds():
    usual = estimate(row_of("margin", "0.1"), BASELINE).training_seconds
    assert estimate(row_of("train_steps", "800"), BASELINE).training_seconds == 2 * usual
    assert estimate(row_of("n_way", "10"), BASELINE).training_seconds == 2 * usual
    assert estimate(row_of("n_seeds", "6"), BASELINE).training_seconds == 2 * usual  # four beside the two
    assert estimate(row_of("n_seeds", "1"), BASELINE).training_seconds == 0


def test_the_baseline_counts_with_what_computing_it_took_not_with_its_last_execution():
    found = estimate(row_of("margin", "0.1"), BASELINE | {"costliest": {"seconds": 3600.0, "peak_memory_bytes": 1}})
    assert found.baseline_seconds == 3600.0


def test_a_notebook_alone_also_prepares_the_data_and_trains_what_earlier_ones_train():
    data = {"seconds": 9.0, "costliest": {"seconds": 200.0, "peak_memory_bytes": 1}}
    runs = [{"key": key, "series": key, "training_seconds": 10.0, "best_step": 1} for key in "abc"]
    first = {"seconds": 500.0, "numbers": {"runs": runs}, "environment": ENVIRONMENT}
    last = {"seconds": 30.0, "numbers": {"runs": [*runs[:2], runs[0] | {"key": "new"}]}, "environment": ENVIRONMENT}
    records = {"01": data, "02": first, "03": last, "04": first}
    assert alone_seconds("03", records) == 30 + 200 + (10 + 10) / 2
    assert alone_seconds("01", records) == 200 and alone_seconds("02", records) == 700


def test_runs_share_a_gpu_one_after_another_and_new_features_are_named():
    on_gpu = BASELINE | {"environment": {"cores": 8, "device": "cuda:0"}}
    found = estimate(row_of("backbone", "resnet50", new_features=True), on_gpu)
    assert found.training_seconds == 9.0
    assert found.words.startswith("new features, then 9 s to ")


def test_a_command_can_be_typed_into_a_shell_as_it_is_printed():
    row = Ablation("margin", "05_table2_ablation", OPTIONS, ("{margin: 0.05}",))
    assert shlex.split(row.options()) == ["--only", "05_table2_ablation", "-p", "method_options={margin: 0.05}"]


def test_rows_of_notebooks_that_are_not_there_are_left_out():
    rows = available(ablations(), NOTEBOOKS)
    assert {row.notebook for row in rows} <= NOTEBOOKS.keys()
    assert "kd_lambda" in {row.parameter for row in rows}


@pytest.fixture
def study(tmp_path):
    """A study with one finished notebook, one claim and one variant."""
    folder = tmp_path / "study"
    record = {"seconds": 181.0, "environment": ENVIRONMENT, "numbers": {"summary": "AMFIR is **ahead** by a nose."}}
    write_json(folder / "records" / "02_training.json", record)
    frame = pd.DataFrame(
        {"dataset": "a", "n_shot": [1, 1, 5], "method": ["ProtoNet", "AMFIR", "AMFIR"],
         "accuracy": [0.4, 0.483, 0.7], "half_width": [0.03, 0.039, 0.03]}
    )  # fmt: skip
    shown = pd.DataFrame({"method": ["ProtoNet", "AMFIR"], "a 1-shot": ["40.0 ± 3.0", "48.3 ± 3.9"]})
    write_table(Table(frame, shown, "Accuracy in %."), folder / "tables" / "accuracy")
    claim = {"key": "k", "claim": "AMFIR is ahead", "source": "Table 1", "setting": "a", "basis": "all queries",
             "value": "+0.7 ± 1.4 points", "verdict": "undecided", "notebook": "02_training"}  # fmt: skip
    pd.DataFrame([claim]).to_csv(folder / "tables" / "claims.csv", index=False)
    variant = folder / "variants" / variant_name({"kd_lambda": "0.5"})
    write_json(variant / "records" / "02_training.json", {"seconds": 65.0})
    difference = {"notebook": "02_training", "series": "AMFIR", "difference": [-0.004, 0.002], "verdict": "undecided"}
    (variant / "tables").mkdir()
    pd.DataFrame(difference).to_csv(variant / "tables" / "variant_difference.csv", index=False)
    return folder


def test_the_guide_maps_exports_claims_and_ablations_to_commands_times_and_values(study):
    text = guide.write(study, paths.NOTEBOOKS).read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    table = rows["[tables/accuracy](tables/accuracy.md)"]
    assert text.count("### 02_training\n\n`./run_all.sh --only 02_training`: 3:01 min\n\n| ") == 2  # exports, claims
    assert "AMFIR, a 1-shot: 48.3 ± 3.9 % (2 rows)" in table
    claim = rows["AMFIR is ahead (Table 1)"]
    assert "all queries: +0.7 ± 1.4 points (undecided)" in claim
    ablation = rows["λ, the weight of distillation (Eq. 9) [C9]"]
    assert "1:05 min, measured" in ablation
    assert "0.5: −0.4 to +0.2 points in 2 cells, 0 of them decided" in ablation
    assert "not measured; baseline 3:01 min" in rows["length of the training"]
    assert "baseline not run yet" in rows["λ, in every configuration of Table 2 [C9]"]
    assert "### Meta-training AMFIR, and what it is worth\n\nAMFIR is **ahead** by a nose.\n" in text


def test_the_guide_estimates_what_was_not_run_from_the_runs_of_the_baseline(study):
    write_json(study / "records" / "02_training.json", BASELINE)
    text = guide.render(study, paths.NOTEBOOKS, command="./run_all.sh")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "4 s to 1:24 min, estimated (2 runs of 4.0 s)" in rows["fusion weights at meta-test (Eq. 8) [A7]"]


def test_the_guide_of_another_data_set_prints_the_commands_that_make_that_one(study):
    text = guide.render(study, paths.NOTEBOOKS, command="./run_all.sh --dataset folder --data-root DIR/clips")
    assert "`./run_all.sh --dataset folder --data-root DIR/clips --only 02_training`" in text
    assert text == guide.render(study, paths.NOTEBOOKS, command="./run_all.sh --dataset folder --data-root DIR/clips")


def test_an_ablation_of_a_mistyped_parameter_is_not_available():
    row = replace(ablations()[0], parameter="kd_lamda")
    assert available((row,), NOTEBOOKS) == ()
