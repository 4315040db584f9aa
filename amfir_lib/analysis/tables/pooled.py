"""One difference for a whole claim: two series over all data sets and shots, paired, with one interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables.group import ALL, Group
from amfir_lib.analysis.tables.grouping import Namer, grouped, method_title
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Interval, Sample, pooled_jackknife

Choice = str | Mapping[str, str]  # a series, or data set -> series


@dataclass(frozen=True)
class PooledDifference:
    """A paired difference over several cells.

    Attributes:
        mean: over data sets and, within one, over its cells; a share.
        interval: of the mean; None where too few test classes leave it undefined.
        cells: one row per cell: ``dataset, n_way, n_shot, difference, half_width``; shares.
    """

    mean: float
    interval: Interval | None
    cells: pd.DataFrame

    @property
    def half_width(self) -> float:
        """Of the interval; NaN without one."""
        return self.interval.half_width if self.interval else np.nan


def pooled_difference(
    results: Iterable[RunResult],
    one: Choice,
    other: Choice,
    *,
    series: Namer = method_title,
    basis: str = ALL,
    share: Callable[[str, int, int], float] | None = None,
) -> PooledDifference | None:
    """Accuracy of ``one`` minus that of ``other``, pooled over every data set and cell in which both were tested.

    Data sets count equally, and so do the cells of one.  Cells of one data set share their test classes; data sets
    (and class folds) are independent.  See ``statistics.pooled_jackknife``.

    Args:
        results: runs with tests.
        one, other: names of series, the same everywhere or by data set.
        series: names the series of a run.
        basis: "all queries" or "undegraded queries".
        share: what a cell counts, as a function of data set, ways and shots, instead of equal shares: shares of 1 and
            -1 ask whether the gain differs between two cells.
    Returns:
        The difference; None where no cell has both series.
    """
    cells: list[tuple[Group, np.ndarray]] = []
    n_cells: Counter[str] = Counter()
    for group in grouped(results, series, basis=basis):
        names = _named(one, group.dataset), _named(other, group.dataset)
        if not set(names) <= group.results.keys():
            continue
        first, second = (group.accuracy(name, basis=basis).mean(0) for name in names)
        cells.append((group, first - second))
        n_cells[group.dataset] += 1
    if not cells:
        return None
    samples: dict[tuple[str, int], list[Sample]] = {}
    shares: dict[tuple[str, int], list[float]] = {}
    rows = []
    for group, values in cells:
        equal = 1 / len(n_cells) / n_cells[group.dataset]
        own = equal if share is None else share(group.dataset, group.cell.n_way, group.cell.n_shot)
        for fold, sample in enumerate(group.samples(values, basis)):
            samples.setdefault((group.dataset, fold), []).append(sample)
            shares.setdefault((group.dataset, fold), []).append(own / len(group.layouts))
        interval = group.interval(values, basis)
        half_width = interval.half_width if interval else np.nan
        rows.append(group.where() | {"difference": group.mean(values, basis), "half_width": half_width})
    mean = sum(s * one.mean for at in samples for s, one in zip(shares[at], samples[at], strict=True))
    if not all(group.has_interval for group, _ in cells):
        return PooledDifference(mean, None, pd.DataFrame(rows))
    found = pooled_jackknife(list(samples.values()), shares=list(shares.values()))
    return PooledDifference(mean, found, pd.DataFrame(rows))


def _named(choice: Choice, dataset: str) -> str:
    return choice if isinstance(choice, str) else choice.get(dataset, "")
