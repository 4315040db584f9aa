"""Late fusion (rows LF): single-modality methods that never see each other until their answers are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass

import torch
from torch import Tensor, nn

from amfir_lib.errors import BadParameter
from amfir_lib.methods.base import EpisodeOutput, Features, Method, Options, accuracy, choice


@dataclass(frozen=True)
class LateFusionOptions(Options):
    """``late_fusion``: "posterior_mean", or "logit_sum" with equal weights of 1."""

    late_fusion: str = choice("posterior_mean", ("posterior_mean", "logit_sum"))


def late_fusion_options(*parts: type[Options]) -> type[Options]:
    """Options of the parts, where the first one's default counts if two share a name, and ``late_fusion``."""
    return make_dataclass("JoinedOptions", [], bases=(*dict.fromkeys(parts), LateFusionOptions), frozen=True)


@dataclass(frozen=True)
class LateFusionOutput(EpisodeOutput):
    """The fused answer and those of the parts."""

    parts: dict[str, EpisodeOutput] = field(default_factory=dict)  # name of a part -> its output


class LateFusion(Method):
    """Methods of one modality each, fused by the mean of their posteriors or the sum of their logits.

    The loss is the sum of theirs, so training all at once equals training them apart, as long as the optimiser does not
    couple them (a gradient norm clipped over all parameters would).
    """

    def __init__(self, parts: Mapping[str, Method], options: Options) -> None:
        dims = {m: dim for part in parts.values() for m, dim in part.dims.items()}
        if len(dims) != len(parts) or any(len(part.dims) != 1 for part in parts.values()):
            read = {name: ", ".join(part.modalities) for name, part in parts.items()}
            raise BadParameter(f"late fusion joins methods of one modality each, each another one, but got {read}.")
        super().__init__(dims, options)
        self.parts = nn.ModuleDict(parts)
        self.uses_patches = any(part.uses_patches for part in parts.values())

    def embed(self, clips: Features) -> dict[str, Tensor]:
        self.check_features(clips)
        if self.uses_patches:  # a part that reads none gets what it was trained on
            unpatched = [m for part in self.parts.values() for m in part.modalities if not part.uses_patches]
            clips = clips | {m: clips[m].float().mean(2, keepdim=True) for m in unpatched}
        return self._of_parts(lambda part, name: part.embed({m: clips[m] for m in part.modalities}))

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        return self._of_parts(lambda part, name: part.relate(_of(name, embeddings), n_pairs=n_pairs))

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> LateFusionOutput:
        return self._join({n: part.compare(_of(n, support), _of(n, query)) for n, part in self.parts.items()})

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> LateFusionOutput:
        return self._join({n: part.compare_among(_of(n, clips), support, query) for n, part in self.parts.items()})

    def _join(self, outputs: dict[str, EpisodeOutput]) -> LateFusionOutput:
        log_posteriors = torch.stack([output.log_posterior for output in outputs.values()])
        if self.options.late_fusion == "logit_sum":
            fused = torch.log_softmax(log_posteriors.sum(0), dim=-1)  # a constant for each query does not change it
        else:
            fused = log_posteriors.logsumexp(0) - math.log(len(outputs))
        return LateFusionOutput(
            fused,
            dict(zip(self.modalities, log_posteriors, strict=True)),
            {m: psi for output in outputs.values() for m, psi in output.distances.items()},
            {m: evidence for output in outputs.values() for m, evidence in output.evidence.items()},
            parts=outputs,
        )

    def loss(self, output: LateFusionOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        losses, terms = [], {}
        for m, (name, part) in zip(self.modalities, self.parts.items(), strict=True):
            loss, logged = part.loss(output.parts[name], target)
            losses.append(loss)
            terms |= {key if key.endswith(f"_{m}") else f"{key}_{m}": value for key, value in logged.items()}
        total = torch.stack(losses).sum()
        return total, terms | {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target)}

    def _of_parts(self, tensors_of: Callable[[Method, str], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Named tensors of all parts, each with its part's name in front."""
        return {f"{name}/{key}": x for name, part in self.parts.items() for key, x in tensors_of(part, name).items()}


def _of(part: str, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
    """The embeddings of one part, by the part's own names."""
    prefix = f"{part}/"
    return {key.removeprefix(prefix): x for key, x in embeddings.items() if key.startswith(prefix)}
