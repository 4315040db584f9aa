"""Runs: a method trained once on one data set, and tested; computed where the cache lacks them.

The key of a run covers everything that can change its result: the data set, the features, the method with all its
options, the settings of the training, the seed and the meaning of the code that computes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amfir_lib.errors import StoreError, TrainingDiverged
from amfir_lib.methods import (
    METHODS,
    DataFacts,
    Method,
    build_method,
    options_of_part,
    resolve_options,
    title_of,
    tuned_training,
    uses_patches,
)
from amfir_lib.storage import atomic_write, digest_of, digest_of_code, read_json, read_sealed, write_sealed
from amfir_lib.study import training as training_module
from amfir_lib.study.cache import (
    CHECKPOINT,
    RECORD,
    Job,
    code_digests,
    compute,
    load_arrays,
    save_arrays,
    whole_arrays,
    why_computed,
)
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import Material, TestCell, episodes_of, table_of
from amfir_lib.study.training import HEAD, Trained, Training, train, validation_episodes
from amfir_lib.workers import resolve_device

STATE = "state.safetensors"


@dataclass(frozen=True)
class Run:
    """One method trained once.

    Attributes:
        options: what differs from the method's defaults.
        training: settings of the training, as they are; ``Series.runs`` puts the method's tuned ones in.
        seed: of initial weights and training episodes.
    """

    material: Material
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    seed: int = 0

    @property
    def read(self) -> Material:
        """The material as this method reads it: raw, for a method that learns nothing."""
        return replace(self.material, whiten=False) if METHODS[self.method].raw else self.material

    @property
    def item_name(self) -> str:
        """How the run is called in messages."""
        return f"{self.material.dataset.name}/{self.method}/seed {self.seed}"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change the result; it travels with the run to the workers."""
        options = asdict(resolve_options(self.method, self.options))  # refuses an unknown method or option
        spec = METHODS[self.method]
        code = code_digests(training_module, sys.modules[spec.build.__module__])
        return {
            "data": self.read.identity,
            "method": self.method,
            "streams": spec.streams,
            "parts": {part.method: part.key for part in self.parts},
            "options": options,
            "training": asdict(self.training),
            "seed": self.seed,
            "code": code | {"run": digest_of_code(RunJob.work, RunJob.assembled, TestCell)},
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

    @cached_property
    def parts(self) -> tuple[Run, ...]:
        """The runs whose trained heads make up this one, for methods that are assembled rather than trained."""
        return tuple(
            replace(
                self,
                material=self.read,
                method=part,
                options=options_of_part(self.method, part, self.options),
                training=tuned_training(part, self.training),
            )
            for part in METHODS[self.method].parts
        )

    def folder(self, cache_dir: Path) -> Path:
        """Where the cache keeps it."""
        return cache_dir / "runs" / self.material.dataset.name / f"{self.method}-{self.seed}-{self.key}"

    def untrained(self, dims: Mapping[str, int] | None = None) -> Method:
        """The method with its initial weights, on the CPU.

        Args:
            dims: modality -> width of the features; None for those of the material.
        """
        return build_method(
            self.method,
            dims=dims or self.read.dims,
            options=dict(self.options),
            generator=torch.Generator().manual_seed(self.seed),
            facts=DataFacts(n_base_classes=len(self.material.layout().base_classes), n_patches=self.n_patches),
        )


@dataclass(frozen=True)
class Series:
    """One line of a table or curve of a figure: a method with options, trained with every seed.

    Raises:
        UnknownName, UnknownParameter, BadParameter: see ``resolve_options``.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resolve_options(self.method, self.options)  # refuses an unknown method, option or value before any work

    def runs(self, material: Material, settings: Training, seeds: Sequence[int]) -> list[Run]:
        """The runs of the series on one data set, with the learning rate that was found for the method."""
        settings = tuned_training(self.method, settings)
        return [Run(material, self.method, self.options, settings, seed) for seed in seeds]


def name_of(series: Sequence[Series]) -> Callable[[RunResult], str]:
    """A function that finds the series a run belongs to, for the tables."""
    names = {digest_of([line.method, dict(line.options)]): line.name for line in series}
    return lambda result: names[digest_of([result.run.method, dict(result.run.options)])]


@dataclass(frozen=True)
class RunResult:
    """What the cache holds of a run: its record (identity, key, title, validation accuracy, parameters, seconds), one
    row of history per training step, one row of validation per validation and shot, and the results of every query of
    each cell.
    """

    run: Run
    record: dict[str, Any]
    history: pd.DataFrame
    validation: pd.DataFrame
    tests: dict[TestCell, QueryResults]
    folder: Path

    def method(self) -> Method:
        """The trained method, on the CPU, in evaluation mode."""
        return load_method(self.run, load_file(self.folder / STATE))


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
        device: ``cpu``, ``cuda:N`` or ``auto``; not part of the key.  Runs share a GPU one after another.
    Returns:
        One result per run, in order; it does not depend on ``n_jobs``.
    """
    device = resolve_device(device)
    jobs = [RunJob(run, tuple(cells), cache_dir, device) for run in runs]
    neighbours = sorted(jobs, key=lambda job: job.run.material.dataset.name)  # share features in memory
    compute(neighbours, n_jobs=n_jobs if device == "cpu" else 1, description=description)
    return [job.result() for job in jobs]


@dataclass(frozen=True)
class RunJob(Job):
    """A run with the tests that are wanted of it, and where it is computed and kept."""

    run: Run
    cells: tuple[TestCell, ...]
    cache_dir: Path
    device: str = "cpu"

    @property
    def item_name(self) -> str:
        return self.run.item_name

    @property
    def key(self) -> Path:
        return self.folder  # equal data sets of two names have a run each

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change the result."""
        return self.run.identity

    @property
    def folder(self) -> Path:
        """Where the cache keeps it."""
        return self.run.folder(self.cache_dir)

    @property
    def parts(self) -> tuple[Job, ...]:
        return tuple(replace(self, run=part) for part in self.run.parts)

    @property
    def done(self) -> bool:
        tested = all(whole_arrays(cell.path(self.folder)) for cell in self.cells)
        return tested and read_sealed(self.folder / RECORD) is not None

    @property
    def why(self) -> str:
        return why_computed(self.folder, self.identity)

    def result(self) -> RunResult:
        """The finished run and these tests of it."""
        return load_result(self.run, self.cells, self.folder)

    def work(self) -> None:
        """Train (or assemble) the run and test it; its record is written when the training is whole."""
        run, folder = self.run, self.folder
        table = table_of(run.read, patches=uses_patches(run.method)).to(self.device)
        if read_sealed(folder / RECORD) is None:
            method = run.untrained().to(table.device)
            if run.parts or not list(method.parameters()):  # nothing to learn
                trained = self.assembled(method, table)
            else:
                try:
                    trained = train(method, table, run.training, seed=run.seed, checkpoint=folder / CHECKPOINT)
                except TrainingDiverged as error:
                    raise TrainingDiverged(f"{run.item_name}: {error}") from error
            record = {"identity": run.identity, "key": run.key, "title": title_of(run.method, run.n_patches)}
            record |= {"parameters": sum(p.numel() for p in method.parameters()), "device": str(table.device)}
            record |= {name: getattr(trained, name) for name in ("seconds", "best_step", "val_accuracy")}
            record["step_seconds"] = trained.seconds / max(1, run.training.steps)
            save_run(folder, {STATE: trained.state}, trained.history, trained.validation, record)
        method = load_method(run, load_file(folder / STATE)).to(self.device)
        for cell in self.cells:
            path = cell.path(folder)
            if not whole_arrays(path):
                episodes = episodes_of(run.material, cell)
                results = evaluate(method, table, episodes)
                save_arrays(path, {"classes": episodes.classes.astype(np.int16), **results.to_arrays()})

    def assembled(self, method: Method, table: FeatureTable) -> Trained:
        """A method that has nothing to learn, with the weights of the trained runs that it is made of."""
        state, seconds = dict(method.state_dict()), 0.0
        for part in self.parts:
            weights = load_file(part.folder / STATE)
            state |= {f"parts.{part.run.method}.{name}": values for name, values in weights.items()}
            seconds += read_json(part.folder / RECORD)["seconds"]
        method.load_state_dict(state)
        episodes = validation_episodes(table, self.run.training).values()
        accuracy = float(np.mean([evaluate(method, table, each).accuracy.mean() for each in episodes]))
        return Trained({HEAD: state}, pd.DataFrame(), pd.DataFrame(), None, accuracy, seconds)


def save_run(
    folder: Path,
    states: Mapping[str, Mapping[str, Tensor]],
    history: pd.DataFrame,
    validation: pd.DataFrame,
    record: Mapping[str, Any],
) -> None:
    """Write the states (file name -> weights), the histories and, last, the record; then no checkpoint is needed."""
    (folder / RECORD).unlink(missing_ok=True)  # of a damaged one
    for name, state in states.items():
        with atomic_write(folder / name) as temporary:
            save_file({key: values.cpu().contiguous() for key, values in state.items()}, temporary)
    for name, frame in (("history", history), ("validation", validation)):
        with atomic_write(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_sealed(folder / RECORD, record, files=[*states, "history.csv", "validation.csv"])
    (folder / CHECKPOINT).unlink(missing_ok=True)


def load_method(run: Run, state: dict[str, Tensor]) -> Method:
    """A method with given weights, on the CPU, in evaluation mode."""
    method = run.untrained()
    method.load_state_dict(state)
    return method.eval()


def load_result(run: Run, cells: Sequence[TestCell], folder: Path) -> RunResult:
    """Read a finished run and these tests of it from its folder in the cache.

    Raises:
        StoreError: the record or a file of the run is missing or damaged.
    """
    record, tests = read_sealed(folder / RECORD), {}
    if record is None:
        raise StoreError(f"The run in {folder} is incomplete or damaged. Run the same command again.")
    for cell in cells:
        arrays = load_arrays(cell.path(folder))
        arrays.pop("classes", None)
        tests[cell] = QueryResults.from_arrays(arrays)
    frames = [_read_csv(folder / f"{name}.csv") for name in ("history", "validation")]
    return RunResult(run, record, *frames, tests, folder)


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()
