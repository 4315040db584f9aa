"""What backbones see of a clip: frames, and the flow around instants, as squares, at T instants or densely.

One reader serves video files, folders of images and frames in memory; views cut other instants, crops and mirror
images out of what it stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from amfir_lib.data.flow import dense_flow, flow_windows, mirror_flow
from amfir_lib.data.video import decode, probe_video
from amfir_lib.errors import BadParameter

STREAMS = ("rgb", "flow")
MARGIN = 8 / 7  # of a stored square over the crop, as 256 over 224


def sample_instants(n_frames: int, n_segments: int = 8, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """One frame number in each of ``n_segments`` equal parts of a clip (Temporal Segment Networks).

    Without ``rng`` it is the frame nearest to the centre of each part (the earlier one of two equally near), so that
    16 frames in 8 segments give 0, 2, ..., 14.  With ``rng`` it is drawn uniformly inside each part.

    Returns:
        int64 [T], strictly increasing, within 0 .. n_frames - 1; without ``rng`` symmetric in time up to one frame.
    Raises:
        BadParameter: fewer frames than segments (the caller names the file), or no segment.
    """
    if n_segments < 1 or n_frames < n_segments:
        raise BadParameter(
            f"A clip of {n_frames} frames cannot be cut into {n_segments} segments. "
            f"Drop the clip, or lower n_segments to at most {max(n_frames, 1)}."
        )
    if rng is None:
        return dense_instants(n_frames, n_segments)
    edges = np.arange(n_segments + 1, dtype=np.int64) * n_frames // n_segments
    return rng.integers(edges[:-1], edges[1:])


def dense_instants(n_frames: int, n_wanted: int) -> np.ndarray:
    """``n_wanted`` frame numbers spread evenly over a clip, int64; one with fewer frames repeats each as needed."""
    if n_frames < 1 or n_wanted < 1:
        raise BadParameter(f"{n_wanted} instants of a clip of {n_frames} frames: both must be at least 1.")
    k = np.arange(n_wanted, dtype=np.int64)
    # centre of part k: (2k + 1) n / (2N) - 1/2; nearest integer with ties to the earlier frame, in whole numbers
    return -((2 * n_wanted - (2 * k + 1) * n_frames) // (2 * n_wanted))


def resize_square(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a square image: averaging areas when it shrinks, linear when it grows."""
    if image.shape[0] == size:
        return image
    shrinks = image.shape[0] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def centre_square(frames: np.ndarray) -> np.ndarray:
    """The central square of frames [..., H, W, C], as large as the short side."""
    height, width = frames.shape[-3:-1]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[..., top : top + side, left : left + side, :]


def dense_frames(backbone: Any) -> int | None:
    """Frames that a backbone wants of each clip; None for one that sees the T instants, as most do."""
    return getattr(backbone, "dense_frames", None)


def seen_by(backbones: Iterable[Any]) -> dict[str, Any]:
    """``sizes`` and ``counts`` of :func:`streams` for backbones, each of another stream."""
    backbones = list(backbones)
    return {
        "sizes": {backbone.modality: backbone.input_size for backbone in backbones},
        "counts": {backbone.modality: dense_frames(backbone) for backbone in backbones},
    }


def streams(
    clip: Path | str | np.ndarray, sizes: Mapping[str, int], *, counts: Mapping[str, int | None] | None = None,
    n_segments: int = 8, flow_size: int = 112, flow_algorithm: str = "dis", flow_bound: float = 20.0,
    flow_average: int = 1, n_frames: int | None = None, rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """One or both streams of a clip, from one decoding pass.

    The central square of each frame is used.  Flow is computed on it at ``flow_size`` px between neighbouring frames
    at native rate, so a displacement is in px of a ``flow_size`` square whatever the number of instants; resizing to
    the stream's size does not rescale it.  Frames are cut and shrunk as they are decoded: one is held at its own size,
    whatever the size and length of the clip.

    Args:
        clip: a video file, a folder of images, or all frames in memory, uint8 [F, H, W, 3].
        sizes: stream, "rgb" or "flow" -> S, the side of what its backbone sees in px.
        counts: stream -> N frames or fields spread over the clip; None, or a stream left out: the T instants.
        n_segments: T.
        flow_size: side of the square on which flow is computed, in px, at least 16.
        flow_bound: each flow component is clipped to -flow_bound .. flow_bound px.
        flow_average: neighbouring pairs around each of the T instants whose flow is averaged, see
            :func:`amfir_lib.data.flow.flow_windows`; more than 1 quiets a noisy sensor at a high frame rate.  Dense
            flow is not averaged: the network does that.
        n_frames: number of frames from the manifest; None counts them first, which decodes the clip twice.
        rng: draws the T instants inside the segments; None takes the centres.
    Returns:
        "rgb" -> uint8 [N, S, S, 3], the appearance stream, also where it shows depth; "flow" -> float32 [N, S, S, 2],
        (x, y) in px per frame.
    Raises:
        BadParameter: fewer frames than segments, or one frame only; names the file.
        DataNotFound, UnreadableVideo: see :func:`amfir_lib.data.video.decode`.
    """
    in_memory = isinstance(clip, np.ndarray)
    if n_frames is None:
        n_frames = len(clip) if in_memory else probe_video(clip).n_frames
    if n_frames < max(n_segments, 2):
        raise BadParameter(
            f"{'A clip in memory' if in_memory else clip} has {n_frames} frames but {n_segments} segments and flow "
            f"need {max(n_segments, 2)}. Drop the clip, or lower n_segments."
        )
    instants, windows, chosen = {}, [], None
    for stream in sizes:
        if count := (counts or {}).get(stream):
            instants[stream] = dense_instants(n_frames - (stream == "flow"), count)  # one pair less than frames
        else:
            chosen = sample_instants(n_frames, n_segments, rng=rng) if chosen is None else chosen
            instants[stream] = chosen
        if stream == "flow":
            windows = flow_windows(instants[stream], n_frames, average=1 if count else flow_average)
    pairs = {pair for window in windows for pair in window}
    of_rgb, of_flow = {int(i) for i in instants.get("rgb", ())}, {i for pair in pairs for i in pair}
    rgb: dict[int, np.ndarray] = {}
    fields: dict[tuple[int, int], np.ndarray] = {}
    before, small = -1, np.empty(0)
    for index, frame in enumerate(clip) if in_memory else decode(clip, of_rgb | of_flow):
        square = centre_square(frame)
        if index in of_rgb:
            rgb[index] = np.ascontiguousarray(resize_square(square, sizes["rgb"]))
        if index in of_flow:
            last, small = small, resize_square(square, flow_size)
            if (before, index) in pairs:
                fields[before, index] = np.clip(
                    dense_flow(last, small, algorithm=flow_algorithm), -flow_bound, flow_bound
                )
            before = index
    result: dict[str, np.ndarray] = {}
    if "rgb" in sizes:
        result["rgb"] = np.stack([rgb[int(i)] for i in instants["rgb"]])
    if "flow" in sizes:
        result["flow"] = np.empty((len(windows), sizes["flow"], sizes["flow"], 2), np.float32)
        for field, window in zip(result["flow"], windows, strict=True):
            field[:] = resize_square(np.mean([fields[pair] for pair in window], axis=0), sizes["flow"])
    return result


@dataclass(frozen=True)
class View:
    """How a stored clip is looked at: one crop, one mirroring and one choice of instants for both its streams.

    ``top`` and ``left`` place the crop, 0 to 1 of what room there is; mirrored, the x flow changes its sign, too;
    ``instants_seed`` draws one instant of each segment, None takes the centres.
    """

    top: float = 0.5
    left: float = 0.5
    mirrored: bool = False
    instants_seed: int | None = None


CENTRE = View()


def random_view(rng: np.random.Generator, *, flip: bool) -> View:
    """A view for training, of which half are mirrored if ``flip``; takes as many values from ``rng`` either way."""
    top, left, side = rng.random(3)
    return View(top, left, bool(flip and side < 0.5), int(rng.integers(2**31)))


def look_at(
    clip: np.ndarray, view: View, *, stream: str, n_instants: int, crop: int, flow_type: str = "uint8"
) -> np.ndarray:
    """Cut a view out of a stored clip; streams with equal numbers of stored and wanted instants get the same instants.

    Args:
        clip: [F, S, S, C], F of at least ``n_instants``.
        stream: "rgb" or "flow", stored as ``flow_type`` (see :func:`amfir_lib.data.flow.encode_flow`).
    Returns:
        [n_instants, crop, crop, C] of the clip's type, a copy.
    """
    rng = None if view.instants_seed is None else np.random.default_rng(view.instants_seed)
    instants = sample_instants(len(clip), n_instants, rng=rng)
    room = clip.shape[1] - crop
    top, left = round(view.top * room), round(view.left * room)
    cut = np.array(clip[instants, top : top + crop, left : left + crop])
    if not view.mirrored:
        return cut
    return mirror_flow(cut, storage=flow_type) if stream == "flow" else np.ascontiguousarray(cut[:, :, ::-1])
