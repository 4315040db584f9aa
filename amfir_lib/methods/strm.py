"""STRM on one modality (Thatipelli et al. 2022, "Spatio-temporal Relation Modeling"; rows STRM and STRM-F of Table 1).

Patches of a frame inform each other, then frames of a clip; pairs of frames are compared as in TRX.  A second, lighter
comparison of frame pairs before the frames are mixed, the query-class similarity, is trained beside it.

Deviations from the published code: frozen features, projected to ``width``; a learned temperature, which starts at the
published 1; keys of the patch attention have no bias, which softmax could not see; positions are added to the patches
and before the mixer, and not a third time to the tuples; the random auxiliary head (``aux_head="random"``) is not drawn
again at test; cross-entropies are means over queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from amfir_lib.errors import ShapeError
from amfir_lib.methods.base import EpisodeOutput, Features, accuracy, choice, cross_entropy, detached, number
from amfir_lib.methods.front import DistanceOptions, UnimodalMethod
from amfir_lib.methods.layers import FrameLevelEnrichment, mlp, with_positions
from amfir_lib.methods.tuples import (
    TupleAttention,
    nearest_tuple_distances,
    project_tuples,
    tuple_distances,
    tuple_indices,
)


@dataclass(frozen=True)
class StrmOptions(DistanceOptions):
    """Options of the front, and of the comparison; the published ``scaled`` and ``logit_scale`` are the defaults."""

    scaled: bool = False  # distances over ``tuple_width``, auxiliary ones over the square root of their width
    logit_scale: float = number(1.0, low=0, above=True)
    n_segments: int = number(8, low=1)  # T, which the mixer over time must know
    cardinality: int = number(2, low=1)  # frames in a tuple; the released scripts use pairs
    tuple_width: int = number(64, low=1)  # of keys and values (1152 in the published code)
    dropout: float = number(0.1, low=0, below=1)  # after positions are added, and before the auxiliary tuples
    aux_weight: float = number(0.1, low=0)  # of the query-class similarity, in the loss and in the prediction
    aux_head: str = choice("trained", ("trained", "random"))  # as the paper means it, or as the released code leaves it


@dataclass(frozen=True)
class StrmOutput(EpisodeOutput):
    """The two parts of the prediction."""

    attention: Tensor | None = None  # (E, M, N) log-posterior of the tuple attention
    auxiliary: Tensor | None = None  # and of the query-class similarity


class PatchLevelEnrichment(nn.Module):
    """Attention between the patches of a frame, then an MLP, both residual; then their mean.  (B, P, d) -> (B, d).

    The attention's share ``gamma`` starts at 0, so the layers of queries, keys and values get no gradient in the first
    step; gamma itself does.  Scores are not divided by sqrt(d).

    Products of two layers are taken before the patches enter them, and the mean before the last layer: the same
    result from fewer passes over the patches, which are the largest tensors here.
    """

    def __init__(self, width: int, dropout: nn.Module) -> None:
        super().__init__()
        inner = max(1, width // 2)
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # a bias shifts all scores of a patch alike: softmax ignores it
        self.gamma = nn.Parameter(torch.zeros(()))
        self.mlp = mlp(width, inner, inner, width)
        self.dropout = dropout

    def forward(self, patches: Tensor) -> Tensor:
        patches = self.dropout(with_positions(patches))
        asked = linear(patches, self.key.weight.T @ self.query.weight, self.query.bias @ self.key.weight)
        attention = torch.bmm(asked, patches.mT).softmax(-1)  # (B, P, P)
        values = linear(patches, self.gamma * self.value.weight, self.gamma * self.value.bias)
        patches = torch.baddbmm(patches, attention, values)
        return patches.mean(1) + self.mlp[-1](self.mlp[:-1](patches).mean(1))


class Strm(UnimodalMethod):
    """Patch- and frame-level enrichment, tuple attention, query-class similarity.

    Features of a single patch per frame leave nothing to enrich: the patch level is left out, and tables and records
    call the method STRM-lite (``amfir_lib.methods.title_of``).  Tuples of more places than frames are refused.
    """

    uses_patches = True
    needs = ("n_patches",)

    def __init__(
        self, dims: Mapping[str, int], options: StrmOptions, *, generator: torch.Generator, n_patches: Mapping[str, int]
    ) -> None:
        super().__init__(dims, options, generator=generator)
        tuple_indices(options.n_segments, options.cardinality)  # refuses tuples that no clip has
        self.n_patches = n_patches[self.modality]
        dropout = {part: self.seeded_dropout(part, options.dropout) for part in ("patches", "frames", "auxiliary")}
        with self.initialise("strm"):
            self.patch_level = PatchLevelEnrichment(self.width, dropout["patches"]) if self.n_patches > 1 else None
            self.frame_level = FrameLevelEnrichment(self.width, options.n_segments, dropout["frames"])
            self.attention = TupleAttention(self.width, options.tuple_width, cardinality=options.cardinality)
            self.aux_dropout = dropout["auxiliary"]
            self.aux_head = nn.Linear(options.cardinality * self.width, max(1, self.width // 2))
        self.aux_head.requires_grad_(options.aux_head == "trained")

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) -> keys and values (B, tuples, d') and auxiliary tuples (B, tuples, d / 2)."""
        options, tokens = self.options, self.tokens(clips)  # (B, T, P, d)
        if tokens.shape[1:3] != (options.n_segments, self.n_patches):
            raise ShapeError(
                f'the clip features of "{self.modality}" have T = {tokens.shape[1]} segments of P = {tokens.shape[2]} '
                f"patches, but the method was built for {options.n_segments} of {self.n_patches}. "
                f"Set n_segments to {tokens.shape[1]}, and build the method for the patches of the feature store."
            )
        if self.patch_level is None:
            frames = tokens.mean(2)  # (B, T, d)
        else:
            frames = self.patch_level(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        auxiliary = project_tuples(self.aux_dropout(frames), self.aux_head, options.cardinality).relu()
        keys, values = self.attention(self.frame_level(frames))
        return {"keys": keys, "values": values, "auxiliary": auxiliary}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> StrmOutput:
        sides = ((side["keys"], side["values"]) for side in (support, query))
        main = tuple_distances(*sides, batch_mb=self.batch_mb)
        nearest = nearest_tuple_distances(support["auxiliary"], query["auxiliary"], batch_mb=self.batch_mb)
        if self.options.scaled:
            main, nearest = main / self.options.tuple_width, nearest / self.aux_head.out_features**0.5
        main, nearest = main * self.log_scale.exp(), nearest * self.log_scale.exp()
        psi = main + self.options.aux_weight * nearest
        log_p, attention, auxiliary = (torch.log_softmax(-x, -1) for x in (psi, main, nearest))
        return StrmOutput(log_p, distances={self.modality: psi}, attention=attention, auxiliary=auxiliary)

    def loss(self, output: StrmOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the tuple attention plus ``aux_weight`` times that of the query-class similarity."""
        main = cross_entropy(output.attention, target, ce_reduction=self.options.ce_reduction)
        auxiliary = cross_entropy(output.auxiliary, target, ce_reduction=self.options.ce_reduction)
        total = main + self.options.aux_weight * auxiliary
        terms = {"loss": total, "ce": main, "aux_ce": auxiliary, "logit_scale": self.log_scale.exp()}
        if self.patch_level is not None:
            terms["gamma"] = self.patch_level.gamma
        return total, detached(terms | {"accuracy": accuracy(output.log_posterior, target)})
