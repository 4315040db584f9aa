"""From clips to arrays in the cache: both streams from one decoding pass, in shards that survive an interruption.

A group of clips, a shard, is decoded once, and what is computed of it is on disk when it is done.  Feature stores are
assembled from their shards; the frames of ``data.frames`` stay in theirs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.data import flow as flow_module
from amfir_lib.data import images as images_module
from amfir_lib.data import streams as streams_module
from amfir_lib.data import video as video_module
from amfir_lib.data.arrays import FeatureStore, array_writer, open_array, write_array
from amfir_lib.data.flow import FLOW_ALGORITHMS, check_flow_algorithm
from amfir_lib.data.manifest import Dataset, manifest_digest
from amfir_lib.data.streams import STREAMS, dense_frames, seen_by, streams
from amfir_lib.data.video import decoder_version
from amfir_lib.errors import BadParameter, DataNotFound, NonFiniteFeatures, ShapeError, StoreError, unknown_name
from amfir_lib.parallel import iterate_parallel
from amfir_lib.storage import check_free_space, digest_of, digest_of_code
from amfir_lib.workers import available_cores, take_gpu, workers_that_fit

SHARD_CLIPS = 64  # clips that an interruption can cost each worker
DENSE_SHARD_CLIPS = 8  # the same where a backbone sees dense frames, which takes a second or more a clip
BATCH_CLIPS = 16  # clips held in memory as images at a time, per worker
BATCH_BYTES = 128_000_000  # and fewer of them where clips are large
PROBE_CLIPS = 128  # whose features are shown to a probe before the others are computed
BYTES_PER_PIXEL = {"rgb": 3, "flow": 8}
Clip = tuple[str, str, int]  # clip id, file (as text: a hundred thousand paths would be heavy), number of frames
Probe = Callable[[str, np.ndarray], None]


@dataclass(frozen=True)
class Target:
    """Where what a backbone makes of the clips goes, and what it depends on, with its shape and type."""

    modality: str
    backbone: Any = field(repr=False)
    path: Path
    expected: dict[str, Any]
    dtype: Any = np.float16

    def shard(self, number: int) -> Path:
        folder = self.path.with_name(f"{self.path.stem}.shards-{digest_of(self.expected)}")
        return folder / f"shard-{number:05d}.safetensors"

    def shard_metadata(self, number: int, clips: Sequence[Clip]) -> dict[str, Any]:
        return {"shard": number, "clips": digest_of([clip[0] for clip in clips]), "of": digest_of(self.expected)}


@dataclass(frozen=True)
class Shard:
    """Some consecutive clips, and the targets that they are still missing in."""

    number: int
    clips: Sequence[Clip]
    targets: Sequence[Target]
    settings: dict[str, Any]

    @property
    def item_name(self) -> str:
        return f"clips {self.clips[0][0]} to {self.clips[-1][0]}"


def clips_per_batch(backbones: Iterable[Any], *, n_segments: int) -> int:
    """How many clips are held in memory as images at a time; it bounds the memory of a worker, whatever the shard."""
    clip_bytes = sum((dense_frames(b) or n_segments) * b.input_size**2 * BYTES_PER_PIXEL[b.modality] for b in backbones)
    return max(1, min(BATCH_CLIPS, BATCH_BYTES // clip_bytes))


def extract_shard(shard: Shard) -> None:
    """Worker: decode the clips of a shard once, compute what is missing, and write it."""
    backbones = [target.backbone for target in shard.targets]
    take_gpu(backbones)
    step = clips_per_batch(backbones, n_segments=shard.settings["n_segments"])
    with ExitStack() as stack:
        append = {}
        for target in shard.targets:
            metadata = target.shard_metadata(shard.number, shard.clips)
            shape = (len(shard.clips), *target.expected["shape"][1:])
            writer = array_writer(target.shard(shard.number), shape=shape, metadata=metadata, dtype=target.dtype)
            append[target.modality] = stack.enter_context(writer)
        for start in range(0, len(shard.clips), step):
            clips = shard.clips[start : start + step]
            inputs = [streams(path, **seen_by(backbones), n_frames=n, **shard.settings) for _, path, n in clips]
            for target in shard.targets:
                batch = np.stack([clip[target.backbone.modality] for clip in inputs])
                append[target.modality](_checked(target, target.backbone.features(batch), clips))


def _checked(target: Target, values: np.ndarray, clips: Sequence[Clip]) -> np.ndarray:
    """Refuse features of a wrong shape, and those that are not finite, naming the clip."""
    shape, kind = (len(clips), *target.expected["shape"][1:]), np.dtype(target.dtype)
    name, modality = target.backbone.name, target.modality
    if values.shape != shape or values.dtype != kind:
        raise ShapeError(
            f"backbone {name} returned {values.dtype} {values.shape} for {modality}; expected {kind} {shape}."
        )
    for (clip_id, path, _), finite in zip(clips, np.isfinite(values).reshape(len(clips), -1).all(axis=1), strict=True):
        if not finite:
            raise NonFiniteFeatures(
                f'clip "{clip_id}" ({path}) has NaN or infinite {modality} features from backbone {name}. '
                "Check its weights, or drop the clip."
            )
    return values


def _is_there(target: Target, number: int, clips: Sequence[Clip], check_content: bool) -> bool:
    """Whether a whole shard of this very target is there."""
    try:
        expected = target.shard_metadata(number, clips)
        open_array(target.shard(number), expected=expected, check_content=check_content)
    except DataNotFound:
        return False
    except StoreError as error:
        print(f"A shard is computed again: {error}")
        return False
    return True


def fill_shards(
    dataset: Dataset, targets: Sequence[Target], settings: dict[str, Any], *, shard_clips: int, n_jobs: int,
    description: str, assembled: bool = True, probe: Probe | None = None,
) -> int:  # fmt: skip
    """Compute the shards of some targets that are missing or damaged, in worker processes; returns how many there are.

    Arguments and errors are those of ``extract_stores``; ``settings`` those of :func:`amfir_lib.data.streams.streams`.

    Args:
        assembled: whether the shards are joined next: then there must be room for twice their size, and what is there
            is read and compared with its digest; else only its size is looked at.
        probe: is shown the features of each target of about ``PROBE_CLIPS`` clips, in shards that are evenly spread and
            extracted first, while the workers go on.
    """
    least = max(settings["n_segments"], 2)
    short = dataset.manifest[dataset.manifest["n_frames"] < least]
    if len(short):
        raise BadParameter(
            f'clip "{short["clip_id"].iloc[0]}" of {dataset.name} has {short["n_frames"].iloc[0]} frames but '
            f"{settings['n_segments']} segments need {least}. Drop it, or lower n_segments."
        )
    root, columns = Path(dataset.root), (dataset.manifest[name] for name in ("clip_id", "path", "n_frames"))
    clips: list[Clip] = [(name, str(root / path), int(count)) for name, path, count in zip(*columns, strict=True)]
    groups = [clips[start : start + shard_clips] for start in range(0, len(clips), shard_clips)]
    shards = []
    for number, group in enumerate(groups):
        if lacking := [target for target in targets if not _is_there(target, number, group, assembled)]:
            shards.append(Shard(number, group, lacking, settings))
    for target in targets:
        n_written = sum(len(s.clips) for s in shards if target in s.targets) + assembled * len(clips)
        n_bytes = int(np.prod(target.expected["shape"][1:])) * np.dtype(target.dtype).itemsize
        check_free_space(target.path, n_written * n_bytes)
    if 0 < len(shards) < len(groups) or (assembled and not shards):
        print(f"{len(groups) - len(shards)} of {len(groups)} shards of {description} are there already.")
    n_first = -(-PROBE_CLIPS // shard_clips)
    first = np.unique(np.linspace(0, len(groups) - 1, n_first).round().astype(int)) if probe is not None else []
    shards.sort(key=lambda shard: shard.number not in first)
    n_ahead = sum(shard.number in first for shard in shards)
    n_jobs = workers_that_fit(available_cores() if n_jobs == -1 else n_jobs, [target.backbone for target in targets])
    done = iterate_parallel(
        extract_shard, shards, n_jobs=n_jobs, description=description, units_of=lambda shard: len(shard.clips)
    )
    for n_done, _ in enumerate(chain([None], done)):  # once before the first shard, which may be there already
        if probe is not None and n_done == n_ahead:
            for target in targets:
                probe(target.modality, np.concatenate([open_array(target.shard(number)).features for number in first]))
    return len(groups)


def _assemble(target: Target, n_shards: int) -> FeatureStore:
    """Join the shards into the store, check it, and remove them."""
    pieces = (open_array(target.shard(number)).features for number in range(n_shards))
    write_array(target.path, pieces, shape=tuple(target.expected["shape"]), metadata=target.expected)
    store = open_array(target.path, expected=target.expected)
    for folder in target.path.parent.glob(f"{target.path.stem}.shards-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return store


def store_path(
    dataset: Dataset, modality: str, backbone: Any, *, cache_dir: Path | str, flow: str = "dis", average: int = 1
) -> Path:
    """The file in the cache that holds the features of a data set in one modality.

    Features of several flow algorithms lie beside each other; other settings replace what is there.
    """
    name = dataset.root.name  # ends in a digest if it is synthetic; the roots of real data sets may both be "videos"
    name = name if name.startswith(dataset.name) else f"{dataset.name}-{name}"
    folder = Path(cache_dir) / "features" / f"{name}-{len(dataset)}-clips"
    of_flow = f"-{flow}{average if average > 1 else ''}" if backbone.modality == "flow" else ""
    return folder / f"{modality}-{backbone.name}-p{backbone.n_patches}{of_flow}.safetensors"


def made_from(
    dataset: Dataset, modality: str, backbone: Any, settings: Mapping[str, Any], shape: Sequence[int]
) -> dict[str, Any]:
    """Everything that an array depends on.  Labels, splits and groups are left out: they change no pixel."""
    dense, flow = dense_frames(backbone), None
    if backbone.modality == "flow":
        algorithm = settings["flow_algorithm"]
        flow = {
            "algorithm": algorithm,
            "parameters": ", ".join(f"{name}={value}" for name, value in FLOW_ALGORITHMS[algorithm].items()),
            "unit": "px per frame", "size": settings["flow_size"], "bound": settings["flow_bound"],
            "average": 1 if dense else settings["flow_average"],
        }  # fmt: skip
    notes = {"notes": list(backbone.notes)} if getattr(backbone, "notes", ()) else {}
    return {
        "dataset": dataset.name,
        "manifest": manifest_digest(dataset.manifest.assign(label="-", split="train", group="-")),
        "clip_ids": digest_of(list(dataset.manifest["clip_id"])),
        "modality": modality,
        "stream": backbone.modality,
        "decoder": decoder_version(),
        "flow": flow,
        "backbone": {"name": backbone.name, "digest": backbone.digest, "input_size": backbone.input_size} | notes,
        "n_segments": settings["n_segments"],
        "sampling": f"{f'{dense} frames over the clip' if dense else 'segment centres'}, central square",
        "shape": [len(dataset), *shape],
        "code": digest_of_code(images_module, video_module, flow_module, streams_module),
    }


def extract_stores(
    dataset: Dataset, backbones: Mapping[str, Any], *, cache_dir: Path | str, n_jobs: int = 1, n_segments: int = 8,
    flow_size: int = 112, flow_algorithm: str = "dis", flow_bound: float = 20.0, flow_average: int = 1,
    shard_clips: int = 0, probe: Probe | None = None,
) -> dict[str, FeatureStore]:  # fmt: skip
    """Features of every clip of a data set, from the cache where they are whole and current, computed where not.

    What is computed is cut into shards; each is written when it is done, and a later call computes only those that
    are missing or damaged.  The result does not depend on ``n_jobs`` or on interruptions.

    Args:
        backbones: modality of the data set ("rgb", "depth", "flow") -> backbone; its own ``modality`` says whether it
            sees frames or flow, its ``dense_frames``, if it has one, how many of them per clip instead of T.
        n_jobs: number of processes; -1 for all cores.  On GPUs fewer, if their memory holds fewer.
        n_segments, flow_size, flow_algorithm, flow_bound, flow_average: see :func:`amfir_lib.data.streams.streams`.
        shard_clips: clips per shard; 0 for 64, and 8 where a backbone sees dense frames.
        probe: called with the modality and features [n, T, P, D] of about 128 clips, evenly spread, of each modality
            that has to be computed, as soon as they are there; the others follow.
    Returns:
        modality -> open store.  Says on stdout why a store that was there is computed again.
    Raises:
        UnknownName: a modality that the data set does not have, or an unknown flow algorithm.
        BadParameter: a clip has fewer frames than segments, or two backbones see the same stream.
        UnreadableVideo, NonFiniteFeatures: name the clip.
        DiskFull: no room; what is finished is kept.
    """
    settings = {
        "n_segments": n_segments, "flow_size": flow_size, "flow_algorithm": flow_algorithm, "flow_bound": flow_bound,
        "flow_average": flow_average,
    }  # fmt: skip
    for modality, backbone in backbones.items():
        if modality not in dataset.modalities:
            raise unknown_name(f"modality of {dataset.name}", modality, dataset.modalities)
        if backbone.modality not in STREAMS:
            raise unknown_name(f"stream of backbone {backbone.name}", backbone.modality, STREAMS)
    seen = [backbone.modality for backbone in backbones.values()]
    if len(set(seen)) < len(seen):
        raise BadParameter(f"two backbones see the same stream ({', '.join(seen)}); give one for each.")
    if "flow" in seen:
        check_flow_algorithm(flow_algorithm)
    stores: dict[str, FeatureStore] = {}
    missing: list[Target] = []
    for modality, backbone in backbones.items():
        path = store_path(dataset, modality, backbone, cache_dir=cache_dir, flow=flow_algorithm, average=flow_average)
        expected = made_from(dataset, modality, backbone, settings, (n_segments, backbone.n_patches, backbone.dim))
        try:
            stores[modality] = open_array(path, expected=expected)
        except DataNotFound:
            missing.append(Target(modality, backbone, path, expected))
        except StoreError as error:
            print(f"Features are computed again: {error}")
            missing.append(Target(modality, backbone, path, expected))
    if missing:
        names = " and ".join(target.modality for target in missing)
        size = shard_clips or (DENSE_SHARD_CLIPS if any(map(dense_frames, backbones.values())) else SHARD_CLIPS)
        n_shards = fill_shards(
            dataset, missing, settings, shard_clips=size, n_jobs=n_jobs, probe=probe,
            description=f"{names} features of {dataset.name}",
        )  # fmt: skip
        stores |= {target.modality: _assemble(target, n_shards) for target in missing}
    return {modality: stores[modality] for modality in backbones}
