"""Clips as they are looked at: a few instants, film strips, and pictures that play at the clip's own frame rate."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.data.flow import dense_flow, flow_to_colour
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.spoiling import SPOILINGS, spoil_clip, spoiling_rng
from amfir_lib.data.streams import centre_square, resize_square, streams
from amfir_lib.data.video import read_frames
from amfir_lib.figures.clips import colour_wheel, saturation_of, strip

SIZE = 112  # px, for looking at; the backbones see squares of their own size
QUALITY, LOSSLESS = 70, 101  # of WebP; the second is OpenCV's sign for no loss
DEFAULT_FPS = 12.0  # of a container that does not say
MAX_PLAYED = 64  # frames of a playing picture; longer clips are thinned, and play as long


def look_at(dataset: Dataset, row: int, *, n_segments: int = 8) -> dict[str, np.ndarray]:
    """One clip at ``SIZE``: "rgb", T frames, and "flow" around them in px per frame of that size."""
    n_frames = int(dataset.manifest["n_frames"].iloc[row])
    sizes = {"rgb": SIZE, "flow": SIZE}
    return streams(dataset.clip_path(row), sizes, n_segments=n_segments, flow_size=SIZE, n_frames=n_frames)


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
        class -> takes, each uint8 (T, S, S, 3); and for each class what is written above its takes: how they are
        degraded.
    """
    classes, clips, marks = dataset.classes(split), {}, []
    for place in np.linspace(0, len(classes) - 1, min(n_classes, len(classes))).round().astype(int):
        rows = np.flatnonzero(dataset.manifest["label"] == classes[place]).tolist()
        degraded = [row for row in rows if degradation_label(dataset, row)]
        undegraded = [row for row in rows if row not in degraded]
        last = degraded[: max(1, n_takes - len(undegraded))]
        rows = (undegraded[: n_takes - len(last)] + last)[:n_takes]
        clips[classes[place]] = [look_at(dataset, row)["rgb"] for row in rows]
        marks.append([degradation_label(dataset, row) for row in rows])
    return clips, marks


def examples_of_kinds(dataset: Dataset, split: str) -> dict[str, int]:
    """Kind of degradation -> row of the first clip of that kind in a split, undegraded clips first.

    For data sets that do not know: class -> row of its first clip, for four classes.
    """
    part = dataset.manifest.iloc[dataset.rows(split)]
    if "kind" not in part:
        return {str(label): int(clips.index[0]) for label, clips in list(part.groupby("label"))[:4]}
    kinds = sorted(set(part["kind"]), key=lambda kind: (kind != "none", kind))
    names = {kind: "undegraded" if kind == "none" else kind.replace("_", " ") for kind in kinds}
    return {names[kind]: int(part.index[part["kind"] == kind][0]) for kind in kinds}


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


@dataclass(frozen=True)
class Footage:
    """All frames of a clip and the flow between them, as squares of ``SIZE``.

    Attributes:
        frames: uint8 (F, S, S, 3).
        flow: float32 (F, S, S, 2), px per frame at native rate; of the last frame that of the one before.
        fps: frames per second.
    """

    frames: np.ndarray
    flow: np.ndarray
    fps: float


def footage_of(dataset: Dataset, row: int) -> Footage:
    """Decode a clip of a data set; the last ones asked for are kept in memory."""
    return _read(dataset.clip_path(row), float(dataset.manifest["fps"].iloc[row]) or DEFAULT_FPS)


@lru_cache(maxsize=64)
def _read(path: Path, fps: float) -> Footage:
    frames = centre_square(read_frames(path))
    chosen = np.arange(len(frames))
    if len(frames) > MAX_PLAYED:
        chosen = np.linspace(0, len(frames) - 2, MAX_PLAYED).round().astype(int)
        fps *= MAX_PLAYED / len(frames)
    starts = np.minimum(chosen, len(frames) - 2)
    small = {i: resize_square(frames[i], SIZE) for i in {*chosen.tolist(), *starts.tolist(), *(starts + 1).tolist()}}
    flow = np.stack([dense_flow(small[i], small[i + 1]) for i in starts.tolist()])
    return Footage(np.stack([small[i] for i in chosen.tolist()]), flow, fps)


def colours(flow: np.ndarray, *, limit: float | None = None, size: int = SIZE) -> np.ndarray:
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


def wheel(limit: float, *, size: int = 64) -> str:
    """The colour wheel as a ``data:`` address; ``limit`` px per frame at the rim."""
    return _still(colour_wheel(limit, size=size), LOSSLESS)


def film(frames: np.ndarray, *, n_frames: int = 8, size: int = 56) -> str:
    """Frames side by side, evenly spread over the clip, as a ``data:`` address."""
    chosen = np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).round().astype(int)
    return _still(strip(np.stack([resize_square(frames[i], size) for i in chosen])), QUALITY)


def _still(image: np.ndarray, quality: int) -> str:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return _address(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1])


def _address(encoded: np.ndarray) -> str:
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
