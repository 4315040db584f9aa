"""The runs behind the open choices: each trained or tested as the default is, with one thing changed."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

from amfir_lib.analysis.open_choices.calibration import fit_temperatures
from amfir_lib.analysis.open_choices.choice_data import Resolved, changed_data
from amfir_lib.analysis.open_choices.choices import DEFAULT, GROUPS, MATCHED, METHOD, TEST, Choice
from amfir_lib.analysis.open_choices.retest import Retest, retest_all
from amfir_lib.parallel import single_thread
from amfir_lib.study.config import Config
from amfir_lib.study.materials import prepare_all, test_cells, training_of
from amfir_lib.study.runs import Material, Run, RunResult, Series, TestCell, run_all
from amfir_lib.study.training import Training

MOST_SEEDS = 2  # unless a notebook asks for more: classes set the interval far more than seeds
Temperatures = dict[str, dict[int, float]]  # modality -> shots (0: all) -> T


@dataclass(frozen=True)
class Measured:
    """What was trained and tested.

    Attributes:
        defaults: results of the default, one per data set, class fold and seed.
        results: of the default and of every choice; ``record["choice"]`` holds the key.
        trained: every training by itself, for the record; one for several numbers of shots is called after these.
        temperatures: in the order of ``defaults``.
        resolved: key of a choice -> what it changed in the data, as it turned out on the first data set.
        cells: the test cells.
        seeds: training seeds of every choice.
    """

    defaults: tuple[RunResult, ...]
    results: tuple[RunResult, ...]
    trained: tuple[RunResult, ...]
    temperatures: tuple[Temperatures, ...]
    resolved: dict[str, Resolved]
    cells: tuple[TestCell, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class _Planned:
    """A training of a choice: which run, in place of which default, and which shots it is kept for (all if empty)."""

    choice: Choice
    run: Run
    place: int
    shots: tuple[int, ...] = ()


def choice_of(result: RunResult) -> str:
    """Key of the choice that a result belongs to; a namer of series for the tables."""
    return result.record["choice"]


def measure(config: Config, choices: Sequence[Choice], *, backbone: str = "auto", n_seeds: int = 0) -> Measured:
    """Train and test the default and every choice on all data sets of the configuration.

    Args:
        config: of the notebook.
        choices: of ``amfir_lib.analysis.open_choices.choices``.
        backbone: of the default.
        n_seeds: training seeds; 0 for ``MOST_SEEDS``, or those of the profile if it has fewer.
    Returns:
        Results in the order of the choices, the default first.
    """
    seeds = config.seeds if n_seeds else config.seeds[:MOST_SEEDS]
    parts = [_measure(config, name, choices, seeds, backbone=backbone) for name in config.datasets]
    return Measured(
        defaults=tuple(one for part in parts for one in part.defaults),
        results=tuple(one for part in parts for one in part.results),
        trained=tuple(one for part in parts for one in part.trained),
        temperatures=tuple(one for part in parts for one in part.temperatures),
        resolved={key: value for part in reversed(parts) for key, value in part.resolved.items()},
        cells=parts[0].cells,
        seeds=parts[0].seeds,
    )


def _measure(
    config: Config, name: str, choices: Sequence[Choice], seeds: tuple[int, ...], *, backbone: str
) -> Measured:
    """One data set, in its class folds."""
    materials = prepare_all(config, name, backbone=backbone)
    cells = tuple(test_cells(config, materials[0]))
    where = {"cache_dir": config.cache_dir, "n_jobs": config.jobs, "device": config.device}

    def compute(runs: Sequence[Run], what: str) -> list[RunResult]:
        with _reasons_counted():
            return run_all(runs, cells, **where, description=f"{name}: {what}")

    settings = [training_of(config, material) for material in materials]
    plain = _runs(materials, {}, settings, seeds)
    defaults = compute(plain, "the default")
    temperatures = [_temperatures(result, cells) for result in defaults]
    planned: list[_Planned] = []
    resolved: dict[str, Resolved] = {}
    known: dict[str, tuple[list[Material], Resolved]] = {}
    for choice in choices:
        if not choice.trains:
            continue
        read = materials
        if choice.data:
            if (data := repr(dict(choice.data))) not in known:
                known[data] = changed_data(config, materials, choice.data, backbone=backbone)
            read, resolved[choice.key] = known[data]
        for shots in [(cell.n_shot,) for cell in cells] if choice.training.get("shots") == MATCHED else [()]:
            changed = dict(choice.training) | ({"shots": shots} if shots else {})
            runs = _runs(read, choice.options, settings, seeds, **changed)
            if choice.calibrated == GROUPS:
                runs = [_with_temperatures(run, own) for run, own in zip(runs, temperatures, strict=True)]
            planned += [_Planned(choice, run, place, shots) for place, run in enumerate(runs)]
    computed = compute([one.run for one in planned], "the choices")
    trained = [_kept(one, result) for one, result in zip(planned, computed, strict=True)]
    retests = [
        (choice.key, Retest(result, choice.options, own if choice.calibrated == TEST else {}))
        for choice in choices
        if not choice.trains
        for result, own in zip(defaults, temperatures, strict=True)
    ]
    tested = retest_all([one for _, one in retests], cells, n_jobs=config.jobs, device=config.device)
    found = [_named(result, DEFAULT) for result in defaults]
    found += [_named(result, key, tested=True) for result, (key, _) in zip(tested, retests, strict=True)]
    found += _joined(planned, trained)
    order = {DEFAULT: 0} | {choice.key: number for number, choice in enumerate(choices, start=1)}
    found.sort(key=lambda result: order[choice_of(result)])
    alone = [_named(result, DEFAULT) for result in defaults] + trained
    return Measured(tuple(defaults), tuple(found), tuple(alone), tuple(temperatures), resolved, cells, seeds)


def _runs(
    materials: Sequence[Material],
    options: Mapping[str, Any],
    settings: Sequence[Training],
    seeds: Sequence[int],
    **changed: Any,
) -> list[Run]:
    """Runs on every material (class fold) with every seed; ``changed`` goes before the settings."""
    series = Series(DEFAULT, METHOD, dict(options))
    runs = [run for pair in zip(materials, settings, strict=True) for run in series.runs(*pair, seeds)]
    return [replace(run, training=replace(run.training, **changed)) for run in runs]


def _temperatures(result: RunResult, cells: Sequence[TestCell]) -> Temperatures:
    with single_thread():
        return fit_temperatures(result, result.run.read.table(), cells)


def _with_temperatures(run: Run, temperatures: Temperatures) -> Run:
    """Groups of training are formed with one temperature a modality, whatever the shots."""
    names = ("score_temperature_first", "score_temperature_second")
    own = {name: round(by_shot[0], 6) for name, by_shot in zip(names, temperatures.values(), strict=True)}
    return replace(run, options={**run.options, **own})


def _kept(planned: _Planned, result: RunResult) -> RunResult:
    """A training with the tests that it is kept for."""
    if not planned.shots:
        return _named(result, planned.choice.key)
    tests = {cell: test for cell, test in result.tests.items() if cell.n_shot in planned.shots}
    return _named(replace(result, tests=tests), f"{planned.choice.key}_{planned.shots[0]}")


def _joined(planned: Sequence[_Planned], trained: Sequence[RunResult]) -> list[RunResult]:
    """One result per choice and default, where several trainings serve several numbers of shots."""
    by_place: dict[tuple[str, int], list[RunResult]] = {}
    for one, result in zip(planned, trained, strict=True):
        by_place.setdefault((one.choice.key, one.place), []).append(result)
    joined = []
    for (key, _), parts in by_place.items():
        tests = {cell: test for result in parts for cell, test in result.tests.items()}
        record = parts[0].record | {"seconds": sum(result.record["seconds"] for result in parts)}
        joined.append(_named(replace(parts[0], tests=tests, record=record), key))
    return joined


def _named(result: RunResult, key: str, *, tested: bool = False) -> RunResult:
    """Results of trained runs that were only tested again took no training."""
    return replace(result, record=result.record | {"choice": key} | ({"seconds": 0.0} if tested else {}))


@contextmanager
def _reasons_counted() -> Iterator[None]:
    """Prints what a block prints, but one line for each reason why runs are computed, with their number."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:
        reasons: Counter[str] = Counter()
        for line in text.getvalue().splitlines():
            name, _, reason = line.partition(": ")
            if "/seed " in name:
                reasons[reason] += 1
            else:
                print(line)
        for reason, count in reasons.items():
            print(f"{count} run{'s' if count > 1 else ''}: {reason}")
