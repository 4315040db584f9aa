"""From the results of runs to tidy tables: accuracies, paired differences, selection of modalities, calibration.

Training seeds are averaged per episode before an interval is formed, because every seed meets the same episodes; how
far the seeds lie apart is reported beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from amfir_lib.episodes import Episodes
from amfir_lib.evaluation import FUSED, QueryResults, selection_quality
from amfir_lib.experiments import RunResult, TestCell, cell_name
from amfir_lib.exports import Table
from amfir_lib.methods import METHODS
from amfir_lib.statistics import Interval, class_jackknife, holm, paired_difference

Namer = Callable[[RunResult], str]
N_CALIBRATION_BINS = 10


def method_title(result: RunResult) -> str:
    """The method's name in tables; ``series`` functions with other names go into the same places."""
    return result.record.get("title", METHODS[result.run.method].title)  # STRM may have called itself lite


def accuracy_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Test accuracy of each series, with both intervals.

    Args:
        results: runs with tests; those of one series and data set differ in the seed alone.
        series: names the series of a run.
    Returns:
        One row per data set, shots and series: ``dataset, n_way, n_shot, method, accuracy, half_width`` (class
        jackknife), ``conventional_half_width, seed_sd, n_seeds, n_classes, n_episodes``; shares in [0, 1].
    """
    rows = []
    for dataset, cell, by_series, episodes, _ in _grouped(results, series):
        for name, tests in by_series.items():
            accuracy = np.stack([test.accuracy for test in tests])  # (seeds, E)
            rows.append(_where(dataset, cell) | {"method": name} | _accuracy_row(accuracy, episodes.classes))
    return pd.DataFrame(rows)


def stream_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Accuracy of each stream of multimodal runs: columns of ``accuracy_table``, and ``stream``."""
    rows = []
    for dataset, cell, by_series, episodes, _ in _grouped(results, series):
        for name, tests in by_series.items():
            for stream in tests[0].correct:
                accuracy = np.stack([test.stream_accuracy(stream) for test in tests])
                row = _where(dataset, cell) | {"method": name, "stream": stream}
                rows.append(row | _accuracy_row(accuracy, episodes.classes))
    return pd.DataFrame(rows)


def _accuracy_row(accuracy: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    interval = interval_or_none(class_jackknife, accuracy.mean(0), classes)
    conventional = 1.96 * accuracy.mean(0).std(ddof=1) / np.sqrt(accuracy.shape[1])
    return {
        "accuracy": float(accuracy.mean()),
        "half_width": interval.half_width if interval else np.nan,
        "conventional_half_width": interval.conventional_half_width if interval else float(conventional),
        "seed_sd": float(accuracy.mean(1).std(ddof=1)) if len(accuracy) > 1 else np.nan,
        "n_seeds": len(accuracy),
        "n_classes": len(np.unique(classes)),
        "n_episodes": accuracy.shape[1],
    }


def interval_or_none(function: Callable[..., Interval], *arrays: np.ndarray) -> Interval | None:
    """The interval, or None where fewer than N + 2 test classes leave the class jackknife undefined."""
    classes = arrays[-1]
    if len(np.unique(classes)) < classes.shape[1] + 2:
        return None
    return function(*arrays)


def paired_table(
    results: Iterable[RunResult], reference: str, *, others: Sequence[str] | None = None, series: Namer = method_title
) -> pd.DataFrame:
    """What ``reference`` gains over every other series on identical episodes.

    Args:
        results: as ``accuracy_table``.
        reference: the series that the others are subtracted from.
        others: the series to compare with, in order; None for all.
        series: names the series of a run.
    Returns:
        One row per data set, shots and other series: ``comparison, difference, half_width, p_value, p_holm,
        n_classes, verdict``; Holm's correction is over the rows of one data set and number of shots.
    """
    rows = []
    for dataset, cell, by_series, episodes, _ in _grouped(results, series):
        own = np.mean([test.accuracy for test in by_series[reference]], axis=0)
        family = []
        for name in others or [name for name in by_series if name != reference]:
            other = np.mean([test.accuracy for test in by_series[name]], axis=0)
            interval = interval_or_none(paired_difference, own, other, episodes.classes)
            row = {"other": name, "comparison": f"{reference} − {name}", "difference": float((own - other).mean())}
            row |= {"half_width": interval.half_width if interval else np.nan}
            family.append(_where(dataset, cell) | row | {"p_value": interval.p_value if interval else np.nan})
        for row, p in zip(family, _holm([row["p_value"] for row in family]), strict=True):
            row |= {
                "p_holm": p,
                "n_classes": len(np.unique(episodes.classes)),
                "verdict": verdict(row["difference"], p),
            }
        rows += family
    return pd.DataFrame(rows)


def _holm(p_values: list[float]) -> np.ndarray:
    return holm(p_values) if np.isfinite(p_values).all() else np.full(len(p_values), np.nan)


def verdict(difference: float, p_value: float, *, level: float = 0.05) -> str:
    """``better``, ``worse``, or ``undecided`` where the corrected test does not reject equality."""
    if not p_value < level:
        return "undecided"
    return "better" if difference > 0 else "worse"


def selection_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """How often the lower-F (and the more certain) modality is the one that is right, and the one not degraded.

    Args:
        results: multimodal runs.
        series: names the series of a run.
    Returns:
        One row per data set, shots and series, seeds averaged; columns of ``selection_quality``.
    """
    rows = []
    for dataset, cell, by_series, episodes, degraded in _grouped(results, series):
        for name, tests in by_series.items():
            if len(tests[0].free_energy) == 2:
                parts = [selection_quality(test, episodes, degraded) for test in tests]
                means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
                rows.append(_where(dataset, cell) | {"method": name} | means)
    return pd.DataFrame(rows)


def calibration_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Does each modality know how often it is right? F compares modalities only if both do, alike.

    Returns:
        One row per data set, shots, series and modality, seeds averaged: ``accuracy``, ``certainty`` (mean of max p),
        ``overconfidence`` (their difference), ``calibration_error`` (expected, 10 bins), ``free_energy`` (mean score).
    """
    rows = []
    for dataset, cell, by_series, *_ in _grouped(results, series):
        for name, tests in by_series.items():
            for stream in tests[0].certainty:
                parts = [_calibration(test, stream) for test in tests]
                means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
                rows.append(_where(dataset, cell) | {"method": name, "stream": stream} | means)
    return pd.DataFrame(rows)


def _calibration(test: QueryResults, stream: str) -> dict[str, float]:
    correct, certainty = test.correct[stream].ravel(), test.certainty[stream].ravel().astype(float)
    bins = np.minimum((certainty * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    error = sum(
        abs(correct[bins == number].mean() - certainty[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    )
    return {
        "accuracy": float(correct.mean()),
        "certainty": float(certainty.mean()),
        "overconfidence": float(certainty.mean() - correct.mean()),
        "calibration_error": float(error),
        "free_energy": float(test.free_energy[stream].mean()),
    }


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


def _where(dataset: str, cell: TestCell) -> dict[str, object]:
    return {"dataset": dataset, "n_way": cell.n_way, "n_shot": cell.n_shot}


def _grouped(
    results: Iterable[RunResult], series: Namer
) -> Iterator[tuple[str, TestCell, dict[str, list[QueryResults]], Episodes, np.ndarray | None]]:
    """Yield data set, cell, series -> tests of all seeds, the episodes, and which clips are degraded (or None)."""
    groups: dict[tuple[str, TestCell], dict[str, list[QueryResults]]] = {}
    materials = {}
    for result in results:
        dataset = result.run.material.dataset.name
        materials[dataset] = result.run.material
        for cell, test in result.tests.items():
            groups.setdefault((dataset, cell), {}).setdefault(series(result), []).append(test)
    for (dataset, cell), by_series in groups.items():
        table = materials[dataset].layout()
        yield dataset, cell, by_series, cell.episodes(table), table.degraded


def percent(share: float, half_width: float | None = None, *, signed: bool = False) -> str:
    """``52.4 ± 1.9`` or ``+2.1 ± 0.8``, in per cent with one decimal; an en dash for what does not exist."""
    if share is None or not np.isfinite(share):
        return "–"
    value = round(100 * share, 1) + 0.0  # + 0.0: a difference that rounds to zero has no sign
    text = f"{value:+.1f}" if signed and value else f"{value:.1f}"
    text = text.replace("-", "−")
    return f"{text} ± {100 * half_width:.1f}" if half_width is not None and np.isfinite(half_width) else text


def shown_accuracies(frame: pd.DataFrame, *, caption: str, row: str = "method") -> Table:
    """Accuracies as they are to be read: one row per method, one column per data set and number of shots."""
    cells = frame.assign(cell=[percent(a, h) for a, h in zip(frame["accuracy"], frame["half_width"], strict=True)])
    wide = cells.pivot(index=row, columns=["dataset", "n_shot"], values="cell").fillna("–")
    wide = wide.reindex(list(dict.fromkeys(frame[row])))[
        list(dict.fromkeys(zip(frame["dataset"], frame["n_shot"], strict=True)))
    ]
    return Table(frame, wide.set_axis([f"{name} {shot}-shot" for name, shot in wide.columns], axis=1), caption)


def shown_differences(frame: pd.DataFrame, *, caption: str) -> Table:
    """Paired differences as they are to be read."""
    shown = pd.DataFrame(
        {
            "data set": frame["dataset"],
            "shots": frame["n_shot"],
            "comparison": frame["comparison"],
            "difference": [
                percent(d, h, signed=True) for d, h in zip(frame["difference"], frame["half_width"], strict=True)
            ],
            "p (Holm)": [f"{p:.3f}" if np.isfinite(p) else "–" for p in frame["p_holm"]],
            "verdict": frame["verdict"],
        }
    )
    return Table(frame, shown, caption)


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


__all__ = [
    "FUSED", "accuracy_table", "calibration_table", "curve_frame", "interval_or_none", "method_title", "paired_table",
    "percent", "run_facts", "selection_table", "shown_accuracies", "shown_differences", "stream_table", "verdict",
]  # fmt: skip
