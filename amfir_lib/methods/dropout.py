"""Dropout from a seed of its own, so that a resumed training continues exactly and no global generator is touched."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amfir_lib.errors import BadParameter


class SeededDropout(nn.Module):
    """Sets a share of the values to zero in training and scales the others by 1 / (1 - share).

    The masks come from (seed, number of calls so far), drawn on the CPU: they are the same on every device.  The number
    is a buffer, so checkpoints hold it.

    Args:
        share: of values that are set to zero, in [0, 1).
        seed: of the masks.
    Raises:
        BadParameter: a share outside [0, 1).
    """

    def __init__(self, share: float, *, seed: int) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise BadParameter(f"dropout is {share} but must be at least 0 and below 1. Lower it.")
        self.share, self.seed = share, seed
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape -> the same shape; unchanged in evaluation."""
        if not self.training or self.share == 0:
            return values
        generator = torch.Generator().manual_seed(self.seed + int(self.draws))
        self.draws += 1
        kept = torch.rand(values.shape, generator=generator) >= self.share
        return values * (kept.to(values.device, values.dtype) / (1 - self.share))
