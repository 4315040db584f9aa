"""Frames and flow on disk, and views of them.  Comparisons are exact but for flow in steps: half a step."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_clips import toy_dataset

from amfir_lib import storage
from amfir_lib.data import frame_cache
from amfir_lib.data.augmentation import CENTRE, View, look_at, random_view
from amfir_lib.data.dense_inputs import read_dense_streams
from amfir_lib.data.flow_codec import STORAGES, decode_flow, encode_flow, mirror_flow
from amfir_lib.data.frame_cache import build_frame_cache, verify_frame_cache
from amfir_lib.data.frame_sizes import Stored, cache_bytes
from amfir_lib.errors import BadParameter, StoreError, UnknownName
from amfir_lib.storage import meaning_of

STREAMS = {"rgb": Stored(8, 40), "flow": Stored(9, 48)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy"), n_clips=5)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(frame_cache, "SHARD_CLIPS", 2)


def test_the_cache_holds_the_decoded_frames_and_the_flow(dataset, tmp_path):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_size=40)
    for row in (0, 4):
        clip = read_dense_streams(
            dataset.clip_path(row), {"rgb": 8, "flow": 9}, sizes={"rgb": 40, "flow": 48}, n_segments=1, flow_size=40,
            flow_algorithm="dis", flow_bound=20.0,
        )  # fmt: skip
        np.testing.assert_array_equal(cache.clip("rgb", row), clip["rgb"])
        stored = np.array(cache.clip("flow", row))
        assert stored.dtype == np.uint8
        decoded = decode_flow(torch.from_numpy(stored)).numpy()
        np.testing.assert_allclose(decoded, clip["flow"], atol=10 / 127 + 1e-5)
    assert isinstance(cache.clip("rgb", 0).base, np.memmap) or isinstance(cache.clip("rgb", 0), np.memmap)
    for name in STORAGES:
        other = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_size=40, flow_type=name).clip("flow", 4)
        np.testing.assert_array_equal(other, encode_flow(clip["flow"], storage=name))


@pytest.mark.parametrize(("flow_type", "pixel"), [("uint8", 2), ("float", 8), ("colour", 3)])
def test_the_size_is_known_before_and_shown_for_every_form_of_flow(dataset, tmp_path, capsys, flow_type, pixel):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_type=flow_type)
    expected = cache_bytes(5, STREAMS, flow_type=flow_type)
    assert expected == 5 * (8 * 40 * 40 * 3 + 9 * 48 * 48 * pixel)
    assert expected <= cache.n_bytes <= expected + 6 * 128  # a header for each file
    said = capsys.readouterr().out
    assert f"toy take {expected / 1e9:,.5g} GB in the cache, with flow stored as {flow_type}" in said
    assert all(f"GB as {name}" in said for name in STORAGES if name != flow_type)


@pytest.mark.parametrize("changed", ["frame_folders", "flow_codec"])
def test_the_code_that_reads_and_stores_is_part_of_the_digest(dataset, tmp_path, monkeypatch, changed):
    digest = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path).digest
    monkeypatch.setattr(
        storage, "meaning_of", lambda module: "changed" if module.__name__.endswith(changed) else meaning_of(module)
    )
    assert build_frame_cache(dataset, STREAMS, cache_dir=tmp_path).digest != digest


def test_an_interrupted_cache_goes_on_where_it_stopped(dataset, tmp_path, monkeypatch):
    whole = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path / "whole")
    read, n_read = frame_cache.read_dense_streams, []

    def stop_after_three(path, *args, **options):
        n_read.append(path)
        if len(n_read) == 4:
            raise KeyboardInterrupt
        return read(path, *args, **options)

    monkeypatch.setattr(frame_cache, "read_dense_streams", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    assert len(n_read) == 4 + 3 and cache.digest == whole.digest  # the first shard of two clips is kept
    for path in whole.folder.glob("*.npy"):
        assert (cache.folder / path.name).read_bytes() == path.read_bytes()


def test_a_cache_that_is_there_is_opened_and_a_changed_file_named(dataset, tmp_path, monkeypatch):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    monkeypatch.setattr(frame_cache, "read_dense_streams", lambda *_, **__: pytest.fail("decoded again"))
    build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    verify_frame_cache(cache)
    path = cache.folder / "flow-00001.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"flow-00001\.npy is missing or changed"):
        verify_frame_cache(cache)
    path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match=r"flow-00001\.npy is missing or changed.*Remove"):
        build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)


def test_a_cache_travels_to_another_process_without_its_maps(dataset, tmp_path):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    clip = cache.clip("rgb", 1)
    there = pickle.loads(pickle.dumps(cache))
    assert len(pickle.dumps(cache)) < 2000
    np.testing.assert_array_equal(there.clip("rgb", 1), clip)


def test_settings_that_do_not_exist_are_refused(dataset, tmp_path):
    with pytest.raises(UnknownName, match="storage of flow"):
        build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_type="int16")
    with pytest.raises(BadParameter, match="16 px or more"):
        build_frame_cache(dataset, {"rgb": Stored(8, 8)}, cache_dir=tmp_path)


# ---------------------------------------------------------------------------------------------- views


def ramp(n_frames=8, side=10):
    """Every pixel says its own time, row and column."""
    return np.stack(np.meshgrid(*map(np.arange, (n_frames, side, side)), indexing="ij"), axis=-1).astype(np.float32)


def test_the_central_view_is_the_centre_at_the_centres_of_the_segments():
    found = look_at(ramp(), CENTRE, stream="rgb", n_instants=4, crop=6)
    assert found[:, 0, 0].tolist() == [[0, 2, 2], [2, 2, 2], [4, 2, 2], [6, 2, 2]]


@given(st.integers(0, 1000))
def test_all_frames_of_a_clip_and_both_streams_are_cut_alike(seed):
    view = random_view(np.random.default_rng(seed), flip=True)
    one, other = (look_at(ramp(), view, stream=s, n_instants=4, crop=6, flow_type="float") for s in ("rgb", "flow"))
    rows, columns = one[..., 1], one[..., 2]
    assert (rows == rows[:1]).all() and (columns == columns[:1]).all()
    assert (np.diff(columns, axis=2) == (-1 if view.mirrored else 1)).all()
    times = one[:, 0, 0, 0]
    assert (times // 2 == np.arange(4)).all()  # one instant of each segment
    np.testing.assert_array_equal(one[..., 1:], other[..., 1:])
    np.testing.assert_array_equal(other[..., 0], -one[..., 0] if view.mirrored else one[..., 0])


def test_mirroring_negates_the_x_flow_only_and_twice_is_the_clip_itself():
    flow = np.random.default_rng(0).uniform(-20, 20, (4, 6, 6, 2))
    mirror = View(mirrored=True, instants_seed=None)
    for name in STORAGES:
        options = {"stream": "flow", "n_instants": 4, "crop": 6, "flow_type": name}
        stored = encode_flow(flow, storage=name)
        once = look_at(stored, mirror, **options)
        np.testing.assert_array_equal(once, mirror_flow(stored, storage=name))
        np.testing.assert_array_equal(look_at(once, mirror, **options), stored)
    np.testing.assert_array_equal(
        look_at(flow, mirror, **options | {"flow_type": "float"})[..., 0], -flow[:, :, ::-1, 0]
    )


def test_without_flip_no_view_is_mirrored_and_the_other_choices_stay():
    views = {flip: [random_view(np.random.default_rng(s), flip=flip) for s in range(100)] for flip in (True, False)}
    assert not any(view.mirrored for view in views[False])
    assert 30 < sum(view.mirrored for view in views[True]) < 70
    assert [(v.top, v.left, v.instants_seed) for v in views[True]] == [
        (v.top, v.left, v.instants_seed) for v in views[False]
    ]
    tops = [look_at(ramp(), view, stream="rgb", n_instants=8, crop=6)[0, 0, 0, 1] for view in views[False]]
    assert set(tops) == {0, 1, 2, 3, 4}
