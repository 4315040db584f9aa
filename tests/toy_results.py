"""Runs as far as tables and claims read them: every query right with a given probability."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import TestCell

N_CLASSES, CLIPS = 12, 8
CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=40)
TABLE = FeatureTable(
    {},
    labels=np.repeat(np.arange(N_CLASSES), CLIPS),
    groups=np.arange(N_CLASSES * CLIPS),
    splits=np.full(N_CLASSES * CLIPS, "test"),
    class_names=[str(number) for number in range(N_CLASSES)],
    degraded=np.tile(["rgb", "flow"], N_CLASSES * CLIPS // 2),
)
EPISODES = CELL.episodes(TABLE)


def fold_of(number: int) -> FeatureTable:
    """The same clips with one half of the classes in test and the other half in train."""
    in_test = TABLE.labels // (N_CLASSES // 2) == number
    return replace(TABLE, splits=np.where(in_test, "test", "train"))


def result(method: str, seed: int, accuracy: float, stream: int = 0, *, table=TABLE, cells=(CELL,), dataset="toy"):
    """A run as far as tables read it: every query right with a given probability."""
    rng = np.random.default_rng([seed, stream])
    tests = {}
    for cell in cells:
        shape = (cell.n_episodes, cell.n_way * cell.n_query)
        correct = {name: rng.random(shape) < accuracy for name in ("fused", "rgb", "flow")}
        values = {name: rng.random(shape) for name in ("rgb", "flow")}
        tests[cell] = QueryResults(correct, {}, values, values, values)
    material = SimpleNamespace(dataset=SimpleNamespace(name=dataset), layout=lambda: table)
    run = SimpleNamespace(material=material, method=method, seed=seed, parts=lambda: ())
    return SimpleNamespace(run=run, tests=tests, record={})


def methods(names: dict[str, float], *, val: dict[str, float] | None = None, **options):
    """One run of each method with a given accuracy, and validation accuracies for those that have one."""
    found = []
    for number, (name, accuracy) in enumerate(names.items()):
        one = result(name, 0, accuracy, number, **options)
        one.record["val_accuracy"] = (val or {}).get(name)
        one.run.material.dataset.modalities = ("rgb", "flow")
        found.append(one)
    return found
