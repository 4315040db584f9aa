"""Work over many items, here and on a Dask cluster of two processes: order, errors, threads, GPUs.

All comparisons are exact.  No GPU is needed: what PyTorch says of them, and which one is chosen, is replaced.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from toy_clips import (
    ToyBackbone,
    die,
    refuse_file,
    refuse_three,
    run_out_of_memory,
    square,
    threads_in_use,
    toy_dataset,
)  # fmt: skip
from toy_tables import QUICK, toy_material

from amfir_lib.data.features import extract_stores
from amfir_lib.errors import BackendUnavailable, BadParameter, UnknownName, UnreadableVideo, WorkerFailed
from amfir_lib.parallel import iterate_parallel, map_parallel, progress_bar, single_thread
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.workers import check_backend, device_of_workers, take_gpu, worker_number, workers_that_fit

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
pytestmark = [pytest.mark.enable_socket, pytest.mark.foreign_threads_draw]
ROOTS = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]  # from which workers import
CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=30)


@pytest.fixture(scope="module")
def scheduler():
    """Address of a running cluster whose workers can import the library and these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*ROOTS, os.environ.get("PYTHONPATH", "")]))
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            yield cluster.scheduler_address


@pytest.fixture
def on_the_cluster(scheduler, monkeypatch):
    monkeypatch.setenv("AMFIR_BACKEND", "dask")
    monkeypatch.setenv("AMFIR_SCHEDULER", scheduler)


@pytest.fixture(params=["in this process", "in two processes", "on a cluster"])
def n_jobs(request):
    if request.param == "on a cluster":
        request.getfixturevalue("on_the_cluster")
    return 2 if request.param == "in two processes" else 1


def own_process(_: int) -> tuple[int, int]:
    time.sleep(0.1)  # so that each worker gets some of the items
    return os.getpid(), worker_number()


# items


@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_results_come_in_the_order_of_the_items_and_each_worker_has_one_thread(n_jobs):
    assert map_parallel(square, range(9), n_jobs=n_jobs, description="squares") == [n * n for n in range(9)]
    assert map_parallel(square, [], n_jobs=n_jobs, description="squares") == []
    assert set(map_parallel(threads_in_use, range(2), n_jobs=n_jobs, description="threads")) == {(1, 1)}


def test_an_unexpected_error_names_the_item_and_one_that_is_a_sentence_arrives_as_it_was(n_jobs):
    with pytest.raises(WorkerFailed, match="^counting stopped at 3: KeyError: 'three'") as caught:
        map_parallel(refuse_three, range(6), n_jobs=n_jobs, description="counting")
    assert "refuse_three" in caught.value.__notes__[0] and isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(UnreadableVideo, match=r"^a.avi is empty \(0 bytes\). Copy it again."):
        map_parallel(refuse_file, ["a.avi", "b.avi"], n_jobs=n_jobs, description="reading")


def test_a_killed_worker_is_reported_with_a_remedy():
    with pytest.raises(WorkerFailed, match="a worker process was killed.*fewer workers.*input_size"):
        map_parallel(die, range(2), n_jobs=2, description="dying")


@pytest.mark.parametrize("kind", ["gpu", "torch", "numpy", "opencv"])
def test_a_lack_of_memory_is_reported_with_a_remedy(kind):
    with pytest.raises(WorkerFailed, match=rf"stopped at {kind}: .*fewer workers \(--jobs, now 1\).*input_size=112"):
        map_parallel(run_out_of_memory, [kind], n_jobs=1, description="reading")


def test_results_before_a_failure_are_handed_out_and_the_number_of_threads_is_restored():
    before, seen = cv2.getNumThreads(), []
    with pytest.raises(WorkerFailed), single_thread():
        for result in iterate_parallel(refuse_three, range(6), n_jobs=1, description="counting"):
            seen.append(result)
    assert seen == [0, 1, 2] and cv2.getNumThreads() == before


def test_a_number_of_workers_that_makes_no_sense_is_refused():
    with pytest.raises(BadParameter, match="n_jobs is 0; give a number of processes from 1 up"):
        map_parallel(square, [1], n_jobs=0, description="squares")


def test_short_work_writes_nothing_to_a_log_and_long_work_lines_with_the_time_left(capsys, monkeypatch):
    map_parallel(square, range(3), n_jobs=1, description="squares")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("amfir_lib.parallel.LOG_EVERY_SECONDS", 0.0)
    with progress_bar(4, description="squares") as bar:
        bar.update()
    assert any("squares" in line and "1/4" in line for line in capsys.readouterr().err.splitlines())


# clusters


def test_features_and_runs_of_a_cluster_are_those_of_one_process(scheduler, tmp_path, monkeypatch):
    def everything(folder):
        stores = extract_stores(
            toy_dataset(tmp_path / "clips"), {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("flow")},
            cache_dir=folder, flow_size=32, shard_clips=4,
        )  # fmt: skip
        runs = [Run(material, "amfir", {"width": 4}, QUICK, seed=seed) for seed in (0, 1)]
        return stores, run_all(runs, [CELL], cache_dir=folder)

    material = toy_material(tmp_path / "stores")
    stores, results = everything(tmp_path / "here")
    monkeypatch.setenv("AMFIR_BACKEND", "dask")
    monkeypatch.setenv("AMFIR_SCHEDULER", scheduler)
    assert os.getpid() not in {pid for pid, _ in map_parallel(own_process, range(4), n_jobs=1, description="processes")}
    stores_there, results_there = everything(tmp_path / "there")
    for modality, store in stores.items():
        assert store.path.read_bytes() == stores_there[modality].path.read_bytes()
    for here, there in zip(results, results_there, strict=True):
        arrays, others = (result.tests[CELL].to_arrays() for result in (here, there))
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_a_worker_of_a_cluster_that_dies_is_reported_with_a_remedy(on_the_cluster):
    with distributed.Client(os.environ["AMFIR_SCHEDULER"]) as client:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    with pytest.raises(WorkerFailed, match="a worker process was killed.*more memory for the cluster's workers"):
        map_parallel(die, range(1), n_jobs=1, description="dying")


def test_ray_gives_the_same_results_and_errors(monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(ROOTS))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        monkeypatch.setenv("AMFIR_BACKEND", "ray")
        monkeypatch.setenv("AMFIR_SCHEDULER", cluster.address)
        assert map_parallel(square, range(9), n_jobs=1, description="squares") == [n * n for n in range(9)]
        with pytest.raises(WorkerFailed, match="^counting stopped at 3: KeyError: 'three'"):
            map_parallel(refuse_three, range(6), n_jobs=1, description="counting")
        with pytest.raises(WorkerFailed, match="a worker process was killed"):
            map_parallel(die, range(1), n_jobs=1, description="dying")
    finally:
        cluster.shutdown()


@pytest.mark.parametrize(
    ("backend", "scheduler", "error", "message"),
    [
        ("dusk", "", UnknownName, 'did you mean "dask"'),
        ("ray", "", BadParameter, "needs the address of a running cluster"),
        ("loky", "tcp://somewhere:1", BadParameter, "belongs to a cluster"),
        ("dask", "tcp://127.0.0.1:9", BackendUnavailable, "No dask cluster answers at tcp://127.0.0.1:9"),
    ],
)
def test_what_does_not_fit_together_or_does_not_answer_is_refused_before_work(
    backend, scheduler, error, message, monkeypatch
):
    monkeypatch.setattr("amfir_lib.workers.CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(error, match=message):
        check_backend(backend, scheduler)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendUnavailable, match="pip install distributed"):
        check_backend("dask", "tcp://127.0.0.1:9")


# GPUs


class GpuToy(ToyBackbone):
    device = "cuda"


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs of 24 GB; returns the list of those that were chosen."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=24e9))
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.delenv("AMFIR_JOBS", raising=False)
    return taken


def test_joblib_numbers_its_workers():
    assert worker_number() == 0
    found = set(map_parallel(own_process, range(8), n_jobs=2, description="numbers"))
    processes, numbers = map(set, zip(*found, strict=True))
    assert len(processes) == len(numbers) == len(found) and min(numbers) > 0


def test_workers_take_the_gpus_in_turn_and_a_named_gpu_is_left_as_it_is(two_gpus, monkeypatch):
    for name in ("LokyProcess-1", "LokyProcess-2", "LokyProcess-3", "MainProcess"):
        monkeypatch.setattr("amfir_lib.workers.current_process", lambda name=name: SimpleNamespace(name=name))
        take_gpu([SimpleNamespace(parts=(ToyBackbone("rgb"), GpuToy("rgb")))])
        take_gpu([SimpleNamespace(device="cuda:1"), ToyBackbone("flow")])
    assert two_gpus == [1, 0, 1, 0]
    assert [device_of_workers(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]


def test_no_more_workers_than_the_memory_of_the_gpus_holds_unless_asked_for(two_gpus, capsys, monkeypatch):
    backbones = [GpuToy("rgb"), ToyBackbone("flow")]
    assert workers_that_fit(32, backbones) == 12
    assert "12 workers extract features instead of 32" in capsys.readouterr().out
    assert workers_that_fit(32, [SimpleNamespace(device="cuda:1")]) == 6
    capsys.readouterr()
    assert workers_that_fit(8, backbones) == 8 and workers_that_fit(32, backbones[1:]) == 32
    monkeypatch.setenv("AMFIR_JOBS", "32")
    assert workers_that_fit(32, backbones) == 32
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
