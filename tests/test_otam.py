"""OTAM: the ordered alignment and its soft minimum.

Tolerances: 1e-9 between the batched code in float64 and a recursion or enumerated paths; lambda times the logarithm of
the number of paths between the soft minimum and the minimum; 1e-5 in float32, and 1e-4 for gradients, whose exponents
reach 160.
"""

import math

import numpy as np
import pytest
import torch
from toy_episodes import N, build, clips

from amfir_lib.methods.otam import alignment_cost


def softmin(values, smoothing):
    low = min(values)
    return low - smoothing * math.log(sum(math.exp(-(v - low) / smoothing) for v in values))


def reference_cost(d, smoothing):
    """The recursion of the formulas, one cell at a time."""
    n_rows, n_columns = d.shape
    d = np.pad(d, ((0, 0), (1, 1)))
    last = n_columns + 1
    g = np.zeros_like(d)
    for m in range(1, last + 1):
        g[0, m] = d[0, m] + g[0, m - 1]
    for row in range(1, n_rows):
        for m in range(1, last + 1):
            before = [g[row - 1, m - 1], g[row, m - 1]]
            if m in (1, last):
                before.append(g[row - 1, m])
            g[row, m] = d[row, m] + softmin(before, smoothing)
    return g[-1, -1]


def path_costs(d):
    """Costs of all alignments, walked one by one: from the padding left of any row to the padding right of the last."""
    n_rows, n_columns = d.shape
    padded, last = np.pad(d, ((0, 0), (1, 1))), n_columns + 1
    found = []

    def walk(row, m, cost):
        if (row, m) == (n_rows - 1, last):
            found.append(cost)
        if m < last:  # along the columns
            walk(row, m + 1, cost + padded[row, m + 1])
        if row + 1 < n_rows:
            if m < last:  # along both
                walk(row + 1, m + 1, cost + padded[row + 1, m + 1])
            if m in (1, last):  # along the rows, where it is allowed
                walk(row + 1, m, cost + padded[row + 1, m])

    for row in range(n_rows):
        walk(row, 0, 0.0)
    return found


def random_costs(n_rows, n_columns, seed=0, low=0.0, high=2.0, dtype=torch.float64):
    source = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(n_rows, n_columns, generator=source, dtype=dtype)


sizes = pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (2, 2), (3, 4), (4, 3), (5, 5)])


@sizes
def test_a_small_lambda_gives_the_cheapest_of_all_alignments(n_rows, n_columns):
    cost, smoothing = random_costs(n_rows, n_columns), 1e-4
    paths = path_costs(cost.numpy())
    found = alignment_cost(cost, smoothing=smoothing).item()
    assert min(paths) - smoothing * math.log(len(paths)) <= found <= min(paths) + 1e-9


@sizes
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_any_lambda_gives_the_soft_minimum_over_all_alignments_at_once(n_rows, n_columns, smoothing):
    cost = random_costs(n_rows, n_columns, seed=1)
    expected = softmin(path_costs(cost.numpy()), smoothing)
    assert alignment_cost(cost, smoothing=smoothing).item() == pytest.approx(expected, abs=1e-9)


def test_the_worked_example():
    assert alignment_cost(torch.tensor([[0.7]]), smoothing=0.1).item() == pytest.approx(0.7)
    assert alignment_cost(torch.zeros(2, 2), smoothing=0.1).item() == pytest.approx(-0.1 * math.log(6))


@pytest.mark.parametrize("n_frames", [8, 16])
@pytest.mark.parametrize("kind", ["zeros", "twos", "random"])
def test_costs_and_gradients_are_finite_in_float32_over_the_whole_range_of_cosines(n_frames, kind):
    cost = {"zeros": torch.zeros, "twos": lambda *n: torch.full(n, 2.0)}.get(kind, torch.zeros)(n_frames, n_frames)
    if kind == "random":
        cost = random_costs(n_frames, n_frames, dtype=torch.float32)
    cost.requires_grad_()
    found = alignment_cost(cost, smoothing=0.1)
    found.backward()
    exact = cost.detach().double().requires_grad_()
    alignment_cost(exact, smoothing=0.1).backward()
    assert found.item() == pytest.approx(reference_cost(exact.detach().numpy(), 0.1), abs=1e-5)
    assert (exact.grad >= 0).all()  # shares of the alignments that use a cell
    np.testing.assert_allclose(cost.grad, exact.grad, atol=1e-4)
    if kind == "twos":  # the form that takes the logarithm of a sum of exponentials fails here, in float32
        assert torch.exp(-cost.detach()[0].cumsum(0)[-1] / 0.1) == 0


def test_the_gradient_is_that_of_finite_differences():
    cost = random_costs(4, 4, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: alignment_cost(d, smoothing=0.1), cost)


def test_query_and_support_may_be_exchanged():
    method = build("otam")
    support, query = clips(n_shot=1)
    swapped = method({"rgb": query["rgb"][:, :N, None]}, {"rgb": support["rgb"][:, :, 0]}).distances["rgb"]
    straight = method({"rgb": support["rgb"]}, {"rgb": query["rgb"][:, :N]}).distances["rgb"]
    np.testing.assert_allclose(straight.detach(), swapped.transpose(1, 2).detach(), atol=1e-5)


def test_a_clip_is_nearer_to_itself_delayed_than_to_itself_reversed():
    frames = torch.eye(6)
    delayed, reversed_, method = frames.roll(1, 0), frames.flip(0), build("otam", layer_norm=False, projection=False)
    distances = method.compare({"rgb": torch.stack((delayed, reversed_))[None, :, None]}, {"rgb": frames[None, None]})
    near, far = distances.distances["rgb"][0, 0].tolist()
    assert near < far
