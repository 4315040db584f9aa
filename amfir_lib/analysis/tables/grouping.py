"""Results of many runs, put together by data set and test cell, so that every series met the same episodes.

Training seeds are averaged per episode before an interval is formed, because every seed meets the same episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from amfir_lib.analysis.tables.group import ALL, Group
from amfir_lib.errors import BadParameter
from amfir_lib.methods import METHODS
from amfir_lib.storage import digest_of_array
from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import RunResult, TestCell

Namer = Callable[[RunResult], str]


def method_title(result: RunResult) -> str:
    """The method's name in tables; ``series`` functions with other names go into the same places."""
    return result.record.get("title", METHODS[result.run.method].title)  # STRM may have called itself lite


def grouped(results: Iterable[RunResult], series: Namer = method_title, *, basis: str = ALL) -> Iterator[Group]:
    """Results by data set and test cell, in the order in which they come.

    Args:
        results: runs with tests.
        series: names the series of a run.
        basis: groups where no query counts, or it is unknown which, are left out.
    Raises:
        BadParameter: a series has a seed twice on one data set; class folds share a test class; or two series were
            not tested on the same folds.
    """
    found: dict[tuple[str, TestCell], dict[str, dict[int, dict[str, QueryResults]]]] = {}
    layouts: dict[str, FeatureTable] = {}
    digests: dict[int, str] = {}
    for result in (results := list(results)):  # held, so that no id is given twice
        material, name = result.run.material, series(result)
        if id(material) not in digests:
            layout = material.layout()
            digests[id(material)] = digest = digest_of_array(layout.labels, layout.groups, layout.splits)
            layouts.setdefault(digest, layout)
        digest, dataset = digests[id(material)], material.dataset.name
        for cell, test in result.tests.items():
            folds = found.setdefault((dataset, cell), {}).setdefault(name, {}).setdefault(result.run.seed, {})
            if digest in folds:
                raise BadParameter(
                    f'the series "{name}" has seed {result.run.seed} twice on {dataset}. Give runs that differ in more '
                    "than the seed names of their own."
                )
            folds[digest] = test
    for (dataset, cell), by_series in found.items():
        seeds_of = {name: list(seeds.values()) for name, seeds in by_series.items()}
        folds = list(next(iter(seeds_of.values()))[0])
        if any(set(own) != set(folds) for seeds in seeds_of.values() for own in seeds):
            raise BadParameter(
                f"the series {', '.join(seeds_of)} were not all tested on the same class folds or clips of {dataset}. "
                "Compare runs of one data set, or give the other one a name of its own."
            )
        chosen = tuple(layouts[fold] for fold in folds)
        _check_folds(dataset, cell, chosen)
        tests = {name: [[own[fold] for fold in folds] for own in seeds] for name, seeds in seeds_of.items()}
        group = Group(dataset, cell, chosen, tests)
        counts = group.counts(basis)
        if counts is not None and counts.any():
            yield group


def _check_folds(dataset: str, cell: TestCell, layouts: tuple[FeatureTable, ...]) -> None:
    seen: set[str] = set()
    for layout in layouts:
        own = {layout.class_names[number] for number in np.unique(layout.labels[layout.rows(cell.split)])}
        if own & seen:
            raise BadParameter(
                f'two data sets are called {dataset}, but both hold the {cell.split} class "{min(own & seen)}", so '
                "they are no class folds. Give one of them another name."
            )
        seen |= own
