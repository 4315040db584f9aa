"""What Matching Net, CMN, OTAM and TRX share: frames of one modality, an answer from distances, and the loss."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from amfir_lib.distances import COSINE_EPSILON
from amfir_lib.fusion import certainty
from amfir_lib.inference import log_posterior
from amfir_lib.methods.base import EpisodeOutput, Features, accuracy, cross_entropy, seeded_init
from amfir_lib.methods.unimodal import UnimodalMethod


class FrameMethod(UnimodalMethod):
    """LayerNorm over D, Linear(D, d), mean over patches; then what the method adds, and cross-entropy.

    The published heads read a backbone that is trained with them.  Here the features are frozen, so LayerNorm and
    Linear, the same as in the study's own heads, give each method something to train, and each has a trainable
    temperature as they have: declared deviations.  Under one generator the front begins with the weights that a
    ``ModalityHead`` of the same width has.

    Args:
        dims, options, generator: see ``UnimodalMethod``.
    """

    def initialise(self, part: str) -> AbstractContextManager[None]:
        """Inside the block, modules of that part begin with weights of their own, whatever else the method holds."""
        return seeded_init(self.seed, f"{self.modality}/{part}")

    def frames(self, clips: Features) -> Tensor:
        """(B, T, P, D) of the modality, of any float type -> (B, T, d) projected frames."""
        return self.tokens(clips).mean(2)

    def answer(self, distance: Tensor) -> EpisodeOutput:
        """(E, M, N) distances of the queries to the classes -> posterior, with the distances times the logit scale."""
        psi = distance * self.log_scale.exp()
        return EpisodeOutput(log_posterior(psi), distances={self.modality: psi})

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        m, own = self.modality, output.log_posterior
        loss = cross_entropy(own, target, ce_reduction=self.options.ce_reduction)
        right = accuracy(own, target)
        terms = {"loss": loss.detach(), "accuracy": right, f"ce_{m}": loss.detach(), f"accuracy_{m}": right}
        with torch.no_grad():
            terms[f"certainty_{m}"] = certainty(own).mean()
            terms[f"free_energy_{m}"] = own.mean()
            terms[f"logit_scale_{m}"] = self.log_scale.exp()
        return loss, terms


def unit_vectors(vectors: Tensor) -> Tensor:
    """(..., d) -> the same directions with length 1; zero stays zero."""
    return vectors * (vectors.square().sum(-1, keepdim=True) + COSINE_EPSILON).rsqrt()
