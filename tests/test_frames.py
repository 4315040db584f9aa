"""Frames and flow on disk.  Comparisons are exact but for flow in steps: half a step."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from toy_clips import toy_dataset

from amfir_lib.data import features, frames
from amfir_lib.data.flow import STORAGES, decode_flow, encode_flow
from amfir_lib.data.frames import Stored, build_frame_cache, cache_bytes
from amfir_lib.data.streams import streams
from amfir_lib.errors import BadParameter, UnknownName

STREAMS = {"rgb": Stored(8, 40), "flow": Stored(9, 48)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy"), n_clips=5)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(frames, "SHARD_CLIPS", 2)


def seen(dataset, row):
    counts = {name: stored.n_instants for name, stored in STREAMS.items()}
    sizes = {name: stored.side for name, stored in STREAMS.items()}
    return streams(dataset.clip_path(row), sizes, counts=counts, n_segments=1, flow_size=40)


def shards_of(cache):
    return sorted(path for target in cache.targets.values() for path in target.shard(0).parent.iterdir())


@pytest.fixture
def decoded(monkeypatch):
    """Names of the clips that were decoded; a negative number of them stops like Ctrl-C."""
    names, limit = [], [99]

    def note(path, *args, **options):
        names.append(path)
        if len(names) > limit[0]:
            raise KeyboardInterrupt
        return streams(path, *args, **options)

    monkeypatch.setattr(features, "streams", note)
    return names, limit


def test_the_cache_holds_the_decoded_frames_and_the_flow(dataset, tmp_path):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_size=40)
    for row in (0, 4):
        clip = seen(dataset, row)
        np.testing.assert_array_equal(cache.clip("rgb", row), clip["rgb"])
        stored = np.array(cache.clip("flow", row))
        assert stored.dtype == np.uint8
        decoded = decode_flow(torch.from_numpy(stored)).numpy()
        np.testing.assert_allclose(decoded, clip["flow"], atol=10 / 127 + 1e-5)
    assert isinstance(cache.clip("rgb", 0), np.memmap)


@pytest.mark.parametrize(("flow_type", "pixel"), [("uint8", 2), ("float", 8), ("colour", 3)])
def test_flow_is_kept_in_every_form_at_a_size_that_is_known_before_and_shown(
    dataset, tmp_path, capsys, flow_type, pixel
):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_type=flow_type, flow_size=40)
    np.testing.assert_array_equal(cache.clip("flow", 4), encode_flow(seen(dataset, 4)["flow"], storage=flow_type))
    expected = cache_bytes(5, STREAMS, flow_type=flow_type)
    assert expected == 5 * (8 * 40 * 40 * 3 + 9 * 48 * 48 * pixel)
    assert expected <= sum(path.stat().st_size for path in shards_of(cache)) <= expected + 6 * 512  # headers
    printed = capsys.readouterr().out
    assert f"toy take {expected / 1e9:,.5g} GB in the cache, with flow stored as {flow_type}" in printed
    assert all(f"GB as {name}" in printed for name in STORAGES if name != flow_type)


def test_an_interrupted_cache_goes_on_where_it_stopped(dataset, tmp_path, decoded):
    names, limit = decoded
    whole = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path / "whole")
    names.clear()
    limit[0] = 3
    with pytest.raises(KeyboardInterrupt):
        build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    limit[0] = 99
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    assert len(names) == 4 + 3 and cache.digest == whole.digest  # the first shard of two clips is kept
    assert [p.read_bytes() for p in shards_of(cache)] == [p.read_bytes() for p in shards_of(whole)]


def test_a_cache_that_is_there_is_opened_and_a_damaged_file_said_and_made_again(dataset, tmp_path, decoded, capsys):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    decoded[0].clear()
    build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    assert decoded[0] == [] and "again" not in capsys.readouterr().out
    path = cache.targets["flow"].shard(1)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    assert "A shard is computed again: " in (printed := capsys.readouterr().out) and "shard-00001" in printed
    assert path.read_bytes() == content and len(decoded[0]) == 2


def test_a_cache_travels_to_another_process_without_its_maps(dataset, tmp_path):
    cache = build_frame_cache(dataset, STREAMS, cache_dir=tmp_path)
    clip = cache.clip("rgb", 1)
    there = pickle.loads(pickle.dumps(cache))
    assert len(pickle.dumps(cache)) < 4000
    np.testing.assert_array_equal(there.clip("rgb", 1), clip)


def test_settings_that_do_not_exist_are_refused(dataset, tmp_path):
    with pytest.raises(UnknownName, match="storage of flow"):
        build_frame_cache(dataset, STREAMS, cache_dir=tmp_path, flow_type="int16")
    with pytest.raises(BadParameter, match="16 px or more"):
        build_frame_cache(dataset, {"rgb": Stored(8, 8)}, cache_dir=tmp_path)
