"""Active mutual distillation (Sec. 3.4): who teaches whom, and by how much (Eq. 4 and 6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.inference import Groups

DIRECTIONS = ("forward", "reverse", "js")
SCOPES = ("group", "all")
MASKS = ("none", "teacher_correct")
STRATEGIES = ("bidirectional", "none", "t_rgb", "t_flow", "rd_only", "fd_only")


def divergence(
    teacher: Tensor, student: Tensor, *, kd_direction: str = "forward", kd_temperature: float = 1.0
) -> Tensor:
    """Divergence of the student's posterior from the teacher's (Eq. 4, the sum over classes); the teacher is detached.

    Args:
        teacher, student: (..., N) log-posteriors.
        kd_direction: "forward" KL(teacher || student) as in Eq. 4, "reverse" KL(student || teacher), or "js" the
            Jensen-Shannon divergence.
        kd_temperature: both posteriors are softened by it, p^(1/T) normalised again; 1 is the paper's setting.
    Returns:
        (...) in nats, >= 0 up to rounding.
    Raises:
        UnknownName: no such direction.
        BadParameter: the temperature is not positive.
    Example:
        Teacher (0.8, 0.2), student (0.5, 0.5): 0.1927.  Teacher (0.1, 0.9), student (0.4, 0.6): 0.2263.
    """
    if kd_direction not in DIRECTIONS:
        raise unknown_name("kd_direction", kd_direction, DIRECTIONS)
    if not kd_temperature > 0:
        raise BadParameter(f"kd_temperature is {kd_temperature} but must be positive. The paper's setting is 1.")
    teacher = teacher.detach()
    if kd_temperature != 1:
        teacher = torch.log_softmax(teacher / kd_temperature, dim=-1)
        student = torch.log_softmax(student / kd_temperature, dim=-1)
    if kd_direction == "forward":
        return _kl(teacher, student)
    if kd_direction == "reverse":
        return _kl(student, teacher)
    middle = torch.logaddexp(teacher, student) - math.log(2)
    return 0.5 * (_kl(teacher, middle) + _kl(student, middle))


def distillation_loss(
    teacher: Tensor, student: Tensor, *, members: Tensor, kd_direction: str = "forward", kd_temperature: float = 1.0
) -> Tensor:
    """Distillation from one modality to the other, for each episode (Eq. 6).

    L_{m->n} = sum_{i in G_m} c_i^m D(p_i^m, p_i^n) / sum_{i in G_m} c_i^m, with the teacher's certainty c (Eq. 5) as
    weight.  Teacher and weights are detached: no gradient reaches the teaching modality.

    Args:
        teacher, student: (E, M, N) log-posteriors of the modalities m and n.
        members: (E, M) bool, the queries that modality m teaches.
        kd_direction, kd_temperature: see ``divergence``; the certainty is taken before softening.
    Returns:
        (E,) in nats; zero, and with zero gradient, for an episode whose group is empty.
    Example:
        Teacher (0.8, 0.2) and (0.4, 0.6), student (0.5, 0.5) and (0.1, 0.9), the first query in the group: 0.1927.
        With both queries in it: (0.8 x 0.1927 + 0.6 x 0.3112) / 1.4 = 0.2435.
    """
    weight = torch.where(members, teacher.detach().amax(-1).exp(), 0.0)  # (E, M)
    total = weight.sum(-1)
    apart = divergence(teacher, student, kd_direction=kd_direction, kd_temperature=kd_temperature)
    return (weight * apart).sum(-1) / torch.where(total > 0, total, 1.0)


def teaching_members(
    groups: Groups,
    first: Tensor,
    second: Tensor,
    *,
    kd_strategy: str = "bidirectional",
    kd_scope: str = "group",
    kd_mask: str = "none",
    target: Tensor | None = None,
) -> Groups:
    """The queries on which each modality teaches the other.

    Args:
        groups: dominance by free energy (Eq. 3).
        first, second: (E, M, N) log-posteriors of the modalities.
        kd_strategy: "bidirectional" as the paper; "none"; "t_rgb" and "t_flow": the first (second) modality teaches
            all queries and the other none (Fig. 4); "rd_only" and "fd_only": the first (second) teaches its own group
            and the other none (Table 2).
        kd_scope: "group": a modality teaches its own group; "all": each teaches all queries.
        kd_mask: "teacher_correct" keeps only queries that the teacher classifies rightly.
        target: (E, M) true positions, for kd_mask "teacher_correct".
    Returns:
        Groups: ``first`` the queries that the first modality teaches, ``second`` those that the second teaches.
    Raises:
        UnknownName: no such strategy, scope or mask.
        BadParameter: "teacher_correct" without labels.
    """
    for kind, value, known in (
        ("kd_strategy", kd_strategy, STRATEGIES),
        ("kd_scope", kd_scope, SCOPES),
        ("kd_mask", kd_mask, MASKS),
    ):
        if value not in known:
            raise unknown_name(kind, value, known)
    everything, nothing = torch.ones_like(groups.first), torch.zeros_like(groups.first)
    scope = Groups(everything, everything) if kd_scope == "all" else groups
    by_first, by_second = {
        "bidirectional": (scope.first, scope.second),
        "none": (nothing, nothing),
        "t_rgb": (everything, nothing),
        "t_flow": (nothing, everything),
        "rd_only": (scope.first, nothing),
        "fd_only": (nothing, scope.second),
    }[kd_strategy]
    if kd_mask == "teacher_correct":
        if target is None:
            raise BadParameter('kd_mask "teacher_correct" needs the labels of the queries. Use it in training only.')
        by_first = by_first & (first.argmax(-1) == target)
        by_second = by_second & (second.argmax(-1) == target)
    return Groups(first=by_first, second=by_second)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) over the last axis, both in log space."""
    return (p.exp() * (p - q)).sum(-1)
