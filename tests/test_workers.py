"""Work on a cluster: two Dask worker processes of this machine give what one process gives.  Comparisons are exact."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_clips import ToyBackbone, die, refuse_file, refuse_three, square, threads_in_use, toy_dataset
from toy_tables import QUICK, toy_material

from amfir_lib.data.features import extract_stores
from amfir_lib.errors import BackendUnavailable, BadParameter, UnknownName, UnreadableVideo, WorkerFailed
from amfir_lib.parallel import map_parallel
from amfir_lib.study.runs import Run, TestCell, run_all
from amfir_lib.workers import check_backend, chosen

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


def worker_number(_: int) -> int:
    return os.getpid()


def test_results_come_in_the_order_of_the_items_from_other_processes_with_one_thread(on_the_cluster):
    assert map_parallel(square, range(9), n_jobs=1, description="squares") == [n * n for n in range(9)]
    assert os.getpid() not in map_parallel(worker_number, range(4), n_jobs=1, description="processes")
    assert set(map_parallel(threads_in_use, range(2), n_jobs=1, description="threads")) == {(1, 1)}
    assert map_parallel(square, [], n_jobs=1, description="squares") == []


def test_errors_arrive_as_they_do_on_one_machine(on_the_cluster):
    with pytest.raises(WorkerFailed, match="^counting stopped at 3: KeyError: 'three'"):
        map_parallel(refuse_three, range(6), n_jobs=1, description="counting")
    with pytest.raises(UnreadableVideo, match=r"^a.avi is empty \(0 bytes\). Copy it again."):
        map_parallel(refuse_file, ["a.avi", "b.avi"], n_jobs=1, description="reading")


def test_features_and_runs_are_those_of_one_process(scheduler, tmp_path, monkeypatch):
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
    stores_there, results_there = everything(tmp_path / "there")
    for modality, store in stores.items():
        assert store.path.read_bytes() == stores_there[modality].path.read_bytes()
    for one, other in zip(results, results_there, strict=True):
        arrays, others = (result.tests[CELL].to_arrays() for result in (one, other))
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_a_worker_that_dies_is_reported_with_a_remedy(on_the_cluster):
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


def test_a_cluster_that_does_not_answer_is_named_before_work_starts(monkeypatch):
    monkeypatch.setattr("amfir_lib.workers.CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(BackendUnavailable, match="No dask cluster answers at tcp://127.0.0.1:9 .*Start it"):
        check_backend("dask", "tcp://127.0.0.1:9")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendUnavailable, match="pip install distributed"):
        check_backend("dask", "tcp://127.0.0.1:9")


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(UnknownName, match='did you mean "dask"'):
        check_backend("dusk", "")
    with pytest.raises(BadParameter, match="needs the address of a running cluster"):
        check_backend("ray", "")
    with pytest.raises(BadParameter, match="belongs to a cluster"):
        check_backend("loky", "tcp://somewhere:1")


def test_without_a_word_work_stays_on_this_machine():
    assert chosen({}) == ("loky", "")
    assert chosen({"AMFIR_BACKEND": "dask", "AMFIR_SCHEDULER": "tcp://head:8786"}) == ("dask", "tcp://head:8786")
