"""Every score on the default's trained runs: does calibration let free energy pick the right modality?

Temperatures are fitted on one list of validation episodes, scores are compared and chosen on another one of the same
validation classes, and what was chosen is reported on test classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amfir_lib.analysis.open_choices.calibration import CHOOSING_SEED, validation_cells
from amfir_lib.analysis.open_choices.choice_runs import Measured, Temperatures
from amfir_lib.analysis.open_choices.picks import RIGHT, UNHURT, Picks, picks, pooled_picks
from amfir_lib.analysis.tables import ALL
from amfir_lib.inference import standardise
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.parallel import single_thread
from amfir_lib.readings import JOINT_READINGS, READINGS, tempered
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import episode_outputs
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import RunResult, TestCell

LEARNT, Z_SCORE, CALIBRATED = "as learnt", "z-scored", "calibrated"
CALIBRATIONS = (LEARNT, Z_SCORE, CALIBRATED)
FREE_ENERGY, CERTAINTY = "centred", "neg_certainty"
SCORED = (*(name for name in READINGS if name != "oracle"), *JOINT_READINGS)
Column = tuple[str, str]  # score, calibration
Kind = tuple[str, str]  # what is to be picked, basis


@dataclass(frozen=True)
class ScoredCell:
    """All scores on one data set, class fold and number of shots.

    Attributes:
        dataset: its name.
        fold: number of the class fold.
        cell: the episodes.
        classes: (E, N) of each episode.
        picked: (what, basis) -> (score, calibration) -> picks of all seeds together; a kind that the data do not know,
            or that no query belongs to, is missing.
    """

    dataset: str
    fold: int
    cell: TestCell
    classes: np.ndarray
    picked: dict[Kind, dict[Column, Picks]]


def score_cells(measured: Measured, *, split: str, bases: Sequence[str] = (ALL,)) -> list[ScoredCell]:
    """Every score, calibrated in every way, on the default's runs.

    Args:
        measured: from ``choice_runs.measure``.
        split: "test" for the cells of all tables, or "val" for the episodes on which scores are chosen.
        bases: which queries count for the right modality.
    Returns:
        One entry per data set, class fold and number of shots.
    """
    by_place: dict[tuple[str, str], list[tuple[RunResult, Temperatures]]] = {}
    for result, own in zip(measured.defaults, measured.temperatures, strict=True):
        data = result.run.material.dataset
        by_place.setdefault((data.name, data.digest), []).append((result, own))
    folds: dict[str, int] = {}
    found = []
    for (name, _), runs in by_place.items():
        fold = folds[name] = folds.get(name, -1) + 1
        table, cells = runs[0][0].run.read.table(), list(measured.cells)
        if split == "val":
            cells = validation_cells(runs[0][0].run.training, cells, seed=CHOOSING_SEED)
        for cell in cells:
            episodes = cell.episodes(table)
            with single_thread():
                parts = [_scored(result, own, table, episodes, bases) for result, own in runs]
            kinds = [kind for kind in parts[0] if all(kind in part for part in parts)]
            picked = {
                kind: {column: pooled_picks([part[kind][column] for part in parts]) for column in parts[0][kind]}
                for kind in kinds
            }
            found.append(ScoredCell(name, fold, cell, episodes.classes, picked))
    return found


def _scored(
    result: RunResult, temperatures: Temperatures, table: FeatureTable, episodes: Episodes, bases: Sequence[str]
) -> dict[Kind, dict[Column, Picks]]:
    """One trained run on the episodes of one cell."""
    factors = {m: own[episodes.n_shot] for m, own in temperatures.items()}
    parts: dict[Column, dict[str, list[np.ndarray]]] = {}
    right: dict[str, list[np.ndarray]] = {m: [] for m in factors}
    for output, target in episode_outputs(result.method(), table, episodes, evidence=True):
        for m, own in output.modality_log_posteriors.items():
            right[m].append((own.argmax(-1) == target).numpy())
        for column, values in _calibrated_scores(output, factors):
            for m, own in values.items():
                parts.setdefault(column, {}).setdefault(m, []).append(own.numpy())
    correct = {m: np.concatenate(own) for m, own in right.items()}
    scores = {column: {m: np.concatenate(v) for m, v in own.items()} for column, own in parts.items()}
    degraded = None
    if table.degraded is not None:
        degraded = table.degraded[episodes.query].reshape(len(episodes), -1)
    found = {}
    for what, basis in [*((RIGHT, basis) for basis in bases), (UNHURT, ALL)]:
        own = {column: picks(score, correct, degraded, what=what, basis=basis) for column, score in scores.items()}
        if all(one is not None and one.counted.any() for one in own.values()):
            found[what, basis] = own
    return found


def _calibrated_scores(
    output: EpisodeOutput, temperatures: Mapping[str, float]
) -> Iterator[tuple[Column, dict[str, Tensor]]]:
    """(score, calibration), and modality -> (E, M) values."""
    learnt = all_scores(output, dict.fromkeys(temperatures, 1.0))
    calibrated = all_scores(output, temperatures)
    for name, values in learnt.items():
        yield (name, LEARNT), values
        yield (name, Z_SCORE), {m: standardise(one) for m, one in values.items()}
        yield (name, CALIBRATED), calibrated[name]


@torch.inference_mode()
def all_scores(output: EpisodeOutput, temperatures: Mapping[str, float]) -> dict[str, dict[str, Tensor]]:
    """Every score that needs no labels.

    Args:
        output: of a method with two modalities, with the video vectors as evidence.
        temperatures: modality -> T by which its posterior is softened first.
    Returns:
        score -> modality -> (E, M).
    """
    evidence = {m: tempered(own, temperatures[m]) for m, own in output.evidence.items()}
    posteriors = {m: own.log_posterior for m, own in evidence.items()}
    scores = {name: {m: READINGS[name](own) for m, own in evidence.items()} for name in SCORED if name in READINGS}
    return scores | {name: reading(posteriors) for name, reading in JOINT_READINGS.items()}
