"""Accuracies on identical test episodes, and what becomes of them when one class is left out.

Everything that a table or a claim states about several methods, shots, ways or class folds is a function of mean
accuracies.  Evaluated on all episodes and once more without each class, it gives its own delete-one-class jackknife
interval: for a mean and a paired difference that of ``amfir_lib.statistics``, and for a difference of two leads too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from amfir_lib.errors import BadParameter, ShapeError, unknown_name
from amfir_lib.experiments import RunResult, TestCell
from amfir_lib.statistics import Interval, holm
from amfir_lib.tables import method_title, verdict

ALL_QUERIES, UNDEGRADED, CLEAN_COPIES = BASES = ("all queries", "undegraded queries", "degradation-free copies")


@dataclass(frozen=True)
class Point:
    """One cell of test episodes of one data set, with what every series made of them.

    Attributes:
        dataset: its name; class folds of one data set are pooled.
        cell: ways, shots and number of episodes (of one fold).
        accuracy: series -> (S, E) share of right answers of each training seed in each episode.
        classes: (E, N) names of the classes of each episode.
        n_test_classes: test classes, in the fold that has fewest.
    """

    dataset: str
    cell: TestCell
    accuracy: dict[str, np.ndarray]
    classes: np.ndarray
    n_test_classes: int

    @property
    def class_names(self) -> np.ndarray:
        """(C,) sorted names of the classes that occur."""
        return np.unique(self.classes)

    @property
    def has_interval(self) -> bool:
        """Whether N + 2 classes are there, without which the class jackknife is undefined."""
        return self.n_test_classes >= self.cell.n_way + 2

    def means(self, series: str) -> np.ndarray:
        """(1 + C,) mean accuracy over seeds and episodes: of all episodes, then of those without each class.

        Raises:
            UnknownName: no such series here.
        """
        if series not in self.accuracy:
            raise unknown_name(f"series of {self.dataset}", series, self.accuracy)
        values, absent = self.accuracy[series].mean(0), self._absent
        episodes_left = np.where(absent.any(0), absent.sum(0), np.nan)  # NaN: the class is in every episode
        return np.concatenate([[values.mean()], (values @ absent) / episodes_left])

    def difference(self, series: str, other: str) -> np.ndarray:
        """(1 + C,) paired difference of two series; see ``means``."""
        return self.means(series) - self.means(other)

    def interval(self, values: np.ndarray) -> Interval | None:
        """The interval of a function of ``means``; None where it is undefined."""
        return interval_of(values) if self.has_interval else None

    @property
    def _absent(self) -> np.ndarray:
        """(E, C) bool: class c is not in episode e."""
        return ~(self.classes[:, :, None] == self.class_names).any(1)


def points(
    results: Iterable[RunResult],
    *,
    series: Callable[[RunResult], str] = method_title,
    queries: str = ALL_QUERIES,
    first: int | None = None,
) -> list[Point]:
    """The test cells of runs, pooled over training seeds and class folds.

    Args:
        results: runs with tests; those of one series, data set and fold differ in the seed alone.
        series: names the series of a run.
        queries: "all queries", or "undegraded queries": an episode then counts its undegraded queries alone (its
            supports stay as they are), and an episode without any is left out for every series.
        first: only the first episodes of each fold; None for all.
    Returns:
        One point per data set and cell, in order; none for undegraded queries of clips whose degradation is unknown.
    Raises:
        ShapeError: the series of a cell differ in data or seeds.
    """
    groups: dict[tuple[str, TestCell], dict[str, dict[str, list]]] = {}
    materials = {}
    for result in results:
        dataset = result.run.material.dataset
        materials[dataset.digest] = result.run.material
        for cell, test in result.tests.items():
            folds = groups.setdefault((dataset.name, cell), {})
            folds.setdefault(dataset.digest, {}).setdefault(series(result), []).append(test)
    found = []
    for (name, cell), folds in groups.items():
        parts = [_fold(materials[digest], cell, tests, queries, first) for digest, tests in folds.items()]
        if any(part is None for part in parts):
            continue
        if len({(series, len(values)) for part in parts for series, values in part[0].items()}) != len(parts[0][0]):
            raise ShapeError(
                f"{name}: class folds or series differ in their training seeds. Run them all with the same."
            )
        accuracy = {one: np.concatenate([part[0][one] for part in parts], axis=1) for one in parts[0][0]}
        classes = np.concatenate([part[1] for part in parts])
        found.append(Point(name, cell, accuracy, classes, min(part[2] for part in parts)))
    return found


def _fold(material, cell, tests, queries, first):
    """Series -> (S, E) accuracies, (E, N) class names and the number of test classes of one fold; None if unknown."""
    if queries not in (ALL_QUERIES, UNDEGRADED):
        raise unknown_name("choice of queries", queries, (ALL_QUERIES, UNDEGRADED))
    table = material.layout()
    episodes = cell.episodes(table)[slice(first)]
    counted = np.ones((len(episodes), episodes.query[0].size), dtype=bool)
    if queries == UNDEGRADED:
        if table.degraded is None:
            return None
        counted = (table.degraded[episodes.query] == "none").reshape(counted.shape)
    kept = counted.any(1)
    share = counted[kept] / counted[kept].sum(1, keepdims=True)
    accuracy = {
        name: np.stack([(one.correct["fused"][slice(first)][kept] * share).sum(1) for one in own])
        for name, own in tests.items()
    }
    classes = np.asarray(table.class_names)[episodes.classes[kept]]
    return accuracy, classes, len(np.unique(table.labels[table.rows("test")]))


def interval_of(values: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Delete-one-class jackknife of any statistic.

    SE^2 = (C - 1)/C sum_c (theta_c - mean_c theta_c)^2; half width = t_{C-1} SE.

    Args:
        values: (1 + C,) the statistic of all episodes, then without each class.
        confidence: of the interval.
    Returns:
        Interval; the conventional interval, which is one of means only, is NaN.
    Raises:
        BadParameter: fewer than two classes, or a value that is not finite (a class is in every episode).
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 3 or not np.isfinite(values).all():
        raise BadParameter(
            f"a class jackknife needs finite values without each of at least 2 classes, got {values.tolist()}. "
            "Raise n_episodes, or test on more classes."
        )
    n_classes, left = len(values) - 1, values[1:]
    se = float(np.sqrt((n_classes - 1) / n_classes * np.square(left - left.mean()).sum()))
    return _with_p(float(values[0]), se, n_classes - 1, n_classes, confidence)


def independent_difference(a: Interval, b: Interval) -> Interval:
    """a - b for two intervals from different data sets: SE^2 is the sum, freedom by Welch and Satterthwaite."""
    se = float(np.hypot(a.se, b.se))
    parts = [one.se**4 / (one.n_classes - 1) for one in (a, b)]
    freedom = se**4 / sum(parts) if se > 0 else a.n_classes + b.n_classes - 2
    return _with_p(a.mean - b.mean, se, freedom, a.n_classes + b.n_classes, a.confidence)


def _with_p(mean: float, se: float, freedom: float, n_classes: int, confidence: float) -> Interval:
    p_value = float(2 * stats.t.sf(abs(mean) / se, freedom)) if se > 0 else float(mean == 0)
    half_width = float(stats.t.ppf((1 + confidence) / 2, freedom)) * se
    return Interval(mean, half_width, se, n_classes, float("nan"), p_value, confidence)


def accuracy_frame(found: Sequence[Point]) -> pd.DataFrame:
    """One row per point and series: the columns of ``tables.accuracy_table``."""
    rows = []
    for point in found:
        for name, accuracy in point.accuracy.items():
            interval, mean = point.interval(point.means(name)), accuracy.mean(0)
            rows.append(_where(point) | {
                "method": name,
                "accuracy": float(mean.mean()),
                "half_width": interval.half_width if interval else np.nan,
                "conventional_half_width": float(1.96 * mean.std(ddof=1) / np.sqrt(len(mean))),
                "seed_sd": float(accuracy.mean(1).std(ddof=1)) if len(accuracy) > 1 else np.nan,
                "n_seeds": len(accuracy),
                "n_classes": len(point.class_names),
                "n_episodes": len(mean),
            })  # fmt: skip
    return pd.DataFrame(rows)


def difference_frame(found: Sequence[Point], reference: str, *, others: Sequence[str] | None = None) -> pd.DataFrame:
    """``reference`` minus every other series: the columns of ``tables.paired_table``; Holm over each point's rows."""
    rows = []
    for point in found:
        family = []
        for other in others or [name for name in point.accuracy if name != reference]:
            values = point.difference(reference, other)
            row = {"other": other, "comparison": f"{reference} − {other}", "difference": float(values[0])}
            family.append(_where(point) | row | interval_columns(point.interval(values)))
        p_values = [row["p_value"] for row in family]
        corrected = holm(p_values) if np.isfinite(p_values).all() else np.full(len(family), np.nan)
        for row, p in zip(family, corrected, strict=True):
            decided = verdict(row["difference"], p)
            rows.append(row | {"p_holm": p, "n_classes": len(point.class_names), "verdict": decided})
    return pd.DataFrame(rows)


def interval_columns(interval: Interval | None) -> dict[str, float]:
    """``half_width`` and ``p_value`` of a row; NaN where there is no interval."""
    return {
        "half_width": interval.half_width if interval else np.nan,
        "p_value": interval.p_value if interval else np.nan,
    }


def _where(point: Point) -> dict[str, object]:
    return {"dataset": point.dataset, "n_way": point.cell.n_way, "n_shot": point.cell.n_shot}
