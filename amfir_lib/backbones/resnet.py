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

from amfir_lib.backbones.frozen import FrozenBackbone, check_settings, normalised
from amfir_lib.backbones.weights import RANDOM_NOTE, PublishedFile, check_kind, find_weights, load_state
from amfir_lib.errors import BackboneUnavailable, unknown_name
from amfir_lib.storage import digest_of, digest_of_code, digest_of_file

FLOW_RANGE = 4.0  # px per frame that reach the end of the scale of the drawn flow


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
    """Flow (..., 2) in px per frame -> (..., 3) in 0 .. 1: x, y and length, no motion is the grey of 127 / 255; the
    picture of ``efficientnet.draw_flow`` before it is rounded to 8 bits.
    """
    channels = torch.cat([flow, flow.norm(dim=-1, keepdim=True)], dim=-1) / flow_range
    return ((127.0 + 128.0 * channels) / 255.0).clamp(0, 1)


class ResNetStream(nn.Module):
    """From raw clips to features, differentiable: their mean, or the maxima of a grid of 4 x 4."""

    def __init__(self, name: str, stream: str, *, n_patches: int = 16, flow_range: float = FLOW_RANGE) -> None:
        super().__init__()
        self.stream, self.n_patches, self.flow_range = stream, n_patches, flow_range
        kept = [(key, module) for key, module in RESNETS[name][0]().named_children() if key not in ("avgpool", "fc")]
        self.names, modules = zip(*kept, strict=True)
        self.net = nn.Sequential(*modules)
        self.to(memory_format=torch.channels_last)

    def load_published(self, state: dict[str, Tensor], source: str) -> None:
        """Load a state dict of torchvision; its classes are dropped.

        Raises:
            BackboneUnavailable: names or shapes do not fit; one sentence.
        """
        position = {key: str(index) for index, key in enumerate(self.names)}
        places: dict[str, Tensor] = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if first != "fc":
                places[f"{position.get(first, first)}.{rest}"] = value
        try:
            self.net.load_state_dict(places)
        except RuntimeError as error:
            raise BackboneUnavailable(f"{source} does not fit the network: {' '.join(str(error).split())}") from error

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 (B, T, S, S, 3), or float flow (B, T, S, S, 2) in px per frame -> (B, T, P, D)."""
        flow = self.stream == "flow"
        pictures = flow_as_picture(clips.float(), self.flow_range) if flow else clips.float() / 255.0
        x = normalised(pictures.flatten(0, 1).movedim(-1, 1))  # (B T, 3, S, S)
        maps = self.net(x.contiguous(memory_format=torch.channels_last))  # (B T, D, h, w)
        pool = F.adaptive_avg_pool2d if self.n_patches == 1 else F.adaptive_max_pool2d
        return pool(maps, int(self.n_patches**0.5)).flatten(2).mT.unflatten(0, clips.shape[:2])


class ResNet(FrozenBackbone):
    """A ResNet of torchvision as a backbone for one stream.

    Args:
        weights: "pretrained" on ImageNet at 224 px, or "random" for untrained ones, which only show that the code runs.
        weights_dir: folder of the published files; see ``find_weights``.
        flow_range: px per frame at the end of the scale of the drawn flow.
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
        flow_range: float = FLOW_RANGE,
        device: str = "cpu",
    ) -> None:
        if name not in RESNETS:
            raise unknown_name("backbone", name, RESNETS)
        check_kind(weights)
        check_settings(name, modality, input_size=input_size, n_patches=n_patches, flow_range=flow_range)
        self.architecture, self.modality, self.input_size, self.n_patches = name, modality, input_size, n_patches
        self.dim, self.device, self.path = RESNETS[name][1], device, None
        self.settings = {"n_patches": n_patches, "flow_range": flow_range}
        if weights == "random":
            self.name, content = f"{name}-random", f"random, torchvision {torchvision.__version__}"
            self.notes = (RANDOM_NOTE.format(name=name, stream=modality),)
        else:
            self.name = name
            self.path = find_weights(name, RESNETS[name][2], weights_dir=weights_dir)
            content = digest_of_file(self.path)
        code = digest_of_code(sys.modules[__name__])
        self.digest = digest_of([name, modality, content, input_size, self.settings, code])

    def network(self) -> ResNetStream:
        """A fresh copy with its weights."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the same random weights in every process
            stream = ResNetStream(self.architecture, self.modality, **self.settings)
        if self.path is not None:
            stream.load_published(load_state(self.path), str(self.path))
        return stream
