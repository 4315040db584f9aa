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

from amfir_lib.calibration import CHOOSING_SEED, answers, validation_cells
from amfir_lib.choice_runs import Measured, Temperatures
from amfir_lib.episodes import Episodes
from amfir_lib.experiments import RunResult, TestCell
from amfir_lib.feature_table import FeatureTable
from amfir_lib.inference import standardise
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.methods.reliability import JOINT_READINGS, tempered
from amfir_lib.parallel import single_thread
from amfir_lib.picks import RIGHT, UNHURT, Picks, picks, pooled_picks
from amfir_lib.readings import READINGS
from amfir_lib.tables import ALL

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
    outputs, target = answers(result.method(), table, episodes)
    correct = {m: _correct(outputs, target, m) for m in temperatures}
    degraded = None
    if table.degraded is not None:
        degraded = table.degraded[episodes.query].reshape(target.shape)
    scores = dict(_calibrated_scores(outputs, {m: own[episodes.n_shot] for m, own in temperatures.items()}))
    found = {}
    for what, basis in [*((RIGHT, basis) for basis in bases), (UNHURT, ALL)]:
        own = {column: picks(score, correct, degraded, what=what, basis=basis) for column, score in scores.items()}
        if all(one is not None and one.counted.any() for one in own.values()):
            found[what, basis] = own
    return found


def _correct(outputs: Sequence[EpisodeOutput], target: Tensor, modality: str) -> np.ndarray:
    """(E, M) bool: whether a modality alone is right."""
    said = torch.cat([output.modality_log_posteriors[modality].argmax(-1) for output in outputs])
    return (said == target).numpy()


def _calibrated_scores(
    outputs: Sequence[EpisodeOutput], temperatures: Mapping[str, float]
) -> Iterator[tuple[Column, dict[str, np.ndarray]]]:
    """(score, calibration), and modality -> (E, M) values."""
    for calibration in CALIBRATIONS:
        factors = {m: own if calibration == CALIBRATED else 1.0 for m, own in temperatures.items()}
        for name, values in all_scores(outputs, factors).items():
            if calibration == Z_SCORE:
                values = {m: standardise(one) for m, one in values.items()}
            yield (name, calibration), {m: one.numpy() for m, one in values.items()}


@torch.inference_mode()
def all_scores(outputs: Sequence[EpisodeOutput], temperatures: Mapping[str, float]) -> dict[str, dict[str, Tensor]]:
    """Every score that needs no labels.

    Args:
        outputs: of a method with two modalities, with the video vectors as evidence.
        temperatures: modality -> T by which its posterior is softened first.
    Returns:
        score -> modality -> (E, M).
    """
    parts: dict[str, dict[str, list[Tensor]]] = {name: {m: [] for m in temperatures} for name in SCORED}
    for output in outputs:
        evidence = {m: tempered(own, temperatures[m]) for m, own in output.evidence.items()}
        posteriors = {m: own.log_posterior for m, own in evidence.items()}
        for name in SCORED:
            if name in JOINT_READINGS:
                values = JOINT_READINGS[name](posteriors)
            else:
                values = {m: READINGS[name](own) for m, own in evidence.items()}
            for m, one in values.items():
                parts[name][m].append(one)
    return {name: {m: torch.cat(own) for m, own in by_modality.items()} for name, by_modality in parts.items()}
