"""Prototype networks (Snell et al. 2017; rows ProtoNet and ProtoNet-F of Table 1): a head for each modality.

The head leads from features to prototypes and distances.  ProtoNet is one of them; AMFIR joins two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.distances import METRICS, METRICS_ABOUT_THE_MEAN, distances, distances_from_products, inner_products
from amfir_lib.errors import ShapeError
from amfir_lib.fusion import certainty
from amfir_lib.inference import log_posterior
from amfir_lib.methods.base import (
    EpisodeOutput,
    Features,
    Method,
    accuracy,
    choice,
    cross_entropy,
    detached,
    draw_seed,
    number,
    seeded_init,
)
from amfir_lib.methods.front import DistanceOptions, add_front
from amfir_lib.methods.layers import ENHANCERS, build_enhancer, with_positions
from amfir_lib.readings import NEED_VECTORS, Evidence, centred, helmholtz

MOST_RELATED_CLIPS = 5000  # whose inner products take 200 MB


@dataclass(frozen=True)
class HeadOptions(DistanceOptions):
    """Options of the front, where ``scaled`` divides distances by the root of the vector's width, and of the head."""

    enhancer: str = choice("none", ENHANCERS)  # relates the frames of one clip; "fle" mixes over time and channels
    n_segments: int = number(8, low=1)  # T, which the "fle" mixer must know
    pooling: str = choice("time", ("mean", "time"))  # "time" keeps the T positions as one vector of T * d
    prototype: str = choice("mean", ("mean", "trx"))  # of the class's supports, or built for each query by attention
    metric: str = choice("euclidean", METRICS)


class ModalityHead(nn.Module):
    """LayerNorm over D, mean over patches, Linear(D, d), [enhancer], then a video vector."""

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.options = options
        width = add_front(self, dim, options)
        self.enhancer = build_enhancer(options.enhancer, width=width, n_segments=options.n_segments)
        if options.prototype == "trx":
            self.key = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
            self.value = nn.Linear(width, width)

    def embed(self, clips: Tensor) -> Tensor:
        """(B, T, P, D) features of any float type -> (B, d') video vectors, d' = d or T * d.

        With TRX prototypes (B, 2, T, d), keys and values of the frames.
        """
        options = self.options
        if options.enhancer == "fle" and clips.shape[1] != options.n_segments:
            raise ShapeError(
                f"clips have T = {clips.shape[1]} segments but the fle enhancer was built for {options.n_segments}. "
                f"Set n_segments to {clips.shape[1]}."
            )
        frames = self.norm(clips.to(self.log_scale.dtype)).mean(2)  # (B, T, D)
        frames = self.enhancer(self.projection(frames))  # (B, T, d)
        if options.prototype == "trx":
            frames = with_positions(frames)
            return torch.stack((self.key(frames), self.value(frames)), dim=1)
        return self._pool(frames)

    def compare(self, support: Tensor, query: Tensor) -> Evidence:
        """Posterior and distances of (E, M, ...) queries to the classes of (E, N, K, ...) supports (Eq. 2)."""
        if self.options.prototype == "trx":
            prototypes = self._pool(attend(query, support))  # (E, M, N, d')
            support, query = self._pool(support[..., 1, :, :]), self._pool(query[..., 1, :, :])
        else:
            prototypes = support.mean(2)  # (E, N, d')
        psi = distances(query, prototypes, metric=self.options.metric, scaled=self.options.scaled)
        return self._evidence(psi, query=query, support=support)

    def compare_among(self, products: Tensor, support: Tensor, query: Tensor) -> Evidence:
        """``compare`` of clips at (E, N, K) and (E, M) places, from the (n, n) inner products of their vectors."""
        psi = distances_from_products(products, support, query, metric=self.options.metric)
        return self._evidence(psi.to(self.log_scale.dtype))

    def _evidence(self, distance: Tensor, **vectors: Tensor) -> Evidence:
        """From distances before the logit scale."""
        logit_scale = self.log_scale.exp()
        psi, options = distance * logit_scale, self.options
        return Evidence(
            log_posterior(psi), psi, logit_scale=logit_scale, metric=options.metric, scaled=options.scaled, **vectors
        )

    def _pool(self, frames: Tensor) -> Tensor:
        """(..., T, d) -> (..., d) or (..., T * d)."""
        return frames.mean(-2) if self.options.pooling == "mean" else frames.flatten(-2)


def attend(query: Tensor, support: Tensor) -> Tensor:
    """Query-specific prototypes as in TRX, with single frames for tuples.

    Each query frame attends to all frames of a class jointly: softmax over K * T of key . key / sqrt(d), applied to
    the values.  (E, M, 2, T, d) and (E, N, K, 2, T, d) keys and values -> (E, M, N, T, d) prototypes.
    """
    keys, values = support[:, :, :, 0].flatten(2, 3), support[:, :, :, 1].flatten(2, 3)  # (E, N, K * T, d)
    scores = torch.einsum("emtd,ensd->emnts", query[:, :, 0], keys) / keys.shape[-1] ** 0.5
    return torch.einsum("emnts,ensd->emntd", scores.softmax(-1), values)


class StreamMethod(Method):
    """One ``ModalityHead`` for each modality, without interaction before ``join``: ProtoNet and AMFIR.

    Equal generators give equal heads in all such methods, so a difference between two of them comes from training.
    """

    def __init__(self, dims: Mapping[str, int], options: HeadOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options)
        seed = draw_seed(generator)
        self.heads = nn.ModuleDict()
        for m, dim in self.dims.items():
            with seeded_init(seed, m):
                self.heads[m] = ModalityHead(dim, options)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        self.check_features(clips)
        return {m: head.embed(clips[m]) for m, head in self.heads.items()}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        evidence = {}
        for m, head in self.heads.items():
            evidence[m] = head.compare(support[m], query[m])
        return self.join(evidence)

    def join(self, evidence: dict[str, Evidence]) -> EpisodeOutput:
        """What the method says, given what each modality says alone."""
        raise NotImplementedError

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        """Inner products of all pairs of clips, which are few, where they say enough; else the embeddings."""
        if not self._by_products(embeddings):
            return embeddings
        return {m: inner_products(vectors, scaled=self.options.scaled) for m, vectors in embeddings.items()}

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> EpisodeOutput:
        if not self._by_products(clips):
            return super().compare_among(clips, support, query)
        return self.join({m: head.compare_among(clips[m], support, query) for m, head in self.heads.items()})

    def _by_products(self, clips: dict[str, Tensor]) -> bool:
        options, few = self.options, all(len(x) <= MOST_RELATED_CLIPS for x in clips.values())
        needs_vectors = options.prototype != "mean" or getattr(options, "score", None) in NEED_VECTORS
        return few and not needs_vectors and options.metric in METRICS_ABOUT_THE_MEAN

    def supervise(self, evidence: dict[str, Evidence], target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum over modalities of the cross-entropy (Eq. 9 without distillation), and each modality's terms to log.

        ``free_energy_m`` is always the centred reading, whatever score the method uses.
        """
        losses, terms = [], {}
        for m, stream in evidence.items():
            losses.append(cross_entropy(stream.log_posterior, target, ce_reduction=self.options.ce_reduction))
            terms |= {f"ce_{m}": losses[-1], f"accuracy_{m}": accuracy(stream.log_posterior, target)}
            with torch.no_grad():
                terms |= {f"certainty_{m}": certainty(stream.log_posterior).mean()}
                terms |= {f"free_energy_{m}": centred(stream).mean(), f"helmholtz_{m}": helmholtz(stream).mean()}
            terms |= {f"logit_scale_{m}": torch.as_tensor(stream.logit_scale)}
        return sum(losses), detached(terms)


class ProtoNet(StreamMethod):
    """One head, nearest prototype, cross-entropy."""

    def join(self, evidence: dict[str, Evidence]) -> EpisodeOutput:
        ((modality, stream),) = evidence.items()
        return EpisodeOutput(stream.log_posterior, distances={modality: stream.distances}, evidence=evidence)

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total, terms = self.supervise(output.evidence, target)
        return total, {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target), **terms}
