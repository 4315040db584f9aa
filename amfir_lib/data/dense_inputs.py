"""Many frames of a clip for backbones that see clips rather than frames (I3D), beside T instants for the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amfir_lib.data.clip_inputs import centre_square, resize_square
from amfir_lib.data.flow import dense_flow, flow_windows
from amfir_lib.data.video import count_frames, read_frames, sample_instants
from amfir_lib.errors import BadParameter


def dense_instants(n_frames: int, n_wanted: int) -> np.ndarray:
    """``n_wanted`` frame numbers spread evenly over a clip; a clip with fewer frames repeats each of them as needed.

    Where the clip has frames enough these are the centres of ``n_wanted`` segments, as ``sample_instants`` has them.

    Args:
        n_frames: of the clip, 1 or more.
        n_wanted: N, 1 or more.
    Returns:
        int64 [N], never decreasing, within 0 .. n_frames - 1.
    Raises:
        BadParameter: a number below 1.
    """
    if n_frames < 1 or n_wanted < 1:
        raise BadParameter(f"{n_wanted} instants of a clip of {n_frames} frames: both must be at least 1.")
    k = np.arange(n_wanted, dtype=np.int64)
    # centre of part k: (2k + 1) n / (2N) - 1/2; nearest integer with ties to the earlier frame, in whole numbers
    return -((2 * n_wanted - (2 * k + 1) * n_frames) // (2 * n_wanted))


def read_dense_streams(
    path: Path | str,
    counts: Mapping[str, int | None],
    *,
    sizes: Mapping[str, int],
    n_segments: int,
    flow_size: int,
    flow_algorithm: str,
    flow_bound: float,
    flow_average: int = 1,
    n_frames: int | None = None,
) -> dict[str, np.ndarray]:
    """Read one or both streams of a clip from one decoding pass, each at its own number of instants.

    Flow is always between neighbouring frames at native rate, in px of a ``flow_size`` square, so its size does not
    depend on how many instants are taken.  Dense flow is not averaged over neighbouring pairs: the network does that.
    At most two frames per instant are held in memory, whatever the length of the clip.

    Args:
        path: the video file.
        counts: stream ("rgb", "flow") -> N frames or fields spread over the clip; None for the T instants of
            :func:`amfir_lib.data.clip_inputs.read_streams`.
        sizes: stream -> S, side of what the backbone sees.
        n_segments, flow_size, flow_algorithm, flow_bound, flow_average: see
            :func:`amfir_lib.data.clip_inputs.clip_inputs`.
        n_frames: number of frames from the manifest; None counts them first.
    Returns:
        "rgb" -> uint8 [N, S, S, 3]; "flow" -> float32 [N, S, S, 2], (x, y) in px per frame.
    Raises:
        BadParameter: fewer frames than segments, or one frame only; names the file.
        DataNotFound, UnreadableVideo: see :func:`amfir_lib.data.video.read_frames`.
    """
    n_frames = count_frames(path) if n_frames is None else n_frames
    if n_frames < max(n_segments, 2):
        raise BadParameter(
            f"{path} has {n_frames} frames but {n_segments} segments and flow need {max(n_segments, 2)}. "
            "Drop the clip, or lower n_segments."
        )
    instants: dict[str, np.ndarray] = {}
    windows: list[list[tuple[int, int]]] = []
    for stream, count in counts.items():
        if count is None:
            instants[stream] = sample_instants(n_frames, n_segments)
        else:
            instants[stream] = dense_instants(n_frames - (stream == "flow"), count)  # one pair less than frames
        if stream == "flow":
            windows = flow_windows(instants[stream], n_frames, average=flow_average if count is None else 1)
    pairs = sorted({pair for window in windows for pair in window})
    needed = sorted({int(i) for i in instants.get("rgb", ())} | {i for pair in pairs for i in pair})
    frames = dict(zip(needed, centre_square(read_frames(path, needed)), strict=True))
    result: dict[str, np.ndarray] = {}
    if "rgb" in counts:
        result["rgb"] = np.stack([resize_square(frames[int(i)], sizes["rgb"]) for i in instants["rgb"]])
    if "flow" in counts:
        small = {i: resize_square(frames[i], flow_size) for i in {i for pair in pairs for i in pair}}
        fields = {pair: dense_flow(*(small[i] for i in pair), algorithm=flow_algorithm) for pair in pairs}
        clipped = {pair: np.clip(field, -flow_bound, flow_bound) for pair, field in fields.items()}
        means = [np.mean([clipped[pair] for pair in window], axis=0) for window in windows]
        result["flow"] = np.stack([resize_square(mean, sizes["flow"]) for mean in means])
    return result
