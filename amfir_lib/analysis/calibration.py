"""Trained runs tested in another way: with options that act at test alone, or with calibrated temperatures.

A head learns its temperature on the classes that it is trained on.  On new classes it is right less often, by an amount
that differs between modalities and numbers of shots, so free energies of two modalities are compared on two scales.
Temperatures fitted on validation classes put them on one (decision A6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from amfir_lib.errors import BadParameter
from amfir_lib.parallel import single_thread
from amfir_lib.storage import digest_of
from amfir_lib.study.cache import Job, compute, load_arrays, save_arrays, whole_arrays
from amfir_lib.study.evaluation import QueryResults, episode_outputs, evaluate
from amfir_lib.study.material import TestCell, episodes_of, table_of
from amfir_lib.study.runs import STATE, Run, RunResult, load_method
from amfir_lib.study.training import Training
from amfir_lib.workers import resolve_device

LOG_RANGE = 3.0  # temperatures between exp(-3) and exp(3)
FITTING_SEED, CHOOSING_SEED = 1, 0  # of the validation episodes: what is fitted on one list is judged on the other
Temperatures = dict[str, dict[int, float]]  # modality -> shots (0: all) -> T


def fit_temperature(log_posterior: Tensor, target: Tensor) -> float:
    """The temperature T at which p^(1/T), normalised again, gives the true classes the highest likelihood.

    A modality that says (0.9, 0.1) and is right in 3 of 4 cases: T = ln 9 / ln 3 = 2, which says (0.75, 0.25).

    Args:
        log_posterior: (..., N).
        target: (...) int64 true positions.
    Returns:
        T in [exp(-3), exp(3)]; above 1 where the posterior is over-confident.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    scores, labels = log_posterior.double(), target.unsqueeze(-1)

    def loss(log_temperature: float) -> float:
        return -float(torch.log_softmax(scores / np.exp(log_temperature), -1).gather(-1, labels).mean())

    best = minimize_scalar(loss, bounds=(-LOG_RANGE, LOG_RANGE), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(best.x))


def recalibrated(state: Mapping[str, Tensor], temperatures: Mapping[str, float]) -> dict[str, Tensor]:
    """The weights of a trained AMFIR with every modality's temperature multiplied by what was fitted.

    Raises:
        BadParameter: the state has no head of that modality.
    """
    changed = dict(state)
    for modality, temperature in temperatures.items():
        name = f"heads.{modality}.log_scale"
        if name not in changed:
            raise BadParameter(f'there is no "{name}" in the state, so {modality} cannot be calibrated. Give AMFIR\'s.')
        changed[name] = changed[name] - float(np.log(temperature))
    return changed


def validation_cells(settings: Training, cells: Sequence[TestCell], *, seed: int) -> list[TestCell]:
    """Validation episodes with the shots of the test cells: as many as in training, with its ways."""
    n_way, n_episodes = settings.val_n_way or settings.n_way, settings.n_val_episodes
    return [TestCell(n_way, cell.n_shot, cell.n_query, n_episodes, split="val", seed=seed) for cell in cells]


def fit_temperatures(result: RunResult, cells: Sequence[TestCell]) -> Temperatures:
    """Temperatures of a trained run's modalities for the shots of the cells, fitted on validation classes.

    Returns:
        modality -> shots -> T; under 0 shots one temperature for all of them together.
    """
    method, table = result.method(), table_of(result.run.read)
    posteriors: dict[str, dict[int, Tensor]] = {}
    targets: dict[int, Tensor] = {}
    with single_thread():
        for cell in validation_cells(result.run.training, cells, seed=FITTING_SEED):
            outputs = list(episode_outputs(method, table, cell.episodes(table), evidence=True))
            targets[cell.n_shot] = torch.cat([target.flatten() for _, target in outputs])
            for m in outputs[0][0].modality_log_posteriors:
                parts = [output.modality_log_posteriors[m].flatten(0, 1) for output, _ in outputs]
                posteriors.setdefault(m, {})[cell.n_shot] = torch.cat(parts)
        temperatures = {}
        for m, by_shot in posteriors.items():
            temperatures[m] = {n_shot: fit_temperature(x, targets[n_shot]) for n_shot, x in by_shot.items()}
            temperatures[m][0] = fit_temperature(torch.cat(list(by_shot.values())), torch.cat(list(targets.values())))
    return temperatures


@dataclass(frozen=True)
class Retest(Job):
    """A trained run, and the options that act at test alone, or temperatures (none: empty), with which it is tested.

    The weights are those of the trained run, so that the difference is what the change does at test, and nothing else.
    """

    trained: RunResult
    options: Mapping[str, Any]
    temperatures: Temperatures
    cells: tuple[TestCell, ...]
    device: str = "cpu"

    @property
    def run(self) -> Run:
        """The trained run with the options of the test."""
        return replace(self.trained.run, options={**self.trained.run.options, **self.options})

    @property
    def item_name(self) -> str:
        """How it is called in messages."""
        return self.run.item_name

    @property
    def key(self) -> Path:
        """Where the cache keeps the answers: beside those of the trained run."""
        fitted = {m: {n: round(t, 6) for n, t in by_shot.items()} for m, by_shot in self.temperatures.items()}
        return self.trained.folder / f"retest-{digest_of([self.run.key, fitted, [c.name for c in self.cells]])}.npz"

    @property
    def done(self) -> bool:
        return whole_arrays(self.key)

    def work(self) -> None:
        state, arrays = load_file(self.trained.folder / STATE), {}
        table = table_of(self.run.read).to(self.device)
        for cell in self.cells:
            fitted = {m: by_shot[cell.n_shot] for m, by_shot in self.temperatures.items()}
            method = load_method(self.run, recalibrated(state, fitted)).to(self.device)
            results = evaluate(method, table, episodes_of(self.run.material, cell))
            arrays |= {f"{cell.name}/{name}": values for name, values in results.to_arrays().items()}
        save_arrays(self.key, arrays)


def retest(retests: Sequence[Retest], *, n_jobs: int = 1, device: str = "cpu") -> list[RunResult]:
    """The results of these tests, from the cache or computed; records are those of training, without its seconds."""
    device = resolve_device(device)
    retests = [replace(item, device=device) for item in retests]
    compute(retests, n_jobs=n_jobs if device == "cpu" else 1, description="tests of trained runs")
    results = []
    for item in retests:
        by_cell: dict[str, dict[str, np.ndarray]] = {}
        for name, values in load_arrays(item.key).items():
            cell, _, rest = name.partition("/")
            by_cell.setdefault(cell, {})[rest] = values
        tests = {cell: QueryResults.from_arrays(by_cell[cell.name]) for cell in item.cells}
        record = item.trained.record | {"seconds": 0.0, "retest": True}
        results.append(replace(item.trained, run=item.run, tests=tests, record=record))
    return results
