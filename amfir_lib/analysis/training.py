"""What came before the tests: validation curves, the facts of each run, and what must be said under every table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from amfir_lib.analysis.answers import Namer, method_title
from amfir_lib.study.material import Material
from amfir_lib.study.runs import Run, RunResult
from amfir_lib.study.training import Training


def curves(results: Iterable[RunResult], columns: Sequence[str], *, series: Namer = method_title) -> pd.DataFrame:
    """Validation curves in long form: ``dataset, seed, step, series, column, value``.

    Args:
        results: runs with a validation history.
        columns: of the validation history, such as ``accuracy`` or ``free_energy_rgb``; averaged over the shots.
        series: names the series of a run.
    """
    parts = []
    for result in results:
        frame = result.validation
        frame = frame.groupby("step", as_index=False)[[c for c in columns if c in frame]].mean()
        long = frame.melt("step", var_name="column", value_name="value")
        parts.append(long.assign(dataset=result.run.material.dataset.name, seed=result.run.seed, series=series(result)))
    return pd.concat(parts, ignore_index=True)


def drawn_curves(frame: pd.DataFrame, *, name: str) -> pd.DataFrame:
    """What a figure draws of curves: the mean of the seeds, and a band from lowest to highest.

    Args:
        frame: columns ``seed, step, value`` and whatever else names a line, such as ``dataset, series``.
        name: of what is drawn, such as ``accuracy``.
    Returns:
        One row per line and step: what names the line, ``step``, ``NAME, NAME_lowest, NAME_highest``.
    """
    lines = [column for column in frame if column not in ("seed", "step", "value", "column")]
    drawn = frame.groupby([*lines, "step"], sort=False)["value"].agg(["mean", "min", "max"])
    columns = {"mean": name, "min": f"{name}_lowest", "max": f"{name}_highest"}
    return drawn.rename(columns=columns).reset_index()


def kept_states(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Which step's state each trained run kept: columns ``dataset, series, seed, step``, for the figures."""
    return pd.DataFrame(
        {
            "dataset": result.run.material.dataset.name,
            "series": series(result),
            "seed": result.run.seed,
            "step": result.record["best_step"],
        }
        for result in results
        if result.record["best_step"] is not None
    )


def training_behind(run: Run) -> Training:
    """How the run was trained; an assembled one: how its parts were."""
    return max((part.training for part in run.parts), key=lambda one: one.steps, default=run.training)


def notes_of(results: Iterable[RunResult]) -> str:
    """What must be said under every table of these runs; "" where nothing must.

    Of real data: how many of the published videos were used, whether the split is not the published one, and how many
    class splits and test classes there are; of features: leakage, random weights, adaptation to classes; of runs: where
    the state that is shown is the untrained one.
    """
    folds: dict[str, dict[str, Material]] = {}
    results, notes = list(results), []
    for material in (result.run.material for result in results):
        if not material.dataset.synthetic and material.dataset.caption:
            folds.setdefault(material.dataset.name, {}).setdefault(material.dataset.digest, material)
        for store in material.stores.values():
            notes += store.metadata.get("backbone", {}).get("notes", ())
    data = []
    for first, *others in (list(by_digest.values()) for by_digest in folds.values()):
        n_classes = sum(len(fold.dataset.classes("test")) for fold in (first, *others))
        split = f"{1 + len(others)} class folds" if others else "one class split"
        data.append(f"{first.dataset.caption}; {split}, {n_classes} test classes.")
    return " ".join(dict.fromkeys([*data, *notes, *_untrained(results)]))


def _untrained(results: Sequence[RunResult]) -> list[str]:
    """A sentence on the runs in which no step of training was better on validation classes than none."""
    runs: dict[str, list[bool]] = {}
    for result in results:
        if result.record["best_step"] is not None:
            name = f"{method_title(result)} on {result.run.material.dataset.name}"
            runs.setdefault(name, []).append(result.record["best_step"] == 0)
    kept = [f"{name} ({sum(of_name)} of {len(of_name)} runs)" for name, of_name in runs.items() if any(of_name)]
    sentence = "Training did not help on validation classes, so the untrained state was kept and is shown: "
    return [f"{sentence}{', '.join(kept)}."] if kept else []


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
