"""What the backbones see of a clip whose frames are in memory: the same as of a file with these frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amfir_lib.data.clip_inputs import resize_square
from amfir_lib.data.dense_inputs import dense_instants
from amfir_lib.data.flow import dense_flow, flow_windows
from amfir_lib.data.video import sample_instants


def streams_of_frames(
    frames: np.ndarray,
    counts: Mapping[str, int | None],
    *,
    sizes: Mapping[str, int],
    n_segments: int,
    flow_size: int,
    flow_algorithm: str,
    flow_bound: float,
    flow_average: int = 1,
) -> dict[str, np.ndarray]:
    """One or both streams of a clip, as ``read_streams`` and ``read_dense_streams`` give them of a file.

    Args:
        frames: all frames of the clip, square, uint8 (F, S, S, 3).
        counts: stream ("rgb", "flow") -> N frames or fields spread over the clip; None for the T instants.
        sizes: stream -> side in px of what its backbone sees.
        n_segments, flow_size, flow_algorithm, flow_bound, flow_average: see
            :func:`amfir_lib.data.clip_inputs.clip_inputs`.
    Returns:
        "rgb" -> uint8 (N, S, S, 3); "flow" -> float32 (N, S, S, 2), (x, y) in px per frame of a ``flow_size`` square.
    Raises:
        BadParameter: fewer frames than segments, or one frame only.
    """
    n_frames, result = len(frames), {}
    for stream, count in counts.items():
        if stream == "rgb":
            instants = sample_instants(n_frames, n_segments) if count is None else dense_instants(n_frames, count)
            result["rgb"] = np.stack([resize_square(frames[i], sizes["rgb"]) for i in instants])
        else:
            instants = sample_instants(n_frames, n_segments) if count is None else dense_instants(n_frames - 1, count)
            windows = flow_windows(instants, n_frames, average=flow_average if count is None else 1)
            pairs = sorted({pair for window in windows for pair in window})
            small = {i: resize_square(frames[i], flow_size) for i in {i for pair in pairs for i in pair}}
            fields = {(a, b): dense_flow(small[a], small[b], algorithm=flow_algorithm) for a, b in pairs}
            clipped = {pair: np.clip(field, -flow_bound, flow_bound) for pair, field in fields.items()}
            means = [np.mean([clipped[pair] for pair in window], axis=0) for window in windows]
            result["flow"] = np.stack([resize_square(mean, sizes["flow"]) for mean in means])
    return result
