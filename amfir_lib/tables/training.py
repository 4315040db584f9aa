"""What training looked like: validation curves, and the facts of each run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from amfir_lib.experiments import RunResult
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


def run_facts(results: Iterable[RunResult], *, series: Namer = method_title) -> list[dict[str, object]]:
    """What a reviewer asks of each run: its key, seed, parameters, validation accuracy, best step and seconds."""
    return [
        {
            "dataset": result.run.material.dataset.name,
            "series": series(result),
            "seed": result.run.seed,
            "key": result.record["key"],
            "parameters": result.record["parameters"],
            "val_accuracy": result.record["val_accuracy"],
            "best_step": result.record["best_step"],
            "training_seconds": round(result.record["seconds"], 2),
        }
        for result in results
    ]
