"""How workers share GPUs.  No GPU is needed: what PyTorch says of them, and which one is chosen, is replaced."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from toy_clips import ToyBackbone, toy_dataset

from amfir_lib.data.features import extract_stores
from amfir_lib.parallel import map_parallel
from amfir_lib.study import materials
from amfir_lib.study.config import Config
from amfir_lib.workers import device_of_workers, take_gpu, worker_number, workers_that_fit


class GpuToy(ToyBackbone):
    device = "cuda"


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs of 24 GB; returns the list of those that were chosen."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=24e9))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def own_number(_: int) -> tuple[int, int]:
    import os
    import time

    time.sleep(0.1)  # so that each worker gets some of the items
    return os.getpid(), worker_number()


def test_workers_take_the_gpus_in_turn(two_gpus, monkeypatch):
    for name in ("LokyProcess-1", "LokyProcess-2", "LokyProcess-3", "MainProcess"):
        monkeypatch.setattr("amfir_lib.workers.current_process", lambda name=name: SimpleNamespace(name=name))
        take_gpu([GpuToy("rgb")])
    assert two_gpus == [1, 0, 1, 0]


def test_joblib_numbers_its_workers():
    assert worker_number() == 0
    found = set(map_parallel(own_number, range(8), n_jobs=2, description="numbers"))  # of (process, number)
    processes, numbers = map(set, zip(*found, strict=True))
    assert len(processes) == len(numbers) == len(found) and min(numbers) > 0


def test_a_part_of_a_backbone_may_need_the_gpu_and_a_named_gpu_is_left_as_it_is(two_gpus):
    take_gpu([SimpleNamespace(parts=(ToyBackbone("rgb"), GpuToy("rgb")))])
    take_gpu([SimpleNamespace(device="cuda:1"), ToyBackbone("flow")])
    assert two_gpus == [0]


def test_a_gpu_is_for_all_workers_only_where_it_was_named(two_gpus):
    assert [device_of_workers(one) for one in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]


def test_backbones_are_opened_on_the_gpu_that_each_worker_takes(two_gpus, tmp_path):
    given = {"profile": "smoke", "weights": "random", "input_size": 32}
    for device, expected in (("auto", "cuda"), ("cuda:1", "cuda:1")):
        environ = {"AMFIR_CACHE_DIR": str(tmp_path), "AMFIR_DEVICE": device, "AMFIR_JOBS": "1"}
        config = Config.from_notebook(given, environ=environ)
        opened = materials.open_backbones(config, toy_dataset(tmp_path, n_clips=1), backbone="resnet18+i3d")
        assert {one.device for one in opened.values()} == {expected}


def test_no_more_workers_than_the_memory_of_the_gpus_holds_unless_asked_for(two_gpus, capsys):
    backbones = [GpuToy("rgb"), ToyBackbone("flow")]
    assert workers_that_fit(32, backbones, environ={}) == 12
    assert "12 workers extract features instead of 32" in capsys.readouterr().out
    assert workers_that_fit(32, [SimpleNamespace(device="cuda:1")], environ={}) == 6
    capsys.readouterr()
    for given in ({"n_jobs": 8}, {"backbones": backbones[1:]}, {"environ": {"AMFIR_JOBS": "32"}}):
        options = {"n_jobs": 32, "backbones": backbones, "environ": {}} | given
        assert workers_that_fit(**options) == options["n_jobs"]
    assert capsys.readouterr().out == ""


def test_extraction_asks_for_the_gpu_and_for_no_more_workers(two_gpus, tmp_path, monkeypatch):
    asked = []

    def here(function, items, *, n_jobs, **_):
        asked.append(n_jobs)
        return [function(item) for item in items]

    monkeypatch.setattr("amfir_lib.data.features.iterate_parallel", here)
    dataset = toy_dataset(tmp_path / "clips", n_clips=4)
    extract_stores(dataset, {"rgb": GpuToy("rgb")}, cache_dir=tmp_path, n_jobs=40, shard_clips=2)
    assert asked == [12] and two_gpus == [0, 0]
