"""HyRSM (Wang et al. 2022, "Hybrid Relation Guided Set Matching"; row HyRSM of Table 1).

Frames of a clip attend to each other (intra-relation), then every query and the supports attend to each other
(inter-relation), and a bidirectional mean Hausdorff distance matches the two sets of frames.  A classifier of the base
classes on every frame helps in training.

Deviations from the published code: frozen features, projected to ``width``; the Hausdorff distance is a mean over
frames, as the paper says, times a learned temperature (``scaled=False, logit_scale=1, learn_temperature=False`` is the
sum of the published code); each query is enriched with the supports alone, never with other queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from amfir_lib.distances import hausdorff
from amfir_lib.errors import BadParameter
from amfir_lib.methods.base import EpisodeOutput, Features, accuracy, cross_entropy, named_seed, seeded_init
from amfir_lib.methods.blocks import in_blocks
from amfir_lib.methods.dropout import SeededDropout
from amfir_lib.methods.enhancers import sinusoidal_positions
from amfir_lib.methods.options import choice, number
from amfir_lib.methods.unimodal import UnimodalMethod, UnimodalOptions

# The published rates: after positions, intra-relation; attention and output of the inter-relation.
DROPOUT = {"positions": 0.1, "intra": 0.2, "attention": 0.1, "inter": 0.05}


@dataclass(frozen=True)
class HyrsmOptions(UnimodalOptions):
    """Options of HyRSM.

    Attributes:
        scaled: Hausdorff distances as means over the frames; False sums over them, as the published code does.
        n_heads: of both attentions; it divides the width.
        position_divisor: A in x * sqrt(d / A) + B * positions.  Published: 10; 2048 = D on Kinetics-100, factor 1.
        position_weight: B there.  Published: 1; 0.01 on Kinetics-100.
        support_tokens: what the query meets in the inter-relation: frame-wise class "prototypes", which is the
            published method at 1 and at 5 shots, or all support "videos", the published 1-shot code with more shots.
        dropout: at the published rates; False leaves it out.
        aux_weight: of the classifier.  Published: 0.15 (HMDB51, UCF101, SSv2-Small), 0.4 (Kinetics-100), 0.6 (SSv2).
    """

    n_heads: int = number(8, low=1)
    position_divisor: float = number(10.0, low=0, above=True)
    position_weight: float = number(1.0, low=0)
    support_tokens: str = choice("prototypes", ("prototypes", "videos"))
    dropout: bool = True
    aux_weight: float = number(0.15, low=0)


@dataclass(frozen=True)
class HyrsmOutput(EpisodeOutput):
    """Frames after the intra-relation, which the classifier reads: (E, N, K, T, d) and (E, M, T, d)."""

    support_frames: Tensor | None = None
    query_frames: Tensor | None = None


class SelfAttention(nn.Module):
    """Multi-head attention between the tokens of a set, scaled, before any norm.  (..., S, d) -> (..., S, d)."""

    def __init__(self, width: int, n_heads: int, *, attention_dropout: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        if width % n_heads:
            raise BadParameter(f"n_heads is {n_heads}, but must divide the width {width}. Correct one of them.")
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.attention_dropout, self.dropout = attention_dropout, dropout

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attend(self.query_key_value(tokens))

    def attend(self, projected: Tensor) -> Tensor:
        """(..., S, 3 d) queries, keys and values -> (..., S, d)."""
        query, key, value = (x.unflatten(-1, (self.n_heads, -1)).transpose(-2, -3) for x in projected.chunk(3, dim=-1))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # (..., heads, S, S)
        mixed = self.attention_dropout(scores.softmax(-1)) @ value
        return self.dropout(self.out(mixed.transpose(-2, -3).flatten(-2)))


class Hyrsm(UnimodalMethod):
    """Intra-relation, inter-relation, set matching, and a classifier of the base classes.

    Args:
        dims: modality -> feature width D, exactly one.
        options: HyrsmOptions.
        generator: the only source of initial weights and of dropout.
        n_base_classes: of the training split.
    Raises:
        BadParameter: not one modality, or heads that do not divide the width.
    """

    needs = ("n_base_classes",)

    def __init__(
        self, dims: Mapping[str, int], options: HyrsmOptions, *, generator: torch.Generator, n_base_classes: int
    ) -> None:
        super().__init__(dims, options, generator=generator)
        width = self.width
        with seeded_init(self.seed, f"{self.modality}/hyrsm"):
            self.position_dropout = self._dropout("positions")
            self.intra_norm = nn.LayerNorm(width)
            self.intra = SelfAttention(
                width, options.n_heads, attention_dropout=nn.Identity(), dropout=self._dropout("intra")
            )
            self.inter = SelfAttention(
                width, options.n_heads, attention_dropout=self._dropout("attention"), dropout=self._dropout("inter")
            )
            nn.init.normal_(self.inter.query_key_value.weight, std=(2 / (width + width / options.n_heads)) ** 0.5)
            nn.init.xavier_normal_(self.inter.out.weight)
            self.inter_norm = nn.LayerNorm(width)
            self.join = nn.Linear(2 * width, width)  # the 1 x 1 convolution of [token, frame]
            self.classifier = nn.Linear(width, n_base_classes)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) -> {"frames": (B, T, d)} after the intra-relation."""
        options, frames = self.options, self.tokens(clips).mean(2)  # (B, T, d)
        positions = options.position_weight * sinusoidal_positions(frames)
        frames = self.position_dropout(frames * (self.width / options.position_divisor) ** 0.5 + positions)
        return {"frames": (frames + self.intra(self.intra_norm(frames))).relu()}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> HyrsmOutput:
        supports, queries = support["frames"], query["frames"]  # (E, N, K, T, d), (E, M, T, d)
        members = supports.mean(2, keepdim=True) if self.options.support_tokens == "prototypes" else supports
        n_way, n_shot, n_frames, width = members.shape[1:]
        n_tokens = n_way * n_shot + 1
        floats = n_tokens * (3 * n_frames * width + 8 * width + 2 * self.options.n_heads * n_tokens + n_frames**2)
        distance = in_blocks(self._distances, members, queries, floats_per_query=floats, batch_mb=self.batch_mb)
        psi = distance * self.log_scale.exp()
        return HyrsmOutput(
            log_posterior=torch.log_softmax(-psi, -1),
            distances={self.modality: psi},
            support_frames=supports,
            query_frames=queries,
        )

    def loss(
        self, output: HyrsmOutput, target: Tensor, classes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy plus ``aux_weight`` times that of the base classes, averaged over all frames.

        Args:
            output: of ``compare``.
            target: (E, M) int64.
            classes: (E, N) int64 base-class number of each way; without it the auxiliary term is left out.
        """
        own = cross_entropy(output.log_posterior, target, ce_reduction=self.options.ce_reduction)
        total, terms = own, {"ce": own, "logit_scale": self.log_scale.exp()}
        if classes is not None:
            terms["aux_ce"] = self.auxiliary_loss(output, target, classes)
            total = own + self.options.aux_weight * terms["aux_ce"]
        terms = {name: value.detach().clone() for name, value in terms.items()}
        return total, {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target), **terms}

    def auxiliary_loss(self, output: HyrsmOutput, target: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy (scalar, nats) of the base class on every frame of every clip; arguments as ``loss``."""
        n_frames = output.query_frames.shape[-2]
        n_shot = output.support_frames.shape[2]
        frames = torch.cat((output.support_frames.flatten(1, 2), output.query_frames), dim=1)  # (E, N K + M, T, d)
        labels = torch.cat((classes.repeat_interleave(n_shot, 1), classes.gather(1, target)), dim=1)
        logits = self.classifier(frames)
        return functional.cross_entropy(logits.flatten(0, 2), labels.flatten().repeat_interleave(n_frames))

    def _distances(self, members: Tensor, query: Tensor) -> Tensor:
        """(E, N, K, T, d) supports or prototypes, (E, M, T, d) queries -> (E, M, N)."""
        n_way, n_shot = members.shape[1:3]
        n_queries = query.shape[1]
        members = members.flatten(1, 2)  # (E, S, T, d)
        # A token enters linear layers on its own: those of the supports are computed once for all queries.
        tokens, own = members.mean(-2), query.mean(-2)  # (E, S, d), (E, M, d)
        mixed = self.inter.attend(
            _join_sets(self.inter.query_key_value(tokens), self.inter.query_key_value(own))
        )  # (E, M, S + 1, d)
        tokens = self.inter_norm(mixed + _join_sets(tokens, own)).relu()
        of_token, of_frame = self.join.weight.split(self.width, dim=1)
        tokens = (tokens @ of_token.T).unsqueeze(-2)  # (E, M, S + 1, 1, d)
        members = tokens[:, :, :-1] + functional.linear(members, of_frame, self.join.bias).unsqueeze(1)
        query = tokens[:, :, -1] + functional.linear(query, of_frame, self.join.bias)
        distance = hausdorff(members, query.unsqueeze(2), mean=self.options.scaled)  # (E, M, S)
        return distance.reshape(-1, n_queries, n_way, n_shot).mean(-1)

    def _dropout(self, name: str) -> SeededDropout:
        rate = DROPOUT[name] if self.options.dropout else 0.0
        return SeededDropout(rate, seed=named_seed(self.seed, f"{self.modality}/dropout/{name}"))


def _join_sets(supports: Tensor, queries: Tensor) -> Tensor:
    """(E, S, d) and (E, M, d) -> (E, M, S + 1, d): the supports and one query, for each query."""
    shared = supports.unsqueeze(1).expand(-1, queries.shape[1], -1, -1)
    return torch.cat((shared, queries.unsqueeze(2)), dim=2)
