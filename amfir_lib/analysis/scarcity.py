"""Training on less: fewer base classes, or fewer clips of each.

Test and validation episodes, the backbones and the steps of the training stay as they are; whitening, which is learnt
from base classes, gets less as well.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import Answers, Fold
from amfir_lib.data.manifest import UNUSED
from amfir_lib.errors import BadParameter
from amfir_lib.study.evaluation import FUSED
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Series, run_all
from amfir_lib.study.training import Training

CLASSES, CLIPS, SCARCE = "base classes", "clips per class", "scarce data"


@dataclass(frozen=True)
class Amount:
    """How many base classes, or clips per class, are left; all by default."""

    kind: str = ""
    n: int = 0

    @property
    def family(self) -> str:
        """Of conditions; empty for all data."""
        return SCARCE if self.kind else ""

    @property
    def severity(self) -> int:
        """The more severe, the less is left."""
        return -self.n

    @property
    def label(self) -> str:
        """``8 base classes``."""
        return f"{self.n} {self.kind}"

    @property
    def columns(self) -> dict[str, object]:
        """Of a table, that say which amount a row is about."""
        return {"swept": self.kind, "n_left": self.n}


def reduce_base(material: Material, amount: Amount) -> Material:
    """A data set with less base data; the smaller amounts are parts of the larger ones.

    Left are the first so many base classes by name, or the first so many clips of each by clip id.

    Returns:
        The data set itself where all is kept.
    """
    dataset, layout = material.dataset, material.layout()
    rows = layout.rows("train")
    labels = pd.Series(layout.labels[rows])
    kept = np.ones(len(rows), bool)
    if amount.kind == CLASSES:
        kept = labels.isin(layout.base_classes[: amount.n]).to_numpy()
    elif amount.kind == CLIPS:
        kept = (labels.groupby(labels).cumcount() < amount.n).to_numpy()
    if kept.all():
        return material
    splits = dataset.manifest["split"].to_numpy(dtype=object, copy=True)
    splits[rows[~kept]] = UNUSED
    return replace(material, dataset=replace(dataset, manifest=dataset.manifest.assign(split=splits)))


def reduced_training(settings: Training, amount: Amount) -> Training:
    """The settings of a training that this amount allows.

    Supports and queries are at most a third of the clips of a class each: their persons must differ.
    """
    if amount.kind != CLIPS:
        return settings
    most = max(1, amount.n // 3)
    shots = tuple(dict.fromkeys(min(shot, most) for shot in settings.shots))
    return replace(settings, shots=shots, n_query=min(settings.n_query, most))


def whole_of(material: Material) -> dict[str, int]:
    """How many base classes there are, and clips in the largest of them."""
    layout = material.layout()
    counts = np.unique(layout.labels[layout.rows("train")], return_counts=True)[1]
    return {CLASSES: len(counts), CLIPS: int(counts.max())}


def amounts_of(
    material: Material, *, base_classes: Sequence[int], base_clips: Sequence[int], n_way: int
) -> list[Amount]:
    """The amounts that a data set has, all of it first; those that are no reduction are left out with a sentence.

    Raises:
        BadParameter: fewer base classes than ways, or fewer than two clips.
    """
    whole, amounts = whole_of(material), [Amount()]
    for swept, wanted, least in ((CLASSES, base_classes, n_way), (CLIPS, base_clips, 2)):
        for n in sorted(set(wanted), reverse=True):
            if n < least:
                raise BadParameter(f"{n} {swept} are too few for {n_way}-way training: take at least {least}.")
            if n < whole[swept]:
                amounts.append(Amount(swept, n))
            else:
                print(f"{material.dataset.name} has {whole[swept]} {swept}: {n} are left out of the comparison.")
    return amounts


def train_on_less(
    material: Material, series: Sequence[Series], settings: Training, cells: Sequence[TestCell],
    amounts: Sequence[Amount], *, seeds: Sequence[int], **workplace: Any,
) -> list[Answers]:  # fmt: skip
    """Train every method on every amount, and test all on the same episodes; conditions are the amounts."""
    plan = [
        (line.method, amount, run)
        for amount in amounts
        for line in series
        for run in line.runs(reduce_base(material, amount), reduced_training(settings, amount), seeds)
    ]
    name = f"{material.dataset.name}: training on less"
    results = run_all([run for _, _, run in plan], cells, **workplace, description=name)
    answers = []
    for cell in cells:
        given: dict[tuple[str, Hashable], list[dict[str, np.ndarray]]] = {}
        for (method, amount, _), result in zip(plan, results, strict=True):
            accuracy = result.tests[cell].accuracy.astype(np.float32)
            given.setdefault((method, amount), []).append({FUSED: accuracy})
        answers.append(Answers(material.dataset.name, cell, (Fold.drawn(cell, material.layout()),), given))
    return answers
