"""The heavy heads as their published codes run them: one episode at a time, every clip projected again in each.

Written from the descriptions of the methods, with the weights of a method of this study, so that both give the same
distances.  Arguments: support (N, K, T, P, D), query (M, T, P, D); result (M, N) distances before the temperature.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from amfir_lib.methods.hyrsm import Hyrsm
from amfir_lib.methods.layers import POSITION_SCALE, sinusoidal_positions
from amfir_lib.methods.otam import Otam
from amfir_lib.methods.strm import Strm
from amfir_lib.methods.trx import Trx
from amfir_lib.methods.tuples import TupleAttention


def attention_distances(attention: TupleAttention, support: Tensor, query: Tensor, *, n_shot: int) -> Tensor:
    """Tuple attention of TRX: frames (N * K, T, d) and (M, T, d) -> (M, N)."""

    def tuples_of(frames: Tensor) -> Tensor:
        places = combinations(range(frames.shape[1]), attention.cardinality)
        return torch.stack([frames[:, list(one)].flatten(1) for one in places], dim=1)  # (B, P, w * d)

    tuples, own = tuples_of(support), tuples_of(query)
    keys, values = attention.key_norm(attention.key(tuples)), attention.value(tuples)
    own_keys, own_values = attention.key_norm(attention.key(own)), attention.value(own)
    distances = []
    for start in range(0, len(support), n_shot):  # one class after another
        class_keys, class_values = (x[start : start + n_shot].flatten(0, 1) for x in (keys, values))
        scores = own_keys @ class_keys.T / class_keys.shape[-1] ** 0.5  # (M, P, K * P)
        prototypes = scores.softmax(-1) @ class_values
        distances.append((own_values - prototypes).square().sum((-1, -2)) / own.shape[1])
    return torch.stack(distances, dim=1)


def trx(method: Trx, support: Tensor, query: Tensor) -> Tensor:
    """Tuples of two and three frames, projected from their concatenated frames."""
    n_shot, each = support.shape[1], []
    for attention in method.tuples.values():
        sides = (method.frames({method.modality: x}) for x in (support.flatten(0, 1), query))
        placed = (x + POSITION_SCALE * sinusoidal_positions(x) for x in sides)
        each.append(attention_distances(attention, *placed, n_shot=n_shot))
    distance = torch.stack(each).mean(0)
    return distance / method.options.tuple_width if method.options.scaled else distance


def strm(method: Strm, support: Tensor, query: Tensor) -> Tensor:
    """Patch level, query-class similarity, frame level, tuple attention."""
    n_shot, cardinality = support.shape[1], method.options.cardinality

    def frames_of(clips: Tensor) -> Tensor:
        level, patches = method.patch_level, method.projection(method.norm(clips))  # (B, T, P, d)
        patches = patches + POSITION_SCALE * sinusoidal_positions(patches)
        scores = level.query(patches) @ level.key(patches).transpose(-1, -2)
        patches = level.gamma * (scores.softmax(-1) @ level.value(patches)) + patches
        return (patches + level.mlp(patches)).mean(2)

    def auxiliary_of(frames: Tensor) -> Tensor:
        places = combinations(range(frames.shape[1]), cardinality)
        tuples = torch.stack([frames[:, list(one)].flatten(1) for one in places], dim=1)
        return method.aux_head(tuples).relu()

    frames, own = frames_of(support.flatten(0, 1)), frames_of(query)
    tuples, own_tuples = auxiliary_of(frames), auxiliary_of(own)
    nearest = []
    for start in range(0, len(tuples), n_shot):
        apart = torch.cdist(own_tuples, tuples[start : start + n_shot].flatten(0, 1)[None].expand(len(own), -1, -1))
        nearest.append(apart.amin(-1).mean(-1))
    mixed, own_mixed = method.frame_level(frames), method.frame_level(own)
    main = attention_distances(method.attention, mixed, own_mixed, n_shot=n_shot)
    nearest = torch.stack(nearest, dim=1)
    if method.options.scaled:
        main, nearest = main / method.options.tuple_width, nearest / method.aux_head.out_features**0.5
    return main + method.options.aux_weight * nearest


def hyrsm(method: Hyrsm, support: Tensor, query: Tensor) -> Tensor:
    """Intra-relation of every clip, then the inter-relation and the join of every query with all supports."""
    n_way, n_queries = len(support), len(query)
    supports = method.embed({method.modality: support.flatten(0, 1)})["frames"].unflatten(0, support.shape[:2]).mean(1)
    queries = method.embed({method.modality: query})["frames"]  # (M, T, d)
    clips = torch.cat((supports.expand(n_queries, -1, -1, -1), queries.unsqueeze(1)), dim=1)  # (M, N + 1, T, d)
    tokens = clips.mean(2)
    tokens = method.inter_norm(method.inter(tokens) + tokens).relu()
    repeated = tokens.unsqueeze(2).expand_as(clips)
    joined = method.join(torch.cat((repeated, clips), dim=-1))  # (M, N + 1, T, d)
    joined = joined / joined.norm(dim=-1, keepdim=True)
    distances = []
    for k in range(n_way):
        apart = 1 - joined[:, k] @ joined[:, -1].transpose(-1, -2)  # (M, T, T)
        nearest = (apart.amin(-1), apart.amin(-2))
        distances.append(sum(x.mean(-1) if method.options.scaled else x.sum(-1) for x in nearest))
    return torch.stack(distances, dim=1)


def otam(method: Otam, support: Tensor, query: Tensor) -> Tensor:
    """Cosines of all pairs of frames, then the recursion cell by cell, in both directions."""
    smoothing = method.options.smoothing
    supports = method.frames({method.modality: support.flatten(0, 1)})
    queries = method.frames({method.modality: query})
    length = queries.norm(dim=-1)[:, None, :, None] * supports.norm(dim=-1)[None, :, None, :]
    cost = 1 - torch.einsum("mtd,sud->mstu", queries, supports) / length  # (M, N * K, T, T)

    def aligned(cost: Tensor) -> Tensor:
        cost = torch.nn.functional.pad(cost, (1, 1))
        last = cost.shape[-1] - 1
        row = [torch.zeros_like(cost[..., 0, 0])]
        for m in range(1, last + 1):
            row.append(cost[..., 0, m] + row[-1])
        for level in range(1, cost.shape[-2]):
            above, row = row, [row[0]]
            for m in range(1, last + 1):
                before = [above[m - 1], row[m - 1]] + ([above[m]] if m in (1, last) else [])
                soft = -smoothing * torch.logsumexp(-torch.stack(before) / smoothing, dim=0)
                row.append(cost[..., level, m] + soft)
        return row[-1]

    distance = aligned(cost) + aligned(cost.transpose(-1, -2))
    if method.options.scaled:
        distance = distance / sum(cost.shape[-2:])
    return distance.unflatten(1, support.shape[:2]).mean(-1)


LOOPS = {"trx": trx, "strm": strm, "hyrsm": hyrsm, "otam": otam}
