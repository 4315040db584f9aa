"""Distillation (Eq. 4 and 6).  Tolerances: 1e-12 in float64; 2e-4 for examples rounded to four digits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amfir_lib.distillation import DIRECTIONS, STRATEGIES, distillation_loss, divergence, teaching_members
from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.inference import Groups

FIRST = torch.tensor([[[0.8, 0.2], [0.4, 0.6]]], dtype=torch.float64).log()
SECOND = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]], dtype=torch.float64).log()
GROUPS = Groups(first=torch.tensor([[True, False]]), second=torch.tensor([[False, True]]))


def posteriors(seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(torch.randn(3, 6, 4, generator=generator, dtype=dtype) * scale, -1)


def members(seed=0):
    return torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) < 0.5


def members_of(strategy, **kwargs):
    found = teaching_members(GROUPS, FIRST, SECOND, kd_strategy=strategy, **kwargs)
    return found.first[0].tolist(), found.second[0].tolist()


def test_divergence_of_the_worked_example():
    assert divergence(FIRST[0, 0], SECOND[0, 0]).item() == pytest.approx(0.1927, abs=2e-4)
    assert divergence(SECOND[0, 1], FIRST[0, 1]).item() == pytest.approx(0.2263, abs=2e-4)


def test_distillation_of_the_worked_example():
    one = distillation_loss(FIRST, SECOND, members=GROUPS.first)
    both = distillation_loss(FIRST, SECOND, members=torch.tensor([[True, True]]))
    back = distillation_loss(SECOND, FIRST, members=GROUPS.second)
    assert (one.item(), both.item(), back.item()) == pytest.approx((0.1927, 0.2435, 0.2263), abs=2e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_matches_a_loop_over_queries(direction, temperature):
    teacher, student, inside = posteriors(0).exp().numpy(), posteriors(1).exp().numpy(), members().numpy()

    def soften(p):
        return p ** (1 / temperature) / (p ** (1 / temperature)).sum()

    def kl(p, q):
        return sum(p[k] * (np.log(p[k]) - np.log(q[k])) for k in range(4))

    expected = []
    for e in range(3):
        above = below = 0.0
        for i in range(6):
            if inside[e, i]:
                t, s = soften(teacher[e, i]), soften(student[e, i])
                middle = (t + s) / 2
                apart = {"forward": kl(t, s), "reverse": kl(s, t), "js": (kl(t, middle) + kl(s, middle)) / 2}[direction]
                above, below = above + teacher[e, i].max() * apart, below + teacher[e, i].max()
        expected.append(above / below)
    found = distillation_loss(
        posteriors(0), posteriors(1), members=members(), kd_direction=direction, kd_temperature=temperature
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@settings(deadline=None)
@given(st.sampled_from(DIRECTIONS), st.integers(0, 1000), st.floats(0.01, 30))
def test_divergence_is_zero_for_equal_posteriors_and_never_negative(direction, seed, scale):
    p, q = posteriors(seed, scale), posteriors(seed + 1, scale)
    assert (divergence(p, p, kd_direction=direction).abs() < 1e-12).all()
    assert (divergence(p, q, kd_direction=direction) > -1e-12).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_gradient_reaches_the_teacher(direction):
    teacher, student = posteriors(0).requires_grad_(), posteriors(1).requires_grad_()
    distillation_loss(teacher, student, members=members(), kd_direction=direction).sum().backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_the_gradient_of_forward_distillation_is_the_weighted_gap_between_the_posteriors():
    logits = posteriors(1).requires_grad_()
    teacher, inside = posteriors(0), members()
    distillation_loss(teacher, torch.log_softmax(logits, -1), members=inside).sum().backward()
    weight = teacher.exp().amax(-1) * inside
    weight = weight / weight.sum(-1, keepdim=True)
    np.testing.assert_allclose(logits.grad, weight.unsqueeze(-1) * (logits.exp() - teacher.exp()).detach(), atol=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_empty_group_gives_a_differentiable_zero(direction):
    student = posteriors(1).requires_grad_()
    inside = members()
    inside[1] = False
    loss = distillation_loss(posteriors(0), student, members=inside, kd_direction=direction)
    loss.sum().backward()
    assert loss[1] == 0 and (student.grad[1] == 0).all() and student.grad.isfinite().all()
    assert loss[0] > 0 and loss[2] > 0


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e8])
def test_values_and_gradients_are_finite_for_flat_and_for_one_hot_posteriors(direction, scale):
    student = posteriors(1, scale, torch.float32).requires_grad_()
    loss = distillation_loss(posteriors(0, scale, torch.float32), student, members=members(), kd_direction=direction)
    loss.sum().backward()
    assert loss.isfinite().all() and student.grad.isfinite().all()


def test_float32_agrees_with_float64_within_one_part_in_ten_thousand():
    exact = distillation_loss(posteriors(0), posteriors(1), members=members())
    rounded = distillation_loss(posteriors(0).float(), posteriors(1).float(), members=members())
    assert rounded.numpy() == pytest.approx(exact.numpy(), rel=1e-4)


def test_each_strategy_lets_the_stated_modality_teach_the_stated_queries():
    expected = {
        "bidirectional": ([True, False], [False, True]),
        "none": ([False, False], [False, False]),
        "t_rgb": ([True, True], [False, False]),
        "t_flow": ([False, False], [True, True]),
        "rd_only": ([True, False], [False, False]),
        "fd_only": ([False, False], [False, True]),
    }
    assert {strategy: members_of(strategy) for strategy in STRATEGIES} == expected
    assert members_of("bidirectional", kd_scope="all") == ([True, True], [True, True])


def test_the_mask_keeps_only_queries_that_the_teacher_gets_right():
    target = torch.tensor([[0, 0]])  # the first modality is right on the first query, the second on none it dominates
    assert members_of("bidirectional", kd_mask="teacher_correct", target=target) == ([True, False], [False, False])


def test_unknown_names_and_missing_labels_are_refused():
    with pytest.raises(UnknownName, match='did you mean "bidirectional"'):
        members_of("bidirectionnal")
    with pytest.raises(UnknownName, match='did you mean "forward"'):
        divergence(FIRST, SECOND, kd_direction="forwards")
    with pytest.raises(BadParameter, match="needs the labels"):
        members_of("bidirectional", kd_mask="teacher_correct")
    with pytest.raises(BadParameter, match="kd_temperature is 0"):
        divergence(FIRST, SECOND, kd_temperature=0)
