"""Seconds that the stages of feature extraction take for one clip in one thread, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.data.flow import dense_flow, flow_windows
from amfir_lib.data.streams import centre_square, dense_frames, dense_instants, resize_square, sample_instants
from amfir_lib.data.video import decode, probe_video
from amfir_lib.parallel import single_thread

BATCH = 4  # clips that a backbone is timed on


@dataclass(frozen=True)
class ClipCosts:
    """Seconds that one clip takes in one thread.

    Args:
        decode_s: reading the frames that are needed, and their central squares.
        flow_s: algorithm -> all flow fields of a clip.
        features_s: backbone stream ("rgb", "flow") -> features of a clip.
        feature_bytes: stored features of both streams.
    """

    decode_s: float
    flow_s: dict[str, float]
    features_s: dict[str, float]
    feature_bytes: int


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure_stages(
    path: Path, backbones: Mapping[str, Any], *, algorithms: Sequence[str], n_segments: int = 8, flow_size: int = 112,
    flow_average: int = 3, repeats: int = 3, features: tuple[dict[str, float], int] | None = None,
) -> ClipCosts:  # fmt: skip
    """Time the stages of one clip one after another, in one thread: the same functions as in feature extraction.

    Args:
        path: the clip.
        backbones: modality -> backbone, see :func:`amfir_lib.data.features.extract_stores`.
        algorithms: of flow, see :func:`amfir_lib.data.flow.dense_flow`.
        n_segments, flow_size, flow_average: as in feature extraction.
        repeats: the median of so many is taken.
        features: of ``measure_features``, where they are measured already.
    """
    with single_thread():
        n_frames, wanted = probe_video(path).n_frames, {one.modality: dense_frames(one) for one in backbones.values()}
        instants = {
            stream: dense_instants(n_frames - (stream == "flow"), count) if (count := wanted.get(stream))
            else sample_instants(n_frames, n_segments) for stream in ("rgb", "flow")
        }  # fmt: skip
        windows = flow_windows(instants["flow"], n_frames, average=1 if wanted.get("flow") else flow_average)
        pairs = sorted({pair for window in windows for pair in window})
        needed = {int(i) for i in instants["rgb"]} | {i for pair in pairs for i in pair}
        squares = lambda: {i: centre_square(frame) for i, frame in decode(path, needed)}  # noqa: E731
        decode_s, frames = _seconds(squares, repeats), squares()

        def all_flow(algorithm: str) -> list[np.ndarray]:
            small = {i: resize_square(frames[i], flow_size) for pair in pairs for i in pair}
            return [dense_flow(small[i], small[j], algorithm=algorithm) for i, j in pairs]

        flow_s = {name: _seconds(lambda name=name: all_flow(name), repeats) for name in algorithms}
        features = features or measure_features(backbones, n_segments=n_segments, repeats=repeats)
    features_s, n_bytes = features
    return ClipCosts(decode_s, flow_s, features_s, n_bytes)


def measure_features(
    backbones: Mapping[str, Any], *, n_segments: int = 8, repeats: int = 3
) -> tuple[dict[str, float], int]:
    """Seconds of each stream's features of one clip, wherever the backbones are, and bytes of the features of both."""
    seconds, n_bytes = {}, 0
    for backbone in backbones.values():
        flow, size = backbone.modality == "flow", backbone.input_size
        shape = (BATCH, dense_frames(backbone) or n_segments, size, size, 2 if flow else 3)
        batch = np.zeros(shape, np.float32 if flow else np.uint8)
        seconds[backbone.modality] = _seconds(lambda b=backbone, c=batch: b.features(c), repeats) / BATCH
        n_bytes += backbone.features(batch[:1]).nbytes
    return seconds, n_bytes
