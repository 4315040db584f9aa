"""Clip inputs, extraction and the feature store.  All comparisons are exact: every worker uses one thread."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pytest
import safetensors.numpy
from toy_clips import InterruptedBackbone, NaNBackbone, ToyBackbone, moving_frames, toy_dataset

from amfir_lib.data import shards
from amfir_lib.data.features import clip_inputs, extract_features, extract_stores, open_store, store_path
from amfir_lib.data.flow import flow_at
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.store import write_store
from amfir_lib.data.video import read_frames, sample_instants, write_video
from amfir_lib.errors import (
    BadParameter,
    DataNotFound,
    DiskFull,
    NonFiniteFeatures,
    ShapeError,
    StoreError,
    UnknownName,
    UnreadableVideo,
)
from amfir_lib.storage import atomic_write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy"))


def both(**options):
    return {"rgb": ToyBackbone("rgb", **options), "flow": ToyBackbone("flow", **options)}


def extract(dataset, cache_dir, backbones=None, **options):
    defaults = {"cache_dir": cache_dir, "flow_size": 32, "shard_clips": 4}
    return extract_stores(dataset, backbones or both(), **(defaults | options))


# ---------------------------------------------------------------------------------------------- clip inputs


def test_clip_inputs_have_the_stated_shapes_and_types(dataset):
    inputs = clip_inputs(dataset.clip_path(0), size=24, flow_size=32)
    assert inputs.rgb.shape == (8, 24, 24, 3) and inputs.rgb.dtype == np.uint8
    assert inputs.flow.shape == (8, 24, 24, 2) and inputs.flow.dtype == np.float32


def test_clip_inputs_are_the_frames_and_the_flow_at_the_centres_of_the_segments(dataset):
    path = dataset.clip_path(0)
    inputs = clip_inputs(path, size=48, flow_size=48)
    frames, instants = read_frames(path), sample_instants(10, 8)
    np.testing.assert_array_equal(inputs.rgb, frames[instants])
    np.testing.assert_array_equal(inputs.flow, flow_at(frames, instants))


def test_averaged_flow_is_the_mean_over_neighbouring_pairs(dataset):
    path = dataset.clip_path(0)
    frames, instants = read_frames(path), sample_instants(10, 8)
    found = clip_inputs(path, size=48, flow_size=48, flow_average=3).flow
    around = [flow_at(frames, np.clip(np.minimum(instants, 8) + shift, 0, 8)) for shift in (-1, 0, 1)]
    np.testing.assert_allclose(found, np.mean(around, axis=0), atol=1e-6)


def test_the_central_square_of_a_wide_clip_is_used(tmp_path):
    wide = np.zeros((10, 32, 64, 3), np.uint8)
    wide[:, :, 16:48] = moving_frames(np.random.default_rng(0), size=32)
    write_video(tmp_path / "wide.avi", wide, codec="FFV1")
    np.testing.assert_array_equal(
        clip_inputs(tmp_path / "wide.avi", size=32, flow_size=32).rgb, wide[sample_instants(10, 8), :, 16:48]
    )


def test_knowing_the_number_of_frames_changes_nothing(dataset):
    counted, told = (clip_inputs(dataset.clip_path(1), size=16, flow_size=32, n_frames=n) for n in (None, 10))
    np.testing.assert_array_equal(counted.rgb, told.rgb)
    np.testing.assert_array_equal(counted.flow, told.flow)


def test_flow_stays_in_pixels_of_the_flow_square_and_is_clipped(tmp_path):
    write_video(tmp_path / "a.avi", moving_frames(np.random.default_rng(0), step=3), codec="FFV1")
    flow = clip_inputs(tmp_path / "a.avi", size=12, flow_size=48).flow
    assert flow[..., 0].mean() == pytest.approx(-3, abs=0.4)  # not a quarter of it
    assert clip_inputs(tmp_path / "a.avi", size=12, flow_size=48, flow_bound=1.0).flow.min() >= -1


def test_random_instants_come_from_the_given_generator(dataset):
    first, same, other = (
        clip_inputs(dataset.clip_path(0), n_segments=3, size=48, flow_size=48, rng=np.random.default_rng(s)).rgb
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_clip_that_is_too_short_is_named(dataset):
    with pytest.raises(BadParameter, match=r"clip00\.avi has 10 frames but 12 segments"):
        clip_inputs(dataset.clip_path(0), n_segments=12)


# ---------------------------------------------------------------------------------------------- the store


def test_a_store_gives_back_what_was_written_and_is_a_safetensors_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float16)
    write_store(tmp_path / "s.safetensors", [values[:2], values[2:]], shape=values.shape, metadata={"a": {"b": 1}})
    store = open_store(tmp_path / "s.safetensors", expected={"a": {"b": 1}})
    assert isinstance(store.features, np.memmap) and store.metadata == {"a": {"b": 1}}
    np.testing.assert_array_equal(store.features, values)
    np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / "s.safetensors")["features"], values)
    with safetensors.safe_open(tmp_path / "s.safetensors", "numpy") as file:
        assert list(file.metadata()) == ["amfir"] and json.loads(file.metadata()["amfir"])["a"] == {"b": 1}


def test_how_the_parts_are_cut_does_not_change_the_file(tmp_path):
    values = np.arange(24, dtype=np.float16).reshape(6, 2, 1, 2)
    write_store(tmp_path / "a", [values], shape=values.shape, metadata={"k": "v", "j": 1})
    write_store(tmp_path / "b", [values[:1], values[1:5], values[5:]], shape=values.shape, metadata={"j": 1, "k": "v"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_flipped_byte_is_found(tmp_path):
    values = np.arange(8, dtype=np.float16).reshape(2, 2, 1, 2)
    write_store(tmp_path / "s", [values], shape=values.shape, metadata={"dataset": "toy"})
    whole = (tmp_path / "s").read_bytes()
    for position in range(len(whole)):
        (tmp_path / "s").write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(StoreError, match="is damaged"):
            open_store(tmp_path / "s")


@pytest.mark.parametrize("n_bytes", [0, 5, 60, -1])
def test_a_truncated_store_is_damaged(tmp_path, n_bytes):
    values = np.zeros((2, 2, 1, 2), np.float16)
    write_store(tmp_path / "s", [values], shape=values.shape, metadata={})
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:n_bytes])
    with pytest.raises(StoreError, match="its header cannot be read"):
        open_store(tmp_path / "s")


def test_a_stale_store_names_each_field_that_changed_from_what_to_what(tmp_path):
    write_store(tmp_path / "s", [], shape=(0, 8, 1, 2), metadata={"flow": {"algorithm": "dis", "size": 112}, "t": 8})
    with pytest.raises(StoreError, match='is stale: flow.algorithm was "dis" and is now "farneback"; t was 8 and is'):
        open_store(tmp_path / "s", expected={"flow": {"algorithm": "farneback", "size": 112}, "t": 4})
    with pytest.raises(DataNotFound, match="Extract the features first"):
        open_store(tmp_path / "none")


def test_parts_that_do_not_add_up_leave_no_file(tmp_path):
    with pytest.raises(ShapeError, match="the parts hold 8 bytes, but shape"):
        write_store(tmp_path / "s", [np.zeros((1, 2, 1, 2), np.float16)], shape=(2, 2, 1, 2), metadata={})
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- extraction


def test_features_are_those_of_the_backbone_on_the_clip_inputs(dataset, tmp_path):
    stores = extract(dataset, tmp_path)
    assert stores["rgb"].features.shape == (10, 8, 4, 3) and stores["flow"].features.shape == (10, 8, 4, 2)
    inputs = clip_inputs(dataset.clip_path(7), size=16, flow_size=32)
    np.testing.assert_array_equal(stores["rgb"].features[7], ToyBackbone("rgb").features(inputs.rgb[None])[0])
    np.testing.assert_array_equal(stores["flow"].features[7], ToyBackbone("flow").features(inputs.flow[None])[0])
    assert stores["flow"].metadata["flow"]["algorithm"] == "dis" and stores["rgb"].metadata["flow"] is None
    assert os.listdir(stores["rgb"].path.parent) != [] and not list(tmp_path.rglob("*.shards-*"))


def test_one_and_four_workers_write_the_same_bytes(dataset, tmp_path):
    one, four = (extract(dataset, tmp_path / str(n), n_jobs=n) for n in (1, 4))
    for modality in ("rgb", "flow"):
        assert one[modality].path.read_bytes() == four[modality].path.read_bytes()


def test_a_current_store_is_not_computed_again(dataset, tmp_path, capsys):
    first = extract(dataset, tmp_path)
    backbones = both()
    again = extract(dataset, tmp_path, backbones)
    assert backbones["rgb"].calls == backbones["flow"].calls == 0
    assert again["flow"].digest == first["flow"].digest and "again" not in capsys.readouterr().out


def test_another_backbone_is_a_stated_reason_to_compute_one_modality_again(dataset, tmp_path, capsys):
    extract(dataset, tmp_path)
    backbones = {"rgb": ToyBackbone("rgb", digest="second"), "flow": ToyBackbone("flow")}
    extract(dataset, tmp_path, backbones)
    assert 'backbone.digest was "first" and is now "second"' in capsys.readouterr().out
    assert backbones["rgb"].calls > 0 and backbones["flow"].calls == 0


def test_features_of_two_flow_algorithms_lie_beside_each_other_and_share_the_frames(dataset, tmp_path, capsys):
    extract(dataset, tmp_path)
    backbones = both()
    extract(dataset, tmp_path, backbones, flow_algorithm="farneback")
    assert backbones["rgb"].calls == 0 and backbones["flow"].calls > 0
    again = both()
    extract(dataset, tmp_path, again)
    assert again["rgb"].calls == again["flow"].calls == 0 and capsys.readouterr().out == ""


def test_another_flow_size_replaces_the_flow_and_says_why(dataset, tmp_path, capsys):
    extract(dataset, tmp_path)
    extract(dataset, tmp_path, flow_size=64)
    assert "flow.size was 32 and is now 64" in capsys.readouterr().out


def test_an_exchanged_clip_makes_the_store_stale_and_another_split_does_not(dataset, tmp_path, capsys):
    extract(dataset, tmp_path)
    resplit = Dataset("toy", dataset.root, dataset.manifest.assign(split="test", group="one"))
    extract(resplit, tmp_path)
    assert capsys.readouterr().out == ""
    changed = Dataset("toy", dataset.root, dataset.manifest.assign(file_digest=["x"] * 10))
    extract(changed, tmp_path)
    assert "manifest was" in capsys.readouterr().out


def test_one_flipped_byte_is_noticed_said_and_repaired(dataset, tmp_path, capsys):
    path = extract(dataset, tmp_path)["flow"].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:])
    extract(dataset, tmp_path)
    assert "Features are computed again" in (printed := capsys.readouterr().out) and "is damaged" in printed
    assert path.read_bytes() == whole


def test_an_interrupted_extraction_goes_on_where_it_stopped(dataset, tmp_path, capsys):
    expected = extract(dataset, tmp_path / "whole")["rgb"].path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, tmp_path / "cut", {"rgb": InterruptedBackbone("rgb", after=2)})
    path = store_path(dataset, "rgb", ToyBackbone("rgb"), cache_dir=tmp_path / "cut")
    assert not path.exists() and len(list(tmp_path.rglob("shard-*"))) == 2
    backbone = ToyBackbone("rgb")
    assert extract(dataset, tmp_path / "cut", {"rgb": backbone})["rgb"].path.read_bytes() == expected
    assert backbone.calls == 1 and "2 of 3 shards of features of toy are there already" in capsys.readouterr().out


class DenseToy(InterruptedBackbone):
    """As slow as a network that sees dense frames would be, as far as shards know."""

    dense_frames = 8


def test_an_interruption_costs_few_clips_where_each_of_them_takes_long(tmp_path):
    dataset = toy_dataset(tmp_path / "clips", n_clips=36)
    for kind, n_kept in ((InterruptedBackbone, 0), (DenseToy, 2)):  # none of 64 clips, two of 8
        backbones, cache = {"rgb": ToyBackbone("rgb"), "flow": kind("flow", after=2)}, tmp_path / kind.__name__
        with pytest.raises(KeyboardInterrupt):
            extract_stores(dataset, backbones, cache_dir=cache, flow_size=32)
        assert len(list(cache.rglob("shard-*"))) == n_kept * len(backbones)
    store = extract_stores(dataset, {"flow": DenseToy("flow", after=9)}, cache_dir=cache, flow_size=32)["flow"]
    whole = {"cache_dir": tmp_path / "64", "flow_size": 32}
    assert extract_stores(dataset, {"flow": DenseToy("flow", after=9)}, shard_clips=64, **whole)["flow"] is not None
    again = extract_stores(dataset, {"flow": DenseToy("flow", after=0)}, **whole)["flow"]  # computes nothing
    assert again.path.read_bytes() == store.path.read_bytes()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_probe_sees_the_first_features_before_the_others_are_computed(tmp_path, monkeypatch, n_jobs):
    dataset = toy_dataset(tmp_path / "clips", n_clips=12)
    monkeypatch.setattr(shards, "PROBE_CLIPS", 4)
    backbone, seen = ToyBackbone("rgb"), []

    def probe(modality, features):
        seen.append((modality, backbone.calls, np.array(features)))

    settings = {"flow_size": 32, "shard_clips": 2, "n_jobs": n_jobs}
    store = extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path, probe=probe, **settings)["rgb"]
    ((modality, n_calls, features),) = seen
    rows = [0, 1, 10, 11]  # two shards of two clips, the first one and the last one
    np.testing.assert_array_equal(features, store.features[rows])
    assert modality == "rgb" and (n_calls, backbone.calls) == ((2, 6) if n_jobs == 1 else (0, 0))  # nothing twice
    again = extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path / "plain", **settings)["rgb"]
    assert again.path.read_bytes() == store.path.read_bytes()
    extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path, probe=probe, **settings)
    assert len(seen) == 1  # what is in the cache was looked at when it was made


def test_a_damaged_shard_is_computed_again(dataset, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, tmp_path, {"rgb": InterruptedBackbone("rgb", after=2)})
    (shard,) = tmp_path.rglob("shard-00000*")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    backbone = ToyBackbone("rgb")
    extract(dataset, tmp_path, {"rgb": backbone})
    assert backbone.calls == 2


def test_nan_features_name_the_clip_and_the_backbone(dataset, tmp_path):
    with pytest.raises(NonFiniteFeatures, match=r'clip "clip01" .*clip01\.avi. has NaN .* flow features from .* toy'):
        extract(dataset, tmp_path, {"flow": NaNBackbone("flow")})
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_clip_that_became_unreadable_is_named(dataset, tmp_path, n_jobs):
    shutil.copytree(dataset.root, tmp_path / "clips")
    (tmp_path / "clips" / "clip03.avi").write_bytes(b"")
    broken = Dataset("toy", tmp_path / "clips", dataset.manifest)
    with pytest.raises(UnreadableVideo, match=r"clip03\.avi is empty"):
        extract(broken, tmp_path / "cache", n_jobs=n_jobs)


def test_a_full_disk_is_one_sentence_with_path_and_need_and_loses_nothing(dataset, tmp_path, monkeypatch):
    def full_after_one(path):
        if path.name == "shard-00001.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return atomic_write(path)

    monkeypatch.setattr("amfir_lib.data.store.atomic_write", full_after_one)
    with pytest.raises(DiskFull, match=r"No room on the disk for .*shard-00001.* needs about .* MB.*--cache-dir"):
        extract(dataset, tmp_path, {"rgb": ToyBackbone("rgb")})
    assert [file.name for file in tmp_path.rglob("*.*") if file.is_file()] == ["shard-00000.safetensors"]
    monkeypatch.undo()
    backbone = ToyBackbone("rgb")
    extract(dataset, tmp_path, {"rgb": backbone})
    assert backbone.calls == 2


def test_a_disk_that_fills_while_the_store_is_written_leaves_no_half_file(tmp_path):
    def parts():
        yield np.zeros((1, 2, 1, 2), np.float16)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="No room on the disk"):
        write_store(tmp_path / "s", parts(), shape=(2, 2, 1, 2), metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_noticed_before_the_work(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("amfir_lib.storage._free_bytes", lambda folder: 100)
    backbone = ToyBackbone("rgb")
    with pytest.raises(DiskFull, match=r"0\.0 MB are free"):
        extract(dataset, tmp_path, {"rgb": backbone})
    assert backbone.calls == 0


def test_depth_is_an_appearance_stream_by_another_name(dataset, tmp_path):
    depth = Dataset("toy", dataset.root, dataset.manifest, modalities=("depth", "flow"))
    store = extract_features(depth, ToyBackbone("rgb"), modality="depth", cache_dir=tmp_path)
    assert store.metadata["modality"] == "depth" and store.metadata["stream"] == "rgb"
    with pytest.raises(UnknownName, match='"rgb" is not a known modality of toy.*Known: depth, flow'):
        extract(depth, tmp_path)


def test_two_backbones_for_one_stream_and_clips_that_are_too_short_are_refused(dataset, tmp_path):
    with pytest.raises(BadParameter, match="two backbones see the same stream"):
        extract(dataset, tmp_path, {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("rgb")})
    with pytest.raises(BadParameter, match='clip "clip00" of toy has 10 frames but 12 segments'):
        extract(dataset, tmp_path, n_segments=12)
