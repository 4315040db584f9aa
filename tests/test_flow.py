"""Optical flow.  Tolerance: a whole-pixel shift of a smooth texture is found within 0.1 px on average away from the
border (DIS reaches 0.02, Farnebäck 0.01), which leaves room for other OpenCV versions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from toy_clips import moving_frames, texture

from amfir_lib.data.flow import FLOW_ALGORITHMS, dense_flow, flow_at, flow_pairs, flow_to_colour, flow_windows
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


def test_the_last_frame_takes_the_flow_that_leads_to_it():
    assert flow_pairs([0, 4, 9], 10) == [(0, 1), (4, 5), (8, 9)]
    with pytest.raises(BadParameter, match="the clip has 1"):
        flow_pairs([0], 1)
    with pytest.raises(BadParameter, match="do not lie in a clip of 10"):
        flow_pairs([10], 10)


def test_averaged_flow_takes_the_pairs_around_an_instant_and_repeats_the_outermost_at_the_ends():
    assert flow_windows([0, 4, 9], 10) == [[pair] for pair in flow_pairs([0, 4, 9], 10)]
    assert flow_windows([0, 4, 9], 10, average=3) == [
        [(0, 1), (0, 1), (1, 2)], [(3, 4), (4, 5), (5, 6)], [(7, 8), (8, 9), (8, 9)]
    ]  # fmt: skip
    assert flow_windows([4], 10, average=2) == [[(4, 5), (5, 6)]]
    with pytest.raises(BadParameter, match="flow_average is 0"):
        flow_windows([4], 10, average=0)


def test_flow_of_a_clip_is_that_of_its_pairs_and_is_clipped_to_the_bound():
    frames = moving_frames(np.random.default_rng(0), n_frames=6, step=3)
    flow = flow_at(frames, [1, 5])
    np.testing.assert_array_equal(flow[0], dense_flow(frames[1], frames[2]))
    np.testing.assert_array_equal(flow[1], dense_flow(frames[4], frames[5]))
    bounded = flow_at(frames, [1, 5], bound=1.5)
    np.testing.assert_array_equal(bounded, np.clip(flow, -1.5, 1.5))
    assert flow[..., 0].mean() == pytest.approx(-3, abs=0.3)  # the texture moves to the left


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


def test_opposite_directions_have_complementary_hues():
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    flow = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]
    colour = flow_to_colour(flow, max_displacement=1.0).astype(int)
    other = flow_to_colour(-flow, max_displacement=1.0).astype(int)
    assert np.abs(colour + other - 255).max() <= 1  # rounding


def test_a_picture_of_flow_needs_a_positive_length():
    with pytest.raises(BadParameter, match="max_displacement is 0"):
        flow_to_colour(np.zeros((4, 4, 2)), max_displacement=0)
