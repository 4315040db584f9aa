"""Trained runs of two caches: matched by what they are, compared by the bytes of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

NAMED = ("method", "streams", "options", "training", "seed")


def what_it_is(record: Path) -> str:
    """Data set, method, options, training settings, seed, and how features are read; no digest of code or data."""
    identity = json.loads(record.read_text())["identity"]
    data = identity["data"]
    reading = {name: data[name] for name in ("modalities", "whitened", "left_out") if name in data}
    return json.dumps([record.parent.parent.name, *(identity[name] for name in NAMED), reading], sort_keys=True)


def contents(folder: Path) -> dict[str, Counter[str]]:
    """Kind of file -> digests of its contents, for every file of a run that the study reads.

    Answers on test episodes are called after their episodes; those under another condition bear digests of code in
    their names, which are left out.
    """
    found: dict[str, Counter[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".npz", ".safetensors"):
            arrays = load_file(path) if path.suffix == ".safetensors" else dict(np.load(path))
            state = hashlib.sha256()
            for name in sorted(arrays):
                state.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode() + arrays[name].tobytes())
            digest = state.hexdigest()
        elif path.suffix == ".csv":
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            continue
        stem = "-".join(part for part in path.stem.split("-") if len(part) != 16)
        found.setdefault(stem + path.suffix, Counter())[digest] += 1
    return found


def compare_caches(before: Path, after: Path) -> Iterator[str]:
    """A line for each difference, and one with what was compared.

    Runs that only the first cache has are differences; those that only the second one has are counted.
    """
    caches = [_by_identity(cache) for cache in (before, after)]
    n_files = n_runs = 0
    for name, folders in caches[0].items():
        others = caches[1].get(name)
        if others is None:
            yield f"run only before: {name}"
            continue
        n_runs += len(folders)
        kinds = [_joined(group) for group in (folders, others)]
        for kind, digests in kinds[0].items():
            n_files += digests.total()
            if lost := digests - kinds[1].get(kind, Counter()):
                yield f"{kind} differs ({lost.total()} of {digests.total()}): {name}"
    extra = len(caches[1].keys() - caches[0].keys())
    yield f"{n_runs} runs with {n_files} files compared; {extra} kinds of runs only after"


def _by_identity(cache: Path) -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    for record in sorted((cache / "runs").glob("*/*/record.json")):
        folders.setdefault(what_it_is(record), []).append(record.parent)
    return folders


def _joined(folders: list[Path]) -> dict[str, Counter[str]]:
    joined: dict[str, Counter[str]] = {}
    for folder in folders:
        for kind, digests in contents(folder).items():
            joined.setdefault(kind, Counter()).update(digests)
    return joined
