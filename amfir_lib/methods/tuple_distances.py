"""How far the tuples of a query are from those of a class: by attention (TRX, STRM), and from the nearest one (STRM).

Nearly all the time of these methods goes into the attention, so its two products and its gradient are written out and
done in pieces that stay in a core's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import max_pool2d

from amfir_lib.methods.blocks import BATCH_MB, FLOATS_PER_MB

SAFE_EXPONENT = 60.0  # exp of it, and of its negative, leave float32 room for sums and products


def tuple_distances(
    support: tuple[Tensor, Tensor], query: tuple[Tensor, Tensor], *, batch_mb: float = BATCH_MB
) -> Tensor:
    """Squared distance of a query's tuples to what each class answers them with, over the number of tuples.

    One softmax over all K * P support tuples of a class, of key . key / sqrt(d'), weighs their values; the mean over
    the P query tuples of |value - answer|^2 is the distance.

    Args:
        support: keys and values, each (E, N, K, P, d').
        query: keys and values, each (E, M, P, d').
        batch_mb: megabytes of scores at a time, counted as float32; one query's scores are never divided.
    Returns:
        (E, M, N) distances.
    """
    keys, values = (x.flatten(2, 3) for x in support)  # (E, N, K * P, d')
    own_keys, own_values = query
    return _AnswerDistances.apply(keys, values, own_keys, own_values, batch_mb)


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
        ctx: Any, keys: Tensor, values: Tensor, own_keys: Tensor, own_values: Tensor, batch_mb: float
    ) -> Tensor:
        n_episodes, n_way, n_support, width = keys.shape
        n_queries, n_tuples = own_keys.shape[1:3]
        own_keys = own_keys * width**-0.5
        ctx.shifted = bool(_longest(keys) * _longest(own_keys) > SAFE_EXPONENT)
        ctx.at_once = max(1, int(batch_mb * FLOATS_PER_MB / (n_way * n_tuples * n_support)))
        distance, kept = keys.new_empty(n_episodes, n_queries, n_way), []
        for e, part in _pieces(n_episodes, n_queries, ctx.at_once):
            weights = _weights(own_keys[e, part], keys[e], shifted=ctx.shifted)  # (N, m * P, S)
            total = weights.sum(-1, keepdim=True)
            answers = torch.bmm(weights, values[e]).div_(total)
            left = answers - own_values[e, part].flatten(0, 1)
            distance[e, part] = torch.linalg.vector_norm(left.unflatten(1, (-1, n_tuples)), dim=(2, 3)).T
            if any(ctx.needs_input_grad):
                kept += [left, total.squeeze(-1), torch.linalg.vecdot(left, answers)]
        ctx.save_for_backward(keys, values, own_keys, *kept)
        return distance.square_().div_(n_tuples)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, own_keys, *kept = ctx.saved_tensors
        (n_way, _, width), (n_queries, n_tuples) = keys.shape[1:], own_keys.shape[1:3]
        of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
        of_own_keys, of_own_values = torch.empty_like(own_keys), torch.empty_like(own_keys)
        for number, (e, part) in enumerate(_pieces(len(keys), n_queries, ctx.at_once)):
            left, total, along = kept[3 * number : 3 * number + 3]  # (N, m * P, d'), (N, m * P), (N, m * P)
            share = (2 / n_tuples * gradient[e, part].T).repeat_interleave(n_tuples, 1)  # (N, m * P)
            of_own_values[e, part] = torch.linalg.vecdot(left, -share.unsqueeze(-1), dim=0).unflatten(0, (-1, n_tuples))
            share = share / total
            of_answers = left * share.unsqueeze(-1)
            weights = _weights(own_keys[e, part], keys[e], shifted=ctx.shifted)
            of_values[e].baddbmm_(weights.mT, of_answers)
            of_scores = torch.bmm(of_answers, values[e].mT).sub_((along * share).unsqueeze(-1)).mul_(weights)
            of_own_keys[e, part] = torch.bmm(of_scores, keys[e]).sum(0).unflatten(0, (-1, n_tuples))
            of_keys[e].baddbmm_(of_scores.mT, own_keys[e, part].flatten(0, 1).expand(n_way, -1, -1))
        return of_keys, of_values, of_own_keys.mul_(width**-0.5), of_own_values, None


def _pieces(n_episodes: int, n_queries: int, at_once: int) -> Iterator[tuple[int, slice]]:
    """Each episode, with parts of its queries that are about equal and no more than ``at_once``."""
    size = -(-n_queries // -(-n_queries // at_once))
    for e in range(n_episodes):
        for start in range(0, n_queries, size):
            yield e, slice(start, start + size)


def _longest(vectors: Tensor) -> Tensor:
    """(..., d') -> the greatest length."""
    return torch.linalg.vector_norm(vectors, dim=-1).amax()


def _weights(own_keys: Tensor, keys: Tensor, *, shifted: bool) -> Tensor:
    """exp of the scores of (m, P, d') query tuples with (N, S, d') class tuples -> (N, m * P, S), not yet normalised.

    Scores no greater than the product of the longest keys need no shift; others lose the greatest of their row.
    """
    scores = torch.bmm(own_keys.flatten(0, 1).expand(len(keys), -1, -1), keys.mT)
    if shifted:
        scores -= scores.amax(-1, keepdim=True)
    return scores.exp_()


def nearest_tuple_distances(support: Tensor, query: Tensor, *, batch_mb: float = BATCH_MB) -> Tensor:
    """Mean over a query's tuples of the Euclidean distance to the nearest tuple of a class (STRM's query-class part).

    The nearest tuple is found from inner products; only the distance to it is computed in full and has a gradient.

    Args:
        support: (E, N, K, P, d').
        query: (E, M, P, d').
        batch_mb: as ``tuple_distances``.
    Returns:
        (E, M, N) distances.
    """
    n_way, n_tuples = support.shape[1], query.shape[2]
    tuples = support.flatten(2, 3)  # (E, N, S, d')
    n_support = tuples.shape[2]
    at_once = max(1, int(batch_mb * FLOATS_PER_MB / (n_way * n_tuples * n_support)))
    first = n_support * torch.arange(n_way, device=query.device).unsqueeze(1)  # of each class among all N * S tuples
    rows = []
    for e, part in _pieces(len(query), query.shape[1], at_once):
        own = query[e, part].flatten(0, 1)  # (m * P, d')
        nearest = (_nearest(own, tuples[e]) + first).flatten()
        answers = tuples[e].flatten(0, 1).index_select(0, nearest).unflatten(0, (n_way, -1))  # (N, m * P, d')
        rows.append(torch.linalg.vector_norm(own - answers, dim=-1).unflatten(1, (-1, n_tuples)).mean(-1).T)
    return torch.cat(rows).unflatten(0, query.shape[:2])


@torch.no_grad()
def _nearest(own: Tensor, tuples: Tensor) -> Tensor:
    """(m, d') and (N, S, d') -> (N, m): which of the S tuples of a class is nearest to each of the m."""
    squared = tuples.square().sum(-1, keepdim=True)
    closeness = torch.baddbmm(squared, tuples, own.T.expand(len(tuples), -1, -1), beta=-1, alpha=2)  # (N, S, m)
    # The greatest of each column, as max pooling with m channels: five times faster on CPUs than argmax.
    image = closeness.unsqueeze(2).permute(0, 3, 1, 2)  # (N, m, S, 1), channels last
    return max_pool2d(image, (image.shape[2], 1), return_indices=True)[1].flatten(1)
