"""Optical flow.  Tolerance: a whole-pixel shift of a smooth texture is found within 0.1 px on average away from the
border (DIS reaches 0.02, Farnebäck 0.01), which leaves room for other OpenCV versions.  Stored flow: half a step of
20/127 px as uint8; 0.1 px in colours, which eight bits a channel leave of direction and length."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_clips import moving_frames, texture

from amfir_lib.data.flow import (
    FLOW_ALGORITHMS,
    STORAGES,
    decode_flow,
    dense_flow,
    encode_flow,
    flow_to_colour,
    flow_windows,
    mirror_flow,
)
from amfir_lib.errors import BadParameter, ShapeError, UnknownName

HAS_TVL1 = hasattr(cv2, "optflow")


@pytest.mark.parametrize("algorithm", FLOW_ALGORITHMS)
@pytest.mark.parametrize("shift", [(3, 2), (-2, 4), (0, 0)])
def test_a_shift_of_a_textured_picture_is_recovered(algorithm, shift):
    if algorithm == "tvl1" and not HAS_TVL1:
        pytest.skip("cv2.optflow is only in the wheel opencv-contrib-python")
    x, y = shift
    picture = texture(np.random.default_rng(0))
    flow = dense_flow(picture[20:132, 20:132], picture[20 - y : 132 - y, 20 - x : 132 - x], algorithm=algorithm)
    assert flow.dtype == np.float32 and flow.shape == (112, 112, 2)
    assert np.hypot(*(flow[12:-12, 12:-12] - [x, y]).reshape(-1, 2).T).mean() < 0.1


def test_x_grows_to_the_right_and_y_downwards():
    first = np.zeros((64, 64, 3), np.uint8)
    first[20:40, 20:40] = texture(np.random.default_rng(0), 20)
    second = np.roll(first, (1, 2), axis=(0, 1))  # 1 px down, 2 px to the right
    np.testing.assert_allclose(dense_flow(first, second)[24:36, 24:36].mean(axis=(0, 1)), [2, 1], atol=0.2)


def test_grey_and_colour_frames_of_one_picture_have_the_same_flow():
    frames = moving_frames(np.random.default_rng(0), n_frames=2)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    np.testing.assert_array_equal(dense_flow(*frames), dense_flow(*grey))


def test_an_unknown_algorithm_gets_a_suggestion():
    with pytest.raises(UnknownName, match='"farnebeck" is not a known flow algorithm .did you mean "farneback"'):
        dense_flow(*moving_frames(np.random.default_rng(0), n_frames=2), algorithm="farnebeck")


@pytest.mark.skipif(HAS_TVL1, reason="this OpenCV has TV-L1")
def test_tvl1_without_its_wheel_says_which_one_and_that_only_one_may_be_installed():
    with pytest.raises(BadParameter, match="opencv-contrib-python .only one OpenCV wheel"):
        dense_flow(*moving_frames(np.random.default_rng(0), n_frames=2), algorithm="tvl1")


def test_frames_of_different_sizes_are_refused():
    with pytest.raises(ShapeError, match=r"\(32, 32, 3\) and uint8 \(40, 32, 3\)"):
        dense_flow(np.zeros((32, 32, 3), np.uint8), np.zeros((40, 32, 3), np.uint8))


def test_flow_is_taken_from_the_pairs_around_an_instant_and_the_outermost_is_repeated_at_the_ends():
    assert flow_windows([0, 4, 9], 10) == [[(0, 1)], [(4, 5)], [(8, 9)]]  # the last frame: the pair that leads to it
    assert flow_windows([0, 4, 9], 10, average=3) == [
        [(0, 1), (0, 1), (1, 2)], [(3, 4), (4, 5), (5, 6)], [(7, 8), (8, 9), (8, 9)]
    ]  # fmt: skip
    assert flow_windows([4], 10, average=2) == [[(4, 5), (5, 6)]]


@pytest.mark.parametrize(
    ("instants", "n_frames", "average", "message"),
    [([0], 1, 1, "the clip has 1"), ([10], 10, 1, "do not lie in a clip of 10"), ([4], 10, 0, "flow_average is 0")],
)
def test_instants_without_a_pair_are_refused(instants, n_frames, average, message):
    with pytest.raises(BadParameter, match=message):
        flow_windows(instants, n_frames, average=average)


def test_the_colour_wheel_by_hand():
    flow = np.array([[[0, 0], [2, 0], [-2, 0], [1, 0], [4, 0], [np.nan, 0]]])
    colour = flow_to_colour(flow, max_displacement=2.0)
    np.testing.assert_array_equal(
        colour[0],
        [
            [255, 255, 255],  # no motion is white
            [255, 0, 0],  # right is red
            [0, 255, 255],  # left is cyan
            [255, 128, 128],  # half the length is half as saturated
            [191, 0, 0],  # longer than the wheel is darker
            [0, 0, 0],  # unknown is black
        ],
    )


def test_a_picture_of_flow_needs_a_positive_length():
    with pytest.raises(BadParameter, match="max_displacement is 0"):
        flow_to_colour(np.zeros((4, 4, 2)), max_displacement=0)


# stored

FLOW = np.random.default_rng(0).uniform(-14, 14, (3, 16, 16, 2)).astype(np.float32)  # lengths up to 19.8 px


def there_and_back(flow, storage, **options):
    stored = torch.from_numpy(encode_flow(flow, storage=storage, **options))
    return decode_flow(stored, storage=storage, **options).numpy()


@pytest.mark.parametrize(("storage", "largest_error"), [("float", 0), ("uint8", 10 / 127 + 1e-5), ("colour", 0.1)])
def test_what_is_lost_on_the_way_is_what_is_stated(storage, largest_error):
    error = np.hypot(*np.moveaxis(there_and_back(FLOW, storage) - FLOW, -1, 0))
    assert np.abs(there_and_back(FLOW, storage) - FLOW).max() <= largest_error
    assert error.mean() <= 0.1


def test_the_8_bit_form_is_the_textbook_line_from_minus_20_to_20():
    stored = encode_flow(np.array([[[-25.0, -20.0], [0.0, 10.0], [20.0, 99.0]]]), storage="uint8")
    np.testing.assert_array_equal(stored, [[[1, 1], [128, round(127 * 0.5) + 128], [255, 255]]])


@given(st.floats(-40, 40), st.floats(-40, 40))
def test_no_motion_stays_none_and_no_component_leaves_the_bound(x, y):
    for storage in ("uint8", "colour"):
        flow = np.array([[[x, y], [0.0, 0.0]]], np.float32)
        back = there_and_back(flow, storage)
        assert np.abs(back).max() <= 20 + 1e-4
        np.testing.assert_allclose(back[0, 1], 0, atol=1e-6)


def test_mirroring_turns_columns_and_negates_x():
    mirrored = mirror_flow(FLOW)
    np.testing.assert_array_equal(mirrored[..., 0], -FLOW[..., ::-1, 0])
    np.testing.assert_array_equal(mirrored[..., 1], FLOW[..., ::-1, 1])


@pytest.mark.parametrize(("storage", "levels"), [("float", 0), ("uint8", 0), ("colour", 1)])
def test_mirroring_what_is_stored_is_storing_the_mirror_image(storage, levels):
    flow = np.concatenate([FLOW, np.zeros_like(FLOW), 3 * FLOW])  # none, short, and longer than the bound
    stored = encode_flow(flow, storage=storage)
    mirrored = mirror_flow(stored, storage=storage)
    expected = encode_flow(mirror_flow(flow), storage=storage)
    assert mirrored.dtype == stored.dtype
    assert np.abs(mirrored.astype(float) - expected).max() <= levels  # colours are rounded one by one
    np.testing.assert_array_equal(mirror_flow(mirrored, storage=storage), stored)
    assert (stored.dtype, stored.shape[-1]) == STORAGES[storage]


def test_the_colour_form_is_the_picture_of_the_flow():
    np.testing.assert_array_equal(encode_flow(FLOW, storage="colour"), flow_to_colour(FLOW, max_displacement=20.0))


def test_a_wrong_storage_bound_or_shape_is_refused():
    with pytest.raises(UnknownName, match='"jpeg" is not a known storage of flow.*colour, float, uint8'):
        encode_flow(FLOW, storage="jpeg")
    with pytest.raises(BadParameter, match="bound of stored flow is 0"):
        encode_flow(FLOW, bound=0)
    with pytest.raises(ShapeError, match=r"\[..., H, W, 2\]"):
        encode_flow(FLOW[..., :1])
