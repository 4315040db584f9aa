"""Late fusion (rows LF): single-modality methods that never see each other until their answers are joined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass

import torch
from torch import Tensor, nn

from amfir_lib.errors import BadParameter
from amfir_lib.methods.base import EpisodeOutput, Features, Method, accuracy
from amfir_lib.methods.options import Options, choice


@dataclass(frozen=True)
class LateFusionOptions(Options):
    """``late_fusion``: "posterior_mean", or "logit_sum" with equal weights of 1."""

    late_fusion: str = choice("posterior_mean", ("posterior_mean", "logit_sum"))


def late_fusion_options(*parts: type[Options]) -> type[Options]:
    """Class of the options of a late fusion: those of its parts, and ``late_fusion``.

    Args:
        parts: classes of the parts' options; where two share a name, the first one's default counts.
    """
    bases = (*dict.fromkeys(parts), LateFusionOptions)
    name = "And".join(one.__name__.removesuffix("Options") for one in bases[:-1])
    return make_dataclass(f"{name}LateFusionOptions", [], bases=bases, frozen=True)


@dataclass(frozen=True)
class LateFusionOutput(EpisodeOutput):
    """EpisodeOutput with ``parts``: name of a part -> what it says itself."""

    parts: dict[str, EpisodeOutput] = field(default_factory=dict)


class LateFusion(Method):
    """Methods of one modality each, fused by the mean of their posteriors or the sum of their logits.

    The loss is the sum of theirs, so each part gets exactly the gradient that it gets alone: training all at once
    equals training them apart, as long as the optimiser does not couple them (a gradient norm clipped over all
    parameters would).

    Args:
        parts: name -> method, built from equal generators.
        options: with ``late_fusion``; the parts have theirs.
    Raises:
        BadParameter: a part reads several modalities, or two parts read the same one.
    """

    def __init__(self, parts: Mapping[str, Method], options: Options) -> None:
        read = {name: ", ".join(part.modalities) for name, part in parts.items()}
        dims = {m: dim for part in parts.values() for m, dim in part.dims.items()}
        if len(dims) != len(parts) or any(len(part.dims) != 1 for part in parts.values()):
            raise BadParameter(f"late fusion joins methods of one modality each, each another one, but got {read}.")
        super().__init__(dims, options)
        self.parts = nn.ModuleDict(parts)
        self.uses_patches = any(part.uses_patches for part in parts.values())

    def embed(self, clips: Features) -> dict[str, Tensor]:
        self.check_features(clips, n_axes=4, role="clip")
        embeddings = {}
        for name, part in self.parts.items():
            own = {m: clips[m] for m in part.modalities}
            if not part.uses_patches and self.uses_patches:
                own = {m: x.float().mean(2, keepdim=True) for m, x in own.items()}  # what the part was trained on
            embeddings |= {f"{name}/{key}": x for key, x in part.embed(own).items()}
        return embeddings

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> LateFusionOutput:
        return self._join(
            {name: part.compare(_of(name, support), _of(name, query)) for name, part in self.parts.items()}
        )

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        related = {name: part.relate(_of(name, embeddings), n_pairs=n_pairs) for name, part in self.parts.items()}
        return {f"{name}/{key}": x for name, own in related.items() for key, x in own.items()}

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> LateFusionOutput:
        return self._join(
            {name: part.compare_among(_of(name, clips), support, query) for name, part in self.parts.items()}
        )

    def _join(self, outputs: dict[str, EpisodeOutput]) -> LateFusionOutput:
        log_posteriors = torch.stack([output.log_posterior for output in outputs.values()])
        if self.options.late_fusion == "logit_sum":
            fused = torch.log_softmax(log_posteriors.sum(0), dim=-1)  # a constant for each query does not change it
        else:
            fused = log_posteriors.logsumexp(0) - math.log(len(outputs))
        joined: dict[str, dict] = {"distances": {}, "evidence": {}}
        for output in outputs.values():
            joined = {kind: known | getattr(output, kind) for kind, known in joined.items()}
        return LateFusionOutput(fused, dict(zip(self.modalities, log_posteriors, strict=True)), **joined, parts=outputs)

    def loss(self, output: LateFusionOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        each = [part.loss(output.parts[name], target) for name, part in self.parts.items()]
        total = torch.stack([loss for loss, _ in each]).sum()
        terms = {}
        for m, (_, own) in zip(self.modalities, each, strict=True):
            terms |= {name if name.endswith(f"_{m}") else f"{name}_{m}": value for name, value in own.items()}
        return total, terms | {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target)}


def _of(part: str, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
    """The embeddings of one part, by the part's own names."""
    prefix = f"{part}/"
    return {key.removeprefix(prefix): x for key, x in embeddings.items() if key.startswith(prefix)}
