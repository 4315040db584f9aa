"""Means of anything that is known per episode, with the class-jackknife interval, over cells and data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from amfir_lib.analysis.robustness.outcomes import Outcomes
from amfir_lib.study.statistics import Interval, Sample, pooled_jackknife

Statistic = Callable[[Outcomes], np.ndarray | tuple[np.ndarray, np.ndarray]]  # (E,) values, or values and weights


@dataclass(frozen=True)
class Estimate:
    """A mean, and its interval where there are classes enough.

    Attributes:
        mean: over data sets (and class folds) and, within one, over its cells.
        interval: None where fewer than N + 2 test classes leave it undefined.
    """

    mean: float
    interval: Interval | None

    @property
    def half_width(self) -> float:
        """Of the interval; NaN without one."""
        return self.interval.half_width if self.interval else np.nan

    def columns(self, name: str, half_width: str = "") -> dict[str, float]:
        """The two columns of a table, ``name`` and ``name_half_width``."""
        return {name: self.mean, half_width or f"{name}_half_width": self.half_width}


def estimate(outcomes: Sequence[Outcomes], statistic: Statistic) -> Estimate:
    """Mean of a statistic over the episodes of some cells.

    Data sets (and class folds) count equally and are independent; cells of one share their classes.  See
    ``statistics.pooled_jackknife``.

    Args:
        outcomes: the cells.
        statistic: of one cell: (E,) values, or (E,) values and how many queries each is the mean of.
    """
    groups: dict[tuple[str, str], list[Sample]] = {}
    defined = True
    for one in outcomes:
        found = statistic(one)
        values, weights = found if isinstance(found, tuple) else (found, None)
        sample = Sample(values, one.classes, weights)
        groups.setdefault((one.dataset, one.fold), []).append(sample)
        defined &= _is_defined(sample)
    mean = float(np.mean([np.mean([sample.mean for sample in group]) for group in groups.values()]))
    return Estimate(mean, pooled_jackknife(list(groups.values())) if defined else None)


def _is_defined(sample: Sample) -> bool:
    """Whether leaving a class out leaves episodes: N + 2 classes, and none of them in every episode that counts."""
    counted = sample.classes[sample.weights > 0]
    names = np.unique(sample.classes)
    return len(names) >= sample.classes.shape[1] + 2 and all((counted != name).all(1).any() for name in names)
