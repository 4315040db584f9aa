"""What a backbone sees of a clip: T frames, and the flow around the same instants, as squares of one size."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.data.flow import dense_flow, flow_windows
from amfir_lib.data.video import count_frames, read_frames, sample_instants
from amfir_lib.errors import BadParameter

STREAMS = ("rgb", "flow")


@dataclass(frozen=True)
class ClipInputs:
    """One clip as the backbones see it.

    Args:
        rgb: uint8 [T, S, S, 3]; the appearance stream, also where it shows depth.
        flow: float32 [T, S, S, 2], (x, y) in px per frame at the resolution at which flow was computed.
    """

    rgb: np.ndarray
    flow: np.ndarray


@cache
def decoder_version() -> dict[str, str]:
    """Name and versions of the decoder, as recorded in the feature store."""
    codec = re.search(r"avcodec:\s+YES \(([\d.]+)\)", cv2.getBuildInformation())
    return {"name": "opencv-ffmpeg", "opencv": cv2.__version__, "avcodec": codec.group(1) if codec else "unknown"}


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


def read_streams(
    path: Path | str,
    streams: Collection[str],
    *,
    sizes: dict[str, int],
    n_segments: int,
    flow_size: int,
    flow_algorithm: str,
    flow_bound: float,
    flow_average: int = 1,
    n_frames: int | None = None,
    rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Read one or both streams of a clip from one decoding pass; see :func:`clip_inputs` for the arguments.

    Args:
        streams: "rgb", "flow" or both.
        sizes: S of each stream.
    Returns:
        stream -> array as in :class:`ClipInputs`.
    """
    n_frames = count_frames(path) if n_frames is None else n_frames
    if n_frames < max(n_segments, 2):
        raise BadParameter(
            f"{path} has {n_frames} frames but {n_segments} segments and flow need {max(n_segments, 2)}. "
            "Drop the clip, or lower n_segments."
        )
    instants = sample_instants(n_frames, n_segments, rng=rng)
    windows = flow_windows(instants, n_frames, average=flow_average) if "flow" in streams else []
    pairs = {pair for window in windows for pair in window}
    needed = sorted({int(i) for i in instants} | {i for pair in pairs for i in pair})
    frames = dict(zip(needed, centre_square(read_frames(path, needed)), strict=True))
    result: dict[str, np.ndarray] = {}
    if "rgb" in streams:
        result["rgb"] = np.stack([resize_square(frames[int(i)], sizes["rgb"]) for i in instants])
    if "flow" in streams:
        small = {i: resize_square(frames[i], flow_size) for i in {i for pair in pairs for i in pair}}
        fields = {pair: dense_flow(*(small[i] for i in pair), algorithm=flow_algorithm) for pair in sorted(pairs)}
        clipped = {pair: np.clip(field, -flow_bound, flow_bound) for pair, field in fields.items()}
        means = [np.mean([clipped[pair] for pair in window], axis=0) for window in windows]
        result["flow"] = np.stack([resize_square(mean, sizes["flow"]) for mean in means])
    return result


def clip_inputs(
    path: Path | str,
    *,
    n_segments: int = 8,
    size: int = 64,
    flow_size: int = 112,
    flow_algorithm: str = "dis",
    flow_bound: float = 20.0,
    flow_average: int = 1,
    n_frames: int | None = None,
    rng: np.random.Generator | None = None,
) -> ClipInputs:
    """Decode a clip once and prepare both streams.

    The central square of each frame is used.  Flow is computed on it at ``flow_size`` px between neighbouring frames
    at native rate, so a displacement is in px of a ``flow_size`` square; resizing to ``size`` does not rescale it.

    Args:
        path: the video file.
        n_segments: T.
        size: S, the side of what the backbones see, in px.
        flow_size: side of the square on which flow is computed, in px, at least 16.
        flow_algorithm: see :func:`amfir_lib.data.flow.dense_flow`.
        flow_bound: each flow component is clipped to -flow_bound .. flow_bound px.
        flow_average: neighbouring pairs around each instant whose flow is averaged, see
            :func:`amfir_lib.data.flow.flow_windows`; more than 1 quiets a noisy sensor at a high frame rate.
        n_frames: number of frames from the manifest; None counts them first, which decodes the clip twice.
        rng: draws the instants inside the segments; None takes the centres.
    Returns:
        The two streams, T instants each.
    Raises:
        BadParameter: fewer frames than segments; names the file.
        DataNotFound, UnreadableVideo: see :func:`amfir_lib.data.video.read_frames`.
    """
    streams = read_streams(
        path, STREAMS, sizes=dict.fromkeys(STREAMS, size), n_segments=n_segments, flow_size=flow_size,
        flow_algorithm=flow_algorithm, flow_bound=flow_bound, flow_average=flow_average, n_frames=n_frames, rng=rng,
    )  # fmt: skip
    return ClipInputs(streams["rgb"], streams["flow"])
