"""Late fusion (row LF): unimodal prototype networks that never see each other until their answers are joined."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amfir_lib.methods.base import EpisodeOutput, accuracy
from amfir_lib.methods.head import HeadOptions
from amfir_lib.methods.options import choice
from amfir_lib.methods.streams import StreamMethod


@dataclass(frozen=True)
class LateFusionOptions(HeadOptions):
    """Options of the heads, and ``late_fusion``: "posterior_mean", or "logit_sum" with equal weights of 1."""

    late_fusion: str = choice("posterior_mean", ("posterior_mean", "logit_sum"))


class LateFusion(StreamMethod):
    """Two prototype networks, fused by the mean of their posteriors.

    The loss is the sum of their cross-entropies, so each head gets exactly the gradient that it gets alone: training
    both at once equals training them apart, as long as the optimiser does not couple them (a gradient norm clipped
    over all parameters would).
    """

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        evidence = self.evidence(support, query)
        log_posteriors = {m: own.log_posterior for m, own in evidence.items()}
        scaled = {m: own.distances for m, own in evidence.items()}
        if self.options.late_fusion == "logit_sum":
            fused = torch.log_softmax(-sum(scaled.values()), dim=-1)
        else:
            fused = torch.stack(list(log_posteriors.values())).logsumexp(0) - math.log(len(log_posteriors))
        return EpisodeOutput(fused, log_posteriors, scaled, evidence)

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total, terms = self.supervise(output.evidence, target)
        return total, {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target), **terms}
