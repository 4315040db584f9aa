"""The grid of runs behind tables and figures, and the cache that keeps each run.

A run is one method, trained once on one data set.  Its key covers everything that can change its result: the data
set, the features, the method with all its options, the settings of the training, the seed and the source of the code
that computes it.  A run that the cache holds is not computed again; when one is missing although a sibling with another
key is there, the log says what changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amfir_lib import distances, distillation, episodes, evaluation, feature_table, fusion, inference, readings
from amfir_lib import training as training_module
from amfir_lib.config import resolve_device
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.store import FeatureStore
from amfir_lib.episodes import Episodes
from amfir_lib.errors import TrainingDiverged
from amfir_lib.evaluation import QueryResults, evaluate
from amfir_lib.feature_table import FeatureTable, layout, load_table
from amfir_lib.methods import (
    METHODS,
    DataFacts,
    Method,
    build_method,
    enhancers,
    head,
    options_of_part,
    resolve_options,
    streams,
    title_of,
    uses_patches,
)
from amfir_lib.methods import base as methods_base
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_source, read_json, source_of, write_json
from amfir_lib.training import Training, train

_COMMON_CODE = (
    training_module, episodes, evaluation, feature_table, inference, readings, distances, distillation, fusion,
    methods_base, head, streams, enhancers,
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """A data set with its features.

    Attributes:
        dataset: the clips.
        stores: modality -> features of them.
    """

    dataset: Dataset
    stores: dict[str, FeatureStore]

    @property
    def identity(self) -> dict[str, str]:
        """Digests of everything that a run reads."""
        digests = {m: store.digest for m, store in self.stores.items()}
        return {"dataset": self.dataset.digest, "modalities": ", ".join(digests)} | digests

    def table(self, *, patches: bool = False) -> FeatureTable:
        """The features in memory; see ``load_table``."""
        return load_table(self.dataset, self.stores, patches=patches)

    def layout(self) -> FeatureTable:
        """Labels, groups and splits without the features: all that episodes are drawn from."""
        return layout(self.dataset)


@dataclass(frozen=True)
class TestCell:
    """One kind of test episodes; equal cells are equal episodes for every method.

    Attributes:
        n_way, n_shot, n_query: of each episode.
        n_episodes: length of the fixed list.
        split: the classes it is drawn from; ``val`` where something is chosen.
        seed: of the list.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    n_way: int = 5
    n_shot: int = 1
    n_query: int = 5
    n_episodes: int = 1000
    split: str = "test"
    seed: int = 0

    def episodes(self, table: FeatureTable) -> Episodes:
        """The fixed list for the data set of ``table``."""
        return table.sample(
            self.split,
            n_way=self.n_way,
            n_shot=self.n_shot,
            n_query=self.n_query,
            n_episodes=self.n_episodes,
            rng=np.random.default_rng([30, self.seed, self.n_way, self.n_shot]),
        )


@dataclass(frozen=True)
class Run:
    """One method trained once.

    Attributes:
        material: data set and features.
        method: a name of ``METHODS``.
        options: what differs from the method's defaults.
        training: settings of the training.
        seed: of initial weights and training episodes.
    """

    material: Material
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    seed: int = 0

    @property
    def item_name(self) -> str:
        """How the run is called in messages."""
        return f"{self.material.dataset.name}/{self.method}/seed {self.seed}"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change the result; it travels with the run to the workers."""
        options = asdict(resolve_options(self.method, self.options))  # refuses an unknown method or option
        spec = METHODS[self.method]
        modules = (*_COMMON_CODE, *_modules_of(sys.modules[spec.build.__module__]))
        return {
            "data": self.material.identity,
            "method": self.method,
            "streams": spec.streams,
            "parts": {part.method: part.key for part in self.parts()},
            "options": options,
            "training": asdict(self.training),
            "seed": self.seed,
            "code": {module.__name__: digest_of_source(module) for module in modules}
            | {"run": digest_of(source_of(train_run) + source_of(TestCell))},
            "torch": torch.__version__,
        }

    @cached_property
    def key(self) -> str:
        """Digest of the identity."""
        return digest_of(self.identity)

    @property
    def n_patches(self) -> dict[str, int]:
        """Modality -> patches per frame, as the method is given them."""
        whole = uses_patches(self.method)
        return {m: store.features.shape[2] if whole else 1 for m, store in self.material.stores.items()}

    def parts(self) -> tuple[Run, ...]:
        """The runs whose trained heads make up this one, for methods that are assembled rather than trained."""
        return self._parts

    @cached_property
    def _parts(self) -> tuple[Run, ...]:
        return tuple(
            replace(self, method=part, options=options_of_part(self.method, part, self.options))
            for part in METHODS[self.method].parts
        )

    def folder(self, cache_dir: Path) -> Path:
        """Where the cache keeps it."""
        return cache_dir / "runs" / self.material.dataset.name / f"{self.method}-{self.seed}-{self.key}"


@dataclass(frozen=True)
class RunResult:
    """What the cache holds of a run.

    Attributes:
        run: what was computed.
        record: options, seeds, digests, validation accuracy, parameters, seconds.
        history: one row per training step.
        validation: one row per validation and shot.
        tests: cell -> results of every query, in the order of ``cell.episodes``.
        folder: in the cache.
    """

    run: Run
    record: dict[str, Any]
    history: pd.DataFrame
    validation: pd.DataFrame
    tests: dict[TestCell, QueryResults]
    folder: Path

    def method(self) -> Method:
        """The trained method, on the CPU, in evaluation mode."""
        return load_method(self.run, load_file(self.folder / "state.safetensors"))


@dataclass(frozen=True)
class Series:
    """One line of a table or curve of a figure: a method with options, trained with every seed.

    Attributes:
        name: in tables and figures.
        method: a name of ``METHODS``.
        options: what differs from the method's defaults.
    Raises:
        UnknownName, UnknownParameter, BadParameter: see ``resolve_options``.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resolve_options(self.method, self.options)  # refuses an unknown method, option or value before any work

    def runs(self, material: Material, settings: Training, seeds: Sequence[int]) -> list[Run]:
        """The runs of the series on one data set."""
        return [Run(material, self.method, self.options, settings, seed) for seed in seeds]


def _modules_of(module: ModuleType) -> list[ModuleType]:
    """A module of the package ``methods`` and those of that package that it takes anything from, at any depth."""
    found, waiting = {}, [module.__name__]
    while waiting:
        name = waiting.pop()
        if name.startswith("amfir_lib.methods.") and name not in found:
            found[name] = sys.modules[name]
            for thing in vars(found[name]).values():
                source = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
                waiting.append(source or "")
    return [found[name] for name in sorted(found)]


def name_of(series: Sequence[Series]) -> Callable[[RunResult], str]:
    """A function that finds the series a run belongs to, for the tables."""
    names = {digest_of([one.method, dict(one.options)]): one.name for one in series}
    return lambda result: names[digest_of([result.run.method, dict(result.run.options)])]


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
        for run in open_runs:
            reason = why_computed(run, cache_dir)
            print(f"{run.item_name}: {reason}")
        work = partial(_execute, cells=tuple(cells), cache_dir=cache_dir, device=device)
        open_runs.sort(key=lambda run: run.material.dataset.name)  # neighbours share the features in a worker's memory
        map_parallel(work, open_runs, n_jobs=n_jobs if device == "cpu" else 1, description=description, unit="run")
    n_all = len(parts.keys() | wanted.keys())
    print(f"runs: {n_all - n_found} computed, {n_found} found in the cache")
    return [load_result(run, cells, cache_dir) for run in runs]


def is_done(run: Run, cells: Sequence[TestCell], cache_dir: Path) -> bool:
    """Whether the cache holds the run and all these tests of it."""
    folder = run.folder(cache_dir)
    return (folder / "record.json").exists() and all(_test_path(folder, cell).exists() for cell in cells)


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
    table = _table(run.material.dataset.digest, uses_patches(run.method), _Hidden(run.material))
    table = table.to(device)
    if not (folder / "record.json").exists():
        train_run(run, table, folder, cache_dir)
    method = load_method(run, load_file(folder / "state.safetensors")).to(device)
    for cell in cells:
        path = _test_path(folder, cell)
        if not path.exists():
            drawn = cell.episodes(table)
            results = evaluate(method, table, drawn)
            with atomic_write(path) as temporary:
                np.savez_compressed(temporary, classes=drawn.classes.astype(np.int16), **results.to_arrays())


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


def train_run(run: Run, table: FeatureTable, folder: Path, cache_dir: Path) -> None:
    """Train (or assemble) one run and write its state, histories and, last, its record."""
    method = _untrained(run).to(next(iter(table.features.values())).device)
    parts = [load_result(part, (), cache_dir) for part in run.parts()]
    if parts:
        state: dict[str, Tensor] = {}
        for part in parts:
            own = load_file(part.folder / "state.safetensors")
            state |= {f"parts.{part.run.method}.{name}": values for name, values in own.items()}
        method.load_state_dict(state)
        history, validation = pd.DataFrame(), pd.DataFrame()
        outcome = {"seconds": sum(part.record["seconds"] for part in parts), "best_step": None, "val_accuracy": None}
    elif not list(method.parameters()):  # nothing to learn
        state, history, validation = method.state_dict(), pd.DataFrame(), pd.DataFrame()
        outcome = {"seconds": 0.0, "best_step": None, "val_accuracy": None}
    else:
        try:
            trained = train(method, table, run.training, seed=run.seed, checkpoint=folder / "checkpoint.pt")
        except TrainingDiverged as error:
            raise TrainingDiverged(f"{run.item_name}: {error}") from error
        state, history, validation = trained.state, trained.history, trained.validation
        outcome = {name: getattr(trained, name) for name in ("seconds", "best_step", "val_accuracy")}
    with atomic_write(folder / "state.safetensors") as temporary:
        save_file({name: values.cpu().contiguous() for name, values in state.items()}, temporary)
    for name, frame in (("history", history), ("validation", validation)):
        with atomic_write(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    n_parameters = sum(parameter.numel() for parameter in method.parameters())
    device = str(next(iter(table.features.values())).device)
    record = {"identity": run.identity, "key": run.key, "title": title_of(run.method, run.n_patches)}
    record |= {"parameters": n_parameters, "device": device} | outcome
    write_json(folder / "record.json", record | {"step_seconds": outcome["seconds"] / max(1, run.training.steps)})
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _untrained(run: Run) -> Method:
    dims = {modality: store.features.shape[-1] for modality, store in run.material.stores.items()}
    generator = torch.Generator().manual_seed(run.seed)
    facts = DataFacts(n_base_classes=len(run.material.layout().base_classes), n_patches=run.n_patches)
    return build_method(run.method, dims=dims, options=dict(run.options), generator=generator, facts=facts)


def load_method(run: Run, state: dict[str, Tensor]) -> Method:
    """A method with given weights, on the CPU, in evaluation mode."""
    method = _untrained(run)
    method.load_state_dict(state)
    return method.eval()


def load_result(run: Run, cells: Sequence[TestCell], cache_dir: Path) -> RunResult:
    """Read a finished run from the cache."""
    folder = run.folder(cache_dir)
    tests = {}
    for cell in cells:
        with np.load(_test_path(folder, cell)) as arrays:
            tests[cell] = QueryResults.from_arrays({name: arrays[name] for name in arrays if name != "classes"})
    frames = [_read_csv(folder / f"{name}.csv") for name in ("history", "validation")]
    return RunResult(run, read_json(folder / "record.json"), *frames, tests, folder)


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()


def cell_name(cell: TestCell) -> str:
    """What the cache calls the results of a cell: ``test-5way-1shot-5query-1000episodes-0``."""
    return f"{cell.split}-{cell.n_way}way-{cell.n_shot}shot-{cell.n_query}query-{cell.n_episodes}episodes-{cell.seed}"


def _test_path(folder: Path, cell: TestCell) -> Path:
    return folder / f"{cell_name(cell)}.npz"
