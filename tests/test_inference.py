"""Distances, posterior, free energy and groups (Eq. 1-3).

Tolerances: 1e-12 in float64, where only the order of summation differs; 1e-6 for the gauge identity in float32;
2e-4 for worked examples, whose numbers are rounded to four digits.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amfir_lib.distances import METRICS, METRICS_ABOUT_THE_MEAN, distances, distances_from_products, inner_products
from amfir_lib.errors import BadParameter, ShapeError, UnknownName
from amfir_lib.inference import (
    SCORES,
    free_energy,
    log_posterior,
    modality_posterior,
    reliability_groups,
    standardise,
)
from amfir_lib.readings import Evidence

SCALES = (1e-6, 1.0, 1e6)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def evidence_of(support, query, *, metric="euclidean", logit_scale=2.0, scaled=True, target=None):
    psi = distances(query, support.mean(2), metric=metric, scaled=scaled) * logit_scale
    return Evidence(log_posterior(psi), psi, query, support, logit_scale, metric, scaled, target)


def evidence_from(probabilities):
    log_p = torch.tensor(probabilities, dtype=torch.float64).log()[None]
    return Evidence(log_p, -log_p, torch.zeros(1, 2, 1), torch.zeros(1, 2, 1, 1))


def random_evidence(*, n_shot=3, scale=1.0, dtype=torch.float64, **kwargs):
    support, query = normal(2, 3, n_shot, 5, dtype=dtype), normal(2, 4, 5, seed=1, dtype=dtype)
    return evidence_of(support * scale, query * scale, target=torch.tensor([[0, 1, 2, 0]] * 2), **kwargs)


def score_of(evidence, score):
    return free_energy(evidence, score=score, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_distances_match_a_loop_over_pairs(metric, scaled, shared):
    query, prototypes = normal(2, 4, 5), normal(*((2, 3, 5) if shared else (2, 4, 3, 5)), seed=1)
    found = distances(query, prototypes, metric=metric, scaled=scaled).numpy()
    for e in range(2):
        for i in range(4):
            for k in range(3):
                q, t = query[e, i].numpy(), (prototypes[e, k] if shared else prototypes[e, i, k]).numpy()
                width = 5 if scaled else 1
                expected = {
                    "euclidean": np.linalg.norm(q - t) / np.sqrt(width),
                    "sqeuclidean": ((q - t) ** 2).sum() / width,
                    "cosine": 1 - q @ t / np.linalg.norm(q) / np.linalg.norm(t),
                }[metric]
                assert found[e, i, k] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", SCALES)
def test_distances_and_gradients_are_finite_at_every_scale_and_at_distance_zero(metric, scale):
    query = (normal(2, 4, 5, dtype=torch.float32) * scale).requires_grad_()
    prototypes = (query[:, :3] * torch.tensor([[[1.0], [0.0], [-1.0]]])).detach().requires_grad_()  # equal, zero, far
    psi = distances(query, prototypes, metric=metric)
    log_posterior(psi).sum().backward()
    assert psi[0, 0, 0].item() == pytest.approx(0, abs=1e-6)
    for tensor in (psi, query.grad, prototypes.grad):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("metric", METRICS_ABOUT_THE_MEAN)
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("n_shot", [1, 3])
def test_inner_products_give_the_distances_that_the_vectors_give(metric, scaled, n_shot):
    vectors = 1e3 + normal(20, 7)  # far from the origin
    places = torch.randint(20, (4, 5, n_shot), generator=torch.Generator().manual_seed(1))
    query = torch.randint(20, (4, 9), generator=torch.Generator().manual_seed(2))
    found = distances_from_products(inner_products(vectors, scaled=scaled), places, query, metric=metric)
    expected = distances(vectors[query], vectors[places].mean(2), metric=metric, scaled=scaled)
    np.testing.assert_allclose(found, expected, atol=1e-6)  # of 1: a difference of squares near 10 in float64
    rounded = distances_from_products(inner_products(vectors.float(), scaled=scaled), places, query, metric=metric)
    np.testing.assert_allclose(rounded, expected, atol=1e-2)  # float32 keeps 1e-4 of vectors near 1e3


def test_inner_products_give_the_worked_example_and_refuse_cosines():
    products = inner_products(torch.tensor([[0.0], [1.0], [3.0]]))
    support, query = torch.tensor([[[1, 2]]]), torch.tensor([[0]])
    assert distances_from_products(products, support, query).item() == pytest.approx(2)
    with pytest.raises(UnknownName, match="cosine"):
        distances_from_products(products, support, query, metric="cosine")


def test_the_euclidean_gradient_at_distance_zero_is_zero():
    query = torch.ones(1, 1, 3, requires_grad=True)
    distances(query, torch.ones(1, 1, 3)).sum().backward()
    assert (query.grad == 0).all()


def test_close_points_far_from_the_origin_keep_their_distance_in_float32():
    query = torch.full((1, 30, 8), 1000.0)
    prototypes = query[:, :30] + 0.01  # the expansion |q|^2 - 2 q t + |t|^2 would lose this
    assert distances(query, prototypes).numpy() == pytest.approx(0.01, rel=1e-2)


def test_posterior_matches_textbook_loop():
    query, prototypes = normal(2, 4, 5), normal(2, 3, 5, seed=1)
    found = modality_posterior(query, prototypes, temperature=0.7).exp().numpy()
    for e in range(2):
        for i in range(4):
            energy = [np.exp(-np.linalg.norm(query[e, i] - prototypes[e, k]) / 0.7) for k in range(3)]
            np.testing.assert_allclose(found[e, i], energy / np.sum(energy), atol=1e-12)


def test_posterior_of_the_worked_example():
    line = torch.tensor([[[0.0], [math.log(4)]]])  # as queries and as prototypes
    assert modality_posterior(line, line).exp().numpy() == pytest.approx(np.array([[[0.8, 0.2], [0.2, 0.8]]]))


def test_free_energy_of_the_worked_example():
    first, second = evidence_from([[0.8, 0.2], [0.4, 0.6]]), evidence_from([[0.5, 0.5], [0.1, 0.9]])
    assert free_energy(first).numpy() == pytest.approx(np.array([[-0.9163, -0.7136]]), abs=2e-4)
    assert free_energy(second).numpy() == pytest.approx(np.array([[-0.6931, -1.2040]]), abs=2e-4)
    groups = reliability_groups(free_energy(first), free_energy(second))
    assert groups.first.tolist() == [[True, False]] and groups.second.tolist() == [[False, True]]


@settings(deadline=None)
@given(n_way=st.integers(2, 10), scale=st.floats(0, 20), seed=st.integers(0, 10_000))
def test_centred_free_energy_is_helmholtz_with_the_gauge_fixed(n_way, scale, seed):
    psi = (normal(1, 3, n_way, seed=seed) * scale).float()
    centred_psi = psi - psi.mean(-1, keepdim=True)
    log_p = log_posterior(psi)
    found = free_energy(Evidence(log_p, psi, psi, psi))
    assert found.numpy() == pytest.approx(-torch.logsumexp(-centred_psi, -1).numpy(), rel=1e-6, abs=1e-6)
    uniform_gap = (1 / n_way * (math.log(1 / n_way) - log_p)).sum(-1)
    assert found.numpy() == pytest.approx((-math.log(n_way) - uniform_gap).numpy(), rel=1e-6, abs=2e-6)


def test_centred_free_energy_starts_at_minus_log_n_and_passes_the_plateau_of_figure_2():
    uniform, sharp = [[0.2] * 5] * 2, [[0.974] + [0.026 / 4] * 4] * 2
    assert free_energy(evidence_from(uniform))[0, 0].item() == pytest.approx(-math.log(5))
    assert free_energy(evidence_from(sharp))[0, 0].item() == pytest.approx(-4.03, abs=0.005)


@pytest.mark.parametrize("n_shot", [1, 3])
def test_every_score_matches_a_loop_over_queries(n_shot):
    evidence = random_evidence(n_shot=n_shot)
    support, query = evidence.support.numpy(), evidence.query.numpy()
    for e in range(2):
        means = support[e].mean(1)
        scatter = sum(((support[e, k] - means[k]) ** 2).sum() for k in range(3))
        variance = scatter / (3 * (n_shot - 1) * 5) if n_shot > 1 else ((means - means.mean(0)) ** 2).sum() / (2 * 5)
        likelihood = np.zeros((3, 3))  # state s, outcome o
        for s in range(3):
            for j in range(n_shot):
                others = means.copy()
                if n_shot > 1:
                    others[s] = np.delete(support[e, s], j, axis=0).mean(0)
                energy = np.exp(-2 * np.linalg.norm(support[e, s, j] - others, axis=1) / np.sqrt(5))
                likelihood[s] += energy / energy.sum() / n_shot
        for i in range(4):
            psi = 2 * np.linalg.norm(query[e, i] - means, axis=1) / np.sqrt(5)
            p = np.exp(-psi) / np.exp(-psi).sum()
            density = np.exp(-((query[e, i] - means) ** 2).sum(1) / 2 / variance) / (2 * np.pi * variance) ** 2.5
            expected_log = np.log(likelihood) @ p
            belief = np.exp(expected_log) / np.exp(expected_log).sum()
            expected = {
                "centred": np.log(p).mean(),
                "helmholtz": -np.log(np.exp(-psi).sum()) / 2,
                "vfe_gauss": -np.log(density.mean()) / 5,
                "vfe_discrete": (belief * (np.log(belief) - np.log(1 / 3) - expected_log)).sum(),
                "entropy": -(p * np.log(p)).sum(),
                "neg_certainty": -p.max(),
                "oracle": -np.log(p[evidence.target[e, i]]),
            }
            for score, value in expected.items():
                assert score_of(evidence, score)[e, i].item() == pytest.approx(value, abs=1e-10), score


@pytest.mark.parametrize("score", [s for s in SCORES if s not in ("random", "oracle", "helmholtz", "vfe_gauss")])
def test_a_sharper_posterior_has_the_lower_score(score):
    support = torch.eye(3, dtype=torch.float64)[None, :, None]
    query = torch.tensor([[[1.0, 0, 0], [0.4, 0.3, 0.3]]], dtype=torch.float64)  # at a prototype, between all
    scores = free_energy(evidence_of(support, query, logit_scale=5.0), score=score)
    assert scores[0, 0] < scores[0, 1]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("n_shot", [1, 2])
@pytest.mark.parametrize("scale", [0.0, *SCALES])
def test_every_score_is_finite_at_every_scale_and_when_all_clips_are_equal(score, n_shot, scale):
    assert score_of(random_evidence(n_shot=n_shot, scale=scale, dtype=torch.float32), score).isfinite().all()


def test_discrete_free_energy_is_never_negative():
    assert (score_of(random_evidence(), "vfe_discrete") >= 0).all()


def test_the_random_score_repeats_with_its_generator_and_ignores_the_data():
    assert torch.equal(score_of(random_evidence(), "random"), score_of(random_evidence(scale=9), "random"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=20), st.integers(0, 3))
def test_groups_are_disjoint_swap_with_the_modalities_and_leave_ties_out(pairs, margin):
    first, second = torch.tensor(pairs, dtype=torch.float32).T.unsqueeze(1)
    groups, swapped = (
        reliability_groups(first, second, margin=margin),
        reliability_groups(second, first, margin=margin),
    )
    assert not (groups.first & groups.second).any()
    assert torch.equal(groups.first, swapped.second) and torch.equal(groups.second, swapped.first)
    for (a, b), in_first, in_second in zip(pairs, groups.first[0], groups.second[0], strict=True):
        assert in_first == (a < b - margin) and in_second == (b < a - margin)


def test_the_literal_sign_of_equation_3_swaps_the_groups():
    first, second = torch.tensor([[-2.0, -1, 0]]), torch.tensor([[-1.0, -2, 0]])
    literal, default = reliability_groups(first, second, eq3_literal=True), reliability_groups(first, second)
    assert torch.equal(literal.first, default.second) and torch.equal(literal.second, default.first)


def test_standardised_scores_have_mean_zero_and_spread_one_in_each_episode():
    found = standardise(normal(3, 10) * torch.tensor([[1e-3], [1.0], [1e6]]) - 7)
    assert found.mean(-1).numpy() == pytest.approx(0, abs=1e-6)
    assert found.std(-1, correction=0).numpy() == pytest.approx(1, abs=1e-6)
    assert (standardise(torch.full((2, 5), -1.6)) == 0).all()


def test_float32_scores_agree_with_float64_within_one_part_in_ten_thousand():
    for score in SCORES:
        exact, rounded = random_evidence(), random_evidence(dtype=torch.float32)
        if score != "random":
            assert score_of(rounded, score).numpy() == pytest.approx(score_of(exact, score).numpy(), rel=1e-4, abs=1e-5)


def test_unknown_names_suggest_the_nearest_one():
    with pytest.raises(UnknownName, match='did you mean "centred"'):
        free_energy(random_evidence(), score="centered")
    with pytest.raises(UnknownName, match='did you mean "euclidean"'):
        distances(normal(1, 2, 3), normal(1, 2, 3), metric="euclidian")


def test_scores_that_lack_what_they_need_say_so():
    evidence = evidence_of(normal(1, 2, 1, 3), normal(1, 2, 3))
    with pytest.raises(BadParameter, match="needs a generator"):
        free_energy(evidence, score="random")
    with pytest.raises(BadParameter, match="needs the labels"):
        free_energy(evidence, score="oracle")


def test_shapes_and_ranges_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="same E and d"):
        distances(normal(1, 2, 3), normal(1, 2, 4))
    with pytest.raises(ShapeError, match="query-specific"):
        distances(normal(1, 2, 3), normal(1, 5, 2, 3))
    with pytest.raises(ShapeError, match="same queries"):
        reliability_groups(normal(1, 2), normal(1, 3))
    with pytest.raises(BadParameter, match="margin is -1"):
        reliability_groups(normal(1, 2), normal(1, 2), margin=-1)
    with pytest.raises(BadParameter, match="temperature is 0"):
        modality_posterior(normal(1, 2, 3), normal(1, 2, 3), temperature=0)
