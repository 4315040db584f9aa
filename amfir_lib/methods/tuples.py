"""Ordered tuples of frames, and their keys and values (TRX, STRM); distances between them are in ``tuple_distances``.

Perrett et al. 2021 ("Temporal-Relational CrossTransformers"): all increasing w-subsets of the T frames of a clip, as
concatenated frame vectors; a query tuple attends to all tuples of all supports of a class at once.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as project

from amfir_lib.errors import BadParameter, ShapeError


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
    n_clips, n_frames = frames.shape[:2]
    parts = linear.weight.unflatten(1, (cardinality, width)).transpose(0, 1).flatten(0, 1)  # (w * d', d)
    placed = project(frames, parts).reshape(n_clips, n_frames * cardinality, -1)  # each frame at each place
    members = frames.new_zeros(len(tuple_indices(n_frames, cardinality)), n_frames * cardinality)
    indices = torch.tensor(tuple_indices(n_frames, cardinality), device=frames.device)  # (P, w)
    members.scatter_(1, indices * cardinality + torch.arange(cardinality, device=frames.device), 1)
    return torch.baddbmm(linear.bias, members.expand(n_clips, -1, -1), placed)  # sums of w: a product beats a gather


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

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """All that depends on the clip alone: (B, T, d) -> keys and values, each (B, P, d')."""
        keys = self.key_norm(project_tuples(frames, self.key, self.cardinality))
        return keys, project_tuples(frames, self.value, self.cardinality)
