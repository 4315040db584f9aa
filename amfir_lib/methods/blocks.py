"""Comparisons of many queries in blocks, so that what is alive at once is bounded by a parameter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BATCH_MB = 2.0  # of intermediate values, about what a core's cache holds; larger blocks are slower on CPUs
FLOATS_PER_MB = 2**18  # in float32


def in_blocks(
    compare: Callable[[Tensor, Tensor], Tensor],
    support: Tensor,
    query: Tensor,
    *,
    floats_per_query: int,
    batch_mb: float = BATCH_MB,
) -> Tensor:
    """Apply ``compare`` to blocks of whole episodes, or of queries of one episode where one alone is too large.

    The bound holds where no gradient is recorded.  In training the graph keeps every block, and the number of episodes
    per step is the bound.

    Args:
        compare: (e, N, K, ...) supports and (e, m, ...) queries -> (e, m, N); each query on its own.
        support: (E, N, K, ...).
        query: (E, M, ...).
        floats_per_query: intermediate values that one query needs.
        batch_mb: megabytes of intermediate values at a time, counted as float32.
    Returns:
        (E, M, N), equal to ``compare(support, query)`` up to the order of sums.
    """
    n_queries = query.shape[1]
    at_once = max(1, int(batch_mb * FLOATS_PER_MB / floats_per_query))
    n_episodes = max(1, at_once // n_queries)
    rows = [
        torch.cat([compare(own, part) for part in queries.split(min(at_once, n_queries), dim=1)], dim=1)
        for own, queries in zip(support.split(n_episodes), query.split(n_episodes), strict=True)
    ]
    return torch.cat(rows)
