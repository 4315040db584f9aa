"""What a check found: on the screen, and as ``check.md``, ``check.json`` and ``cells.csv``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.records import plain
from amfir_lib.run.checking.compare import EQUAL, MOVED, SKIPPED, WARNING, WITHIN, Cell, Comparison
from amfir_lib.run.checking.folders import Difference
from amfir_lib.run.checking.tolerances import ALL_RULES
from amfir_lib.storage import atomic_write, write_json

SHOWN_CELLS = 5  # of a table, on the screen and in check.md; all of them are in cells.csv
SHOWN_SETTINGS = 12


def lines(found: Difference, *, how: str) -> Iterator[str]:
    """The check in plain text, line by line.

    Args:
        found: what differs.
        how: sentences on what was compared with what, and what was computed for it.
    """
    yield how
    settings = found.settings
    if settings:
        yield "Not made alike:"
        yield from (f"    {one}" for one in settings[:SHOWN_SETTINGS])
        if len(settings) > SHOWN_SETTINGS:
            yield f"    and {len(settings) - SHOWN_SETTINGS} more, see check.json"
    yield ""
    width = max((len(table.table) for table in found.tables), default=0)
    for table in found.tables:
        judged = "same" if _all_equal(table) else "ok" if table.passed else "MOVED"
        yield f"  {table.table:<{width}}  {judged:<5}  {_counts(table)}"
        yield from (f"      {sentence}" for sentence in _sentences(table))
    for name in found.missing:
        yield f"  {name}: MISSING, it was not made"
    for name in found.extra:
        yield f"  {name}: new, the committed study has no such file (no failure)"
    yield f"  figures: {found.n_figures} are there again; their pictures are not compared, the tables behind them are."
    yield ""
    used = {cell.rule for table in found.tables for cell in table.cells if cell.status != EQUAL}
    if used:
        yield "How far numbers may move, and why (equal ones need no rule):"
        yield from (f"    {rule.name}: {rule.reason}" for rule in ALL_RULES if rule.name in used)
        yield (
            f"    sd of training seeds in this study: {100 * found.spread.sd:.2f} points, n = {found.spread.n_seeds}; "
            f"so means may move by {100 * found.spread.mean({}):.1f} points, differences by "
            f"{100 * found.spread.difference({}):.1f}"
        )
    yield conclusion(found)


def conclusion(found: Difference) -> str:
    """One sentence: passed or not, and on what."""
    n_cells = sum(len(table.cells) for table in found.tables)
    count = {status: sum(table.count(status) for table in found.tables) for status in (EQUAL, WITHIN, MOVED)}
    lacking = sum(len(table.lacking) for table in found.tables)
    text = f"{len(found.tables)} tables, {n_cells} cells: {count[EQUAL]} equal, {count[WITHIN]} within tolerance"
    warned = f", {found.n_warnings} verdicts changed within tolerance" if found.n_warnings else ""
    if found.passed:
        return f"The check passed. {text}{warned}."
    what = [
        f"{count[MOVED]} cells moved beyond tolerance" if count[MOVED] else "",
        f"{lacking} rows or columns are missing or new" if lacking else "",
        f"{len(found.missing)} files are missing" if found.missing else "",
    ]
    return f"The check did NOT pass: {', '.join(filter(None, what))}. {text}{warned}."


def write(found: Difference, folder: Path, *, how: str) -> None:
    """Write ``check.md``, ``check.json`` and ``cells.csv`` (one row per cell) into a folder."""
    cells = [cell for table in found.tables for cell in table.cells]
    with atomic_write(folder / "cells.csv") as temporary:
        pd.DataFrame([asdict(cell) for cell in cells]).to_csv(temporary, index=False)
    with atomic_write(folder / "check.md") as temporary:
        text = "\n".join(lines(found, how=how))
        temporary.write_text(f"# Check\n\n```\n{text}\n```\n", encoding="utf-8")
    write_json(folder / "check.json", _as_json(found, how))


def _as_json(found: Difference, how: str) -> dict[str, Any]:
    tables = [
        {
            "table": table.table,
            "passed": table.passed,
            "cells": len(table.cells),
            "counts": {status: table.count(status) for status in (EQUAL, WITHIN, WARNING, MOVED, SKIPPED)},
            "lacking": list(table.lacking),
            "moved": [asdict(cell) for cell in _worst(table)],
        }
        for table in found.tables
    ]
    return plain(
        {
            "passed": found.passed,
            "conclusion": conclusion(found),
            "how": how,
            "tables": tables,
            "missing": list(found.missing),
            "extra": list(found.extra),
            "settings": list(found.settings),
            "spread": asdict(found.spread),
            "rules": {rule.name: rule.reason for rule in ALL_RULES},
        }
    )


def _all_equal(table: Comparison) -> bool:
    return table.passed and table.count(EQUAL) == len(table.cells)


def _counts(table: Comparison) -> str:
    parts = [f"{table.count(status)} {status}" for status in (EQUAL, WITHIN, WARNING, MOVED, SKIPPED)]
    return f"{len(table.cells)} cells: " + ", ".join(part for part in parts if not part.startswith("0 "))


def _worst(table: Comparison) -> list[Cell]:
    """Moved cells, those first that exceed their tolerance most; verdicts and words before numbers; then warnings."""

    def order(cell: Cell) -> tuple[bool, float]:
        excess = float("inf") if cell.difference is None else abs(cell.difference) / max(cell.tolerance or 0, 1e-12)
        return cell.status == WARNING, -excess

    return sorted((cell for cell in table.cells if cell.status in (MOVED, WARNING)), key=order)


def _sentences(table: Comparison) -> Iterator[str]:
    yield from table.lacking[:SHOWN_CELLS]
    if len(table.lacking) > SHOWN_CELLS:
        yield f"and {len(table.lacking) - SHOWN_CELLS} more rows or columns, see check.json"
    worst = _worst(table)
    for cell in worst[:SHOWN_CELLS]:
        where = f"{cell.row}: {cell.column}"
        text = f"{where} {_shown(cell.committed)} -> {_shown(cell.regenerated)}"
        if cell.status == WARNING:
            text += " (a warning: the numbers of this row are within their tolerance)"
        elif cell.difference is not None:
            text += f", moved {abs(cell.difference):.4g}, tolerance {cell.tolerance:.4g} ({cell.rule})"
        yield text
    if len(worst) > SHOWN_CELLS:
        yield f"and {len(worst) - SHOWN_CELLS} more cells, see cells.csv"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
