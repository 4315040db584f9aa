"""Runs as far as tables read them, for tests of ablations and sweeps: every query right with a given probability."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import TestCell

N_CLASSES, CLIPS = 10, 8


@dataclass(frozen=True)
class ToyResult:
    """What tables read of a run's result."""

    run: SimpleNamespace
    tests: dict[TestCell, QueryResults]
    record: dict[str, str]


def toy_material(name: str = "toy", *, first_class: int = 0, degraded: bool = True, n_classes: int = N_CLASSES):
    """A data set of test classes alone, every clip a group of its own; two in four clips degraded."""
    labels = np.repeat(first_class + np.arange(n_classes), CLIPS)
    table = FeatureTable(
        {},
        labels=labels,
        groups=np.arange(len(labels)),
        splits=np.full(len(labels), "test"),
        class_names=[f"class{number:02d}" for number in range(first_class + n_classes)],
        degraded=np.resize(["rgb", "flow", "none", "none"], len(labels)) if degraded else None,
    )
    dataset = SimpleNamespace(name=name, classes=lambda split: tuple(table.class_names[first_class:]))
    stores = {m: SimpleNamespace(features=np.zeros((1, 3, 2, 4))) for m in ("rgb", "flow")}
    return SimpleNamespace(dataset=dataset, layout=lambda: table, stores=stores)


def toy_result(material, name: str, accuracy: float | dict[TestCell, float], cells, *, seed: int = 0):
    """A run of the method ``name``, whose queries are right with this probability, in every cell."""
    tests = {}
    for number, cell in enumerate(cells):
        rng = np.random.default_rng([seed, number, *name.encode()])
        chance = accuracy if isinstance(accuracy, float) else accuracy[cell]
        shape = (cell.n_episodes, cell.n_way * cell.n_query)
        tests[cell] = QueryResults({"fused": rng.random(shape) < chance}, {}, {}, {}, {})
    run = SimpleNamespace(material=material, method=name, seed=seed)
    return ToyResult(run, tests, {"title": name})


def named(result) -> str:
    return result.run.method
