"""Two studies, committed and regenerated: which tables and figures there are, and what moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.run.checking.compare import WARNING, Comparison, compare_tables
from amfir_lib.run.checking.tolerances import Spread
from amfir_lib.storage import read_json

SUFFIXES = {"tables": (".csv",), "figures": (".png", ".pdf", ".svg")}


@dataclass(frozen=True)
class Difference:
    """Everything in which two studies differ.

    Attributes:
        tables: one comparison per table that both have.
        missing: exports (tables and figures) of the committed study that were not made.
        extra: exports that the committed study lacks.
        n_figures: figures that both have; their pictures are not compared.
        settings: sentences about parameters, machine and code that are not those of the committed records.
        spread: of the training seeds of the committed study.
    """

    tables: tuple[Comparison, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    n_figures: int
    settings: tuple[str, ...]
    spread: Spread

    @property
    def passed(self) -> bool:
        """Nothing is missing and no table moved; extra exports and warnings do not count."""
        return not self.missing and all(table.passed for table in self.tables)

    @property
    def n_warnings(self) -> int:
        """Verdicts that changed sides within the tolerance of their numbers."""
        return sum(table.count(WARNING) for table in self.tables)


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
    before, after = _exports(committed, notebooks), _exports(regenerated, notebooks)
    if notebooks:  # a table may have moved from one notebook to another, or be declared on one side only
        before |= {name for name in after if (committed / name).exists()}
        after |= {name for name in before if (regenerated / name).exists()}
    old = {name: pd.read_csv(committed / name) for name in sorted(before) if name.endswith(".csv")}
    spread = Spread.of(pd.read_csv(path) for path in sorted((committed / "tables").glob("*.csv")))
    tables = [
        compare_tables(Path(name).stem, frame, pd.read_csv(regenerated / name), spread, exact=exact)
        for name, frame in old.items()
        if name in after
    ]
    return Difference(
        tables=tuple(tables),
        missing=tuple(sorted(before - after)),
        extra=tuple(sorted(after - before)),
        n_figures=sum(not name.endswith(".csv") for name in before & after),
        settings=tuple(_settings(committed, regenerated, notebooks)),
        spread=spread,
    )


def _exports(folder: Path, notebooks: Sequence[str]) -> set[str]:
    """Tables (CSV) and figures below a folder, as ``tables/accuracy.csv``."""
    if notebooks:
        names = {name for record in _records(folder, notebooks).values() for name in record.get("exports", {})}
        names = {name for name in names if (folder / name).exists()}
    else:
        files = [*(folder / "tables").glob("*"), *(folder / "figures").glob("*")]
        names = {path.relative_to(folder).as_posix() for path in files}
    return {name for name in names if Path(name).suffix in SUFFIXES.get(Path(name).parts[0], ())}


def _records(folder: Path, notebooks: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Notebook -> record."""
    paths = sorted((folder / "records").glob("*.json"))
    return {path.stem: read_json(path) for path in paths if not notebooks or path.stem in notebooks}


def _settings(committed: Path, regenerated: Path, notebooks: Sequence[str]) -> Iterable[str]:
    """Say what differs before any number does: parameters, profile, machine, packages, code."""
    before, after = _records(committed, notebooks), _records(regenerated, notebooks)
    said = set()
    for name in before:
        if name not in after:
            yield f"{name} left no record"
            continue
        for kind in ("parameters", "options", "profile"):
            for change in _changes(before[name].get(kind, {}), after[name].get(kind, {})):
                yield f"{name}: {change}"
        for kind in ("environment", "code"):
            for change in _changes(before[name].get(kind, {}), after[name].get(kind, {})):
                if change not in said:
                    said.add(change)
                    yield change


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    flat_before, flat_after = _flat(before), _flat(after)
    return [
        f"{name} was {flat_before.get(name)}, now {flat_after.get(name)}"
        for name in sorted(flat_before.keys() | flat_after.keys())
        if flat_before.get(name) != flat_after.get(name)
    ]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {key: value}
    return flat
