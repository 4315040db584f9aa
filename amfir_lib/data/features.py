"""From clips to feature stores: both modalities from one decoding pass, from the cache where they are current."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.data import clip_inputs as inputs_module
from amfir_lib.data import dense_inputs as dense_module
from amfir_lib.data import flow as flow_module
from amfir_lib.data import frame_folders as frames_module
from amfir_lib.data import video as video_module
from amfir_lib.data.clip_inputs import STREAMS, ClipInputs, clip_inputs, decoder_version
from amfir_lib.data.flow import check_flow_algorithm, flow_parameters
from amfir_lib.data.manifest import Dataset, manifest_digest
from amfir_lib.data.shards import (
    Clip,
    Probe,
    Shard,
    Target,
    assemble,
    clips_per_shard,
    dense_frames,
    extract_shards,
    has_shard,
)  # fmt: skip
from amfir_lib.data.store import FeatureStore, open_store
from amfir_lib.errors import BadParameter, DataNotFound, StoreError, unknown_name
from amfir_lib.parallel import available_cores
from amfir_lib.storage import check_free_space, digest_of, digest_of_code
from amfir_lib.workers import workers_that_fit

__all__ = [
    "ClipInputs", "FeatureStore", "clip_inputs", "extract_features", "extract_stores", "open_store", "store_path",
]  # fmt: skip

BYTES_PER_VALUE = 2


def store_path(
    dataset: Dataset, modality: str, backbone: Any, *, cache_dir: Path | str, flow: str = "dis", average: int = 1
) -> Path:
    """The file in the cache that holds the features of a data set in one modality.

    Features of several flow algorithms lie beside each other; other settings replace what is there.
    """
    # the name of a synthetic root ends in a digest, so copies with another degradation do not share a file; the roots
    # of two real data sets may both be called "videos"
    name = dataset.root.name
    name = name if name.startswith(dataset.name) else f"{dataset.name}-{name}"
    folder = Path(cache_dir) / "features" / f"{name}-{len(dataset)}-clips"
    of_flow = f"-{flow}{average if average > 1 else ''}" if backbone.modality == "flow" else ""
    return folder / f"{modality}-{backbone.name}-p{backbone.n_patches}{of_flow}.safetensors"


def _expected(dataset: Dataset, modality: str, backbone: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the features depend on.  Labels, splits and groups are left out: they change no feature."""
    clips = dataset.manifest.assign(label="-", split="train", group="-")
    dense = dense_frames(backbone)
    flow = None
    if backbone.modality == "flow":
        algorithm = settings["flow_algorithm"]
        parameters = ", ".join(f"{name}={value}" for name, value in flow_parameters(algorithm).items())
        flow = {
            "algorithm": algorithm, "parameters": parameters, "unit": "px per frame",
            "size": settings["flow_size"], "bound": settings["flow_bound"],
            "average": 1 if dense else settings["flow_average"],
        }  # fmt: skip
    # of the T instants dense_inputs reads what clip_inputs does, to the last bit (tests/test_dense_inputs.py)
    modules = (video_module, frames_module, flow_module, inputs_module, *((dense_module,) if dense else ()))
    notes = {"notes": list(backbone.notes)} if getattr(backbone, "notes", ()) else {}
    return {
        "dataset": dataset.name,
        "manifest": manifest_digest(clips),
        "clip_ids": digest_of(list(dataset.manifest["clip_id"])),
        "modality": modality,
        "stream": backbone.modality,
        "decoder": decoder_version(),
        "flow": flow,
        "backbone": {"name": backbone.name, "digest": backbone.digest, "input_size": backbone.input_size} | notes,
        "n_segments": settings["n_segments"],
        "sampling": f"{f'{dense} frames over the clip' if dense else 'segment centres'}, central square",
        "shape": [len(dataset), settings["n_segments"], backbone.n_patches, backbone.dim],
        "code": digest_of_code(*modules),
    }


def extract_stores(
    dataset: Dataset,
    backbones: Mapping[str, Any],
    *,
    cache_dir: Path | str,
    n_jobs: int = 1,
    n_segments: int = 8,
    flow_size: int = 112,
    flow_algorithm: str = "dis",
    flow_bound: float = 20.0,
    flow_average: int = 1,
    shard_clips: int = 0,
    probe: Probe | None = None,
) -> dict[str, FeatureStore]:
    """Features of every clip of a data set, from the cache where they are whole and current, computed where not.

    What is computed is cut into shards; each is written when it is done, and a later call computes only those that
    are missing or damaged.  The result does not depend on ``n_jobs`` or on interruptions.

    Args:
        dataset: whose clips to read.
        backbones: modality of the data set ("rgb", "depth", "flow") -> backbone; its own ``modality`` says whether it
            sees frames or flow, its ``dense_frames``, if it has one, how many of them per clip instead of T.
        cache_dir: the cache folder.
        n_jobs: number of processes; -1 for all cores.  On GPUs fewer, if their memory holds fewer, see
            :func:`amfir_lib.workers.workers_that_fit`.
        n_segments, flow_size, flow_algorithm, flow_bound, flow_average: see
            :func:`amfir_lib.data.clip_inputs.clip_inputs`.
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
    streams = [backbone.modality for backbone in backbones.values()]
    if len(set(streams)) < len(streams):
        raise BadParameter(f"two backbones see the same stream ({', '.join(streams)}); give one for each.")
    if "flow" in streams:
        check_flow_algorithm(flow_algorithm)
    stores: dict[str, FeatureStore] = {}
    missing: list[Target] = []
    for modality, backbone in backbones.items():
        path = store_path(dataset, modality, backbone, cache_dir=cache_dir, flow=flow_algorithm, average=flow_average)
        target = Target(modality, backbone, path, _expected(dataset, modality, backbone, settings))
        try:
            stores[modality] = open_store(path, expected=target.expected)
        except DataNotFound:
            missing.append(target)
        except StoreError as error:
            print(f"Features are computed again: {error}")
            missing.append(target)
    if missing:
        size = shard_clips or clips_per_shard(backbones.values())
        stores |= _compute(dataset, missing, settings, n_jobs=n_jobs, shard_clips=size, probe=probe)
    return {modality: stores[modality] for modality in backbones}


def _compute(
    dataset: Dataset, targets: list[Target], settings: dict[str, Any], *, n_jobs: int, shard_clips: int,
    probe: Probe | None,
) -> dict[str, FeatureStore]:  # fmt: skip
    """Compute the missing shards of the targets and assemble their stores."""
    short = dataset.manifest[dataset.manifest["n_frames"] < max(settings["n_segments"], 2)]
    if len(short):
        raise BadParameter(
            f'clip "{short["clip_id"].iloc[0]}" of {dataset.name} has {short["n_frames"].iloc[0]} frames but '
            f"{settings['n_segments']} segments need {max(settings['n_segments'], 2)}. Drop it, or lower n_segments."
        )
    root, columns = Path(dataset.root), (dataset.manifest[name] for name in ("clip_id", "path", "n_frames"))
    clips: list[Clip] = [(name, str(root / path), int(count)) for name, path, count in zip(*columns, strict=True)]
    shards = []
    starts = range(0, len(clips), shard_clips)
    for number, start in enumerate(starts):
        part = clips[start : start + shard_clips]
        lacking = [target for target in targets if not has_shard(target, number, part)]
        if lacking:
            shards.append(Shard(number, part, lacking, settings))
    for target in targets:
        lacking = sum(len(shard.clips) for shard in shards if target in shard.targets)
        values_per_clip = int(np.prod(target.expected["shape"][1:]))
        check_free_space(target.path, (lacking + len(clips)) * values_per_clip * BYTES_PER_VALUE)
    if len(shards) < len(starts):
        print(f"{len(starts) - len(shards)} of {len(starts)} shards of features of {dataset.name} are there already.")
    names = " and ".join(target.modality for target in targets)
    n_jobs = workers_that_fit(available_cores() if n_jobs == -1 else n_jobs, [target.backbone for target in targets])
    extract_shards(
        shards, targets, n_shards=len(starts), n_jobs=n_jobs, description=f"{names} features of {dataset.name}",
        probe=probe,
    )  # fmt: skip
    return {target.modality: assemble(target, len(starts)) for target in targets}


def extract_features(dataset: Dataset, backbone: Any, *, modality: str, **options: Any) -> FeatureStore:
    """Features in one modality; see :func:`extract_stores` for the options."""
    return extract_stores(dataset, {modality: backbone}, **options)[modality]
