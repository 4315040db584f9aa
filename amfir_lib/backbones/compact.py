"""``compact``: small residual nets for RGB frames and flow fields, the embedded stand-in for ResNet-50 and I3D.

Both streams share the architecture and differ in the number of input channels.  A frame of 64 px becomes a 4 x 4 map of
96 channels: 16 patches.  The weights come from ``backbones.training``.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.backbones.frozen import FrozenBackbone, PictureStream, normalised
from amfir_lib.storage import digest_of, digest_of_array, digest_of_code

INPUT_SIZE = 64
GRID = 4  # patches per side
DIM = 96
_WIDTHS = (24, 48, 96, DIM)
FLOW_SCALE = 4.0  # px per frame that become 1; the corpus moves at 0 to 8 px per frame
BLUR = 2  # times, of the motion features of real clips


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


def net_channels(stream: str) -> int:
    """Channels of what the net of a stream reads."""
    return 2 if stream == "flow" else 3


def normalise(clips: Tensor, stream: str) -> Tensor:
    """uint8 (..., S, S, 3), or flow (..., S, S, 2) in px per frame -> float32 (..., C, S, S)."""
    x = clips.movedim(-1, -3).float()
    return x / FLOW_SCALE if stream == "flow" else normalised(x / 255.0)


def blurred(features: Tensor, *, times: int) -> Tensor:
    """Features (B, T, ...) with neighbouring segments weighted 1 : 2 : 1, ``times`` times; ends are repeated.

    Two people do not reach the same point of an action at the same share of a clip: so a movement done a little earlier
    or later keeps its place in the sequence.  Chosen on base and validation classes of real depth clips, see
    ``real_clips_choice.csv`` beside this module; blurring the appearance stream gained nothing there.
    """
    for _ in range(times):
        before = torch.cat([features[:, :1], features[:, :-1]], dim=1)
        after = torch.cat([features[:, 1:], features[:, -1:]], dim=1)
        features = (before + 2 * features + after) / 4
    return features


class CompactBackbone(FrozenBackbone):
    """A trained ``CompactNet`` as a backbone, features of flow ``blur`` times blurred in time.

    The name of an adapted net ends with the beginning of its digest: each class fold has an adaptation of its own.
    """

    input_size, n_patches, dim, batch_clips = INPUT_SIZE, GRID * GRID, DIM, 32

    def __init__(
        self,
        modality: str,
        weights: Mapping[str, Tensor],
        *,
        blur: int = 0,
        name: str = "compact",
        notes: tuple[str, ...] = (),
    ) -> None:
        self.modality, self.notes, self.blur = modality, notes, blur if modality == "flow" else 0
        with torch.random.fork_rng(devices=[]):  # the initial weights are replaced, and draw from no one's generator
            self.net = CompactNet(net_channels(modality))
        self.net.load_state_dict(weights)
        self.net.eval()
        arrays = digest_of_array(*(weights[key].cpu().numpy() for key in sorted(weights)))
        self.digest = digest_of([modality, sorted(weights), arrays, self.blur, digest_of_code(sys.modules[__name__])])
        self.name = f"{name}-{self.digest[:8]}" if name == "compact_adapted" else name

    def network(self) -> PictureStream:
        return PictureStream(copy.deepcopy(self.net), partial(normalise, stream=self.modality), nn.Identity())

    def features(self, clips: np.ndarray) -> np.ndarray:
        features = super().features(clips)
        return blurred(torch.from_numpy(features).float(), times=self.blur).half().numpy() if self.blur else features
