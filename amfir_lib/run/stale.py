"""Runs in the cache that no present code can use any more, and no present result refers to."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from amfir_lib.storage import digest_of_code, read_json

PACKAGE = "amfir_lib."


def stale_runs(cache_dir: Path, results_dirs: list[Path]) -> dict[Path, str]:
    """Folders of runs to remove -> why.

    A finished run is stale if the source of a module that computed it, or the version of torch, is not the present one
    (its key can then not be asked for again), and no record below ``results_dirs`` names it, nor does a run that stays
    stand on it as a part.  A run that was interrupted is stale if a later run of its method and seed was finished.

    Args:
        cache_dir: the cache folder.
        results_dirs: folders with studies and their variants.
    """
    folders = sorted(path for path in (cache_dir / "runs").glob("*/*") if path.is_dir())
    records = {folder: read_json(folder / "record.json") for folder in folders if (folder / "record.json").exists()}
    why = {folder: _outdated(record["identity"]) for folder, record in records.items()}
    named = {key for results_dir in results_dirs for key in _named_keys(results_dir)}
    kept = {folder for folder, record in records.items() if not why[folder] or record["key"] in named}
    parts = {key for folder in kept for key in records[folder]["identity"].get("parts", {}).values()}
    stale = {f: why[f] for f, record in records.items() if f not in kept and record["key"] not in parts}
    for folder in folders:
        if folder not in records and (newer := _finished_later(folder, records)):
            stale[folder] = f"interrupted, and {newer.name} was finished later"
    return stale


def _outdated(identity: dict[str, Any]) -> str:
    """In words, what the run was made with that is no more; empty if all of it is present."""
    if identity.get("torch") != torch.__version__:
        return f"made with torch {identity.get('torch')}"
    for name, digest in identity["code"].items():
        if name.startswith(PACKAGE) and _present_digest(name) != digest:
            return f"{name} has changed since"
    return ""


def _present_digest(module: str) -> str | None:
    try:
        return digest_of_code(importlib.import_module(module))
    except ModuleNotFoundError:
        return None


def _named_keys(results_dir: Path) -> Iterator[str]:
    """Keys of all runs behind the notebooks of a results folder, variants included."""
    for path in results_dir.rglob("records/*.json"):
        numbers = read_json(path).get("numbers") or {}
        yield from (fact["key"] for fact in numbers.get("runs", ()) if "key" in fact)


def _finished_later(folder: Path, records: dict[Path, dict[str, Any]]) -> Path | None:
    """A finished run of the same data set, method and seed that is younger than everything in an unfinished one."""
    prefix = folder.name.rpartition("-")[0] + "-"
    age = max((path.stat().st_mtime for path in folder.rglob("*")), default=folder.stat().st_mtime)
    siblings = (one for one in records if one.parent == folder.parent and one.name.startswith(prefix))
    return next((one for one in siblings if (one / "record.json").stat().st_mtime > age), None)
