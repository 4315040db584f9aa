"""Two versions of a study, held against each other cell by cell; by how much a cell may differ says its unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.storage import read_json
from amfir_lib.units import COLUMNS, UNITS

EQUAL, WITHIN, WARNING, MOVED, SKIPPED = STATUSES = ("equal", "within tolerance", "warning", "moved", "not compared")
REVERSED = ({"better", "worse"}, {"holds", "does not hold"})
CELL = ("table", "row", "column", "committed", "regenerated", "status", "rule", "difference", "tolerance")
EXPORTS = ("tables/*.csv", "figures/*.png", "figures/*.pdf")


@dataclass(frozen=True)
class Spread:
    """How far training seeds lie apart in the committed study, for tables that do not state it row by row.

    Attributes:
        sd: root mean square of all committed ``seed_sd``, as a share; 0 where no table has one.
        n_seeds: training seeds behind a mean.
    """

    sd: float = 0.0
    n_seeds: int = 1

    @classmethod
    def of(cls, tables: Iterable[pd.DataFrame]) -> Spread:
        """The spread in all tables that have the columns ``seed_sd`` and ``n_seeds``."""
        frames = [frame[["seed_sd", "n_seeds"]].dropna() for frame in tables if {"seed_sd", "n_seeds"} <= {*frame}]
        rows = pd.concat(frames) if frames else pd.DataFrame()
        if rows.empty:
            return cls()
        return cls(float(np.sqrt(np.square(rows["seed_sd"]).mean())), max(1, int(rows["n_seeds"].median())))

    def errors(self, row: Mapping[str, Any]) -> float:
        """Two standard errors of the mean over training seeds: with the row's ``seed_sd``, else the study's."""
        sd, n_seeds = row.get("seed_sd"), row.get("n_seeds")
        if pd.isna(sd) or pd.isna(n_seeds):
            sd, n_seeds = self.sd, self.n_seeds
        return 2 * sd / np.sqrt(max(1, n_seeds))


@dataclass(frozen=True)
class Difference:
    """Everything in which two studies differ.

    Attributes:
        cells: one row per cell that both have, with the columns ``CELL``; ``row`` is named by its keys, ``rule`` is
            the unit, ``difference`` (regenerated - committed) and ``tolerance`` are of numbers.
        lacking: table that both have -> a sentence for each row or column that one version lacks.
        missing: exports (tables and figures) of the committed study that were not made.
        extra: exports that the committed study lacks.
        n_figures: figures that both have; their pictures are not compared.
        settings: what is not as in the committed records: parameters, machine, packages, code.
        spread: of the training seeds of the committed study.
    """

    cells: pd.DataFrame
    lacking: Mapping[str, Sequence[str]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    n_figures: int = 0
    settings: tuple[str, ...] = ()
    spread: Spread = Spread()

    def count(self, status: str, table: str | None = None) -> int:
        """Number of cells of one status, in one table or in all."""
        hits = self.cells["status"] == status
        return int((hits if table is None else hits & (self.cells["table"] == table)).sum())

    @property
    def passed(self) -> bool:
        """Nothing is missing and no cell moved; extra exports and warnings do not count."""
        return not (self.missing or any(self.lacking.values()) or self.count(MOVED))


def compare_folders(
    committed: Path, regenerated: Path, *, notebooks: Sequence[str] = (), exact: bool = False
) -> Difference:
    """Compare all tables of two studies cell by cell, and which figures there are.

    Args:
        committed: folder with ``tables/``, ``figures/`` and ``records/``.
        regenerated: the same, made anew.
        notebooks: compare only what these made, by their records; empty for everything.
        exact: accept no difference.
    """
    old_records, new_records = _records(committed, notebooks), _records(regenerated, notebooks)
    before = _exports(committed, old_records if notebooks else None)
    after = _exports(regenerated, new_records if notebooks else None)
    if notebooks:  # a table may have moved from one notebook to another, or be declared on one side only
        before |= {name for name in after if (committed / name).exists()}
        after |= {name for name in before if (regenerated / name).exists()}
    declared: dict[str, Mapping[str, str]] = {}
    for record in (*old_records.values(), *new_records.values()):
        declared |= record.get("tables", {})
    spread = Spread.of(pd.read_csv(path) for path in sorted((committed / "tables").glob("*.csv")))
    cells, lacking = [], {}
    for name in sorted(name for name in before & after if name.endswith(".csv")):
        old, new, stem = pd.read_csv(committed / name), pd.read_csv(regenerated / name), Path(name).stem
        found, lacking[stem] = compare_tables(stem, old, new, declared.get(stem), spread=spread, exact=exact)
        cells += found
    return Difference(
        cells=pd.DataFrame(cells, columns=list(CELL)),
        lacking=lacking,
        missing=tuple(sorted(before - after)),
        extra=tuple(sorted(after - before)),
        n_figures=sum(not name.endswith(".csv") for name in before & after),
        settings=tuple(
            f"{name}: {kind} differs"
            for name, record in old_records.items()
            for kind in ("parameters", "options", "profile", "environment", "code")
            if record.get(kind) != new_records.get(name, {}).get(kind)
        ),
        spread=spread,
    )


def compare_tables(
    name: str, committed: pd.DataFrame, regenerated: pd.DataFrame, units: Mapping[str, str] | None = None, *,
    spread: Spread | None = None, exact: bool = False,
) -> tuple[list[dict[str, Any]], list[str]]:  # fmt: skip
    """Match the rows of two versions of a table by their keys, or in order where no key tells them apart.

    Args:
        name: of the table.
        committed, regenerated: as it was published, and as it is now.
        units: column -> unit or "key", as the record has it; default: what ``COLUMNS`` says.
        spread: of training seeds, for the tolerances.
        exact: accept no difference, as on the machine that made the study.
    Returns:
        The cells that both have, and what only one has, as in :class:`Difference`.
    """
    units = {column: COLUMNS.get(column, "text") for column in committed} | dict(units or {})
    columns = [column for column in committed if column in regenerated]
    lacking = [f"column {column} is missing" for column in committed if column not in regenerated]
    lacking += [f"column {column} is new" for column in regenerated if column not in committed]
    keys = [column for column in columns if units[column] == "key"]
    before, after = _by_key(committed, keys), _by_key(regenerated, keys)
    lacking += [f"row {row} is missing" for row in before if row not in after]
    lacking += [f"row {row} is new" for row in after if row not in before]
    cells = []
    for row in (row for row in before if row in after):
        of_row = []
        for column in (column for column in columns if column not in keys):
            values = before[row][column], after[row][column]
            judged = _judge(units[column], *values, before[row], spread or Spread(), exact)
            cell = {"table": name, "row": row, "column": column, "rule": units[column]}
            of_row.append(cell | dict(zip(("committed", "regenerated"), values, strict=True)) | judged)
        _excuse_verdicts(of_row)
        cells += of_row
    return cells, lacking


def _by_key(frame: pd.DataFrame, keys: list[str]) -> dict[str, dict[str, Any]]:
    """Rows by their keys as they are printed: ``synth-ssv2, 5, AMFIR``; equal ones are numbered."""
    rows: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for row in frame.to_dict("records"):
        name = ", ".join(str(row[column]) for column in keys if not pd.isna(row[column]))
        seen[name] = seen.get(name, 0) + 1
        number = f"row {seen[name]}" if seen[name] > 1 or not name else ""
        rows[", ".join(filter(None, (name, number)))] = row
    return rows


def _judge(name: str, before: Any, after: Any, row: Mapping[str, Any], spread: Spread, exact: bool) -> dict[str, Any]:
    """Status, and for numbers difference and tolerance, of one cell."""
    unit = UNITS[name]
    if before == after or (pd.isna(before) and pd.isna(after)):
        return {"status": EQUAL}
    if unit.machine or (unit.floor is None and not exact):
        return {"status": SKIPPED}
    if not all(isinstance(value, int | float) and value == value for value in (before, after)):
        return {"status": MOVED}
    difference, tolerance = float(after) - float(before), 0.0
    if not exact:
        tolerance = float(max(unit.floor, unit.relative * abs(before), unit.errors * spread.errors(row)))
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


def _exports(folder: Path, records: Mapping[str, Mapping[str, Any]] | None) -> set[str]:
    """Tables (CSV) and figures below a folder, as ``tables/accuracy.csv``; those of these records, if any are given."""
    names = {path.relative_to(folder).as_posix() for pattern in EXPORTS for path in folder.glob(pattern)}
    return names if records is None else names & {name for r in records.values() for name in r.get("exports", {})}


def _records(folder: Path, notebooks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Notebook -> record."""
    files = sorted((folder / "records").glob("*.json"))
    return {path.stem: read_json(path) for path in files if not notebooks or path.stem in notebooks}
