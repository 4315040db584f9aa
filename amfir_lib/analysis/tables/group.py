"""What every series gave in one test cell of one data set: seeds side by side, class folds one after another.

Class folds are materials that share a data set's name but have other test classes.  Their episodes are pooled, with
the folds as independent groups of classes, and the mean is the mean of the folds.  (Leaving a class out of the mean
over all episodes at once would also shift weight between folds: simulated on three folds of nine classes that widens
the interval by 40 % and covers no more often.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from amfir_lib.errors import unknown_name
from amfir_lib.storage import digest_of_array
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, QueryResults
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import TestCell
from amfir_lib.study.statistics import Interval, Sample, pooled_jackknife

ALL, UNDEGRADED = "all queries", "undegraded queries"
BASES = (ALL, UNDEGRADED)  # which queries count; supports stay as they are


@dataclass(frozen=True)
class Group:
    """What all series gave in one test cell of one data set.

    Attributes:
        dataset: its name.
        cell: the test episodes.
        layouts: labels, groups and splits of each class fold; one for a data set without folds.
        results: series -> for each training seed the results in each fold, in the order of ``layouts``.
    """

    dataset: str
    cell: TestCell
    layouts: tuple[FeatureTable, ...]
    results: dict[str, list[list[QueryResults]]]

    @cached_property
    def fold_episodes(self) -> tuple[Episodes, ...]:
        """The episodes of each fold, as row numbers of its own manifest."""
        return tuple(_episodes(_Layout(layout), self.cell) for layout in self.layouts)

    @cached_property
    def episodes(self) -> Episodes:
        """The episodes of all folds, one after another, as row numbers of the folds' manifests laid end to end."""
        starts = np.cumsum([0, *(len(layout.labels) for layout in self.layouts[:-1])])
        parts = zip(self.fold_episodes, starts, strict=True)
        shifted = [(part.support + start, part.query + start, part.classes) for part, start in parts]
        return Episodes(*(np.concatenate(arrays) for arrays in zip(*shifted, strict=True)))

    @cached_property
    def degraded(self) -> np.ndarray | None:
        """(n,) kind of degradation of each row that ``episodes`` counts; None where a manifest does not know."""
        if any(layout.degraded is None for layout in self.layouts):
            return None
        return np.concatenate([layout.degraded for layout in self.layouts])

    @cached_property
    def tests(self) -> dict[str, list[QueryResults]]:
        """Series -> results of each seed, folds one after another as in ``episodes``."""
        return {name: [_joined(folds) for folds in seeds] for name, seeds in self.results.items()}

    @property
    def n_classes(self) -> int:
        """Test classes that occur in the episodes."""
        return sum(len(np.unique(part.classes)) for part in self.fold_episodes)

    def counts(self, basis: str = ALL) -> np.ndarray | None:
        """(E,) number of queries that count in each episode; None where the manifest cannot tell."""
        mask = self._mask(basis)
        return None if mask is None else mask.sum(1)

    def accuracy(self, name: str, *, stream: str = FUSED, basis: str = ALL) -> np.ndarray:
        """(S, E) share of right answers of each seed in each episode, among the queries that count; NaN without any."""
        correct = np.stack([test.correct[stream] for test in self.tests[name]])
        mask = self._mask(basis)
        with np.errstate(invalid="ignore"):
            return (correct & mask).sum(2) / mask.sum(1)

    def samples(self, values: np.ndarray, basis: str = ALL) -> list[Sample]:
        """Values (E,) of the pooled episodes as one sample for each fold."""
        ends = np.cumsum([len(part) for part in self.fold_episodes])[:-1]
        parts = zip(np.split(values, ends), self.fold_episodes, np.split(self.counts(basis), ends), strict=True)
        return [Sample(own, episodes.classes, counts) for own, episodes, counts in parts]

    def mean(self, values: np.ndarray, basis: str = ALL) -> float:
        """Mean over the queries that count, folds counting equally."""
        return float(np.mean([sample.mean for sample in self.samples(values, basis)]))

    def interval(self, values: np.ndarray, basis: str = ALL) -> Interval | None:
        """The class-jackknife interval of the mean; None where fewer than N + 2 test classes leave it undefined."""
        if not self.has_interval:
            return None
        return pooled_jackknife([[sample] for sample in self.samples(values, basis)])

    @property
    def has_interval(self) -> bool:
        """Whether every fold has at least N + 2 test classes."""
        return all(len(np.unique(part.classes)) >= part.n_way + 2 for part in self.fold_episodes)

    def where(self) -> dict[str, object]:
        """The first columns of a table's row."""
        return {"dataset": self.dataset, "n_way": self.cell.n_way, "n_shot": self.cell.n_shot}

    def _mask(self, basis: str) -> np.ndarray | None:
        """(E, M) bool: which queries count."""
        if basis not in BASES:
            raise unknown_name("basis", basis, BASES)
        queries = self.episodes.query.reshape(len(self.episodes), -1)
        if basis == ALL:
            return np.ones(queries.shape, dtype=bool)
        return None if self.degraded is None else self.degraded[queries] == "none"


def _joined(folds: list[QueryResults]) -> QueryResults:
    """The results of class folds, episodes one after another."""
    if len(folds) == 1:
        return folds[0]
    kinds = {
        kind: {stream: np.concatenate([getattr(fold, kind)[stream] for fold in folds]) for stream in first}
        for kind, first in vars(folds[0]).items()
    }
    return QueryResults(**kinds)


class _Layout:
    """A layout that equals another one with the same labels, groups and splits, for the cache of episodes."""

    def __init__(self, layout: FeatureTable) -> None:
        self.layout = layout
        self.digest = digest_of_array(layout.labels, layout.groups, layout.splits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layout) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@lru_cache(maxsize=64)
def _episodes(layout: _Layout, cell: TestCell) -> Episodes:
    """A drawn list serves every table that needs it: a thousand episodes with groups take a second to draw."""
    return cell.episodes(layout.layout)
