"""Two versions of a study, held against each other cell by cell; by how much a cell may differ says its unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.storage import read_json
from amfir_lib.units import COLUMNS, UNITS

EQUAL, WITHIN, WARNING, SKIPPED, MOVED = ("equal", "within tolerance", "warning", "not compared", "moved")
MISSING, NEW, EXTRA = "missing", "new", "further file or column"
FAILURES = (MOVED, MISSING, NEW)
REVERSED = ({"better", "worse"}, {"holds", "does not hold"})
CELL = ("table", "row", "column", "committed", "regenerated", "status", "rule", "difference", "tolerance")
EXPORTS = ("tables/*.csv", "figures/*.png", "figures/*.pdf")
SETTINGS = ("parameters", "options", "profile", "environment", "code")


def compare_folders(
    committed: Path, regenerated: Path, *, notebooks: Sequence[str] = (), exact: bool = False
) -> pd.DataFrame:
    """Compare all tables of two studies cell by cell, and which figures there are.

    Args:
        committed: folder with ``tables/``, ``figures/`` and ``records/``.
        regenerated: the same, made anew.
        notebooks: compare only what these made, by their records; empty for everything.
        exact: accept no difference.
    Returns:
        One row per cell, with the columns ``CELL``: ``row`` is named by its keys, ``rule`` is the unit, ``difference``
        (regenerated - committed) and ``tolerance`` are of numbers.  A column, row or file that one version lacks is
        missing or new; a new column or file, which moves nothing, is only named; its row has no cell.
    """
    records = {folder: records_of(folder, notebooks) for folder in (committed, regenerated)}
    before, after = (_exports(folder, of_folder if notebooks else None) for folder, of_folder in records.items())
    if notebooks:  # a table may have moved from one notebook to another, or be declared on one side only
        before |= {name for name in after if (committed / name).exists()}
        after |= {name for name in before if (regenerated / name).exists()}
    declared: dict[str, Mapping[str, str]] = {}
    for record in (record for of_folder in records.values() for record in of_folder.values()):
        declared |= record.get("tables", {})
    seeds = _spread_of_seeds(pd.read_csv(path) for path in sorted((committed / "tables").glob("*.csv")))
    cells = [{"table": name, "status": MISSING} for name in sorted(before - after)]
    cells += [{"table": name, "status": EXTRA} for name in sorted(after - before)]
    for name in sorted(name for name in before & after if name.endswith(".csv")):
        old, new, stem = pd.read_csv(committed / name), pd.read_csv(regenerated / name), Path(name).stem
        cells += compare_tables(stem, old, new, declared.get(stem), seeds=seeds, exact=exact)
    return pd.DataFrame(cells, columns=list(CELL))


def compare_tables(
    name: str,
    committed: pd.DataFrame,
    regenerated: pd.DataFrame,
    units: Mapping[str, str] | None = None,
    *,
    seeds: tuple[float, int] = (0.0, 1),
    exact: bool = False,
) -> list[dict[str, Any]]:
    """The cells of two versions of a table, whose rows are matched by their keys, or in order where these are equal.

    Args:
        units: column -> unit or "key", as the record has it; default: what ``COLUMNS`` says.
        seeds: standard deviation and number of training seeds, for rows that do not state theirs.
        exact: accept no difference, as on the machine that made the study.
    """
    units = {column: COLUMNS.get(column, "text") for column in committed} | dict(units or {})
    shared = [column for column in committed if column in regenerated]
    keys = [column for column in shared if units[column] == "key"]
    before, after = _by_key(committed, keys), _by_key(regenerated, keys)
    cells = []
    for kind, old, new in (("column", committed, regenerated), ("row", before, after)):
        cells += [{"table": name, kind: item, "status": MISSING} for item in old if item not in new]
        cells += [
            {"table": name, kind: item, "status": EXTRA if kind == "column" else NEW} for item in new if item not in old
        ]
    for row in (row for row in before if row in after):
        of_row = []
        for column in (column for column in shared if column not in keys):
            cell = {"table": name, "row": row, "column": column, "rule": units[column]}
            cell |= {"committed": before[row][column], "regenerated": after[row][column]}
            of_row.append(cell | _judge(cell, before[row], seeds, exact=exact))
        _excuse_verdicts(of_row)
        cells += of_row
    return cells


def _by_key(frame: pd.DataFrame, keys: list[str]) -> dict[str, dict[str, Any]]:
    """Rows by their keys as they are printed: ``synth-ssv2, 5, AMFIR``; equal ones are numbered."""
    names = [", ".join(str(v) for v in row if not pd.isna(v)) for row in frame[keys].itertuples(index=False)]
    numbers = pd.Series(names, dtype=str).groupby(names).cumcount() + 1 if names else []
    full = [
        ", ".join(filter(None, (name, f"row {number}" if number > 1 or not name else "")))
        for name, number in zip(names, numbers, strict=True)
    ]
    return dict(zip(full, frame.to_dict("records"), strict=True))


def _judge(cell: Mapping[str, Any], row: Mapping[str, Any], seeds: tuple[float, int], *, exact: bool) -> dict[str, Any]:
    """Status, and for numbers difference and tolerance, of one cell."""
    before, after, unit = cell["committed"], cell["regenerated"], UNITS[cell["rule"]]
    if before == after or (pd.isna(before) and pd.isna(after)):
        return {"status": EQUAL}
    if unit.machine or (unit.floor is None and not exact):
        return {"status": SKIPPED}
    if not all(isinstance(value, int | float) and value == value for value in (before, after)):
        return {"status": MOVED}
    difference, tolerance = float(after) - float(before), 0.0
    if not exact:
        sd, n_seeds = row.get("seed_sd"), row.get("n_seeds")
        sd, n_seeds = seeds if pd.isna(sd) or pd.isna(n_seeds) else (sd, n_seeds)
        error = 2 * sd / np.sqrt(max(1, n_seeds))
        tolerance = float(max(unit.floor, unit.relative * abs(before), unit.errors * error))
    status = WITHIN if abs(difference) <= tolerance else MOVED
    return {"status": status, "difference": difference, "tolerance": tolerance}


def _excuse_verdicts(row: list[dict[str, Any]]) -> None:
    """Make a changed verdict a warning where the numbers of its row account for it and it was not turned around.

    They do if at least one of them changed and none beyond its tolerance, so that an interval's end or a corrected p
    crossed its threshold.
    """
    numbers = [cell for cell in row if cell["rule"] != "verdict"]
    changed = any(cell["status"] == WITHIN or (cell["status"] == SKIPPED and cell["rule"] == "p") for cell in numbers)
    for cell in row:
        turned = {cell["committed"], cell["regenerated"]} in REVERSED
        small = changed and not turned and all(number["status"] != MOVED for number in numbers)
        if cell["rule"] == "verdict" and cell["status"] == MOVED and small:
            cell["status"] = WARNING


def _spread_of_seeds(tables: Iterable[pd.DataFrame]) -> tuple[float, int]:
    """Root mean square of all ``seed_sd`` in tables that state it, as a share, and the usual number of seeds."""
    frames = [frame[["seed_sd", "n_seeds"]].dropna() for frame in tables if {"seed_sd", "n_seeds"} <= {*frame}]
    rows = pd.concat(frames) if frames else pd.DataFrame()
    if rows.empty:
        return 0.0, 1
    return float(np.sqrt(np.square(rows["seed_sd"]).mean())), int(rows["n_seeds"].median())


def _exports(folder: Path, records: Mapping[str, Mapping[str, Any]] | None) -> set[str]:
    """Tables (CSV) and figures below a folder, as ``tables/accuracy.csv``; those of these records, if any are given."""
    names = {path.relative_to(folder).as_posix() for pattern in EXPORTS for path in folder.glob(pattern)}
    return names if records is None else names & {name for r in records.values() for name in r.get("exports", {})}


def records_of(folder: Path, notebooks: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Notebook -> record; of these notebooks, if any are given."""
    files = sorted((folder / "records").glob("*.json"))
    return {path.stem: read_json(path) for path in files if not notebooks or path.stem in notebooks}


def other_settings(committed: Path, regenerated: Path, notebooks: Sequence[str] = ()) -> list[str]:
    """What is not as in the committed records: ``02_training: options differs``."""
    after = records_of(regenerated)
    return [
        f"{name}: {kind} differs"
        for name, record in records_of(committed, notebooks).items()
        for kind in SETTINGS
        if record.get(kind) != after.get(name, {}).get(kind)
    ]
