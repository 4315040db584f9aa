"""``compact_blurred``: the compact motion net with its features blurred in time, for real clips.

Two people do not reach the same point of an action at the same share of a clip.  Neighbouring segments are weighted
1 : 2 : 1, so that a movement done a little earlier or later keeps its place in the sequence.  Chosen on base and
validation classes of real depth clips, see ``real_clips_choice.csv`` beside this module; blurring the appearance
stream gained nothing there, so that stream is left as it is.
"""

from __future__ import annotations

import sys

import numpy as np
from torch import Tensor

from amfir_lib.backbones.compact import CompactBackbone
from amfir_lib.storage import digest_of, digest_of_code

NAME = "compact_blurred"
TIMES = 2


class BlurredBackbone(CompactBackbone):
    """A ``CompactNet`` whose features are blurred in time; attributes as those of ``CompactBackbone``.

    Args:
        modality: stream that it reads; only ``flow`` is blurred.
        weights: of the net.
        times: how often, see ``blurred``.
    """

    name = NAME

    def __init__(self, modality: str, weights: dict[str, Tensor], *, times: int = TIMES) -> None:
        super().__init__(modality, weights)
        self.times = times if modality == "flow" else 0
        self.digest = digest_of([self.digest, self.times, digest_of_code(sys.modules[__name__])])

    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features of whole clips, (B, T, S, S, C) -> float16 (B, T, P, D)."""
        values = super().features(clips)
        return blurred(values.astype(np.float32), times=self.times).astype(np.float16)


def blurred(features: np.ndarray, *, times: int) -> np.ndarray:
    """Features (B, T, ...) with neighbouring segments weighted 1 : 2 : 1, ``times`` times; ends are repeated."""
    for _ in range(times):
        before = np.concatenate([features[:, :1], features[:, :-1]], axis=1)
        after = np.concatenate([features[:, 1:], features[:, -1:]], axis=1)
        features = (before + 2 * features + after) / 4
    return features
