"""Many frames of a clip, and their way into the feature store.  All comparisons are exact."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_clips import ToyBackbone, moving_frames, toy_dataset

from amfir_lib.analysis.stage_costs import write_probe_clip
from amfir_lib.data.clip_inputs import centre_square, read_streams, resize_square
from amfir_lib.data.dense_inputs import dense_instants, read_dense_streams
from amfir_lib.data.features import extract_stores
from amfir_lib.data.flow import dense_flow, flow_at, flow_windows
from amfir_lib.data.shards import BATCH_BYTES, clips_per_batch
from amfir_lib.data.video import read_frames, sample_instants
from amfir_lib.errors import BadParameter, UnreadableVideo

SETTINGS = {"n_segments": 8, "flow_size": 48, "flow_algorithm": "dis", "flow_bound": 20.0, "flow_average": 1}
SIZES = {"rgb": 48, "flow": 48}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy"))


class DenseToy(ToyBackbone):
    """Sees 24 flow fields of a clip and averages them by threes."""

    name, dense_frames, notes = "dense-toy", 24, ("A toy.",)

    def features(self, clips):
        assert clips.shape[1] == 24
        return super().features(clips.reshape(len(clips), 8, 3, *clips.shape[2:]).mean(axis=2))


@given(st.integers(1, 300), st.integers(1, 80))
def test_dense_instants_are_the_segment_centres_or_repeat_frames_evenly(n_frames, n_wanted):
    found = dense_instants(n_frames, n_wanted)
    if n_frames >= n_wanted:
        np.testing.assert_array_equal(found, sample_instants(n_frames, n_wanted))
    else:
        counts = np.bincount(found, minlength=n_frames)
        assert counts.max() - counts.min() <= 1
    assert len(found) == n_wanted and (np.diff(found) >= 0).all() and 0 <= found[0] <= found[-1] < n_frames


def test_dense_flow_is_the_flow_of_every_neighbouring_pair(dataset):
    path = dataset.clip_path(0)
    found = read_dense_streams(path, {"rgb": None, "flow": 9}, sizes=SIZES, **SETTINGS)
    frames = read_frames(path)
    np.testing.assert_array_equal(found["flow"], flow_at(frames, range(9)))
    np.testing.assert_array_equal(found["rgb"], frames[sample_instants(10, 8)])


def test_without_a_dense_stream_it_reads_what_the_others_read(dataset):
    path, settings = dataset.clip_path(1), SETTINGS | {"flow_average": 3}
    dense = read_dense_streams(path, {"rgb": None, "flow": None}, sizes=SIZES, **settings)
    plain = read_streams(path, ("rgb", "flow"), sizes=SIZES, **settings)
    for stream in plain:
        np.testing.assert_array_equal(dense[stream], plain[stream])


def test_a_short_clip_repeats_its_frames(dataset):
    found = read_dense_streams(dataset.clip_path(0), {"rgb": 20, "flow": 27}, sizes=SIZES, **SETTINGS)
    frames = read_frames(dataset.clip_path(0))
    np.testing.assert_array_equal(found["rgb"], np.repeat(frames, 2, axis=0))
    np.testing.assert_array_equal(found["flow"], np.repeat(flow_at(frames, range(9)), 3, axis=0))


def slow_streams(path, counts, *, sizes, flow_size, flow_bound, flow_average, **_):
    """All frames at once and at their full size, as the textbook has it."""
    frames = centre_square(read_frames(path))
    found = {}
    for stream, count in counts.items():
        n = len(frames) - (stream == "flow" and count is not None)
        instants = sample_instants(n, 8) if count is None else dense_instants(n, count)
        if stream == "rgb":
            found["rgb"] = np.stack([resize_square(frames[i], sizes["rgb"]) for i in instants])
            continue
        small = np.stack([resize_square(frame, flow_size) for frame in frames])
        windows = flow_windows(instants, len(frames), average=flow_average if count is None else 1)
        means = [
            np.mean([np.clip(dense_flow(small[i], small[j]), -flow_bound, flow_bound) for i, j in window], axis=0)
            for window in windows
        ]
        found["flow"] = np.stack([resize_square(mean, sizes["flow"]) for mean in means])
    return found


def write_changing_folder(root, n_frames):
    """Numbered images, of which the later ones are larger than the first."""
    root.mkdir()
    for i, frame in enumerate(moving_frames(np.random.default_rng(2), n_frames=n_frames, size=96)):
        wide = cv2.resize(frame, (128, 96) if i < 5 else (180, 120))
        cv2.imwrite(str(root / f"{i:05d}.png"), wide)
    return root


@pytest.mark.parametrize("counts", [{"rgb": 6, "flow": 30}, {"rgb": None, "flow": 11}, {"rgb": None, "flow": None}])
@pytest.mark.parametrize("sizes", [{"rgb": 40, "flow": 24}, {"rgb": 96, "flow": 64}])
def test_reading_frame_by_frame_is_reading_them_all(tmp_path, counts, sizes):
    settings = SETTINGS | {"sizes": sizes, "flow_average": 3, "flow_bound": 0.5}
    write_probe_clip(tmp_path / "a.mp4", n_frames=17, height=96, width=128, rng=np.random.default_rng(1))
    for path in (tmp_path / "a.mp4", write_changing_folder(tmp_path / "frames", 12)):
        found, expected = read_dense_streams(path, counts, **settings), slow_streams(path, counts, **settings)
        for stream in counts:
            assert found[stream].dtype == expected[stream].dtype
            np.testing.assert_array_equal(found[stream], expected[stream])


def test_large_frames_take_no_memory_once_they_are_decoded(tmp_path):
    write_probe_clip(tmp_path / "a.mp4", n_frames=40, height=360, width=480, rng=np.random.default_rng(1))
    tracemalloc.start()
    try:
        read_dense_streams(tmp_path / "a.mp4", {"flow": 39}, sizes={"flow": 32}, **(SETTINGS | {"flow_size": 32}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 360 * 480 * 3, f"{peak / 1e6:.1f} MB"  # of 40 frames


def test_a_clip_shorter_than_its_manifest_says_is_named_as_everywhere(dataset):
    with pytest.raises(UnreadableVideo, match=r"clip00\.avi has 10 frames that can be decoded, but frame 1[12] "):
        read_dense_streams(dataset.clip_path(0), {"flow": 9}, sizes=SIZES, n_frames=13, **SETTINGS)


def test_a_clip_that_is_too_short_is_named(dataset):
    with pytest.raises(BadParameter, match=r"clip00\.avi has 10 frames but 12 segments"):
        read_dense_streams(dataset.clip_path(0), {"flow": 9}, sizes=SIZES, **(SETTINGS | {"n_segments": 12}))


def test_a_backbone_that_asks_for_dense_frames_gets_them_beside_one_that_does_not(dataset, tmp_path):
    backbones = {"rgb": ToyBackbone("rgb"), "flow": DenseToy("flow")}
    stores = extract_stores(dataset, backbones, cache_dir=tmp_path, flow_size=32, shard_clips=4, flow_average=3)
    clip = read_dense_streams(dataset.clip_path(5), {"flow": 24}, sizes={"flow": 16}, **(SETTINGS | {"flow_size": 32}))[
        "flow"
    ]
    np.testing.assert_array_equal(stores["flow"].features[5], DenseToy("flow").features(clip[None])[0])
    metadata = stores["flow"].metadata
    assert metadata["sampling"] == "24 frames over the clip, central square" and metadata["flow"]["average"] == 1
    assert metadata["backbone"]["notes"] == ["A toy."]
    assert "notes" not in stores["rgb"].metadata["backbone"]


def test_large_inputs_make_small_batches():
    class Large:
        modality, input_size, dense_frames = "flow", 224, 64

    assert clips_per_batch([ToyBackbone("rgb"), ToyBackbone("flow")], n_segments=8) == 16
    assert clips_per_batch([Large()], n_segments=8) == BATCH_BYTES // (64 * 224 * 224 * 8) == 4
    Large.input_size = 2000
    assert clips_per_batch([Large()], n_segments=8) == 1
