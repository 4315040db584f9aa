"""Inception-3D: the network of Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017.

Inception-v1 with all filters inflated to three dimensions.  Modules carry the names of the end points, and the branches
of a block the names b0, b1a, b1b, b2a, b2b, b3b, so that the public PyTorch state dicts load unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM = 1024
TIME_STRIDE = 8  # frames per output: the stem and two of the poolings halve time
BN_EPS = 1e-3  # with which the public weights were trained
# end point -> widths of: 1x1x1 | reduction, 3x3x3 | reduction, 3x3x3 | 1x1x1 after pooling
BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def pad_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Pad with zeros as TensorFlow's "SAME": ceil(size / stride) outputs, the odd zero behind.

    Unlike the padding of PyTorch's layers it depends on the size of the input, and differs between the two ends.

    Args:
        x: (B, C, T, H, W).
        kernel, stride: of the layer that follows, in T, H, W.
    Returns:
        (B, C, T', H', W').
    """
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
        self.n_out = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class Inception3D(nn.Module):
    """(B, C, N, S, S) -> (B, 1024, ceil(N / 8), ceil(S / 32), ceil(S / 32)): the last block, not pooled, no classes.

    Args:
        channels: 3 for RGB, 2 for flow; both in -1 .. 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit3D(channels, 64, 7, stride=2),
            "MaxPool3d_2a_3x3": MaxPool3D((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit3D(64, 64, 1),
            "Conv3d_2c_3x3": Unit3D(64, 192, 3),
            "MaxPool3d_3a_3x3": MaxPool3D((1, 3, 3), (1, 2, 2)),
        }
        width = 192
        for name, widths in BLOCKS.items():
            if name == "Mixed_4b":
                stages["MaxPool3d_4a_3x3"] = MaxPool3D((3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                stages["MaxPool3d_5a_2x2"] = MaxPool3D((2, 2, 2), (2, 2, 2))
            stages[name] = block = InceptionBlock(width, widths)
            width = block.n_out
        self.stages = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x
