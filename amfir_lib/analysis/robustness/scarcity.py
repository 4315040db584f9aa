"""Training on less: fewer base classes, or fewer clips of each.

Test and validation episodes, the backbones and the steps of the training stay as they are; whitening, which is learnt
from base classes, gets less as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amfir_lib.analysis.robustness.outcomes import Outcomes
from amfir_lib.errors import BadParameter
from amfir_lib.storage import digest_of
from amfir_lib.study.evaluation import FUSED
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import Material, Series, TestCell, run_all
from amfir_lib.study.training import Training

UNUSED = "unused"  # the split of clips that are left out
CLASSES, CLIPS = "base classes", "clips per class"
SWEPT = (CLASSES, CLIPS)


@dataclass(frozen=True)
class Amount:
    """How much base data there is.

    Attributes:
        swept: "base classes" or "clips per class"; empty for all.
        n: how many of them are left.
    """

    swept: str = ""
    n: int = 0


EVERYTHING = Amount()


@dataclass(frozen=True)
class Reduced(Material):
    """A data set without some of its base clips; nothing is copied.

    Attributes:
        left_out: manifest rows that nobody reads.
    """

    left_out: tuple[int, ...] = ()

    @property
    def identity(self) -> dict[str, str | bool]:
        """As of every material, and what is left out."""
        return super().identity | {"left_out": digest_of(list(self.left_out))}

    def raw_table(self, *, patches: bool = False) -> FeatureTable:
        """The features as they are stored, left-out clips in a split of their own, which whitening does not read."""
        return self._without(super().raw_table(patches=patches))

    def layout(self) -> FeatureTable:
        """Labels, groups and splits."""
        return self._without(super().layout())

    def _without(self, table: FeatureTable) -> FeatureTable:
        splits = table.splits.astype(object)
        splits[list(self.left_out)] = UNUSED
        return replace(table, splits=splits.astype(str))


def reduce_base(material: Material, amount: Amount) -> Material:
    """A data set with less base data; the smaller amounts are parts of the larger ones.

    Args:
        material: the whole.
        amount: the first so many base classes by name, or the first so many clips of each by clip id.
    Returns:
        The data set itself where all is kept.
    """
    layout = material.layout()
    rows, labels = layout.rows("train"), layout.labels
    if amount.swept == CLASSES:
        kept = np.isin(labels[rows], layout.base_classes[: amount.n])
    elif amount.swept == CLIPS:
        place = np.concatenate([np.arange((labels[rows] == c).sum()) for c in layout.base_classes])
        order = np.argsort(labels[rows], kind="stable")
        kept = np.empty(len(rows), bool)
        kept[order] = place < amount.n
    else:
        return material
    left_out = tuple(int(row) for row in rows[~kept])
    return Reduced(material.dataset, material.stores, material.whiten, left_out) if left_out else material


def reduced_training(settings: Training, amount: Amount) -> Training:
    """The settings of a training that this amount allows.

    With fewer clips of a class, supports and queries of a training episode are at most a third of them each; their
    persons must differ, which takes a choice.
    """
    if amount.swept != CLIPS:
        return settings
    most = max(1, amount.n // 3)
    shots = tuple(dict.fromkeys(min(shot, most) for shot in settings.shots))
    return replace(settings, shots=shots, n_query=min(settings.n_query, most))


def amounts_of(
    material: Material, *, base_classes: Sequence[int], base_clips: Sequence[int], n_way: int
) -> list[Amount]:
    """The amounts that a data set has, all of it first; those that are no reduction are left out with a sentence.

    Raises:
        BadParameter: fewer base classes than ways, or fewer than two clips.
    """
    layout = material.layout()
    counts = np.unique(layout.labels[layout.rows("train")], return_counts=True)[1]
    found = [EVERYTHING]
    for swept, wanted, low, whole in (
        (CLASSES, base_classes, n_way, len(counts)),
        (CLIPS, base_clips, 2, int(counts.max())),
    ):
        for n in sorted(set(wanted), reverse=True):
            if n < low:
                raise BadParameter(f"{n} {swept} are too few for {n_way}-way training: take at least {low}.")
            if n < whole:
                found.append(Amount(swept, n))
            else:
                print(f"{material.dataset.name} has {whole} {swept}: {n} are left out of the comparison.")
    return found


def train_on_less(
    material: Material, series: Sequence[Series], settings: Training, cells: Sequence[TestCell],
    amounts: Sequence[Amount], *, seeds: Sequence[int], cache_dir: Path, n_jobs: int = 1, device: str = "cpu",
) -> list[Outcomes]:  # fmt: skip
    """Train every method on every amount, and test all on the same episodes.

    Args:
        material: the whole data set.
        series: the methods.
        settings: of the training on all of it.
        cells: test episodes.
        amounts: of base data.
        seeds: of training.
        cache_dir, n_jobs, device: as ``run_all``.
    Returns:
        One per cell; its conditions are the amounts, its quantity the accuracy.
    """
    reduced = {amount: reduce_base(material, amount) for amount in amounts}
    plan = [
        (line.method, amount, run)
        for amount in amounts
        for line in series
        for run in line.runs(reduced[amount], reduced_training(settings, amount), seeds)
    ]
    runs = [run for _, _, run in plan]
    name = f"{material.dataset.name}: training on less"
    results = run_all(runs, cells, cache_dir=cache_dir, n_jobs=n_jobs, device=device, description=name)
    found = []
    for cell in cells:
        values: dict = {}
        for (method, amount, _), result in zip(plan, results, strict=True):
            values.setdefault((method, amount), []).append(result.tests[cell].accuracy.astype(np.float32))
        stacked = {key: {FUSED: np.stack(parts)} for key, parts in values.items()}
        dataset, classes = material.dataset, cell.episodes(material.layout()).classes
        found.append(Outcomes(dataset.name, cell, dataset.digest, dataset.modalities, classes, stacked))
    return found
