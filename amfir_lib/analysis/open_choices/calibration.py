"""Temperatures fitted on validation classes: what makes the posteriors of two modalities comparable (decision A6).

A head learns its temperature on the classes that it is trained on.  On new classes it is right less often, by an amount
that differs between modalities and numbers of shots, so free energies of two modalities are compared on two scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from amfir_lib.errors import BadParameter
from amfir_lib.study.evaluation import episode_outputs
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import RunResult, TestCell
from amfir_lib.study.training import Training

LOG_RANGE = 3.0  # temperatures between exp(-3) and exp(3)
FITTING_SEED, CHOOSING_SEED = 1, 0  # of the validation episodes: what is fitted on one list is judged on the other


def fit_temperature(log_posterior: Tensor, target: Tensor) -> float:
    """The temperature T at which p^(1/T), normalised again, gives the true classes the highest likelihood.

    Args:
        log_posterior: (..., N).
        target: (...) int64 true positions.
    Returns:
        T in [exp(-3), exp(3)]; above 1 where the posterior is over-confident.
    Example:
        A modality that says (0.9, 0.1) and is right in 3 of 4 cases: T = ln 9 / ln 3 = 2, which says (0.75, 0.25).
    """
    scores, labels = log_posterior.double(), target.unsqueeze(-1)

    def loss(log_temperature: float) -> float:
        return -float(torch.log_softmax(scores / np.exp(log_temperature), -1).gather(-1, labels).mean())

    found = minimize_scalar(loss, bounds=(-LOG_RANGE, LOG_RANGE), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def recalibrated(state: Mapping[str, Tensor], temperatures: Mapping[str, float]) -> dict[str, Tensor]:
    """The weights of a trained AMFIR with every modality's temperature multiplied by what was fitted.

    Args:
        state: of a method with one head a modality.
        temperatures: modality -> T.
    Returns:
        A new state; posteriors, free energies, certainties and fused distances all follow from it.
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
    """Validation episodes with the shots of the test cells: as many as in training, with its ways.

    Args:
        settings: of the training.
        cells: test cells.
        seed: of the list; ``FITTING_SEED`` or ``CHOOSING_SEED``.
    """
    n_way = settings.val_n_way or settings.n_way
    return [
        TestCell(n_way, cell.n_shot, cell.n_query, settings.n_val_episodes, split="val", seed=seed) for cell in cells
    ]


def fit_temperatures(result: RunResult, table: FeatureTable, cells: Sequence[TestCell]) -> dict[str, dict[int, float]]:
    """Temperatures of a trained run's modalities, fitted on validation classes.

    Args:
        result: of a method with modality posteriors.
        table: its features.
        cells: test cells, whose shots are asked for.
    Returns:
        modality -> shots -> T; under 0 shots one temperature for all of them together.
    """
    said: dict[str, dict[int, tuple[Tensor, Tensor]]] = {}
    method = result.method()
    for cell in validation_cells(result.run.training, cells, seed=FITTING_SEED):
        posteriors: dict[str, list[Tensor]] = {}
        targets = []
        for output, target in episode_outputs(method, table, cell.episodes(table), evidence=True):
            targets.append(target.flatten())
            for modality, own in output.modality_log_posteriors.items():
                posteriors.setdefault(modality, []).append(own.flatten(0, 1))
        for modality, parts in posteriors.items():
            said.setdefault(modality, {})[cell.n_shot] = torch.cat(parts), torch.cat(targets)
    found = {}
    for modality, by_shot in said.items():
        found[modality] = {n_shot: fit_temperature(*own) for n_shot, own in by_shot.items()}
        found[modality][0] = fit_temperature(*(torch.cat(both) for both in zip(*by_shot.values(), strict=True)))
    return found
