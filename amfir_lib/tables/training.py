"""What training looked like: validation curves, and the facts of each run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from amfir_lib.experiments import RunResult, cell_name
from amfir_lib.tables.grouping import Namer, method_title


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


def budget(results: Iterable[RunResult]) -> str:
    """``Each trained method saw 3,200 training episodes (400 steps of 8).``"""
    settings = [result.run.training for result in results if len(result.history)]
    seen = {one.steps * one.episodes_per_step: one for one in settings}
    if not seen:
        return ""
    if len(seen) > 1:
        return f"Each trained method saw {min(seen):,} to {max(seen):,} training episodes."
    ((n_episodes, one),) = seen.items()
    return f"Each trained method saw {n_episodes:,} training episodes ({one.steps} steps of {one.episodes_per_step})."


def run_facts(results: Iterable[RunResult], *, series: Namer = method_title) -> list[dict[str, object]]:
    """What a reviewer asks of each run: its key, seed, tests, parameters, validation accuracy, best step, seconds."""
    return [
        {
            "dataset": result.run.material.dataset.name,
            "series": series(result),
            "seed": result.run.seed,
            "key": result.record["key"],
            "tests": [cell_name(cell) for cell in result.tests],
            "parameters": result.record["parameters"],
            "val_accuracy": result.record["val_accuracy"],
            "best_step": result.record["best_step"],
            "training_seconds": round(result.record["seconds"], 2),
        }
        for result in results
    ]
