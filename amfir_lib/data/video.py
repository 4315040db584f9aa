"""Video files and folders of numbered images: what is in them is found by decoding, never read from the header.

Decoding goes through OpenCV's FFmpeg, frame after frame from the start.  Seeking is not used: it lands on the wrong
frame in files with unusual time stamps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path

# FFmpeg reports each damaged packet on stderr; the study reports the file once, in a sentence.  Read at its first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from amfir_lib.errors import BadParameter, DataNotFound, ShapeError, UnreadableVideo
from amfir_lib.storage import atomic_write

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # and OpenCV's own warnings about such files

VIDEO_SUFFIXES = (".mp4", ".avi", ".webm", ".mov", ".mkv", ".mpg", ".m4v")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
FLOW_IMAGE = re.compile(r"^flow[_-]?[xy]?[_-]?\d", re.IGNORECASE)  # beside the frames in some extracted data sets
REMEDY = "Copy or download the file again, or remove it"
MJPG_QUALITY = 90


@cache
def decoder_version() -> dict[str, str]:
    """Name and versions of the decoder, as recorded with features."""
    codec = re.search(r"avcodec:\s+YES \(([\d.]+)\)", cv2.getBuildInformation())
    return {"name": "opencv-ffmpeg", "opencv": cv2.__version__, "avcodec": codec.group(1) if codec else "unknown"}


def _is_frame(name: str) -> bool:
    """Whether a file name is that of a frame: an image with a number in its name that is no picture of flow."""
    stem, suffix = os.path.splitext(name)
    numbered = stem[-1:].isdigit() and not name.startswith(".")
    return suffix.lower() in IMAGE_SUFFIXES and numbered and not FLOW_IMAGE.match(name)


def _by_number(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts frame 10 after frame 9, whatever zeros stand before them."""
    return [(0, int(piece)) if piece.isdigit() else (1, piece) for piece in re.split(r"(\d+)", name) if piece]


def is_frame_folder(folder: Path) -> bool:
    """Whether a folder holds frames (``00001.jpg``, ``img_00001.jpg``); looks no further than the first one."""
    with os.scandir(folder) as entries:
        return any(_is_frame(entry.name) for entry in entries)


def frame_files(folder: Path) -> list[Path]:
    """The frames of a folder in their order, one at least; other files and pictures of flow are left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_frame(entry.name)]
    if not names:
        raise UnreadableVideo(
            f"{folder} is a folder without numbered images, not a video. Extract its frames again, or remove it."
        )
    return [folder / name for name in sorted(names, key=_by_number)]


def _read_image(file: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(file, np.uint8), flags) if file.stat().st_size else None
    if image is None:
        raise UnreadableVideo(f"{file} is not an image that OpenCV can decode. Extract the frames of its clip again.")
    return image


def _open(path: Path) -> cv2.VideoCapture:
    """Open a video for sequential decoding in one thread."""
    if not path.exists():
        raise DataNotFound(f"There is no video {path}. Check the path, or remove its line from the manifest.")
    if path.stat().st_size == 0:
        raise UnreadableVideo(f"{path} is empty (0 bytes). {REMEDY}.")
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise UnreadableVideo(
            f"{path} ({path.stat().st_size} bytes) is not a video that OpenCV can decode: truncated, damaged, "
            f"of an unknown codec, or no video at all. {REMEDY}, or convert it to H.264 or MJPG."
        )
    return capture


def _grabbed(path: Path) -> Iterator[Callable[[], np.ndarray | None]]:
    """For each frame in turn what converts it to an image; None from there on where the file is damaged."""
    if path.is_dir():
        yield from (partial(_read_image, file) for file in frame_files(path))
        return
    capture = _open(path)
    try:
        while capture.grab():
            yield lambda: capture.retrieve()[1]
    finally:
        capture.release()


def decode(path: Path | str, wanted: set[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and frame, uint8 RGB [H, W, 3], one at a time in their order.

    A grey video has three equal channels; frames of a file whose size changes on the way are resized to the first one.

    Args:
        path: the video file, or a folder of numbered images.
        wanted: frame numbers from 0; only these are converted.  None: every frame.
    Raises:
        DataNotFound: there is no such file.
        UnreadableVideo: the file is empty, damaged, not a video, or has no frame of that number.
    """
    path = Path(path)
    last = None if wanted is None else max(wanted, default=-1)
    n_decoded, size = 0, None
    for index, retrieve in enumerate(islice(_grabbed(path), None if last is None else last + 1)):
        if wanted is None or index in wanted:
            frame = retrieve()
            if frame is None:
                break
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB)
            size = size or frame.shape[1::-1]
            yield index, frame if frame.shape[1::-1] == size else cv2.resize(frame, size)
        n_decoded = index + 1
    if n_decoded == 0 and wanted != set():
        raise UnreadableVideo(f"{path} has no frame that can be decoded. {REMEDY}.")
    if last is not None and last >= n_decoded:
        raise UnreadableVideo(
            f"{path} has {n_decoded} frames that can be decoded, but frame {last} (from 0) was asked for. "
            f"The file is shorter than its manifest says: {REMEDY.lower()}, or prepare the data set again."
        )


def read_frames(path: Path | str, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """All frames of a clip, or those of given numbers in any order, repeats allowed: uint8 [F, H, W, 3], RGB.

    Raises:
        BadParameter: a frame number is negative. DataNotFound, UnreadableVideo: as :func:`decode`.
    """
    wanted = None if indices is None else {int(index) for index in indices}
    if wanted and min(wanted) < 0:
        raise BadParameter(f"Frame {min(wanted)} of {path} was asked for; frame numbers start at 0.")
    frames = dict(decode(path, wanted))
    order = frames if indices is None else map(int, indices)
    return np.stack([frames[index] for index in order]) if frames else np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True)
class VideoInfo:
    """What decoding found: number of frames, frames per second (from the container; 0 if it has none), size in px."""

    n_frames: int
    fps: float
    height: int
    width: int


def probe_video(path: Path | str) -> VideoInfo:
    """Count the frames of a clip by decoding all of them, and measure the first one.

    A truncated file counts the frames that can still be decoded.  The frame rate is the container's word; a folder of
    images has none, and its images are decoded at an eighth of their size where that is quicker.

    Raises:
        DataNotFound, UnreadableVideo: as :func:`decode`.
    """
    path = Path(path)
    if path.is_dir():
        files = frame_files(path)
        height, width = _read_image(files[0]).shape[:2]
        for file in files[1:]:
            _read_image(file, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        return VideoInfo(len(files), 0.0, height, width)
    capture = _open(path)
    try:
        decoded, frame = capture.read()
        if not decoded:
            raise UnreadableVideo(f"{path} has no frame that can be decoded. {REMEDY}.")
        height, width = frame.shape[:2]
        n_frames = 1
        while capture.grab():
            n_frames += 1
        fps = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    return VideoInfo(n_frames, round(fps, 3) if np.isfinite(fps) and fps > 0 else 0.0, height, width)


def write_video(path: Path | str, frames: np.ndarray, *, fps: float = 12.0, codec: str = "MJPG") -> None:
    """Write frames, uint8 [F, H, W, 3] RGB, as an AVI file; a kill in the middle leaves no file.

    ``codec`` is "MJPG" (small, slightly lossy, colour at half resolution) or "FFV1" (lossless, larger, even sizes).

    Raises:
        BadParameter: another codec, suffix or frame rate, or an odd size for FFV1. ShapeError: other or no frames.
        UnreadableVideo: the encoder failed, or the file that it wrote is incomplete (a full disk, for instance).
    """
    path, frames = Path(path), np.asarray(frames)
    if codec not in ("MJPG", "FFV1"):
        raise BadParameter(f'codec is "{codec}"; choose "MJPG" or "FFV1".')
    if path.suffix.lower() != ".avi" or not fps > 0:
        raise BadParameter(f"{path} at {fps} frames per second: videos are written as .avi with a positive rate.")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ShapeError(f"frames are {frames.dtype} {frames.shape}; {path.name} needs uint8 [F, H, W, 3] with F > 0.")
    mjpg = codec == "MJPG"
    if not mjpg and (frames.shape[1] % 2 or frames.shape[2] % 2):  # the FFmpeg writer would cut off the last line
        raise BadParameter(f"{path.name}: FFV1 needs even sizes, not {frames.shape[1]} x {frames.shape[2]}. Use MJPG.")
    backend = cv2.CAP_OPENCV_MJPEG if mjpg else cv2.CAP_FFMPEG  # only this encoder takes a quality
    size = frames.shape[2], frames.shape[1]
    with atomic_write(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), backend, cv2.VideoWriter_fourcc(*codec), float(fps), size)
        if not writer.isOpened():
            raise UnreadableVideo(f"OpenCV {cv2.__version__} cannot encode {codec} to {path}. Try the other codec.")
        if mjpg:
            writer.set(cv2.VIDEOWRITER_PROP_QUALITY, MJPG_QUALITY)
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        written = probe_video(temporary).n_frames
        if written != len(frames):
            raise UnreadableVideo(
                f"Only {written} of {len(frames)} frames of {path} reached the disk. Free space in {path.parent}."
            )
