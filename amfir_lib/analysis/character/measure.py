"""Accuracies of single streams on exchanged queries, and what each exchange costs.

All measurements are paired: the same trained single-modality methods, the same episodes with the same supports; only
the queries are exchanged for copies of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from amfir_lib.analysis.character.probes import FORCED, REVERSED, STREAMS, Probes
from amfir_lib.parallel import single_thread
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, evaluate
from amfir_lib.study.runs import RunResult, TestCell
from amfir_lib.study.statistics import class_jackknife


def measure_degradation(
    results: Mapping[tuple[str, str], Sequence[RunResult]], name: str, probes: Probes, cells: Sequence[TestCell]
) -> pd.DataFrame:
    """Accuracy of each stream with queries forced to each degradation, and what each kind costs.

    Args:
        results: from ``train_streams``.
        name: of the benchmark.
        probes: of the benchmark.
        cells: validation episodes.
    Returns:
        One row per (stream, version of the queries, kind, n_shot), kind ``all`` for the whole version and n_shot 0 for
        the mean over shots: ``accuracy`` and ``cost`` (accuracy without degradation minus accuracy with it, on the same
        queries) as shares, their ``half_width``s over classes (NaN where classes are too few), ``n_queries``.
    """
    episodes = {cell.n_shot: cell.episodes(probes.table) for cell in cells}
    rows = []
    for stream in STREAMS:
        answers = {
            (version, shot): query_accuracy(results[name, stream], probes, own, version=version)
            for version in FORCED
            for shot, own in episodes.items()
        }
        for version in FORCED:
            own_kinds = ["all"] if version == "none" else ["all", *sorted(set(probes.kinds[version]))]
            for kind in own_kinds:
                masks = {s: _of_kind(probes, own, version, kind) for s, own in episodes.items()}
                for shots in ([shot] for shot in episodes):
                    rows.append({"n_shot": shots[0]} | _measured(answers, episodes, masks, shots, version))
                    rows[-1] |= {"dataset": name, "stream": stream, "queries": version, "kind": kind}
                rows.append({"n_shot": 0} | _measured(answers, episodes, masks, list(episodes), version))
                rows[-1] |= {"dataset": name, "stream": stream, "queries": version, "kind": kind}
    order = ["dataset", "stream", "queries", "kind", "n_shot"]
    frame = pd.DataFrame(rows)
    return frame[order + [column for column in frame if column not in order]]


def measure_character(
    results: Mapping[tuple[str, str], Sequence[RunResult]], name: str, probes: Probes, cells: Sequence[TestCell]
) -> pd.DataFrame:
    """Accuracy of each measure on the benchmark's own validation clips, and of flow with queries played backwards.

    Returns:
        One row per (measure, n_shot): ``accuracy``, ``half_width``; for ``flow_reversed`` also ``cost`` against
        the same queries played forwards and ``cost_half_width``; ``n_seeds``.
    """
    rows = []
    for cell in cells:
        own = cell.episodes(probes.table)
        for measure in ("rgb", "flow", "middle_frame", "early_fusion"):
            found = results[name, measure]
            mean, half = class_interval(np.mean([r.tests[cell].accuracy for r in found], axis=0), own.classes)
            rows.append({"measure": measure, "n_shot": cell.n_shot, "accuracy": mean, "half_width": half})
            rows[-1]["n_seeds"] = len(found)
        flow = results[name, "flow"]
        forwards = np.mean([r.tests[cell].accuracy for r in flow], axis=0)
        backwards = query_accuracy(flow, probes, own, version=REVERSED).mean(1)
        mean, half = class_interval(backwards, own.classes)
        cost, cost_half = class_interval(forwards - backwards, own.classes)
        rows.append({
            "measure": "flow_reversed", "n_shot": cell.n_shot, "accuracy": mean, "half_width": half, "cost": cost,
            "cost_half_width": cost_half, "n_seeds": len(flow),
        })  # fmt: skip
    return pd.DataFrame(rows).assign(dataset=name)


def query_accuracy(results: Sequence[RunResult], probes: Probes, episodes: Episodes, *, version: str) -> np.ndarray:
    """Share of the trained methods (one a seed) that answer each query rightly, queries taken from one version.

    Returns:
        (E, M) in [0, 1].
    """
    rows, n = probes.table.rows("val"), len(probes.table.labels)
    joined = {m: torch.cat([x, probes.versions[version][m]]) for m, x in probes.table.features.items()}
    table = replace(probes.table, features=joined)  # rows n, n + 1, ... are the validation clips in the other version
    exchanged = replace(episodes, query=n + np.searchsorted(rows, episodes.query))
    with single_thread():
        return np.mean([evaluate(r.method(), table, exchanged).correct[FUSED] for r in results], axis=0)


def _of_kind(probes: Probes, episodes: Episodes, version: str, kind: str) -> np.ndarray:
    """(E, M) which queries are of a kind in a version."""
    place = np.searchsorted(probes.table.rows("val"), episodes.query).reshape(len(episodes), -1)
    return np.ones(place.shape, bool) if kind == "all" else probes.kinds[version][place] == kind


def _measured(
    answers: Mapping[tuple[str, int], np.ndarray], episodes: Mapping[int, Episodes], masks: Mapping[int, np.ndarray],
    shots: Sequence[int], version: str,
) -> dict[str, float]:  # fmt: skip
    """Accuracy and cost over some shots; episodes without a query of the kind do not count."""
    accuracy, cost, classes, n_queries = [], [], [], 0
    for shot in shots:
        mask = masks[shot]
        some = mask.any(1)
        n_queries += int(mask.sum())
        for values, into in (
            (answers[version, shot], accuracy),
            (answers["none", shot] - answers[version, shot], cost),
        ):
            into.append(np.where(mask, values, 0).sum(1)[some] / mask.sum(1)[some])
        classes.append(episodes[shot].classes[some])
    joined = np.concatenate(classes)
    mean, half = class_interval(np.concatenate(accuracy), joined)
    lost, lost_half = class_interval(np.concatenate(cost), joined)
    return {"accuracy": mean, "half_width": half, "cost": lost, "cost_half_width": lost_half, "n_queries": n_queries}


def class_interval(values: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Mean, and half of its 95 % class-jackknife interval: NaN where the classes are too few for one.

    Args:
        values: (E,) per episode.
        classes: (E, N) classes of each episode.
    """
    n_way, names = classes.shape[1], np.unique(classes)
    defined = len(names) >= n_way + 2 and all((classes != c).all(1).any() for c in names)
    if not defined:
        return float(np.mean(values)) if len(values) else float("nan"), float("nan")
    found = class_jackknife(values, classes)
    return found.mean, found.half_width
