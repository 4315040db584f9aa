"""A trained run tested in another way: with options that act at test alone, or with calibrated temperatures.

The weights are those of the trained run, so that the difference is what the change does at test, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from amfir_lib.analysis.open_choices.calibration import recalibrated
from amfir_lib.errors import BadParameter
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.runs import Run, RunResult, TestCell, load_method
from amfir_lib.workers import resolve_device

TEST_OPTIONS = ("ami_weight", "ami_power", "ami_distances")  # of AMFIR: they enter neither loss nor gradient


@dataclass(frozen=True)
class Retest:
    """One trained run and how it is tested.

    Attributes:
        trained: of AMFIR.
        options: of ``TEST_OPTIONS``, with new values.
        temperatures: modality -> shots -> factor of the temperature that was learnt; empty for none.
    Raises:
        BadParameter: an option that training depends on.
    """

    trained: RunResult
    options: Mapping[str, Any] = field(default_factory=dict)
    temperatures: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        others = sorted(set(self.options) - set(TEST_OPTIONS))
        if others:
            raise BadParameter(
                f"{', '.join(others)} acts in training too, so a trained run cannot be tested with another value. "
                f"Train with it, or change only {', '.join(TEST_OPTIONS)}."
            )

    @property
    def run(self) -> Run:
        """The trained run with the options of the test."""
        return replace(self.trained.run, options={**self.trained.run.options, **self.options})

    def path(self, cell: TestCell) -> Path:
        """Where the cache keeps the results of a cell: beside those of the trained run."""
        own = {m: round(by_shot[cell.n_shot], 6) for m, by_shot in self.temperatures.items()}
        return self.trained.folder / f"{cell.name}-{digest_of([self.run.key, own])}.npz"


def retest_all(
    retests: Sequence[Retest], cells: Sequence[TestCell], *, n_jobs: int = 1, device: str = "cpu"
) -> list[RunResult]:
    """Test trained runs in other ways, in parallel; what the cache holds is not computed again.

    Args:
        retests: which runs, and how.
        cells: test episodes; with temperatures, of shots that these are known for.
        n_jobs, device: as ``run_all``.
    Returns:
        One result each, in order, with the record of the trained run and the options of the test.
    """
    device = resolve_device(device)
    by_run: dict[str, list[Retest]] = {}
    for one in retests:
        if not all(one.path(cell).exists() for cell in cells):
            by_run.setdefault(one.trained.run.key, []).append(one)
    work = partial(_execute, cells=tuple(cells), device=device)
    n_jobs = n_jobs if device == "cpu" else 1
    map_parallel(work, list(by_run.values()), n_jobs=n_jobs, description="tests of trained runs", unit="run")
    return [_load(one, cells) for one in retests]


def _execute(retests: list[Retest], *, cells: tuple[TestCell, ...], device: str) -> None:
    """All tests of one trained run."""
    trained = retests[0].trained
    state = load_file(trained.folder / "state.safetensors")
    table = trained.run.read.table().to(device)
    for cell in cells:
        episodes = cell.episodes(table)
        for one in retests:
            if not (path := one.path(cell)).exists():
                own = {m: by_shot[cell.n_shot] for m, by_shot in one.temperatures.items()}
                results = evaluate(load_method(one.run, recalibrated(state, own)).to(device), table, episodes)
                with atomic_write(path) as temporary:
                    np.savez_compressed(temporary, **results.to_arrays())


def _load(retest: Retest, cells: Sequence[TestCell]) -> RunResult:
    tests = {}
    for cell in cells:
        with np.load(retest.path(cell)) as arrays:
            tests[cell] = QueryResults.from_arrays(dict(arrays))
    return replace(retest.trained, run=retest.run, tests=tests)
