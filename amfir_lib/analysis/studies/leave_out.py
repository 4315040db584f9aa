"""What becomes of mean accuracies when one test class is left out, for statistics that are no plain difference.

The lead over whichever method is next best, and a lead at one shot minus that at another, are functions of mean
accuracies.  Evaluated on all episodes and once more without each class they give their own delete-one-class jackknife
interval; for a mean and a paired difference it is that of ``amfir_lib.study.statistics``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from amfir_lib.analysis.tables import ALL, Group, grouped, method_title
from amfir_lib.errors import BadParameter, ShapeError, unknown_name
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Interval, Sample


@dataclass(frozen=True)
class LeftOut:
    """A statistic on all episodes, and without each class.

    Attributes:
        whole: on all episodes.
        without: for each independent group of classes (a data set, or a class fold) the (C,) values without each class.
    """

    whole: float
    without: tuple[np.ndarray, ...]

    def interval(self, *, confidence: float = 0.95) -> Interval:
        """Delete-one-class jackknife.

        SE^2 = sum over groups of (C - 1)/C sum_c (theta_c - mean_c theta_c)^2; half width = t SE, with C - 1 degrees
        of freedom for one group, and Satterthwaite's for several.

        Returns:
            Interval; the conventional one, which is an interval of means only, is NaN.
        Raises:
            BadParameter: a group of fewer than two classes, or a value that is not finite.
        """
        if not self.without or min(map(len, self.without)) < 2 or not np.isfinite(np.concatenate(self.without)).all():
            raise BadParameter(
                f"a class jackknife needs finite values without each of at least 2 classes, got {self.without}. "
                "Raise n_episodes, or test on more classes."
            )
        variances = [(len(v) - 1) / len(v) * float(np.square(v - v.mean()).sum()) for v in self.without]
        fourth = sum(one**2 / (len(v) - 1) for one, v in zip(variances, self.without, strict=True))
        n_classes = sum(map(len, self.without))
        freedom = sum(variances) ** 2 / fourth if fourth > 0 else float(n_classes - len(self.without))
        se = float(np.sqrt(sum(variances)))
        return Interval(
            mean=self.whole,
            half_width=float(stats.t.ppf((1 + confidence) / 2, freedom)) * se,
            se=se,
            n_classes=n_classes,
            conventional_half_width=float("nan"),
            p_value=float(2 * stats.t.sf(abs(self.whole) / se, freedom)) if se > 0 else float(self.whole == 0),
            confidence=confidence,
        )

    def __sub__(self, other: LeftOut) -> LeftOut:
        """The difference of two statistics over the same classes."""
        return LeftOut(self.whole - other.whole, tuple(a - b for a, b in zip(self.without, other.without, strict=True)))


@dataclass(frozen=True)
class Point:
    """One cell of test episodes of one data set, on one basis.

    Attributes:
        group: what every series made of it.
        basis: "all queries" or "undegraded queries".
    """

    group: Group
    basis: str = ALL

    @property
    def series(self) -> list[str]:
        """Names of the series."""
        return list(self.group.results)

    def of(self, statistic: Callable[[dict[str, np.ndarray]], np.ndarray]) -> LeftOut | None:
        """A statistic of the mean accuracies; None where too few classes leave the jackknife undefined.

        Args:
            statistic: of the mean accuracies, series -> (n,) values, as an (n,) array: element by element.
        """
        if not self.group.has_interval:
            return None
        samples = {name: self._samples(name) for name in self.series}
        means = {name: float(np.mean([sample.mean for sample in folds])) for name, folds in samples.items()}
        without, n_folds = [], len(self.group.layouts)
        for fold in range(n_folds):  # one fold moves, the others stay
            own = {name: folds[fold] for name, folds in samples.items()}
            moved = {n: means[n] + (one.without_each_class() - one.mean) / n_folds for n, one in own.items()}
            without.append(statistic(moved))
        whole = statistic({name: np.array([mean]) for name, mean in means.items()})
        return LeftOut(float(whole[0]), tuple(without))

    def accuracy(self, series: str) -> LeftOut | None:
        """Mean accuracy of a series."""
        self._check(series)
        return self.of(lambda means: means[series])

    def lead(self, series: str) -> LeftOut | None:
        """A series minus the best other one, which is found anew without each class."""
        self._check(series)
        others = [name for name in self.series if name != series]
        return self.of(lambda means: means[series] - np.max([means[name] for name in others], axis=0))

    def next_best(self, series: str) -> str:
        """The series that is best of the others, on all episodes."""
        self._check(series)
        means = {name: self.mean(name) for name in self.series if name != series}
        return max(means, key=means.get)

    def mean(self, series: str) -> float:
        """Mean accuracy of a series on all episodes."""
        return self.group.mean(self.group.accuracy(series, basis=self.basis).mean(0), self.basis)

    @property
    def classes(self) -> list[np.ndarray]:
        """For each fold the (C,) class numbers that occur."""
        return [np.unique(part.classes) for part in self.group.fold_episodes]

    def _samples(self, series: str) -> list[Sample]:
        values = self.group.accuracy(series, basis=self.basis).mean(0)
        return self.group.samples(values, self.basis)

    def _check(self, series: str) -> None:
        if series not in self.group.results:
            raise unknown_name(f"series of {self.group.dataset}", series, self.series)


def points(
    results: Iterable[RunResult], series: Callable[[RunResult], str] = method_title, *, basis: str = ALL
) -> list[Point]:
    """The data sets and test cells of runs, in order; arguments as ``tables.grouped``."""
    return [Point(group, basis) for group in grouped(results, series, basis=basis)]


def average(parts: Sequence[LeftOut | None]) -> LeftOut | None:
    """Mean of statistics of independent groups of classes; None where one of them is undefined, or there are none."""
    if not parts or any(part is None for part in parts):
        return None
    n = len(parts)
    return LeftOut(
        float(np.mean([part.whole for part in parts])),
        tuple(values / n for part in parts for values in part.without),
    )


def contrast(a: Point, b: Point, statistic: Callable[[Point], LeftOut | None]) -> LeftOut | None:
    """statistic(a) - statistic(b) for two cells over the same classes; None where one of them is undefined.

    Raises:
        ShapeError: their episodes hold different classes.
    """
    if not all(np.array_equal(one, other) for one, other in zip(a.classes, b.classes, strict=True)):
        raise ShapeError(
            f"{a.group.dataset}: the episodes of two points hold different test classes, so that leaving one out means "
            "two things. Raise n_test_episodes."
        )
    first, second = statistic(a), statistic(b)
    return None if first is None or second is None else first - second
