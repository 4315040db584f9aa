"""A clip as a web page shows it: film strips, and pictures that play at the clip's own frame rate."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.data.flow import dense_flow, flow_to_colour
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.streams import centre_square
from amfir_lib.data.video import read_frames
from amfir_lib.figures.clips import colour_wheel, saturation_of, strip

SIZE = 112  # px; flow is computed and shown at this size
QUALITY = 70  # of WebP
LOSSLESS = 101  # OpenCV's sign for WebP without loss
ARROW_EVERY = 14  # px between arrows
ARROW_COLOUR = (192, 0, 0)
DEFAULT_FPS = 12.0  # of a container that does not say
STRIP_FRAMES = 8
MAX_PLAYED = 64  # frames of a playing picture; longer clips are thinned, and play as long


@dataclass(frozen=True)
class Footage:
    """All frames of a clip and the flow between them, as squares of ``SIZE``.

    Attributes:
        frames: uint8 (F, S, S, 3).
        flow: float32 (F, S, S, 2), px per frame; of the last frame that of the one before.
        fps: frames per second.
    """

    frames: np.ndarray
    flow: np.ndarray
    fps: float


def footage_of(dataset: Dataset, row: int) -> Footage:
    """Decode a clip of a data set; the last ones asked for are kept in memory."""
    fps = float(dataset.manifest["fps"].iloc[row]) or DEFAULT_FPS
    return _read(dataset.clip_path(row), fps)


@lru_cache(maxsize=64)
def _read(path: Path, fps: float) -> Footage:
    frames = centre_square(read_frames(path))
    if len(frames) > MAX_PLAYED:
        chosen = np.linspace(0, len(frames) - 2, MAX_PLAYED).round().astype(int)
        fps *= MAX_PLAYED / len(frames)
    else:
        chosen = np.arange(len(frames))
    return footage_of_frames(frames, fps, chosen)


def footage_of_frames(frames: np.ndarray, fps: float, chosen: np.ndarray | None = None) -> Footage:
    """Footage of square frames (F, H, H, 3); ``chosen`` are the frames to keep, flow is at native rate all the same."""
    chosen = np.arange(len(frames)) if chosen is None else chosen
    small = {i: _shrink(frames[i]) for i in {*chosen, *np.minimum(chosen + 1, len(frames) - 1), len(frames) - 2}}
    starts = np.minimum(chosen, len(frames) - 2)
    flow = np.stack([dense_flow(small[int(i)], small[int(i) + 1]) for i in starts])
    return Footage(np.stack([small[int(i)] for i in chosen]), flow, fps)


def colours(flow: np.ndarray, *, limit: float | None = None, size: int = SIZE) -> np.ndarray:
    """Flow (F, S, S, 2) on the colour wheel, uint8 (F, size, size, 3); ``limit`` px are fully saturated."""
    shown = np.stack([_shrink(field, size) for field in flow])
    return flow_to_colour(shown, max_displacement=limit or saturation_of(flow))


def arrows(footage: Footage, *, limit: float | None = None) -> np.ndarray:
    """Flow as arrows over faint frames, uint8 (F, S, S, 3); a vector of ``limit`` px spans two arrows' distance."""
    limit = limit or saturation_of(footage.flow)
    places = np.arange(ARROW_EVERY // 2, footage.frames.shape[1], ARROW_EVERY)
    pictures = []
    for frame, field in zip(footage.frames, footage.flow, strict=True):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        picture = cv2.cvtColor((150 + 0.4 * grey).astype(np.uint8), cv2.COLOR_GRAY2RGB)
        for y in places:
            for x in places:
                u, v = field[y, x] * (2 * ARROW_EVERY / limit)
                if np.hypot(u, v) > 3:
                    end = (round(x + u), round(y + v))
                    cv2.arrowedLine(picture, (int(x), int(y)), end, ARROW_COLOUR, 1, cv2.LINE_AA, tipLength=0.35)
        pictures.append(picture)
    return np.stack(pictures)


def playing(frames: np.ndarray, *, fps: float, size: int = SIZE) -> str:
    """Frames as a picture that plays in every browser, without a codec: an animated WebP, as a ``data:`` address.

    Args:
        frames: uint8 (F, S, S, 3).
        fps: frames per second; it plays at this rate and starts over.
        size: side of the picture, px.
    """
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(_shrink(frame, size), cv2.COLOR_RGB2BGR) for frame in frames]
    animation.durations = np.full(len(frames), round(1000 / fps), np.int32)
    animation.loop_count = 0  # for ever
    _, encoded = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return _address(encoded)


def wheel(limit: float, *, size: int = 64) -> str:
    """The colour wheel as a ``data:`` address; ``limit`` px per frame at the rim."""
    image = cv2.cvtColor(colour_wheel(limit, size=size), cv2.COLOR_RGB2BGR)
    return _address(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, LOSSLESS])[1])


def film(frames: np.ndarray, *, n_frames: int = STRIP_FRAMES, size: int = 56) -> str:
    """Frames side by side, evenly spread over the clip, as a ``data:`` address."""
    chosen = np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).round().astype(int)
    image = strip(np.stack([_shrink(frames[i], size) for i in chosen]))
    _, encoded = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return _address(encoded)


def _shrink(frame: np.ndarray, size: int = SIZE) -> np.ndarray:
    if frame.shape[0] == size:
        return frame
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if frame.shape[0] > size else cv2.INTER_LINEAR)


def _address(encoded: np.ndarray) -> str:
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
