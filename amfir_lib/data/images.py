"""Folders of numbered images: which series of them is the clip, and what one image shows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from amfir_lib.errors import UnreadableVideo

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the study reports a damaged file, in a sentence

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
FLOW_IMAGE = re.compile(r"^flow[_-]?[xyuv]?[_-]?\d", re.IGNORECASE)
LETTER = re.compile(r"^([xyuv])[_-]?#|#[_-]?([xyuv])\.", re.IGNORECASE)  # "x_#.jpg", "#_x.jpg"
FLOW_PAIRS = ("xy", "uv")  # both beside another series
NUMBER = re.compile(r"(\d+)(\D*)$")  # the last one of a name: "img_00001", "0001_rgb", "frame (1)"
REGULAR = 0.8  # of the steps between frames' numbers: fewer are no count, such as times, or some frames left out
STRAY = 0.1  # of the images of a folder's longest series: fewer are covers and notes, no clip


def is_frame(name: str) -> bool:
    """Whether a file name is that of a frame: an image with a number in its name that does not begin with "flow"."""
    stem, suffix = os.path.splitext(name)
    numbered = NUMBER.search(stem) and not name.startswith(".")
    return bool(numbered) and suffix.lower() in IMAGE_SUFFIXES and not FLOW_IMAGE.match(name)


def _series(names: Sequence[str]) -> dict[str, list[str]]:
    """The series of images among some names, ``rgb_#.png`` -> names: those that differ in their last number alone, or
    where no two do, in any number."""
    for pattern, mark in ((NUMBER, r"#\2"), (re.compile(r"\d+"), "#")):
        series: dict[str, list[str]] = {}
        for name in names:
            stem, suffix = os.path.splitext(name)
            series.setdefault(pattern.sub(mark, stem) + suffix.lower(), []).append(name)
        if max(map(len, series.values())) > 1:
            break
    return series


def _by_number(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts frame 10 after frame 9, whatever zeros stand before them."""
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in re.split(r"(\d+)", name) if piece]


def is_frame_folder(folder: Path) -> bool:
    """Whether a folder holds frames (``00001.jpg``, ``img_00001.jpg``); looks no further than the first one."""
    with os.scandir(folder) as entries:
        return any(is_frame(entry.name) for entry in entries)


def frame_files(folder: Path) -> list[Path]:
    """The frames of a folder in their order: its one series of numbered images; single images and pictures of flow
    beside it are left out.

    Raises:
        UnreadableVideo: no numbered image, or several series, such as pictures and masks; names them.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_frame(entry.name)]
    if not names:
        raise UnreadableVideo(
            f"{folder} is a folder without numbered images, not a video. Extract its frames again, or remove it."
        )
    series = _series(names)
    most = max(map(len, series.values()))
    long = {name: files for name, files in series.items() if len(files) > most * STRAY}
    letters = {name: "".join(match.groups("")).lower() for name in long if (match := LETTER.search(name))}
    for pair in FLOW_PAIRS:
        of_flow = [name for name, letter in letters.items() if letter in pair]
        if len(long) > len(of_flow) == len(pair):  # both directions of flow beside something else
            long = {name: files for name, files in long.items() if name not in of_flow}
    if len(long) > 1:
        listed = ", ".join(f"{name} ({len(files)})" for name, files in sorted(long.items()))
        raise UnreadableVideo(
            f"{folder} holds several series of images: {listed}. Leave the one that is the clip in it."
        )
    (frames,) = long.values()
    return [folder / name for name in sorted(frames, key=lambda name: (_by_number(name), name))]


def missing_numbers(files: Sequence[Path]) -> int:
    """Frames that the numbers of the others skip, where nearly all are equally far apart; else 0."""
    numbers = [int(match[1]) for file in files if (match := NUMBER.search(file.stem))]
    gaps = np.diff(numbers)
    if len(gaps) == 0:
        return 0
    step = int(np.median(gaps))
    regular = step > 0 and np.mean(gaps == step) >= REGULAR and not (gaps % step).any()
    return int((gaps // step - 1).sum()) if regular else 0


def read_image(file: Path, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    """An image as RGB, upright as its file says; one of 16-bit readings as it is stored."""
    content = np.fromfile(file, np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED if _holds_readings(content) else flags) if len(content) else None
    if image is None:
        raise UnreadableVideo(f"{file} is not an image that OpenCV can decode. Extract the frames of its clip again.")
    return image


def _holds_readings(content: np.ndarray) -> bool:
    """Whether an image file is a grey PNG of 16 bits, such as those of depth sensors."""
    head = content[:26].tobytes()
    return head.startswith(b"\x89PNG") and head[24:26] == b"\x10\x00"  # bit depth 16, colour type grey
