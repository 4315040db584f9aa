"""Layers that several methods share: positions in time, mixers of a clip's frames, and dropout with a seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ENHANCERS = ("none", "fle", "transformer")
POSITION_SCALE = 0.1  # as in TRX and STRM
POSITION_BASE = 10000.0  # of the sinusoids, as in the Transformer


def sinusoidal_positions(frames: Tensor) -> Tensor:
    """Sinusoidal position code for (..., T, d) frames: (T, d), on the same device and of the same type."""
    n_frames, width = frames.shape[-2:]
    position = torch.arange(n_frames, device=frames.device, dtype=frames.dtype)[:, None]
    channel = torch.arange(width, device=frames.device)
    angle = position / POSITION_BASE ** ((channel // 2 * 2).to(frames.dtype) / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def with_positions(frames: Tensor) -> Tensor:
    """(..., T, d) frames with a tenth of their position code."""
    return frames + POSITION_SCALE * sinusoidal_positions(frames)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers from each width to the next, with ReLU between them."""
    layers: list[nn.Module] = []
    for width, following in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class FrameLevelEnrichment(nn.Module):
    """Mixer of STRM: x + MLP over the T frames, then x + MLP over the d channels.  (B, T, d) -> (B, T, d)."""

    def __init__(self, width: int, n_segments: int, dropout: nn.Module | None = None) -> None:
        super().__init__()
        self.over_time, self.over_channels = mlp(n_segments, n_segments, n_segments), mlp(width, width, width)
        self.dropout = dropout or nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        frames = self.dropout(with_positions(frames))
        frames = frames + self.over_time(frames.transpose(-1, -2)).transpose(-1, -2)
        return frames + self.over_channels(frames)


class TemporalTransformer(nn.Module):
    """One pre-norm block: single-head attention over time, then an MLP, both residual.  (B, T, d) -> (B, T, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)  # a bias on keys would have no gradient
        self.out, self.mlp = nn.Linear(width, width), mlp(width, width, width)

    def forward(self, frames: Tensor) -> Tensor:
        frames = with_positions(frames)
        query, key, value = self.query_key_value(self.attention_norm(frames)).chunk(3, dim=-1)
        attention = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)  # (B, T, T)
        frames = frames + self.out(attention @ value)
        return frames + self.mlp(self.mlp_norm(frames))


def build_enhancer(name: str, *, width: int, n_segments: int) -> nn.Module:
    """How the frames of a clip inform each other, one of ENHANCERS; the paper defines none (decision B4)."""
    if name == "fle":
        return FrameLevelEnrichment(width, n_segments)
    return TemporalTransformer(width) if name == "transformer" else nn.Identity()


class SeededDropout(nn.Module):
    """Dropout whose n-th mask follows from its seed and n alone; the global generator is not touched.

    The number of masks drawn is part of the state, so a resumed training draws the masks that it would have drawn.
    Masks are drawn on the CPU: all devices get the same.
    """

    def __init__(self, rate: float, *, seed: int) -> None:
        super().__init__()
        self.rate, self.seed = rate, seed
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return values
        generator = torch.Generator().manual_seed(self.seed + int(self.draws))
        self.draws += 1
        scale = torch.tensor(1 / (1 - self.rate), dtype=values.dtype, device=values.device)
        return values * (_kept(values.shape, 1 - self.rate, generator).to(values.device) * scale)


def _kept(shape: torch.Size, share: float, generator: torch.Generator) -> Tensor:
    """Bool tensor on the CPU, true with probability ``share``, to 1 / 65,536.

    Four values come from 64 random bits: three times faster than a random number for each.
    """
    n_values = shape.numel()
    words = torch.empty(-(-n_values // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return (words.view(torch.int16)[:n_values] < round(share * 2**16) - 2**15).view(shape)
