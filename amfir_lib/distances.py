"""Distances between queries and prototypes (the psi of Eq. 2 and 7), and between sets of frames (HyRSM)."""

from __future__ import annotations

import torch
from torch import Tensor

from amfir_lib.errors import ShapeError, unknown_name

METRICS_ABOUT_THE_MEAN = ("euclidean", "sqeuclidean")  # which moving all vectors alike does not change
METRICS = (*METRICS_ABOUT_THE_MEAN, "cosine")
COSINE_EPSILON = 1e-20  # added to squared norms: far below those of features at scale 1e-6


def distances(query: Tensor, prototypes: Tensor, *, metric: str = "euclidean", scaled: bool = True) -> Tensor:
    """Distance of each query to each prototype (psi of Eq. 2).

    Gradients are finite everywhere; at distance zero the Euclidean one is zero.  Sums of squared differences are used,
    not the expansion |q|^2 - 2 q t + |t|^2, which loses all digits where the two are close.

    Args:
        query: (E, M, d) query vectors.
        prototypes: (E, N, d) prototypes that all queries share, or (E, M, N, d) one set for each query.
        metric: "euclidean" (the paper's text), "sqeuclidean", or "cosine" (1 - cosine similarity, in [0, 2]).
        scaled: divide every vector by sqrt(d) first, so that the Euclidean distance does not grow with the width
            (decision B3): Euclidean distances are divided by sqrt(d), squared ones by d, cosine is unchanged.
    Returns:
        (E, M, N) distances, unitless.
    Raises:
        ShapeError: E, M or d differ.
        UnknownName: no such metric.
    Example:
        Prototypes 0 and ln 4, queries 0 and ln 4 on a line: distances (0, 1.3863) and (1.3863, 0).
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    shared = prototypes.dim() == 3
    if query.dim() != 3 or query.shape[-1] != prototypes.shape[-1] or query.shape[0] != prototypes.shape[0]:
        raise ShapeError(
            f"queries {tuple(query.shape)} must be (E, M, d) and prototypes {tuple(prototypes.shape)} (E, N, d) or "
            "(E, M, N, d) with the same E and d. Embed both with the same head."
        )
    if not shared and prototypes.shape[:2] != query.shape[:2]:
        raise ShapeError(
            f"query-specific prototypes {tuple(prototypes.shape)} must begin with (E, M) of the queries "
            f"{tuple(query.shape)}. Build one set of prototypes for each query."
        )
    if metric == "cosine":
        query = query * (query.square().sum(-1, keepdim=True) + COSINE_EPSILON).rsqrt()
        prototypes = prototypes * (prototypes.square().sum(-1, keepdim=True) + COSINE_EPSILON).rsqrt()
        return 1 - torch.einsum("emd,end->emn" if shared else "emd,emnd->emn", query, prototypes)
    if shared:
        distance = torch.cdist(query, prototypes, compute_mode="donot_use_mm_for_euclid_dist")  # (E, M, N)
    else:
        queries = query.flatten(0, 1).unsqueeze(1)  # (E * M, 1, d)
        distance = torch.cdist(queries, prototypes.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
        distance = distance.reshape(prototypes.shape[:3])
    if scaled:
        distance = distance / query.shape[-1] ** 0.5
    return distance if metric == "euclidean" else distance.square()


def inner_products(vectors: Tensor, *, scaled: bool = True) -> Tensor:
    """Inner products of n vectors less their mean, as ``distances_from_products`` reads them.

    In float64, and about the mean, the expansion |q|^2 - 2 q t + |t|^2 is as exact as differences in float32 are.
    From (n, d) to (n, n) float64, over d if scaled.
    """
    vectors = vectors.double()
    vectors = vectors - vectors.mean(0)
    products = vectors @ vectors.T
    return products / vectors.shape[1] if scaled else products


def distances_from_products(products: Tensor, support: Tensor, query: Tensor, *, metric: str = "euclidean") -> Tensor:
    """``distances`` of queries to class means, for any number of episodes among the same n vectors.

    |q - t|^2 = q.q - 2 mean_k q.s_k + mean_kl s_k.s_l for the mean t of the supports s_k.

    Args:
        products: (n, n) of ``inner_products``.
        support: (E, N, K) places among the n.
        query: (E, M) places among the n.
        metric: "euclidean" or "sqeuclidean"; a cosine is not about the mean.
    Returns:
        (E, M, N) float64.  Vectors 0, 1 and 3 on a line: 0 is at distance 2 from the mean of 1 and 3.
    """
    if metric not in METRICS_ABOUT_THE_MEAN:
        raise unknown_name("metric", metric, METRICS_ABOUT_THE_MEAN)
    support, query = support.to(products.device), query.to(products.device)
    square = products.diagonal()[query].unsqueeze(-1)  # (E, M, 1)
    cross = products[query[:, :, None, None], support.unsqueeze(1)].mean(-1)  # (E, M, N)
    within = products[support.unsqueeze(-1), support.unsqueeze(-2)].mean((-1, -2)).unsqueeze(1)  # (E, 1, N)
    squared = (square - 2 * cross + within).clamp_min(0)
    return squared.sqrt() if metric == "euclidean" else squared


def hausdorff(first: Tensor, second: Tensor, *, mean: bool = True) -> Tensor:
    """Bidirectional mean Hausdorff distance between two sets of frames.

    d_ij = 1 - cosine; mean_i min_j d_ij + mean_j min_i d_ij, symmetric in the two sets.

    Args:
        first: (..., T, d) frames.
        second: (..., T', d) frames; leading axes broadcast.
        mean: over the frames; False sums, as the published code does.
    Returns:
        (...) distances, in [0, 4] for means.
    Example:
        Sets {(1, 0), (0, 1)} and {(1, 0)}: (0 + 1) / 2 + 0 = 0.5; the sum is 1.
    """
    first, second = (x * (x.square().sum(-1, keepdim=True) + COSINE_EPSILON).rsqrt() for x in (first, second))
    distance = 1 - first @ second.transpose(-1, -2)  # (..., T, T')
    nearest = (distance.amin(-1), distance.amin(-2))
    return sum(x.mean(-1) if mean else x.sum(-1) for x in nearest)
