"""The tables of two folders of results, cell by cell; a renamed column is recognised by its values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

# what belongs to the machine, or is no number
MEASURED = re.compile(r"seconds|minutes|_ms$|^ms |_s$|memory|per_second|^time|command")
DESIGN = ("dataset", "n_way", "n_shot", "basis", "method", "series", "other", "key", "stream", "choice", "score")


def compare_results(before: Path, after: Path) -> Iterator[str]:
    """A line for each difference, and one with what was compared.

    Args:
        before, after: folders with ``tables/*.csv`` and ``figures/*.csv``.
    """
    n_equal = n_tables = 0
    for path in sorted([*before.glob("tables/*.csv"), *before.glob("figures/*.csv")]):
        name = path.relative_to(before).as_posix()
        other = after / name
        if not other.exists():
            yield f"{name}: only before"
            continue
        n_tables += 1
        for line in compare_tables(pd.read_csv(path, dtype=str), pd.read_csv(other, dtype=str)):
            if isinstance(line, int):
                n_equal += line
            else:
                yield f"{name}: {line}"
    for line in compare_claims(before, after):
        yield f"claims: {line}"
    yield f"{n_tables} tables with {n_equal} equal cells"


def compare_tables(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[str | int]:
    """Differences of two tables as sentences, and last the number of equal cells."""
    names = renamed(before, after)
    for column in before:
        if column not in names and not MEASURED.search(column):
            yield f"column {column} is gone"
    after = after[list(names.values())].set_axis(list(names), axis=1)
    before = before[list(names)]
    if len(before) != len(after):
        yield f"{len(before)} rows before, {len(after)} after"
        return
    design = [column for column in before if column in DESIGN or column.startswith("n_")]
    if design and not (before[design].fillna("") == after[design].fillna("")).all(axis=None):
        order = [frame.fillna("").sort_values(design, kind="stable").index for frame in (before, after)]
        before, after = before.loc[order[0]].reset_index(drop=True), after.loc[order[1]].reset_index(drop=True)
    n_equal = 0
    for column in before:
        if MEASURED.search(column):
            continue
        same = equal(before[column], after[column])
        n_equal += int(same.sum())
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            texts = before[column].iloc[row], after[column].iloc[row]
            yield f"{column}: {int((~same).sum())} of {len(same)} cells differ, first {texts[0]} -> {texts[1]}"
    yield n_equal


def renamed(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, str]:
    """Column before -> column after: the same name, or else a new column with the same values in some order."""
    names = {column: column for column in before if column in after}
    new = [column for column in after if column not in before]
    for column in before:
        if column not in names:
            values = sorted(before[column].fillna("").astype(str))
            match = next((other for other in new if sorted(after[other].fillna("").astype(str)) == values), None)
            if match is not None:
                names[column] = match
                new.remove(match)
    return names


def equal(before: pd.Series, after: pd.Series) -> np.ndarray:
    """Which cells are the same: as text, or as the same floating-point number."""
    same = (before.fillna("") == after.fillna("")).to_numpy()
    numbers = [pd.to_numeric(column, errors="coerce").to_numpy(dtype=float) for column in (before, after)]
    return same | (numbers[0] == numbers[1])


def compare_claims(before: Path, after: Path) -> Iterator[str]:
    """Claims of all records: the same keys and bases with the same verdicts and values."""
    claims = [_claims(folder) for folder in (before, after)]
    for place, (verdict, value) in claims[0].items():
        new = claims[1].get(place)
        if new is None:
            yield f"{place} is gone"
        elif new != (verdict, value):
            yield f"{place}: {verdict}, {value} -> {new[0]}, {new[1]}"


def _claims(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    found = {}
    for path in sorted(folder.glob("records/*.json")):
        for claim in json.loads(path.read_text())["numbers"].get("claims") or []:
            found[claim["key"], claim["basis"]] = claim["verdict"], claim["value"]
    return found
