"""The sizes of what a study leaves behind, and its removal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from amfir_lib.errors import BadParameter
from amfir_lib.run.display import format_bytes

TAG = "CACHEDIR.TAG"
TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Cache of the AMFIR study; see https://bford.info/cachedir/\n"


def tag_cache(cache_dir: Path) -> None:
    """Mark a new or empty folder as our cache: backups leave it out, and only a marked folder is ever removed."""
    if not cache_dir.exists() or not any(cache_dir.iterdir()):
        cache_dir.mkdir(parents=True, exist_ok=True)
        (cache_dir / TAG).write_text(TAG_TEXT, encoding="utf-8")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def find_variants(results_dir: Path) -> list[Path]:
    """The folders of re-runs with changed parameters."""
    return sorted(path for path in results_dir.rglob("variants") if path.is_dir())


def show_cache(cache_dir: Path, results_dir: Path) -> int:
    """Print what lies in the cache folder and among the variants, and how much it is."""
    print(f"{cache_dir}: {format_bytes(size_of(cache_dir)) if cache_dir.exists() else 'not there yet'}")
    if cache_dir.exists():
        for path in sorted(path for path in cache_dir.iterdir() if path.is_dir()):
            print(f"  {path.name:<20} {format_bytes(size_of(path)):>8}")
    for path in find_variants(results_dir):
        print(f"{path}: {format_bytes(size_of(path))}")
    return 0


def _stale_folders(cache_dir: Path, results_dir: Path) -> dict[Path, str]:
    """Folders of the cache that are of no use any more -> why."""
    from amfir_lib.run.stale import stale_runs

    checked = cache_dir / "check"
    found = {checked: "the study that the last check regenerated"} if checked.exists() else {}
    return found | stale_runs(cache_dir, [results_dir])


def clean(
    cache_dir: Path, results_dir: Path, *, cache: bool, variants: bool, stale: bool = False, yes: bool = False
) -> int:
    """Say what would be removed and how much it is, ask, and remove it.

    Args:
        cache_dir: folder of clips, features, checkpoints and the ledger.
        results_dir: folder of the studies.
        cache: remove the cache.
        variants: remove the re-runs with changed parameters.
        stale: remove only what is of no use any more: runs of code that has changed, and what the last check made.
        yes: do not ask.
    Returns:
        Exit status: 0, or 1 when the answer was no.
    Raises:
        BadParameter: the cache folder is not one that this study made.
    """
    if (cache or stale) and cache_dir.exists() and not (cache_dir / TAG).exists():
        raise BadParameter(f"{cache_dir} holds no {TAG}, so it may not be our cache. If it is, remove it by hand.")
    folders = [cache_dir] if cache and cache_dir.exists() else []
    folders += find_variants(results_dir) if variants else []
    outdated = _stale_folders(cache_dir, results_dir) if stale and not cache else {}
    if not folders and not outdated:
        print("There is nothing to remove.")
        return 0
    for folder in folders:
        print(f"{folder}: {format_bytes(size_of(folder))}")
    for reason in sorted(set(outdated.values())):
        own = [folder for folder, other in outdated.items() if other == reason]
        print(f"In {cache_dir}: {format_bytes(sum(map(size_of, own)))} in {len(own)} place(s): {reason}")
    folders += outdated
    if not yes:
        if not sys.stdin.isatty():
            print("Nothing was removed: add --yes to remove these without being asked.")
            return 1
        if input("Remove these? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was removed.")
            return 1
    for folder in folders:
        shutil.rmtree(folder)
    print("Removed.")
    return 0
