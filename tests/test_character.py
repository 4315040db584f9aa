"""The character of the benchmarks: copies, exchanged queries, costs, verdicts, and the tables that show them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from amfir_lib.analysis.character import (
    Probes,
    character_verdicts,
    class_interval,
    early_fusion,
    label_verdicts,
    measure_degradation,
    middle_frame,
    query_accuracy,
)
from amfir_lib.data import overview
from amfir_lib.data.synthetic import reversed_copy
from amfir_lib.data.video import read_frames
from amfir_lib.methods import build_method
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import TestCell
from tests.toy_clips import toy_dataset
from tests.toy_tables import toy_material

N_CLASSES, CLIPS = 8, 8


def toy_probes(*, own_damage: float) -> Probes:
    """Eight validation classes that RGB and flow tell apart; copies lose RGB or flow to noise of some size."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(N_CLASSES), CLIPS)
    centres = {m: rng.normal(size=(N_CLASSES, 1, 1, 12)) for m in ("rgb", "flow")}
    sound = {m: torch.from_numpy(c[labels] + 0.3 * rng.normal(size=(64, 4, 1, 12))).float() for m, c in centres.items()}
    noise = {m: own_damage * torch.from_numpy(rng.normal(size=(64, 1, 1, 12))).float() for m in sound}
    versions = {
        "none": sound,
        "rgb": sound | {"rgb": sound["rgb"] + noise["rgb"]},
        "flow": sound | {"flow": sound["flow"] + noise["flow"]},
    }
    kinds = {
        "none": np.full(64, "none"),
        "rgb": np.tile(["false_colour", "negative"], 32),
        "flow": np.tile(["shake", "stutter"], 32),
    }
    names = [f"class{i}" for i in range(N_CLASSES)]
    table = FeatureTable(sound, labels, np.arange(64), np.full(64, "val"), names)
    return Probes(table, versions, kinds)


def toy_results(n_seeds: int = 1) -> dict:
    def untrained(name: str, seed: int) -> SimpleNamespace:
        generator = torch.Generator().manual_seed(seed)
        method = build_method(name, dims={"rgb": 12, "flow": 12}, options={"n_segments": 4}, generator=generator)
        return SimpleNamespace(method=method.eval)

    methods = {"rgb": "protonet", "flow": "protonet_f"}
    return {("toy", s): [untrained(name, seed) for seed in range(n_seeds)] for s, name in methods.items()}


CELLS = [TestCell(n_way=3, n_shot=k, n_query=2, n_episodes=60, split="val") for k in (1, 2)]


def test_a_reversed_copy_holds_the_same_frames_backwards_and_is_kept(tmp_path):
    dataset = toy_dataset(tmp_path / "original", n_clips=3)
    copy = reversed_copy(dataset, "train", cache_dir=tmp_path / "cache")
    assert list(copy.manifest["clip_id"]) == list(dataset.manifest["clip_id"])
    for row in range(len(copy)):
        np.testing.assert_array_equal(read_frames(copy.clip_path(row)), read_frames(dataset.clip_path(row))[::-1])
    before = copy.clip_path(0).stat().st_mtime_ns
    assert reversed_copy(dataset, "train", cache_dir=tmp_path / "cache").clip_path(0).stat().st_mtime_ns == before


def test_queries_of_the_same_version_are_answered_as_without_exchange():
    probes, results = toy_probes(own_damage=1.0), toy_results()["toy", "rgb"]
    episodes = CELLS[0].episodes(probes.table)
    plain = evaluate(results[0].method(), probes.table, episodes).correct["fused"]
    np.testing.assert_array_equal(query_accuracy(results, probes, episodes, version="none"), plain)


def test_a_degradation_costs_the_stream_that_it_hits_and_nothing_else():
    frame = measure_degradation(toy_results(), "toy", toy_probes(own_damage=20.0), CELLS)
    over_shots = frame[(frame["n_shot"] == 0) & (frame["kind"] == "all")].set_index(["stream", "queries"])
    assert over_shots.loc[("rgb", "rgb"), "cost"] > 0.3 and over_shots.loc[("flow", "flow"), "cost"] > 0.3
    assert over_shots.loc[("rgb", "flow"), "cost"] == 0 and over_shots.loc[("flow", "rgb"), "cost"] == 0
    assert over_shots.loc[("rgb", "rgb"), "half_width"] > 0
    verdicts = label_verdicts(frame)
    assert list(verdicts["kind"]) == ["false_colour", "negative", "shake", "stutter"]
    assert set(verdicts["verdict"]) == {"earned"}


def test_a_degradation_that_does_nothing_is_too_weak():
    verdicts = label_verdicts(measure_degradation(toy_results(), "toy", toy_probes(own_damage=0.0), CELLS))
    assert set(verdicts["verdict"]) == {"too weak"}


def test_the_queries_of_both_kinds_together_are_all_queries():
    frame = measure_degradation(toy_results(2), "toy", toy_probes(own_damage=1.0), CELLS)
    part = frame[(frame["stream"] == "rgb") & (frame["queries"] == "flow") & (frame["n_shot"] == 0)].set_index("kind")
    assert part.loc["shake", "n_queries"] + part.loc["stutter", "n_queries"] == part.loc["all", "n_queries"] == 720


def cost_frame(own: float, other: float) -> pd.DataFrame:
    rows = [("rgb", own), ("flow", other)]
    return pd.DataFrame([
        {"dataset": "a", "stream": stream, "queries": "rgb", "kind": "negative", "n_shot": 0, "cost": cost,
         "cost_half_width": 0.01, "half_width": 0.01, "accuracy": 0.5, "n_queries": 9}
        for stream, cost in rows
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("own", "other", "verdict"), [(0.1, 0.03, "earned"), (0.2, 0.04, "hurts both"), (0.09, 0.0, "too weak")]
)
def test_a_label_is_earned_by_its_cost_to_both_streams(own, other, verdict):
    assert list(label_verdicts(cost_frame(own, other))["verdict"]) == [verdict]


def measures(dataset: str, *, rgb: float, flow: float) -> list[dict]:
    values = {"rgb": rgb, "flow": flow, "middle_frame": 0.25, "early_fusion": 0.9, "flow_reversed": 0.3}
    return [
        {"dataset": dataset, "measure": name, "n_shot": k, "accuracy": value, "half_width": 0.02, "n_seeds": 1,
         "cost": flow - 0.3 if name == "flow_reversed" else np.nan, "cost_half_width": 0.03}
        for name, value in values.items() for k in (1, 5)
    ]  # fmt: skip


def test_targets_are_met_or_missed_by_the_measured_numbers():
    frame = pd.DataFrame(measures("synth-kinetics", rgb=0.5, flow=0.4) + measures("synth-ssv2", rgb=0.3, flow=0.5))
    met = character_verdicts(frame).set_index(["dataset", "target"])["met"]
    assert met["synth-kinetics"].all()
    missed = met["synth-ssv2"].index[~met["synth-ssv2"]]
    assert list(missed) == ["RGB alone, 1-shot: 35 to 75 %"]


def test_the_hardest_and_the_easiest_are_judged_only_when_all_four_are_there():
    names = {"synth-kinetics": 0.5, "synth-ssv2": 0.45, "synth-hmdb51": 0.4, "synth-ucf101": 0.6}
    rows = [row for name, level in names.items() for row in measures(name, rgb=level, flow=level)]
    assert len(character_verdicts(pd.DataFrame(rows)).query("target.str.contains('of the 4')")) == 2
    assert not len(character_verdicts(pd.DataFrame(rows[:-10])).query("target.str.contains('of the')"))


def test_too_few_classes_leave_the_interval_out():
    values, classes = np.array([0.5, 0.7]), np.array([[0, 1], [1, 2]])
    mean, half = class_interval(values, classes)
    assert mean == pytest.approx(0.6) and np.isnan(half)


def test_derived_features_are_the_middle_frame_and_both_streams_side_by_side(tmp_path):
    material = toy_material(tmp_path)
    raw = {m: store.features.astype(np.float32).mean(2) for m, store in material.stores.items()}
    middle, joined = (derived(material).stores for derived in (middle_frame, early_fusion))
    for t in range(3):
        np.testing.assert_array_equal(middle["rgb"].features[:, t, 0], raw["rgb"][:, 1])
    np.testing.assert_array_equal(joined["fused"].features[:, :, 0], np.concatenate([raw["rgb"], raw["flow"]], -1))


def test_derived_features_have_digests_that_follow_from_their_sources(tmp_path):
    material, other = toy_material(tmp_path), toy_material(tmp_path / "other", shift=1.0)  # another store of flow
    assert middle_frame(material).identity == middle_frame(other).identity
    assert early_fusion(material).identity != early_fusion(other).identity


def test_flow_statistics_find_the_speed_of_a_moving_texture(tmp_path):
    dataset = toy_dataset(tmp_path, n_clips=3, n_frames=10)  # one px per frame on 48-px frames
    lengths = overview.flow_table([dataset], n_clips=3, flow_size=48).data.iloc[0]
    assert lengths["median_px"] == pytest.approx(1.0, abs=0.1) and lengths["beyond_bound"] == 0


def test_counts_name_splits_classes_and_groups(tmp_path):
    dataset = toy_dataset(tmp_path, n_clips=4)
    row = overview.counts_table([dataset]).data.iloc[0]
    assert (row["classes"], row["clips"], row["groups"], row["size"]) == (2, 4, 4, "48 × 48")
