"""The grid of runs behind tables and figures: what the cache holds is not computed again.

When a run is missing although a sibling with another key is there, the log says what changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from amfir_lib.methods import uses_patches
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, read_json
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.run_store import RunResult, cell_name, is_done, load_method, load_result, test_path, train_run
from amfir_lib.study.runs import Material, Run, Series, TestCell, name_of
from amfir_lib.workers import resolve_device

__all__ = ["Material", "Run", "RunResult", "Series", "TestCell", "cell_name", "name_of", "run_all", "why_computed"]

MOST_NAMES = 4  # of runs, in a line that says why they are computed


def run_all(
    runs: Sequence[Run],
    cells: Sequence[TestCell],
    *,
    cache_dir: Path,
    n_jobs: int = 1,
    device: str = "cpu",
    description: str = "training",
) -> list[RunResult]:
    """Train and test what the cache lacks, in parallel, one thread a run.

    Args:
        runs: the grid, in any order, repetitions allowed.
        cells: test episodes that every run is evaluated on.
        cache_dir: folder of the cache.
        n_jobs: worker processes; results do not depend on it.
        device: ``cpu``, ``cuda:N`` or ``auto``; not part of the key.  Runs share a GPU one after another.
        description: of the progress bar.
    Returns:
        One result per run, in order.
    """
    device = resolve_device(device)
    wanted = {run.key: run for run in runs}
    parts = {part.key: part for run in wanted.values() for part in run.parts()}
    n_found = 0
    for stage in (parts, {key: run for key, run in wanted.items() if key not in parts}):
        open_runs = [run for run in stage.values() if not is_done(run, cells, cache_dir)]
        n_found += len(stage) - len(open_runs)
        _say_why(open_runs, cache_dir)
        work = partial(_execute, cells=tuple(cells), cache_dir=cache_dir, device=device)
        open_runs.sort(key=lambda run: run.material.dataset.name)  # neighbours share the features in a worker's memory
        map_parallel(work, open_runs, n_jobs=n_jobs if device == "cpu" else 1, description=description, unit="run")
    n_all = len(parts.keys() | wanted.keys())
    print(f"runs: {n_all - n_found} computed, {n_found} found in the cache")
    return [load_result(run, cells, cache_dir) for run in runs]


def _say_why(open_runs: Sequence[Run], cache_dir: Path) -> None:
    """One line for each reason, with the runs that it holds for."""
    names: dict[str, list[str]] = {}
    for run in open_runs:
        names.setdefault(why_computed(run, cache_dir), []).append(run.item_name)
    for reason, own in names.items():
        more = f" and {len(own) - MOST_NAMES} more" if len(own) > MOST_NAMES else ""
        print(f"{', '.join(own[:MOST_NAMES])}{more}: {reason}")


def why_computed(run: Run, cache_dir: Path) -> str:
    """Why the cache does not serve a run: in words, from the newest sibling that it holds."""
    folder = run.folder(cache_dir)
    if (folder / "record.json").exists():
        return "trained before, tested on new episodes"
    if (folder / "checkpoint.pt").exists():
        return "resumed where it was interrupted"
    siblings = sorted(folder.parent.glob(f"{run.method}-{run.seed}-*/record.json"), key=lambda p: p.stat().st_mtime)
    if not siblings:
        return "not computed before"
    own, other = _flat(json.loads(json.dumps(run.identity))), _flat(read_json(siblings[-1])["identity"])
    changed = sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))
    changes = {name: f"{name} {other.get(name)} -> {own.get(name)}" for name in changed}
    changes |= {name: name for name in changed if name.startswith(("code.", "data.", "parts."))}  # digests say nothing
    return "not with these settings before; changed since the last: " + ", ".join(changes.values())


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    return {name: leaf for key, part in value.items() for name, leaf in _flat(part, f"{prefix}{key}.").items()}


def _execute(run: Run, *, cells: tuple[TestCell, ...], cache_dir: Path, device: str) -> None:
    """Compute what is missing of one run; the record is written when the training is whole."""
    folder = run.folder(cache_dir)
    table = _table(run.material.dataset.digest, uses_patches(run.method), _Hidden(run.read))
    table = table.to(device)
    if not (folder / "record.json").exists():
        train_run(run, table, folder, cache_dir)
    method = load_method(run, load_file(folder / "state.safetensors")).to(device)
    for cell in cells:
        path = test_path(folder, cell)
        if not path.exists():
            drawn = _episodes(run.material.dataset.digest, cell, _Carried(table))
            results = evaluate(method, table, drawn)
            with atomic_write(path) as temporary:
                np.savez_compressed(temporary, classes=drawn.classes.astype(np.int16), **results.to_arrays())


class _Carried:
    """Carries a table past ``lru_cache`` where the other arguments say which one it is."""

    def __init__(self, table: FeatureTable) -> None:
        self.table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Carried)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=16)
def _episodes(digest: str, cell: TestCell, carried: _Carried) -> Episodes:
    """A list serves all runs on its data set: a thousand episodes with groups take a second to draw."""
    return cell.episodes(carried.table)


class _Hidden:
    """Carries the material past ``lru_cache``, whose key is the digest alone."""

    def __init__(self, material: Material) -> None:
        self.material = material

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and self.material.identity == other.material.identity

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2)
def _table(digest: str, patches: bool, hidden: _Hidden) -> FeatureTable:
    return hidden.material.table(patches=patches)
