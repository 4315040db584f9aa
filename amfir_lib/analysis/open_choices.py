"""The open choices, measured: the default and every choice of ``choices.py``, trained or tested with one change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import AS_IS, Answers, collect_answers
from amfir_lib.analysis.calibration import Retest, Temperatures, fit_temperatures, retest
from amfir_lib.analysis.choices import DEFAULT, GROUPS, MATCHED, METHOD, TEST, Choice
from amfir_lib.analysis.contrasts import corrected, pooled_contrast
from amfir_lib.analysis.reliability import RIGHT, UNHURT, calibration_of, own_score, picks, pooled_picks
from amfir_lib.data.features import extract_stores
from amfir_lib.exports import text_of
from amfir_lib.methods import resolve_options
from amfir_lib.study.config import Config
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Run, RunResult, Series, run_all
from amfir_lib.study.study import flow_of, open_backbones, prepare_all, stream_names, test_cells, training_of

MOST_SEEDS = 2  # unless a notebook asks for more: classes set the interval far more than seeds
Resolved = dict[str, tuple[Any, Any]]  # name of a change of the data -> (default, alternative)


class Measured(NamedTuple):
    """What was trained and tested."""

    results: list[RunResult]  # of the default and of every choice; see ``choice_of``
    temperatures: list[Temperatures]  # of the default's runs, in their order
    resolved: dict[str, Resolved]  # key of a choice -> what it changed in the data, on the first data set
    cells: list[TestCell]
    seeds: Sequence[int]

    @property
    def defaults(self) -> list[RunResult]:
        """Results of the default, one per data set, class fold and seed."""
        return [result for result in self.results if choice_of(result) == DEFAULT]

    @property
    def trained(self) -> list[RunResult]:
        """All but the default's runs that were tested in another way."""
        return [result for result in self.results if "retest" not in result.record]


def choice_of(result: RunResult) -> str:
    """Key of the choice that a result belongs to; a namer of series for the tables."""
    return result.record["choice"]


def measure(config: Config, choices: Sequence[Choice], *, n_seeds: int = 0) -> Measured:
    """Train and test the default and every choice on all data sets, in this order; 0 seeds: ``MOST_SEEDS`` at most."""
    seeds = config.seeds if n_seeds else config.seeds[:MOST_SEEDS]
    parts = [_measure(config, name, choices, seeds) for name in config.datasets]
    results, temperatures = ([x for part in parts for x in part[i]] for i in (0, 1))
    return Measured(results, temperatures, *parts[0][2:])


def _measure(config: Config, name: str, choices: Sequence[Choice], seeds: Sequence[int]) -> Measured:
    """One data set, in its class folds."""
    materials = prepare_all(config, name)
    cells = test_cells(config, materials[0])
    settings = [training_of(config, material) for material in materials]

    def named(result: RunResult, key: str) -> RunResult:
        return replace(result, record=result.record | {"choice": key})

    def runs_of(read: Sequence[Material], options: Mapping[str, Any], **changed: Any) -> list[Run]:
        series = Series(DEFAULT, METHOD, dict(options))
        runs = [run for pair in zip(read, settings, strict=True) for run in series.runs(*pair, seeds)]
        return [replace(run, training=replace(run.training, **changed)) for run in runs]

    def calibrated(run: Run, fitted: Temperatures) -> Run:  # groups of training: one temperature, whatever the shots
        first, second = (round(by_shot[0], 6) for by_shot in fitted.values())
        return replace(
            run, options=run.options | {"score_temperature_first": first, "score_temperature_second": second}
        )

    defaults = run_all(runs_of(materials, {}), cells, **config.workplace, description=f"{name}: the default")
    temperatures = [fit_temperatures(result, cells) for result in defaults]
    data: dict[str, tuple[list[Material], Resolved]] = {}
    planned: list[tuple[Choice, Run, tuple[int, ...]]] = []  # and the shots that the run is kept for; all if empty
    for choice in (choice for choice in choices if choice.trains):
        change = repr(dict(choice.data))
        if change not in data:
            data[change] = changed_data(config, materials, choice.data)
        for shots in [(cell.n_shot,) for cell in cells] if choice.training.get("shots") == MATCHED else [()]:
            changed = dict(choice.training) | ({"shots": shots} if shots else {})
            runs = runs_of(data[change][0], choice.options, **changed)
            if choice.calibrated == GROUPS:
                runs = [calibrated(run, fitted) for run, fitted in zip(runs, temperatures, strict=True)]
            planned += [(choice, run, shots) for run in runs]
    computed = run_all([run for _, run, _ in planned], cells, **config.workplace, description=f"{name}: the choices")
    results = {DEFAULT: [named(result, DEFAULT) for result in defaults]}
    for (choice, _, shots), result in zip(planned, computed, strict=True):
        tests = {cell: test for cell, test in result.tests.items() if not shots or cell.n_shot in shots}
        results.setdefault(choice.key, []).append(named(replace(result, tests=tests), choice.key))
    retests = [
        (choice.key, Retest(result, choice.options, fitted if choice.calibrated == TEST else {}, tuple(cells)))
        for choice in choices
        if not choice.trains
        for result, fitted in zip(defaults, temperatures, strict=True)
    ]
    tested = retest([retest for _, retest in retests], n_jobs=config.jobs, device=config.device)
    for (key, _), result in zip(retests, tested, strict=True):
        results.setdefault(key, []).append(named(result, key))
    ordered = [result for key in (DEFAULT, *(choice.key for choice in choices)) for result in results[key]]
    resolved = {choice.key: data[repr(dict(choice.data))][1] for choice in choices if choice.data}
    return Measured(ordered, temperatures, resolved, cells, seeds)


def changed_data(
    config: Config, materials: Sequence[Material], data: Mapping[str, Any]
) -> tuple[list[Material], Resolved]:
    """One data set (in its class folds), with one thing about its features changed, and what was changed into what."""
    resolved: Resolved = {}
    changed, dataset = list(materials), materials[0].dataset
    for name, wanted in data.items():
        if name == "whiten":
            resolved[name] = materials[0].whiten, wanted
            changed = [replace(material, whiten=wanted) for material in changed]
            continue
        of_flow = name == "flow_algorithm"
        before = flow_of(config, dataset)[name] if of_flow else ""
        before = before or stream_names(config, dataset)[1]
        after = next(value for value in ((wanted,) if isinstance(wanted, str) else wanted) if value != before)
        other = config.having(**{name: after} if of_flow else {"backbone": f"compact+{after}"})
        resolved[name] = before, after
        for place, material in enumerate(changed):  # motion is read anew; appearance stays as it is
            motion = dataset.modalities[1]
            opened = {motion: open_backbones(other, material.dataset)[motion]}
            flow = flow_of(other, material.dataset) | {"n_jobs": config.jobs}
            stores = extract_stores(material.dataset, opened, cache_dir=config.cache_dir, **flow)
            changed[place] = replace(material, stores={**material.stores, **stores})
    return changed, resolved


def choices_frame(measured: Measured, choices: Sequence[Choice]) -> pd.DataFrame:
    """The default and every choice on every data set and number of shots.

    Returns:
        One row per choice, data set and shots: ``accuracy, difference`` (to the default), ``p_holm`` over the choices
        of the cell; what the choice's own score picks (``hit_rate_AIM, auroc_AIM``); ``calibration_error_M`` of each
        modality M; ``training_seconds``, missing where the default's runs were only tested.
    """
    described, seconds = _described(measured, choices), _seconds(measured)
    turned = {choice.key for choice in choices if resolve_options(METHOD, choice.options).eq3_literal}
    rows = []
    for place in collect_answers(measured.results, choice_of):
        default, counts, family = place.of(DEFAULT), place.counts(place.basis), []
        for key in place.series:
            difference, tests = place.of(key) - default, place.given[key, AS_IS]
            interval = place.interval(difference, counts)
            row = {"choice": key} | described[key] | place.where | {"accuracy": place.mean(place.of(key), counts)}
            row |= {"difference": place.mean(difference, counts), "half_width": interval.half_width}
            row |= {"p_value": interval.p_value} | _picked(place, key, turned=key in turned)
            row |= {f"calibration_error_{m}": calibration_of(tests, m)["calibration_error"] for m in tests[0].certainty}
            row |= {"training_seconds": seconds[key, place.dataset], "n_seeds": len(measured.seeds)}
            if key == DEFAULT:
                row |= dict.fromkeys(("difference", "half_width", "p_value"), np.nan)
            family.append(row)
        rows += [row | ({"verdict": "–"} if row["choice"] == DEFAULT else {}) for row in corrected(family)]
    return pd.DataFrame(rows)


def pooled_frame(measured: Measured, choices: Sequence[Choice]) -> pd.DataFrame:
    """Every choice minus the default, pooled over data sets and shots; ``p_holm`` over all choices."""
    described, seconds = _described(measured, choices), _seconds(measured)
    answers = collect_answers(measured.results, choice_of)
    rows = []
    for key in (choice.key for choice in choices):
        interval = pooled_contrast(answers, key, DEFAULT)
        row = {"choice": key} | described[key] | {"difference": interval.mean, "half_width": interval.half_width}
        of_choice = [value for (name, _), value in seconds.items() if name == key]
        rows.append(row | {"p_value": interval.p_value, "training_seconds": float(np.mean(of_choice))})
    return pd.DataFrame(corrected(rows))


def _described(measured: Measured, choices: Sequence[Choice]) -> dict[str, dict[str, str]]:
    described = {DEFAULT: dict.fromkeys(("decision", "default", "alternative"), "–")}
    described[DEFAULT] |= {"title": DEFAULT, "section": DEFAULT}
    for choice in choices:
        named = {"title": choice.title, "section": choice.section, "decision": choice.decision}
        described[choice.key] = named | choice.change(measured.resolved.get(choice.key))
    return described


def _seconds(measured: Measured) -> dict[tuple[str, str], float]:
    """(choice, data set) -> seconds of one training; NaN where nothing was trained."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for result in measured.results:
        key = choice_of(result), result.run.material.dataset.name
        seconds.setdefault(key, []).append(result.record["seconds"] or np.nan)
    return {key: float(np.mean(values)) for key, values in seconds.items()}


def _picked(place: Answers, key: str, *, turned: bool) -> dict[str, float]:
    """What the choice's own score picks, seeds together."""
    columns = {}
    for aim in (RIGHT, UNHURT):
        tests = place.given[key, AS_IS]
        seeds = [picks(own_score(test, turned=turned), test.correct, place.degraded, what=aim) for test in tests]
        seeds = [seed for seed in seeds if seed is not None and seed.counted.any()]
        both = pooled_picks(seeds) if seeds else None
        columns |= {f"hit_rate_{aim}": both.rate if both else np.nan, f"auroc_{aim}": both.auroc if both else np.nan}
    return columns


def decision_effects(pooled: pd.DataFrame, choices: Sequence[Choice]) -> dict[tuple[str, str], str]:
    """(id, option) of a decision -> what its alternatives change, for ``decisions.decisions_table``."""
    by_key = pooled.set_index("choice")
    effects: dict[tuple[str, str], list[str]] = {}
    for choice in choices:
        row = by_key.loc[choice.key]
        width = f" ± {text_of(row['half_width'], 'half width')}" if np.isfinite(row["half_width"]) else ""
        verdict = f", {row['verdict']}" if row["verdict"] in ("better", "worse") else ""
        text = f"{choice.title} {text_of(row['difference'], 'difference')}{width} points{verdict}"
        for decision in choice.decisions:
            effects.setdefault((decision.id, decision.option), []).append(text)
    return {key: "; ".join(texts) for key, texts in effects.items()}
