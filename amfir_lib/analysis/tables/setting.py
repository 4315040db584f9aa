"""What results were tested on, in words for captions: class splits, test classes and episodes."""

from __future__ import annotations

from collections.abc import Iterable

from amfir_lib.study.runs import Material, RunResult


def folds_of(materials: Iterable[Material]) -> dict[str, list[Material]]:
    """Data set -> its materials with different class splits: one, or one for each class fold."""
    found: dict[str, dict[str, Material]] = {}
    for one in materials:
        found.setdefault(one.dataset.name, {}).setdefault(one.dataset.digest, one)
    return {name: list(folds.values()) for name, folds in found.items()}


def class_split(folds: list[Material]) -> str:
    """``one class split, 8 test classes``, or ``3 class folds, 27 test classes``.

    Args:
        folds: the materials of one data set, from ``folds_of``.
    """
    kind = "one class split" if len(folds) == 1 else f"{len(folds)} class folds"
    return f"{kind}, {_n_test_classes(folds)} test classes"


def episodes_note(results: Iterable[RunResult]) -> str:
    """``3,000 episodes of 25 queries from 27 test classes``: of one data set and test cell, class folds together.

    Args:
        results: runs with tests; the numbers are a range where data sets or cells differ.
    """
    results = list(results)
    cells = {(one.run.material.dataset.name, cell) for one in results for cell in one.tests}
    folds = folds_of(one.run.material for one in results)
    n_episodes = spread(cell.n_episodes * len(folds[name]) for name, cell in cells)
    n_queries = spread(cell.n_way * cell.n_query for _, cell in cells)
    n_classes = spread(map(_n_test_classes, folds.values()))
    return f"{n_episodes} episodes of {n_queries} queries from {n_classes} test classes"


def spread(values: Iterable[int]) -> str:
    """``1,000``, or ``24 to 40`` where they differ."""
    values = list(values)
    low, high = int(min(values)), int(max(values))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _n_test_classes(folds: list[Material]) -> int:
    return sum(len(one.dataset.classes("test")) for one in folds)
