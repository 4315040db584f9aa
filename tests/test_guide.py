"""The guide of a study, and the list of ablations: every command can be typed as printed."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pandas as pd
import pytest

from amfir_lib import paths
from amfir_lib.decisions import DECISIONS
from amfir_lib.methods import METHODS, resolve_options
from amfir_lib.report import guide
from amfir_lib.report.reruns import METHOD, OPTIONS, Ablation, ablations, available
from amfir_lib.running.notebooks import find_notebooks, read_notebook
from amfir_lib.running.parameters import check_values, read_parameters
from amfir_lib.running.planning import parse_assignments, variant_name
from amfir_lib.storage import write_json

NOTEBOOKS = {name: read_notebook(path) for name, path in find_notebooks(paths.NOTEBOOKS).items()}
ENVIRONMENT = {"cores": 2, "device": "cpu"}


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
    write_json(folder / "records" / "02_training.json", {"seconds": 181.0, "environment": ENVIRONMENT})
    frame = pd.DataFrame(
        {"dataset": "a", "n_shot": [1, 1, 5], "method": ["ProtoNet", "AMFIR", "AMFIR"],
         "accuracy": [0.4, 0.483, 0.7], "half_width": [0.03, 0.039, 0.03]}
    )  # fmt: skip
    (folder / "tables").mkdir(parents=True)
    frame.to_csv(folder / "tables" / "accuracy.csv", index=False)
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
    assert "`./run_all.sh --only 02_training`" in table and "3:01 min" in table
    assert "1-shot, AMFIR: accuracy 48.3 ± 3.9 % (3 rows)" in table
    claim = rows["AMFIR is ahead (Table 1)"]
    assert "all queries: +0.7 ± 1.4 points (undecided)" in claim
    ablation = rows["λ, the weight of distillation (Eq. 9) [C9]"]
    assert "1:05 min" in ablation
    assert "0.5: −0.4 to +0.2 points in 2 cells, 0 of them decided" in ablation
    assert "not measured; baseline 3:01 min" in rows["length of the training"]


def test_the_guide_of_another_data_set_prints_the_commands_that_make_that_one(study):
    text = guide.render(study, paths.NOTEBOOKS, command="./run_all.sh --dataset folder --data-root DIR/clips")
    assert "`./run_all.sh --dataset folder --data-root DIR/clips --only 02_training`" in text
    assert text == guide.render(study, paths.NOTEBOOKS, command="./run_all.sh --dataset folder --data-root DIR/clips")


def test_a_table_without_a_main_number_is_described_by_its_size(tmp_path):
    (tmp_path / "words.csv").write_text("a,b\nx,y\nz,w\n")
    assert guide.expected_value(tmp_path / "words.csv") == "2 rows"


def test_an_ablation_of_a_mistyped_parameter_is_not_available():
    row = replace(ablations()[0], parameter="kd_lamda")
    assert available((row,), NOTEBOOKS) == ()
