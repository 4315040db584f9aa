"""Stored flow.  uint8: half a step of 20/127 px.  colour: 0.1 px, which eight bits a channel leave of direction and
length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.data.flow_codec import STORAGES, bytes_per_pixel, decode_flow, encode_flow, mirror_flow
from amfir_lib.errors import BadParameter, ShapeError, UnknownName

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


def test_the_colour_form_is_the_picture_of_the_flow():
    np.testing.assert_array_equal(encode_flow(FLOW, storage="colour"), flow_to_colour(FLOW, max_displacement=20.0))


def test_vectors_beyond_the_bound_keep_their_direction_in_colour():
    back = there_and_back(np.array([[[60.0, 0.0], [0.0, -60.0]]]), "colour")
    np.testing.assert_allclose(back, [[[20, 0], [0, -20]]], atol=0.2)


@pytest.mark.parametrize("storage", STORAGES)
def test_the_stated_size_is_the_size_of_the_array(storage):
    stored = encode_flow(np.zeros((8, 24, 24, 2), np.float32), storage=storage)
    assert stored.nbytes == 8 * 24 * 24 * bytes_per_pixel(storage)
    assert (stored.dtype, stored.shape[-1]) == STORAGES[storage]


def test_a_wrong_storage_bound_or_shape_is_refused():
    with pytest.raises(UnknownName, match='"jpeg" is not a known storage of flow.*colour, float, uint8'):
        encode_flow(FLOW, storage="jpeg")
    with pytest.raises(BadParameter, match="bound of stored flow is 0"):
        encode_flow(FLOW, bound=0)
    with pytest.raises(ShapeError, match=r"\[..., H, W, 2\]"):
        encode_flow(FLOW[..., :1])
