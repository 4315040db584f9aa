"""The front of every method, from backbone features to projected frames, and the base of those on one modality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from amfir_lib.distances import COSINE_EPSILON
from amfir_lib.errors import BadParameter
from amfir_lib.fusion import certainty
from amfir_lib.inference import log_posterior
from amfir_lib.methods.base import (
    EpisodeOutput,
    Features,
    Method,
    Options,
    accuracy,
    choice,
    cross_entropy,
    detached,
    draw_seed,
    named_seed,
    number,
    seeded_init,
)
from amfir_lib.methods.layers import SeededDropout

BATCH_MB = 2.0  # of intermediate values, about what a core's cache holds; larger blocks are slower on CPUs
FLOATS_PER_MB = 2**18  # in float32


@dataclass(frozen=True)
class FrontOptions(Options):
    """Options of every method; defaults are the study's, reasons are in ``amfir_lib.analysis.decisions``."""

    layer_norm: bool = True  # normalise each feature vector before it is projected
    projection: bool = True  # Linear(D, width); without it the width is D
    width: int = number(64, low=1)  # d of all that follows
    logit_scale: float = number(10.0, low=0, above=True)  # initial 1 / temperature
    learn_temperature: bool = True  # in log space, so that it stays positive
    ce_reduction: str = choice("mean", ("mean", "sum"))  # of the cross-entropy over the queries of an episode


@dataclass(frozen=True)
class DistanceOptions(FrontOptions):
    """Options of the methods whose answer comes from distances."""

    scaled: bool = True  # distances as means over what they sum over; each method says what that is


def add_front(module: nn.Module, dim: int, options: FrontOptions) -> int:
    """Give a module ``norm``, ``projection`` and ``log_scale``; returns the width d of projected features.

    The published heads train their backbone.  Here features are frozen, so LayerNorm, Linear and temperature give each
    method something to train: declared deviations.
    """
    width = options.width if options.projection else dim
    module.norm = nn.LayerNorm(dim) if options.layer_norm else nn.Identity()
    module.projection = nn.Linear(dim, width) if options.projection else nn.Identity()
    log_scale = torch.tensor(math.log(options.logit_scale))
    if options.learn_temperature:
        module.log_scale = nn.Parameter(log_scale)
    else:
        module.register_buffer("log_scale", log_scale)
    return width


def project_normalised(features: Tensor, norm: nn.Module, projection: nn.Module) -> Tensor:
    """``projection(norm(features))``, with the gain and bias of a LayerNorm moved into the Linear that follows it.

    So no gradient runs back through the features, which are the largest tensor of a step and need none.
    """
    if not (isinstance(norm, nn.LayerNorm) and isinstance(projection, nn.Linear)):
        return projection(norm(features))
    weight, bias = projection.weight * norm.weight, projection.bias + projection.weight @ norm.bias
    return functional.linear(functional.layer_norm(features, norm.normalized_shape, eps=norm.eps), weight, bias)


def unit_vectors(vectors: Tensor) -> Tensor:
    """(..., d) -> the same directions with length 1; zero stays zero."""
    return vectors * (vectors.square().sum(-1, keepdim=True) + COSINE_EPSILON).rsqrt()


class UnimodalMethod(Method):
    """Projected frames of one modality, an answer from distances, and cross-entropy; subclasses add what is theirs.

    The generator is the only source of initial weights and of dropout.  Under one generator the front begins with the
    weights that the study's own head of the same width has.
    """

    batch_mb: float = BATCH_MB  # no option: results do not depend on it

    def __init__(self, dims: Mapping[str, int], options: FrontOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options)
        if len(self.dims) != 1:
            raise BadParameter(
                f"{type(self).__name__} reads one modality, but {len(dims)} are given ({', '.join(dims)}). Give one."
            )
        ((self.modality, dim),) = self.dims.items()
        self.seed = draw_seed(generator)
        with seeded_init(self.seed, self.modality):
            self.width = add_front(self, dim, options)

    def initialise(self, part: str) -> AbstractContextManager[None]:
        """Inside the block, modules of that part begin with weights of their own, whatever else the method holds."""
        return seeded_init(self.seed, f"{self.modality}/{part}")

    def seeded_dropout(self, part: str, rate: float) -> SeededDropout:
        """Dropout of that part, with masks of its own."""
        return SeededDropout(rate, seed=named_seed(self.seed, f"{self.modality}/dropout/{part}"))

    def tokens(self, clips: Features) -> Tensor:
        """Features of the method's modality, of any float type -> (B, T, P, d)."""
        self.check_features(clips)
        return project_normalised(clips[self.modality].to(self.log_scale.dtype), self.norm, self.projection)

    def frames(self, clips: Features) -> Tensor:
        """Features of the method's modality -> (B, T, d), the mean over patches."""
        return self.tokens(clips).mean(2)

    def answer(self, distance: Tensor) -> EpisodeOutput:
        """(E, M, N) distances of the queries to the classes -> posterior, with the distances times the logit scale."""
        psi = distance * self.log_scale.exp()
        return EpisodeOutput(log_posterior(psi), distances={self.modality: psi})

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        m, log_p = self.modality, output.log_posterior
        loss = cross_entropy(log_p, target, ce_reduction=self.options.ce_reduction)
        right = accuracy(log_p, target)
        terms = {"loss": loss, "accuracy": right, f"ce_{m}": loss, f"accuracy_{m}": right}
        terms |= {f"certainty_{m}": certainty(log_p).mean(), f"free_energy_{m}": log_p.mean()}
        return loss, detached(terms | {f"logit_scale_{m}": self.log_scale.exp()})
