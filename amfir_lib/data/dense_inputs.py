"""Many frames of a clip for backbones that see clips rather than frames (I3D), beside T instants for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.data.clip_inputs import centre_square, resize_square
from amfir_lib.data.flow import dense_flow, flow_windows
from amfir_lib.data.video import _decode, count_frames, read_frames, sample_instants
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
    Frames are cut and shrunk as they are decoded: one is held at its own size, whatever the size and length of the
    clip.

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
    pairs = {pair for window in windows for pair in window}
    of_rgb, of_flow = {int(i) for i in instants.get("rgb", ())}, {i for pair in pairs for i in pair}
    rgb: dict[int, np.ndarray] = {}
    fields: dict[tuple[int, int], np.ndarray] = {}
    before: tuple[int, np.ndarray] | None = None
    for index, square in central_squares(path, of_rgb | of_flow):
        if index in of_rgb:
            rgb[index] = np.ascontiguousarray(resize_square(square, sizes["rgb"]))
        if index in of_flow:
            small = resize_square(square, flow_size)
            if before is not None and (pair := (before[0], index)) in pairs:
                field = dense_flow(before[1], small, algorithm=flow_algorithm)
                fields[pair] = np.clip(field, -flow_bound, flow_bound)
            before = index, small
    result: dict[str, np.ndarray] = {}
    if "rgb" in counts:
        result["rgb"] = np.stack([rgb[int(i)] for i in instants["rgb"]])
    if "flow" in counts:
        result["flow"] = np.empty((len(windows), sizes["flow"], sizes["flow"], 2), np.float32)
        for place, window in enumerate(windows):
            mean = np.mean([fields[pair] for pair in window], axis=0)
            result["flow"][place] = resize_square(mean, sizes["flow"])
    return result


def central_squares(path: Path | str, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The central squares of frames in their order, one at a time: otherwise as ``read_frames``, errors included."""
    size, n_found = None, 0
    for index, frame in _decode(Path(path), wanted):
        if frame is not None:
            size, n_found = size or frame.shape[1::-1], n_found + 1
            yield index, centre_square(frame if frame.shape[1::-1] == size else cv2.resize(frame, size))
    if n_found < len(wanted):
        read_frames(path, sorted(wanted))  # raises, and says what is missing
