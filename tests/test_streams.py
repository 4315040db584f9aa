"""What backbones see of a clip, at T instants, densely and in views.  All comparisons are exact."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from benchmarks.data import write_probe_clip
from hypothesis import given
from hypothesis import strategies as st
from toy_clips import moving_frames, toy_dataset, write_images

from amfir_lib.data.flow import STORAGES, dense_flow, encode_flow, flow_windows, mirror_flow
from amfir_lib.data.streams import (
    CENTRE,
    View,
    centre_square,
    dense_instants,
    look_at,
    random_view,
    resize_square,
    sample_instants,
    streams,
)
from amfir_lib.data.video import read_frames, write_video
from amfir_lib.errors import BadParameter, UnreadableVideo

BOTH = {"rgb": 48, "flow": 48}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy"))


def slow_streams(path, sizes, *, counts, flow_size, flow_bound, flow_average):
    """All frames at once and at their full size, as the textbook has it."""
    frames, seen = centre_square(read_frames(path)), {}
    for stream, size in sizes.items():
        count = counts.get(stream)
        n = len(frames) - (stream == "flow" and count is not None)
        instants = sample_instants(n, 8) if count is None else dense_instants(n, count)
        if stream == "rgb":
            seen["rgb"] = np.stack([resize_square(frames[i], size) for i in instants])
            continue
        small = np.stack([resize_square(frame, flow_size) for frame in frames])
        windows = flow_windows(instants, len(frames), average=flow_average if count is None else 1)
        means = [
            np.mean([np.clip(dense_flow(small[i], small[j]), -flow_bound, flow_bound) for i, j in window], axis=0)
            for window in windows
        ]
        seen["flow"] = np.stack([resize_square(mean, size) for mean in means])
    return seen


@pytest.fixture(scope="module")
def wide_clips(tmp_path_factory):
    """A video, and numbered images of which the later ones are larger than the first."""
    root = tmp_path_factory.mktemp("wide")
    write_probe_clip(root / "a.mp4", n_frames=17, height=96, width=128, rng=np.random.default_rng(1))
    frames = moving_frames(np.random.default_rng(2), n_frames=12, size=96)
    wide = [cv2.resize(frame, (128, 96) if i < 5 else (180, 120)) for i, frame in enumerate(frames)]
    return root / "a.mp4", write_images(root / "frames", wide)


@pytest.mark.parametrize("counts", [{"rgb": 6, "flow": 30}, {"flow": 11}, {}])
@pytest.mark.parametrize("sizes", [{"rgb": 40, "flow": 24}, {"rgb": 96, "flow": 64}])
def test_reading_frame_by_frame_or_from_memory_is_reading_them_all(wide_clips, counts, sizes):
    settings = {"counts": counts, "flow_size": 48, "flow_average": 3, "flow_bound": 0.5}
    for path in wide_clips:
        expected = slow_streams(path, sizes, **settings)
        for clip in (path, read_frames(path)):
            seen = streams(clip, sizes, **settings)
            for stream, size in sizes.items():
                assert seen[stream].dtype == (np.uint8 if stream == "rgb" else np.float32)
                assert seen[stream].shape[1:3] == (size, size)
                np.testing.assert_array_equal(seen[stream], expected[stream])


def test_flow_stays_in_pixels_of_the_flow_square_and_is_clipped(tmp_path):
    write_video(tmp_path / "a.avi", moving_frames(np.random.default_rng(0), step=3), codec="FFV1")
    flow = streams(tmp_path / "a.avi", {"flow": 12}, flow_size=48)["flow"]
    assert flow[..., 0].mean() == pytest.approx(-3, abs=0.4)  # not a quarter of it
    assert streams(tmp_path / "a.avi", {"flow": 12}, flow_size=48, flow_bound=1.0)["flow"].min() >= -1


def test_random_instants_come_from_the_given_generator(dataset):
    first, same, other = (
        streams(dataset.clip_path(0), {"rgb": 48}, n_segments=3, rng=np.random.default_rng(seed))["rgb"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_large_frames_take_no_memory_once_they_are_decoded(tmp_path):
    write_probe_clip(tmp_path / "a.mp4", n_frames=40, height=360, width=480, rng=np.random.default_rng(1))
    tracemalloc.start()
    try:
        streams(tmp_path / "a.mp4", {"flow": 32}, counts={"flow": 39}, flow_size=32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 360 * 480 * 3, f"{peak / 1e6:.1f} MB"  # of 40 frames


def test_a_clip_that_is_too_short_or_shorter_than_its_manifest_says_is_named(dataset):
    with pytest.raises(BadParameter, match=r"clip00\.avi has 10 frames but 12 segments"):
        streams(dataset.clip_path(0), BOTH, n_segments=12)
    with pytest.raises(UnreadableVideo, match=r"clip00\.avi has 10 frames that can be decoded, but frame 1[12] "):
        streams(dataset.clip_path(0), BOTH, counts={"flow": 9}, n_frames=13)


# instants


def test_centres_of_segments_by_hand():
    np.testing.assert_array_equal(sample_instants(16, 8), [0, 2, 4, 6, 8, 10, 12, 14])
    np.testing.assert_array_equal(sample_instants(9, 3), [1, 4, 7])
    np.testing.assert_array_equal(sample_instants(5, 1), [2])
    with pytest.raises(BadParameter, match="A clip of 5 frames cannot be cut into 8 segments"):
        sample_instants(5, 8)
    with pytest.raises(BadParameter, match="0 instants of a clip of 5"):
        dense_instants(5, 0)


@given(st.integers(1, 20), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_instants_increase_inside_the_clip_one_in_each_segment(n_segments, more, seed):
    n_frames = n_segments + more
    centres, drawn = (sample_instants(n_frames, n_segments, rng=rng) for rng in (None, np.random.default_rng(seed)))
    for instants in (centres, drawn):
        assert instants.dtype == np.int64 and instants.shape == (n_segments,)
        assert (np.diff(instants) > 0).all() and instants[0] >= 0 and instants[-1] < n_frames
    edges = np.arange(n_segments + 1) * n_frames // n_segments
    assert (edges[:-1] <= drawn).all() and (drawn < edges[1:]).all()
    assert np.abs(centres + centres[::-1] - (n_frames - 1)).max() <= 1  # symmetric in time


@given(st.integers(1, 300), st.integers(1, 80))
def test_dense_instants_are_the_segment_centres_or_repeat_frames_evenly(n_frames, n_wanted):
    instants = dense_instants(n_frames, n_wanted)
    if n_frames >= n_wanted:
        np.testing.assert_array_equal(instants, sample_instants(n_frames, n_wanted))
    else:
        assert np.ptp(np.bincount(instants, minlength=n_frames)) <= 1
    assert len(instants) == n_wanted and (np.diff(instants) >= 0).all() and 0 <= instants[0] <= instants[-1] < n_frames


# views


def ramp(n_frames=8, side=10):
    """Every pixel says its own time, row and column."""
    return np.stack(np.meshgrid(*map(np.arange, (n_frames, side, side)), indexing="ij"), axis=-1).astype(np.float32)


def test_the_central_view_is_the_centre_at_the_centres_of_the_segments():
    seen = look_at(ramp(), CENTRE, stream="rgb", n_instants=4, crop=6)
    assert seen[:, 0, 0].tolist() == [[0, 2, 2], [2, 2, 2], [4, 2, 2], [6, 2, 2]]


@given(st.integers(0, 1000))
def test_all_frames_of_a_clip_and_both_streams_are_cut_alike(seed):
    view = random_view(np.random.default_rng(seed), flip=True)
    rgb, flow = (look_at(ramp(), view, stream=s, n_instants=4, crop=6, flow_type="float") for s in ("rgb", "flow"))
    rows, columns = rgb[..., 1], rgb[..., 2]
    assert (rows == rows[:1]).all() and (columns == columns[:1]).all()
    assert (np.diff(columns, axis=2) == (-1 if view.mirrored else 1)).all()
    assert (rgb[:, 0, 0, 0] // 2 == np.arange(4)).all()  # one instant of each segment
    np.testing.assert_array_equal(rgb[..., 1:], flow[..., 1:])
    np.testing.assert_array_equal(flow[..., 0], -rgb[..., 0] if view.mirrored else rgb[..., 0])


@pytest.mark.parametrize("storage", STORAGES)
def test_a_mirrored_view_mirrors_the_flow_as_it_is_stored_and_twice_is_the_clip_itself(storage):
    stored = encode_flow(np.random.default_rng(0).uniform(-20, 20, (4, 6, 6, 2)), storage=storage)
    options = {"stream": "flow", "n_instants": 4, "crop": 6, "flow_type": storage}
    once = look_at(stored, View(mirrored=True), **options)
    np.testing.assert_array_equal(once, mirror_flow(stored, storage=storage))
    np.testing.assert_array_equal(look_at(once, View(mirrored=True), **options), stored)


def test_without_flip_no_view_is_mirrored_and_the_other_choices_stay():
    views = {flip: [random_view(np.random.default_rng(seed), flip=flip) for seed in range(100)] for flip in (1, 0)}
    assert not any(view.mirrored for view in views[0]) and 30 < sum(view.mirrored for view in views[1]) < 70
    first, second = ([(v.top, v.left, v.instants_seed) for v in views[flip]] for flip in (0, 1))
    assert first == second
    tops = [look_at(ramp(), view, stream="rgb", n_instants=8, crop=6)[0, 0, 0, 1] for view in views[0]]
    assert set(tops) == {0, 1, 2, 3, 4}
