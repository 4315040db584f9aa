"""Methods with a network of their own on one stream of tokens: what HyRSM and STRM share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from amfir_lib.errors import BadParameter
from amfir_lib.methods.base import Features, Method, draw_seed, seeded_init
from amfir_lib.methods.blocks import BATCH_MB
from amfir_lib.methods.options import Options, choice, number


@dataclass(frozen=True)
class FrontOptions(Options):
    """Options of every such method; the same names and defaults as in ``HeadOptions``.

    Attributes:
        layer_norm: normalise each feature vector before it is projected.
        projection: Linear(D, width); without it the width is D.
        width: d of all that follows.
        logit_scale: initial 1 / temperature.
        learn_temperature: whether it is trained (in log space, so that it stays positive).
        ce_reduction: of the cross-entropy over the queries of an episode.
    """

    layer_norm: bool = True
    projection: bool = True
    width: int = number(64, low=1)
    logit_scale: float = number(10.0, low=0, above=True)
    learn_temperature: bool = True
    ce_reduction: str = choice("mean", ("mean", "sum"))


@dataclass(frozen=True)
class UnimodalOptions(FrontOptions):
    """Options of the methods whose answer comes from distances.

    Attributes:
        scaled: distances as means over what they sum over; each method says what that is.
    """

    scaled: bool = True


class UnimodalMethod(Method):
    """LayerNorm and projection of the tokens, and a temperature; subclasses add what is theirs.

    Args:
        dims: modality -> feature width D, exactly one.
        options: of the method.
        generator: the only source of initial weights.
    Raises:
        BadParameter: more or less than one modality.
    """

    batch_mb: float = BATCH_MB  # no option: results do not depend on it

    def __init__(self, dims: Mapping[str, int], options: FrontOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options)
        if len(self.dims) != 1:
            raise BadParameter(
                f"{type(self).__name__} reads one modality, but {len(dims)} are given ({', '.join(dims)}). Give one."
            )
        ((self.modality, dim),) = self.dims.items()
        self.width = options.width if options.projection else dim
        self.seed = draw_seed(generator)
        with seeded_init(self.seed, self.modality):
            self.norm = nn.LayerNorm(dim) if options.layer_norm else nn.Identity()
            self.projection = nn.Linear(dim, self.width) if options.projection else nn.Identity()
        scale = torch.tensor(math.log(options.logit_scale))
        if options.learn_temperature:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale)

    def tokens(self, clips: Features) -> Tensor:
        """Features of the method's modality -> (B, T, P, d)."""
        self.check_features(clips, n_axes=4, role="clip")
        return project_normalised(clips[self.modality].to(self.log_scale.dtype), self.norm, self.projection)


def project_normalised(features: Tensor, norm: nn.Module, projection: nn.Module) -> Tensor:
    """``projection(norm(features))``, with the gain and bias of a LayerNorm moved into the Linear that follows it.

    So no gradient runs back through the features, which are the largest tensor of a step and need none.
    """
    if not (isinstance(norm, nn.LayerNorm) and isinstance(projection, nn.Linear)):
        return projection(norm(features))
    weight, bias = projection.weight * norm.weight, projection.bias + projection.weight @ norm.bias
    return functional.linear(functional.layer_norm(features, norm.normalized_shape, eps=norm.eps), weight, bias)
