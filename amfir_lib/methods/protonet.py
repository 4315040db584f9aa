"""Prototype network on one modality (Snell et al. 2017; rows ProtoNet and ProtoNet-F of Table 1)."""

from __future__ import annotations

from torch import Tensor

from amfir_lib.methods.base import EpisodeOutput, accuracy
from amfir_lib.methods.heads import StreamMethod
from amfir_lib.readings import Evidence


class ProtoNet(StreamMethod):
    """One head, nearest prototype, cross-entropy."""

    def join(self, evidence: dict[str, Evidence]) -> EpisodeOutput:
        ((modality, stream),) = evidence.items()
        return EpisodeOutput(stream.log_posterior, distances={modality: stream.distances}, evidence=evidence)

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total, terms = self.supervise(output.evidence, target)
        return total, {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target), **terms}
