"""Which modality a score picks, and whether the modalities know how often they are right."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from amfir_lib.evaluation import QueryResults, selection_quality
from amfir_lib.experiments import RunResult
from amfir_lib.tables.grouping import Namer, grouped, method_title

N_CALIBRATION_BINS = 10


def selection_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """How often the lower-F (and the more certain) modality is the one that is right, and the one not degraded.

    Args:
        results: multimodal runs.
        series: names the series of a run.
    Returns:
        One row per data set, shots and series, seeds averaged; columns of ``selection_quality``.
    """
    rows = []
    for group in grouped(results, series):
        for name, tests in group.tests.items():
            if len(tests[0].free_energy) == 2:
                parts = [selection_quality(test, group.episodes, group.degraded) for test in tests]
                means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
                rows.append(group.where() | {"method": name} | means)
    return pd.DataFrame(rows)


def calibration_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Does each modality know how often it is right? F compares modalities only if both do, alike.

    Returns:
        One row per data set, shots, series and modality, seeds averaged: ``accuracy``, ``certainty`` (mean of max p),
        ``overconfidence`` (their difference), ``calibration_error`` (expected, 10 bins), ``free_energy`` (mean score).
    """
    rows = []
    for group in grouped(results, series):
        for name, tests in group.tests.items():
            for stream in tests[0].certainty:
                parts = [_calibration(test, stream) for test in tests]
                means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
                rows.append(group.where() | {"method": name, "stream": stream} | means)
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
