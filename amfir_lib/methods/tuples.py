"""Ordered tuples of frames, and attention between the tuples of a query and those of a class (TRX, STRM).

Perrett et al. 2021 ("Temporal-Relational CrossTransformers"): all increasing w-subsets of the T frames of a clip, as
concatenated frame vectors; a query tuple attends to all tuples of all supports of a class at once.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.methods.blocks import BATCH_MB, in_blocks


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
    """``linear`` of every tuple's concatenated frames.

    A matrix times a concatenation is the sum of its parts times the frames, so each frame is projected once per place
    in a tuple and not once per tuple.

    Args:
        frames: (B, T, d).
        linear: from w * d to d'; the frames of a tuple come in time order.
        cardinality: w.
    Returns:
        (B, P, d'), P tuples in the order of ``tuple_indices``.
    Raises:
        BadParameter: as ``tuple_indices``. ShapeError: the layer was built for another width or cardinality.
    """
    width = frames.shape[-1]
    if linear.in_features != cardinality * width:
        raise ShapeError(
            f"tuples of {cardinality} frames of width {width} have {cardinality * width} values, but the layer takes "
            f"{linear.in_features}. Build both with the same width and cardinality."
        )
    indices = torch.tensor(tuple_indices(frames.shape[1], cardinality), device=frames.device)  # (P, w)
    projected = linear.bias
    for place, weight in enumerate(linear.weight.split(width, dim=1)):
        projected = projected + (frames @ weight.T)[:, indices[:, place]]  # (B, P, d')
    return projected


class TupleAttention(nn.Module):
    """Keys and values of the tuples of one cardinality; one set of weights for supports and queries.

    Args:
        width: d of the frames.
        tuple_width: d' of keys and values.
        cardinality: w.
    """

    def __init__(self, width: int, tuple_width: int, *, cardinality: int) -> None:
        super().__init__()
        self.cardinality = cardinality
        self.key = nn.Linear(cardinality * width, tuple_width)
        self.value = nn.Linear(cardinality * width, tuple_width)
        self.key_norm = nn.LayerNorm(tuple_width)  # on keys only, as in the published code

    def forward(self, frames: Tensor) -> Tensor:
        """All that depends on the clip alone: (B, T, d) -> (B, 2, P, d'), keys and values."""
        keys = self.key_norm(project_tuples(frames, self.key, self.cardinality))
        return torch.stack((keys, project_tuples(frames, self.value, self.cardinality)), dim=1)


def tuple_distances(support: Tensor, query: Tensor, *, batch_mb: float = BATCH_MB) -> Tensor:
    """Squared distance of a query's tuples to what each class answers them with, over the number of tuples.

    One softmax over all K * P support tuples of a class, of key . key / sqrt(d'), weighs their values; the mean over
    the P query tuples of |value - answer|^2 is the distance.

    Args:
        support: (E, N, K, 2, P, d') keys and values.
        query: (E, M, 2, P, d') keys and values.
        batch_mb: see ``in_blocks``.
    Returns:
        (E, M, N) distances.
    """
    n_way, n_shot, _, n_tuples, width = support.shape[1:]
    floats = n_way * n_tuples * (2 * n_shot * n_tuples + 2 * width)  # answers, differences; scores on some devices
    return in_blocks(_answer_distances, support, query, floats_per_query=floats, batch_mb=batch_mb)


def _answer_distances(support: Tensor, query: Tensor) -> Tensor:
    keys, values = (x.flatten(2, 3) for x in support.unbind(3))  # (E, N, K * P, d')
    own_keys, own_values = (x.flatten(1, 2).unsqueeze(1) for x in query.unbind(2))  # (E, 1, M * P, d')
    own_keys = own_keys.expand(-1, keys.shape[1], -1, -1)
    answers = scaled_dot_product_attention(own_keys, keys, values)  # one softmax, without a matrix of scores
    left = (own_values - answers).square().sum(-1)  # (E, N, M * P)
    return left.unflatten(2, (query.shape[1], -1)).mean(-1).transpose(1, 2)  # (E, M, N)


def nearest_tuple_distances(support: Tensor, query: Tensor, *, batch_mb: float = BATCH_MB) -> Tensor:
    """Mean over a query's tuples of the Euclidean distance to the nearest tuple of a class (STRM's query-class part).

    The nearest tuple is found from inner products; only the distance to it is computed in full and has a gradient.

    Args:
        support: (E, N, K, P, d').
        query: (E, M, P, d').
        batch_mb: see ``in_blocks``.
    Returns:
        (E, M, N) distances.
    """
    n_way, n_shot, n_tuples, width = support.shape[1:]
    floats = n_way * n_tuples * (2 * n_shot * n_tuples + 2 * width)
    return in_blocks(_nearest_distances, support, query, floats_per_query=floats, batch_mb=batch_mb)


def _nearest_distances(support: Tensor, query: Tensor) -> Tensor:
    tuples = support.flatten(2, 3)  # (E, N, K * P, d')
    with torch.no_grad():
        squared = tuples.square().sum(-1)[:, :, None, None] - 2 * torch.einsum("empd,ensd->enmps", query, tuples)
        nearest = squared.argmin(-1).flatten(2)  # (E, N, M * P)
    answers = tuples.gather(2, nearest.unsqueeze(-1).expand(-1, -1, -1, tuples.shape[-1]))
    answers = answers.unflatten(2, query.shape[1:3])  # (E, N, M, P, d')
    return torch.linalg.vector_norm(query.unsqueeze(1) - answers, dim=-1).mean(-1).transpose(1, 2)
