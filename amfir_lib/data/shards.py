"""Extraction in shards: a group of clips is decoded once, and what is computed from it is on disk when it is done."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.data.clip_inputs import read_streams
from amfir_lib.data.store import FeatureStore, open_store, write_store
from amfir_lib.errors import DataNotFound, NonFiniteFeatures, ShapeError, StoreError
from amfir_lib.storage import digest_of

Clip = tuple[str, str, int]  # clip id, file (as text: a hundred thousand paths would be heavy), number of frames
BATCH_CLIPS = 16  # clips held in memory as images at a time, per worker


@dataclass(frozen=True)
class Target:
    """Where the features of one modality go, and what they depend on."""

    modality: str
    backbone: Any = field(repr=False)
    path: Path
    expected: dict[str, Any]

    @property
    def shard_folder(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.shards-{digest_of(self.expected)}")

    def shard(self, number: int) -> Path:
        return self.shard_folder / f"shard-{number:05d}.safetensors"

    def shard_metadata(self, number: int, clips: list[Clip]) -> dict[str, Any]:
        return {"shard": number, "clips": digest_of([clip[0] for clip in clips]), "of": digest_of(self.expected)}


@dataclass(frozen=True)
class Shard:
    """Some consecutive clips, and the modalities whose features of them are still missing."""

    number: int
    clips: list[Clip]
    targets: list[Target]
    settings: dict[str, Any]

    @property
    def item_name(self) -> str:
        return f"clips {self.clips[0][0]} to {self.clips[-1][0]}"


def _check_batch(target: Target, values: np.ndarray, clips: list[Clip]) -> np.ndarray:
    """Refuse features of a wrong shape, and those that are not finite, naming the clip."""
    shape = (len(clips), *target.expected["shape"][1:])
    if values.shape != shape or values.dtype != np.float16:
        raise ShapeError(
            f"backbone {target.backbone.name} returned {values.dtype} {values.shape} for {target.modality}; "
            f"expected float16 {shape}."
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))
    if len(bad):
        clip_id, path, _ = clips[bad[0]]
        raise NonFiniteFeatures(
            f'clip "{clip_id}" ({path}) has NaN or infinite {target.modality} features from backbone '
            f"{target.backbone.name}. Check its weights, or drop the clip."
        )
    return values


def extract_shard(shard: Shard) -> None:
    """Worker: decode the clips of a shard once, compute what is missing, and write it."""
    streams = {target.backbone.modality for target in shard.targets}
    sizes = {target.backbone.modality: target.backbone.input_size for target in shard.targets}
    parts: dict[str, list[np.ndarray]] = {target.modality: [] for target in shard.targets}
    for start in range(0, len(shard.clips), BATCH_CLIPS):
        clips = shard.clips[start : start + BATCH_CLIPS]
        inputs = [read_streams(path, streams, sizes=sizes, n_frames=n, **shard.settings) for _, path, n in clips]
        for target in shard.targets:
            batch = np.stack([one[target.backbone.modality] for one in inputs])
            parts[target.modality].append(_check_batch(target, target.backbone.features(batch), clips))
    for target in shard.targets:
        shape = (len(shard.clips), *target.expected["shape"][1:])
        path, metadata = target.shard(shard.number), target.shard_metadata(shard.number, shard.clips)
        write_store(path, parts[target.modality], shape=shape, metadata=metadata)


def has_shard(target: Target, number: int, clips: list[Clip]) -> bool:
    """Whether a whole shard of these very features is there."""
    try:
        open_store(target.shard(number), expected=target.shard_metadata(number, clips))
    except (DataNotFound, StoreError):
        return False
    return True


def assemble(target: Target, n_shards: int) -> FeatureStore:
    """Join the shards into the store, check it, and remove them."""
    parts = (open_store(target.shard(number)).features for number in range(n_shards))
    write_store(target.path, parts, shape=tuple(target.expected["shape"]), metadata=target.expected)
    store = open_store(target.path, expected=target.expected)
    for folder in target.path.parent.glob(f"{target.path.stem}.shards-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return store


