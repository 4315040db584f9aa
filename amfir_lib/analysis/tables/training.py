"""What training looked like: validation curves, and the facts of each run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from amfir_lib.analysis.tables.grouping import Namer, method_title
from amfir_lib.analysis.tables.setting import class_split, folds_of
from amfir_lib.study.runs import Run, RunResult
from amfir_lib.study.training import Training

STILL_RISING = 0.01  # of accuracy, between the last two validations


def curve_frame(
    results: Iterable[RunResult], columns: Sequence[str], *, series: Namer = method_title, n_shot: int | None = None
) -> pd.DataFrame:
    """Validation curves in long form, for the figures.

    Args:
        results: runs with a validation history.
        columns: of the validation history, such as ``accuracy`` or ``free_energy_rgb``.
        series: names the series of a run.
        n_shot: only that number of shots; None averages over them.
    Returns:
        Columns ``dataset, seed, step, series, column, value``.
    """
    parts = []
    for result in results:
        frame = result.validation
        if n_shot is not None:
            frame = frame[frame["n_shot"] == n_shot]
        frame = frame.groupby("step", as_index=False)[[c for c in columns if c in frame]].mean()
        long = frame.melt("step", var_name="column", value_name="value")
        parts.append(long.assign(dataset=result.run.material.dataset.name, seed=result.run.seed, series=series(result)))
    return pd.concat(parts, ignore_index=True)


def drawn_curves(curves: pd.DataFrame, *, name: str) -> pd.DataFrame:
    """What a figure draws of curves: the line, which is the mean of the seeds, and the band from lowest to highest.

    Args:
        curves: columns ``seed, step, value`` and whatever else names a line, such as ``dataset, series``.
        name: of what is drawn, such as ``accuracy``.
    Returns:
        One row per line and step: what names the line, ``step``, ``NAME, NAME_lowest, NAME_highest``.
    """
    lines = [column for column in curves if column not in ("seed", "step", "value", "column")]
    found = curves.groupby([*lines, "step"], sort=False)["value"].agg(["mean", "min", "max"])
    columns = {"mean": name, "min": f"{name}_lowest", "max": f"{name}_highest"}
    return found.rename(columns=columns).reset_index()


def kept_states(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Which step's state each trained run kept: columns ``dataset, series, seed, step``, for the figures."""
    results = [result for result in results if result.record["best_step"] is not None]
    return pd.DataFrame(
        {
            "dataset": result.run.material.dataset.name,
            "series": series(result),
            "seed": result.run.seed,
            "step": result.record["best_step"],
        }
        for result in results
    )


def cut_off_sentence(curves: pd.DataFrame, kept: pd.DataFrame) -> str:
    """Which methods still gained at the end of training, and which were best untrained.

    Args:
        curves: accuracy, from ``curve_frame``.
        kept: from ``kept_states``.
    """
    mean = curves.groupby(["series", "dataset", "step"], sort=False)["value"].mean().unstack("step")
    ends = {key: line.dropna().iloc[-2:] for key, line in mean.iterrows()}  # some methods train longer than others
    gain = {key: end.iloc[-1] - end.iloc[0] for key, end in ends.items()}
    step = kept.groupby(["series", "dataset"], sort=False)["step"].median()
    rising = {key: gain[key] for key in step.index if step[key] == ends[key].index[-1] and gain[key] >= STILL_RISING}
    untrained = [key for key in step.index if step[key] == 0]
    gains = _by_series({key: f"{key[1]} +{100 * value:.1f}" for key, value in rising.items()})
    stays = _by_series({key: key[1] for key in untrained})
    return (
        f"Still gaining {100 * STILL_RISING:g} point or more between the last two validations, with the last state "
        f"kept: {gains or 'no method'}. Best before any training (median of the seeds): {stays or 'no method'}."
    )


def _by_series(named: dict[tuple[str, str], str]) -> str:
    texts: dict[str, list[str]] = {}
    for (series, _), text in named.items():
        texts.setdefault(series, []).append(text)
    return "; ".join(f"{series} ({', '.join(own)})" for series, own in texts.items())


def training_behind(run: Run) -> Training:
    """How the run was trained; an assembled one: how its parts were."""
    return max((part.training for part in run.parts), key=lambda one: one.steps, default=run.training)


def budget(results: Iterable[RunResult], *, series: Namer = method_title) -> str:
    """``Each trained method saw 1,600 training episodes (200 steps of 8); 3,200: TRX, TRX-LF.``

    An assembled method saw what each of its parts saw.
    """
    seen: dict[int, list[RunResult]] = {}
    for result in results:
        if result.record["seconds"]:
            training = training_behind(result.run)
            seen.setdefault(training.steps * training.episodes_per_step, []).append(result)
    if not seen:
        return ""
    most = max(seen, key=lambda n_episodes: len(seen[n_episodes]))
    one = training_behind(seen[most][0].run)
    text = f"Each trained method saw {most:,} training episodes ({one.steps} steps of {one.episodes_per_step})"
    for n_episodes in sorted(set(seen) - {most}):
        text += f"; {n_episodes:,}: " + ", ".join(dict.fromkeys(series(result) for result in seen[n_episodes]))
    return f"{text}."


def notes_of(results: Iterable[RunResult]) -> str:
    """What must be said under every table of these runs; "" where nothing must.

    Of real data: how many of the published videos were used, whether the split is not the published one, and how many
    class splits and test classes there are; of features: leakage, random weights, adaptation to classes.
    """
    materials = [result.run.material for result in results]
    real = folds_of(one for one in materials if not one.dataset.synthetic and one.dataset.caption)
    data = [f"{folds[0].dataset.caption}; {class_split(folds)}." for folds in real.values()]
    stores = [store for one in materials for store in one.stores.values()]
    notes = [note for store in stores for note in store.metadata.get("backbone", {}).get("notes", ())]
    return " ".join(dict.fromkeys([*data, *notes]))


def with_notes(caption: str, results: Iterable[RunResult]) -> str:
    """A caption, and after it the :func:`notes_of` these runs."""
    return f"{caption} {notes_of(results)}".rstrip()


def run_facts(results: Iterable[RunResult], *, series: Namer = method_title) -> list[dict[str, object]]:
    """What a reviewer asks of each run: its key, seed, tests, parameters, validation accuracy, best step, seconds."""
    return [
        {
            "dataset": result.run.material.dataset.name,
            "series": series(result),
            "seed": result.run.seed,
            "key": result.record["key"],
            "tests": [cell.name for cell in result.tests],
            "parameters": result.record["parameters"],
            "val_accuracy": result.record["val_accuracy"],
            "best_step": result.record["best_step"],
            "training_seconds": round(result.record["seconds"], 2),
        }
        for result in results
    ]
