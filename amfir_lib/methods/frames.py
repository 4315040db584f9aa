"""What the methods on the frames of one modality share: front, temperature and loss (Matching Net, CMN, OTAM, TRX)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.distances import COSINE_EPSILON
from amfir_lib.errors import BadParameter
from amfir_lib.fusion import certainty
from amfir_lib.inference import log_posterior
from amfir_lib.methods.base import EpisodeOutput, Features, Method, accuracy, cross_entropy, draw_seed, seeded_init
from amfir_lib.methods.options import Options, choice, number


@dataclass(frozen=True)
class FrameOptions(Options):
    """Options of every method on frames; names and meaning are those of ``HeadOptions``.

    Attributes:
        layer_norm: normalise each feature vector before it is projected.
        projection: Linear(D, width); without it the width is D.
        width: of the projection, d.
        logit_scale: initial 1 / temperature; 1 where the published head has no temperature and needs none.
        learn_temperature: whether it is trained (in log space, so that it stays positive).
        ce_reduction: of the cross-entropy over the queries of an episode.
    """

    layer_norm: bool = True
    projection: bool = True
    width: int = number(64, low=1)
    logit_scale: float = number(1.0, low=0, above=True)
    learn_temperature: bool = True
    ce_reduction: str = choice("mean", ("mean", "sum"))


class FrameMethod(Method):
    """LayerNorm over D, mean over patches, Linear(D, d); cross-entropy of log-softmax(-logit_scale * distance).

    The published heads read a backbone that is trained with them.  Here the features are frozen, so LayerNorm and
    Linear, the same as in the study's own heads, give each method something to train: a declared deviation.  Under one
    generator the front begins with the weights that a ``ModalityHead`` of the same width has.

    Args:
        dims: the one modality -> feature width D.
        options: of the method.
        generator: the only source of initial weights.
    Raises:
        BadParameter: not exactly one modality.
    """

    def __init__(self, dims: Mapping[str, int], options: FrameOptions, *, generator: torch.Generator) -> None:
        if len(dims) != 1:
            raise BadParameter(
                f"{type(self).__name__} reads one modality, but {len(dims)} are given ({', '.join(dims)}). "
                "Choose one, or join two such methods by late fusion."
            )
        super().__init__(dims, options)
        ((self.modality, dim),) = self.dims.items()
        self._seed = draw_seed(generator)
        self.width = options.width if options.projection else dim
        with seeded_init(self._seed, self.modality):
            self.norm = nn.LayerNorm(dim) if options.layer_norm else nn.Identity()
            self.projection = nn.Linear(dim, self.width) if options.projection else nn.Identity()
        scale = torch.tensor(math.log(options.logit_scale))
        if options.learn_temperature:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale)

    def initialise(self, part: str) -> AbstractContextManager[None]:
        """Inside the block, modules of that part begin with weights of their own, whatever else the method holds."""
        return seeded_init(self._seed, f"{self.modality}/{part}")

    def frames(self, clips: Features) -> Tensor:
        """(B, T, P, D) of the modality, of any float type -> (B, T, d) projected frames."""
        self.check_features(clips, n_axes=4, role="clip")
        return self.projection(self.norm(clips[self.modality].to(self.log_scale.dtype)).mean(2))

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
