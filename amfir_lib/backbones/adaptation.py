"""``compact_adapted``: a compact backbone that goes on learning on the base classes of a real data set.

The compact nets have seen rendered figures only, and transfer badly to what a sensor shows.  Here such a net learns to
name the base classes (the training split; validation and test clips are not even decoded) from the sequence of its
frame features.  A declared deviation: the paper's backbones are fixed by their published weights.

Motion features are blurred in time as in ``backbones.blurred``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor

from amfir_lib.backbones import adaptation, compact, fine_tuning
from amfir_lib.backbones.blurred import BlurredBackbone
from amfir_lib.backbones.compact import CompactBackbone
from amfir_lib.backbones.fine_tuning import Adaptation, fine_tune
from amfir_lib.data import flow as flow_module
from amfir_lib.data import streams as streams_module
from amfir_lib.data import video as video_module
from amfir_lib.data.manifest import Dataset, manifest_digest
from amfir_lib.data.streams import streams
from amfir_lib.data.video import decoder_version
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_code, read_json, write_json

NAME = "compact_adapted"
NOTE = "Compact backbones go on learning on the base classes of the data set itself (a deviation from the paper)."


class AdaptedBackbone(BlurredBackbone):
    """An adapted ``CompactNet`` as a feature extractor; attributes as those of ``CompactBackbone``.

    Its name ends in its digest, so that features of several class folds, each with an adaptation of its own, lie
    beside each other in the cache.
    """

    notes = (NOTE,)

    def __init__(self, modality: str, weights: dict[str, Tensor], *, times: int) -> None:
        super().__init__(modality, weights, times=times)
        self.name = f"{NAME}-{self.digest[:8]}"


def adapt(
    backbones: Mapping[str, CompactBackbone],
    dataset: Dataset,
    settings: Adaptation | None = None,
    *,
    cache_dir: Path | str,
    flow: Mapping[str, Any],
    n_jobs: int = 1,
) -> dict[str, AdaptedBackbone]:
    """Compact backbones adapted to the training split of a data set, trained if the cache lacks them.

    Args:
        backbones: stream ("rgb", "flow") -> pretrained backbone.
        dataset: whose training clips are used; those of another class fold make another backbone.
        settings: of the adaptation; None for the defaults.
        cache_dir: folder of the cache; weights and history go to ``backbones/``.
        flow: ``flow_algorithm``, ``flow_average`` and the like, as for the features that will be extracted.
        n_jobs: worker processes; each net trains on one thread, so the weights do not depend on it.
    Returns:
        stream -> adapted backbone.
    Raises:
        UnreadableVideo, BadParameter: a training clip cannot be read, or is too short; names it.
    """
    settings = settings or Adaptation()
    flow = {"flow_size": 112, "flow_bound": 20.0} | dict(flow)
    paths = {
        stream: _weights_path(backbone, dataset, settings, flow, cache_dir) for stream, backbone in backbones.items()
    }
    missing = [s for s in backbones if not (paths[s].exists() and paths[s].with_suffix(".json").exists())]
    if missing:
        sizes = {stream: backbones[stream].input_size for stream in missing}
        views, labels = _read_views(dataset, sizes, settings, flow, n_jobs=n_jobs)
        train = partial(_train_task, labels=labels, settings=settings)
        tasks = [(stream, backbones[stream], views[stream]) for stream in missing]
        trained = map_parallel(train, tasks, n_jobs=n_jobs, description="adaptation", unit="backbone")
        for stream, (weights, history) in zip(missing, trained, strict=True):
            with atomic_write(paths[stream]) as temporary:
                save_file(weights, temporary)
            write_json(paths[stream].with_suffix(".json"), {"settings": asdict(settings), "history": history})
    return {stream: AdaptedBackbone(stream, load_file(paths[stream]), times=settings.smoothing) for stream in backbones}


def adaptation_history(
    backbone: CompactBackbone, dataset: Dataset, settings: Adaptation, *, cache_dir: Path | str, flow: Mapping[str, Any]
) -> list[dict[str, float]]:
    """Learning curve of an adaptation that is in the cache, one row per epoch; arguments as ``adapt``."""
    flow = {"flow_size": 112, "flow_bound": 20.0} | dict(flow)
    return read_json(_weights_path(backbone, dataset, settings, flow, cache_dir).with_suffix(".json"))["history"]


def _weights_path(
    backbone: CompactBackbone, dataset: Dataset, settings: Adaptation, flow: Mapping[str, Any], cache_dir: Path | str
) -> Path:
    """Where the weights are; the name covers clips and classes, first weights, settings, decoder and code."""
    clips = dataset.manifest.query("split == 'train'").assign(group="-")
    source = digest_of_code(compact, adaptation, fine_tuning, streams_module, flow_module, video_module)
    of_flow = dict(flow) if backbone.modality == "flow" else None
    parts = [asdict(settings), backbone.digest, manifest_digest(clips), of_flow, decoder_version(), source]
    return Path(cache_dir) / "backbones" / f"{NAME}-{backbone.modality}-{digest_of(parts)}.safetensors"


def _read_views(
    dataset: Dataset, sizes: Mapping[str, int], settings: Adaptation, flow: Mapping[str, Any], *, n_jobs: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The training clips, decoded once per view.

    Returns:
        stream -> (V, n, T, S, S, C), uint8 frames or float16 flow; (n,) numbers of the base classes.
    """
    rng = np.random.default_rng([settings.seed, 29])
    drawn = pd.Series(rng.permutation(dataset.rows("train")))
    of_class = drawn.groupby(dataset.manifest["label"].iloc[drawn].to_numpy()).cumcount()
    rows = np.sort(drawn[of_class < settings.clips_per_class].to_numpy())
    clips = dataset.manifest.iloc[rows]
    items = [
        (view, place, dataset.clip_path(row), int(n_frames))
        for view in range(settings.n_views)
        for place, (row, n_frames) in enumerate(zip(rows, clips["n_frames"], strict=True))
    ]
    read = partial(_read_view, sizes=dict(sizes), settings=settings, flow=dict(flow))
    found = map_parallel(read, items, n_jobs=n_jobs, description=f"training clips of {dataset.name}")
    views = {s: np.stack([one[s] for one in found]) for s in sizes}
    by_view = {s: values.reshape(settings.n_views, len(rows), *values.shape[1:]) for s, values in views.items()}
    return by_view, np.unique(clips["label"], return_inverse=True)[1]


def _read_view(
    item: tuple[int, int, Path, int], *, sizes: dict[str, int], settings: Adaptation, flow: dict[str, Any]
) -> dict[str, np.ndarray]:
    view, place, path, n_frames = item
    rng = np.random.default_rng([settings.seed, 30, view, place]) if view else None  # the first view is the features'
    seen = streams(path, sizes, n_segments=settings.n_segments, n_frames=n_frames, rng=rng, **flow)
    return {stream: x.astype(np.float16) if stream == "flow" else x for stream, x in seen.items()}


def _train_task(
    item: tuple[str, CompactBackbone, np.ndarray], *, labels: np.ndarray, settings: Adaptation
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    stream, backbone, views = item
    return fine_tune(backbone.net.state_dict(), views, labels, stream, settings)
