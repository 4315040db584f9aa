"""The command ``check``: regenerate the committed study into a folder of the cache, compare, and say what moved.

Nothing is read from the committed study but the numbers to compare with: the notebooks run again, all of them, into an
empty folder.  Clips, features and trained runs that this machine computed before are found in its cache, as in any
run; ``cold`` begins with an empty cache instead.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from amfir_lib import paths
from amfir_lib.errors import BadParameter, DataNotFound
from amfir_lib.run import ledger, runner
from amfir_lib.run.clean import folder_lock, tag_cache
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
    other_settings,
    records_of,
)
from amfir_lib.run.notebooks import find_notebooks
from amfir_lib.run.plan import Request, plan
from amfir_lib.storage import write_text
from amfir_lib.units import UNITS

FOLDER, COLD_CACHE = "check", "cold-cache"
SHOWN_CELLS = 5  # of a table


def check(
    request: Request, *, cold: bool = False, exact: bool = False, as_it_is: bool = False, stream: TextIO | None = None
) -> int:
    """Regenerate and compare.

    Args:
        request: which study, and how to compute it; ``only`` selects notebooks.
        cold: begin with an empty cache.
        exact: accept no difference.
        as_it_is: compare with the results folder as it is, not with the last commit of it.
        stream: where to print; default: standard output.
    Returns:
        Exit status: 0 if all is as committed, 1 if not, 130 if interrupted.
    Raises:
        BadParameter: a variant was asked for. DataNotFound: there is no committed study of this kind.
    """
    stream = stream or sys.stdout
    if request.overrides:
        raise BadParameter(
            f"check compares the study as it is committed, so it takes no -p {next(iter(request.overrides))}. "
            "What describes a data set goes with --set NAME=VALUE."
        )
    config = plan(request)[0].config
    study = config.output_dir.relative_to(config.results_dir)
    target = config.cache_dir / FOLDER
    made = target / study
    tag_cache(config.cache_dir)
    with committed_study(config.results_dir, study, as_it_is=as_it_is) as (committed, source):
        notebooks = _notebooks(request, committed, source, stream)
        with folder_lock(made):  # no other check is writing there
            shutil.rmtree(made)
        shutil.rmtree(ledger.entry_path(config.cache_dir, made, "any").parent, ignore_errors=True)  # every one runs
        cache, computed = config.cache_dir, f"Clips, features and trained runs were taken from {config.cache_dir}."
        if cold:
            cache, computed = target / COLD_CACHE, "Everything was computed from nothing, with an empty cache."
            shutil.rmtree(cache, ignore_errors=True)
        print(f"Regenerating into {made}; {source} stays as it is.", file=stream, flush=True)
        environment = request.environment | {"AMFIR_RESULTS_DIR": str(target), "AMFIR_CACHE_DIR": str(cache)}
        status = runner.run(replace(request, only=tuple(notebooks), environment=environment, force=False), stream)
        if status == runner.INTERRUPTED:
            if cold:
                print(f"What is finished goes on with: check --cache-dir {cache}", file=stream)
            return status
        chosen = notebooks if request.only else ()
        cells = compare_folders(committed, made, notebooks=chosen, exact=exact)
        settings = other_settings(committed, made, chosen)
    how = f"Compared with {source}. {computed}"
    how += " Every number must be equal to the last digit (--exact)." if exact else ""
    how += " Some notebooks failed, so what they make is missing." if status else ""
    told = [how, *(["Not made alike:", *(f"    {setting}" for setting in settings)] if settings else []), *lines(cells)]
    print("", *told, sep="\n", file=stream)
    write_text(made / "cells.csv", cells.to_csv(index=False))
    write_text(made / "check.md", "\n".join(["# Check\n\n```", *told, "```\n"]))
    print(f"Every cell: {made / 'cells.csv'}; this text: check.md beside it.", file=stream, flush=True)
    shutil.rmtree(target / COLD_CACHE, ignore_errors=True)
    return 0 if status == 0 and not cells["status"].isin(FAILURES).any() else 1


@contextmanager
def committed_study(results_dir: Path, study: Path, *, as_it_is: bool) -> Iterator[tuple[Path, str]]:
    """The study of the last commit, or the folder itself where git does not know it or the user named it.

    Yields:
        The folder with its tables, figures and records, and what it is, in words.
    """
    folder = results_dir / study
    archive = None if as_it_is else _archive(folder)
    if archive is None:
        if not (folder / "tables").is_dir():
            raise DataNotFound(
                f"There is no study in {folder} to compare with. Name another one (--profile, --dataset), or make it "
                "first and compare with --results-dir DIR."
            )
        yield folder, f"{paths.for_display(folder)} as it lies there"
        return
    commit, content = archive
    with tempfile.TemporaryDirectory(prefix="amfir-") as name:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(name, filter="data")
        yield Path(name) / folder.relative_to(paths.REPOSITORY), f"{paths.for_display(folder)} of commit {commit}"


def _archive(folder: Path) -> tuple[str, bytes] | None:
    """Commit and tar archive of a folder of the repository at the last commit; None where git does not have it."""
    if not folder.is_relative_to(paths.REPOSITORY):
        return None
    name = folder.relative_to(paths.REPOSITORY).as_posix()
    try:
        content, commit = (
            subprocess.run(["git", "-C", str(paths.REPOSITORY), *command], capture_output=True, check=True).stdout
            for command in (["archive", "--format=tar", "HEAD", "--", name], ["rev-parse", "--short", "HEAD"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.decode().strip(), content


def _notebooks(request: Request, committed: Path, source: str, stream: TextIO) -> list[str]:
    """Names of the notebooks to run: those asked for, of those that the committed study has a record of."""
    recorded = records_of(committed).keys()
    found = find_notebooks(request.notebooks)
    wanted = list(find_notebooks(request.notebooks, request.only))
    for name in wanted:
        if name not in recorded:
            print(f"{name} is not checked: {source} has no record of it.", file=stream)
    for name in sorted(recorded - found.keys()):
        print(f"{name} has a committed record, but there is no such notebook any more.", file=stream)
    if not recorded & {*wanted}:
        raise DataNotFound(f"{source} has a record of none of the notebooks {', '.join(wanted)}.")
    return [name for name in wanted if name in recorded]


def lines(cells: pd.DataFrame) -> Iterator[str]:
    """The comparison in plain text, line by line: each table, the rules that were needed, and passed or not."""
    yield ""
    width = cells["table"].str.len().max()
    for table, of_table in cells.groupby("table"):
        counts = of_table["status"].value_counts(sort=False).to_dict()
        moved = not counts.keys().isdisjoint(FAILURES)
        judged = "MOVED" if moved else "same" if counts.keys() <= {EQUAL} else "ok"
        yield f"  {table:<{width}}  {judged:<5}  {', '.join(f'{n} {status}' for status, n in counts.items())}"
        rows = of_table.dropna(how="all", subset=["row", "column"])  # the others are of whole files
        changed = rows[rows["status"].isin((*FAILURES, WARNING, EXTRA))]
        yield from (f"      {_sentence(cell)}" for cell in changed.head(SHOWN_CELLS).itertuples())
        if len(changed) > SHOWN_CELLS:
            yield f"      and {len(changed) - SHOWN_CELLS} more, see cells.csv"
    yield ""
    used = {*cells.loc[cells["status"].isin((WITHIN, WARNING, SKIPPED, MOVED)), "rule"]}
    if used:
        yield "How far numbers may move, and why (equal ones need no rule):"
        yield from (f"    {name}: {unit.reason}" for name, unit in UNITS.items() if name in used)
    counts = cells["status"].value_counts().to_dict()
    text = ", ".join(f"{n} {status}" for status, n in counts.items())
    passed = counts.keys().isdisjoint(FAILURES)
    yield f"The check {'passed' if passed else 'did NOT pass'}. {cells['table'].nunique()} tables and files: {text}."


def _sentence(cell: Any) -> str:
    if cell.status == EXTRA:
        return f"column {cell.column} is new, so there is nothing to compare it with"
    if cell.status in (MISSING, NEW):
        kind, name = ("row", cell.row) if pd.notna(cell.row) else ("column", cell.column)
        return f"{kind} {name} is {cell.status}"
    before, after = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in (cell.committed, cell.regenerated))
    text = f"{cell.row}: {cell.column} {before} -> {after}"
    if cell.status == WARNING:
        return f"{text} (a warning: the numbers of this row are within their tolerance)"
    if pd.isna(cell.difference):
        return text
    return f"{text}, moved {abs(cell.difference):.4g}, tolerance {cell.tolerance:.4g} ({cell.rule})"
