"""Dropout that draws from its own seed, so that training is reproducible and resumes exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """Dropout whose n-th mask follows from its seed and n alone; the global generator is not touched.

    The number of masks drawn is part of the state, so a resumed training draws the masks that it would have drawn.
    Masks are drawn on the CPU: all devices get the same.

    Args:
        rate: share of values that are set to zero in training; the others are divided by 1 - rate.
        seed: of the masks.
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
        kept = torch.rand(values.shape, generator=generator) >= self.rate
        return values * (kept.to(values) / (1 - self.rate))
