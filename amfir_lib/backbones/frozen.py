"""What the larger backbones share: a stream network, loaded once per process, as a frozen feature extractor."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from amfir_lib.errors import ShapeError

KINDS = {"rgb": (np.dtype(np.uint8), 3), "flow": (np.dtype(np.float32), 2)}  # type and channels of what is read
WEIGHTS = ("pretrained", "random")
PATCH_COUNTS = (1, 16)


class FrozenBackbone:
    """Base of ``ResNet`` and ``I3D``; they say what they are, and build their network.

    Attributes:
        name, modality, input_size, n_patches, dim, digest: as every backbone has them.
        dense_frames: frames that it wants of each clip; None for the T instants of the other stream.
        notes: sentences that belong under a table: random weights, leakage.
        leakage: the sentence about leakage alone, or "".
        device: where the network runs; not part of the digest.
        batch_clips: clips in the network at a time.
    """

    name: str
    modality: str
    input_size: int
    n_patches: int
    dim: int
    digest: str
    dense_frames: int | None = None
    notes: tuple[str, ...] = ()
    leakage: str = ""
    device: str = "cpu"
    batch_clips: int = 1

    def trainable(self) -> nn.Module:
        """A fresh network with these weights, from raw clips (B, F, S, S, C) to features (B, T, P, D)."""
        raise NotImplementedError

    @torch.inference_mode()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features of clips.

        Args:
            clips: uint8 (B, F, S, S, 3), or float32 flow (B, F, S, S, 2) in px per frame; F is T, or ``dense_frames``.
        Returns:
            float16 (B, T, P, D).
        Raises:
            ShapeError: clips of another shape or type.
        """
        kind, channels = KINDS[self.modality]
        frames = self.dense_frames or "T"
        wanted = (self.input_size, self.input_size, channels)
        fits = clips.ndim == 5 and clips.shape[2:] == wanted and clips.dtype == kind
        if not fits or clips.shape[1] != (self.dense_frames or clips.shape[1]):
            raise ShapeError(
                f"{self.name} for {self.modality} needs {kind} [B, {frames}, {', '.join(map(str, wanted))}]; "
                f"got {clips.dtype} {list(clips.shape)}."
            )
        network = _network(self.digest, _Hidden(self)).to(self.device)
        starts = range(0, len(clips), self.batch_clips)
        parts = [np.ascontiguousarray(clips[start : start + self.batch_clips]) for start in starts]
        return np.concatenate([network(torch.from_numpy(part).to(self.device)).half().cpu().numpy() for part in parts])


class _Hidden:
    """Carries the backbone past ``lru_cache``, whose key is the digest alone."""

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2)
def _network(digest: str, hidden: _Hidden) -> nn.Module:
    """The network with its weights, once per process: a backbone travels to the workers without it."""
    return hidden.backbone.trainable().eval().requires_grad_(False)
