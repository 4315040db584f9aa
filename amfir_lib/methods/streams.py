"""Methods that are one head per modality: what ProtoNet, late fusion and AMFIR share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from amfir_lib.fusion import certainty
from amfir_lib.methods.base import EpisodeOutput, Features, Method, accuracy, cross_entropy, draw_seed, seeded_init
from amfir_lib.methods.head import HeadOptions, ModalityHead
from amfir_lib.readings import NEED_VECTORS, Evidence, centred, helmholtz

MOST_RELATED_CLIPS = 5000  # whose inner products take 200 MB


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

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        return self.join(self.evidence(support, query))

    def join(self, evidence: dict[str, Evidence]) -> EpisodeOutput:
        """What the method says, given what each modality says on its own."""
        raise NotImplementedError

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        """Inner products of all pairs of clips, which are few, where they say enough; else the embeddings."""
        if not self._by_products(embeddings):
            return embeddings
        return {m: head.relate(embeddings[m]) for m, head in self.heads.items()}

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> EpisodeOutput:
        if not self._by_products(clips):
            return super().compare_among(clips, support, query)
        return self.join({m: head.compare_among(clips[m], support, query) for m, head in self.heads.items()})

    def _by_products(self, clips: dict[str, Tensor]) -> bool:
        few = all(len(x) <= MOST_RELATED_CLIPS for x in clips.values())
        needs_vectors = getattr(self.options, "score", None) in NEED_VECTORS
        return few and not needs_vectors and all(head.needs_only_products for head in self.heads.values())

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
