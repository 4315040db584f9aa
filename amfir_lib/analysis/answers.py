"""What every series answered on the same test episodes: the one thing that all tables and claims are made of.

A place is one data set at one kind of test episodes.  In it every series (a method with options) was asked under one or
more conditions (queries as they are or spoilt, amounts of base data, scores, retests), once for each training seed, and
all of them met the same episodes.  Seeds are averaged per episode before an interval is formed.

Class folds are materials that share a data set's name but have other test classes.  Their episodes follow one another,
with the folds as independent groups of classes, and a mean is the mean of the folds.  (Leaving a class out of the mean
over all episodes at once would also shift weight between folds: simulated on three folds of nine classes that widens
the interval by 40 % and covers no more often.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.methods import METHODS
from amfir_lib.storage import digest_of_array
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, QueryResults
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Interval, Sample, jackknife

AS_IS = ""  # the condition in which nothing is changed
ALL, UNDEGRADED, COPIES = "all queries", "undegraded queries", "degradation-free copies"
BASES = (ALL, UNDEGRADED, COPIES)
COPY = "-clean"  # after the name of a benchmark: its copy without degradation

Namer = Callable[[RunResult], str]
Answer = QueryResults | Mapping[str, np.ndarray]  # of every query, or quantity -> (E,) of every episode
Statistic = Callable[["Answers"], np.ndarray | tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Fold:
    """The test episodes over one set of classes.

    Attributes:
        episodes: as row numbers of the fold's own manifest.
        degraded: (E, M) which modality is degraded in each query's own clip, or "none" or "both"; None if unknown.
    """

    episodes: Episodes
    degraded: np.ndarray | None = None

    @classmethod
    def drawn(cls, cell: TestCell, layout: FeatureTable) -> Fold:
        """The fixed list of a cell."""
        episodes = cell.episodes(layout)
        queries = episodes.query.reshape(len(episodes), -1)
        return cls(episodes, None if layout.degraded is None else layout.degraded[queries])


@dataclass(frozen=True)
class Answers:
    """What was answered in one place.

    Attributes:
        dataset: its name.
        cell: the test episodes.
        folds: the episodes of each class fold; one for a data set without folds.
        given: (series, condition) -> the answers of each training seed, folds one after another.
    """

    dataset: str
    cell: TestCell
    folds: tuple[Fold, ...]
    given: dict[tuple[str, Hashable], list[Answer]]

    @property
    def series(self) -> list[str]:
        """In the order in which they were asked."""
        return list(dict.fromkeys(name for name, _ in self.given))

    @property
    def conditions(self) -> list[Hashable]:
        """In the order in which they were asked."""
        return list(dict.fromkeys(condition for _, condition in self.given))

    @property
    def where(self) -> dict[str, object]:
        """The first columns of a table's row; a degradation-free copy bears the name of its benchmark."""
        return {"dataset": original(self.dataset), "n_way": self.cell.n_way, "n_shot": self.cell.n_shot}

    @cached_property
    def degraded(self) -> np.ndarray | None:
        """(E, M) as ``Fold.degraded``; None where a fold does not know."""
        parts = [fold.degraded for fold in self.folds]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    @cached_property
    def n_classes(self) -> int:
        """Test classes that occur in the episodes."""
        return sum(len(np.unique(fold.episodes.classes)) for fold in self.folds)

    def mask(self, basis: str = ALL) -> np.ndarray | None:
        """(E, M) bool: which queries count; None where the data cannot tell, or have no such basis."""
        if basis not in BASES:
            raise unknown_name("basis", basis, BASES)
        if (basis == COPIES) != self.dataset.endswith(COPY):
            return None
        if basis == UNDEGRADED:
            return None if self.degraded is None else self.degraded == "none"
        return np.ones((sum(len(f.episodes) for f in self.folds), self.cell.n_way * self.cell.n_query), dtype=bool)

    def counts(self, basis: str = ALL) -> np.ndarray:
        """(E,) number of queries that count in each episode."""
        return self.mask(basis).sum(1)

    def by_seed(
        self, series: str, condition: Hashable = AS_IS, *, quantity: str = FUSED, basis: str | None = None
    ) -> np.ndarray:
        """(S, E) a quantity of each seed in each episode.

        Args:
            series, condition: who was asked, and how.
            quantity: a stream, for its share of right answers; where answers are known per episode, one of these.
            basis: which queries count; None for ``self.basis``.
        Raises:
            UnknownName: no such series.
        """
        if (series, condition) not in self.given:
            raise unknown_name(f"series of {self.dataset}", series, self.series)
        answers = self.given[series, condition]
        if not isinstance(answers[0], QueryResults):
            return np.stack([one[quantity] for one in answers])
        correct = np.stack([one.correct[quantity] for one in answers])
        mask = self.mask(basis or self.basis)
        with np.errstate(invalid="ignore"):  # an episode of which no query counts
            return (correct & mask).sum(2) / mask.sum(1)

    def of(
        self, series: str, condition: Hashable = AS_IS, *, quantity: str = FUSED, basis: str | None = None
    ) -> np.ndarray:
        """(E,) mean over the seeds of ``by_seed``."""
        return self.by_seed(series, condition, quantity=quantity, basis=basis).mean(0)

    @property
    def basis(self) -> str:
        """The basis on which all queries count."""
        return COPIES if self.dataset.endswith(COPY) else ALL

    def only(self, series: Sequence[str], conditions: Sequence[Hashable]) -> Answers:
        """The same place with these series and conditions alone."""
        kept = {key: answers for key, answers in self.given.items() if key[0] in series and key[1] in conditions}
        return replace(self, given=kept)

    def samples(self, values: np.ndarray, weights: np.ndarray | None = None) -> list[Sample]:
        """Values (E,), and what each is the mean of, as one sample for each fold."""
        ends = np.cumsum([len(fold.episodes) for fold in self.folds])[:-1]
        weights = np.ones(len(values)) if weights is None else weights
        parts = zip(self.folds, np.split(values, ends), np.split(weights, ends), strict=True)
        return [Sample(own, fold.episodes.classes, counts) for fold, own, counts in parts]

    def mean(self, values: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Mean over what counts, folds counting equally."""
        return float(np.mean([sample.mean for sample in self.samples(values, weights)]))

    def interval(self, values: np.ndarray, weights: np.ndarray | None = None) -> Interval:
        """The mean with its class-jackknife interval."""
        return jackknife([[sample] for sample in self.samples(values, weights)])


def join_folds(answers: Iterable[Answers]) -> list[Answers]:
    """The class folds of each place, one after another; their answers are known per episode, or are single numbers."""
    by_place: dict[tuple[str, TestCell], list[Answers]] = {}
    for fold in answers:
        by_place.setdefault((fold.dataset, fold.cell), []).append(fold)
    joined = []
    for parts in by_place.values():
        given = {}
        for key in parts[0].given:
            seeds = zip(*(part.given[key] for part in parts), strict=True)
            given[key] = [
                {name: np.concatenate([one[name] for one in seed]) for name in seed[0] if all(name in s for s in seed)}
                for seed in seeds
            ]
        joined.append(replace(parts[0], folds=tuple(fold for part in parts for fold in part.folds), given=given))
    return joined


def original(name: str) -> str:
    """The benchmark that a copy is one of; another name stays as it is."""
    return name.removesuffix(COPY)


def on_basis(answers: Iterable[Answers], basis: str) -> list[Answers]:
    """The places in which a query counts on this basis."""
    masks = [(place, place.mask(basis)) for place in answers]
    return [place for place, mask in masks if mask is not None and mask.any()]


def estimate(
    answers: Iterable[Answers], statistic: Statistic, *, share: Callable[[Answers], float] | None = None
) -> Interval:
    """Mean of a statistic over several places: of (E,) values, or (E,) values and how many queries each is the mean of.

    Data sets count equally, and so do the places of one, and its class folds, unless ``share`` says what a place
    counts (shares of 1 and -1 ask whether a gain differs between two places).  Places of one data set share their test
    classes; data sets and class folds are independent.  See ``statistics.jackknife``.
    """
    answers = list(answers)
    n_places = {place.dataset: sum(other.dataset == place.dataset for other in answers) for place in answers}
    groups: dict[tuple[str, int], list[Sample]] = {}
    shares: dict[tuple[str, int], list[float]] = {}
    for place in answers:
        own = share(place) if share else 1 / len(n_places) / n_places[place.dataset]
        values = statistic(place)
        for fold, sample in enumerate(place.samples(*(values if isinstance(values, tuple) else (values,)))):
            groups.setdefault((place.dataset, fold), []).append(sample)
            shares.setdefault((place.dataset, fold), []).append(own / len(place.folds))
    return jackknife(list(groups.values()), shares=list(shares.values()))


def episodes_in_words(answers: Iterable[Answers]) -> str:
    """``1,000 episodes of 25 queries from 24 test classes``; a range where places differ."""
    rows = [(p.counts(p.basis).size, p.cell.n_way * p.cell.n_query, p.n_classes) for p in answers]
    n_episodes, n_queries, n_classes = (
        f"{min(numbers):,}" if min(numbers) == max(numbers) else f"{min(numbers):,} to {max(numbers):,}"
        for numbers in zip(*rows, strict=True)
    )
    return f"{n_episodes} episodes of {n_queries} queries from {n_classes} test classes"


def method_title(result: RunResult) -> str:
    """The method's name in tables; ``series`` functions with other names go into the same places."""
    return result.record.get("title", METHODS[result.run.method].title)  # STRM may have called itself lite


def collect_answers(results: Iterable[RunResult], series: Namer = method_title) -> list[Answers]:
    """The places of the results of runs, in the order in which they come.

    Args:
        results: runs with tests; those of one series and data set differ in the seed (and the class fold) alone.
        series: names the series of a run.
    Raises:
        BadParameter: a series has a seed twice on one data set; class folds share a test class; or two series were
            not tested on the same folds.
    """
    tests: dict[tuple[str, TestCell], dict[str, dict[int, dict[str, QueryResults]]]] = {}
    layouts: dict[tuple[str, str], FeatureTable] = {}  # (data set, digest) -> labels, groups and splits
    digests: dict[int, str] = {}
    for result in (results := list(results)):  # held, so that no id is given twice
        material, name = result.run.material, series(result)
        if id(material) not in digests:
            layout = material.layout()
            digests[id(material)] = digest = digest_of_array(layout.labels, layout.groups, layout.splits)
            layouts.setdefault((material.dataset.name, digest), layout)
        digest, dataset = digests[id(material)], material.dataset.name
        for cell, test in result.tests.items():
            folds = tests.setdefault((dataset, cell), {}).setdefault(name, {}).setdefault(result.run.seed, {})
            if digest in folds:
                raise BadParameter(
                    f'the series "{name}" has seed {result.run.seed} twice on {dataset}. Give runs that differ in more '
                    "than the seed names of their own."
                )
            folds[digest] = test
    answers = []
    for (dataset, cell), by_series in tests.items():
        folds = list(next(iter(next(iter(by_series.values())).values())))
        if any(set(own) != set(folds) for seeds in by_series.values() for own in seeds.values()):
            raise BadParameter(
                f"the series {', '.join(by_series)} were not all tested on the same class folds or clips of {dataset}. "
                "Compare runs of one data set, or give the other one a name of its own."
            )
        _check_folds(dataset, cell, [layouts[dataset, digest] for digest in folds])
        given = {
            (name, AS_IS): [_joined([own[digest] for digest in folds]) for own in seeds.values()]
            for name, seeds in by_series.items()
        }
        answers.append(
            Answers(dataset, cell, tuple(Fold.drawn(cell, layouts[dataset, digest]) for digest in folds), given)
        )
    return answers


def _joined(folds: Sequence[QueryResults]) -> QueryResults:
    """The results of class folds, episodes one after another."""
    if len(folds) == 1:
        return folds[0]
    kinds = {
        kind: {stream: np.concatenate([getattr(fold, kind)[stream] for fold in folds]) for stream in first}
        for kind, first in vars(folds[0]).items()
    }
    return QueryResults(**kinds)


def _check_folds(dataset: str, cell: TestCell, layouts: Sequence[FeatureTable]) -> None:
    seen: set[str] = set()
    for layout in layouts:
        classes = {layout.class_names[number] for number in np.unique(layout.labels[layout.rows(cell.split)])}
        if classes & seen:
            raise BadParameter(
                f'two data sets are called {dataset}, but both hold the {cell.split} class "{min(classes & seen)}", so '
                "they are no class folds. Give one of them another name."
            )
        seen |= classes
