"""``resnet50`` and ``resnet18`` of torchvision with ImageNet weights: the paper's RGB backbone and a smaller one.

Flow has no ImageNet weights: it is drawn as a picture with three channels, x, y and length, as some of the field do
instead of I3D.  Pictures become features of 2048 (512) values in a grid of 4 x 4, the maxima that STRM asks for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet18_Weights, ResNet50_Weights, resnet18, resnet50

from amfir_lib.backbones.compact import IMAGENET_MEAN, IMAGENET_STD
from amfir_lib.backbones.efficientnet_lite import FLOW_RANGE
from amfir_lib.backbones.frozen import KINDS, PATCH_COUNTS, WEIGHTS, FrozenBackbone
from amfir_lib.backbones.weights_files import PublishedFile, find_weights, load_state
from amfir_lib.errors import BackboneUnavailable, BadParameter, unknown_name
from amfir_lib.storage import digest_of, digest_of_code, digest_of_file

POOLINGS = {"max": F.adaptive_max_pool2d, "mean": F.adaptive_avg_pool2d}
BATCH_FRAMES = 64  # frames in the network at a time
RANDOM_NOTE = "The weights of {name} ({stream}) are random (untrained): these numbers only show that the code runs."


def _file(url: str) -> PublishedFile:
    """A file of torchvision, whose name carries the beginning of its digest."""
    name = url.rpartition("/")[2]
    return PublishedFile(name, url, name.rpartition("-")[2].removesuffix(".pth"))


# name -> constructor, width, files; the first weights are those of the field's published numbers
RESNETS = {
    "resnet50": (
        resnet50, 2048, (_file(ResNet50_Weights.IMAGENET1K_V1.url), _file(ResNet50_Weights.IMAGENET1K_V2.url)),
    ),
    "resnet18": (resnet18, 512, (_file(ResNet18_Weights.IMAGENET1K_V1.url),)),
}  # fmt: skip


def flow_as_picture(flow: Tensor, flow_range: float) -> Tensor:
    """Flow in the range of a picture: x, y and length, no motion is the grey of 127 / 255.

    Args:
        flow: float (..., 2), (x, y) in px per frame.
        flow_range: px per frame at the end of the scale.
    Returns:
        (..., 3) in 0 .. 1; the picture of ``draw_flow`` before it is rounded to 8 bits.
    """
    channels = torch.cat([flow, flow.norm(dim=-1, keepdim=True)], dim=-1) / flow_range
    return ((127.0 + 128.0 * channels) / 255.0).clamp(0, 1)


class ResNetStream(nn.Module):
    """From raw clips to features, differentiable.

    Args:
        name: of ``RESNETS``.
        stream: "rgb" or "flow".
        n_patches: 1 (mean over the picture) or 16 (a grid of 4 x 4).
        patch_pooling: "max" as in STRM, or "mean"; how a cell of the grid is pooled.
        flow_range: px per frame at the end of the scale of the drawn flow.
    """

    def __init__(
        self,
        name: str,
        stream: str,
        *,
        n_patches: int = 16,
        patch_pooling: str = "max",
        flow_range: float = FLOW_RANGE,
    ) -> None:
        super().__init__()
        build, self.dim, _ = RESNETS[name]
        self.stream, self.n_patches, self.patch_pooling, self.flow_range = stream, n_patches, patch_pooling, flow_range
        net = build()
        self.net = nn.Sequential(*(module for key, module in net.named_children() if key not in ("avgpool", "fc")))
        self.names = [key for key, _ in net.named_children() if key not in ("avgpool", "fc")]
        self.to(memory_format=torch.channels_last)

    def load_published(self, state: dict[str, Tensor], source: str) -> None:
        """Load a state dict of torchvision; its classes are dropped.

        Raises:
            BackboneUnavailable: names or shapes do not fit; one sentence.
        """
        position = {key: str(index) for index, key in enumerate(self.names)}
        own: dict[str, Tensor] = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if first != "fc":
                own[f"{position.get(first, first)}.{rest}"] = value
        try:
            self.net.load_state_dict(own)
        except RuntimeError as error:
            raise BackboneUnavailable(f"{source} does not fit the network: {' '.join(str(error).split())}") from error

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 (B, T, S, S, 3), or float flow (B, T, S, S, 2) in px per frame -> (B, T, P, D)."""
        flow = self.stream == "flow"
        pictures = flow_as_picture(clips.float(), self.flow_range) if flow else clips.float() / 255.0
        x = pictures.flatten(0, 1).movedim(-1, 1)  # (B T, 3, S, S)
        mean, std = (x.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        maps = self.net(((x - mean) / std).contiguous(memory_format=torch.channels_last))  # (B T, D, h, w)
        pool = F.adaptive_avg_pool2d if self.n_patches == 1 else POOLINGS[self.patch_pooling]
        return pool(maps, int(self.n_patches**0.5)).flatten(2).mT.unflatten(0, clips.shape[:2])


class ResNet(FrozenBackbone):
    """A ResNet of torchvision as a frozen backbone for one stream.

    Args:
        name: "resnet50" or "resnet18".
        modality: "rgb" (any appearance stream) or "flow".
        weights: "pretrained" on ImageNet, or "random" for untrained ones, which only show that the code runs.
        weights_dir: folder of the published files; see ``find_weights``.
        input_size: S in px; the weights were trained at 224.
        n_patches, patch_pooling, flow_range: see ``ResNetStream``.
        device: where the network runs.
    Raises:
        BackboneUnavailable: the weights are not there and cannot be fetched, or are not the published ones.
        BadParameter, UnknownName: a parameter that does not exist.
    """

    def __init__(
        self,
        name: str,
        modality: str,
        *,
        weights: str = "pretrained",
        weights_dir: Path | str | None = None,
        input_size: int = 224,
        n_patches: int = 16,
        patch_pooling: str = "max",
        flow_range: float = FLOW_RANGE,
        device: str = "cpu",
    ) -> None:
        choices = (
            ("backbone", name, RESNETS), ("stream", modality, KINDS), ("kind of weights", weights, WEIGHTS),
            ("pooling of patches", patch_pooling, POOLINGS),
        )  # fmt: skip
        for kind, value, known in choices:
            if value not in known:
                raise unknown_name(kind, value, known)
        if n_patches not in PATCH_COUNTS or input_size < 32 or not flow_range > 0:
            raise BadParameter(
                f"n_patches = {n_patches}, input_size = {input_size}, flow_range = {flow_range}: {name} needs "
                "n_patches of 1 or 16, an input_size of 32 or more, and a positive flow_range."
            )
        self.architecture, self.modality, self.input_size, self.n_patches = name, modality, input_size, n_patches
        self.dim, self.device, self.path = RESNETS[name][1], device, None
        self.batch_clips = max(1, BATCH_FRAMES // 8)
        self.settings = {"n_patches": n_patches, "patch_pooling": patch_pooling, "flow_range": flow_range}
        if weights == "random":
            self.name, content = f"{name}-random", f"random, torchvision {torchvision.__version__}"
            self.notes = (RANDOM_NOTE.format(name=name, stream=modality),)
        else:
            self.name = name
            self.path = find_weights(name, RESNETS[name][2], weights_dir=weights_dir)
            content = digest_of_file(self.path)
        code = digest_of_code(sys.modules[__name__])
        self.digest = digest_of([name, modality, content, input_size, self.settings, code])

    def trainable(self) -> ResNetStream:
        """A fresh copy with its weights, for training end to end."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the same random weights in every process
            stream = ResNetStream(self.architecture, self.modality, **self.settings)
        if self.path is not None:
            stream.load_published(load_state(self.path), str(self.path))
        return stream
