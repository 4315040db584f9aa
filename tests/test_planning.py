"""Costs, plan and throughput.  The arithmetic is exact; measured times are only compared with each other."""

from __future__ import annotations

import pytest
from toy_clips import ToyBackbone, toy_dataset

from amfir_lib.costs.planning import Machine, plan, plan_table, planning_page, storage_table
from amfir_lib.costs.stage_costs import ClipCosts, costs_table, measure_benchmarks
from amfir_lib.costs.throughput import measure_throughput, throughput_table
from amfir_lib.data.benchmarks import BENCHMARKS

COSTS = {"hmdb51": ClipCosts(0.036, {"dis": 0.072}, {"rgb": 0.1, "flow": 0.26}, 50_000)}
BACKBONES = {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("flow")}


def test_the_plan_of_hmdb51_by_hand():
    machines = (Machine("laptop", 2), Machine("one GPU", 10, 1))
    frame = plan(COSTS, algorithm="dis", worker_bytes=7e8, gpu_features_s=0.0036, machines=machines)
    laptop, gpu = frame.to_dict("records")
    assert laptop["clips"] == 6766
    assert laptop["decode_h"] == pytest.approx(6766 * 0.036 / 2 / 3600)  # 0.034 h
    assert laptop["features_h"] == pytest.approx(6766 * 0.36 / 2 / 3600)  # 0.34 h
    assert gpu["features_h"] == pytest.approx(6766 * 0.0036 / 3600)
    assert gpu["total_h"] == pytest.approx(gpu["decode_h"] + gpu["flow_h"] + gpu["features_h"])
    assert laptop["features_gb"] == pytest.approx(0.3383)
    assert laptop["frame_cache_gb"] == pytest.approx(6766 * 8 * 224**2 * 5 / 1e9)  # 3 bytes of RGB, 2 of flow
    assert laptop["memory_gb"] == pytest.approx(1.4)


def test_without_a_measured_gpu_the_cores_do_the_work_and_the_table_says_so():
    frame = plan(COSTS, algorithm="dis", worker_bytes=7e8, machines=(Machine("one GPU", 2, 1),))
    assert frame["features_h"].iloc[0] == pytest.approx(6766 * 0.36 / 2 / 3600)
    table = plan_table(frame, algorithm="dis", backbone="toy", gpu_measured=False)
    assert "no GPU was measured" in table.caption and table.shown["machine"].iloc[0] == "one GPU (2 cores, 1 GPU)"


def test_costs_are_measured_for_every_benchmark_and_make_a_page():
    costs = measure_benchmarks(BACKBONES, algorithms=["dis"], names=["hmdb51", "ssv2_small"], repeats=1, flow_size=32)
    assert costs["hmdb51"].decode_s > 0 and costs["hmdb51"].flow_s["dis"] > 0
    assert costs["hmdb51"].feature_bytes == 8 * 4 * (3 + 2) * 2
    frame = plan(costs, algorithm="dis", worker_bytes=7e8)
    page = planning_page(
        {
            "Measured": costs_table(costs, backbone="toy"), "Flow": storage_table(),
            "Plan": plan_table(frame, algorithm="dis", backbone="toy", gpu_measured=False),
        },
        machine="a test",
    )  # fmt: skip
    assert "| hmdb51" in page and "95 frames, 320 × 240" in page
    assert list(storage_table().data["dataset"]) == list(BENCHMARKS)


def test_throughput_is_measured_beside_what_one_thread_promises(tmp_path):
    dataset = toy_dataset(tmp_path / "clips", n_clips=8)
    frame = measure_throughput(dataset, BACKBONES, cores=[1, 2], algorithm="dis", flow_size=32, repeats=1)
    assert list(frame["cores"]) == [1, 2] and (frame["clips_per_s"] > 0).all()
    assert frame["promised_per_s"].iloc[1] == pytest.approx(2 * frame["promised_per_s"].iloc[0])
    assert frame[["decode", "flow", "features"]].sum(axis=1).tolist() == pytest.approx([1, 1])
    assert set(frame["limit"]) <= {"decode", "flow", "features"}
    assert (frame["worker_bytes"] > 1e7).all()
    assert "one thread × cores" in throughput_table(frame, basis="toy").shown
