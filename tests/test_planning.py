"""The plan of the real benchmarks, by hand.  Exact."""

from __future__ import annotations

import pytest
from benchmarks.planning import plan, training_plan

from amfir_lib.methods import METHODS

COSTS = {"hmdb51": {"read_s": 0.036, "features_s": 0.36, "bytes": 50_000}}
TRAINING = training_plan({"protonet": (0.02, 0.001), "protonet_f": (0.03, 0.002)})


def test_the_plan_of_training_by_hand():
    rows = TRAINING.set_index("method")
    # 10,000 steps; 21 validations of 1,000 and a test of 10,000 episodes, all at 2 shots: 62,000 episodes
    single, both = rows.loc["ProtoNet"], rows.loc["ProtoNet-LF"]
    assert single["run_s"] == pytest.approx(10_000 * 0.02 + 62_000 * 0.001)
    assert both["run_s"] == pytest.approx(20_000 * 0.003) and both["steps"] == 0  # its parts are trained already
    assert rows["hours"].tolist() == pytest.approx((3 * rows["run_s"] / 3600).tolist())
    steps = training_plan({name: (0.01, 0.001) for name in METHODS}).set_index("method")["steps"]
    assert (steps["TRX"], steps["AMFIR"], len(steps)) == (20_000, 10_000, len(METHODS))


def test_the_plan_of_hmdb51_by_hand():
    gpu = {"gpu_features_s": 0.0036, "gpu_training": TRAINING}
    rows = plan(COSTS, worker_bytes=7e8, frame_bytes=1e6, training=TRAINING, **gpu).set_index("machine")
    laptop, node, cluster = (rows.loc[name] for name in ("laptop", "8-GPU node", "cluster"))
    assert laptop["clips"] == 6766
    assert laptop["read_h"] == pytest.approx(6766 * 0.036 / 2 / 3600)  # 0.034 h
    assert laptop["features_h"] == pytest.approx(6766 * 0.36 / 2 / 3600)  # 0.34 h
    assert laptop["training_h"] == pytest.approx(TRAINING["hours"].sum() / 2)
    assert node["features_h"] == pytest.approx(6766 * 0.0036 / 8 / 3600)
    assert node["training_h"] == pytest.approx(TRAINING["hours"].sum())  # one GPU, however many there are
    assert cluster["training_h"] == pytest.approx(TRAINING["run_s"].max() / 3600)  # the longest run
    assert node["total_h"] == pytest.approx(node["read_h"] + node["features_h"] + node["training_h"])
    assert (laptop["features_gb"], laptop["frame_cache_gb"]) == pytest.approx((0.3383, 6.766))
    assert laptop["memory_gb"] == pytest.approx(1.4)
    alone = plan(COSTS, worker_bytes=7e8, frame_bytes=1e6, training=TRAINING).set_index("machine").loc["8-GPU node"]
    assert alone["features_h"] == pytest.approx(6766 * 0.36 / 128 / 3600)  # without a measured GPU the cores do it
