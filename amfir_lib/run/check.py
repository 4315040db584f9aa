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
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

import pandas as pd

from amfir_lib import paths
from amfir_lib.errors import BadParameter, DataNotFound
from amfir_lib.run import ledger, runner
from amfir_lib.run.clean import folder_lock, tag_cache
from amfir_lib.run.compare import EQUAL, MOVED, STATUSES, WARNING, WITHIN, Difference, compare_folders
from amfir_lib.run.notebooks import find_notebooks
from amfir_lib.run.plan import Request, plan
from amfir_lib.storage import write_json, write_text
from amfir_lib.units import POINT, UNITS

FOLDER, COLD_CACHE = "check", "cold-cache"
SHOWN_CELLS = 5  # of a table, on the screen and in check.md; all of them are in cells.csv


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
        found = compare_folders(committed, made, notebooks=notebooks if request.only else (), exact=exact)
    how = f"Compared with {source}. {computed}"
    how += " Every number must be equal to the last digit (--exact)." if exact else ""
    how += " Some notebooks failed, so what they make is missing." if status else ""
    print("", *lines(found, how=how), sep="\n", file=stream)
    write(found, made, how=how)
    print(f"Every cell: {made / 'cells.csv'}; this text: check.md beside it.", file=stream, flush=True)
    shutil.rmtree(target / COLD_CACHE, ignore_errors=True)
    return 0 if found.passed and status == 0 else 1


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
    recorded = {path.stem for path in (committed / "records").glob("*.json")}
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


def lines(found: Difference, *, how: str) -> Iterator[str]:
    """The check in plain text, line by line; ``how`` says what was compared with what."""
    yield how
    if found.settings:
        yield "Not made alike:"
        yield from (f"    {setting}" for setting in found.settings)
    yield ""
    width = max(map(len, found.lacking), default=0)
    for table in found.lacking:
        counts = {status: n for status in STATUSES if (n := found.count(status, table))}
        moved = MOVED in counts or found.lacking[table]
        judged = "MOVED" if moved else "same" if counts.keys() <= {EQUAL} else "ok"
        text = ", ".join(f"{n} {status}" for status, n in counts.items())
        yield f"  {table:<{width}}  {judged:<5}  {sum(counts.values())} cells: {text}"
        yield from (f"      {sentence}" for sentence in _sentences(found, table))
    yield from (f"  {name}: MISSING, it was not made" for name in found.missing)
    yield from (f"  {name}: new, the committed study has no such file (no failure)" for name in found.extra)
    yield f"  figures: {found.n_figures} are there again; their pictures are not compared, the tables behind them are."
    yield ""
    used = {*found.cells["rule"][found.cells["status"] != EQUAL]}
    if used:
        errors = 100 * max(POINT, found.spread.errors({}))
        yield "How far numbers may move, and why (equal ones need no rule):"
        yield from (f"    {name}: {unit.reason}" for name, unit in UNITS.items() if name in used)
        yield (
            f"    sd of training seeds in this study: {100 * found.spread.sd:.2f} points, n = {found.spread.n_seeds}; "
            f"so means may move by {errors:.1f} points"
        )
    yield conclusion(found)


def conclusion(found: Difference) -> str:
    """One sentence: passed or not, and on what."""
    text = f"{len(found.lacking)} tables, {len(found.cells)} cells: {found.count(EQUAL)} equal, {found.count(WITHIN)} "
    text += "within tolerance"
    text += f", {found.count(WARNING)} verdicts changed within tolerance" if found.count(WARNING) else ""
    failures = {
        "cells moved beyond tolerance": found.count(MOVED),
        "rows or columns are missing or new": sum(map(len, found.lacking.values())),
        "files are missing": len(found.missing),
    }
    failed = ", ".join(f"{number} {failure}" for failure, number in failures.items() if number)
    return f"The check did NOT pass: {failed}. {text}." if failed else f"The check passed. {text}."


def write(found: Difference, folder: Path, *, how: str) -> None:
    """Write ``check.md``, ``check.json`` and ``cells.csv`` (one row per cell) into a folder."""
    write_text(folder / "cells.csv", found.cells.to_csv(index=False))
    write_text(folder / "check.md", "\n".join(["# Check\n\n```", *lines(found, how=how), "```\n"]))
    facts = {name: value for name, value in vars(found).items() if name != "cells"} | {"spread": asdict(found.spread)}
    counts = {table: {status: found.count(status, table) for status in STATUSES} for table in found.lacking}
    rules = {name: unit.reason for name, unit in UNITS.items()}
    summary = {"passed": found.passed, "conclusion": conclusion(found), "how": how, "counts": counts, "rules": rules}
    write_json(folder / "check.json", summary | facts)


def _sentences(found: Difference, table: str) -> Iterator[str]:
    lacking, cells = found.lacking[table], found.cells[found.cells["table"] == table]
    changed = pd.concat([cells[cells["status"] == status] for status in (MOVED, WARNING)])
    yield from lacking[:SHOWN_CELLS]
    if len(lacking) > SHOWN_CELLS:
        yield f"and {len(lacking) - SHOWN_CELLS} more rows or columns, see check.json"
    for cell in changed[:SHOWN_CELLS].itertuples():
        before, after = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in (cell.committed, cell.regenerated))
        text = f"{cell.row}: {cell.column} {before} -> {after}"
        if cell.status == WARNING:
            text += " (a warning: the numbers of this row are within their tolerance)"
        elif pd.notna(cell.difference):
            text += f", moved {abs(cell.difference):.4g}, tolerance {cell.tolerance:.4g} ({cell.rule})"
        yield text
    if len(changed) > SHOWN_CELLS:
        yield f"and {len(changed) - SHOWN_CELLS} more cells, see cells.csv"
