"""Untrained weights in the names and formats in which the real ones are published."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from amfir_lib.backbones.i3d import Inception3D
from amfir_lib.backbones.weights import PublishedFile
from amfir_lib.methods.base import seeded_init


def public_i3d_state(channels: int = 2, n_classes: int = 400, *, counters: bool = False) -> OrderedDict[str, Tensor]:
    """A state dict of I3D in the public naming: all blocks, then the class scores.  Old files have no counters."""
    with seeded_init(0, "i3d"):
        net = Inception3D(channels)
        for module in net.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    state = OrderedDict((n, v.clone()) for n, v in net.state_dict().items() if counters or "batches" not in n)
    state["logits.conv3d.weight"] = torch.zeros(n_classes, 1024, 1, 1, 1)
    state["logits.conv3d.bias"] = torch.zeros(n_classes)
    return state


def publish(state: dict[str, Tensor], folder: Path, stem: str, url: str = "https://example.org") -> PublishedFile:
    """Save a state dict under a name with the beginning of its digest, as torchvision does."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / stem)
    digest = hashlib.sha256((folder / stem).read_bytes()).hexdigest()[:8]
    file = PublishedFile(f"{stem}-{digest}.pth", f"{url}/{stem}-{digest}.pth", digest)
    (folder / stem).rename(folder / file.name)
    return file
