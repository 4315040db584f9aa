"""Runs as far as tables and claims read them: every query right with a given probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from amfir_lib.analysis.answers import collect_answers
from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import TestCell

N_CLASSES, CLIPS = 12, 8
KINDS = ("rgb", "flow", "none", "none")


def toy_material(name: str = "toy", *, first_class: int = 0, n_classes: int = N_CLASSES, degraded: Sequence = KINDS):
    """A data set of test classes alone, every clip a group of its own; ``degraded`` repeats over the clips."""
    labels = np.repeat(first_class + np.arange(n_classes), CLIPS)
    layout = FeatureTable(
        {},
        labels=labels,
        groups=np.arange(len(labels)),
        splits=np.full(len(labels), "test"),
        class_names=[f"class{number:02d}" for number in range(first_class + n_classes)],
        degraded=np.resize(degraded, len(labels)) if len(degraded) else None,
    )
    dataset = SimpleNamespace(
        name=name, modalities=("rgb", "flow"), classes=lambda split: tuple(layout.class_names[first_class:])
    )
    stores = {m: SimpleNamespace(features=np.zeros((1, 3, 2, 4))) for m in ("rgb", "flow")}
    return SimpleNamespace(dataset=dataset, layout=lambda: layout, stores=stores)


def toy_result(material, method: str, share: float | Mapping[TestCell, float], cells, *, seed: int = 0, val=None):
    """A run of a method, whose queries are right with this probability, in every cell."""
    tests = {}
    for number, cell in enumerate(cells):
        rng = np.random.default_rng([seed, number, *method.encode()])
        shape = (cell.n_episodes, cell.n_way * cell.n_query)
        chance = share[cell] if isinstance(share, Mapping) else share
        correct = {name: rng.random(shape) < chance for name in ("fused", "rgb", "flow")}
        values = [{name: rng.random(shape) for name in ("rgb", "flow")} for _ in range(3)]
        tests[cell] = QueryResults(correct, {}, *values)
    record = {"val_accuracy": share if val is None else val, "seconds": 8.0, "parameters": 1234, "best_step": 30}
    training = SimpleNamespace(steps=40, episodes_per_step=2)
    run = SimpleNamespace(material=material, method=method, seed=seed, parts=(), training=training)
    return SimpleNamespace(run=run, tests=tests, record=record | {"device": "cpu"})


def toy_results(shares: Mapping, cells, *, names: Sequence[str] = ("toy",), seeds: Sequence[int] = (0,), **options):
    """One run per data set, method and seed."""
    materials = [toy_material(name, **options) for name in names]
    return [toy_result(m, method, share, cells, seed=s) for m in materials for method, share in shares.items()
            for s in seeds]  # fmt: skip


def named(result) -> str:
    return result.run.method


def toy_answers(shares: Mapping, cells, **options):
    """The answers of ``toy_results``, series named by method."""
    return collect_answers(toy_results(shares, cells, **options), named)
