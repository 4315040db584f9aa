"""Frames of clips, video files or folders of images: found by decoding, never believed of the header.

Videos are decoded by PyAV (FFmpeg), one frame after the other from the start.  Seeking is not used: it lands on the
wrong frame in files with unusual time stamps.  OpenCV's reader is not used either: version 5.0 gives interlaced video
as memory that was never written, and says that it succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from amfir_lib.data.images import frame_files, missing_numbers, read_image
from amfir_lib.errors import BadParameter, DataNotFound, ShapeError, UnreadableVideo
from amfir_lib.storage import atomic_write

av.logging.set_level(av.logging.PANIC)  # the study reports a damaged file once, in a sentence

VIDEO_SUFFIXES = tuple(  # what FFmpeg opens and people have
    f".{suffix}"
    for suffix in (
        "mp4 avi webm mov mkv mpg m4v mpeg mpe m2v wmv asf flv f4v 3gp 3g2 mts m2ts ts vob ogv divx mxf dv gif y4m"
    ).split()
)
REMEDY = "Copy or download the file again, or remove it"
MJPG_QUALITY = 90
PLACEHOLDERS = 3  # packets without a frame that sound files have, such as those of packed B-frames in AVI
DEPTH_PERCENTILES = (1, 99)  # of the readings of a clip: the range that its grey levels stand for


@cache
def decoder_version() -> dict[str, str]:
    """Name and versions of the decoder, as recorded with features."""
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"name": "pyav", "av": av.__version__, "avcodec": codec, "opencv": cv2.__version__}


class _Video:
    """An open video file: its frames in the order of presentation, and what is lost of them."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataNotFound(f"There is no video {path}. Check the path, or remove its line from the manifest.")
        if path.stat().st_size == 0:
            raise UnreadableVideo(f"{path} is empty (0 bytes). {REMEDY}.")
        self.n_packets = self.n_discarded = self.n_broken = 0  # packets, those of no frame, damaged frames so far
        self.end = 0.0  # of the last frame, in seconds from the first one's start
        self.reformatter = VideoReformatter()  # one for all frames, which keeps its tables
        try:
            self.container = av.open(str(path.absolute()), metadata_errors="ignore")
        except PermissionError as error:
            raise UnreadableVideo(f"{path} may not be read ({error.strerror}). Change its permissions.") from None
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnreadableVideo(
                f"{path} ({path.stat().st_size} bytes) is not a video that can be decoded: {_reason(error)}. It may be "
                f"truncated, damaged, or no video at all. {REMEDY}."
            ) from None
        streams = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            self.container.close()
            raise UnreadableVideo(f"{path} holds no video stream. {REMEDY}.")
        self.n_streams = len(streams)
        self.stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
        if self.stream.codec_context is None:
            self.container.close()
            raise UnreadableVideo(
                f"{path} has a codec for which there is no decoder here. Convert it: "
                f'ffmpeg -i "{path.name}" -c:v libx264 -crf 18 "{path.stem}.mp4"'
            )
        self.stream.thread_type = "NONE"  # equal results for any number of cores
        self.stream.codec_context.thread_count = 1

    def __enter__(self) -> _Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def fps(self) -> float:
        """Frames per second, by the container and its time stamps; 0 if they do not say."""
        return float(self.stream.guessed_rate or self.stream.average_rate or 0)

    def n_lost(self, n_frames: int) -> int:
        """Frames, once these were decoded, that are damaged or that the container promises beyond them.

        It promises by a number, by packets, or by its duration where the last frame ends half a second before it.
        """
        seconds, stream = 0.0, self.stream
        if stream.duration:
            seconds = float(stream.duration * stream.time_base)
        elif len(self.container.streams) == 1:  # else it may be that of the sound
            seconds = (self.container.duration or 0) / av.time_base
        by_time = round(seconds * self.fps) if not stream.frames and self.end < seconds - 0.5 else 0
        promised = max(stream.frames - self.n_discarded, self.n_packets, by_time)
        missing = max(0, promised - n_frames)
        return (missing if missing > PLACEHOLDERS else 0) + self.n_broken

    def frames(self) -> Iterator[av.VideoFrame]:
        """All frames that can be decoded."""
        packets, n_failures = self.container.demux(self.stream), 0
        while True:
            try:
                packet = next(packets)
                self.n_packets += packet.size > 0 and not packet.is_discard  # an empty one flushes the decoder
                self.n_discarded += packet.is_discard  # before the cut of an edit list
                frames = packet.decode()
            except StopIteration:
                return
            except (av.FFmpegError, EOFError):  # damaged, again and again where nothing can be read any more
                n_failures += 1
                if n_failures > self.n_packets:
                    return
                continue
            for frame in frames:
                self.n_broken += frame.is_corrupt
                start = float((self.stream.start_time or 0) * self.stream.time_base)
                lasting = float((frame.duration or 0) * self.stream.time_base)
                self.end = max(self.end, (frame.time or 0.0) + lasting - start)
                yield frame

    def image(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame as it is to be seen: uint8 RGB, or uint16 readings."""
        kind = "gray16le" if frame.format.name.startswith(("gray9", "gray1")) else "rgb24"
        image = self.reformatter.reformat(frame, format=kind, threads=1).to_ndarray()
        return _upright(image, frame)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """An image turned and mirrored as the container's display matrix says (phones, front cameras)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return image
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32) / 2**16  # (x, y) is shown at (a x + c y, b x + d y)
    if abs(b) > abs(a):  # width and height change places
        image = image.swapaxes(0, 1)
        a, d = c, b
    image = image[:, ::-1] if a < 0 else image
    return np.ascontiguousarray(image[::-1] if d < 0 else image)


def _images(path: Path) -> Iterator[Callable[[], np.ndarray]]:
    """For each frame in turn what converts it to an image."""
    if path.is_dir():
        yield from (partial(read_image, file) for file in frame_files(path))
        return
    with _Video(path) as video:
        for frame in video.frames():
            yield partial(video.image, frame)


def decode(path: Path | str, wanted: set[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and frame, uint8 RGB [H, W, 3], one at a time in their order.

    A grey video has three equal channels; frames of a file whose size changes on the way are resized to the first one.
    Readings of 16 bits (depth, infrared) become grey levels, see ``grey_of_readings``.

    Args:
        path: the video file, or a folder of numbered images.
        wanted: frame numbers from 0; only these are converted.  None: every frame.
    Raises:
        DataNotFound: there is no such file.
        UnreadableVideo: the file is empty, damaged, not a video, or has no frame of that number.
    """
    path = Path(path)
    last = None if wanted is None else max(wanted, default=-1)
    n_decoded, size, levels = 0, None, None
    for index, convert in enumerate(islice(_images(path), None if last is None else last + 1)):
        n_decoded = index + 1
        if wanted is None or index in wanted:
            frame = convert()
            if frame.dtype == np.uint16:
                levels = levels or range_of_readings(path, path.stat().st_mtime_ns)
                frame = grey_of_readings(frame, *levels)
            size = size or frame.shape[1::-1]
            yield index, frame if frame.shape[1::-1] == size else cv2.resize(frame, size)
    if n_decoded == 0 and wanted != set():
        raise UnreadableVideo(f"{path} has no frame that can be decoded. {REMEDY}.")
    if last is not None and last >= n_decoded:
        raise UnreadableVideo(
            f"{path} has {n_decoded} frames that can be decoded, but frame {last} (from 0) was asked for. "
            f"The file is shorter than its manifest says: {REMEDY.lower()}, or prepare the data set again."
        )


@lru_cache(64)
def range_of_readings(path: Path, changed: int) -> tuple[float, float]:
    """The 1st and 99th percentile of all readings of a clip of 16 bits, as of its last change; 0 is no reading."""
    values = np.concatenate([image[image > 0] for convert in _images(path) if (image := convert()).dtype == np.uint16])
    low, high = np.percentile(values, DEPTH_PERCENTILES) if len(values) else (0.0, 1.0)
    return float(low), float(max(high, low + 1))


def grey_of_readings(readings: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint16 [H, W] -> uint8 [H, W, 3]: levels 1 to 255 from ``low`` to ``high``, 0 where there is no reading."""
    levels = 1 + 254 * np.clip((readings.astype(np.float32) - low) / (high - low), 0, 1)
    return np.repeat(np.where(readings > 0, np.round(levels), 0).astype(np.uint8)[..., None], 3, axis=2)


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
    """What decoding found.

    Attributes:
        n_frames: that can be decoded.
        fps: of the container; 0 if it has none.
        height, width: px.
        n_lost: frames that are damaged or that the container promises beyond these, or that numbers of images skip.
        readings: "412-4031", the range that the grey levels of a clip of 16 bits stand for; else empty.
        n_streams: video streams in the file, covers not counted; the one that it marks, or the first, is read.
    """

    n_frames: int
    fps: float
    height: int
    width: int
    n_lost: int = 0
    readings: str = ""
    n_streams: int = 1


def probe_video(path: Path | str) -> VideoInfo:
    """Count the frames of a clip by decoding all of them, and measure the first one.

    The frame rate is the container's word; a folder of images has none, and its images are decoded at an eighth of
    their size where that is quicker.

    Raises:
        DataNotFound, UnreadableVideo: as :func:`decode`.
    """
    path, n_lost, fps, n_streams = Path(path), 0, 0.0, 1
    if path.is_dir():
        files = frame_files(path)
        first = read_image(files[0])
        for file in files[1:]:
            read_image(file, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        n_frames, n_lost = len(files), missing_numbers(files)
    else:
        with _Video(path) as video:
            frames = video.frames()
            frame = next(frames, None)
            if frame is None:
                raise UnreadableVideo(f"{path} has no frame that can be decoded. {REMEDY}.")
            first = video.image(frame)
            n_frames = 1 + sum(1 for _ in frames)
            n_lost, fps, n_streams = video.n_lost(n_frames), round(video.fps, 3), video.n_streams
    readings = (
        "{:.0f}-{:.0f}".format(*range_of_readings(path, path.stat().st_mtime_ns)) if first.dtype == np.uint16 else ""
    )
    return VideoInfo(n_frames, fps, *first.shape[:2], n_lost, readings, n_streams)


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
