"""Two backbones that read the same stream, as one: their features side by side.

``efficientnet_adapted`` for the appearance of real clips: what ImageNet taught EfficientNet about pictures, and what
the base classes taught the compact net about this sensor.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from amfir_lib.errors import BadParameter
from amfir_lib.storage import digest_of, digest_of_code

NAME = "efficientnet_adapted"


class JointBackbone:
    """The features of several backbones of one stream, patch beside patch.

    The mean over the patches of a frame has length 1 times the square root of all widths, for each backbone; so none
    outweighs another by its width or its units.  Attributes as those of its parts.

    Args:
        parts: backbones of the same stream, on the same grid of patches; the largest input size is read, and shrunk for
            the others.
        name: of the whole; the digest of the parts is added, because adapted parts belong to one class fold.
    Raises:
        BadParameter: the parts read different streams, or divide the picture differently.
    """

    def __init__(self, parts: Sequence[Any], *, name: str = NAME) -> None:
        streams = {part.modality for part in parts}
        if len(streams) != 1:
            raise BadParameter(f"The parts of {name} read {', '.join(sorted(streams))}. Join backbones of one stream.")
        if len(grids := {part.n_patches for part in parts}) != 1:
            raise BadParameter(f"The parts of {name} have {grids} patches a frame. Open them with the same n_patches.")
        self.parts, self.modality, self.n_patches = tuple(parts), streams.pop(), grids.pop()
        self.input_size = max(part.input_size for part in parts)
        self.dim = sum(part.dim for part in parts)
        self.digest = digest_of([[part.digest for part in parts], digest_of_code(sys.modules[__name__])])
        self.name = f"{name}-{self.digest[:8]}"
        self.notes = tuple(note for part in parts for note in getattr(part, "notes", ()))

    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features of whole clips, (B, T, S, S, C) -> float16 (B, T, P, D)."""
        joined = []
        for part in self.parts:
            values = part.features(_shrunk(clips, part.input_size)).astype(np.float32)
            length = np.linalg.norm(values.mean(2, keepdims=True), axis=-1, keepdims=True)
            joined.append(values / np.maximum(length, np.finfo(np.float32).tiny))
        return (np.concatenate(joined, axis=-1) * np.sqrt(self.dim)).astype(np.float16)


def _shrunk(clips: np.ndarray, size: int) -> np.ndarray:
    """Clips (B, T, S, S, C) at a smaller side, averaging areas; the same clips where the side is right."""
    if clips.shape[2] == size:
        return clips
    frames = clips.reshape(-1, *clips.shape[2:])
    small = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])
    return small.reshape(*clips.shape[:2], size, size, clips.shape[-1])
