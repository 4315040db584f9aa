"""Readings of Eq. 1: the free energy of one query in one modality; lower means more reliable.

Eq. 1 names a divergence but no generative model, no likelihood and no prior, so the paper alone does not define F.
Each function here is one reading (decision A1).  Those with the joint posterior as the model, and the calibration of a
score, are ours beside the paper's (decision A6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amfir_lib.distances import distances
from amfir_lib.errors import BadParameter

VARIANCE_FLOOR = 1e-6  # of the mean square of the supports, so that equal supports do not give a density of zero width
TINY_VARIANCE = 1e-20  # where the supports are zero as well


@dataclass(frozen=True)
class Evidence:
    """All that one modality of a batch of E episodes offers to a reliability score."""

    log_posterior: Tensor  # (E, M, N) log-probabilities (Eq. 2)
    distances: Tensor  # (E, M, N) temperature-scaled psi, whose softmax of the negative is the posterior
    query: Tensor | None = None  # (E, M, d) video vectors; None where distances come from inner products
    support: Tensor | None = None  # (E, N, K, d) video vectors; None likewise
    logit_scale: Tensor | float = 1.0  # 1 / temperature, a scalar
    metric: str = "euclidean"  # of the distances
    scaled: bool = True  # whether they are divided by the width
    target: Tensor | None = None  # (E, M) int64 true positions, in training only; the oracle asks for them


def centred(evidence: Evidence) -> Tensor:
    """F = mean_k log p(k): minus log-sum-exp of the centred negative energies, so it needs the posterior alone.

    With energies psi_k, Helmholtz' -log sum_k exp(-psi_k) has an additive constant that the posterior cannot see.
    Centring (psi_k - mean psi) fixes it, and the result is mean_k log p(k) = -log N - KL(uniform || p) <= -log N.
    Example: p = (0.8, 0.2) gives -0.9163; p = (0.5, 0.5) gives -0.6931.
    """
    return evidence.log_posterior.mean(-1)


def helmholtz(evidence: Evidence) -> Tensor:
    """F = -tau log sum_k exp(-psi_k / tau): about the distance to the nearest prototype, in units of distance."""
    return -torch.logsumexp(-evidence.distances, dim=-1) / evidence.logit_scale


def vfe_gauss(evidence: Evidence) -> Tensor:
    """F = -(1/d) log (1/N) sum_k N(q; t_k, s^2 I): Gaussian classes with a uniform prior, in nats per dimension.

    t_k are the class means of the supports and s^2 is the episode's pooled within-class variance per dimension.  With
    one support per class there is no scatter within it, and the variance around the mean of all supports, which is an
    upper bound, takes its place.  The value depends on the unit of the features, so the modalities are comparable only
    as far as their heads scale features alike.
    """
    query, support = evidence.query, evidence.support
    n_way, n_shot, d = support.shape[1:]
    mean = support.mean(2)  # (E, N, d)
    if n_shot > 1:
        squared = (support - mean.unsqueeze(2)).square().sum((1, 2, 3)) / (n_way * (n_shot - 1) * d)
    else:
        squared = (mean - mean.mean(1, keepdim=True)).square().sum((1, 2)) / (max(n_way - 1, 1) * d)
    floor = VARIANCE_FLOOR * support.square().mean((1, 2, 3)) + TINY_VARIANCE
    variance = torch.maximum(squared, floor)[:, None]  # (E, 1)
    exponent = -distances(query, mean, metric="sqeuclidean", scaled=False) / (2 * variance.unsqueeze(-1))
    log_mixture = torch.logsumexp(exponent, dim=-1) - math.log(n_way)
    return 0.5 * torch.log(2 * math.pi * variance) - log_mixture / d


def vfe_discrete(evidence: Evidence) -> Tensor:
    """F = min_q sum_s q(s) (log q(s) - log prior(s) - E_o log A(o | s)) >= 0: states and outcomes are the classes.

    The outcome is the class that the modality announces: o ~ p, the query's posterior.  The likelihood A(o | s) is the
    posterior of the supports of class s, each compared with prototypes that leave it out, averaged over the supports;
    with one support per class nothing would be left, so its own prototype stays in.  The prior is uniform and the
    minimum over q is -log sum_s prior(s) exp(E_o log A(o | s)).
    """
    support = evidence.support
    n_episodes, n_way, n_shot, d = support.shape
    mean = support.mean(2)
    prototypes = mean[:, None, None].expand(n_episodes, n_way, n_shot, n_way, d)
    if n_shot > 1:
        left_out = (mean.unsqueeze(2) * n_shot - support) / (n_shot - 1)  # (E, N, K, d)
        of_its_class = torch.eye(n_way, dtype=torch.bool, device=support.device)[None, :, None, :, None]
        prototypes = torch.where(of_its_class, left_out.unsqueeze(3), prototypes)
    psi = distances(support.flatten(1, 2), prototypes.flatten(1, 2), metric=evidence.metric, scaled=evidence.scaled)
    log_p = torch.log_softmax(-psi * evidence.logit_scale, dim=-1).reshape(n_episodes, n_way, n_shot, n_way)
    log_likelihood = torch.logsumexp(log_p, dim=2) - math.log(n_shot)  # (E, N states, N outcomes)
    expected = torch.einsum("emo,eso->ems", evidence.log_posterior.exp(), log_likelihood)
    return math.log(n_way) - torch.logsumexp(expected, dim=-1)


def entropy(evidence: Evidence) -> Tensor:
    """F = -sum_k p(k) log p(k), the Shannon entropy in nats."""
    return -(evidence.log_posterior.exp() * evidence.log_posterior).sum(-1)


def neg_certainty(evidence: Evidence) -> Tensor:
    """F = -max_k p(k): the score by which AMFAR is taken to form its groups."""
    return -evidence.log_posterior.amax(-1).exp()


def oracle(evidence: Evidence) -> Tensor:
    """F = -log p(y): the modality that gives the true class more weight; an upper bound that reads the labels."""
    if evidence.target is None:
        raise BadParameter(
            'score "oracle" needs the labels of the queries. Use it in training, or choose another score.'
        )
    return -evidence.log_posterior.gather(-1, evidence.target.unsqueeze(-1)).squeeze(-1)


NEED_VECTORS = ("vfe_gauss", "vfe_discrete")  # names of readings that look at the video vectors themselves
READINGS = {
    reading.__name__: reading
    for reading in (centred, helmholtz, vfe_gauss, vfe_discrete, entropy, neg_certainty, oracle)
}


def joint_posterior(log_posteriors: Mapping[str, Tensor]) -> Tensor:
    """P(k) ∝ prod_m p_m(k): what both modalities know together, if they err independently and classes are alike.

    From modality -> (E, M, N) log-probabilities to (E, M, N).  Example: p = (0.8, 0.2) and (0.4, 0.6) give
    (0.7273, 0.2727).
    """
    return torch.log_softmax(sum(log_posteriors.values()), dim=-1)


def joint(log_posteriors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """F_m = KL(p_m || P) >= 0: Eq. 1 to the letter, with the modality's posterior as q and the joint one as the model.

    From modality -> (E, M, N) to modality -> (E, M) in nats.  Example: p = (0.8, 0.2) and (0.4, 0.6):
    0.0142 and 0.2339.
    """
    model = joint_posterior(log_posteriors)
    return {m: (log_p.exp() * (log_p - model)).sum(-1) for m, log_p in log_posteriors.items()}


def joint_decision(log_posteriors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """F_m = -log P(argmax_k p_m(k)) >= 0: the same with all of q on the class that the modality announces.

    Where both announce one class the scores are equal, so the query is in no group: only disagreement teaches.  Shapes
    as ``joint``.  Example: p = (0.8, 0.2) and (0.4, 0.6): 0.3185 and 1.2993.
    """
    model = joint_posterior(log_posteriors)
    announced = {m: log_p.argmax(-1, keepdim=True) for m, log_p in log_posteriors.items()}
    return {m: -model.gather(-1, places).squeeze(-1) for m, places in announced.items()}


JOINT_READINGS = {"joint": joint, "joint_decision": joint_decision}


def tempered(evidence: Evidence, temperature: float) -> Evidence:
    """The same evidence with its posterior softened: p^(1/T) normalised again; T above 1 softens, below 1 sharpens.

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
