"""The comparison of a regenerated study with the committed one: what is equal, what may move, what fails.

Studies of two small tables are compared in full; one goes through the real runner.
"""

from __future__ import annotations

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_notebooks import QUICK_FINISH, write_notebook

from amfir_lib import paths
from amfir_lib.errors import BadParameter, DataNotFound
from amfir_lib.run import runner
from amfir_lib.run.checking import verdict
from amfir_lib.run.checking.compare import EQUAL, MOVED, SKIPPED, WARNING, WITHIN, compare_tables, key_columns
from amfir_lib.run.checking.folders import compare_folders
from amfir_lib.run.checking.regenerate import _committed, check
from amfir_lib.run.checking.tolerances import Spread, rule_for
from amfir_lib.storage import read_json, write_json

SEED_SD = 0.02
ACCURACY = pd.DataFrame(
    {
        "dataset": ["a", "a", "b", "b"], "n_way": 5, "n_shot": [1, 5, 1, 5], "method": "AMFIR",
        "accuracy": [0.5, 0.7, 0.4, 0.6], "half_width": 0.03, "seed_sd": SEED_SD, "n_seeds": 3, "n_classes": 24,
        "training_seconds": [10.0, 11.0, 12.0, 13.0],
    }
)  # fmt: skip
PAIRED = pd.DataFrame(
    {
        "dataset": ["a", "b"], "n_shot": 1, "comparison": "AMFIR − ProtoNet", "difference": [0.05, 0.011],
        "half_width": [0.02, 0.010], "p_holm": [0.001, 0.04], "verdict": ["better", "better"],
    }
)  # fmt: skip


class Pair:
    """A committed and a regenerated study, equal at first."""

    def __init__(self, folder: Path) -> None:
        self.committed, self.regenerated = folder / "committed", folder / "regenerated"
        for study in (self.committed, self.regenerated):
            (study / "tables").mkdir(parents=True)
            (study / "figures").mkdir()
            ACCURACY.to_csv(study / "tables" / "accuracy.csv", index=False)
            PAIRED.to_csv(study / "tables" / "paired.csv", index=False)
            (study / "figures" / "curves.png").write_bytes(b"picture")
            exports = ["tables/accuracy.csv", "tables/paired.csv", "figures/curves.png"]
            write_json(study / "records" / "02_training.json", {"exports": dict.fromkeys(exports, ""), "options": {}})

    def change(self, table: str, row: int, **cells: object) -> None:
        path = self.regenerated / "tables" / f"{table}.csv"
        frame = pd.read_csv(path)
        for column, value in cells.items():
            frame.loc[row, column] = value
        frame.to_csv(path, index=False)

    def found(self, **options: object):
        return compare_folders(self.committed, self.regenerated, **options)

    def said(self, **options: object) -> str:
        return "\n".join(verdict.lines(self.found(**options), how="Compared with itself."))


@pytest.fixture
def pair(tmp_path):
    return Pair(tmp_path)


def only_cell(comparison, status: str):
    (cell,) = [cell for cell in comparison.cells if cell.status == status]
    return cell


# whole studies


def test_an_equal_study_passes_and_every_cell_is_counted(pair):
    found = pair.found()
    assert found.passed and found.n_figures == 1
    accuracy, paired = found.tables
    assert accuracy.count(EQUAL) == len(accuracy.cells) == 4 * 8  # all columns but the key: dataset, n_shot
    assert "The check passed. 2 tables" in pair.said()


def test_an_accuracy_may_move_by_two_standard_errors_of_the_training_seeds(pair):
    allowed = 2 * SEED_SD / np.sqrt(3)
    pair.change("accuracy", 0, accuracy=0.5 + 0.99 * allowed)
    cell = only_cell(pair.found().tables[0], WITHIN)
    assert pair.found().passed
    assert cell.tolerance == pytest.approx(allowed)
    pair.change("accuracy", 0, accuracy=0.5 + 1.01 * allowed)
    assert not pair.found().passed


def test_a_moved_cell_is_named_with_both_values_its_tolerance_and_the_reason(pair):
    pair.change("accuracy", 3, accuracy=0.65)
    text = pair.said()
    assert "b, 5: accuracy 0.6 -> 0.65, moved 0.05, tolerance 0.02309 (accuracy or share)" in text
    assert "accuracy or share: one point, or 2 sd / sqrt(n) of the row's training seeds" in text
    assert "The check did NOT pass: 1 cells moved beyond tolerance" in text


def test_a_point_is_always_accepted_and_with_exact_nothing_is(pair):
    still = ACCURACY.assign(seed_sd=0.0)
    moved = still.assign(accuracy=still["accuracy"] + 0.009)
    assert compare_tables("accuracy", still, moved, Spread()).passed
    assert not compare_tables("accuracy", still, moved, Spread(), exact=True).passed


def test_a_difference_may_move_by_the_spread_of_the_whole_study_times_the_root_of_two(pair):
    allowed = np.sqrt(2) * 2 * SEED_SD / np.sqrt(3)
    pair.change("paired", 0, difference=0.05 - 0.99 * allowed)
    assert pair.found().passed
    pair.change("paired", 0, difference=0.05 - 1.01 * allowed)
    assert not pair.found().passed


def test_times_and_p_values_are_not_compared(pair):
    pair.change("accuracy", 0, training_seconds=1000.0)
    pair.change("paired", 0, p_holm=0.9)
    found = pair.found()
    assert found.passed
    assert [table.count(SKIPPED) for table in found.tables] == [1, 1]


def test_a_missing_row_fails_and_is_named(pair):
    frame = pd.read_csv(pair.regenerated / "tables" / "accuracy.csv").drop(index=1)
    frame.to_csv(pair.regenerated / "tables" / "accuracy.csv", index=False)
    assert pair.found().tables[0].lacking == ("row a, 5 is missing",)
    assert not pair.found().passed


def test_rows_in_another_order_are_the_same_table(pair):
    frame = pd.read_csv(pair.regenerated / "tables" / "accuracy.csv").iloc[::-1]
    frame.to_csv(pair.regenerated / "tables" / "accuracy.csv", index=False)
    assert pair.found().passed and pair.found().tables[0].count(EQUAL) == 32


def test_a_missing_table_or_figure_fails_and_a_new_one_is_only_named(pair):
    (pair.regenerated / "tables" / "paired.csv").unlink()
    (pair.regenerated / "figures" / "curves.png").unlink()
    (pair.regenerated / "tables" / "new.csv").write_text("a\n1\n")
    found = pair.found()
    assert found.missing == ("figures/curves.png", "tables/paired.csv") and found.extra == ("tables/new.csv",)
    assert not found.passed
    assert "tables/paired.csv: MISSING" in pair.said() and "2 files are missing" in pair.said()


def test_a_table_that_no_notebook_made_is_left_out_when_only_some_are_checked(pair):
    (pair.committed / "tables" / "claims.csv").write_text("a\n1\n")
    assert pair.found(notebooks=["02_training"]).passed
    assert pair.found().missing == ("tables/claims.csv",)


def test_a_verdict_that_changes_within_the_tolerance_of_its_numbers_is_a_warning(pair):
    pair.change("paired", 1, difference=0.009, p_holm=0.08, verdict="undecided")
    found = pair.found()
    assert found.passed and found.n_warnings == 1
    assert only_cell(found.tables[1], WARNING).column == "verdict"
    assert "verdict better -> undecided (a warning" in pair.said()


@pytest.mark.parametrize(
    "cells",
    [
        {"verdict": "undecided"},  # no number accounts for it
        {"verdict": "undecided", "difference": -0.2},  # a number moved as well
        {"verdict": "worse", "difference": 0.009},  # turned into its opposite
    ],
)
def test_any_other_changed_verdict_fails(pair, cells):
    pair.change("paired", 1, **cells)
    found = pair.found()
    assert not found.passed and found.n_warnings == 0


def test_other_parameters_and_another_machine_are_said_first(pair):
    write_json(pair.regenerated / "records" / "02_training.json", {"exports": {}, "options": {"n_way": 3}})
    assert pair.found().settings == ("02_training: n_way was None, now 3",)
    assert pair.said().splitlines()[1:3] == ["Not made alike:", "    02_training: n_way was None, now 3"]


def test_what_was_found_is_written_with_every_cell(pair, tmp_path):
    pair.change("accuracy", 3, accuracy=0.65)
    found = pair.found()
    verdict.write(found, tmp_path / "out", how="Compared.")
    told = read_json(tmp_path / "out" / "check.json")
    assert told["passed"] is False and told["tables"][0]["moved"][0]["row"] == "b, 5"
    cells = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert len(cells) == sum(len(table.cells) for table in found.tables)
    assert "accuracy 0.6 -> 0.65" in (tmp_path / "out" / "check.md").read_text()


# single cells


def test_the_key_is_the_shortest_run_of_text_and_design_columns_that_tells_rows_apart():
    assert key_columns(ACCURACY) == ["dataset", "n_shot"]
    assert key_columns(PAIRED) == ["dataset"]
    assert key_columns(ACCURACY.iloc[:1]) == []


def test_rows_that_nothing_tells_apart_are_matched_in_order():
    frame = pd.DataFrame({"kind": ["x", "x"], "value": [1.5, 2.5]})
    assert compare_tables("t", frame, frame, Spread()).count(EQUAL) == 4
    assert compare_tables("t", frame, frame.assign(value=[1.5, 3.5]), Spread()).count(MOVED) == 1


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ("46.5 %", "47.3 %", WITHIN),
        ("46.5 %", "49.3 %", MOVED),
        ("+1.2 ± 0.8 points", "−0.1 ± 0.9 points", MOVED),
        ("+1.2 ± 0.8 points", "+0.4 ± 0.9 points", WITHIN),
        ("test_action012", "test_action013", MOVED),
        ("112 × 112", "112 × 112", EQUAL),
        (np.nan, np.nan, EQUAL),
        (np.nan, "48 %", MOVED),
    ],
)
def test_words_must_be_equal_and_numbers_in_them_near(before, after, status):
    old, new = (pd.DataFrame({"target": ["a", "b"], "measured": ["1 %", value]}) for value in (before, after))
    assert compare_tables("t", old, new, Spread()).cells[1].status == status


def test_a_number_that_exists_on_one_side_only_has_moved():
    old = pd.DataFrame({"method": ["a", "b"], "accuracy": [0.5, np.nan]})
    assert compare_tables("t", old, old, Spread()).passed
    assert compare_tables("t", old, old.assign(accuracy=0.5), Spread()).count(MOVED) == 1


@pytest.mark.parametrize(
    ("column", "whole", "rule"),
    [
        ("training_seconds", False, "time and memory"),
        ("ms per step", False, "time and memory"),
        ("p_value", False, "p-value"),
        ("own_half_width", False, "half width of an interval"),
        ("seed_sd", False, "spread"),
        ("degraded_auroc_certainty", False, "accuracy or share"),
        ("cost", False, "difference of accuracies"),
        ("paper", False, "paper"),
        ("n_classes", True, "count"),
        ("clips", True, "whole number"),
        ("median_px", False, "other number"),
        ("free_energy", False, "free energy"),
    ],
)
def test_each_kind_of_column_has_its_rule(column, whole, rule):
    assert rule_for("any", column, whole=whole).name == rule


# through the runner


def test_the_committed_study_is_that_of_the_last_commit_whatever_lies_in_the_folder():
    name = "results/study/tables/accuracy.csv"
    git = ["git", "-C", str(paths.REPOSITORY), "show", f"HEAD:{name}"]
    shown = subprocess.run(git, capture_output=True)
    if shown.returncode:
        pytest.skip("not a git checkout")
    with _committed(paths.RESULTS, Path("study"), as_it_is=False) as committed:
        assert (committed.folder / "tables" / "accuracy.csv").read_bytes() == shown.stdout
        assert not committed.folder.is_relative_to(paths.REPOSITORY)
        assert "results/study of commit " in committed.source
    with _committed(paths.RESULTS, Path("study"), as_it_is=True) as committed:
        assert committed.folder == paths.RESULTS / "study"


def test_check_regenerates_beside_the_committed_study_and_names_what_differs(tmp_path):
    finish = QUICK_FINISH.format(name="01_first")
    write_notebook(tmp_path / "notebooks", "01_first", finish, makes=["tables/01_first.csv"], start=False, finish=False)
    environment = {"AMFIR_CACHE_DIR": str(tmp_path / "cache"), "AMFIR_RESULTS_DIR": str(tmp_path / "results")}
    request = runner.Request(environment=environment | {"AMFIR_JOBS": "1"}, notebooks=tmp_path / "notebooks")
    stream = io.StringIO()
    with pytest.raises(DataNotFound, match="There is no study in .*smoke to compare with"):
        check(request, stream=stream)

    committed = tmp_path / "results" / "smoke"
    table = committed / "tables" / "01_first.csv"
    table.parent.mkdir(parents=True)
    table.write_text("n_way\n6\n")  # as if another version had been committed
    write_json(committed / "records" / "01_first.json", {"exports": {"tables/01_first.csv": ""}, "status": "done"})
    before = {path: path.read_bytes() for path in committed.rglob("*") if path.is_file()}
    assert check(request, stream=stream) == 1
    assert "row 1: n_way 6 -> 5, moved 1, tolerance 0 (count)" in stream.getvalue()
    made = tmp_path / "cache" / "check" / "smoke"
    assert (made / "tables" / "01_first.csv").read_text() == "n_way\n5\n"
    assert read_json(made / "check.json")["passed"] is False
    assert before == {path: path.read_bytes() for path in committed.rglob("*") if path.is_file()}

    table.write_text("n_way\n5\n")
    assert check(request, cold=True, stream=stream) == 0
    assert "Everything was computed from nothing" in stream.getvalue()
    assert not (tmp_path / "cache" / "check" / "cold-cache").exists()

    with pytest.raises(BadParameter, match="takes no -p n_way"):
        check(replace(request, overrides={"n_way": "7"}), stream=stream)
