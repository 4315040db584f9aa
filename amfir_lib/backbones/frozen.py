"""What all backbones share: a network from raw clips to features, loaded once per process, used frozen or trained."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.backbones.weights import find_weights, load_state
from amfir_lib.data.streams import resize_square
from amfir_lib.errors import BackboneUnavailable, BadParameter, ShapeError, unknown_name
from amfir_lib.storage import digest_of, digest_of_code, digest_of_file

KINDS = {"rgb": (np.dtype(np.uint8), 3), "flow": (np.dtype(np.float32), 2)}  # type and channels of what is read
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM_NOTE = "The weights of {name} ({stream}) are random (untrained): these numbers only show that the code runs."
LOWEST_VARIATION = 0.05  # a spread between clips of 5 % of the size of the features; trained weights reach 30 to 70 %
N_PROBED = 128  # clips that are looked at for it


class FrozenBackbone:
    """Base of all backbones of one stream; equal where their digests are.

    ``network()`` gives a fresh network with the weights, from raw clips (B, F, S, S, C) to features (B, T, P, D).
    """

    name: str
    modality: str  # stream that it reads: "rgb" (any appearance stream) or "flow"
    input_size: int  # side S of what it sees, in px
    n_patches: int  # P: 1 (mean over the picture) or 16 (a grid of 4 x 4)
    dim: int
    digest: str  # of weights, settings and the code that uses them
    dense_frames: int | None = None  # frames that it wants of each clip; None for the T instants of the other stream
    notes: tuple[str, ...] = ()  # sentences that belong under a table: random weights, leakage
    device: str = "cpu"
    batch_clips: int = 8  # in the network at a time

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenBackbone) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @torch.inference_mode()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """uint8 (B, F, S, S, 3), or float32 flow (B, F, S, S, 2) in px per frame -> float16 (B, T, P, D); F is T or
        ``dense_frames``; ShapeError for other clips."""
        kind, channels = KINDS[self.modality]
        wanted = (self.dense_frames or clips.shape[1], self.input_size, self.input_size, channels)
        if clips.shape[1:] != wanted or clips.dtype != kind:
            raise ShapeError(
                f"{self.name} for {self.modality} needs {kind} [B, {self.dense_frames or 'T'}, "
                f"{', '.join(map(str, wanted[1:]))}]; got {clips.dtype} {list(clips.shape)}."
            )
        network = _network(self).to(self.device)
        starts = range(0, len(clips), self.batch_clips)
        parts = [np.ascontiguousarray(clips[start : start + self.batch_clips]) for start in starts]
        return np.concatenate([network(torch.from_numpy(part).to(self.device)).half().cpu().numpy() for part in parts])


@lru_cache(maxsize=4)
def _network(backbone: FrozenBackbone) -> nn.Module:
    """The network with its weights, once per process: a backbone travels to the workers without it."""
    return backbone.network().eval().requires_grad_(False)


class PictureStream(nn.Module):
    """A network for pictures on raw clips, differentiable: (B, T, S, S, C) -> (B, T, P, D).

    Of F frames: ``prepare`` (F, S, S, C) -> (F, c, S, S), ``net`` -> maps (F, D, h, w), ``pool`` -> (F, D, g, g).
    """

    def __init__(self, net: nn.Module, prepare: Callable[[Tensor], Tensor], pool: nn.Module) -> None:
        super().__init__()
        self.net, self.prepare, self.pool = net, prepare, pool

    def forward(self, clips: Tensor) -> Tensor:
        maps = self.pool(self.net(self.prepare(clips.flatten(0, 1))))
        return maps.flatten(2).mT.unflatten(0, clips.shape[:2])


class PublishedBackbone(FrozenBackbone):
    """A network with published weights, or with random ones, which only show that the code runs.

    ``files()`` gives the published files, the preferred ones first, and ``build(state)`` the network around raw clips,
    with a published state dict or, for None, its initial weights.

    Args:
        weights, weights_dir: "pretrained" or "random", and a folder, see ``find_weights``.
        n_patches: 0 for the network's own.
        flow_size: side of the square on which flow is computed, px.
    Raises:
        BackboneUnavailable: the weights are not there, or not those of the network.
        BadParameter, UnknownName: a stream or setting that no such network has.
    """

    flow_share: float  # of ``flow_size``: px per frame that become the largest input

    def __init__(
        self,
        name: str,
        modality: str,
        *,
        weights: str = "pretrained",
        weights_dir: Path | str | None = None,
        input_size: int = 224,
        n_patches: int = 0,
        flow_size: int = 224,
        device: str = "cpu",
    ) -> None:
        n_patches = n_patches or self.n_patches
        if modality not in KINDS:
            raise unknown_name("stream", modality, KINDS)
        if n_patches not in (1, 16) or input_size < 32:
            raise BadParameter(
                f"n_patches is {n_patches} and input_size {input_size}, but {name} needs n_patches of 1 or 16 and an "
                "input_size of 32 or more. Correct them."
            )
        self.name, self.modality, self.input_size, self.n_patches = name, modality, input_size, n_patches
        self.device, self.flow_range = device, self.flow_share * flow_size
        self.path = self.find(weights, weights_dir)
        content = digest_of_file(self.path) if self.path else "random"
        code = digest_of_code(sys.modules[__name__], sys.modules[type(self).__module__])
        self.digest = digest_of([name, modality, content, input_size, n_patches, self.flow_range, code])
        if self.path is None:
            self.name = f"{name}-random"
            self.notes = (RANDOM_NOTE.format(name=name, stream=modality),)

    def find(self, weights: str, weights_dir: Path | str | None) -> Path | None:
        """The file of the weights; None for random ones."""
        return find_weights(self.name, self.files(), weights=weights, weights_dir=weights_dir)

    def network(self, state: dict[str, Tensor] | None = None) -> nn.Module:
        if self.path and state is None:
            state = load_state(self.path)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the same random weights in every process
            try:
                return self.build(state)
            except RuntimeError as error:
                raise BackboneUnavailable(
                    f"{self.path} does not fit {self.name} ({self.modality}): {textwrap.shorten(str(error), 300)} "
                    "Use the published weights."
                ) from error


def normalised(pictures: Tensor) -> Tensor:
    """Pictures (..., C, S, S) in 0 .. 1 by the mean and deviation of ImageNet."""
    mean, std = (pictures.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pictures - mean) / std


class JointBackbone:
    """The features of several backbones of one stream, patch beside patch: ``efficientnet_adapted``.

    For the appearance of real clips: what ImageNet taught EfficientNet, and what the base classes taught the compact
    net about this sensor.  The mean over the patches of a frame has length 1 times the square root of all widths, for
    each backbone; so none outweighs another by its width or its units.  Clips are read at the largest input size.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts, self.modality, self.n_patches = tuple(parts), parts[0].modality, parts[0].n_patches
        self.input_size = max(part.input_size for part in parts)
        self.dim = sum(part.dim for part in parts)
        self.digest = digest_of([[part.digest for part in parts], digest_of_code(sys.modules[__name__])])
        self.name = f"efficientnet_adapted-{self.digest[:8]}"
        self.notes = tuple(note for part in parts for note in getattr(part, "notes", ()))

    def features(self, clips: np.ndarray) -> np.ndarray:
        """As ``FrozenBackbone.features``."""
        joined = []
        for part in self.parts:
            shrunk = np.stack([[resize_square(frame, part.input_size) for frame in clip] for clip in clips])
            values = part.features(shrunk).astype(np.float32)
            length = np.linalg.norm(values.mean(2, keepdims=True), axis=-1, keepdims=True)
            joined.append(values / np.maximum(length, np.finfo(np.float32).tiny))
        return (np.concatenate(joined, axis=-1) * np.sqrt(self.dim)).astype(np.float16)


def _batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep the statistics, scales and shifts of all batch norms as they are; call it after each ``train()``."""
    for norm in _batch_norms(module):
        norm.eval().requires_grad_(False)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Forward passes inside the block leave the running statistics of batch norms unchanged."""
    momenta = {norm: norm.momentum for norm in _batch_norms(module)}
    for norm in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum


def variation_warning(features: np.ndarray, name: str) -> str:
    """A sentence about the features (n, T, P, D) of that name if they hardly vary over clips, else "".

    The public ``flow_charades.pt`` is suspected to answer every clip with nearly the same values (decision B6).  Of up
    to 128 clips, averaged over instants and patches, the root mean square of the deviations from the mean clip is
    compared with that of the values.
    """
    rows = np.unique(np.linspace(0, len(features) - 1, N_PROBED).round().astype(int))
    clips = np.stack([np.asarray(features[row], np.float64).mean(axis=(0, 1)) for row in rows])  # (n, D)
    spread, size = np.sqrt(((clips - clips.mean(0)) ** 2).mean()), np.sqrt((clips**2).mean())
    if spread > 0 and spread >= LOWEST_VARIATION * size:
        return ""
    return (
        f"{name} hardly vary from clip to clip (less than {LOWEST_VARIATION:.0%} of their size): the weights may be "
        "untrained or broken. Use other ones; for the flow of I3D flow_imagenet.pt rather than flow_charades.pt."
    )
