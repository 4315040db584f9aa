"""Extraction of many clips in little memory, and damage repaired shard by shard.

Memory is what Python and NumPy hold at their peak (tracemalloc) where decoding is replaced by a picture in memory.  The
bound is 8 MB more for 100 times the clips, whose features alone take 41 MB; the list of clips itself is part of it.
Where clips are decoded it is what a process holds at its peak, decoder and OpenCV included; the bound is a tenth of
what the decoded frames would take.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_clips import moving_frames

from amfir_lib import paths
from amfir_lib.data import shards
from amfir_lib.data.features import extract_stores, store_path
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.data.shards import extract_shard
from amfir_lib.data.video import write_video

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
    def picture(path, streams, **_):
        return {"rgb": np.full((8, 8, 8, 3), int(Path(path).stem[1:]) % 251, np.uint8)}

    monkeypatch.setattr(shards, "read_dense_streams", picture)


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


DECODE_AND_PRINT_PEAKS = """
import sys
from pathlib import Path
import pandas as pd
from toy_clips import ToyBackbone
from amfir_lib.data.features import extract_stores
from amfir_lib.data.manifest import COLUMNS, Dataset

root, sizes = Path(sys.argv[1]), map(int, sys.argv[2:])
for n_clips in sizes:
    folder = root / f"{n_clips}"
    folder.mkdir()
    for i in range(n_clips):
        (folder / f"c{i:03d}.avi").hardlink_to(root / "one.avi")
    rows = [(f"c{i:03d}", f"c{i:03d}.avi", "a", "train", f"g{i}", 16, 12.0, 160, 160) for i in range(n_clips)]
    dataset = Dataset("clips", folder, pd.DataFrame(rows, columns=list(COLUMNS)))
    extract_stores(dataset, {m: ToyBackbone(m) for m in ("rgb", "flow")}, cache_dir=root, flow_size=32)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(*(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the memory of a process as Linux tells it")
def test_decoding_and_flow_of_many_clips_need_hardly_more_memory_than_of_few(tmp_path):
    write_video(tmp_path / "one.avi", moving_frames(np.random.default_rng(0), n_frames=16, size=160))
    command = [sys.executable, "-c", DECODE_AND_PRINT_PEAKS, str(tmp_path), "20", "400"]
    places = os.pathsep.join([str(paths.REPOSITORY), str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    frames = 400 * 16 * 160 * 160 * 3
    assert many - few < frames / 10, f"{few / 1e6:.1f} MB for 20 clips, {many / 1e6:.1f} MB for 400"


def test_of_many_shards_only_the_damaged_one_is_computed_again(tmp_path, no_decoding, monkeypatch):
    dataset, backbone = many_clips(tmp_path, 320), WideBackbone()
    whole = extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path / "whole", shard_clips=32)["rgb"]

    def stop(target, n_shards):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("amfir_lib.data.features.assemble", stop)
        extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path / "cut", shard_clips=32)
    files = sorted((tmp_path / "cut").rglob("shard-*.safetensors"))
    assert len(files) == 10
    content = bytearray(files[6].read_bytes())
    content[-5] ^= 1
    files[6].write_bytes(content)
    done = []
    monkeypatch.setattr("amfir_lib.data.shards.extract_shard", lambda s: done.append(s.number) or extract_shard(s))
    extract_stores(dataset, {"rgb": backbone}, cache_dir=tmp_path / "cut", shard_clips=32)
    assert done == [6]
    repaired = store_path(dataset, "rgb", backbone, cache_dir=tmp_path / "cut")
    assert repaired.read_bytes() == whole.path.read_bytes()
