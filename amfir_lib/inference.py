"""Active sample inference (Sec. 3.3): posterior (Eq. 2), free energy (Eq. 1) and groups (Eq. 3).

Lower free energy means more reliable.  Eq. 1 can be read in several ways, which ``readings`` holds; ``free_energy`` is
the one switch between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amfir_lib.distances import distances
from amfir_lib.errors import BadParameter, ShapeError, unknown_name
from amfir_lib.readings import READINGS, Evidence

SCORES = (*READINGS, "random")


@dataclass(frozen=True)
class Groups:
    """Which modality dominates each query (Eq. 3); a query may be in neither group, never in both."""

    first: Tensor  # (E, M) bool, queries dominated by the first modality (appearance; the paper's G_r)
    second: Tensor  # (E, M) bool, queries dominated by the second modality (motion; the paper's G_f)


def log_posterior(distance: Tensor) -> Tensor:
    """Class posterior from (..., N) temperature-scaled distances psi / temperature (Eq. 2), in log space.

    Example: distances (0, ln 4) give the probabilities (0.8, 0.2).
    """
    return torch.log_softmax(-distance, dim=-1)


def modality_posterior(
    query: Tensor, prototypes: Tensor, *, temperature: float = 1.0, metric: str = "euclidean", scaled: bool = False
) -> Tensor:
    """Class posterior of each query in one modality (Eq. 2).

    p(k | x) ∝ exp(-psi(q, t_k) / temperature), computed in log space.

    Args:
        query: (E, M, d) query vectors; E episodes, M queries each.
        prototypes: (E, N, d) class prototypes, or (E, M, N, d) one set for each query.
        temperature: positive; 1 is the paper's setting. Unitless.
        metric: see ``distances``; the paper says "Euclidean distance".
        scaled: see ``distances``; False is the paper's setting.
    Returns:
        (E, M, N) log-probabilities; each row's exp sums to 1.
    Raises:
        BadParameter: the temperature is not positive.
        ShapeError: E, M or d differ between the two.
    """
    if not temperature > 0:
        raise BadParameter(f"temperature is {temperature} but must be positive. The paper's setting is 1.")
    return log_posterior(distances(query, prototypes, metric=metric, scaled=scaled) / temperature)


def free_energy(evidence: Evidence, *, score: str = "centred", generator: torch.Generator | None = None) -> Tensor:
    """Free energy of each query in one modality (Eq. 1, decision A1); lower means more reliable.

    Args:
        evidence: of the modality.
        score: one of SCORES; "centred" is the default reading, "neg_certainty" gives AMFAR, "random" and "oracle" are
            the lower and the upper control.
        generator: for "random" alone, which draws uniformly from [0, 1).
    Returns:
        (E, M), in nats except for neg_certainty and random (unitless) and helmholtz (unit of distance).
    Raises:
        UnknownName: no such score.
        BadParameter: "random" without a generator, or "oracle" without labels.
    """
    if score == "random":
        if generator is None:
            raise BadParameter('score "random" needs a generator. Pass a torch.Generator with a seed.')
        like = evidence.log_posterior[..., 0]
        return torch.rand(like.shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
    if score not in READINGS:
        raise unknown_name("score", score, SCORES)
    return READINGS[score](evidence)


def standardise(energy: Tensor) -> Tensor:
    """Z-score of (E, M) free energy over the queries of each episode (decision A6); zero where all are alike."""
    centred_energy = energy - energy.mean(-1, keepdim=True)
    spread = centred_energy.square().mean(-1, keepdim=True).sqrt()
    alike = spread <= 1e-6 * energy.abs().amax(-1, keepdim=True)  # rounding, not difference
    return torch.where(alike, 0.0, centred_energy / torch.where(alike, 1.0, spread))


def reliability_groups(first: Tensor, second: Tensor, *, margin: float = 0.0, eq3_literal: bool = False) -> Groups:
    """Groups of queries by dominant modality (Eq. 3): the lower free energy wins.

    G_m = {i : F_i^m < F_i^n - margin}.  A tie, or a difference within the margin, is in no group.

    Args:
        first, second: (E, M) free energy of each modality.
        margin: how much lower the winner must be, >= 0, in the unit of the free energy.
        eq3_literal: take F^m > F^n as printed, although the text says that lower is more reliable.
    Raises:
        ShapeError: the two differ in shape.
        BadParameter: the margin is negative.
    Example:
        F of two queries (-0.9163, -0.7136) against (-0.6931, -1.2040): the first query is in the first modality's
        group, the second query in the second's.
    """
    if first.shape != second.shape:
        raise ShapeError(
            f"free energies have shapes {tuple(first.shape)} and {tuple(second.shape)}. Score both on the same queries."
        )
    if not margin >= 0:
        raise BadParameter(f"margin is {margin} but must be at least 0, or a query could be in both groups. Raise it.")
    if eq3_literal:
        first, second = second, first
    difference = first - second
    return Groups(first=difference < -margin, second=difference > margin)
