"""The ledger: what each finished notebook was made from, so that a second run knows what is up to date, and why not.

It lives in the cache folder and never in ``results/``: a fresh clone has no ledger and computes everything itself.  One
JSON file per results folder and notebook holds a fingerprint (digests of the notebook, of every file of the library
that can change a result, of the pins, the parameters, the user's data, the exports of the notebooks it needs), and the
digests of its exports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from amfir_lib import paths
from amfir_lib.storage import digest_of, digest_of_file, meaning_of_source, read_json, write_json

# The plumbing around a notebook: it decides what runs, not what comes out.
PLUMBING = ("run/", "__main__.py", "study/search.py", "analysis/variants.py")
SHOWN_FILES = 3


def format_seconds(seconds: float) -> str:
    """``42 s``, ``3:05 min`` or ``1:02 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def format_bytes(n_bytes: float) -> str:
    """``870 MB`` or ``1.2 GB``."""
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def record_path(output_dir: Path, notebook: str) -> Path:
    """The record that a notebook's last cell writes, last of all."""
    return output_dir / "records" / f"{notebook}.json"


def read_record(output_dir: Path, notebook: str) -> dict[str, Any]:
    """The record of a notebook; empty where there is none."""
    path = record_path(output_dir, notebook)
    return read_json(path) if path.exists() else {}


def note_cost(record_path: Path, cache_dir: Path, *, seconds: float, peak_memory_bytes: int) -> None:
    """Put into a record, as ``costliest``, the longest execution with this cache and these parameters: the one that
    computed its runs.  Seconds and memory are those of this execution, all its processes together."""
    record = read_json(record_path)
    asked = [record.get(name) for name in ("notebook", "study", "variant", "profile", "options", "seeds")]
    path = cache_dir / "ledger" / "costs" / f"{digest_of(asked)}.json"
    cost = {"seconds": round(seconds, 1), "peak_memory_bytes": peak_memory_bytes}
    longest = max(read_json(path) if path.exists() else cost, cost, key=lambda cost: cost["seconds"])
    write_json(path, longest)
    write_json(record_path, record | {"costliest": longest})


def cost_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """``seconds`` and ``peak_memory_bytes`` of a notebook when it computed what it shows, rather than found it; without
    a note of the runner those of the execution, and the memory of its largest process."""
    return record.get("costliest", record)


def entry_path(cache_dir: Path, output_dir: Path, notebook: str) -> Path:
    """The ledger's file for one notebook of one results folder."""
    return cache_dir / "ledger" / digest_of(str(output_dir.resolve())) / f"{notebook}.json"


def library_digests(library: Path = paths.LIBRARY) -> dict[str, str]:
    """Digest of each file of the library that can change a result: ``amfir_lib/study/training.py`` -> digest."""
    digests = {}
    for path in sorted(library.rglob("*")):
        name = path.relative_to(library).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not name.startswith(PLUMBING):
            python = path.suffix == ".py"
            digest = digest_of(meaning_of_source(path.read_text(encoding="utf-8"))) if python else digest_of_file(path)
            digests[f"{library.name}/{name}"] = digest
    return digests


def listing_digest(folder: Path | None) -> str:
    """Digest of the names, sizes and dates of all files below a folder: changes when a clip is added or replaced."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        if path.is_file():
            status = path.stat()
            state.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return state.hexdigest()[:16] if folder is not None else ""


def reasons_to_run(entry: Mapping[str, Any] | None, current: Mapping[str, Any], output_dir: Path) -> list[str]:
    """Say why a notebook has to run, by the ledger's entry and the present fingerprint: phrases such as ``parameter
    n_way changed from 5 to 10``; an empty list means that it is up to date."""
    if entry is None:
        return ["the runner has not run it here yet"]
    before = entry["fingerprint"]
    reasons = ["the notebook changed"] if before["notebook"] != current["notebook"] else []
    changes = [
        f"{name} " + ("is new" if name not in before["library"] else "changed" if new else "was removed")
        for name, _, new in _changes(before["library"], current["library"])
    ]
    reasons += changes[:SHOWN_FILES]
    if len(changes) > SHOWN_FILES:
        reasons.append(f"{len(changes) - SHOWN_FILES} more files of the library changed")
    reasons += ["requirements.lock changed"] if before["pins"] != current["pins"] else []
    if before["python"] != current["python"]:
        reasons.append(f"Python changed from {before['python']} to {current['python']}")
    for name, old, new in _changes(before["parameters"], current["parameters"]):
        reasons.append(f"parameter {name} changed from {old} to {new}")
    reasons += ["files under the data root changed"] if before["data"] != current["data"] else []
    reasons += [f"{name} made something else" for name, *_ in _changes(before["needed"], current["needed"])]
    for name, digest in entry["exports"].items():
        path = output_dir / name
        if not path.exists():
            reasons.append(f"{name} is missing")
        elif digest_of_file(path) != digest:
            reasons.append(f"{name} is not what the notebook made")
    return reasons


def _changes(before: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Key, old and new value of what differs."""
    for name in sorted(before.keys() | current.keys()):
        if before.get(name) != current.get(name):
            yield name, before.get(name), current.get(name)


def read_entry(path: Path) -> dict[str, Any] | None:
    """The ledger's entry, or None if there is none (or none that can be read, which costs only a run)."""
    try:
        entry = read_json(path)
        return entry if {"fingerprint", "exports"} <= entry.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def write_entry(path: Path, current: Mapping[str, Any], output_dir: Path, exports: Iterable[str]) -> None:
    """Note a finished notebook with the digests of its exports."""
    digests = {name: digest_of_file(output_dir / name) for name in exports}
    write_json(path, {"fingerprint": dict(current), "exports": digests})
