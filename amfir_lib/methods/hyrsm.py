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
from amfir_lib.inference import log_posterior
from amfir_lib.methods.base import EpisodeOutput, Features, accuracy, choice, cross_entropy, detached, number
from amfir_lib.methods.front import FLOATS_PER_MB, DistanceOptions, UnimodalMethod
from amfir_lib.methods.layers import sinusoidal_positions

# The published rates: after positions, intra-relation; attention and output of the inter-relation.
DROPOUT = {"positions": 0.1, "intra": 0.2, "attention": 0.1, "inter": 0.05}


@dataclass(frozen=True)
class HyrsmOptions(DistanceOptions):
    """Options of the front, and of the relations; ``scaled`` False sums over frames, as the published code does."""

    n_heads: int = number(8, low=1)  # of both attentions; it divides the width
    # Frames become x * sqrt(d / A) + B * positions.  Published: A = 10, B = 1; on Kinetics-100 A = 2048 = D, B = 0.01.
    position_divisor: float = number(10.0, low=0, above=True)  # A
    position_weight: float = number(1.0, low=0)  # B
    # What the query meets in the inter-relation: frame-wise class "prototypes", which is the published method at 1 and
    # at 5 shots, or all support "videos", the published 1-shot code with more shots.
    support_tokens: str = choice("prototypes", ("prototypes", "videos"))
    dropout: bool = True  # at the published rates
    aux_weight: float = number(0.15, low=0)  # of the classifier; published also: 0.4 (Kinetics-100), 0.6 (SSv2)


@dataclass(frozen=True)
class HyrsmOutput(EpisodeOutput):
    """The answer, and frames after the intra-relation, which the classifier reads."""

    support_frames: Tensor | None = None  # (E, N, K, T, d)
    query_frames: Tensor | None = None  # (E, M, T, d)


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
    """Intra-relation, inter-relation, set matching, and a classifier of the base classes."""

    needs = ("n_base_classes",)

    def __init__(
        self, dims: Mapping[str, int], options: HyrsmOptions, *, generator: torch.Generator, n_base_classes: int
    ) -> None:
        super().__init__(dims, options, generator=generator)
        width, n_heads = self.width, options.n_heads
        dropout = {part: self.seeded_dropout(part, rate * options.dropout) for part, rate in DROPOUT.items()}
        with self.initialise("hyrsm"):
            self.position_dropout = dropout["positions"]
            self.intra_norm = nn.LayerNorm(width)
            self.intra = SelfAttention(width, n_heads, attention_dropout=nn.Identity(), dropout=dropout["intra"])
            self.inter = SelfAttention(width, n_heads, attention_dropout=dropout["attention"], dropout=dropout["inter"])
            nn.init.normal_(self.inter.query_key_value.weight, std=(2 / (width + width / n_heads)) ** 0.5)
            nn.init.xavier_normal_(self.inter.out.weight)
            self.inter_norm = nn.LayerNorm(width)
            self.join = nn.Linear(2 * width, width)  # the 1 x 1 convolution of [token, frame]
            self.classifier = nn.Linear(width, n_base_classes)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) -> {"frames": (B, T, d)} after the intra-relation."""
        options, frames = self.options, self.frames(clips)
        positions = options.position_weight * sinusoidal_positions(frames)
        frames = self.position_dropout(frames * (self.width / options.position_divisor) ** 0.5 + positions)
        return {"frames": (frames + self.intra(self.intra_norm(frames))).relu()}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> HyrsmOutput:
        supports, queries = support["frames"], query["frames"]  # (E, N, K, T, d), (E, M, T, d)
        members = supports.mean(2, keepdim=True) if self.options.support_tokens == "prototypes" else supports
        psi = self._distances_in_blocks(members, queries) * self.log_scale.exp()
        return HyrsmOutput(
            log_posterior(psi), distances={self.modality: psi}, support_frames=supports, query_frames=queries
        )

    def loss(
        self, output: HyrsmOutput, target: Tensor, classes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy plus ``aux_weight`` times that of the base classes, averaged over all frames.

        ``classes`` is the (E, N) base-class number of each way; without it the auxiliary term is left out.
        """
        loss = cross_entropy(output.log_posterior, target, ce_reduction=self.options.ce_reduction)
        terms = {"loss": loss, "accuracy": accuracy(output.log_posterior, target), "ce": loss}
        terms["logit_scale"] = self.log_scale.exp()
        if classes is not None:
            terms["aux_ce"] = self._auxiliary_loss(output, target, classes)
            terms["loss"] = loss = loss + self.options.aux_weight * terms["aux_ce"]
        return loss, detached(terms)

    def _auxiliary_loss(self, output: HyrsmOutput, target: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy (scalar, nats) of the base class on every frame of every clip; arguments as ``loss``."""
        n_shot, n_frames = output.support_frames.shape[2:4]
        frames = torch.cat((output.support_frames.flatten(1, 2), output.query_frames), dim=1)  # (E, N K + M, T, d)
        labels = torch.cat((classes.repeat_interleave(n_shot, 1), classes.gather(1, target)), dim=1)
        logits = self.classifier(frames)
        return functional.cross_entropy(logits.flatten(0, 2), labels.flatten().repeat_interleave(n_frames))

    def _distances_in_blocks(self, members: Tensor, query: Tensor) -> Tensor:
        """``_distances`` of whole episodes at a time, or of queries of one episode where it alone is too large.

        What is alive at once is bounded by ``batch_mb`` where no gradient is recorded; in training the graph keeps
        every block, and the number of episodes per step is the bound.
        """
        n_way, n_shot, n_frames, width = members.shape[1:]
        n_queries, n_tokens = query.shape[1], n_way * n_shot + 1
        floats = n_tokens * (3 * n_frames * width + 8 * width + 2 * self.options.n_heads * n_tokens + n_frames**2)
        at_once = max(1, int(self.batch_mb * FLOATS_PER_MB / floats))
        n_episodes = max(1, at_once // n_queries)
        rows = [
            torch.cat(
                [self._distances(block, queries) for queries in rest.split(min(at_once, n_queries), dim=1)], dim=1
            )
            for block, rest in zip(members.split(n_episodes), query.split(n_episodes), strict=True)
        ]
        return torch.cat(rows)

    def _distances(self, members: Tensor, query: Tensor) -> Tensor:
        """(E, N, K, T, d) supports or prototypes, (E, M, T, d) queries -> (E, M, N)."""
        n_way, n_shot = members.shape[1:3]
        members = members.flatten(1, 2)  # (E, S, T, d)
        # A token enters linear layers alone: those of the supports are computed once for all queries.
        tokens, query_tokens = members.mean(-2), query.mean(-2)  # (E, S, d), (E, M, d)
        project = self.inter.query_key_value
        mixed = self.inter.attend(_join_sets(project(tokens), project(query_tokens)))  # (E, M, S + 1, d)
        tokens = self.inter_norm(mixed + _join_sets(tokens, query_tokens)).relu()
        of_token, of_frame = self.join.weight.split(self.width, dim=1)
        tokens = (tokens @ of_token.T).unsqueeze(-2)  # (E, M, S + 1, 1, d)
        members = tokens[:, :, :-1] + functional.linear(members, of_frame, self.join.bias).unsqueeze(1)
        query = tokens[:, :, -1] + functional.linear(query, of_frame, self.join.bias)
        distance = hausdorff(members, query.unsqueeze(2), mean=self.options.scaled)  # (E, M, S)
        return distance.unflatten(-1, (n_way, n_shot)).mean(-1)


def _join_sets(supports: Tensor, queries: Tensor) -> Tensor:
    """(E, S, d) and (E, M, d) -> (E, M, S + 1, d): the supports and one query, for each query."""
    shared = supports.unsqueeze(1).expand(-1, queries.shape[1], -1, -1)
    return torch.cat((shared, queries.unsqueeze(2)), dim=2)
