"""From clips to feature stores.  All comparisons are exact: every worker uses one thread.

Memory: what Python and NumPy hold at their peak (tracemalloc) where decoding is replaced by a picture in memory, at
most 8 MB more for 100 times the clips, whose features alone take 41 MB.
"""

from __future__ import annotations

import errno
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_clips import InterruptedBackbone, NaNBackbone, ToyBackbone, toy_dataset

from amfir_lib.data import arrays, features
from amfir_lib.data.features import BATCH_BYTES, clips_per_batch, extract_stores, store_path
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.data.streams import streams
from amfir_lib.errors import BadParameter, DiskFull, NonFiniteFeatures, UnknownName, UnreadableVideo
from amfir_lib.storage import atomic_write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("toy"))


def both(**options):
    return {"rgb": ToyBackbone("rgb", **options), "flow": ToyBackbone("flow", **options)}


def extract(dataset, cache_dir, backbones=None, **options):
    defaults = {"cache_dir": cache_dir, "flow_size": 32, "shard_clips": 4}
    return extract_stores(dataset, backbones or both(), **(defaults | options))


def test_features_are_those_of_the_backbone_on_the_streams_of_the_clip(dataset, tmp_path):
    stores = extract(dataset, tmp_path)
    assert stores["rgb"].features.shape == (10, 8, 4, 3) and stores["flow"].features.shape == (10, 8, 4, 2)
    seen = streams(dataset.clip_path(7), {"rgb": 16, "flow": 16}, flow_size=32)
    for stream, store in stores.items():
        np.testing.assert_array_equal(store.features[7], ToyBackbone(stream).features(seen[stream][None])[0])
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
    extract(dataset, tmp_path, flow_size=64)
    assert "flow.size was 32 and is now 64" in capsys.readouterr().out


def test_features_of_two_flow_algorithms_lie_beside_each_other_and_share_the_frames(dataset, tmp_path, capsys):
    extract(dataset, tmp_path)
    backbones = both()
    extract(dataset, tmp_path, backbones, flow_algorithm="farneback")
    assert backbones["rgb"].calls == 0 and backbones["flow"].calls > 0
    again = both()
    extract(dataset, tmp_path, again)
    assert again["rgb"].calls == again["flow"].calls == 0 and capsys.readouterr().out == ""


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
    assert backbone.calls == 1 and "2 of 3 shards of rgb features of toy are there already" in capsys.readouterr().out


class DenseToy(InterruptedBackbone):
    """Sees 24 frames or flow fields of a clip, and averages them by threes."""

    dense_frames, notes = 24, ("A toy.",)

    def features(self, clips):
        return super().features(clips.reshape(len(clips), 8, 3, *clips.shape[2:]).mean(axis=2))


def test_a_backbone_that_asks_for_dense_frames_gets_them_beside_one_that_does_not(dataset, tmp_path):
    backbones = {"rgb": ToyBackbone("rgb"), "flow": DenseToy("flow", after=99)}
    stores = extract(dataset, tmp_path, backbones, flow_average=3)
    seen = streams(dataset.clip_path(5), {"flow": 16}, counts={"flow": 24}, flow_size=32)["flow"]
    np.testing.assert_array_equal(stores["flow"].features[5], DenseToy("flow", after=1).features(seen[None])[0])
    metadata = stores["flow"].metadata
    assert metadata["sampling"] == "24 frames over the clip, central square" and metadata["flow"]["average"] == 1
    assert metadata["backbone"]["notes"] == ["A toy."] and "notes" not in stores["rgb"].metadata["backbone"]


def test_large_inputs_make_small_batches():
    class Large:
        modality, input_size, dense_frames = "flow", 224, 64

    assert clips_per_batch(both().values(), n_segments=8) == 16
    assert clips_per_batch([Large()], n_segments=8) == BATCH_BYTES // (64 * 224 * 224 * 8) == 4
    Large.input_size = 2000
    assert clips_per_batch([Large()], n_segments=8) == 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_probe_sees_the_first_features_before_the_others_are_computed(tmp_path, monkeypatch, n_jobs):
    dataset = toy_dataset(tmp_path / "clips", n_clips=12)
    monkeypatch.setattr(features, "PROBE_CLIPS", 4)
    backbone, seen = ToyBackbone("rgb"), []

    def probe(modality, values):
        seen.append((modality, backbone.calls, np.array(values)))

    settings = {"flow_size": 32, "shard_clips": 2, "n_jobs": n_jobs}
    store = extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path, probe=probe, **settings)["rgb"]
    ((modality, n_calls, values),) = seen
    rows = [0, 1, 10, 11]  # two shards of two clips, the first one and the last one
    np.testing.assert_array_equal(values, store.features[rows])
    assert modality == "rgb" and (n_calls, backbone.calls) == ((2, 6) if n_jobs == 1 else (0, 0))  # nothing twice
    again = extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path / "plain", **settings)["rgb"]
    assert again.path.read_bytes() == store.path.read_bytes()
    extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path, probe=probe, **settings)
    assert len(seen) == 1  # what is in the cache was looked at when it was made


def test_a_damaged_shard_is_said_and_computed_again(dataset, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, tmp_path, {"rgb": InterruptedBackbone("rgb", after=2)})
    (shard,) = tmp_path.rglob("shard-00000*")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    backbone = ToyBackbone("rgb")
    extract(dataset, tmp_path, {"rgb": backbone})
    assert backbone.calls == 2 and "A shard is computed again: " in capsys.readouterr().out


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

    monkeypatch.setattr(arrays, "atomic_write", full_after_one)
    with pytest.raises(DiskFull, match=r"No room on the disk for .*shard-00001.* needs about .* MB.*--cache-dir"):
        extract(dataset, tmp_path, {"rgb": ToyBackbone("rgb")})
    assert [file.name for file in tmp_path.rglob("*.*") if file.is_file()] == ["shard-00000.safetensors"]
    monkeypatch.undo()
    backbone = ToyBackbone("rgb")
    extract(dataset, tmp_path, {"rgb": backbone})
    assert backbone.calls == 2


def test_a_disk_without_room_is_noticed_before_the_work(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("amfir_lib.storage._free_bytes", lambda folder: 100)
    backbone = ToyBackbone("rgb")
    with pytest.raises(DiskFull, match=r"0\.0 MB are free"):
        extract(dataset, tmp_path, {"rgb": backbone})
    assert backbone.calls == 0


def test_depth_is_an_appearance_stream_by_another_name(dataset, tmp_path):
    depth = Dataset("toy", dataset.root, dataset.manifest, modalities=("depth", "flow"))
    store = extract_stores(depth, {"depth": ToyBackbone("rgb")}, cache_dir=tmp_path)["depth"]
    assert store.metadata["modality"] == "depth" and store.metadata["stream"] == "rgb"
    with pytest.raises(UnknownName, match='"rgb" is not a known modality of toy.*Known: depth, flow'):
        extract(depth, tmp_path)


def test_two_backbones_for_one_stream_and_clips_that_are_too_short_are_refused(dataset, tmp_path):
    with pytest.raises(BadParameter, match="two backbones see the same stream"):
        extract(dataset, tmp_path, {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("rgb")})
    with pytest.raises(BadParameter, match='clip "clip00" of toy has 10 frames but 12 segments'):
        extract(dataset, tmp_path, n_segments=12)


# many clips in little memory

N_PATCHES, DIM = 4, 64


class WideBackbone:
    """Features of 4 kB a clip, which tell the clip by its brightness."""

    name, modality, digest, n_patches, dim, input_size = "wide", "rgb", "first", N_PATCHES, DIM, 8

    def features(self, clips: np.ndarray) -> np.ndarray:
        values = clips.mean(axis=(2, 3, 4))[:, :, None, None] / 16
        return np.broadcast_to(values, (*values.shape[:2], N_PATCHES, DIM)).astype(np.float16)


def many_clips(root, n_clips):
    rows = [(f"c{i:05d}", f"c{i:05d}.avi", f"class{i % 2}", "train", f"g{i}", 16, 12.0, 8, 8) for i in range(n_clips)]
    return Dataset("many", root, pd.DataFrame(rows, columns=list(COLUMNS)))


@pytest.fixture
def no_decoding(monkeypatch):
    def picture(path, **_):
        return {"rgb": np.full((8, 8, 8, 3), int(Path(path).stem[1:]) % 251, np.uint8)}

    monkeypatch.setattr(features, "streams", picture)


def peak_of(root, n_clips, cache):
    dataset = many_clips(root, n_clips)
    tracemalloc.start()
    try:
        extract_stores(dataset, {"rgb": WideBackbone()}, cache_dir=cache)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_thousand_clips_need_hardly_more_memory_than_a_hundred(tmp_path, no_decoding):
    peak_of(tmp_path, 20, tmp_path / "warm")
    few = peak_of(tmp_path, 100, tmp_path / "few")
    many = peak_of(tmp_path, 10_000, tmp_path / "many")
    size = 10_000 * 8 * N_PATCHES * DIM * 2
    assert many - few < 8e6 < size / 5, f"{few / 1e6:.1f} MB for 100 clips, {many / 1e6:.1f} MB for 10,000"
