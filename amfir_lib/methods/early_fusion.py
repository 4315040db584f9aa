"""Early fusion (rows EC and EA of Table 1): two modalities become one stream, which any unimodal method reads.

The paper names "cascaded" and "collaborative attention" early fusion and defines neither, so both are our reading:
EC joins normalised, projected frames side by side; in EA each modality first attends to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from amfir_lib.errors import BadParameter
from amfir_lib.methods.base import EpisodeOutput, Features, Method, Options, choice, draw_seed, number, seeded_init
from amfir_lib.methods.front import project_normalised
from amfir_lib.methods.protonet import HeadOptions, ProtoNet
from amfir_lib.methods.strm import Strm, StrmOptions

JOINT = "joint"  # name of the one stream that both modalities become


@dataclass(frozen=True)
class EarlyFusionOptions(Options):
    """Options of the fusion, beside those of the method that reads the joint stream."""

    early_fusion: str = choice("ec", ("ec", "ea"))  # side by side, or after attention to the other modality
    early_width: int = number(64, low=1)  # d to which each modality is projected; the joint stream has 2 d channels
    early_layer: bool = False  # Linear(2 d, d) and ReLU on the joint stream, which then has d channels


class CrossAttention(nn.Module):
    """r + A(r, f, f), one head: tokens of one modality attend to the other's.  (B, S, d), (B, S', d) -> (B, S, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Without biases: that of the keys would have no gradient.
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, tokens: Tensor, other: Tensor) -> Tensor:
        scores = self.query(tokens) @ self.key(other).transpose(-1, -2) / tokens.shape[-1] ** 0.5  # (B, S, S')
        return tokens + scores.softmax(-1) @ self.value(other)


class JointStream(nn.Module):
    """Two modalities (B, T, P, D) -> one stream z (B, T, P, width), T as in the first modality."""

    def __init__(self, dims: Mapping[str, int], options: EarlyFusionOptions) -> None:
        super().__init__()
        width = options.early_width
        self.project = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width)) for m, dim in dims.items()}
        )
        self.attend = nn.ModuleDict({m: CrossAttention(width) for m in dims} if options.early_fusion == "ea" else {})
        self.layer = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU()) if options.early_layer else nn.Identity()
        self.width = width if options.early_layer else 2 * width

    def forward(self, clips: Features) -> Tensor:
        first, second = (
            project_normalised(clips[m].to(linear.weight.dtype), norm, linear)
            for m, (norm, linear) in self.project.items()
        )
        second = align_time(second, first.shape[1])
        if self.attend:
            tokens = first.flatten(1, 2), second.flatten(1, 2)  # (B, T * P, d)
            of_first, of_second = self.attend.values()
            first, second = of_first(*tokens).view_as(first), of_second(*reversed(tokens)).view_as(second)
        return self.layer(torch.cat((first, second), dim=-1))


def align_time(frames: Tensor, n_frames: int) -> Tensor:
    """(B, T', P, d) -> (B, n_frames, P, d) by linear interpolation in time; unchanged where T' is n_frames."""
    if frames.shape[1] == n_frames:
        return frames
    by_time = frames.flatten(2).transpose(1, 2)  # (B, P * d, T')
    resampled = functional.interpolate(by_time, size=n_frames, mode="linear", align_corners=False)
    return resampled.transpose(1, 2).unflatten(2, frames.shape[2:])


class EarlyFusion(Method):
    """A unimodal method on the joint stream of two modalities with the same number of patches."""

    unimodal: type[Method]

    def __init__(
        self, dims: Mapping[str, int], options: EarlyFusionOptions, *, generator: torch.Generator, **facts: Any
    ) -> None:
        if len(dims) != 2:
            raise BadParameter(f"early fusion joins two modalities, but {len(dims)} are given. Give two.")
        super().__init__(dims, options)
        if "n_patches" in facts:
            patches = {m: facts["n_patches"][m] for m in dims}
            if len(set(patches.values())) > 1:
                raise BadParameter(
                    "early fusion joins patch with patch, but frames have "
                    f"{', '.join(f'{n} of {m}' for m, n in patches.items())}. "
                    "Extract both with the same number of patches."
                )
            facts["n_patches"] = {JOINT: next(iter(patches.values()))}
        with seeded_init(draw_seed(generator), JOINT):
            self.fusion = JointStream(dims, options)
        self.reader = self.unimodal({JOINT: self.fusion.width}, options, generator=generator, **facts)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        self.check_features(clips)
        return self.reader.embed({JOINT: self.fusion(clips)})

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        return self.reader.compare(support, query)

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        return self.reader.relate(embeddings, n_pairs=n_pairs)

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> EpisodeOutput:
        return self.reader.compare_among(clips, support, query)

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.reader.loss(output, target)


@dataclass(frozen=True)
class EarlyProtoNetOptions(EarlyFusionOptions, HeadOptions):
    """Options of the fusion and of the prototype network's head."""


class EarlyProtoNet(EarlyFusion):
    """Prototype network on the joint stream."""

    unimodal = ProtoNet


@dataclass(frozen=True)
class EarlyStrmOptions(EarlyFusionOptions, StrmOptions):
    """Options of the fusion and of STRM."""


class EarlyStrm(EarlyFusion):
    """STRM on the joint stream, patch by patch."""

    unimodal, uses_patches, needs = Strm, Strm.uses_patches, Strm.needs
