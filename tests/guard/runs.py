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
    """Data set, method, options, training settings, seed, and how features are read; no digest of code or data.

    Runs on parts of the base clips, or on other features, are alike by this: they are compared as a group."""
    identity = json.loads(record.read_text())["identity"]
    data = identity["data"]
    reading = {name: data[name] for name in ("modalities", "whitened")}
    return json.dumps([record.parent.parent.name, *(identity[name] for name in NAMED), reading], sort_keys=True)


def contents(folder: Path) -> dict[str, Counter[str]]:
    """Kind -> digests of what a run holds: its trained state, its histories, and every array of its answers.

    Answers count by their bytes alone, whatever file they stand in and whatever they are called there.
    """
    held: dict[str, Counter[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".csv":
            held.setdefault(path.name, Counter())[hashlib.sha256(path.read_bytes()).hexdigest()] += 1
        elif path.suffix == ".safetensors":
            arrays = load_file(path)
            joined = "".join(f"{name} {_digest(arrays[name])} " for name in sorted(arrays))
            held.setdefault(path.name, Counter())[joined] += 1
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                held.setdefault("answers", Counter()).update(_digest(arrays[name]) for name in arrays.files)
    return held


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()


def compare_caches(before: Path, after: Path) -> Iterator[str]:
    """A line for each difference, and one with what was compared.

    Runs that only the first cache has are differences; those that only the second one has are counted.
    """
    caches = [_by_identity(cache) for cache in (before, after)]
    n_items = n_runs = 0
    for name, folders in caches[0].items():
        others = caches[1].get(name)
        if others is None:
            yield f"run only before: {name}"
            continue
        n_runs += len(folders)
        kinds = [_joined(group) for group in (folders, others)]
        for kind, digests in kinds[0].items():
            n_items += digests.total()
            if lost := digests - kinds[1].get(kind, Counter()):
                yield f"{kind} differs ({lost.total()} of {digests.total()}): {name}"
    extra = len(caches[1].keys() - caches[0].keys())
    compared = f"{n_runs} runs with {n_items} states, histories and arrays of answers compared"
    yield f"{compared}; {extra} kinds of runs only after"


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
