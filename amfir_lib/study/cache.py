"""What the cache keeps of an experiment, by one protocol: runs, their tests, answers in other conditions.

What is whole is not computed again; what is missing is computed in parallel, one thread each, with a word on why, and
is written atomically.  A finished run is a folder with a ``record.json``, written last: ``key`` is the digest of
``identity``, which holds everything that can change the result, among it ``code`` (module -> digest of what it means)
and ``torch`` (its version).  Answers lie beside it, one ``.npz`` for each test.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from operator import methodcaller
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from amfir_lib.parallel import guarded, in_this_process, map_parallel, progress_bar
from amfir_lib.storage import atomic_write, digest_of_code, read_sealed

RECORD, CHECKPOINT = "record.json", "checkpoint.pt"
MOST_NAMES = 4  # of runs, in a line that says why they are computed
# what computes a run; the rest of the library (files, clips, figures) cannot change its numbers
STAGES = tuple(f"amfir_lib.{name}" for name in (
    "methods.", "study.", "distances", "readings", "inference", "distillation", "fusion",
))  # fmt: skip


class Recent:
    """The values that were made last, by key: in each worker process a table or a list of episodes serves many runs."""

    def __init__(self, most: int) -> None:
        self.most, self.values = most, OrderedDict[Hashable, Any]()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made if it is not there; the key says everything that the value depends on."""
        if key not in self.values:
            self.values[key] = make()
        self.values.move_to_end(key)
        while len(self.values) > self.most:
            self.values.popitem(last=False)
        return self.values[key]


class Job:
    """Something that the cache keeps: what it takes to see whether it is there, and to compute it where it is not."""

    item_name: str  # as messages call it
    key: Hashable  # equal jobs are computed once
    parts: Sequence[Job] = ()  # that are computed before it
    done: bool  # whether the cache holds all of it
    why: str = ""  # it is computed

    def work(self) -> None:
        """Compute what is missing and write it, what makes it whole last."""
        raise NotImplementedError


def compute(jobs: Sequence[Job], *, n_jobs: int = 1, description: str, unit: str = "run") -> None:
    """Do the work of every job that the cache does not hold, parts first, and say why and how much.

    Args:
        n_jobs: worker processes; results do not depend on it.  0 works in this process with all its threads, as an
            end-to-end training does.
    """
    wanted = {job.key: job for job in jobs}
    parts = {part.key: part for job in wanted.values() for part in job.parts}
    n_computed = 0
    for stage in (parts, {key: job for key, job in wanted.items() if key not in parts}):
        missing = [job for job in stage.values() if not job.done]
        n_computed += len(missing)
        reasons: dict[str, list[str]] = {}
        for job in missing:
            reasons.setdefault(job.why, []).append(job.item_name)
        for reason, names in reasons.items():
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            if reason:
                print(f"{', '.join(names[:MOST_NAMES])}{more}: {reason}")
        if not missing:
            continue
        if n_jobs and not in_this_process(min(n_jobs, len(missing))):
            map_parallel(methodcaller("work"), missing, n_jobs=n_jobs, description=description, unit=unit)
            continue
        with progress_bar(len(missing), description=description, unit=unit) as bar:
            for job in missing:
                with guarded(job, description) if n_jobs else nullcontext():
                    job.work()
                bar.update()
    print(f"{description}: {n_computed} computed, {len(parts.keys() | wanted.keys()) - n_computed} found in the cache")


def why_computed(folder: Path, identity: Mapping[str, Any]) -> str:
    """Why the cache does not serve a run: in words, from the newest sibling (another key after the last dash)."""
    if (folder / RECORD).exists():
        whole = read_sealed(folder / RECORD) is not None
        return "trained before, tested on new episodes" if whole else "damaged in the cache"
    if (folder / CHECKPOINT).exists():
        return "resumed where it was interrupted"
    siblings = folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*/{RECORD}")
    records = map(read_sealed, sorted(siblings, key=lambda path: path.stat().st_mtime, reverse=True))
    newest = next((record for record in records if record is not None), None)
    if newest is None:
        return "not computed before"
    now, before = _flat(json.loads(json.dumps(identity))), _flat(newest["identity"])
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    digests = ("code.", "data.", "parts.", "backbones.")  # these say nothing to a reader
    changes = [n if n.startswith(digests) else f"{n} {before.get(n)} -> {now.get(n)}" for n in changed]
    return "not with these settings before; changed since the last: " + ", ".join(changes)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    return {name: leaf for key, part in value.items() for name, leaf in _flat(part, f"{prefix}{key}.").items()}


def code_digests(*modules: ModuleType) -> dict[str, str]:
    """Name -> digest of modules, and of those of ``STAGES`` that they take anything from, at any depth."""
    digests, waiting = {}, [module.__name__ for module in modules]
    while waiting:
        name = waiting.pop()
        if name in digests:
            continue
        digests[name] = digest_of_code(sys.modules[name])
        for thing in vars(sys.modules[name]).values():
            source = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or ""
            if source.startswith(STAGES):
                waiting.append(source)
    return dict(sorted(digests.items()))


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one compressed ``.npz``, whole or not at all."""
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def whole_arrays(path: Path) -> bool:
    """Whether a file is one of ``save_arrays`` and every byte of it as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damage has many names
        return False


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what ``save_arrays`` wrote."""
    with np.load(path) as arrays:
        return dict(arrays)
