"""Features, labels and groups of one data set in memory, as training and evaluation read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amfir_lib.data.arrays import FeatureStore
from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import ShapeError
from amfir_lib.study.episodes import Episodes, sample_episodes

MAX_WIDTH = 128  # of whitened features; more directions of a few hundred base clips are noise


@dataclass(frozen=True)
class FeatureTable:
    """What the methods learn from.

    Attributes:
        features: modality -> (n, T, P, D) tensor, one row per clip of the manifest; appearance first, then motion.
        labels: (n,) int64 class numbers, global over the splits.
        groups: (n,) int64 numbers of source videos or persons.
        splits: (n,) names: train, val or test.
        class_names: name of each class number.
        degraded: (n,) ``none``, ``rgb`` or ``flow``; None where the manifest does not know.
    """

    features: dict[str, Tensor]
    labels: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    class_names: list[str]
    degraded: np.ndarray | None = None

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> feature width D."""
        return {modality: values.shape[-1] for modality, values in self.features.items()}

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return next(iter(self.features.values())).device

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of the clips of a split."""
        return np.flatnonzero(self.splits == split)

    @property
    def base_classes(self) -> np.ndarray:
        """Class numbers of the training split, in order: position c is base class c."""
        return np.unique(self.labels[self.rows("train")])

    def sample(self, split: str, *, rng: np.random.Generator, **sizes: int) -> Episodes:
        """Draw episodes from one split; ``n_way, n_shot, n_query, n_episodes`` as ``sample_episodes``."""
        return sample_episodes(
            self.labels, self.groups, self.rows(split), rng=rng, class_names=self.class_names, **sizes
        )

    def take(self, rows: np.ndarray, features: Mapping[str, Tensor] | None = None) -> FeatureTable:
        """A table of some rows alone, with these features of theirs; None takes those of this table."""
        return FeatureTable(
            dict(features) if features is not None else {m: values[rows] for m, values in self.features.items()},
            self.labels[rows],
            self.groups[rows],
            self.splits[rows],
            self.class_names,
            None if self.degraded is None else self.degraded[rows],
        )

    def to(self, device: str) -> FeatureTable:
        """The same table with its features on another device."""
        return replace(self, features={modality: values.to(device) for modality, values in self.features.items()})


def load_table(dataset: Dataset, stores: Mapping[str, FeatureStore], *, patches: bool = False) -> FeatureTable:
    """Read the features of a data set into memory, on the CPU.

    Args:
        stores: modality -> feature store with one row per clip of the manifest.
        patches: keep the P patches (float16); False averages over them (float32), which is all that most methods read.
    Raises:
        ShapeError: a store and the manifest differ in the number of clips.
    """
    manifest = dataset.manifest
    features = {}
    for modality, store in stores.items():
        if len(store.features) != len(manifest):
            raise ShapeError(
                f"{store.path} holds {len(store.features)} clips but the manifest of {dataset.name} has "
                f"{len(manifest)}. Run 01_data_preparation again."
            )
        if patches:
            features[modality] = torch.from_numpy(np.array(store.features))
        else:
            pooled = [np.asarray(part, np.float32).mean(2, keepdims=True) for part in _parts(store.features)]
            features[modality] = torch.from_numpy(np.concatenate(pooled))
    return replace(layout(dataset), features=features)


@dataclass(frozen=True)
class Whitening:
    """A linear map of each modality's features after which the frames of the *base* classes are nearly white.

    Frozen features vary by orders of magnitude between directions, mostly for reasons that no episode asks about
    (lighting, background).  Each direction is divided by the square root of its variance raised by the mean variance,
    which leaves weak directions weak; no more than ``MAX_WIDTH`` directions are kept.

    Attributes:
        directions: modality -> (D, min(D, MAX_WIDTH)).
        shift: modality -> (min(D, MAX_WIDTH),), subtracted after.
    """

    directions: dict[str, Tensor]
    shift: dict[str, Tensor]

    @classmethod
    def fit(cls, table: FeatureTable) -> Whitening:
        """The map whose statistics come from the training split of a raw table alone, averaged over patches."""
        directions, shift = {}, {}
        for m, values in table.features.items():
            frames = torch.cat([values[part].double().mean(2).flatten(0, 1) for part in _parts(table.rows("train"))])
            covariance = torch.cov(frames.T)
            variances, vectors = torch.linalg.eigh(covariance)  # ascending
            raised = variances.clamp_min(0) + covariance.trace() / len(covariance)
            scaled = vectors / raised.sqrt().clamp_min(torch.finfo(torch.float32).tiny)
            directions[m] = scaled[:, -MAX_WIDTH:].float().contiguous()
            shift[m] = frames.mean(0).float() @ directions[m]
        return cls(directions, shift)

    def __call__(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> (n, ..., D) raw features of any float type -> (n, ..., D') of the same type."""
        return {
            m: torch.cat([(p.float() @ self.directions[m] - self.shift[m]).to(p.dtype) for p in _parts(values)])
            for m, values in features.items()
        }


def layout(dataset: Dataset) -> FeatureTable:
    """Labels, groups and splits of a data set without its features: all that episodes are drawn from."""
    manifest = dataset.manifest
    labels, class_names = pd.factorize(manifest["label"], sort=True)
    return FeatureTable(
        features={},
        labels=labels.astype(np.int64),
        groups=pd.factorize(manifest["group"], sort=True)[0].astype(np.int64),
        splits=manifest["split"].to_numpy(dtype=str),
        class_names=[str(name) for name in class_names],
        degraded=manifest["degraded"].to_numpy(dtype=str) if "degraded" in manifest else None,
    )


def _parts(features: Any, size: int = 256) -> list[Any]:
    """Slices of an array or tensor, so that converting it never needs twice its memory."""
    return [features[start : start + size] for start in range(0, len(features), size)]
