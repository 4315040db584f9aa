"""Ordered tuples of frames (TRX, STRM): keys and values, and how far those of a query are from those of a class.

Perrett et al. 2021 ("Temporal-Relational CrossTransformers"): all increasing w-subsets of the T frames of a clip, as
concatenated frame vectors; a query tuple attends to all tuples of all supports of a class at once.  Nearly all the
time of these methods goes into the attention, so its two products and its gradient are written out and done in pieces
that stay in a core's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear as project
from torch.nn.functional import max_pool2d

from amfir_lib.errors import BadParameter
from amfir_lib.methods.front import BATCH_MB, FLOATS_PER_MB

SAFE_EXPONENT = 60.0  # exp of it, and of its negative, leave float32 room for sums and products


@lru_cache
def tuple_indices(n_frames: int, cardinality: int) -> tuple[tuple[int, ...], ...]:
    """All increasing tuples of frame numbers: T = 8 gives 28 pairs and 56 triples.

    Raises:
        BadParameter: more places in a tuple than frames, or none.
    """
    if not 1 <= cardinality <= n_frames:
        raise BadParameter(
            f"cardinality is {cardinality}, but tuples of {n_frames} frames have 1 to {n_frames} places. Correct it."
        )
    return tuple(combinations(range(n_frames), cardinality))


def project_tuples(frames: Tensor, linear: nn.Linear, cardinality: int) -> Tensor:
    """``linear``, from w * d to d', of the concatenated frames of every tuple: (B, T, d) -> (B, P, d').

    A matrix times a concatenation is the sum of its parts times the frames, so each frame is projected once per place
    in a tuple and not once per tuple.  The P tuples come in the order of ``tuple_indices``.
    """
    n_clips, n_frames, width = frames.shape
    parts = linear.weight.unflatten(1, (cardinality, width)).transpose(0, 1).flatten(0, 1)  # (w * d', d)
    placed = project(frames, parts).reshape(n_clips, n_frames * cardinality, -1)  # each frame at each place
    members = frames.new_zeros(len(tuple_indices(n_frames, cardinality)), n_frames * cardinality)
    indices = torch.tensor(tuple_indices(n_frames, cardinality), device=frames.device)  # (P, w)
    members.scatter_(1, indices * cardinality + torch.arange(cardinality, device=frames.device), 1)
    return torch.baddbmm(linear.bias, members.expand(n_clips, -1, -1), placed)  # sums of w: a product beats a gather


class TupleAttention(nn.Module):
    """Keys and values, of width d', of the tuples of w frames; one set of weights for supports and queries."""

    def __init__(self, width: int, tuple_width: int, *, cardinality: int) -> None:
        super().__init__()
        self.cardinality = cardinality
        self.key = nn.Linear(cardinality * width, tuple_width)
        self.value = nn.Linear(cardinality * width, tuple_width)
        self.key_norm = nn.LayerNorm(tuple_width)  # on keys only, as in the published code

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """All that depends on the clip alone: (B, T, d) -> keys and values, each (B, P, d')."""
        keys = self.key_norm(project_tuples(frames, self.key, self.cardinality))
        return keys, project_tuples(frames, self.value, self.cardinality)


def tuple_distances(
    support: tuple[Tensor, Tensor], query: tuple[Tensor, Tensor], *, batch_mb: float = BATCH_MB
) -> Tensor:
    """Squared distance of a query's tuples to what each class answers them with, over the number of tuples.

    One softmax over all K * P support tuples of a class, of key . key / sqrt(d'), weighs their values; the mean over
    the P query tuples of |value - answer|^2 is the distance.

    Args:
        support, query: keys and values, each (E, N, K, P, d') and (E, M, P, d').
        batch_mb: megabytes of scores at a time, counted as float32; one query's scores are never divided.
    Returns:
        (E, M, N) distances.
    """
    keys, values = (x.flatten(2, 3) for x in support)  # (E, N, K * P, d')
    return _AnswerDistances.apply(keys, values, *query, batch_mb)


class _AnswerDistances(torch.autograd.Function):
    """``tuple_distances`` of supports (E, N, S, d') and queries (E, M, P, d'), with its gradient.

    With weights w = exp(q . k / sqrt(d')) and their sum z over the S = K * P tuples of a class, the answer is
    a = w V / z and what is left over r = a - v; the distance is the sum of r^2 over the tuples of a query, over P.
    A gradient g of the distance gives h = 2 g r / P for the answer, -h for v, w h / z for V, and
    w (V . h - a . h) / z for the scores.  Scores are computed again for the gradient: that takes less time than to
    keep them, which would leave the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, keys: Tensor, values: Tensor, query_keys: Tensor, query_values: Tensor, batch_mb: float
    ) -> Tensor:
        n_episodes, n_way, n_support, width = keys.shape
        n_queries, n_tuples = query_keys.shape[1:3]
        query_keys = query_keys * width**-0.5
        longest = [torch.linalg.vector_norm(x, dim=-1).amax() for x in (keys, query_keys)]
        ctx.shifted = bool(longest[0] * longest[1] > SAFE_EXPONENT)
        ctx.at_once = _queries_at_once(batch_mb, n_way * n_tuples * n_support)
        distance, kept = keys.new_empty(n_episodes, n_queries, n_way), []
        for e, queries in _pieces(n_episodes, n_queries, ctx.at_once):
            weights = _weights(query_keys[e, queries], keys[e], shifted=ctx.shifted)  # (N, m * P, S)
            total = weights.sum(-1, keepdim=True)
            answers = torch.bmm(weights, values[e]).div_(total)
            left = answers - query_values[e, queries].flatten(0, 1)
            distance[e, queries] = torch.linalg.vector_norm(left.unflatten(1, (-1, n_tuples)), dim=(2, 3)).T
            if any(ctx.needs_input_grad):
                kept += [left, total.squeeze(-1), torch.linalg.vecdot(left, answers)]
        ctx.save_for_backward(keys, values, query_keys, *kept)
        return distance.square_().div_(n_tuples)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, query_keys, *kept = ctx.saved_tensors
        (n_way, _, width), (n_queries, n_tuples) = keys.shape[1:], query_keys.shape[1:3]
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        of_query_keys, of_query_values = torch.empty_like(query_keys), torch.empty_like(query_keys)
        for number, (e, queries) in enumerate(_pieces(len(keys), n_queries, ctx.at_once)):
            left, total, along = kept[3 * number : 3 * number + 3]  # (N, m * P, d'), (N, m * P), (N, m * P)
            share = (2 / n_tuples * gradient[e, queries].T).repeat_interleave(n_tuples, 1)  # (N, m * P)
            of_left = torch.linalg.vecdot(left, -share.unsqueeze(-1), dim=0)
            of_query_values[e, queries] = of_left.unflatten(0, (-1, n_tuples))
            share = share / total
            of_answers = left * share.unsqueeze(-1)
            weights = _weights(query_keys[e, queries], keys[e], shifted=ctx.shifted)
            of_values[e].baddbmm_(weights.mT, of_answers)
            of_scores = torch.bmm(of_answers, values[e].mT).sub_((along * share).unsqueeze(-1)).mul_(weights)
            of_query_keys[e, queries] = torch.bmm(of_scores, keys[e]).sum(0).unflatten(0, (-1, n_tuples))
            of_keys[e].baddbmm_(of_scores.mT, query_keys[e, queries].flatten(0, 1).expand(n_way, -1, -1))
        return of_keys, of_values, of_query_keys.mul_(width**-0.5), of_query_values, None


def _queries_at_once(batch_mb: float, floats_per_query: int) -> int:
    return max(1, int(batch_mb * FLOATS_PER_MB / floats_per_query))


def _pieces(n_episodes: int, n_queries: int, at_once: int) -> Iterator[tuple[int, slice]]:
    """Each episode, with parts of its queries that are about equal and no more than ``at_once``."""
    size = -(-n_queries // -(-n_queries // at_once))
    for e in range(n_episodes):
        for start in range(0, n_queries, size):
            yield e, slice(start, start + size)


def _weights(query_keys: Tensor, keys: Tensor, *, shifted: bool) -> Tensor:
    """exp of the scores of (m, P, d') query tuples with (N, S, d') class tuples -> (N, m * P, S), not yet normalised.

    Scores no greater than the product of the longest keys need no shift; others lose the greatest of their row.
    """
    scores = torch.bmm(query_keys.flatten(0, 1).expand(len(keys), -1, -1), keys.mT)
    if shifted:
        scores -= scores.amax(-1, keepdim=True)
    return scores.exp_()


def nearest_tuple_distances(support: Tensor, query: Tensor, *, batch_mb: float = BATCH_MB) -> Tensor:
    """Mean over a query's tuples of the Euclidean distance to the nearest tuple of a class (STRM's query-class part).

    The nearest tuple is found from inner products; only the distance to it is computed in full and has a gradient.
    (E, N, K, P, d') and (E, M, P, d') -> (E, M, N); ``batch_mb`` as ``tuple_distances``.
    """
    n_way, n_tuples = support.shape[1], query.shape[2]
    tuples = support.flatten(2, 3)  # (E, N, S, d')
    n_support = tuples.shape[2]
    at_once = _queries_at_once(batch_mb, n_way * n_tuples * n_support)
    first = n_support * torch.arange(n_way, device=query.device).unsqueeze(1)  # of each class among all N * S tuples
    rows = []
    for e, queries in _pieces(len(query), query.shape[1], at_once):
        asked = query[e, queries].flatten(0, 1)  # (m * P, d')
        nearest = (_nearest(asked, tuples[e]) + first).flatten()
        answers = tuples[e].flatten(0, 1).index_select(0, nearest).unflatten(0, (n_way, -1))  # (N, m * P, d')
        rows.append(torch.linalg.vector_norm(asked - answers, dim=-1).unflatten(1, (-1, n_tuples)).mean(-1).T)
    return torch.cat(rows).unflatten(0, query.shape[:2])


@torch.no_grad()
def _nearest(asked: Tensor, tuples: Tensor) -> Tensor:
    """(m, d') and (N, S, d') -> (N, m): which of the S tuples of a class is nearest to each of the m."""
    squared = tuples.square().sum(-1, keepdim=True)
    closeness = torch.baddbmm(squared, tuples, asked.T.expand(len(tuples), -1, -1), beta=-1, alpha=2)  # (N, S, m)
    # The greatest of each column, as max pooling with m channels: five times faster on CPUs than argmax.
    image = closeness.unsqueeze(2).permute(0, 3, 1, 2)  # (N, m, S, 1), channels last
    return max_pool2d(image, (image.shape[2], 1), return_indices=True)[1].flatten(1)
