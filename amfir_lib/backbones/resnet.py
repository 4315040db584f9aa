"""``resnet50`` and ``resnet18`` of torchvision with ImageNet weights: the paper's RGB backbone and a smaller one.

Flow has no ImageNet weights: it is drawn as a picture with three channels, x, y and length, as some of the field do
instead of I3D.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from amfir_lib.backbones.frozen import PictureStream, PublishedBackbone, normalised
from amfir_lib.backbones.weights import PublishedFile

# name -> width, and files of torchvision, which carry the beginning of their digest in their name; the first weights
# (IMAGENET1K_V1) are those of the field's published numbers
RESNETS = {
    "resnet50": (2048, ("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth")),
    "resnet18": (512, ("resnet18-f37072fd.pth",)),
}


def flow_as_picture(flow: Tensor, flow_range: float) -> Tensor:
    """``efficientnet.draw_flow`` before its picture is rounded to 8 bits: (..., 2) -> (..., 3) in 0 .. 1."""
    channels = torch.cat([flow, flow.norm(dim=-1, keepdim=True)], dim=-1) / flow_range
    return ((127.0 + 128.0 * channels) / 255.0).clamp(0, 1)


def _prepared(frames: Tensor, *, stream: str, flow_range: float) -> Tensor:
    flow = stream == "flow"
    pictures = flow_as_picture(frames.float(), flow_range) if flow else frames.float() / 255.0
    return normalised(pictures.movedim(-1, 1)).contiguous(memory_format=torch.channels_last)


class ResNet(PublishedBackbone):
    """A ResNet for one stream; patches are the maxima of a grid of 4 x 4 (that STRM asks for), one patch is the mean.

    8 px per frame of a 224-px square, 4 px of one of 112, are the end of the scale of the drawn flow.
    """

    n_patches, flow_share = 16, 1 / 28

    def __init__(self, name: str, modality: str, **settings: Any) -> None:
        self.architecture, self.dim = name, RESNETS[name][0]
        super().__init__(name, modality, **settings)

    def files(self) -> list[PublishedFile]:
        address = "https://download.pytorch.org/models"
        names = RESNETS[self.architecture][1]
        return [PublishedFile(name, f"{address}/{name}", name[-12:-4]) for name in names]

    def build(self, state: dict[str, Tensor] | None) -> PictureStream:
        from torchvision.models import get_model  # takes a second

        whole = get_model(self.architecture)
        if state is not None:
            whole.load_state_dict(state)
        net = nn.Sequential(*list(whole.children())[:-2])
        pool = nn.AdaptiveAvgPool2d(1) if self.n_patches == 1 else nn.AdaptiveMaxPool2d(4)
        prepare = partial(_prepared, stream=self.modality, flow_range=self.flow_range)
        return PictureStream(net, prepare, pool).to(memory_format=torch.channels_last)
