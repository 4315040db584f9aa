"""I3D and its network.  Small inputs: 32 px.  Exact on one machine unless said; float16 keeps three digits.

"SAME" padding is compared with a slow loop that follows its definition: 1e-4, where sums are added in another order.
"""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from toy_weights import public_i3d_state

from amfir_lib.backbones import weights
from amfir_lib.backbones.i3d import I3D, I3DStream, Inception3D, MaxPool3D, Unit3D
from amfir_lib.errors import BackboneUnavailable, ShapeError
from amfir_lib.methods.base import seeded_init


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path, monkeypatch):
    """No downloads of the user, and a random state of its own for networks that a test builds."""
    monkeypatch.setattr(weights, "download_folder", lambda: tmp_path / "downloads")
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with a flow file of the kind that is published, old format, no counters of batches."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(public_i3d_state(), folder / "flow_imagenet.pt", _use_new_zipfile_serialization=False)
    return folder


def flow_clips(n=2, size=32):
    return np.random.default_rng(0).normal(0, 4, (n, 64, size, size, 2)).astype(np.float32)


def test_a_state_dict_in_the_public_naming_loads_without_renaming(published):
    backbone = I3D("i3d", "flow", weights_dir=published, input_size=32)
    state, loaded = public_i3d_state(), backbone.network().net.state_dict()
    assert loaded.keys() - state.keys() == {name for name in loaded if name.endswith("num_batches_tracked")}
    for name in loaded.keys() & state.keys():
        assert torch.equal(loaded[name], state[name]), name
    values = backbone.features(flow_clips())
    assert values.shape == (2, 8, 1, 1024) and values.dtype == np.float16 and np.isfinite(values).all()
    there = pickle.loads(pickle.dumps(backbone))
    np.testing.assert_array_equal(there.features(flow_clips()[1:]), values[1:])
    assert len(pickle.dumps(backbone)) < 5000  # the weights do not travel


@pytest.mark.parametrize(("n_classes", "words"), [(400, "trained on Kinetics-400"), (157, "Charades"), (12, "")])
def test_the_number_of_classes_tells_the_corpus_and_its_leakage(tmp_path, n_classes, words):
    torch.save(public_i3d_state(n_classes=n_classes, counters=True), tmp_path / "flow_charades.pt")
    backbone = I3D("i3d", "flow", weights_dir=tmp_path, input_size=32)
    assert words in str(backbone.notes) and bool(words) == ("leakage" in str(backbone.notes))


def test_the_kinetics_file_goes_before_the_suspected_charades_file(published, tmp_path):
    torch.save(public_i3d_state(n_classes=157), tmp_path / "flow_charades.pt")
    assert I3D("i3d", "flow", weights_dir=tmp_path).path.name == "flow_charades.pt"
    (tmp_path / "flow_imagenet.pt").write_bytes((published / "flow_imagenet.pt").read_bytes())
    assert I3D("i3d", "flow", weights_dir=tmp_path).path.name == "flow_imagenet.pt"
    assert I3D("i3d_charades", "flow", weights_dir=tmp_path).path.name == "flow_charades.pt"
    with pytest.raises(BackboneUnavailable, match=r"put rgb_charades\.pt"):
        I3D("i3d_charades", "rgb", weights_dir=tmp_path)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (lambda: public_i3d_state(3), r"size mismatch for Conv3d_1a_7x7.*\[64, 3, 7, 7, 7\]"),
        (lambda: {"fc.weight": torch.ones(1)}, "Missing key"),
        (lambda: public_i3d_state() | {"extra": torch.ones(1)}, 'Unexpected key.*"extra"'),
        (lambda: public_i3d_state() | {"Mixed_3b.b0.bn.bias": torch.full((64,), torch.nan)}, "NaN or infinity in"),
    ],
)
def test_a_wrong_state_dict_is_refused_with_its_file(tmp_path, state, sentence):
    torch.save(state(), tmp_path / "flow_imagenet.pt")
    with pytest.raises(BackboneUnavailable, match=rf"flow_imagenet\.pt .*{sentence}"):
        I3D("i3d", "flow", weights_dir=tmp_path)


def test_digests_tell_weights_and_settings_apart(published):
    random = [I3D("i3d", stream, weights="random", input_size=size) for stream, size in
              (("flow", 224), ("rgb", 224), ("flow", 112), ("flow", 224))]  # fmt: skip
    assert len({backbone.digest for backbone in (I3D("i3d", "flow", weights_dir=published), *random)}) == 4
    assert random[0].digest == random[3].digest
    assert random[0].name == "i3d-random" and "are random (untrained)" in random[0].notes[0]
    with pytest.raises(ShapeError, match=r"i3d-random for flow needs float32 \[B, 64, 224, 224, 2\]"):
        random[0].features(flow_clips())


def stream_on(maps, stream="flow", n_patches=1):
    """A stream whose network answers with these maps, and a list of what the network sees."""
    whole, seen = I3DStream(stream, n_patches=n_patches, flow_range=20.0), []
    whole.net.forward = lambda x: seen.append(x) or maps
    return whole, seen


def test_outputs_are_resampled_to_the_instants_in_order_of_time_and_patches_are_maxima_of_a_grid():
    stream, _ = stream_on(torch.arange(4.0)[None, None, :, None, None].expand(1, 1024, 4, 1, 1))
    values = stream(torch.zeros(1, 32, 32, 32, 2))[0, :, 0, 0].tolist()
    assert values == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]  # centres of 8 parts on a line through 4 centres
    maps = torch.rand(1, 1024, 8, 8, 8)
    patches = stream_on(maps, n_patches=16)[0](torch.zeros(1, 16, 32, 32, 2))
    assert torch.equal(patches[0, 0, 6], maps[0, :, 0, 2:4, 4:6].amax((-2, -1)))  # second row, third column


def test_flow_is_bounded_to_the_range_of_the_training_and_rgb_too():
    for modality, clip, expected in (
        ("flow", torch.tensor([0.0, 10.0, -99.0, 20.0])[:, None, None, None].expand(4, 32, 32, 2), [0, 0.5, -1, 1]),
        ("rgb", torch.tensor([0, 51, 204, 255], dtype=torch.uint8)[:, None, None, None].expand(4, 32, 32, 3),
         [-1, -0.6, 0.6, 1]),
    ):  # fmt: skip
        stream, seen = stream_on(torch.zeros(1, 1024, 1, 1, 1), modality)
        stream(clip[None])
        assert seen[0].shape[:3] == (1, clip.shape[-1], 4)
        np.testing.assert_allclose(seen[0][0, 0, :, 0, 0].tolist(), expected, atol=1e-6)


# the network


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


def test_the_network_has_the_published_size_and_widths():
    with torch.device("meta"):
        flow, rgb = Inception3D(2), Inception3D(3)
    n_parameters = [sum(p.numel() for p in net.parameters()) for net in (flow, rgb)]
    assert n_parameters == [12_265_312, 12_287_264]  # with the 400 class scores 12.7 million, as published
    convolutions = [m for m in flow.modules() if isinstance(m, nn.Conv3d)]
    assert len(convolutions) == 57 and all(m.bias is None for m in convolutions)
    assert all(m.eps == 1e-3 for m in flow.modules() if isinstance(m, nn.BatchNorm3d))
