"""The compact backbone.  Exact on one machine; frames of another batch may be rounded otherwise: 1 % of the spread."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from amfir_lib.backbones import compact
from amfir_lib.backbones.compact import DIM, FLOW_SCALE, GRID, INPUT_SIZE, CompactBackbone, CompactNet, normalise
from amfir_lib.methods.base import seeded_init

CHANNELS = {"rgb": 3, "flow": 2}


def weights(modality, seed=0):
    with seeded_init(seed, modality):
        net = CompactNet(CHANNELS[modality])
    return {name: values.clone() for name, values in net.state_dict().items()}


def clips(modality, shape=(2, 3)):
    rng = np.random.default_rng(1)
    shape = (*shape, INPUT_SIZE, INPUT_SIZE, CHANNELS[modality])
    if modality == "rgb":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return 3 * rng.standard_normal(shape, np.float32)


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_features_are_the_map_of_each_frame_row_by_row(modality):
    backbone, batch = CompactBackbone(modality, weights(modality)), clips(modality)
    features = backbone.features(batch)
    assert features.shape == (2, 3, backbone.n_patches, backbone.dim) == (2, 3, GRID * GRID, DIM)
    assert features.dtype == np.float16
    with torch.inference_mode():
        for b in range(2):
            for t in range(3):
                (feature_map,) = backbone.net(normalise(batch[b, t][None], modality)).numpy()
                for row in range(GRID):
                    for column in range(GRID):
                        one = features[b, t, GRID * row + column]
                        np.testing.assert_allclose(one, feature_map[:, row, column], atol=0.01 * features.std())


def test_a_person_on_the_right_is_seen_by_the_patches_on_the_right():
    backbone = CompactBackbone("rgb", weights("rgb"))
    empty = np.full((1, 1, INPUT_SIZE, INPUT_SIZE, 3), 90, np.uint8)
    right = empty.copy()
    right[..., 24:40, 52:, :] = 250
    moved = np.abs(backbone.features(right) - backbone.features(empty)).astype(np.float32).sum(-1).reshape(GRID, GRID)
    assert moved[:, -1].sum() > moved[:, 0].sum()


def test_the_size_of_the_batch_does_not_matter():
    features = [CompactBackbone("flow", weights("flow"), batch_size=n).features(clips("flow")) for n in (2, 256)]
    np.testing.assert_allclose(*features, atol=0.01 * features[0].std())


def test_frames_are_normalised_as_for_imagenet_and_flow_by_its_scale():
    frame = np.array([[[255, 0, 127]]], np.uint8)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(normalise(frame, "rgb").flatten().numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(normalise(frame, "depth"), normalise(frame, "rgb"))
    flow = normalise(np.array([[[FLOW_SCALE, -2 * FLOW_SCALE]]], np.float16), "flow")
    assert flow.shape == (2, 1, 1) and flow.flatten().tolist() == [1, -2] and flow.dtype == torch.float32


def test_the_digest_follows_every_weight_and_the_code(monkeypatch):
    own = weights("rgb")
    digest = CompactBackbone("rgb", own).digest
    assert digest == CompactBackbone("rgb", weights("rgb")).digest != CompactBackbone("rgb", weights("rgb", 1)).digest
    for name in own:
        changed = {key: values.clone() for key, values in own.items()}
        changed[name] += 1
        assert CompactBackbone("rgb", changed).digest != digest
    monkeypatch.setattr(compact, "digest_of_code", lambda module: "another source")
    assert CompactBackbone("rgb", own).digest != digest


def test_a_backbone_that_was_sent_to_a_worker_gives_the_same_features():
    backbone = CompactBackbone("rgb", weights("rgb"))
    there = pickle.loads(pickle.dumps(backbone))
    assert there.digest == backbone.digest
    np.testing.assert_array_equal(there.features(clips("rgb")), backbone.features(clips("rgb")))


def test_weights_of_the_other_stream_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        CompactBackbone("rgb", weights("flow"))
