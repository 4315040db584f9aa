"""``compact``: small residual nets for RGB frames and flow fields, the embedded stand-in for ResNet-50 and I3D.

Both streams share the architecture and differ in the number of input channels.  A frame of 64 px becomes a 4 x 4 map of
96 channels: 16 patches.  The weights come from ``backbones.pretraining``.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.storage import digest_of, digest_of_array, digest_of_code

INPUT_SIZE = 64
GRID = 4  # patches per side
DIM = 96
_WIDTHS = (24, 48, 96, DIM)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOW_SCALE = 4.0  # px per frame that become 1; the corpus moves at 0 to 8 px per frame


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; halves the side."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class CompactNet(nn.Module):
    """(B, C, 64, 64) -> (B, 96, 4, 4); C is 3 for RGB and 2 for flow."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, _WIDTHS[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(_WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.Sequential(*(Residual(a, b) for a, b in zip(_WIDTHS, _WIDTHS[1:], strict=False)))
        self.to(memory_format=torch.channels_last)  # a third faster on CPUs than the default layout

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x.contiguous(memory_format=torch.channels_last)))


def normalise(clips: np.ndarray, modality: str) -> Tensor:
    """Frames or flow fields as the network wants them.

    Args:
        clips: uint8 (..., S, S, 3) RGB, or float (..., S, S, 2) flow in pixels per frame.
        modality: ``flow``, or an appearance stream (``rgb``, ``depth``).
    Returns:
        float32 (..., C, S, S); RGB by the ImageNet mean and deviation, flow in units of ``FLOW_SCALE``.
    """
    x = torch.from_numpy(np.ascontiguousarray(clips)).movedim(-1, -3).float()
    if modality == "flow":
        return x / FLOW_SCALE
    return (x / 255.0 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


class CompactBackbone:
    """A trained ``CompactNet`` as a feature extractor.

    Attributes:
        name: ``compact``.
        modality: stream that it reads.
        input_size: side of its input in pixels.
        n_patches: 16.
        dim: 96.
        digest: of the weights and of this module, which says how they are used.
    """

    name = "compact"
    input_size = INPUT_SIZE
    n_patches = GRID * GRID
    dim = DIM

    def __init__(self, modality: str, weights: dict[str, Tensor], *, batch_size: int = 256) -> None:
        self.modality = modality
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced, and draw from no one's generator
            self.net = CompactNet(2 if modality == "flow" else 3)
        self.net.load_state_dict(weights)
        self.net.eval()
        self.batch_size = batch_size
        arrays = digest_of_array(*(weights[key].cpu().numpy() for key in sorted(weights)))
        self.digest = digest_of([sorted(weights), arrays, digest_of_code(sys.modules[__name__])])

    @torch.inference_mode()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features of clips.

        Args:
            clips: (B, T, S, S, C), see ``normalise``.
        Returns:
            float16 (B, T, P, D).
        """
        frames = normalise(clips.reshape(-1, *clips.shape[2:]), self.modality)
        maps = torch.cat([self.net(part) for part in frames.split(self.batch_size)])  # (B T, D, 4, 4)
        return maps.flatten(2).mT.reshape(*clips.shape[:2], self.n_patches, self.dim).half().numpy()
