"""What all backbones share: a network from raw clips to features, loaded once per process, used frozen or trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.errors import BackboneUnavailable, BadParameter, ShapeError, unknown_name
from amfir_lib.storage import digest_of, digest_of_code

KINDS = {"rgb": (np.dtype(np.uint8), 3), "flow": (np.dtype(np.float32), 2)}  # type and channels of what is read
BATCH_FRAMES = 64  # frames in a network for pictures at a time
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOWEST_VARIATION = 0.05  # a spread between clips of 5 % of the size of the features; trained weights reach 30 to 70 %
N_PROBED = 128  # clips that are looked at for it


class FrozenBackbone:
    """Base of all backbones of one stream; equal where their digests are.

    Attributes:
        modality: stream that it reads: "rgb" (any appearance stream) or "flow".
        input_size: side S of what it sees, in px.
        n_patches: P, 1 (mean over the picture) or 16 (a grid of 4 x 4).
        digest: of weights, settings and the code that uses them.
        dense_frames: frames that it wants of each clip; None for the T instants of the other stream.
        notes: sentences that belong under a table: random weights, leakage.
        learns: whether its network can be trained end to end.
    """

    name: str
    modality: str
    input_size: int
    n_patches: int
    dim: int
    digest: str
    dense_frames: int | None = None
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    batch_clips: int = max(1, BATCH_FRAMES // 8)
    learns: bool = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenBackbone) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def network(self) -> nn.Module:
        """A fresh network with these weights, from raw clips (B, F, S, S, C) to features (B, T, P, D)."""
        raise NotImplementedError

    @torch.inference_mode()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """uint8 (B, F, S, S, 3), or float32 flow (B, F, S, S, 2) in px per frame -> float16 (B, T, P, D); F is T or
        ``dense_frames``.

        Raises:
            ShapeError: clips of another shape or type.
        """
        kind, channels = KINDS[self.modality]
        wanted = (self.input_size, self.input_size, channels)
        fits = clips.ndim == 5 and clips.shape[2:] == wanted and clips.dtype == kind
        if not fits or clips.shape[1] != (self.dense_frames or clips.shape[1]):
            raise ShapeError(
                f"{self.name} for {self.modality} needs {kind} [B, {self.dense_frames or 'T'}, "
                f"{', '.join(map(str, wanted))}]; got {clips.dtype} {list(clips.shape)}."
            )
        network = _network(self).to(self.device)
        starts = range(0, len(clips), self.batch_clips)
        parts = [np.ascontiguousarray(clips[start : start + self.batch_clips]) for start in starts]
        return np.concatenate([network(torch.from_numpy(part).to(self.device)).half().cpu().numpy() for part in parts])


@lru_cache(maxsize=4)
def _network(backbone: FrozenBackbone) -> nn.Module:
    """The network with its weights, once per process: a backbone travels to the workers without it."""
    return backbone.network().eval().requires_grad_(False)


def check_settings(name: str, stream: str, *, input_size: int, n_patches: int, flow_range: float) -> None:
    """Refuse a stream or a setting that no network for pictures has."""
    if stream not in KINDS:
        raise unknown_name("stream", stream, KINDS)
    if n_patches not in (1, 16) or input_size < 32 or not flow_range > 0:
        raise BadParameter(
            f"n_patches = {n_patches}, input_size = {input_size}, flow_range = {flow_range}: {name} needs "
            "n_patches of 1 or 16, an input_size of 32 or more, and a positive flow_range."
        )


def normalised(pictures: Tensor) -> Tensor:
    """Pictures (..., C, S, S) in 0 .. 1 by the mean and deviation of ImageNet."""
    mean, std = (pictures.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pictures - mean) / std


class JointBackbone:
    """The features of several backbones of one stream, patch beside patch: ``efficientnet_adapted``.

    For the appearance of real clips: what ImageNet taught EfficientNet, and what the base classes taught the compact
        net
    about this sensor.  The mean over the patches of a frame has length 1 times the square root of all widths, for each
    backbone; so none outweighs another by its width or its units.  Clips are read at the largest input size.

    Raises:
        BadParameter: the parts read different streams, or divide the picture differently.
    """

    learns = False

    def __init__(self, parts: Sequence[Any], *, name: str = "efficientnet_adapted") -> None:
        streams = {part.modality for part in parts}
        if len(streams) != 1:
            raise BadParameter(f"The parts of {name} read {', '.join(sorted(streams))}. Join backbones of one stream.")
        if len(grids := {part.n_patches for part in parts}) != 1:
            raise BadParameter(f"The parts of {name} have {grids} patches a frame. Open them with the same n_patches.")
        self.parts, self.modality, self.n_patches = tuple(parts), streams.pop(), grids.pop()
        self.input_size = max(part.input_size for part in parts)
        self.dim = sum(part.dim for part in parts)
        self.digest = digest_of([[part.digest for part in parts], digest_of_code(sys.modules[__name__])])
        self.name = f"{name}-{self.digest[:8]}"
        self.notes = tuple(note for part in parts for note in getattr(part, "notes", ()))

    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features of whole clips, (B, T, S, S, C) -> float16 (B, T, P, D)."""
        joined = []
        for part in self.parts:
            values = part.features(_shrunk(clips, part.input_size)).astype(np.float32)
            length = np.linalg.norm(values.mean(2, keepdims=True), axis=-1, keepdims=True)
            joined.append(values / np.maximum(length, np.finfo(np.float32).tiny))
        return (np.concatenate(joined, axis=-1) * np.sqrt(self.dim)).astype(np.float16)


def _shrunk(clips: np.ndarray, size: int) -> np.ndarray:
    """Clips (B, T, S, S, C) at a smaller side, averaging areas; the same clips where the side is right."""
    if clips.shape[2] == size:
        return clips
    frames = clips.reshape(-1, *clips.shape[2:])
    small = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])
    return small.reshape(*clips.shape[:2], size, size, clips.shape[-1])


def trainable_stream(backbone: Any) -> nn.Module:
    """A fresh module that learns, with a backbone's weights: raw clips in, features out, gradients through.

    Raises:
        BackboneUnavailable: this backbone is only used frozen.
    """
    if not backbone.learns:
        raise only_frozen(backbone.name)
    return backbone.network().requires_grad_(True)


def only_frozen(name: str) -> BackboneUnavailable:
    """The refusal of a backbone that cannot be trained, ready to be raised."""
    return BackboneUnavailable(
        f"{name} is only used frozen. Train end to end with compact, resnet18, resnet50, i3d, or two of them as "
        "appearance+motion: -p backbone=resnet18."
    )


def _batch_norms(module: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    return (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep the statistics, scales and shifts of all batch norms as they are; call it after each ``train()``."""
    for norm in _batch_norms(module):
        norm.eval().requires_grad_(False)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Forward passes inside the block leave the running statistics of batch norms unchanged."""
    momenta = {norm: norm.momentum for norm in _batch_norms(module)}
    try:
        for norm in momenta:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum


def variation(features: np.ndarray) -> float:
    """How much features (n, T, P, D) differ between clips, as a share of their own size: a probe for broken weights.

    The public ``flow_charades.pt`` is suspected to answer every clip with nearly the same values (decision B6), and a
    table made from such features looks like any other.  Of up to 128 clips, averaged over instants and patches, the
    root mean square of the deviations from the mean clip is divided by that of the values: 0 where all clips are alike.

    Raises:
        ShapeError: fewer than two clips, or another number of axes.
    """
    if features.ndim != 4 or len(features) < 2:
        raise ShapeError(f"the probe needs features [n, T, P, D] of 2 clips or more; got {list(features.shape)}.")
    rows = np.unique(np.linspace(0, len(features) - 1, N_PROBED).round().astype(int))
    clips = np.stack([np.asarray(features[row], np.float64).mean(axis=(0, 1)) for row in rows])  # (n, D)
    size = np.sqrt((clips**2).mean())
    return float(np.sqrt(((clips - clips.mean(0)) ** 2).mean()) / size) if size > 0 else 0.0


def variation_warning(features: np.ndarray, name: str) -> str:
    """A sentence about the features of that name if they hardly vary over clips, else ""."""
    spread = variation(features)
    if spread >= LOWEST_VARIATION:
        return ""
    return (
        f"{name} hardly vary from clip to clip ({100 * spread:.1f} % of their size, below "
        f"{100 * LOWEST_VARIATION:.0f} %): the weights may be untrained or broken. Use other ones; for the flow of I3D "
        "flow_imagenet.pt rather than flow_charades.pt, which is suspected to be broken."
    )
