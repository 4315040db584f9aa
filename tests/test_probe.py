"""The probe for broken weights.  Worked numbers; exact up to rounding of doubles."""

from __future__ import annotations

import numpy as np
import pytest

from amfir_lib.backbones.probe import variation, variation_warning
from amfir_lib.errors import ShapeError


def test_variation_by_hand():
    features = np.array([[3.0, 4.0], [5.0, 4.0]])[:, None, None]  # mean clip (4, 4); deviations 1, 0
    assert variation(features) == pytest.approx(np.sqrt(0.5) / np.sqrt((9 + 16 + 25 + 16) / 4))


def test_clips_that_differ_only_in_time_and_place_do_not_vary():
    clip = np.random.default_rng(0).normal(size=(1, 8, 4, 16))
    assert variation(np.repeat(clip, 5, axis=0)) == pytest.approx(0, abs=1e-12)
    assert variation(np.zeros((3, 1, 1, 2))) == 0


def test_scale_does_not_matter_and_a_large_store_is_sampled():
    features = np.random.default_rng(0).normal(1, 1, (1000, 2, 1, 8)).astype(np.float16)
    assert variation(features) == pytest.approx(variation(4 * features), rel=1e-3)


def test_nearly_constant_features_are_named_with_a_remedy_and_others_pass():
    rng = np.random.default_rng(0)
    near = 5 + 0.01 * rng.normal(size=(20, 8, 1, 32))
    assert "flow features of toy hardly vary" in (text := variation_warning(near, "The flow features of toy"))
    assert "flow_imagenet.pt" in text and "0.1 % of their size" in text
    assert variation_warning(np.maximum(rng.normal(size=(20, 8, 1, 32)), 0), "x") == ""


def test_one_clip_is_no_probe():
    with pytest.raises(ShapeError, match="2 clips or more"):
        variation(np.ones((1, 8, 1, 4)))
