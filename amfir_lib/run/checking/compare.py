"""Two versions of one table, held against each other cell by cell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.run.checking.tolerances import RELATIVE, TEXT, VERDICT, Spread, rule_for

EQUAL, WITHIN, WARNING, MOVED, SKIPPED = "equal", "within tolerance", "warning", "moved", "not compared"
DESIGN = re.compile(r"^(n_)?(ways?|shots?)$|^(n_query|seed|fold|step|d|t|width|patches|k)$")
VERDICTS = re.compile(r"verdict|^met$|^holds$|^earned$")
REVERSED = ({"better", "worse"}, {"holds", "does not hold"})
NUMBER = re.compile(r"(?<![\w.])[+\-−–]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]*[A-Za-z_])")


@dataclass(frozen=True)
class Cell:
    """One cell of a table in both versions.

    Attributes:
        table, row, column: where it is; the row is named by its key.
        committed, regenerated: the two values.
        status: EQUAL, WITHIN, WARNING, MOVED or SKIPPED.
        rule: name of the rule.
        difference: regenerated - committed, for numbers.
        tolerance: largest accepted |difference|, for numbers.
    """

    table: str
    row: str
    column: str
    committed: Any
    regenerated: Any
    status: str
    rule: str
    difference: float | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What was found in one table.

    Attributes:
        table: its name.
        cells: every cell that both versions have.
        lacking: a sentence for each row or column that one version lacks.
    """

    table: str
    cells: tuple[Cell, ...]
    lacking: tuple[str, ...] = ()

    def count(self, status: str) -> int:
        """Number of cells of one status."""
        return sum(cell.status == status for cell in self.cells)

    @property
    def passed(self) -> bool:
        """No cell moved beyond its tolerance, and nothing is missing or extra."""
        return not self.lacking and not self.count(MOVED)


def compare_tables(
    name: str, committed: pd.DataFrame, regenerated: pd.DataFrame, spread: Spread, *, exact: bool = False
) -> Comparison:
    """Match the rows of two versions of a table by their keys and compare every cell.

    The key is the shortest sequence of text and design columns, from the left, that tells the committed rows apart;
    rows that no such column tells apart are matched in order.

    Args:
        name: of the table.
        committed: as it was published.
        regenerated: as it is now.
        spread: of training seeds, for the tolerances.
        exact: accept no difference, as on the machine that made the study.
    """
    columns = [column for column in committed if column in regenerated]
    lacking = [f"column {column} is missing" for column in committed if column not in regenerated]
    lacking += [f"column {column} is new" for column in regenerated if column not in committed]
    key = key_columns(committed[columns])
    before, after = _by_key(committed, key), _by_key(regenerated, key)
    lacking += [f"row {label(row)} is missing" for row in before if row not in after]
    lacking += [f"row {label(row)} is new" for row in after if row not in before]
    whole = {column: _is_whole(committed[column]) and _is_whole(regenerated[column]) for column in columns}
    cells: list[Cell] = []
    for row, old in before.items():
        if row in after:
            new = after[row]
            where = {"table": name, "row": label(row)}
            rest = [column for column in columns if column not in key]
            verdicts = [c for c in rest if _is_verdict(c, committed[c])]
            own = [_cell(where | {"column": c}, old, new, whole[c], spread, exact) for c in rest if c not in verdicts]
            cells += own + [_verdict(where | {"column": c}, old[c], new[c], own) for c in verdicts]
    return Comparison(name, tuple(cells), tuple(lacking))


def key_columns(frame: pd.DataFrame) -> list[str]:
    """The columns by which rows are matched; see ``compare_tables``."""
    key: list[str] = []
    n_rows = 1 if len(frame) else 0
    for column in frame:
        text = not pd.api.types.is_numeric_dtype(frame[column]) and not _is_verdict(column, frame[column])
        if (text or DESIGN.search(column.lower())) and n_rows < len(frame):
            n_with = len(frame[[*key, column]].drop_duplicates())
            if n_with > n_rows:
                key, n_rows = [*key, column], n_with
    return key


def label(row: tuple[str, ...]) -> str:
    """A row's key, as it is printed: ``synth-ssv2, 5, AMFIR``."""
    *values, number = row
    number = f"row {number + 1}" if number or not values else ""
    return ", ".join(filter(None, [*map(str, values), number]))


def _by_key(frame: pd.DataFrame, key: list[str]) -> dict[tuple, dict[str, Any]]:
    """Key and number among equals -> row."""
    rows: dict[tuple, dict[str, Any]] = {}
    seen: dict[tuple, int] = {}
    for row in frame.to_dict("records"):
        values = tuple("" if pd.isna(row[column]) else row[column] for column in key)
        rows[(*values, seen.setdefault(values, 0))] = row
        seen[values] += 1
    return rows


def _is_whole(column: pd.Series) -> bool:
    return pd.api.types.is_integer_dtype(column)


def _is_verdict(name: str, column: pd.Series) -> bool:
    return bool(VERDICTS.search(name.lower())) or pd.api.types.is_bool_dtype(column)


def _cell(
    where: dict[str, str], old: dict[str, Any], new: dict[str, Any], whole: bool, spread: Spread, exact: bool
) -> Cell:
    before, after = old[where["column"]], new[where["column"]]
    if isinstance(before, str) or isinstance(after, str):
        return _text(where, before, after, spread, exact)
    rule = rule_for(where["table"], where["column"], whole=whole)
    if rule.allowed is None:
        status = EQUAL if before == after else SKIPPED
        return Cell(**where, committed=before, regenerated=after, status=status, rule=rule.name)
    if pd.isna(before) or pd.isna(after):
        status = EQUAL if pd.isna(before) and pd.isna(after) else MOVED
        return Cell(**where, committed=before, regenerated=after, status=status, rule=rule.name)
    difference = float(after) - float(before)
    tolerance = 0.0 if exact else float(rule.allowed(float(before), old, spread))
    status = EQUAL if difference == 0 else WITHIN if abs(difference) <= tolerance else MOVED
    return Cell(**where, committed=before, regenerated=after, status=status, rule=rule.name,
                difference=difference, tolerance=tolerance)  # fmt: skip


def _text(where: dict[str, str], before: Any, after: Any, spread: Spread, exact: bool) -> Cell:
    """Words must be equal, numbers inside them near: ``+1.2 ± 0.8 points`` and ``+1.3 ± 0.8 points``."""
    cell = {**where, "committed": before, "regenerated": after, "rule": TEXT.name}
    if before == after or (pd.isna(before) and pd.isna(after)):
        return Cell(**cell, status=EQUAL)
    if not isinstance(before, str) or not isinstance(after, str) or NUMBER.sub("#", before) != NUMBER.sub("#", after):
        return Cell(**cell, status=MOVED)
    pairs = [(_number(a), _number(b)) for a, b in zip(NUMBER.findall(before), NUMBER.findall(after), strict=True)]
    in_points = any(mark in before for mark in ("%", "±", "point"))
    points = 100 * spread.difference({}) if in_points else 0.0
    excess = [abs(b - a) - max(points, RELATIVE * abs(a)) for a, b in pairs]
    worst = int(np.argmax(excess))
    difference, tolerance = pairs[worst][1] - pairs[worst][0], max(points, RELATIVE * abs(pairs[worst][0]))
    rounding = 1e-9  # of the decimals that are written
    status = WITHIN if not exact and abs(difference) <= tolerance + rounding else MOVED
    return Cell(**cell, status=status, difference=difference, tolerance=0.0 if exact else tolerance)


def _number(text: str) -> float:
    return float(text.replace("−", "-").replace("–", "-"))


def _verdict(where: dict[str, str], before: Any, after: Any, row: list[Cell]) -> Cell:
    """Compare a verdict.

    A changed one is a warning only where the numbers of its row account for it (at least one of them changed, none
    beyond its tolerance, so an interval's end or a corrected p-value crossed its threshold) and it was not turned into
    its opposite.
    """
    same = before == after or (pd.isna(before) and pd.isna(after))
    changed = any(cell.status == WITHIN or (cell.status == SKIPPED and cell.rule == "p-value") for cell in row)
    small = changed and all(cell.status != MOVED for cell in row) and {before, after} not in REVERSED
    return Cell(**where, committed=before, regenerated=after, rule=VERDICT.name,
                status=EQUAL if same else WARNING if small else MOVED)  # fmt: skip
