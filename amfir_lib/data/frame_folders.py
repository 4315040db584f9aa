"""Clips that were extracted to a folder of numbered images: ``00001.jpg``, ``img_00001.jpg``, ``frame000001.jpg``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.errors import UnreadableVideo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
FLOW_IMAGE = re.compile(r"^flow[_-]?[xy]?[_-]?\d", re.IGNORECASE)  # beside the frames in some extracted data sets


def _is_frame(name: str) -> bool:
    """Whether a file name is that of a frame: an image with a number in its name that is no picture of flow."""
    stem, suffix = os.path.splitext(name)
    numbered = stem[-1:].isdigit() and not name.startswith(".")
    return suffix.lower() in IMAGE_SUFFIXES and numbered and not FLOW_IMAGE.match(name)


def _number_order(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts frame 10 after frame 9, whatever zeros stand before them."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def is_frame_folder(folder: Path) -> bool:
    """Whether a folder holds frames; looks no further than the first one."""
    with os.scandir(folder) as entries:
        return any(_is_frame(entry.name) for entry in entries)


def frame_files(folder: Path) -> list[Path]:
    """The frames of a folder in their order; other files and pictures of flow (``flow_x_00001.jpg``) are left out.

    Raises:
        UnreadableVideo: there is none.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_frame(entry.name)]
    if not names:
        raise UnreadableVideo(
            f"{folder} is a folder without numbered images, not a video. Extract its frames again, or remove it."
        )
    return [folder / name for name in sorted(names, key=_number_order)]


def _decode(file: Path, flags: int) -> np.ndarray:
    """Decode one image."""
    image = cv2.imdecode(np.fromfile(file, np.uint8), flags) if file.stat().st_size else None
    if image is None:
        raise UnreadableVideo(f"{file} is not an image that OpenCV can decode. Extract the frames of its clip again.")
    return image


def iterate_frames(folder: Path, wanted: set[int] | None) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yield (index, RGB frame) in order; only the ``wanted`` frames are decoded, the others are None.

    ``wanted=None`` decodes every frame; otherwise it ends after the last wanted one.
    """
    last = None if wanted is None else max(wanted, default=-1)
    for index, file in enumerate(frame_files(folder)):
        if last is not None and index > last:
            return
        decoded = wanted is None or index in wanted
        yield index, cv2.cvtColor(_decode(file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) if decoded else None


def probe_frames(folder: Path) -> tuple[int, int, int]:
    """Number of frames, height and width; every image is decoded once, at an eighth of its size where that is quicker.

    Raises:
        UnreadableVideo: no image, or one that cannot be decoded (named).
    """
    files = frame_files(folder)
    height, width = _decode(files[0], cv2.IMREAD_COLOR).shape[:2]
    for file in files[1:]:
        _decode(file, cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return len(files), height, width


def digest_of_frames(folder: Path) -> str:
    """Digest of the names and bytes of the frames; 16 hexadecimal digits."""
    state = hashlib.sha256()
    for file in frame_files(folder):
        content = file.read_bytes()
        state.update(f"{file.name}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:16]


def stamp_of_frames(folder: Path) -> list[int]:
    """Number of entries, size in all and time of the last change: another stamp, another look."""
    with os.scandir(folder) as entries:
        states = [entry.stat() for entry in entries]
    return [len(states), sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)]
