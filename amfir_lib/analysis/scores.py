"""Which modality every score picks, on the default's trained runs, before and after calibration.

A query counts where exactly one modality is right (or exactly one is degraded).  Temperatures are fitted on one list of
validation episodes, scores are compared and chosen on another one of the same classes, and what was chosen is reported
on test classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amfir_lib.analysis.answers import ALL, UNDEGRADED, Answers, Fold, estimate, join_folds
from amfir_lib.analysis.calibration import CHOOSING_SEED, validation_cells
from amfir_lib.analysis.claims import of_difference, row, setting_of, settle
from amfir_lib.analysis.open_choices import Measured
from amfir_lib.analysis.reliability import RIGHT, UNHURT, picks
from amfir_lib.inference import standardise
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.parallel import single_thread
from amfir_lib.readings import JOINT_READINGS, READINGS, tempered
from amfir_lib.study.evaluation import episode_outputs
from amfir_lib.study.material import table_of
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Interval

LEARNT, Z_SCORE, CALIBRATED = "as learnt", "z-scored", "calibrated"
CALIBRATIONS = (LEARNT, Z_SCORE, CALIBRATED)
FREE_ENERGY, CERTAINTY = "centred", "neg_certainty"
SCORED = (*(name for name in READINGS if name != "oracle"), *JOINT_READINGS)
CHANCE = 0.5
NAMES = {
    "centred": "free energy (centred)",
    "helmholtz": "Helmholtz free energy",
    "vfe_gauss": "Gaussian variational",
    "vfe_discrete": "discrete variational",
    "entropy": "entropy",
    "neg_certainty": "certainty (AMFAR)",
    "joint": "divergence from the joint posterior (ours)",
    "joint_decision": "surprise under the joint posterior (ours)",
}
Column = tuple[str, str]  # score, calibration


def score_answers(measured: Measured, *, split: str, bases: Sequence[str] = (ALL,)) -> list[Answers]:
    """Every score, calibrated in every way, on the default's runs.

    Args:
        measured: the runs, and their temperatures.
        split: "test", or "val" for the episodes on which scores are chosen.
        bases: which queries count for the right modality.
    Returns:
        One place per data set and number of shots; series are the scores, conditions the calibrations, quantities
        (aim, basis, name of a field of ``Picks``); the AUROC is one number.
    """
    kinds = [*((RIGHT, basis) for basis in bases), (UNHURT, ALL)]
    places: dict[tuple[str, str, int], Answers] = {}
    for result, temperatures in zip(measured.defaults, measured.temperatures, strict=True):
        data, cells = result.run.material.dataset, measured.cells
        if split == "val":
            cells = validation_cells(result.run.training, cells, seed=CHOOSING_SEED)
        for asked, cell in zip(measured.cells, cells, strict=True):
            at = data.name, data.digest, cell.n_shot
            if at not in places:  # one cell for all class folds, whose validation classes may differ in number
                fold = Fold.drawn(cell, result.run.material.layout())
                places[at] = Answers(data.name, replace(asked, split=split), (fold,), {})
            for column, answer in _scored(result, temperatures, places[at], kinds).items():
                places[at].given.setdefault(column, []).append(answer)
    return join_folds(list(places.values()))


def _scored(
    result: RunResult, temperatures: Mapping[str, Mapping[int, float]], place: Answers, kinds: Sequence[tuple[str, str]]
) -> dict[Column, dict[Hashable, np.ndarray]]:
    """(score, calibration) -> answers of one trained run on the episodes of one place."""
    (fold,) = place.folds
    fitted = {m: by_shot[place.cell.n_shot] for m, by_shot in temperatures.items()}
    right: dict[str, list[np.ndarray]] = {m: [] for m in fitted}
    scores: dict[Column, dict[str, list[np.ndarray]]] = {}

    def keep(column: Column, values: Mapping[str, Tensor]) -> None:
        for m, x in values.items():
            scores.setdefault(column, {}).setdefault(m, []).append(x.numpy())

    with single_thread(), torch.inference_mode():
        for output, target in episode_outputs(result.method(), table_of(result.run.read), fold.episodes, evidence=True):
            for m, log_posterior in output.modality_log_posteriors.items():
                right[m].append((log_posterior.argmax(-1) == target).numpy())
            for calibration, factors in ((LEARNT, dict.fromkeys(fitted, 1.0)), (CALIBRATED, fitted)):
                for name, values in all_scores(output, factors).items():
                    keep((name, calibration), values)
                    if calibration == LEARNT:
                        keep((name, Z_SCORE), {m: standardise(x) for m, x in values.items()})
    correct = {m: np.concatenate(parts) for m, parts in right.items()}
    answers: dict[Column, dict[Hashable, np.ndarray]] = {}
    for column, by_modality in scores.items():
        score = {m: np.concatenate(parts) for m, parts in by_modality.items()}
        for aim, basis in kinds:
            picked = picks(score, correct, fold.degraded, what=aim, basis=basis)
            if picked is not None and picked.counted.any():
                quantities = {(aim, basis, name): np.atleast_1d(values) for name, values in vars(picked).items()}
                answers.setdefault(column, {}).update(quantities)
    return answers


def all_scores(output: EpisodeOutput, temperatures: Mapping[str, float]) -> dict[str, dict[str, Tensor]]:
    """score -> modality -> (E, M), of every score that needs no labels, posteriors softened by temperatures first."""
    evidence = {m: tempered(given, temperatures[m]) for m, given in output.evidence.items()}
    scores = {name: {m: READINGS[name](x) for m, x in evidence.items()} for name in SCORED if name in READINGS}
    posteriors = {m: x.log_posterior for m, x in evidence.items()}
    return scores | {name: reading(posteriors) for name, reading in JOINT_READINGS.items()}


def hit_rate(
    places: Sequence[Answers], column: Column, minus: Column | float = 0.0, *, aim: str = RIGHT, basis: str = ALL
) -> Interval | None:
    """Share of the counted queries in which a score picks rightly, seeds counted together; None where nothing is known.

    Args:
        places: from ``score_answers``.
        column: (score, calibration).
        minus: another column, on the same queries, or a number such as ``CHANCE``.
        aim, basis: ``what`` and ``basis`` of ``reliability.picks``.
    """

    def difference(place: Answers) -> tuple[np.ndarray, np.ndarray]:
        shares = []
        for asked in (column, minus) if isinstance(minus, tuple) else (column,):
            hit, counted = (place.by_seed(*asked, quantity=(aim, basis, name)).sum(0) for name in ("hit", "counted"))
            shares.append(np.divide(hit, counted, out=np.zeros(len(hit)), where=counted > 0))
        return shares[0] - (shares[1] if isinstance(minus, tuple) else minus), counted

    known = _known(places, aim, basis)
    return estimate(known, difference) if known else None


def _known(places: Sequence[Answers], aim: str, basis: str = ALL) -> list[Answers]:
    """Those in which some query counts, for every seed."""
    every = [(place, [answer for seeds in place.given.values() for answer in seeds]) for place in places]
    return [place for place, answers in every if all((aim, basis, "hit") in answer for answer in answers)]


def scores_frame(validation: Sequence[Answers], test: Sequence[Answers]) -> pd.DataFrame:
    """All scores on validation and test classes; ``gain``: over certainty as learnt, on the same queries."""
    rows = []
    for split, places in (("val", validation), ("test", test)):
        for aim in (RIGHT, UNHURT):
            for column in ((score, calibration) for score in SCORED for calibration in CALIBRATIONS):
                rate = hit_rate(places, column, aim=aim)
                if rate is None:
                    continue
                ahead = hit_rate(places, column, (CERTAINTY, LEARNT), aim=aim)
                areas = [place.by_seed(*column, quantity=(aim, ALL, "auroc")).mean() for place in _known(places, aim)]
                rows.append({
                    "split": split, "what": aim, "score": column[0], "calibration": column[1],
                    "hit_rate": rate.mean, "half_width": rate.half_width, "gain": ahead.mean,
                    "gain_half_width": ahead.half_width, "auroc": float(np.mean(areas)),
                })  # fmt: skip
    return pd.DataFrame(rows)


def score_claims(places: Sequence[Answers], *, notebook: str) -> list[dict[str, str]]:
    """The modality of lower free energy is the reliable one, and free energy finds it at least as often as certainty.

    Both are asked for the modality that is right and for the one that is not degraded, and once more with calibrated
    posteriors; on test classes, with both bases.
    """
    free_energy, certainty = (FREE_ENERGY, LEARNT), (CERTAINTY, LEARNT)
    aims = {RIGHT: "that is right", UNHURT: "that is not degraded"}
    asked = [
        (f"lower_free_energy_is_{aim}", f"The modality of lower free energy is the one {words} more often than chance "
         "(50 %)", aim, free_energy, CHANCE)
        for aim, words in aims.items()
    ] + [
        (f"free_energy_picks_{aim}_as_certainty", f"Free energy picks the modality {words} at least as often as "
         "certainty", aim, free_energy, certainty)
        for aim, words in aims.items()
    ] + [
        ("calibrated_free_energy_picks_right_as_certainty", "The same for the modality that is right, both calibrated "
         "on validation classes", RIGHT, (FREE_ENERGY, CALIBRATED), (CERTAINTY, CALIBRATED))
    ]  # fmt: skip
    about = {"notebook": notebook, "setting": setting_of(places)}
    rows = []
    for key, claim, aim, one, other in asked:
        for basis in (ALL, UNDEGRADED):
            interval = hit_rate(places, one, other, aim=aim, basis=basis)
            if interval is not None:
                rows.append(row(key, claim, "Sec. 3.3, Eq. 3", basis=basis, **of_difference(interval), **about))
    return settle(rows)
