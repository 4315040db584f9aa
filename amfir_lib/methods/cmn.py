"""CMN (Zhu & Yang 2018): the multi-saliency embedding of a clip, before a prototype network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.distances import distances
from amfir_lib.methods.base import EpisodeOutput, Features, choice, number
from amfir_lib.methods.front import DistanceOptions, UnimodalMethod, unit_vectors

HIDDEN_SD = 0.1  # tells the hidden states apart, small beside the frames (sd about 0.6), so that p - H keeps the frame
HIDDEN_CONSTANT = 1e-8  # of the public re-implementation


@dataclass(frozen=True)
class CmnOptions(DistanceOptions):
    """Options of the front, where ``scaled`` divides the squared distance by the width, and of the embedding."""

    n_saliency: int = number(8, low=1)  # hidden states, h
    hidden_init: str = choice("normal", ("normal", "constant"))  # under "constant" all states stay equal
    logit_scale: float = number(1.0, low=0, above=True)  # sums of h unit vectors lie h times apart: 1 is sharp enough


class Cmn(UnimodalMethod):
    """Frames p_i are shared out among h hidden states H_j; each state keeps what its frames differ from it by.

    a = softmax over j of p_i . H_j / sqrt(d);  u_j = sum_i a_ij (p_i - H_j), with length 1;  the clip is
    Linear(h * d, d) of all u_j, which begins as their sum.  Then class means and squared Euclidean distance.

    The order of the frames is not used.  There is no official code; this follows the public re-implementation
    (FSL-Video), which leaves out the key-value memory with its abstract slots, with these deviations:

    * its hidden states begin as one constant; nothing tells equal states apart, so their gradients are equal and they
      stay equal for ever (a test shows it): here they begin as small normal numbers;
    * front and temperature; distances are divided by d, because those between sums of h unit vectors, up to 4 h^2,
      saturate the posterior.
    """

    def __init__(self, dims: Mapping[str, int], options: CmnOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options, generator=generator)
        h, width = options.n_saliency, self.width
        with self.initialise("saliency"):
            start = HIDDEN_SD * torch.randn(h, width)
            self.hidden = nn.Parameter(start if options.hidden_init == "normal" else start.fill_(HIDDEN_CONSTANT))
            self.out = nn.Linear(h * width, width)
        with torch.no_grad():
            self.out.weight.copy_(torch.eye(width).repeat(1, h))
            self.out.bias.zero_()

    def embed(self, clips: Features) -> dict[str, Tensor]:
        frames = self.frames(clips)  # (B, T, d)
        share = (frames @ self.hidden.T / self.width**0.5).softmax(-1)  # (B, T, h)
        salient = share.transpose(1, 2) @ frames - share.sum(1).unsqueeze(-1) * self.hidden  # (B, h, d)
        return {self.modality: self.out(unit_vectors(salient).flatten(1))}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        prototypes, queries = support[self.modality].mean(2), query[self.modality]  # (E, N, d), (E, M, d)
        return self.answer(distances(queries, prototypes, metric="sqeuclidean", scaled=self.options.scaled))
