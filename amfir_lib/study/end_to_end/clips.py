"""From the frame cache to features: views of clips, raw clips on a device in parts, and tables for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.data.flow import decode_flow
from amfir_lib.data.streams import CENTRE, View, look_at
from amfir_lib.study.end_to_end.job import PRECISIONS, Job
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.feature_table import FeatureTable


def look(job: Job, modality: str, rows: Iterable[int], views: Iterable[View]) -> np.ndarray:
    """Views of clips as stored: [n, F, S, S, C]."""
    source = job.sources[modality]
    options = {"stream": source.stream, "n_instants": source.n_instants, "crop": source.crop}
    options["flow_type"] = job.cache.flow_type
    clips = (job.cache.clip(source.stream, row) for row in rows)
    return np.stack([look_at(clip, view, **options) for clip, view in zip(clips, views, strict=True)])


def raw_parts(job: Job, modality: str, clips: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    """Raw clips on the device, a pass at a time: uint8 frames, or float32 flow in px per frame."""
    n = job.options.clips_per_pass
    for start in range(0, len(clips), n):
        part = torch.from_numpy(clips[start : start + n]).to(device, non_blocking=True)
        flow = job.sources[modality].stream == "flow"
        yield decode_flow(part, storage=job.cache.flow_type, bound=job.cache.flow_bound) if flow else part


def features_of(job: Job, stream: nn.Module, parts: Iterable[Tensor], device: torch.device) -> Tensor:
    """Features of raw clips in parts, at the precision of the job: float32 (n, T, P, D)."""
    kind = PRECISIONS[job.options.precision]
    found = []
    for part in parts:
        with torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None):
            found.append(stream(part).float())
    return torch.cat(found)


def for_method(job: Job, features: Tensor) -> Tensor:
    """Features as the method reads them: averaged over the patches, unless it uses them."""
    return features if job.method.uses_patches else features.mean(2, keepdim=True)


@torch.inference_mode()
def clips_table(job: Job, streams: Mapping[str, nn.Module], rows: np.ndarray, device: torch.device) -> FeatureTable:
    """Features of some clips from their central views, as a table with one row per given row.

    Args:
        job: with cache, sources and layout.
        streams: modality -> backbone on the device; they are put into evaluation mode.
        rows: (n,) sorted rows of the manifest; ``on_rows`` renumbers episodes for the table.
        device: of the streams.
    """
    features = {}
    for modality, stream in streams.items():
        stream.eval()
        found = []
        for part in np.array_split(rows, -(-len(rows) // job.options.clips_per_pass)):
            clips = look(job, modality, part, [CENTRE] * len(part))
            raw = raw_parts(job, modality, clips, device)
            found.append(for_method(job, features_of(job, stream, raw, device)))
        features[modality] = torch.cat(found)
    layout = job.layout
    degraded = None if layout.degraded is None else layout.degraded[rows]
    own = (layout.labels[rows], layout.groups[rows], layout.splits[rows])
    return FeatureTable(features, *own, layout.class_names, degraded)


def rows_of(episodes: Episodes) -> np.ndarray:
    """The rows that occur in episodes, sorted, each once."""
    return np.unique(np.concatenate([episodes.support.ravel(), episodes.query.ravel()]))


def on_rows(episodes: Episodes, rows: np.ndarray) -> Episodes:
    """The same episodes with rows numbered as in a table that holds only ``rows`` (sorted)."""
    return Episodes(np.searchsorted(rows, episodes.support), np.searchsorted(rows, episodes.query), episodes.classes)


def evaluate_end_to_end(job: Job, episodes: Episodes, *, device: str = "cpu") -> QueryResults:
    """Results of the job's method and backbones on a list of episodes; each clip goes through the backbones once."""
    rows, place = rows_of(episodes), torch.device(device)
    streams = {modality: stream.to(place) for modality, stream in job.streams.items()}
    table = clips_table(job, streams, rows, place)
    return evaluate(job.method.to(place), table, on_rows(episodes, rows))


def prefetched(read: Callable[[int], Any], items: Iterable[int]) -> Iterator[Any]:
    """``read`` of each item in order, the next one being read in a thread while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            coming = pool.submit(read, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
