"""Extraction in shards: a group of clips is decoded once, and what is computed from it is on disk when it is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.data.dense_inputs import read_dense_streams
from amfir_lib.data.store import FeatureStore, open_store, write_store
from amfir_lib.errors import DataNotFound, NonFiniteFeatures, ShapeError, StoreError
from amfir_lib.parallel import iterate_parallel
from amfir_lib.storage import digest_of
from amfir_lib.workers import take_gpu

Clip = tuple[str, str, int]  # clip id, file (as text: a hundred thousand paths would be heavy), number of frames
SHARD_CLIPS = 64  # clips that an interruption can cost each worker
DENSE_SHARD_CLIPS = 8  # the same where a backbone sees dense frames, which takes a second or more a clip
BATCH_CLIPS = 16  # clips held in memory as images at a time, per worker
BATCH_BYTES = 128_000_000  # and fewer of them where clips are large
PROBE_CLIPS = 128  # whose features are shown to a probe before the others are computed
Probe = Callable[[str, np.ndarray], None]
BYTES_PER_PIXEL = {"rgb": 3, "flow": 8}


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


def dense_frames(backbone: Any) -> int | None:
    """Frames that a backbone wants of each clip; None for one that sees the T instants, as most do."""
    return getattr(backbone, "dense_frames", None)


def clips_per_shard(backbones: Iterable[Any]) -> int:
    """How many clips make a shard: fewer where each of them takes long."""
    return DENSE_SHARD_CLIPS if any(map(dense_frames, backbones)) else SHARD_CLIPS


def clips_per_batch(backbones: list[Any], *, n_segments: int) -> int:
    """How many clips are held in memory as images at a time; it bounds the memory of a worker, whatever the shard."""
    clip_bytes = sum(
        (dense_frames(one) or n_segments) * one.input_size**2 * BYTES_PER_PIXEL[one.modality] for one in backbones
    )
    return max(1, min(BATCH_CLIPS, BATCH_BYTES // clip_bytes))


def extract_shard(shard: Shard) -> None:
    """Worker: decode the clips of a shard once, compute what is missing, and write it."""
    backbones = [target.backbone for target in shard.targets]
    take_gpu(backbones)
    counts = {backbone.modality: dense_frames(backbone) for backbone in backbones}
    sizes = {backbone.modality: backbone.input_size for backbone in backbones}
    parts: dict[str, list[np.ndarray]] = {target.modality: [] for target in shard.targets}
    step = clips_per_batch(backbones, n_segments=shard.settings["n_segments"])
    for start in range(0, len(shard.clips), step):
        clips = shard.clips[start : start + step]
        inputs = [read_dense_streams(path, counts, sizes=sizes, n_frames=n, **shard.settings) for _, path, n in clips]
        for target in shard.targets:
            batch = np.stack([one[target.backbone.modality] for one in inputs])
            parts[target.modality].append(_check_batch(target, target.backbone.features(batch), clips))
    for target in shard.targets:
        shape = (len(shard.clips), *target.expected["shape"][1:])
        path, metadata = target.shard(shard.number), target.shard_metadata(shard.number, shard.clips)
        write_store(path, parts[target.modality], shape=shape, metadata=metadata)


def extract_shards(
    shards: list[Shard], targets: list[Target], *, n_shards: int, n_jobs: int, description: str,
    probe: Probe | None = None,
) -> None:  # fmt: skip
    """Extract shards in worker processes, with a progress bar in clips.

    Args:
        shards: those that are missing.
        targets: of all shards.
        n_shards: there are, the missing ones included.
        n_jobs, description: see ``map_parallel``.
        probe: is shown the features of each target of about ``PROBE_CLIPS`` clips, in shards that are evenly spread and
            extracted first, while the workers go on.
    """
    n_first = -(-PROBE_CLIPS // max(1, len(shards[0].clips))) if shards else 1
    first = np.unique(np.linspace(0, n_shards - 1, n_first).round().astype(int)) if probe is not None else []
    shards = sorted(shards, key=lambda shard: shard.number not in first)
    n_ahead = sum(shard.number in first for shard in shards)
    results = iterate_parallel(
        extract_shard, shards, n_jobs=n_jobs, description=description, units_of=lambda shard: len(shard.clips)
    )
    for n_done, _ in enumerate(chain([None], results)):  # once before the first shard, which may be there already
        if probe is not None and n_done == n_ahead:
            for target in targets:
                parts = [open_store(target.shard(number)).features for number in first]
                probe(target.modality, np.concatenate(parts))


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
