"""What each method costs: parameters and time, from the records of its runs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables.rows import labels, ordered_methods
from amfir_lib.analysis.tables.training import training_behind
from amfir_lib.exports import Table
from amfir_lib.study.runs import RunResult


def cost_table(results: Iterable[RunResult]) -> pd.DataFrame:
    """Parameters and training time of each method.

    Args:
        results: runs of any data sets and seeds.
    Returns:
        One row per method in the order of Table 1: ``method, label, parameters`` (largest over data sets),
        ``step_ms`` (mean milliseconds per training step, validation included), ``training_seconds`` (mean per run),
        ``steps``, ``episodes`` (trained on), ``selected_step`` (median step whose state was kept),
        ``selected_step_last`` (largest), ``n_runs, device``; NaN where nothing is trained.  An assembled method costs
        what its parts cost: its step is one of each part.
    """
    results = list(results)
    titles = labels(results)
    rows = []
    for method in ordered_methods(titles):
        runs = [one for one in results if one.run.method == method]
        seconds = np.array([one.record["seconds"] for one in runs])
        settings = training_behind(runs[0].run)
        chosen = [one.record["best_step"] for one in runs if one.record["best_step"] is not None]
        trained = bool(seconds.any())
        step_seconds = [one.record["seconds"] / max(1, training_behind(one.run).steps) for one in runs]
        rows.append({
            "method": method,
            "label": titles[method],
            "parameters": max(one.record["parameters"] for one in runs),
            "step_ms": 1000 * float(np.mean(step_seconds)) if trained else np.nan,
            "training_seconds": float(seconds.mean()) if trained else np.nan,
            "steps": settings.steps if trained else np.nan,
            "episodes": settings.steps * settings.episodes_per_step if trained else np.nan,
            "selected_step": float(np.median(chosen)) if chosen else np.nan,
            "selected_step_last": float(max(chosen)) if chosen else np.nan,
            "n_runs": len(runs),
            "device": ", ".join(sorted({one.record["device"] for one in runs})),
        })  # fmt: skip
    return pd.DataFrame(rows)


def shown_costs(frame: pd.DataFrame) -> Table:
    """Costs as they are to be read."""
    caption = (
        "Means over data sets and training seeds, from the records of the runs "
        f"({', '.join(frame['device'].unique())}; "
        "on a CPU each run has one thread, and several run at once). Time includes validation, not the features. An "
        "assembled method (LF, nearest mean) costs what its parts cost. Parameters: of the head on frozen features."
    )
    shown = pd.DataFrame(
        {
            "method": frame["label"],
            "parameters": [f"{n:,}" for n in frame["parameters"]],
            "ms per step": [_number(value, 1) for value in frame["step_ms"]],
            "training of a run (s)": [_number(value, 1) for value in frame["training_seconds"]],
            "steps": [_number(value, 0) for value in frame["steps"]],
            "step kept (median)": [_number(value, 0) for value in frame["selected_step"]],
            "step kept (latest)": [_number(value, 0) for value in frame["selected_step_last"]],
        }
    )
    return Table(frame, shown, caption)


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if np.isfinite(value) else "–"
