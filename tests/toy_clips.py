"""Small videos, data sets and backbones for tests of the data path."""

from __future__ import annotations

import time
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from av.codec.context import Flags
from scipy.ndimage import gaussian_filter

from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.data.video import write_video


def texture(rng: np.random.Generator, size: int = 160) -> np.ndarray:
    """A smooth random picture, uint8 [size, size, 3]."""
    noise = cv2.GaussianBlur(rng.integers(0, 255, (size, size, 3), dtype=np.uint8), (0, 0), 2).astype(np.float64)
    return np.clip((noise - 127) * 5 + 127, 0, 255).astype(np.uint8)


def moving_frames(rng: np.random.Generator, *, n_frames: int = 10, size: int = 48, step: int = 1) -> np.ndarray:
    """A texture that moves ``step`` px to the left per frame, uint8 [F, size, size, 3]."""
    picture = texture(rng, size + step * n_frames)
    return np.stack([picture[:size, step * i : step * i + size] for i in range(n_frames)])


def write_images(folder: Path, frames: np.ndarray, pattern: str = "{:05d}.png", *, start: int = 1) -> Path:
    """Frames as numbered images; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, start=start):
        cv2.imwrite(str(folder / pattern.format(number)), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def write_class_folders(root: Path, *, n_classes: int = 5, clips_per_class: int = 3, n_frames: int = 10) -> None:
    """A folder data set: class c0, c1, ... with clips p0_a.avi, p1_a.avi, ..."""
    rng = np.random.default_rng(0)
    for c in range(n_classes):
        for k in range(clips_per_class):
            frames = moving_frames(rng, n_frames=n_frames)
            write_video(root / f"c{c}" / f"p{k}_a.avi", frames)


def toy_dataset(root: Path, *, n_clips: int = 10, n_frames: int = 10) -> Dataset:
    """A data set of two training classes, written to ``root``."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(n_clips):
        write_video(root / f"clip{i:02d}.avi", moving_frames(rng, n_frames=n_frames))
        rows.append((f"clip{i:02d}", f"clip{i:02d}.avi", f"class{i % 2}", "train", f"g{i}", n_frames, 12.0, 48, 48))
    return Dataset("toy", root, pd.DataFrame(rows, columns=list(COLUMNS)))


SPLITS = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "val", "f": "test", "g": "test", "h": "test"}


def eight_classes(root: Path, *, degraded_take: int | None = None) -> Dataset:
    """Eight classes of five small clips, each by a person of its own, written to ``root``.

    With ``degraded_take`` the manifest has a column ``kind``, which calls that take of each class shaken.
    """
    rng, rows = np.random.default_rng(3), []
    for label, split in SPLITS.items():
        for take in range(5):
            name = f"{label}{take}"
            write_video(root / f"{name}.avi", moving_frames(rng, step=1 + take % 3))
            rows.append((name, f"{name}.avi", f"class_{label}", split, name, 10, 12.0, 48, 48))
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    if degraded_take is not None:
        manifest["kind"] = ["shake" if name.endswith(str(degraded_take)) else "none" for name in manifest.iloc[:, 0]]
    return Dataset("toy", root, manifest, synthetic=True, caption="toy clips")


class ToyBackbone:
    """Mean colour or flow of 2 x 2 patches; no learning, quick, and pickled by reference to this module."""

    name, n_patches, input_size = "toy", 4, 16

    def __init__(self, modality: str, *, digest: str = "first") -> None:
        self.modality, self.digest = modality, digest
        self.dim = 3 if modality == "rgb" else 2
        self.calls = 0

    def features(self, clips: np.ndarray) -> np.ndarray:
        self.calls += 1
        b, t, size, _, c = clips.shape
        half = size // 2
        patches = clips.astype(np.float32).reshape(b, t, 2, half, 2, half, c).mean(axis=(3, 5))
        return patches.reshape(b, t, 4, c).astype(np.float16)


class InterruptedBackbone(ToyBackbone):
    """Stops like a user's Ctrl-C after some calls."""

    def __init__(self, modality: str, *, after: int) -> None:
        super().__init__(modality)
        self.after = after

    def features(self, clips: np.ndarray) -> np.ndarray:
        if self.calls == self.after:
            raise KeyboardInterrupt
        return super().features(clips)


class NaNBackbone(ToyBackbone):
    """Returns NaN for the second clip of a batch."""

    def features(self, clips: np.ndarray) -> np.ndarray:
        values = super().features(clips)
        values[1] = np.nan
        return values


def square(number: int) -> int:
    """A task for workers."""
    time.sleep(0.01)
    return number * number


def threads_in_use(_: int) -> tuple[int, int]:
    """A task that tells how many threads OpenCV and PyTorch use."""
    import torch

    return cv2.getNumThreads(), torch.get_num_threads()


def refuse_three(number: int) -> int:
    """A task that fails for one item."""
    if number == 3:
        raise KeyError("three")
    return number


def refuse_file(path: str) -> str:
    """A task that fails with a sentence of the study."""
    from amfir_lib.errors import UnreadableVideo

    raise UnreadableVideo(f"{path} is empty (0 bytes). Copy it again.")


def die(_: int) -> None:
    """A task whose process is killed."""
    import os

    os._exit(1)


def run_out_of_memory(kind: str) -> None:
    """A task that finds no room: on a GPU, for PyTorch, for NumPy or for OpenCV."""
    import torch

    raise {
        "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        "torch": RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        "numpy": MemoryError("Unable to allocate 7.45 GiB for an array"),
        "opencv": cv2.error("OpenCV: error: (-4:Insufficient memory) Failed to allocate 99 bytes in function OutOfMem"),
    }[kind]


def encode_video(path, frames, codec, *, pix_fmt="yuv420p", interlaced=False, options=None, container_options=None):
    """Write a video as cameras and phones do: frames, uint8 [F, H, W, 3] RGB or uint16 [F, H, W], in any codec."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        if interlaced:
            stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        for frame in frames:
            image = av.VideoFrame.from_ndarray(frame, format="rgb24" if frame.ndim == 3 else "gray16le")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def encode_streams(path, *streams):
    """Write several video streams into one file, lossless: each frames, uint8 [F, H, W, 3] RGB."""
    with av.open(str(path), "w") as container:
        encoders = [container.add_stream("ffv1", rate=25) for _ in streams]
        for encoder, frames in zip(encoders, streams, strict=True):
            encoder.height, encoder.width, encoder.pix_fmt = *frames.shape[1:3], "bgr0"
        for encoder, frames in zip(encoders, streams, strict=True):
            for frame in frames:
                container.mux(encoder.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(encoder.encode())
    return path


def smooth_frames(n_frames=10, height=64, width=96):
    """A smooth picture that wanders to the right, uint8 [F, H, W, 3]: lossy codecs keep it."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(height, width, 3)), (5, 5, 0), mode="wrap")
    picture = 255 * (noise - noise.min()) / np.ptp(noise)
    return np.stack([np.roll(picture, 3 * number, 1) for number in range(n_frames)]).astype(np.uint8)
