"""Single answers: does a modality know how often it is right, and which novel classes are taken for which?

A class can be taken for another one only in episodes that hold both, so every rate has a count of its own; without
confusion of particular classes every rate off the diagonal is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from amfir_lib.analysis.answers import Answers
from amfir_lib.analysis.reliability import N_CALIBRATION_BINS, calibration_of
from amfir_lib.methods import uses_patches
from amfir_lib.parallel import single_thread
from amfir_lib.study.evaluation import episode_outputs
from amfir_lib.study.material import TestCell, episodes_of, table_of
from amfir_lib.study.runs import RunResult

FEWEST = 50  # queries that a bin must hold to be shown


def reliability_frame(answers: Sequence[Answers]) -> pd.DataFrame:
    """Accuracy in bins of certainty, of each modality of multimodal methods; the queries of all seeds together.

    One row per data set, shots, series, modality and bin that holds ``FEWEST`` queries: ``certainty`` (mean),
    ``accuracy, half_width`` (NaN where too few classes fall into the bin), ``share`` of the queries; and of all queries
    ``overconfidence, calibration_error``.
    """
    rows = []
    for place in answers:
        for (name, _), tests in place.given.items():
            for stream in tests[0].certainty:
                certainty = np.stack([test.certainty[stream] for test in tests]).astype(float)  # (S, E, M)
                correct = np.stack([test.correct[stream] for test in tests])
                calibration = calibration_of(tests, stream)
                whole = {key: calibration[key] for key in ("overconfidence", "calibration_error")}
                bins = np.minimum((certainty * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
                for number in np.unique(bins):
                    mask = bins == number
                    if mask.sum() >= FEWEST:
                        counts, right = mask.sum((0, 2)), (correct & mask).sum((0, 2))  # (E,)
                        values = np.divide(right, counts, out=np.zeros(len(counts)), where=counts > 0)
                        row = place.where | {"method": name, "stream": stream, "bin": int(number)}
                        row |= {"certainty": float(certainty[mask].mean())}
                        row |= {"accuracy": float(right.sum() / counts.sum())}
                        row |= {"half_width": place.interval(values, counts).half_width}
                        rows.append(row | {"share": float(mask.mean())} | whole)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Confusion:
    """Who is taken for whom on one data set."""

    dataset: str
    n_shot: int
    names: tuple[str, ...]  # (C,) of the classes, in the order of the matrices
    taken: np.ndarray  # (C, C) queries of class i that were answered with class j
    possible: np.ndarray  # (C, C) queries of class i in episodes that hold class j

    @property
    def accuracy(self) -> float:
        """Share of all queries that were answered rightly."""
        return float(np.trace(self.taken) / self.taken.sum())

    @property
    def rate(self) -> np.ndarray:
        """(C, C) share of the queries of class i that are taken for class j where they could be; NaN where never."""
        with np.errstate(invalid="ignore"):
            return self.taken / np.where(self.possible > 0, self.possible, np.nan)

    def order(self) -> np.ndarray:
        """(C,) classes, those beside each other that are often taken for one another."""
        from scipy.cluster.hierarchy import leaves_list, linkage  # slow to import, as squareform
        from scipy.spatial.distance import squareform

        both = np.nan_to_num(self.rate + self.rate.T) / 2
        away = 1 - both / max(both[~np.eye(len(both), dtype=bool)].max(), 1e-9)
        np.fill_diagonal(away, 0)
        return leaves_list(linkage(squareform(np.clip(away, 0, None), checks=False), method="average"))


def confusion_of(results: Sequence[RunResult], cell: TestCell) -> Confusion:
    """Answers of trained runs of one method and data set on one cell, all seeds and class folds together."""
    counted: dict[str, np.ndarray] = {}
    for result in results:
        table = table_of(result.run.read, patches=uses_patches(result.run.method))
        episodes = episodes_of(result.run.material, cell)
        with single_thread():
            outputs = episode_outputs(result.method(), table, episodes)
            answered = torch.cat([output.log_posterior.argmax(-1) for output, _ in outputs]).numpy()  # (E, M)
        chosen, true = (np.take_along_axis(episodes.classes, x, axis=1) for x in (answered, episodes.target))
        counts = np.zeros((len(table.class_names), 2, len(table.class_names)), np.int64)
        np.add.at(counts[:, 0], (true, chosen), 1)
        for other in episodes.classes.T:
            np.add.at(counts[:, 1], (true, np.broadcast_to(other[:, None], true.shape)), 1)
        for name, row in zip(table.class_names, counts, strict=True):
            counted[name] = counted.get(name, 0) + row
    both = np.stack(list(counted.values()))  # (n, 2, n)
    met = np.flatnonzero(both[:, 1].sum(1))
    taken, possible = both[met][:, :, met].transpose(1, 0, 2)
    names = tuple(np.array(list(counted))[met])
    return Confusion(results[0].run.material.dataset.name, cell.n_shot, names, taken, possible)


def best_and_worst(results: Sequence[RunResult], cell: TestCell) -> list[Confusion]:
    """Confusion on the data set that runs of one method answer best, and on the one that they answer worst."""
    by_dataset: dict[str, list[RunResult]] = {}
    for result in results:
        by_dataset.setdefault(result.run.material.dataset.name, []).append(result)
    ordered = sorted(by_dataset.values(), key=lambda runs: -np.mean([run.tests[cell].accuracy.mean() for run in runs]))
    return [confusion_of(runs, cell) for runs in ordered[:1] + ordered[1:][-1:]]


def pairs_frame(confusions: Sequence[Confusion]) -> pd.DataFrame:
    """Every ordered pair of classes, most confused first.

    ``rate`` counts the ``n_queries`` of the class in episodes that hold both; ``mutual_rate`` is the mean of both ways.
    """
    rows = []
    for one in confusions:
        rate = one.rate
        for i, j in zip(*np.nonzero((one.possible > 0) & ~np.eye(len(rate), dtype=bool)), strict=True):
            rows.append({
                "dataset": one.dataset, "n_shot": one.n_shot, "true_class": one.names[i], "taken_for": one.names[j],
                "rate": float(rate[i, j]), "mutual_rate": float(np.nanmean([rate[i, j], rate[j, i]])),
                "n_queries": int(one.possible[i, j]),
            })  # fmt: skip
    frame = pd.DataFrame(rows)
    place = frame.groupby("dataset", sort=False)["rate"].rank(ascending=False, method="first")
    return frame.assign(place=place).sort_values(["dataset", "place"], ignore_index=True).drop(columns="place")
