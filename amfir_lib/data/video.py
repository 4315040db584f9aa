"""Video files: what is in them is found by decoding, never read from the header.

Decoding goes through OpenCV's FFmpeg, frame after frame from the start.  Seeking is not used: it lands on the wrong
frame in files with unusual time stamps.  A folder of numbered images is read like a video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# FFmpeg reports each damaged packet on stderr; the study reports the file once, in a sentence.  Read at its first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from amfir_lib.data.frame_folders import iterate_frames, probe_frames
from amfir_lib.errors import BadParameter, DataNotFound, ShapeError, UnreadableVideo
from amfir_lib.storage import atomic_write

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # and OpenCV's own warnings about such files

VIDEO_SUFFIXES = (".mp4", ".avi", ".webm", ".mov", ".mkv", ".mpg", ".m4v")
REMEDY = "Copy or download the file again, or remove it"
MJPG_QUALITY = 90


@dataclass(frozen=True)
class VideoInfo:
    """What decoding found: number of frames, frames per second (from the container; 0 if it has none), size in px."""

    n_frames: int
    fps: float
    height: int
    width: int


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


def _decode(path: Path, wanted: set[int] | None) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yield (index, RGB frame) of a video; only the ``wanted`` frames are converted, the others are None.

    ``wanted=None`` converts every frame; otherwise decoding ends after the last wanted frame.
    """
    if path.is_dir():
        yield from iterate_frames(path, wanted)
        return
    last = None if wanted is None else max(wanted, default=-1)
    capture = _open(path)
    try:
        index = 0
        while (last is None or index <= last) and capture.grab():
            frame = None
            if wanted is None or index in wanted:
                decoded, frame = capture.retrieve()
                if not decoded:
                    return
                code = cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB
                frame = cv2.cvtColor(frame, code)
            yield index, frame
            index += 1
    finally:
        capture.release()


def read_frames(path: Path | str, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Decode a video, or the chosen frames of it.

    Args:
        path: the video file, or a folder of numbered images.
        indices: frame numbers from 0, in any order, repeats allowed; None reads all frames.
    Returns:
        uint8 [F, H, W, 3], RGB.  A grey video has three equal channels; frames of a file whose size changes on the
        way are resized to the first one.
    Raises:
        DataNotFound: there is no such file.
        UnreadableVideo: the file is empty, damaged, not a video, or has no frame of that number.
        BadParameter: a frame number is negative.
    """
    path = Path(path)
    wanted = None if indices is None else {int(index) for index in indices}
    if wanted and min(wanted) < 0:
        raise BadParameter(f"Frame {min(wanted)} of {path} was asked for; frame numbers start at 0.")
    frames: dict[int, np.ndarray] = {}
    n_decoded, size = 0, None
    for index, frame in _decode(path, wanted):
        n_decoded = index + 1
        if frame is not None:
            size = size or frame.shape[1::-1]
            frames[index] = frame if frame.shape[1::-1] == size else cv2.resize(frame, size)
    if n_decoded == 0 and wanted != set():
        raise UnreadableVideo(f"{path} has no frame that can be decoded. {REMEDY}.")
    order = sorted(frames) if indices is None else [int(index) for index in indices]
    missing = [index for index in order if index not in frames]
    if missing:
        raise UnreadableVideo(
            f"{path} has {n_decoded} frames that can be decoded, but frame {max(missing)} (from 0) was asked for. "
            f"The file is shorter than its manifest says: {REMEDY.lower()}, or prepare the data set again."
        )
    return np.stack([frames[index] for index in order]) if order else np.zeros((0, 0, 0, 3), np.uint8)


def probe_video(path: Path | str) -> VideoInfo:
    """Count the frames of a video by decoding all of them, and measure the first one.

    A truncated file counts the frames that can still be decoded.  The frame rate is the container's word; a folder of
    images has none.

    Raises:
        DataNotFound: there is no such file.
        UnreadableVideo: the file is empty, not a video, or no frame of it can be decoded.
    """
    path = Path(path)
    if path.is_dir():
        n_frames, height, width = probe_frames(path)
        return VideoInfo(n_frames, 0.0, height, width)
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


def count_frames(path: Path | str) -> int:
    """Number of frames of a video that can be decoded; errors as in :func:`probe_video`."""
    return probe_video(path).n_frames


def write_video(path: Path | str, frames: np.ndarray, *, fps: float = 12.0, codec: str = "MJPG") -> None:
    """Write frames as an AVI file; a kill in the middle leaves no file.

    Args:
        path: the file to write, with suffix .avi; its folder is created.
        frames: uint8 [F, H, W, 3], RGB.
        fps: frames per second.
        codec: "MJPG" (small, slightly lossy, colour at half resolution) or "FFV1" (lossless, larger, even sizes).
    Raises:
        BadParameter: another codec, suffix or frame rate, or an odd size for FFV1.
        ShapeError: ``frames`` has another shape or type, or no frame.
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
        written = count_frames(temporary)
        if written != len(frames):
            raise UnreadableVideo(
                f"Only {written} of {len(frames)} frames of {path} reached the disk. Free space in {path.parent}."
            )


def sample_instants(n_frames: int, n_segments: int = 8, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """One frame number in each of ``n_segments`` equal parts of a clip (Temporal Segment Networks).

    Without ``rng`` it is the frame nearest to the centre of each part (the earlier one of two equally near), so that
    16 frames in 8 segments give 0, 2, ..., 14.  With ``rng`` it is drawn uniformly inside each part.

    Args:
        n_frames: frames of the clip, at least ``n_segments``.
        n_segments: T.
        rng: for training end to end; None for stored features.
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
    segment = np.arange(n_segments + 1, dtype=np.int64)
    if rng is not None:
        edges = segment * n_frames // n_segments
        return rng.integers(edges[:-1], edges[1:])
    # centre of part k: (2k + 1) n / (2T) - 1/2; nearest integer with ties to the earlier frame, in whole numbers
    return -((2 * n_segments - (2 * segment[:-1] + 1) * n_frames) // (2 * n_segments))
