"""Active multimodal inference (Sec. 3.5): certainty (Eq. 5), fusion weights (Eq. 8), fused posterior (Eq. 7)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from amfir_lib.errors import BadParameter, ShapeError, unknown_name

WEIGHTS = ("certainty", "free_energy", "equal", "hard", "first", "second")


def certainty(log_posterior: Tensor) -> Tensor:
    """Absolute certainty c = max_k p(k) of each query (Eq. 5): (E, M, N) -> (E, M) in [1/N, 1]."""
    return log_posterior.amax(-1).exp()


def fusion_weights(
    log_posteriors: Mapping[str, Tensor],
    *,
    weight: str = "certainty",
    power: float = 1.0,
    energies: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """How much each modality counts for each query (Eq. 8); the weights of a query sum to 1.

    Args:
        log_posteriors: modality -> (E, M, N).
        weight: "certainty" alpha_m = c_m / sum c (Eq. 8); "free_energy" alpha_m ∝ exp(-F_m); "equal"; "hard" all on
            the most certain modality, shared in a tie; "first" or "second" all on that one.
        power: sharpens: alpha_m ∝ alpha_m^power; 1 is the paper's setting, 0 gives equal weights.
        energies: modality -> (E, M) free energy, for "free_energy".
    Returns:
        modality -> (E, M) weights in [0, 1].
    Raises:
        UnknownName: no such weight.
        BadParameter: "free_energy" without energies, a negative power, or "second" with one modality.
    Example:
        Certainties 0.8 and 0.5 give the weights 0.6154 and 0.3846; 0.6 and 0.9 give 0.4 and 0.6.
    """
    if weight not in WEIGHTS:
        raise unknown_name("fusion weight", weight, WEIGHTS)
    if not power >= 0:
        raise BadParameter(
            f"power is {power} but must be at least 0, or the less reliable modality would win. Raise it."
        )
    names = list(log_posteriors)
    log_certainty = torch.stack([log_posteriors[m].amax(-1) for m in names])  # (modalities, E, M)
    if weight == "certainty":
        log_weight = log_certainty
    elif weight == "free_energy":
        if energies is None:
            raise BadParameter(
                'fusion weight "free_energy" needs the free energies. Pass energies, or use "certainty".'
            )
        log_weight = -torch.stack([energies[m] for m in names])
    elif weight == "equal":
        log_weight = torch.zeros_like(log_certainty)
    elif weight == "hard":
        winner = log_certainty == log_certainty.amax(0)
        return dict(zip(names, winner / winner.sum(0), strict=True))
    else:
        if weight == "second" and len(names) < 2:
            raise BadParameter(f'fusion weight "second" needs two modalities, but there is only "{names[0]}".')
        place = 0 if weight == "first" else 1
        return {m: torch.full_like(log_certainty[0], n == place) for n, m in enumerate(names)}
    return dict(zip(names, torch.softmax(power * log_weight, dim=0), strict=True))


def fuse_posteriors(distances: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """Fused log-posterior P(k | x) ∝ exp(-sum_m alpha_m psi_m(k)) (Eq. 7), in log space.

    With temperature-scaled distances this is the product of the modalities' posteriors raised to their weights, so a
    modality with large distances cannot dominate by its unit.

    Args:
        distances: modality -> (E, M, N) psi, temperature-scaled unless the raw form is wanted (decision D2).
        weights: modality -> (E, M).
    Returns:
        (E, M, N) log-probabilities.
    Raises:
        ShapeError: distances and weights name different modalities.
    Example:
        Distances (0, ln 4) with weight 0.6154 and (0, 0) with weight 0.3846 give the probabilities (0.7012, 0.2988).
    """
    if set(distances) != set(weights):
        raise ShapeError(
            f"distances are of {sorted(distances)} but weights of {sorted(weights)}. Give each modality one of each."
        )
    return torch.log_softmax(-sum(weights[m].unsqueeze(-1) * distances[m] for m in distances), dim=-1)
