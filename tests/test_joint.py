"""Two backbones side by side as one.  Tolerance 1e-2 where features of length 1 are stored in 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from toy_clips import ToyBackbone

from amfir_lib.backbones.joint import JointBackbone
from amfir_lib.errors import BadParameter


class LargeToyBackbone(ToyBackbone):
    input_size = 32


def clips_of(size, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (2, 3, size, size, 3), dtype=np.uint8)


def test_each_part_has_the_same_length_and_its_own_direction():
    joint = JointBackbone([ToyBackbone("rgb"), LargeToyBackbone("rgb")])
    clips = clips_of(32)
    found = joint.features(clips).astype(np.float32)
    n_patches = ToyBackbone.n_patches
    assert found.shape == (2, 3, n_patches, 6)
    assert (joint.input_size, joint.n_patches, joint.dim) == (32, n_patches, 6)
    small = clips.reshape(2, 3, 16, 2, 16, 2, 3).mean((3, 5)).round().astype(np.uint8)
    for part, own, values in (
        (ToyBackbone("rgb"), small, found[..., :3]),
        (LargeToyBackbone("rgb"), clips, found[..., 3:]),
    ):
        expected = part.features(own).astype(np.float32)
        expected *= np.sqrt(6) / np.linalg.norm(expected.mean(2, keepdims=True), axis=-1, keepdims=True)
        np.testing.assert_allclose(values, expected, atol=1e-2)


def test_a_frame_without_features_stays_finite():
    assert np.isfinite(JointBackbone([ToyBackbone("rgb")]).features(np.zeros((1, 2, 16, 16, 3), np.uint8))).all()


def test_the_name_ends_in_a_digest_of_the_parts():
    first, other = (JointBackbone([ToyBackbone("rgb", digest=digest)]) for digest in ("first", "other"))
    assert first.digest != other.digest and first.name != other.name
    assert first.name.startswith("efficientnet_adapted-")


def test_parts_that_divide_the_picture_differently_are_refused():
    class Undivided(ToyBackbone):
        n_patches = ToyBackbone.n_patches + 3

    with pytest.raises(BadParameter, match="patches a frame. Open them with the same n_patches"):
        JointBackbone([ToyBackbone("rgb"), Undivided("rgb")])


def test_parts_of_two_streams_are_refused():
    with pytest.raises(BadParameter, match="read flow, rgb. Join backbones of one stream"):
        JointBackbone([ToyBackbone("rgb"), ToyBackbone("flow")])
