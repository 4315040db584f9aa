"""Every figure that draws numbers has them in a file, and the guide quotes one of each table.  Exact."""

from __future__ import annotations

import ast
import re

import nbformat
import pandas as pd
import pytest

from amfir_lib import paths
from amfir_lib.analysis.tables import drawn_curves
from amfir_lib.exports import Table, write_drawn, write_table
from amfir_lib.run.report.numbers import SOURCES, numbers_of_figure, value_of_drawn, value_of_figure
from amfir_lib.run.report.shown import value_of_shown

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
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "differences.csv").write_text("a\n1\n")
    assert numbers_of_figure(tmp_path, "differences") == "figures/differences.csv"


def test_a_figure_quotes_its_own_numbers_or_the_part_of_the_table_that_it_draws(tmp_path):
    assert value_of_figure(tmp_path, "fig3_shots") is None
    shown = pd.DataFrame(
        {"method": ["TRX", "AMFIR", "AMFIR − TRX"], "1-shot": ["51.0 ± 3.0", "50.0 ± 3.0", "−1.0 ± 0.4"]}
    )
    write_table(
        Table(shown, shown, "Test accuracy in %; AMFIR minus other, percentage points."),
        tmp_path / "tables" / "fig3_shots",
    )
    assert value_of_figure(tmp_path, "fig3_shots") == ("AMFIR, 1-shot: 50.0 ± 3.0 % (3 rows)", "tables/fig3_shots.md")
    assert value_of_figure(tmp_path, "fig3_shots_lead")[0] == "AMFIR − TRX, 1-shot: −1.0 ± 0.4 points (3 rows)"
    write_drawn(
        pd.DataFrame({"series": ["AMFIR"] * 2, "step": [0, 9], "free_energy": [-1.0, -2.0]}),
        tmp_path / "figures" / "fig3_shots",
    )
    expected = ("step 9: free energy −2.00 nats (2 rows)", "figures/fig3_shots.csv")
    assert value_of_figure(tmp_path, "fig3_shots") == expected


def test_what_a_figure_draws_of_curves_is_their_mean_and_their_band():
    drawn = drawn_curves(CURVES, name="accuracy")
    assert drawn.to_dict("list") == {
        "dataset": ["a"] * 3, "series": ["AMFIR", "AMFIR", "TRX"], "step": [0, 50, 100],
        "accuracy": [0.25, 0.625, 0.9], "accuracy_lowest": [0.2, 0.5, 0.9], "accuracy_highest": [0.3, 0.75, 0.9],
    }  # fmt: skip
    assert value_of_drawn(drawn, "learning_curves") == "AMFIR, step 50: accuracy 62.5 % (3 rows)"


@pytest.mark.parametrize(
    ("columns", "caption", "value"),
    [
        ({"a": ["x", "z"], "b": ["y", "w"]}, "", ""),
        ({"a": [], "b": []}, "", "(0 rows)"),
        ({"a": ["x|y", "z"], "b": [1, 2]}, "", "x|y, b: 1"),
        ({"id": ["A1", "A2"], "effect": ["none", "−0.3 ± 0.4 points; more"]}, "", "A2, effect: −0.3 ± 0.4 points"),
        ({"target": ["t", "u"], "measured": ["48 %", "9 %"], "met": ["yes", "no"]}, "", "met: yes in 1 of 2 rows"),
        ({"split": ["train", "val"], "classes": [64, 16]}, "", "train, classes: 64"),
        ({"kind": ["x"], "shots": [1], "cost": ["41.0 ± 8.0"]}, "Cost in points.", "x, cost: 41.0 ± 8.0 points"),
        ({"m": ["x", "AMFIR"], "step (ms)": [1.5, 2.5], "size": ["9", "12,802"]}, "", "AMFIR, size: 12,802"),
        ({"group": ["both", ""], "method": ["TRX", "AMFIR"], "5-shot": ["60.0 ± 1.0", "**70.0 ± 1.0** *paper 92.3†*"]},
         "Accuracy in %.", "AMFIR, 5-shot: 70.0 ± 1.0 %"),
        ({"data": ["a"], "AMFAR": ["1.0 ± 0.1"], "AMFIR": ["2.0 ± 0.1 (−3.0)"]}, "In %.", "a, AMFIR: 2.0 ± 0.1 %"),
        ({"choice": ["b", "w"], "title": ["Better", "Worse"], "a_b": [0.25, 0.5]}, "In %.", "Better, a_b: 0.25"),
        ({"m": ["AMFIR"], "my_clips 1-shot": ["60.0 ± 1.0"]}, "In %.", "AMFIR, my_clips 1-shot: 60.0 ± 1.0 %"),
        ({"name": ["s", "t"], "F (nats)": ["−1.95", "–"]}, "In %.", "s, F: −1.95 nats"),
        ({"name": ["s", "t"], "change": ["0.0 ± 0.5", "−0.1 ± 0.2"]}, "In %, points.", "s, change: 0.0 ± 0.5 points"),
    ],
)  # fmt: skip
def test_a_table_is_described_by_one_number_of_those_that_it_shows(tmp_path, columns, caption, value):
    text = write_table(Table(pd.DataFrame(), pd.DataFrame(columns), caption), tmp_path / "any")[1].read_text()
    assert value_of_shown(text).partition("(1 row")[0].partition("(2 row")[0].strip() == value


@pytest.mark.parametrize("path", sorted((paths.RESULTS / "study" / "tables").glob("*.md")), ids=lambda path: path.stem)
def test_the_number_to_expect_of_a_committed_table_stands_in_it(path):
    text = path.read_text(encoding="utf-8")
    value = re.sub(r"^.*: | (%|points|nats|px)? ?\(\d+ rows?\)$", "", value_of_shown(text))
    assert value and (value.startswith("yes in") or value in text)
