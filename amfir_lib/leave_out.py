"""Accuracies on identical test episodes, and what becomes of them when one class is left out.

Everything that a table or a claim states about several methods, shots or ways is a function of mean accuracies.
Evaluated on all episodes and once more without each class, it gives its own delete-one-class jackknife interval: for a
mean and a paired difference that of ``amfir_lib.statistics``, and for the lead over whichever method is next best, or a
difference of two leads, as well.

Class folds (data sets of one name with other test classes) are independent groups of classes: the mean is that of the
folds, and the variances add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from amfir_lib.errors import BadParameter, ShapeError, unknown_name
from amfir_lib.evaluation import FUSED, QueryResults
from amfir_lib.experiments import Material, RunResult, TestCell
from amfir_lib.statistics import Interval, holm
from amfir_lib.tables import method_title, verdict

ALL_QUERIES, UNDEGRADED, CLEAN_COPIES = BASES = ("all queries", "undegraded queries", "degradation-free copies")


@dataclass(frozen=True)
class Fold:
    """The episodes of one class fold; most data sets have one.

    Attributes:
        accuracy: series -> (S, E) share of right answers of each training seed, among the queries that count.
        weights: (E,) queries that count in each episode.
        classes: (E, N) names of the classes of each episode.
        n_test_classes: test classes of the fold.
    """

    accuracy: dict[str, np.ndarray]
    weights: np.ndarray
    classes: np.ndarray
    n_test_classes: int

    def means(self, series: str) -> np.ndarray:
        """(1 + C,) mean over seeds and counted queries: of all episodes, then of those without each class."""
        absent = ~(self.classes[:, :, None] == np.unique(self.classes)).any(1)  # (E, C)
        queries_left = self.weights @ absent
        queries_left = np.where(queries_left > 0, queries_left, np.nan)  # NaN: the class is in every episode
        right = self.weights * self.accuracy[series].mean(0)
        return np.concatenate([[right.sum() / self.weights.sum()], (right @ absent) / queries_left])

    def episode_variance(self, series: str) -> float:
        """Variance of the mean if episodes were independent (of a ratio of means, linearised)."""
        values = self.accuracy[series].mean(0)
        residual = self.weights * (values - self.means(series)[0]) / self.weights.mean()
        return float(residual.var(ddof=1) / len(residual))


@dataclass(frozen=True)
class Point:
    """One cell of test episodes of one data set, with what every series made of them.

    Attributes:
        dataset: its name.
        cell: ways, shots and number of episodes (of one fold).
        folds: its class folds.
    """

    dataset: str
    cell: TestCell
    folds: tuple[Fold, ...]

    @property
    def series(self) -> list[str]:
        """Names of the series."""
        return list(self.folds[0].accuracy)

    @property
    def classes(self) -> list[np.ndarray]:
        """For each fold the (C,) sorted names of the classes that occur."""
        return [np.unique(fold.classes) for fold in self.folds]

    @property
    def has_interval(self) -> bool:
        """Whether N + 2 classes are there, without which the class jackknife is undefined."""
        return min(fold.n_test_classes for fold in self.folds) >= self.cell.n_way + 2

    def means(self, series: str) -> np.ndarray:
        """(1 + C,) mean accuracy, then the same without each class; C counts over the folds.

        Raises:
            UnknownName: no such series here.
        """
        if series not in self.folds[0].accuracy:
            raise unknown_name(f"series of {self.dataset}", series, self.series)
        parts = [fold.means(series) for fold in self.folds]
        mean = np.mean([part[0] for part in parts])
        return np.concatenate([[mean], *(mean + (part[1:] - part[0]) / len(parts) for part in parts)])

    def difference(self, series: str, other: str) -> np.ndarray:
        """(1 + C,) paired difference of two series; see ``means``."""
        return self.means(series) - self.means(other)

    def interval(self, values: np.ndarray) -> Interval | None:
        """The interval of a function of ``means``; None where it is undefined."""
        return interval_of(values, [len(names) for names in self.classes]) if self.has_interval else None

    def first(self, n_episodes: int) -> Point:
        """The same with the first episodes of each fold only."""
        folds = [
            replace(
                fold,
                accuracy={name: values[:, :n_episodes] for name, values in fold.accuracy.items()},
                weights=fold.weights[:n_episodes],
                classes=fold.classes[:n_episodes],
            )
            for fold in self.folds
        ]
        return replace(self, folds=tuple(folds))

    def where(self) -> dict[str, object]:
        """The first columns of a table's row."""
        return {"dataset": self.dataset, "n_way": self.cell.n_way, "n_shot": self.cell.n_shot}


def points(
    results: Iterable[RunResult],
    *,
    series: Callable[[RunResult], str] = method_title,
    queries: str = ALL_QUERIES,
) -> list[Point]:
    """The test cells of runs, pooled over training seeds and class folds.

    Args:
        results: runs with tests; those of one series, data set and fold differ in the seed alone.
        series: names the series of a run.
        queries: "all queries", or "undegraded queries": those whose own clip is undegraded count alone, while supports
            stay as they are; an episode without any is left out for every series.
    Returns:
        One point per data set and cell, in order; none for undegraded queries of clips whose degradation is unknown.
    Raises:
        ShapeError: series or folds differ in their training seeds. UnknownName: no such choice of queries.
    """
    if queries not in (ALL_QUERIES, UNDEGRADED):
        raise unknown_name("choice of queries", queries, (ALL_QUERIES, UNDEGRADED))
    groups: dict[tuple[str, TestCell], dict[str, dict[str, list[QueryResults]]]] = {}
    materials = {}
    for result in results:
        dataset = result.run.material.dataset
        materials[dataset.digest] = result.run.material
        for cell, test in result.tests.items():
            folds = groups.setdefault((dataset.name, cell), {})
            folds.setdefault(dataset.digest, {}).setdefault(series(result), []).append(test)
    found = []
    for (name, cell), folds in groups.items():
        parts = [_fold(materials[digest], cell, tests, queries) for digest, tests in folds.items()]
        if None in parts:
            continue
        if len({(one, len(values)) for part in parts for one, values in part.accuracy.items()}) != len(
            parts[0].accuracy
        ):
            raise ShapeError(
                f"{name}: the class folds of a series differ in their training seeds. Run them all with the same."
            )
        found.append(Point(name, cell, tuple(parts)))
    return found


def _fold(material: Material, cell: TestCell, tests: dict[str, list[QueryResults]], queries: str) -> Fold | None:
    """One fold; None where it is unknown which queries count."""
    table = material.layout()
    episodes = cell.episodes(table)
    counted = np.ones((len(episodes), episodes.query[0].size), dtype=bool)
    if queries == UNDEGRADED:
        if table.degraded is None:
            return None
        counted = (table.degraded[episodes.query] == "none").reshape(counted.shape)
    kept = counted.any(1)
    counted, weights = counted[kept], counted[kept].sum(1)
    accuracy = {
        name: np.stack([(one.correct[FUSED][kept] & counted).sum(1) / weights for one in own])
        for name, own in tests.items()
    }
    classes = np.asarray(table.class_names)[episodes.classes[kept]]
    return Fold(accuracy, weights, classes, len(np.unique(table.labels[table.rows(cell.split)])))


def interval_of(values: np.ndarray, sizes: Sequence[int] | None = None, *, confidence: float = 0.95) -> Interval:
    """Delete-one-class jackknife of any statistic.

    SE^2 = sum over folds of (C - 1)/C sum_c (theta_c - mean_c theta_c)^2; half width = t SE, with C - 1 degrees of
    freedom for one fold, and Satterthwaite's for several.

    Args:
        values: (1 + C,) the statistic of all episodes, then without each class, folds one after another.
        sizes: number of classes of each fold; default: one fold.
        confidence: of the interval.
    Returns:
        Interval; the conventional interval, which is one of means only, is NaN.
    Raises:
        BadParameter: fewer than two classes in a fold, or a value that is not finite (a class is in every episode).
    """
    values = np.asarray(values, dtype=np.float64)
    sizes = [len(values) - 1] if sizes is None else list(sizes)
    if min(sizes) < 2 or not np.isfinite(values).all():
        raise BadParameter(
            f"a class jackknife needs finite values without each of at least 2 classes, got {values.tolist()}. "
            "Raise n_episodes, or test on more classes."
        )
    parts = np.split(values[1:], np.cumsum(sizes)[:-1])
    variances = [(len(p) - 1) / len(p) * np.square(p - p.mean()).sum() for p in parts]
    freedom = _satterthwaite(variances, [size - 1 for size in sizes])
    return _interval(values[0], np.sqrt(sum(variances)), freedom, sum(sizes), confidence)


def independent_difference(a: Interval, b: Interval) -> Interval:
    """a - b for two intervals from different data sets: variances add up, freedom by Satterthwaite."""
    freedom = _satterthwaite([a.se**2, b.se**2], [a.n_classes - 1, b.n_classes - 1])
    return _interval(a.mean - b.mean, np.hypot(a.se, b.se), freedom, a.n_classes + b.n_classes, a.confidence)


def _satterthwaite(variances: Sequence[float], freedoms: Sequence[int]) -> float:
    fourth = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return sum(variances) ** 2 / fourth if fourth > 0 else sum(freedoms)


def _interval(mean: float, se: float, freedom: float, n_classes: int, confidence: float) -> Interval:
    mean, se = float(mean), float(se)
    return Interval(
        mean=mean,
        half_width=float(stats.t.ppf((1 + confidence) / 2, freedom)) * se,
        se=se,
        n_classes=n_classes,
        conventional_half_width=float("nan"),
        p_value=float(2 * stats.t.sf(abs(mean) / se, freedom)) if se > 0 else float(mean == 0),
        confidence=confidence,
    )


def accuracy_frame(found: Sequence[Point]) -> pd.DataFrame:
    """One row per point and series: the columns of ``tables.accuracy_table``."""
    rows = []
    for point in found:
        for name in point.series:
            values = point.means(name)
            interval = point.interval(values)
            by_seed = np.mean([f.accuracy[name] @ f.weights / f.weights.sum() for f in point.folds], axis=0)
            variance = sum(fold.episode_variance(name) for fold in point.folds)
            rows.append(point.where() | {
                "method": name,
                "accuracy": float(values[0]),
                "half_width": interval.half_width if interval else np.nan,
                "conventional_half_width": float(1.96 * np.sqrt(variance) / len(point.folds)),
                "seed_sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else np.nan,
                "n_seeds": len(by_seed),
                "n_classes": len(values) - 1,
                "n_episodes": sum(len(fold.weights) for fold in point.folds),
            })  # fmt: skip
    return pd.DataFrame(rows)


def difference_frame(found: Sequence[Point], reference: str, *, others: Sequence[str] | None = None) -> pd.DataFrame:
    """``reference`` minus every other series: the columns of ``tables.paired_table``; Holm over each point's rows."""
    rows = []
    for point in found:
        family = []
        for other in others or [name for name in point.series if name != reference]:
            values = point.difference(reference, other)
            row = {"other": other, "comparison": f"{reference} − {other}", "difference": float(values[0])}
            row |= interval_columns(point.interval(values)) | {"n_classes": len(values) - 1}
            family.append(point.where() | row)
        p_values = [row["p_value"] for row in family]
        corrected = holm(p_values) if np.isfinite(p_values).all() else np.full(len(family), np.nan)
        for row, p in zip(family, corrected, strict=True):
            rows.append(row | {"p_holm": p, "verdict": verdict(row["difference"], p)})
    return pd.DataFrame(rows)


def interval_columns(interval: Interval | None) -> dict[str, float]:
    """``half_width`` and ``p_value`` of a row; NaN where there is no interval."""
    return {
        "half_width": interval.half_width if interval else np.nan,
        "p_value": interval.p_value if interval else np.nan,
    }
