"""Methods that are one head per modality: what ProtoNet, late fusion and AMFIR share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from amfir_lib.fusion import certainty
from amfir_lib.methods.base import Features, Method, accuracy, cross_entropy, draw_seed, seeded_init
from amfir_lib.methods.head import HeadOptions, ModalityHead
from amfir_lib.readings import Evidence, centred, helmholtz


class StreamMethod(Method):
    """One ``ModalityHead`` for each modality, without interaction before ``compare``.

    Equal generators give equal heads in all such methods, so a difference between two of them comes from training.

    Args:
        dims: modality -> feature width D.
        options: of the heads.
        generator: the only source of initial weights.
    """

    def __init__(self, dims: Mapping[str, int], options: HeadOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options)
        seed = draw_seed(generator)
        self.heads = nn.ModuleDict()
        for m, dim in self.dims.items():
            with seeded_init(seed, m):
                self.heads[m] = ModalityHead(dim, options)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        self.check_features(clips, n_axes=4, role="clip")
        return {m: head.embed(clips[m]) for m, head in self.heads.items()}

    def evidence(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> dict[str, Evidence]:
        """Posterior and distances of each modality on its own."""
        return {m: head.compare(support[m], query[m]) for m, head in self.heads.items()}

    def supervise(self, evidence: dict[str, Evidence], target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over modalities of the cross-entropy (Eq. 9 without distillation), and each modality's terms to log.

        Args:
            evidence: of each modality.
            target: (E, M) int64.
        Returns:
            Scalar loss; detached scalars ``ce_m``, ``accuracy_m``, ``certainty_m``, ``free_energy_m`` (always the
            centred reading), ``helmholtz_m`` and ``logit_scale_m`` for each modality m.
        """
        total, terms = target.new_zeros((), dtype=next(iter(evidence.values())).log_posterior.dtype), {}
        for m, own in evidence.items():
            loss = cross_entropy(own.log_posterior, target, ce_reduction=self.options.ce_reduction)
            total = total + loss
            terms[f"ce_{m}"] = loss.detach()
            terms[f"accuracy_{m}"] = accuracy(own.log_posterior, target)
            with torch.no_grad():
                terms[f"certainty_{m}"] = certainty(own.log_posterior).mean()
                terms[f"free_energy_{m}"] = centred(own).mean()
                terms[f"helmholtz_{m}"] = helmholtz(own).mean()
                terms[f"logit_scale_{m}"] = torch.as_tensor(own.logit_scale).detach().clone()
        return total, terms
