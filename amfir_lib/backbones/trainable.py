"""Backbones as modules that learn: raw clips in, features out, gradients through."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from amfir_lib.backbones.compact import DIM, FLOW_SCALE, IMAGENET_MEAN, IMAGENET_STD, CompactBackbone, CompactNet
from amfir_lib.errors import BackboneUnavailable

TRAINABLE = ("compact", "resnet18", "resnet50", "i3d")


def only_frozen(name: str) -> BackboneUnavailable:
    """The refusal of a backbone that cannot be trained, ready to be raised."""
    return BackboneUnavailable(
        f"{name} is only used frozen. Train end to end with {', '.join(TRAINABLE)}, or two of them as "
        "appearance+motion: -p backbone=resnet18."
    )


class CompactStream(nn.Module):
    """``CompactNet`` on raw clips: uint8 (B, T, S, S, 3), or float flow (B, T, S, S, 2), to (B, T, 16, 96)."""

    def __init__(self, net: CompactNet, modality: str) -> None:
        super().__init__()
        self.net, self.modality = net, modality

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.flatten(0, 1).movedim(-1, 1).float()  # (B T, C, S, S)
        if self.modality == "flow":
            x = x / FLOW_SCALE
        else:
            mean, std = (x.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
            x = (x / 255.0 - mean) / std
        return self.net(x).flatten(2).mT.unflatten(0, clips.shape[:2]).reshape(*clips.shape[:2], -1, DIM)


def trainable_stream(backbone: Any) -> nn.Module:
    """A fresh module with a backbone's weights.

    Raises:
        BackboneUnavailable: this backbone is only used frozen.
    """
    if type(backbone) is CompactBackbone:  # those made of it do more than its net, which training would leave out
        return CompactStream(copy.deepcopy(backbone.net), backbone.modality).requires_grad_(True)
    if not hasattr(backbone, "trainable"):
        raise only_frozen(backbone.name)
    return backbone.trainable()


def _batch_norms(module: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    return (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep the statistics, scales and shifts of all batch norms as they are; call it after each ``train()``."""
    for norm in _batch_norms(module):
        norm.eval().requires_grad_(False)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Forward passes inside the block leave the running statistics of batch norms unchanged."""
    norms = list(_batch_norms(module))
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
