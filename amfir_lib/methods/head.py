"""The head of one modality: from backbone features to a video vector, prototypes, and distances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.distances import (
    METRICS,
    METRICS_ABOUT_THE_MEAN,
    distances,
    distances_from_products,
    inner_products,
)
from amfir_lib.errors import ShapeError
from amfir_lib.inference import log_posterior
from amfir_lib.methods.enhancers import ENHANCERS, POSITION_SCALE, build_enhancer, sinusoidal_positions
from amfir_lib.methods.options import Options, choice, number
from amfir_lib.readings import Evidence


@dataclass(frozen=True)
class HeadOptions(Options):
    """Options of every head; defaults are the study's, reasons are in ``amfir_lib.analysis.decisions``.

    Attributes:
        layer_norm: normalise each feature vector before it is projected.
        projection: Linear(D, width); without it the width is D.
        width: of the projection, d.
        enhancer: relates the frames of one clip: "none", "fle" (mixer over time and channels), "transformer".
        n_segments: T, which the "fle" mixer must know.
        pooling: "mean" over time, or "time" keeps the T positions as one vector of T * d.
        prototype: "mean" of the class's supports, or "trx": built for each query by attention.
        metric: see ``amfir_lib.distances``.
        scaled: divide the distance by the square root of the vector's width.
        logit_scale: initial 1 / temperature.
        learn_temperature: whether it is trained (in log space, so that it stays positive).
        ce_reduction: of the cross-entropy over the queries of an episode.
    """

    layer_norm: bool = True
    projection: bool = True
    width: int = number(64, low=1)
    enhancer: str = choice("none", ENHANCERS)
    n_segments: int = number(8, low=1)
    pooling: str = choice("time", ("mean", "time"))
    prototype: str = choice("mean", ("mean", "trx"))
    metric: str = choice("euclidean", METRICS)
    scaled: bool = True
    logit_scale: float = number(10.0, low=0, above=True)
    learn_temperature: bool = True
    ce_reduction: str = choice("mean", ("mean", "sum"))


class ModalityHead(nn.Module):
    """LayerNorm over D, mean over patches, Linear(D, d), [enhancer], then a video vector.

    Weights come from torch's default initialisation: construct it inside ``seeded_init``.

    Args:
        dim: width D of the features.
        options: of the head.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width if options.projection else dim
        self.norm = nn.LayerNorm(dim) if options.layer_norm else nn.Identity()
        self.projection = nn.Linear(dim, width) if options.projection else nn.Identity()
        self.enhancer = build_enhancer(options.enhancer, width=width, n_segments=options.n_segments)
        if options.prototype == "trx":
            self.key = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
            self.value = nn.Linear(width, width)
        scale = torch.tensor(math.log(options.logit_scale))
        if options.learn_temperature:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale)

    def embed(self, clips: Tensor) -> Tensor:
        """All that depends on the clip alone.

        Args:
            clips: (B, T, P, D) features of any float type.
        Returns:
            (B, d') video vectors, d' = d or T * d; with TRX prototypes (B, 2, T, d), keys and values of the frames.
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
            frames = frames + POSITION_SCALE * sinusoidal_positions(frames)
            return torch.stack((self.key(frames), self.value(frames)), dim=1)
        return self._pool(frames)

    def compare(self, support: Tensor, query: Tensor) -> Evidence:
        """Posterior and distances of the queries (Eq. 2).

        Args:
            support: (E, N, K, ...) embeddings.
            query: (E, M, ...) embeddings.
        Returns:
            Evidence, with distances multiplied by the logit scale.
        """
        if self.options.prototype == "trx":
            prototypes = self._pool(attend(query, support))  # (E, M, N, d')
            support, query = self._pool(support[..., 1, :, :]), self._pool(query[..., 1, :, :])
        else:
            prototypes = support.mean(2)  # (E, N, d')
        psi = distances(query, prototypes, metric=self.options.metric, scaled=self.options.scaled)
        return self._evidence(psi, query=query, support=support)

    @property
    def needs_only_products(self) -> bool:
        """Whether inner products of the video vectors tell all that ``compare`` reads of them."""
        return self.options.prototype == "mean" and self.options.metric in METRICS_ABOUT_THE_MEAN

    def relate(self, vectors: Tensor) -> Tensor:
        """(n, d') video vectors -> (n, n) what ``compare_among`` reads, where only products are needed."""
        return inner_products(vectors, scaled=self.options.scaled)

    def compare_among(self, products: Tensor, support: Tensor, query: Tensor) -> Evidence:
        """``compare`` of the clips at (E, N, K) and (E, M) places among those that ``relate`` was given."""
        psi = distances_from_products(products, support, query, metric=self.options.metric)
        return self._evidence(psi.to(self.log_scale.dtype))

    def _evidence(self, distance: Tensor, **vectors: Tensor) -> Evidence:
        """From distances before the logit scale."""
        logit_scale = self.log_scale.exp()
        psi = distance * logit_scale
        return Evidence(
            log_posterior=log_posterior(psi),
            distances=psi,
            logit_scale=logit_scale,
            metric=self.options.metric,
            scaled=self.options.scaled,
            **vectors,
        )

    def _pool(self, frames: Tensor) -> Tensor:
        """(..., T, d) -> (..., d) or (..., T * d)."""
        return frames.mean(-2) if self.options.pooling == "mean" else frames.flatten(-2)


def attend(query: Tensor, support: Tensor) -> Tensor:
    """Query-specific prototypes as in TRX, with single frames for tuples.

    Each query frame attends to all frames of a class jointly: softmax over K * T of key . key / sqrt(d), applied to
    the values.

    Args:
        query: (E, M, 2, T, d) keys and values.
        support: (E, N, K, 2, T, d) keys and values.
    Returns:
        (E, M, N, T, d) prototypes.
    """
    keys, values = support[:, :, :, 0].flatten(2, 3), support[:, :, :, 1].flatten(2, 3)  # (E, N, K * T, d)
    scores = torch.einsum("emtd,ensd->emnts", query[:, :, 0], keys) / keys.shape[-1] ** 0.5
    return torch.einsum("emnts,ensd->emntd", scores.softmax(-1), values)
