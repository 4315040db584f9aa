"""Clips as they are looked at: a few instants, film strips, and pictures that play at the clip's own frame rate."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from amfir_lib.data.flow import dense_flow, flow_to_colour
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.spoiling import SPOILINGS, spoil_clip, spoiling_rng
from amfir_lib.data.streams import centre_square, resize_square, streams
from amfir_lib.data.video import read_frames
from amfir_lib.figures.clips import saturation_of, some_of, strip

SIZE = 112  # px, for looking at; the backbones see squares of their own size
QUALITY, LOSSLESS = 70, 101  # of WebP; the second is OpenCV's sign for no loss
DEFAULT_FPS = 12.0  # of a container that does not say
MAX_PLAYED = 64  # frames of a playing picture; longer clips are thinned, and play as long


def look_at(dataset: Dataset, row: int) -> dict[str, np.ndarray]:
    """One clip at ``SIZE``: "rgb", 8 frames, and "flow" around them in px per frame of that size."""
    n_frames = int(dataset.manifest["n_frames"].iloc[row])
    return streams(dataset.clip_path(row), {"rgb": SIZE, "flow": SIZE}, flow_size=SIZE, n_frames=n_frames)


def degradation_label(dataset: Dataset, row: int) -> str:
    """How a rendered clip is degraded, in words; empty for undegraded clips and for data sets that do not know."""
    kind = str(dataset.manifest["kind"].iloc[row]) if "kind" in dataset.manifest else "none"
    return "" if kind == "none" else kind.replace("_", " ")


def grid_of_clips(
    dataset: Dataset, split: str, *, n_classes: int, n_takes: int
) -> tuple[dict[str, list[np.ndarray]], list[list[str]]]:
    """A few takes of a few classes, evenly spread over the classes of a split.

    The first undegraded takes of a class, and last one that is degraded, where there is one.

    Returns:
        class -> takes, each uint8 (T, S, S, 3); and for each class how its takes are degraded.
    """
    clips, marks = {}, []
    for label in some_of(np.array(dataset.classes(split)), n_classes).tolist():
        rows = np.flatnonzero(dataset.manifest["label"] == label).tolist()
        degraded = [row for row in rows if degradation_label(dataset, row)]
        undegraded = [row for row in rows if row not in degraded]
        last = degraded[: max(1, n_takes - len(undegraded))]
        rows = (undegraded[: n_takes - len(last)] + last)[:n_takes]
        clips[label] = [look_at(dataset, row)["rgb"] for row in rows]
        marks.append([degradation_label(dataset, row) for row in rows])
    return clips, marks


def examples_of_kinds(dataset: Dataset, split: str) -> dict[str, int]:
    """Kind of degradation -> row of the first clip of that kind in a split, undegraded clips first.

    For data sets that do not know: class -> row of its first clip, for four classes.
    """
    clips = dataset.manifest.iloc[dataset.rows(split)]
    first = {str(name): int(rows.index[0]) for name, rows in clips.groupby("kind" if "kind" in clips else "label")}
    if "kind" not in clips:
        return dict(list(first.items())[:4])
    undegraded = {"undegraded": first.pop("none")} if "none" in first else {}
    return undegraded | {kind.replace("_", " "): row for kind, row in first.items()}


def spoilt_views(dataset: Dataset, row: int, levels: Sequence[float]) -> dict[str, list[np.ndarray | None]]:
    """One clip, spoilt in every way at every level.

    Returns:
        kind -> for each level two frames, a quarter and three quarters through the clip, and the flow there as colours
        on one scale, uint8 (4, S, S, 3), or None where the kind has no such level; the clip as it is comes first.
    """
    name, frames = str(dataset.manifest["clip_id"].iloc[row]), centre_square(read_frames(dataset.clip_path(row)))

    def seen(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = streams(frames, {"rgb": SIZE, "flow": SIZE}, n_segments=4, flow_size=SIZE)
        return both["rgb"][[0, 2]], both["flow"][[0, 2]]

    limit = saturation_of(seen(frames)[1])

    def view(frames: np.ndarray) -> np.ndarray:
        rgb, flow = seen(frames)
        return np.concatenate([rgb, flow_to_colour(flow, max_displacement=limit)])

    views: dict[str, list[np.ndarray | None]] = {"as it is": [view(frames), *[None] * (len(levels) - 1)]}
    for kind, spoiling in SPOILINGS.items():
        views[kind] = [
            view(spoil_clip(frames, kind, level, spoiling_rng(kind, name))) if spoiling.graded or level == 1 else None
            for level in levels
        ]
    return views


class Footage(NamedTuple):
    """Frames of a clip, uint8 (F, S, S, 3), and the flow between them, float32 (F, S, S, 2) in px per frame at native
    rate, of the last frame that of the one before; squares of ``SIZE``.
    """

    frames: np.ndarray
    flow: np.ndarray
    fps: float


def footage_of(dataset: Dataset, row: int) -> Footage:
    """Decode a clip of a data set; the last ones asked for are kept in memory."""
    return _footage(dataset.clip_path(row), float(dataset.manifest["fps"].iloc[row]) or DEFAULT_FPS)


@lru_cache(maxsize=64)
def _footage(path: object, fps: float) -> Footage:
    frames = np.stack([resize_square(frame, SIZE) for frame in centre_square(read_frames(path))])
    step = -(-len(frames) // MAX_PLAYED)
    starts = np.minimum(np.arange(0, len(frames), step), len(frames) - 2)
    return Footage(frames[::step], np.stack([dense_flow(frames[i], frames[i + 1]) for i in starts]), fps / step)


def colours(flow: np.ndarray, *, limit: float = 0.0, size: int = SIZE) -> np.ndarray:
    """Flow (F, S, S, 2) on the colour wheel, uint8 (F, size, size, 3); ``limit`` px are fully saturated."""
    shown = np.stack([resize_square(field, size) for field in flow])
    return flow_to_colour(shown, max_displacement=limit or saturation_of(flow))


def playing(frames: np.ndarray, *, fps: float, size: int = SIZE) -> str:
    """Frames uint8 (F, S, S, 3) as an animated WebP of ``size`` px, which every browser plays: a ``data:`` address."""
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(resize_square(frame, size), cv2.COLOR_RGB2BGR) for frame in frames]
    animation.durations = np.full(len(frames), round(1000 / fps), np.int32)
    animation.loop_count = 0  # for ever
    return _address(cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1])


def still(image: np.ndarray, *, quality: int = QUALITY) -> str:
    """A picture as a ``data:`` address."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return _address(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1])


def film(frames: np.ndarray, *, size: int = 56) -> str:
    """At most 8 frames side by side, evenly spread over the clip, as a ``data:`` address."""
    return still(strip(np.stack([resize_square(frame, size) for frame in some_of(frames, 8)])))


def _address(encoded: np.ndarray) -> str:
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
