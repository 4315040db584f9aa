"""The network of I3D.  "SAME" padding is compared with a slow loop that follows its definition.

Tolerance 1e-4 where sums are added in another order.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from amfir_lib.backbones.inception3d import BLOCKS, Inception3D, MaxPool3D, Unit3D, pad_same
from amfir_lib.methods.base import seeded_init


@pytest.fixture(autouse=True)
def own_random_state():
    with torch.random.fork_rng(devices=[]):
        yield


def same_convolution(x, weight, stride):
    """The definition of TensorFlow's "SAME", one output at a time: (C, T, H, W) with (O, C, k, k, k)."""
    kernel, sizes = weight.shape[-1], x.shape[1:]
    outputs = [math.ceil(n / stride) for n in sizes]
    totals = [max((o - 1) * stride + kernel - n, 0) for o, n in zip(outputs, sizes, strict=True)]
    result = np.zeros((len(weight), *outputs))
    for position in np.ndindex(*outputs):
        for offset in np.ndindex(kernel, kernel, kernel):
            at = [p * stride - total // 2 + o for p, total, o in zip(position, totals, offset, strict=True)]
            if all(0 <= a < n for a, n in zip(at, sizes, strict=True)):
                result[(slice(None), *position)] += weight[(..., *offset)] @ x[(slice(None), *at)]
    return result


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 1), (3, 2), (2, 2), (1, 1)])
@pytest.mark.parametrize("sizes", [(5, 6, 7), (8, 8, 9), (1, 2, 3)])
def test_padding_follows_the_definition_of_same(kernel, stride, sizes):
    with seeded_init(0, "unit"):
        unit = Unit3D(2, 3, kernel, stride).eval()
        x = torch.randn(1, 2, *sizes)
    expected = np.maximum(same_convolution(x[0].numpy(), unit.conv3d.weight.detach().numpy(), stride), 0)
    with torch.inference_mode():
        found = unit(x)[0].numpy() * math.sqrt(1 + unit.bn.eps)  # an untrained batch norm only divides by this
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pooling_takes_the_largest_value_of_what_is_there():
    x = torch.rand(1, 1, 3, 5, 4)
    found = MaxPool3D((3, 3, 3), (2, 2, 2))(x)
    assert found.shape == (1, 1, 2, 3, 2)
    for t, y, z in np.ndindex(2, 3, 2):  # 3, 5: one zero on each side; 4: one behind only
        part = x[0, 0, max(2 * t - 1, 0) : 2 * t + 2, max(2 * y - 1, 0) : 2 * y + 2, 2 * z : 2 * z + 3]
        assert found[0, 0, t, y, z] == part.max()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 3))
def test_same_padding_gives_the_ceiling_of_size_over_stride(size, kernel, stride):
    padded = pad_same(torch.ones(1, 1, size, 1, 1), (kernel, 1, 1), (stride, 1, 1))
    n_outputs = (padded.shape[2] - kernel) // stride + 1
    assert n_outputs == math.ceil(size / stride)
    before = int(padded.flatten().argmax())
    assert 0 <= padded.shape[2] - size - 2 * before <= 1  # the odd zero is behind


def test_the_network_has_the_published_size_and_widths():
    with torch.device("meta"):
        flow, rgb = Inception3D(2), Inception3D(3)
    n_parameters = [sum(p.numel() for p in net.parameters()) for net in (flow, rgb)]
    assert n_parameters == [12_265_312, 12_287_264]  # with the 400 class scores 12.7 million, as published
    widths = {name: getattr(flow, name).n_out for name in BLOCKS}
    assert list(widths.values()) == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    convolutions = [m for m in flow.modules() if isinstance(m, nn.Conv3d)]
    assert len(convolutions) == 57 and all(m.bias is None for m in convolutions)
    assert all(m.eps == 1e-3 for m in flow.modules() if isinstance(m, nn.BatchNorm3d))


@pytest.mark.parametrize(("shape", "expected"), [((16, 32, 32), (2, 1, 1)), ((9, 40, 33), (2, 2, 2))])
def test_eight_frames_and_32_pixels_make_one_output(shape, expected):
    with seeded_init(0, "i3d"), torch.inference_mode():
        assert Inception3D(2).eval()(torch.zeros(1, 2, *shape)).shape == (1, 1024, *expected)
