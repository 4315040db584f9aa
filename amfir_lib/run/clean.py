"""What a study leaves behind: its sizes, its removal, the mark of the cache, and the lock of a results folder."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from amfir_lib.errors import BadParameter, CacheLocked
from amfir_lib.run.ledger import format_bytes
from amfir_lib.storage import digest_of_code, read_json, read_sealed

TAG = "CACHEDIR.TAG"
TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Cache of the AMFIR study; see https://bford.info/cachedir/\n"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder/.lock`` (it carries the process id) for the length of the block; it ends with the process.

    Raises:
        CacheLocked: another process holds it, or nobody can; names the folder, and the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        raise CacheLocked(
            f"Process {owner or 'unknown'} is already writing {folder}. Wait for it to end, or choose another "
            "--results-dir."
        ) from None
    except PermissionError:
        raise
    except OSError as error:  # of some network disks
        raise CacheLocked(
            f"{folder} cannot be locked ({error.strerror}). Choose a --results-dir on another disk."
        ) from error
    try:
        path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def tag_cache(cache_dir: Path) -> None:
    """Mark a new or empty folder as our cache: backups leave it out, and only a marked folder is ever removed."""
    if not cache_dir.exists() or not any(cache_dir.iterdir()):
        cache_dir.mkdir(parents=True, exist_ok=True)
        (cache_dir / TAG).write_text(TAG_TEXT, encoding="utf-8")


def size_of(*folders: Path) -> str:
    """All files below some folders together: ``870 MB``."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return format_bytes(sum(path.lstat().st_size for path in files))


def show_cache(cache_dir: Path, results_dir: Path) -> int:
    """Print what lies in the cache folder and among the variants, and how much it is."""
    print(f"{cache_dir}: {size_of(cache_dir) if cache_dir.exists() else 'not there yet'}")
    for path in sorted(path for path in cache_dir.glob("*") if path.is_dir()):
        print(f"  {path.name:<20} {size_of(path):>8}")
    for path in sorted(results_dir.rglob("variants/")):
        print(f"{path}: {size_of(path)}")
    return 0


def clean(
    cache_dir: Path, results_dir: Path, *, cache: bool, variants: bool, stale: bool = False, yes: bool = False
) -> int:
    """Say what would be removed and how much it is, ask (unless ``yes``), and remove it.

    Args:
        cache_dir, results_dir: folder of clips, features, checkpoints and the ledger; folder of the studies.
        cache, variants: remove the cache, the re-runs with changed parameters.
        stale: remove only what is of no use any more: runs of code that has changed, and what the last check made.
    Returns:
        Exit status: 0, or 1 when the answer was no.
    Raises:
        BadParameter: the cache folder is not one that this study made.
    """
    if (cache or stale) and cache_dir.exists() and not (cache_dir / TAG).exists():
        raise BadParameter(f"{cache_dir} holds no {TAG}, so it may not be our cache. If it is, remove it by hand.")
    folders = [cache_dir] if cache and cache_dir.exists() else []
    folders += sorted(results_dir.rglob("variants/")) if variants else []
    outdated: dict[Path, str] = {}
    if stale and not cache:
        checked = cache_dir / "check"
        outdated = {checked: "the study that the last check regenerated"} if checked.exists() else {}
        outdated |= stale_runs(cache_dir, results_dir)
    if not folders and not outdated:
        print("There is nothing to remove.")
        return 0
    for folder in folders:
        print(f"{folder}: {size_of(folder)}")
    for reason in sorted(set(outdated.values())):
        places = [folder for folder, other in outdated.items() if other == reason]
        print(f"In {cache_dir}: {size_of(*places)} in {len(places)} place(s): {reason}")
    if not yes and not sys.stdin.isatty():
        print("Nothing was removed: add --yes to remove these without being asked.")
        return 1
    if not yes and input("Remove these? [y/N] ").strip().lower() not in ("y", "yes"):
        print("Nothing was removed.")
        return 1
    for folder in [*folders, *outdated]:
        shutil.rmtree(folder)
    print("Removed.")
    return 0


def stale_runs(cache_dir: Path, results_dir: Path) -> dict[Path, str]:
    """Folders of runs that no present code can ask for any more, or that were interrupted and not resumed -> why.

    The source of a module that computed such a run, or the version of torch, is not the present one; no record below
    ``results_dir`` names it, nor does a run that stays stand on it as a part.
    """
    sealed = {path.parent: read_sealed(path) for path in sorted((cache_dir / "runs").glob("*/*/record.json"))}
    records = {folder: record for folder, record in sealed.items() if record is not None}
    why = {folder: _outdated(record["identity"]) for folder, record in records.items()}
    named = {
        run["key"]
        for path in results_dir.rglob("records/*.json")  # those of variants, too
        for run in (read_json(path).get("numbers") or {}).get("runs", ())
        if "key" in run
    }
    kept = {folder for folder, record in records.items() if not why[folder] or record["key"] in named}
    parts = {key for folder in kept for key in records[folder]["identity"].get("parts", {}).values()}
    stale = {f: why[f] for f, record in records.items() if f not in kept and record["key"] not in parts}
    stale |= {folder: "damaged in the cache" for folder in sealed.keys() - records.keys()}
    for checkpoint in (cache_dir / "runs").glob("*/*/checkpoint.pt"):  # of what was interrupted
        siblings = checkpoint.parent.parent.glob(f"{checkpoint.parent.name.rpartition('-')[0]}-*/record.json")
        if any(record.stat().st_mtime > checkpoint.stat().st_mtime for record in siblings):
            stale[checkpoint.parent] = "interrupted, and another run of the method and seed was finished later"
    return stale


def _outdated(identity: dict[str, Any]) -> str:
    """In words, what the run was made with that is no more; empty if all of it is present."""
    import torch

    if identity.get("torch") != torch.__version__:
        return f"made with torch {identity.get('torch')}"
    for name, digest in identity["code"].items():
        if name.startswith("amfir_lib."):
            try:
                present = digest_of_code(importlib.import_module(name))
            except ModuleNotFoundError:
                present = None
            if present != digest:
                return f"{name} has changed since"
    return ""
