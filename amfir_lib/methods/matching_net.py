"""Matching network (Vinyals et al. 2016; row Matching Net of Table 1, cited there through the CMN paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.errors import ShapeError
from amfir_lib.methods.base import EpisodeOutput, Features, choice, number
from amfir_lib.methods.front import FrontOptions, UnimodalMethod, unit_vectors


@dataclass(frozen=True)
class MatchingNetOptions(FrontOptions):
    """Options of the front, and of the comparison."""

    logit_scale: float = number(3.0, low=0, above=True)  # initial factor on the cosines, which lie in [-1, 1]
    pooling: str = choice("time", ("mean", "time"))  # "time" keeps the T positions as one vector of T * d
    fce: bool = False  # full-context embeddings: they read the supports as a sequence, so their order then matters
    n_segments: int = number(8, low=1)  # T, which the contexts of ``pooling="time"`` must know


class MatchingNet(UnimodalMethod):
    """A query attends to all supports of the episode; a class's probability is the attention on its supports.

    s_ij = logit_scale * cos(q_i, x_j);  p(k | q_i) = sum over j of class k of softmax_j(s_ij).

    Deviations: front, of ``width`` where 512 is proposed for 2048-d features, and temperature.  How the CMN paper
    pooled the frames for this row, and whether it used full-context embeddings, is unknown.  Kept time and a logit
    scale of 3 learned on trial clips where the proposed mean and 10 did not: at 10 the posterior begins over-confident
    and the temperature falls until it is uniform.
    """

    def __init__(self, dims: Mapping[str, int], options: MatchingNetOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options, generator=generator)
        if options.fce:
            with self.initialise("context"):
                self.context = FullContext(self.width * (options.n_segments if options.pooling == "time" else 1))

    def embed(self, clips: Features) -> dict[str, Tensor]:
        frames, options = self.frames(clips), self.options
        if options.fce and options.pooling == "time" and frames.shape[1] != options.n_segments:
            raise ShapeError(
                f"clips have T = {frames.shape[1]} segments but the contexts were built for {options.n_segments}. "
                f"Set n_segments to {frames.shape[1]}."
            )
        vectors = frames.mean(1) if options.pooling == "mean" else frames.flatten(1)  # (B, d')
        return {self.modality: vectors if options.fce else unit_vectors(vectors)}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        supports, queries = support[self.modality], query[self.modality]  # (E, N, K, d'), (E, M, d')
        if self.options.fce:
            supports, queries = (unit_vectors(vectors) for vectors in self.context(supports, queries))
        scores = torch.einsum("emd,enkd->emnk", queries, supports) * self.log_scale.exp()
        attention = torch.log_softmax(scores.flatten(2), dim=-1).unflatten(2, scores.shape[2:])
        return EpisodeOutput(attention.logsumexp(-1))


class FullContext(nn.Module):
    """Full-context embeddings: supports read each other, and each query reads the supports N * K times.

    Supports: x + forward + backward states of a bidirectional LSTM over the N * K supports in their order.  Queries: an
    LSTM cell whose input is the query and its dot-product attention over those supports, begun at the query itself;
    the query is added to each new state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.supports = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.query = nn.LSTMCell(2 * width, width)

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """(E, N, K, d) supports and (E, M, d) queries -> both in context, of the same shapes."""
        sequence = support.flatten(1, 2)  # (E, N * K, d)
        forward, backward = self.supports(sequence)[0].chunk(2, dim=-1)
        sequence = sequence + forward + backward
        plain = query.flatten(0, 1)  # (E * M, d)
        hidden, cell = plain, torch.zeros_like(plain)
        for _ in range(sequence.shape[1]):
            attention = (hidden.unflatten(0, query.shape[:2]) @ sequence.transpose(1, 2)).softmax(-1)  # (E, M, N * K)
            read = (attention @ sequence).flatten(0, 1)
            hidden, cell = self.query(torch.cat((plain, read), dim=-1), (hidden, cell))
            hidden = hidden + plain
        return sequence.unflatten(1, support.shape[1:3]), hidden.unflatten(0, query.shape[:2])
