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
from amfir_lib.run.check import check, committed_study, lines
from amfir_lib.run.compare import (
    EQUAL,
    EXTRA,
    FAILURES,
    MISSING,
    MOVED,
    NEW,
    SKIPPED,
    WARNING,
    WITHIN,
    compare_folders,
    compare_tables,
    other_settings,
)  # fmt: skip
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

    def cells(self, **options: object) -> pd.DataFrame:
        return compare_folders(self.committed, self.regenerated, **options)

    def counts(self, **options: object) -> dict[str, int]:
        return self.cells(**options)["status"].value_counts().to_dict()

    def passes(self, **options: object) -> bool:
        return not self.cells(**options)["status"].isin(FAILURES).any()

    def lines(self) -> str:
        return "\n".join(lines(self.cells()))


@pytest.fixture
def pair(tmp_path):
    return Pair(tmp_path)


def statuses(old: pd.DataFrame, new: pd.DataFrame, *units: dict[str, str]) -> list[str]:
    return [cell["status"] for cell in compare_tables("t", old, new, *units)]


# whole studies


def test_an_equal_study_passes_and_every_cell_is_counted(pair):
    assert pair.counts() == {EQUAL: 32} and pair.passes()
    assert "The check passed. 2 tables and files: 32 equal" in pair.lines()


@pytest.mark.parametrize(
    ("table", "column", "allowed"),
    [
        ("accuracy", "accuracy", 2 * SEED_SD / np.sqrt(3)),
        ("paired", "difference", 2 * np.sqrt(2) * SEED_SD / np.sqrt(3)),
    ],
)
def test_a_mean_may_move_by_two_standard_errors_of_the_training_seeds_and_a_difference_by_more(
    pair, table, column, allowed
):
    committed = {"accuracy": ACCURACY, "paired": PAIRED}[table][column][0]
    pair.change(table, 0, **{column: committed + 0.99 * allowed})
    assert pair.passes() and pair.cells()["tolerance"].max() == pytest.approx(allowed)
    assert not pair.passes(exact=True)
    pair.change(table, 0, **{column: committed + 1.01 * allowed})
    assert not pair.passes()


def test_a_moved_cell_is_named_with_both_values_its_tolerance_and_the_reason(pair):
    pair.change("accuracy", 3, accuracy=0.65)
    text = pair.lines()
    assert "b, 5, 5, AMFIR: accuracy 0.6 -> 0.65, moved 0.05, tolerance 0.02309 (share)" in text
    assert "share: one point, or 2 sd / sqrt(n) of the training seeds" in text
    assert "The check did NOT pass" in text and "1 moved" in text


def test_times_and_p_values_are_not_compared_and_with_exact_only_times(pair):
    pair.change("accuracy", 0, training_seconds=1000.0)
    pair.change("paired", 0, p_holm=0.9)
    assert pair.counts() == {EQUAL: 30, SKIPPED: 2}
    assert pair.counts(exact=True) == {EQUAL: 30, SKIPPED: 1, MOVED: 1}


def test_rows_are_found_by_their_keys_and_a_missing_one_fails_by_name(pair):
    path = pair.regenerated / "tables" / "accuracy.csv"
    frame = pd.read_csv(path).iloc[::-1]
    frame.to_csv(path, index=False)
    assert pair.passes()
    frame[frame["accuracy"] != 0.7].rename(columns={"n_classes": "n_groups"}).to_csv(path, index=False)
    assert pair.counts() == {EQUAL: 8 + 3 * 5, MISSING: 2, EXTRA: 1}
    assert "row a, 5, 5, AMFIR is missing" in pair.lines() and "column n_groups is new" in pair.lines()


def test_a_new_row_fails_and_a_new_column_which_moves_nothing_is_only_named(pair):
    path = pair.regenerated / "tables" / "accuracy.csv"
    frame = pd.read_csv(path)
    frame.assign(further=1).to_csv(path, index=False)
    assert pair.passes() and "column further is new, so there is nothing to compare it with" in pair.lines()
    pd.concat([frame, frame.head(1).assign(dataset="c")]).to_csv(path, index=False)
    assert pair.counts()[NEW] == 1 and not pair.passes()


def test_a_missing_table_or_figure_fails_and_a_new_one_is_only_named(pair):
    (pair.regenerated / "tables" / "paired.csv").unlink()
    (pair.regenerated / "figures" / "curves.png").unlink()
    (pair.regenerated / "tables" / "new.csv").write_text("a\n1\n")
    assert pair.counts() == {EQUAL: 24, MISSING: 2, EXTRA: 1}
    missing = {"figures/curves.png", "tables/paired.csv"}
    for only in ([], ["02_training"]):
        cells = pair.cells(notebooks=only)
        assert {*cells.loc[cells["status"] == MISSING, "table"]} == missing
    (pair.committed / "tables" / "claims.csv").write_text("a\n1\n")  # which no notebook made
    assert pair.counts()[MISSING] == 3 and pair.counts(notebooks=["02_training"])[MISSING] == 2


@pytest.mark.parametrize(
    ("cells", "passed"),
    [
        ({"verdict": "undecided", "difference": 0.009, "p_holm": 0.08}, True),
        ({"verdict": "undecided"}, False),  # no number accounts for it
        ({"verdict": "undecided", "difference": -0.2}, False),  # a number moved as well
        ({"verdict": "worse", "difference": 0.009}, False),  # turned into its opposite
    ],
)
def test_a_verdict_that_changes_within_the_tolerance_of_its_numbers_is_a_warning_and_any_other_fails(
    pair, cells, passed
):
    pair.change("paired", 1, **cells)
    assert pair.passes() == (WARNING in pair.counts()) == passed
    assert ("verdict better -> undecided (a warning" in pair.lines()) == passed


def test_other_parameters_and_another_machine_are_named(pair):
    write_json(pair.regenerated / "records" / "02_training.json", {"exports": {}, "options": {"n_way": 3}})
    assert other_settings(pair.committed, pair.regenerated) == ["02_training: options differs"]


# single tables


def test_words_are_equal_and_a_number_that_exists_on_one_side_only_has_moved():
    old = pd.DataFrame({"method": ["a", "b"], "answer": ["x", np.nan], "accuracy": [0.5, np.nan]})
    assert statuses(old, old) == [EQUAL] * 4
    assert statuses(old, old.assign(answer="x", accuracy=0.5)) == [EQUAL, EQUAL, MOVED, MOVED]
    alike = old.assign(method="a", accuracy=[0.5, 0.7])  # no key tells the rows apart: they are matched in order
    assert statuses(alike, alike.assign(accuracy=[0.509, 0.711])) == [EQUAL, WITHIN, EQUAL, MOVED], (
        "a point is accepted"
    )


def test_the_record_says_what_a_column_is_where_the_common_list_does_not(pair):
    for study, luck in ((pair.committed, 0.5), (pair.regenerated, 0.505)):
        pd.DataFrame({"turn": [1, 2], "luck": [luck, 0.1]}).to_csv(study / "tables" / "luck.csv", index=False)
    assert pair.counts()[MOVED] == 1
    path = pair.regenerated / "records" / "02_training.json"
    write_json(path, read_json(path) | {"tables": {"luck": {"turn": "key", "luck": "share"}}})
    assert pair.counts()[WITHIN] == 1 and pair.passes()


# through the runner


def test_the_committed_study_is_that_of_the_last_commit_whatever_lies_in_the_folder():
    name = "results/study/tables/accuracy.csv"
    git = ["git", "-C", str(paths.REPOSITORY), "show", f"HEAD:{name}"]
    shown = subprocess.run(git, capture_output=True)
    if shown.returncode:
        pytest.skip("not a git checkout")
    with committed_study(paths.RESULTS, Path("study"), as_it_is=False) as (committed, source):
        assert (committed / "tables" / "accuracy.csv").read_bytes() == shown.stdout
        assert not committed.is_relative_to(paths.REPOSITORY)
        assert "results/study of commit " in source
    with committed_study(paths.RESULTS, Path("study"), as_it_is=True) as (committed, _):
        assert committed == paths.RESULTS / "study"


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
    assert "row 6 is missing" in stream.getvalue() and "row 5 is new" in stream.getvalue()
    made = tmp_path / "cache" / "check" / "smoke"
    assert (made / "tables" / "01_first.csv").read_text() == "n_way\n5\n"
    assert "row 5 is new" in (made / "check.md").read_text()
    assert before == {path: path.read_bytes() for path in committed.rglob("*") if path.is_file()}

    table.write_text("n_way\n5\n")
    assert check(request, cold=True, stream=stream) == 0
    assert "Everything was computed from nothing" in stream.getvalue()
    assert not (tmp_path / "cache" / "check" / "cold-cache").exists()

    with pytest.raises(BadParameter, match="takes no -p n_way"):
        check(replace(request, overrides={"n_way": "7"}), stream=stream)
