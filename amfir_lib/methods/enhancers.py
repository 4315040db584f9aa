"""Temporal enhancers: how the frames of one clip inform each other (the paper's "enhanced frame-level features")."""

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


def mlp(width: int) -> nn.Sequential:
    """Linear - ReLU - Linear of one width."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


class FrameLevelEnrichment(nn.Module):
    """Mixer of STRM: x + MLP over time, then x + MLP over channels.  (B, T, d) -> (B, T, d).

    Args:
        width: d.
        n_segments: T.
        dropout: of the frames after positions are added; None for none.
    """

    def __init__(self, width: int, n_segments: int, dropout: nn.Module | None = None) -> None:
        super().__init__()
        self.over_time, self.over_channels = mlp(n_segments), mlp(width)
        self.dropout = dropout or nn.Identity()

    def forward(self, frames: Tensor) -> Tensor:
        frames = self.dropout(frames + POSITION_SCALE * sinusoidal_positions(frames))
        frames = frames + self.over_time(frames.transpose(-1, -2)).transpose(-1, -2)
        return frames + self.over_channels(frames)


class TemporalTransformer(nn.Module):
    """One pre-norm block: single-head attention over time, then an MLP, both residual.  (B, T, d) -> (B, T, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)  # a bias on keys would have no gradient
        self.out, self.mlp = nn.Linear(width, width), mlp(width)

    def forward(self, frames: Tensor) -> Tensor:
        frames = frames + POSITION_SCALE * sinusoidal_positions(frames)
        query, key, value = self.query_key_value(self.attention_norm(frames)).chunk(3, dim=-1)
        attention = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)  # (B, T, T)
        frames = frames + self.out(attention @ value)
        return frames + self.mlp(self.mlp_norm(frames))


def build_enhancer(name: str, *, width: int, n_segments: int) -> nn.Module:
    """The enhancer of that name, one of ENHANCERS; "none" passes frames through."""
    if name == "fle":
        return FrameLevelEnrichment(width, n_segments)
    return TemporalTransformer(width) if name == "transformer" else nn.Identity()
