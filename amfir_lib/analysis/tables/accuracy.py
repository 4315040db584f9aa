"""Accuracies of the series and the paired differences between them, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables.group import ALL, Group
from amfir_lib.analysis.tables.grouping import Namer, grouped, method_title
from amfir_lib.study.evaluation import FUSED
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import holm


def accuracy_table(results: Iterable[RunResult], *, series: Namer = method_title, basis: str = ALL) -> pd.DataFrame:
    """Test accuracy of each series, with both intervals.

    Args:
        results: runs with tests; those of one series and data set differ in the seed (and the class fold) alone.
        series: names the series of a run.
        basis: "all queries" or "undegraded queries"; data sets that do not know what is degraded are then left out.
    Returns:
        One row per data set, shots and series: ``dataset, n_way, n_shot, method, accuracy, half_width`` (class
        jackknife), ``conventional_half_width, seed_sd, n_seeds, n_classes, n_episodes``; shares in [0, 1].
    """
    rows = []
    for group in grouped(results, series, basis=basis):
        for name in group.results:
            rows.append(group.where() | {"method": name} | _accuracy_row(group, name, FUSED, basis))
    return pd.DataFrame(rows)


def stream_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Accuracy of each stream of multimodal runs: columns of ``accuracy_table``, and ``stream``."""
    rows = []
    for group in grouped(results, series):
        for name, tests in group.tests.items():
            for stream in tests[0].correct:
                row = group.where() | {"method": name, "stream": stream}
                rows.append(row | _accuracy_row(group, name, stream, ALL))
    return pd.DataFrame(rows)


def _accuracy_row(group: Group, name: str, stream: str, basis: str) -> dict[str, float]:
    by_seed = group.accuracy(name, stream=stream, basis=basis)  # (S, E)
    mean = by_seed.mean(0)
    interval = group.interval(mean, basis)
    conventional = 1.96 * np.sqrt(sum(one.episode_variance for one in group.samples(mean, basis)))
    own_means = [group.mean(values, basis) for values in by_seed]
    return {
        "accuracy": group.mean(mean, basis),
        "half_width": interval.half_width if interval else np.nan,
        "conventional_half_width": float(conventional / len(group.layouts)),
        "seed_sd": float(np.std(own_means, ddof=1)) if len(own_means) > 1 else np.nan,
        "n_seeds": len(own_means),
        "n_classes": group.n_classes,
        "n_episodes": len(mean),
    }


def paired_table(
    results: Iterable[RunResult],
    reference: str,
    *,
    others: Sequence[str] | None = None,
    series: Namer = method_title,
    basis: str = ALL,
) -> pd.DataFrame:
    """What ``reference`` gains over every other series on identical episodes.

    Args:
        results: as ``accuracy_table``.
        reference: the series that the others are subtracted from.
        others: the series to compare with, in order; None for all.
        series: names the series of a run.
        basis: as ``accuracy_table``.
    Returns:
        One row per data set, shots and other series: ``other, comparison, difference, half_width, p_value, p_holm,
        n_classes, verdict``; Holm's correction is over the rows of one data set and number of shots.
    """
    rows = []
    for group in grouped(results, series, basis=basis):
        own = group.accuracy(reference, basis=basis).mean(0)
        family = []
        for name in others or [name for name in group.results if name != reference]:
            difference = own - group.accuracy(name, basis=basis).mean(0)
            interval = group.interval(difference, basis)
            row = {"other": name, "comparison": f"{reference} − {name}", "difference": group.mean(difference, basis)}
            row |= {"half_width": interval.half_width if interval else np.nan}
            family.append(group.where() | row | {"p_value": interval.p_value if interval else np.nan})
        for row, p in zip(family, _holm([row["p_value"] for row in family]), strict=True):
            row |= {"p_holm": p, "n_classes": group.n_classes, "verdict": verdict(row["difference"], p)}
        rows += family
    return pd.DataFrame(rows)


def _holm(p_values: list[float]) -> np.ndarray:
    return holm(p_values) if np.isfinite(p_values).all() else np.full(len(p_values), np.nan)


def verdict(difference: float, p_value: float, *, level: float = 0.05) -> str:
    """``better``, ``worse``, or ``undecided`` where the corrected test does not reject equality."""
    if not p_value < level:
        return "undecided"
    return "better" if difference > 0 else "worse"
