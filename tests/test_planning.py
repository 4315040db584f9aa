"""Costs, plan and throughput.  The arithmetic is exact; measured times are only compared with each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from toy_clips import ToyBackbone, toy_dataset

from amfir_lib.analysis.stage_costs import ClipCosts, costs_table, measure_benchmarks
from amfir_lib.backbones.i3d import I3D
from amfir_lib.backbones.resnet import ResNet
from amfir_lib.data.benchmarks import BENCHMARKS
from amfir_lib.data.frames import Stored
from amfir_lib.methods import METHODS
from amfir_lib.study.end_to_end import runs as end_to_end
from amfir_lib.study.end_to_end.clips import EndToEnd, stored_streams
from tests.benchmarks.planning import MACHINES, Machine, plan, plan_table, planning_page, storage_table
from tests.benchmarks.throughput import measure_throughput, throughput_table
from tests.benchmarks.training_costs import TrainingCosts, trained_methods, training_plan, training_table

COSTS = {"hmdb51": ClipCosts(0.036, {"dis": 0.072}, {"rgb": 0.1, "flow": 0.26}, 50_000)}
BACKBONES = {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("flow")}


TRAINING = training_plan({"protonet": TrainingCosts(0.02, 0.001), "protonet_f": TrainingCosts(0.03, 0.002)})
FRAMES = {"rgb": Stored(16, 256), "flow": Stored(128, 256)}  # of ResNet-50 and I3D at 224 px, two instants for one


def planned(machines, costs=COSTS, **options):
    given = {"algorithm": "dis", "worker_bytes": 7e8, "frames": FRAMES, "training": TRAINING} | options
    return plan(costs, machines=machines, **given)


def test_the_plan_of_hmdb51_by_hand():
    laptop, gpu = planned((Machine("laptop", 2), Machine("one GPU", 10, 1)), gpu_features_s=0.0036).to_dict("records")
    assert laptop["clips"] == 6766
    assert laptop["decode_h"] == pytest.approx(6766 * 0.036 / 2 / 3600)  # 0.034 h
    assert laptop["features_h"] == pytest.approx(6766 * 0.36 / 2 / 3600)  # 0.34 h
    assert gpu["features_h"] == pytest.approx(6766 * 0.0036 / 3600)
    stages = ("decode_h", "flow_h", "features_h", "training_h")
    assert gpu["total_h"] == pytest.approx(sum(gpu[stage] for stage in stages))
    assert laptop["features_gb"] == pytest.approx(0.3383)
    assert laptop["memory_gb"] == pytest.approx(1.4)


def test_the_frame_cache_is_planned_as_it_is_stored(monkeypatch):
    backbones = {m: I3D(m, weights="random") if m == "flow" else ResNet("resnet50", m, weights="random")
                 for m in ("rgb", "flow")}  # fmt: skip
    assert stored_streams(backbones, EndToEnd()) == FRAMES
    made = []
    monkeypatch.setattr(end_to_end, "build_frame_cache", lambda dataset, streams, **_: made.append(streams))
    stores = dict.fromkeys(backbones, SimpleNamespace(metadata={}))
    end_to_end.open_frames(
        SimpleNamespace(material=SimpleNamespace(dataset=None, stores=stores)), backbones, EndToEnd(), cache_dir=None
    )
    assert made == [FRAMES]
    (row,) = planned((Machine("laptop", 2),), {"kinetics100": COSTS["hmdb51"]}).to_dict("records")
    assert row["frame_cache_gb"] == pytest.approx(10_000 * 256**2 * (16 * 3 + 128 * 2) / 1e9)  # 199 GB
    flow = storage_table(FRAMES).data.set_index("dataset").loc["kinetics100"]
    assert flow["uint8_gb"] == pytest.approx(10_000 * 128 * 256**2 * 2 / 1e9)
    assert (flow["float_gb"], flow["colour_gb"]) == pytest.approx((4 * flow["uint8_gb"], 1.5 * flow["uint8_gb"]))


def test_the_plan_of_training_by_hand():
    rows = TRAINING.set_index("method")
    # 10,000 steps; 21 validations of 1,000 and a test of 10,000 episodes, all at 2 shots: 62,000 episodes
    one, other, both = (rows.loc[name] for name in ("ProtoNet", "ProtoNet-F", "ProtoNet-LF"))
    assert one["run_s"] == pytest.approx(10_000 * 0.02 + 62_000 * 0.001)
    assert both["run_s"] == pytest.approx(20_000 * 0.003) and both["steps"] == 0  # its parts are trained already
    assert rows["hours"].tolist() == pytest.approx((3 * rows["run_s"] / 3600).tolist())
    two, many, gpu = planned((Machine("laptop", 2), Machine("cluster", 999), Machine("GPU", 10, 8)),
                             gpu_training=TRAINING).to_dict("records")  # fmt: skip
    assert two["training_h"] == pytest.approx(rows["hours"].sum() / 2)
    assert many["training_h"] == pytest.approx(other["run_s"] / 3600)  # the longest run
    assert gpu["training_h"] == pytest.approx(rows["hours"].sum())  # one GPU, however many there are
    assert "steps × a step + episodes × an episode" in training_table(TRAINING).caption


def test_methods_that_train_longer_are_planned_longer():
    costs = {name: TrainingCosts(0.01, 0.001) for name in trained_methods()}
    steps = training_plan(costs).set_index("method")["steps"]
    assert (steps["TRX"], steps["AMFIR"]) == (20_000, 10_000)
    assert len(steps) == len(METHODS)


def test_without_a_measured_gpu_the_cores_do_the_work_and_the_table_says_so():
    frame = planned((Machine("one GPU", 2, 1),))
    assert frame["features_h"].iloc[0] == pytest.approx(6766 * 0.36 / 2 / 3600)
    table = plan_table(frame, algorithm="dis", backbone="toy", gpu_measured=False)
    assert (
        "no GPU was measured" in table.caption
        and table.shown["machine"].iloc[0] == "one GPU (2 cores, 1 GPU, not counted on)"
    )


def test_costs_are_measured_for_every_benchmark_and_make_a_page():
    costs = measure_benchmarks(BACKBONES, algorithms=["dis"], names=["hmdb51", "ssv2_small"], repeats=1, flow_size=32)
    assert costs["hmdb51"].decode_s > 0 and costs["hmdb51"].flow_s["dis"] > 0
    assert costs["hmdb51"].feature_bytes == 8 * 4 * (3 + 2) * 2
    frame = planned(MACHINES, costs)
    page = planning_page(
        {
            "Measured": costs_table(costs, backbone="toy"), "Flow": storage_table(FRAMES),
            "Plan": plan_table(frame, algorithm="dis", backbone="toy", gpu_measured=False),
        },
        machine="a test",
    )  # fmt: skip
    assert "| hmdb51" in page and "95 frames, 320 × 240" in page
    assert list(storage_table(FRAMES).data["dataset"]) == list(BENCHMARKS)


def test_throughput_is_measured_beside_what_one_thread_promises(tmp_path):
    dataset = toy_dataset(tmp_path / "clips", n_clips=8)
    frame = measure_throughput(dataset, BACKBONES, cores=[1, 2], algorithm="dis", flow_size=32, repeats=1)
    assert list(frame["cores"]) == [1, 2] and (frame["clips_per_s"] > 0).all()
    assert frame["promised_per_s"].iloc[1] == pytest.approx(2 * frame["promised_per_s"].iloc[0])
    assert frame[["decode", "flow", "features"]].sum(axis=1).tolist() == pytest.approx([1, 1])
    assert set(frame["limit"]) <= {"decode", "flow", "features"}
    assert (frame["worker_bytes"] > 1e7).all()
    assert "one thread × cores" in throughput_table(frame, basis="toy").shown
