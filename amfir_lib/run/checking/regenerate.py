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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from amfir_lib import paths
from amfir_lib.errors import BadParameter, DataNotFound
from amfir_lib.run import ledger, runner
from amfir_lib.run.checking import verdict
from amfir_lib.run.checking.folders import compare_folders
from amfir_lib.run.housekeeping import tag_cache
from amfir_lib.run.lock import folder_lock
from amfir_lib.run.notebooks import find_notebooks, select_notebooks

FOLDER, COLD_CACHE = "check", "cold-cache"


@dataclass(frozen=True)
class Committed:
    """The study to compare with.

    Attributes:
        folder: where its tables, figures and records lie.
        source: what it is, in words.
    """

    folder: Path
    source: str


def check(
    request: runner.Request, *, cold: bool = False, exact: bool = False, as_it_is: bool = False,
    stream: TextIO | None = None,
) -> int:  # fmt: skip
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
    config = runner.plan(request)[0].config
    study = config.output_dir.relative_to(config.results_dir)
    target = config.cache_dir / FOLDER
    tag_cache(config.cache_dir)
    with _committed(config.results_dir, study, as_it_is=as_it_is) as committed:
        notebooks = _notebooks(request, committed, stream)
        _empty(target / study, config.cache_dir)
        places = {"AMFIR_RESULTS_DIR": str(target), "AMFIR_CACHE_DIR": str(config.cache_dir)}
        computed = f"Clips, features and trained runs were taken from {config.cache_dir} where it holds them."
        if cold:
            shutil.rmtree(target / COLD_CACHE, ignore_errors=True)
            places["AMFIR_CACHE_DIR"] = str(target / COLD_CACHE)
            computed = "Everything was computed from nothing, with an empty cache."
        print(f"Regenerating into {target / study}; {committed.source} stays as it is.", file=stream, flush=True)
        environment = request.environment | places
        status = runner.run(replace(request, only=tuple(notebooks), environment=environment, force=False), stream)
        if status == runner.INTERRUPTED:
            if cold:
                print(f"What is finished goes on with: check --cache-dir {target / COLD_CACHE}", file=stream)
            return status
        found = compare_folders(
            committed.folder, target / study, notebooks=notebooks if request.only else (), exact=exact
        )
    failed = " Some notebooks failed, so what they make is missing." if status else ""
    rule = " Every number must be equal to the last digit (--exact)." if exact else ""
    how = f"Compared with {committed.source}. {computed}{rule}{failed}"
    print("", *verdict.lines(found, how=how), sep="\n", file=stream)
    verdict.write(found, target / study, how=how)
    print(f"Every cell: {target / study / 'cells.csv'}; this text: check.md beside it.", file=stream, flush=True)
    if cold:
        shutil.rmtree(target / COLD_CACHE, ignore_errors=True)
    return 0 if found.passed and status == 0 else 1


@contextmanager
def _committed(results_dir: Path, study: Path, *, as_it_is: bool) -> Iterator[Committed]:
    """The study of the last commit, or the folder itself where git does not know it or the user named it."""
    folder = results_dir / study
    archive = None if as_it_is else _archive(folder)
    if archive is None:
        if not (folder / "tables").is_dir():
            raise DataNotFound(
                f"There is no study in {folder} to compare with. Name another one (--profile, --dataset), or make it "
                "first and compare with --results-dir DIR."
            )
        yield Committed(folder, f"{paths.for_display(folder)} as it lies there")
        return
    commit, content = archive
    with tempfile.TemporaryDirectory(prefix="amfir-") as name:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(name, filter="data")
        inside = Path(name) / folder.relative_to(paths.REPOSITORY)
        yield Committed(inside, f"{paths.for_display(folder)} of commit {commit}")


def _archive(folder: Path) -> tuple[str, bytes] | None:
    """Commit and tar archive of a folder of the repository at the last commit; None where git does not have it."""
    if not folder.is_relative_to(paths.REPOSITORY):
        return None
    git = ["git", "-C", str(paths.REPOSITORY)]
    name = folder.relative_to(paths.REPOSITORY).as_posix()
    try:
        content = subprocess.run([*git, "archive", "--format=tar", "HEAD", "--", name], capture_output=True)
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return (commit.stdout.strip(), content.stdout) if content.returncode == commit.returncode == 0 else None


def _notebooks(request: runner.Request, committed: Committed, stream: TextIO) -> list[str]:
    """Names of the notebooks to run: those asked for, of those that the committed study has a record of."""
    recorded = {path.stem for path in (committed.folder / "records").glob("*.json")}
    found = find_notebooks(request.notebooks)
    wanted = [path.stem for path in select_notebooks(found, request.only)]
    for name in wanted:
        if name not in recorded:
            print(f"{name} is not checked: {committed.source} has no record of it.", file=stream)
    for name in sorted(recorded - found.keys()):
        print(f"{name} has a committed record, but there is no such notebook any more.", file=stream)
    chosen = [name for name in wanted if name in recorded]
    if not chosen:
        raise DataNotFound(f"{committed.source} has a record of none of the notebooks {', '.join(wanted)}.")
    return chosen


def _empty(output_dir: Path, cache_dir: Path) -> None:
    """Remove what an earlier check made, and what the ledger knows of it: every notebook runs again."""
    with folder_lock(output_dir):  # no other check is writing there
        shutil.rmtree(output_dir)
    shutil.rmtree(ledger.entry_path(cache_dir, output_dir, "any").parent, ignore_errors=True)
