"""Scores that a modality cannot form alone: readings of Eq. 1 with the joint posterior as the model, and calibration.

The paper has none of them; they are options of ours beside its readings (decisions A1 and A6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from amfir_lib.errors import BadParameter
from amfir_lib.readings import Evidence


def joint_posterior(log_posteriors: Mapping[str, Tensor]) -> Tensor:
    """P(k) ∝ prod_m p_m(k): what both modalities know together, if they err independently and classes are alike.

    Args:
        log_posteriors: modality -> (E, M, N).
    Returns:
        (E, M, N) log-probabilities.
    Example:
        p = (0.8, 0.2) and (0.4, 0.6) give (0.7273, 0.2727).
    """
    return torch.log_softmax(sum(log_posteriors.values()), dim=-1)


def joint(log_posteriors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """F_m = KL(p_m || P): Eq. 1 to the letter, with the modality's posterior as q and the joint one as the model.

    Args:
        log_posteriors: modality -> (E, M, N).
    Returns:
        modality -> (E, M) in nats, >= 0 up to rounding; lower means that the modality stands nearer to what both say.
    Example:
        p = (0.8, 0.2) and (0.4, 0.6): 0.0142 and 0.2339.
    """
    both = joint_posterior(log_posteriors)
    return {m: (own.exp() * (own - both)).sum(-1) for m, own in log_posteriors.items()}


def joint_decision(log_posteriors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """F_m = -log P(argmax_k p_m(k)): the same with all of q on the class that the modality announces.

    Where both announce one class the scores are equal, so the query is in no group: only disagreement teaches.

    Args:
        log_posteriors: modality -> (E, M, N).
    Returns:
        modality -> (E, M) in nats, >= 0.
    Example:
        p = (0.8, 0.2) and (0.4, 0.6): 0.3185 and 1.2993.
    """
    both = joint_posterior(log_posteriors)
    return {
        m: -both.gather(-1, own.argmax(-1, keepdim=True)).squeeze(-1) for m, own in log_posteriors.items()
    }  # (E, M) each


JOINT_READINGS = {"joint": joint, "joint_decision": joint_decision}


def tempered(evidence: Evidence, temperature: float) -> Evidence:
    """The same evidence with its posterior softened: p^(1/T) normalised again.

    Args:
        evidence: of one modality.
        temperature: T, positive; above 1 it softens, below 1 it sharpens; 1 changes nothing.
    Raises:
        BadParameter: the temperature is not positive.
    Example:
        p = (0.8, 0.2) with T = 2 becomes (0.6667, 0.3333).
    """
    if not temperature > 0:
        raise BadParameter(f"temperature is {temperature} but must be positive. 1 leaves the posterior as it is.")
    if temperature == 1:
        return evidence
    return replace(
        evidence,
        log_posterior=torch.log_softmax(evidence.log_posterior / temperature, dim=-1),
        distances=evidence.distances / temperature,
        logit_scale=evidence.logit_scale / temperature,
    )
