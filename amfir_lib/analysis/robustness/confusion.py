"""Which novel classes are taken for which: of the queries of one class that could have been taken for another, how many
are.

A class can be taken for another one only in episodes that hold both, so every rate has a count of its own; without
confusion of particular classes every rate off the diagonal is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from amfir_lib.analysis.tables import percent
from amfir_lib.exports import Table
from amfir_lib.methods import Method, uses_patches
from amfir_lib.parallel import single_thread
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import episode_outputs
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import RunResult, TestCell


@dataclass(frozen=True)
class Confusion:
    """Who is taken for whom on one data set.

    Attributes:
        dataset: its name.
        n_shot: supports per class.
        names: (C,) of the classes, in the order of the matrices.
        taken: (C, C) queries of class i that were answered with class j.
        possible: (C, C) queries of class i in episodes that hold class j.
        accuracy: share of all queries that were answered rightly.
    """

    dataset: str
    n_shot: int
    names: tuple[str, ...]
    taken: np.ndarray
    possible: np.ndarray
    accuracy: float

    @property
    def rate(self) -> np.ndarray:
        """(C, C) share of the queries of class i that are taken for class j where they could be; NaN where never."""
        with np.errstate(invalid="ignore"):
            return self.taken / np.where(self.possible > 0, self.possible, np.nan)

    def order(self) -> np.ndarray:
        """(C,) classes, those beside each other that are often taken for one another."""
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        both = np.nan_to_num(self.rate + self.rate.T) / 2
        away = 1 - both / max(both[~np.eye(len(both), dtype=bool)].max(), 1e-9)
        np.fill_diagonal(away, 0)
        return leaves_list(linkage(squareform(np.clip(away, 0, None), checks=False), method="average"))


def confusion_of(results: Sequence[RunResult], cell: TestCell) -> Confusion:
    """Predictions of trained runs of one method and data set on one cell, all seeds together.

    Args:
        results: the runs; class folds are joined.
        cell: test episodes.
    """
    tables: dict[str, FeatureTable] = {}
    counted: dict[tuple[str, str], np.ndarray] = {}
    right = total = 0
    for result in results:
        read = result.run.read
        key = read.dataset.digest
        if key not in tables:
            tables[key] = read.table(patches=uses_patches(result.run.method))
        table = tables[key]
        episodes = cell.episodes(table)
        said = predictions(result.method(), table, episodes)  # (E, M)
        right, total = right + int((said == episodes.target).sum()), total + said.size
        chosen = np.take_along_axis(episodes.classes, said, axis=1)
        true = np.take_along_axis(episodes.classes, episodes.target, axis=1)
        n = len(table.class_names)
        taken, possible = np.zeros((n, n), np.int64), np.zeros((n, n), np.int64)
        np.add.at(taken, (true, chosen), 1)
        for other in episodes.classes.T:
            np.add.at(possible, (true, np.broadcast_to(other[:, None], true.shape)), 1)
        for name, row in zip(table.class_names, np.stack([taken, possible], 1), strict=True):
            counted[name] = counted.get(name, 0) + row
    table_names = np.array(next(iter(tables.values())).class_names)
    both = np.stack([counted[name] for name in table_names])  # (n, 2, n)
    own = np.flatnonzero(both[:, 1].sum(1))
    taken, possible = (both[own, which][:, own] for which in (0, 1))
    dataset = results[0].run.material.dataset.name
    return Confusion(dataset, cell.n_shot, tuple(table_names[own]), taken, possible, right / total)


def predictions(method: Method, table: FeatureTable, episodes: Episodes) -> np.ndarray:
    """(E, M) position 0..N-1 of the class that each query is given, in evaluation mode."""
    with single_thread():
        parts = [output.log_posterior.argmax(-1) for output, _ in episode_outputs(method, table, episodes)]
    return torch.cat(parts).numpy()


def best_and_worst(results: Sequence[RunResult], cell: TestCell) -> list[Confusion]:
    """Confusion on the data set that is answered best, and on the one that is answered worst; one where there is one.

    Args:
        results: runs of one method on several data sets, tested on the cell.
        cell: test episodes.
    """
    accuracies: dict[str, list[float]] = {}
    for result in results:
        accuracies.setdefault(result.run.material.dataset.name, []).append(result.tests[cell].accuracy.mean())
    names = sorted(accuracies, key=lambda name: -np.mean(accuracies[name]))
    chosen = dict.fromkeys((names[0], names[-1]))
    return [confusion_of([r for r in results if r.run.material.dataset.name == name], cell) for name in chosen]


def pairs_frame(found: Sequence[Confusion]) -> pd.DataFrame:
    """Every ordered pair of classes, most confused first.

    Returns:
        Columns ``dataset, n_shot, true_class, taken_for, rate, n_queries`` and ``mutual_rate``: the mean of both ways.
    """
    rows = []
    for one in found:
        rate = one.rate
        for i, j in zip(*np.nonzero((one.possible > 0) & ~np.eye(len(rate), dtype=bool)), strict=True):
            rows.append({
                "dataset": one.dataset, "n_shot": one.n_shot, "true_class": one.names[i], "taken_for": one.names[j],
                "rate": float(rate[i, j]), "mutual_rate": float(np.nanmean([rate[i, j], rate[j, i]])),
                "n_queries": int(one.possible[i, j]),
            })  # fmt: skip
    frame = pd.DataFrame(rows)
    order = frame.groupby("dataset", sort=False)["rate"].rank(ascending=False, method="first")
    return frame.assign(place=order).sort_values(["dataset", "place"], ignore_index=True).drop(columns="place")


def shown_pairs(frame: pd.DataFrame, *, n_pairs: int = 6, caption: str) -> Table:
    """The most confused pairs of each data set, each once."""
    rows = []
    for dataset, part in frame.groupby("dataset", sort=False):
        pairs = [frozenset(pair) for pair in zip(part["true_class"], part["taken_for"], strict=True)]
        part = part.assign(pair=pairs).sort_values("mutual_rate", ascending=False, kind="stable")
        for row in part.drop_duplicates("pair").head(n_pairs).itertuples():
            back = part[(part["true_class"] == row.taken_for) & (part["taken_for"] == row.true_class)]
            rows.append({
                "data set": dataset, "class": row.true_class, "and": row.taken_for,
                "first taken for second (%)": percent(row.rate),
                "second taken for first (%)": percent(float(back["rate"].iloc[0])) if len(back) else "–",
            })  # fmt: skip
    return Table(frame, pd.DataFrame(rows), caption)
