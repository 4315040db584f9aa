"""Every figure that draws numbers has them in a file, and the guide quotes one of each table.  Exact."""

from __future__ import annotations

import ast

import nbformat
import pandas as pd
import pytest

from amfir_lib import paths
from amfir_lib.report.numbers import SOURCES, numbers_of_figure, value_of_figure, value_of_table
from amfir_lib.tables import drawn_curves

PICTURES = {"fig1_architecture", "tour_kinds", "tour_flow", "clips", "robustness_clips"}  # of clips
CURVES = pd.DataFrame({
    "dataset": "a", "series": ["AMFIR"] * 4 + ["TRX"], "seed": [0, 1, 0, 1, 0], "step": [0, 0, 50, 50, 100],
    "column": "accuracy", "value": [0.2, 0.3, 0.5, 0.75, 0.9],
})  # fmt: skip


def exported(notebook: nbformat.NotebookNode) -> dict[str, set[str]]:
    """``figures``, ``tables`` and ``drawn`` -> names that a notebook writes out, in dictionaries or one by one."""
    names: dict[str, set[str]] = {"figures": set(), "tables": set(), "drawn": set()}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.keyword) and node.arg in names:
                dictionaries = [part for part in ast.walk(node.value) if isinstance(part, ast.Dict)]
                names[node.arg] |= {key.value for part in dictionaries for key in part.keys}
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                container = ast.unparse(node.targets[0].value).removeprefix("made_")
                if container in names:
                    names[container].add(node.targets[0].slice.value)
    return names


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_figure_of_a_notebook_but_pictures_has_a_file_of_its_numbers(path):
    made = exported(nbformat.read(path, as_version=4))
    assert made["drawn"] <= made["figures"] and made["figures"]
    for figure in made["figures"] - PICTURES - made["drawn"]:
        assert (SOURCES[figure].table if figure in SOURCES else figure) in made["tables"], figure


def test_the_numbers_of_a_figure_are_beside_it_or_in_the_table_that_it_draws(tmp_path):
    assert numbers_of_figure(tmp_path, "differences") is None
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "paired.csv").write_text("other,difference,half_width\nTRX,0.021,0.008\nCMN,0.2,0.1\n")
    assert numbers_of_figure(tmp_path, "differences") == "tables/paired.csv"
    assert value_of_figure(tmp_path, "differences") == "TRX: difference +2.1 ± 0.8 points (2 rows)"
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "differences.csv").write_text("a\n1\n")
    assert numbers_of_figure(tmp_path, "differences") == "figures/differences.csv"


def test_a_figure_of_a_part_of_a_table_quotes_that_part(tmp_path):
    (tmp_path / "tables").mkdir()
    rows = "n_shot,kind,accuracy,difference,half_width\n1,accuracy,0.5,,0.03\n1,lead,,-0.01,0.004\n"
    (tmp_path / "tables" / "fig3_shots.csv").write_text(rows)
    assert value_of_figure(tmp_path, "fig3_shots_lead") == "first row: difference −1.0 ± 0.4 points (1 row)"
    assert value_of_figure(tmp_path, "fig3_shots") == "accuracy: accuracy 50.0 ± 3.0 % (2 rows)"


def test_what_a_figure_draws_of_curves_is_their_mean_and_their_band():
    drawn = drawn_curves(CURVES, name="accuracy")
    assert drawn.to_dict("list") == {
        "dataset": ["a"] * 3, "series": ["AMFIR", "AMFIR", "TRX"], "step": [0, 50, 100],
        "accuracy": [0.25, 0.625, 0.9], "accuracy_lowest": [0.2, 0.5, 0.9], "accuracy_highest": [0.3, 0.75, 0.9],
    }  # fmt: skip
    assert value_of_table(drawn, "learning_curves") == "AMFIR, step 50: accuracy 62.5 % (3 rows)"


@pytest.mark.parametrize(
    ("columns", "value"),
    [
        ({"a": ["x", "z"], "b": ["y", "w"]}, "2 rows"),
        ({"id": ["A1", "A2"], "effect": ["none", "−0.3 ± 0.4 points; more"]}, "A2: −0.3 ± 0.4 points (2 rows)"),
        ({"target": ["t", "u"], "measured": ["48 %", "9 %"], "met": [True, False]}, "met in 1 of 2 rows"),
        ({"split": ["train", "val"], "classes": [64, 16]}, "train: classes 64 (2 rows)"),
        ({"a": ["x"], "own_cost": [0.41], "own_half_width": [0.08]}, "first row: own cost +41.0 ± 8.0 points (1 row)"),
        ({"m": ["x", "AMFIR"], "step_ms": [1.0, 2.0], "parameters": [9, 12802]}, "AMFIR: parameters 12,802 (2 rows)"),
    ],
)  # fmt: skip
def test_a_table_is_described_by_one_number(columns, value):
    assert value_of_table(pd.DataFrame(columns), "any") == value
