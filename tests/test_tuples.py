"""Tuples of frames, the distances between them (TRX, STRM), and dropout with a seed.

Tolerances: 1e-11 in float64, where sums run in another order; exact where both sides run the same operations.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from toy_episodes import D, E, K, N, Q, T

from amfir_lib.errors import BadParameter
from amfir_lib.methods.layers import SeededDropout
from amfir_lib.methods.tuples import (
    nearest_tuple_distances,
    project_tuples,
    tuple_distances,
    tuple_indices,
)


def test_tuples_of_eight_frames_are_28_pairs_and_56_triples_in_time_order():
    assert (len(tuple_indices(8, 2)), len(tuple_indices(8, 3))) == (28, 56)
    assert tuple_indices(3, 2) == ((0, 1), (0, 2), (1, 2))
    with pytest.raises(BadParameter, match="cardinality is 4, but tuples of 3 frames"):
        tuple_indices(3, 4)


@pytest.mark.parametrize("cardinality", [1, 2, 3])
def test_projecting_frames_and_adding_equals_projecting_concatenated_frames(cardinality):
    source = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(cardinality * D, 5).double()
    frames = torch.randn(3, T, D, generator=source, dtype=torch.float64)
    joined = torch.stack([frames[:, list(one)].flatten(1) for one in itertools.combinations(range(T), cardinality)], 1)
    np.testing.assert_allclose(project_tuples(frames, layer, cardinality).detach(), layer(joined).detach(), atol=1e-12)


def plain_tuple_distances(support, query):
    """As the formula stands, with a gradient by autograd: the slow twin of ``tuple_distances``."""
    keys, values = (x.flatten(2, 3)[:, None] for x in support)  # (E, 1, N, S, d')
    own_keys, own_values = (x[:, :, None] for x in query)  # (E, M, 1, P, d')
    attention = (own_keys @ keys.mT / keys.shape[-1] ** 0.5).softmax(-1)
    return (own_values - attention @ values).square().sum(-1).mean(-1)


def plain_nearest_tuple_distances(support, query):
    """Every distance in full: the slow twin of ``nearest_tuple_distances``."""
    return torch.cdist(query[:, :, None], support.flatten(2, 3)[:, None]).amin(-1).mean(-1)


def random_tuples(*, dtype=torch.float64, length=1.0, shot=K):
    """Keys and values of supports and queries, which need a gradient."""
    source = torch.Generator().manual_seed(0)
    shapes = [(E, N, shot, 6, 5)] * 2 + [(E, N * Q, 6, 5)] * 2
    tensors = [torch.randn(shape, generator=source, dtype=dtype) for shape in shapes]
    return [(x * length if part % 2 == 0 else x).requires_grad_() for part, x in enumerate(tensors)]


@pytest.mark.parametrize("batch_mb", [1e-6, 3e-3, 64.0])
@pytest.mark.parametrize("length", [1.0, 30.0])  # of the keys: the longer ones need the shift of the exponent
def test_distances_and_gradients_equal_those_of_the_plain_formula_in_blocks_of_any_size(batch_mb, length):
    tensors = random_tuples(length=length)
    weights = torch.rand(E, N * Q, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = tuple_distances(tensors[:2], tensors[2:], batch_mb=batch_mb)
    expected = plain_tuple_distances(tensors[:2], tensors[2:])
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-12)
    pairs = zip(*(torch.autograd.grad(x, tensors, weights) for x in (found, expected)), strict=True)
    for own, other in pairs:
        np.testing.assert_allclose(own, other, atol=1e-11)


def test_no_key_is_so_long_that_a_distance_overflows_in_float32():
    tensors = random_tuples(dtype=torch.float32, length=1e3)
    found = tuple_distances(tensors[:2], tensors[2:])
    expected = plain_tuple_distances([x.double() for x in tensors[:2]], [x.double() for x in tensors[2:]])
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-3)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), tensors))


@pytest.mark.parametrize("batch_mb", [1e-6, 3e-3, 64.0])
def test_nearest_tuples_are_those_of_the_plain_formula_in_blocks_of_any_size(batch_mb):
    support, _, query, _ = random_tuples()
    found = nearest_tuple_distances(support, query, batch_mb=batch_mb)
    expected = plain_nearest_tuple_distances(support, query)
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-12)
    pairs = zip(*(torch.autograd.grad(x.square().sum(), (support, query)) for x in (found, expected)), strict=True)
    for own, other in pairs:
        np.testing.assert_allclose(own, other, atol=1e-11)


def test_the_nearest_tuple_of_a_query_that_a_class_holds_is_at_distance_zero_with_a_finite_gradient():
    support = torch.randn(1, 2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    query = support[:, 1].clone().requires_grad_()
    distance = nearest_tuple_distances(support, query)
    assert distance[0, 0, 1] == 0 and distance[0, 0, 0] > 0
    assert torch.autograd.grad(distance.sum(), query)[0].isfinite().all()


def test_dropout_follows_from_its_seed_and_its_count_and_keeps_the_mean():
    ones = torch.ones(200, 100)
    first, second = (SeededDropout(0.2, seed=5) for _ in range(2))
    a, b = first(ones), first(ones)
    assert torch.equal(a, second(ones)) and not torch.equal(a, b)
    assert a.mean().item() == pytest.approx(1, abs=0.02) and set(a.unique().tolist()) == {0.0, 1.25}
    assert SeededDropout(0.2, seed=6)(torch.ones(7, 3)).shape == (7, 3)  # not a multiple of four
    resumed = SeededDropout(0.2, seed=5)
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(resumed(ones), first(ones))
    assert torch.equal(first.eval()(ones), ones) and torch.equal(SeededDropout(0.0, seed=1)(ones), ones)
