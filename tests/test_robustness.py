"""Spoilt clips and what methods say about them, training on less, and counting what a query costs.

Answers about unspoilt clips are compared exactly with the evaluation; features that a method reads from the cache and
those computed directly agree to the last bit.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_clips import ToyBackbone, eight_classes, moving_frames
from toy_tables import QUICK, toy_material

from amfir_lib import explore
from amfir_lib.analysis import scarcity
from amfir_lib.analysis.costs import LiveTensors, cost_frame, multiply_adds
from amfir_lib.analysis.robustness import ask, compared
from amfir_lib.analysis.spoilt import (
    CLEAN,
    Condition,
    chosen_clips,
    missing_conditions,
    spoil_clips,
    spoilt_conditions,
)
from amfir_lib.data.features import extract_stores
from amfir_lib.data.spoiling import MOTION, SENSOR, SPOILINGS, Spoiling, spoil_clip, spoiling_rng
from amfir_lib.data.streams import centre_square, streams
from amfir_lib.data.video import read_frames
from amfir_lib.errors import BadParameter, TooFewVideos, UnknownName
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import Whitening
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.training import Training

CELL = TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=8)
BRIEF = Training(n_way=2, shots=(1,), n_query=1, steps=2, episodes_per_step=1, validate_every=2, n_val_episodes=4)
KINDS = {SENSOR: ["blur"], MOTION: ["drop"]}
HOW = {"n_segments": 8, "flow_size": 48, "flow_algorithm": "dis", "flow_bound": 20.0}


@pytest.fixture(scope="module")
def backbones():
    return {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("flow")}


@pytest.fixture(scope="module")
def material(tmp_path_factory, backbones):
    root = tmp_path_factory.mktemp("clips")
    dataset = eight_classes(root)
    return Material(dataset, extract_stores(dataset, backbones, cache_dir=root / "cache", flow_size=48))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def results(material, cache):
    runs = [Run(material, name, training=BRIEF) for name in ("amfir", "protonet", "protonet_f", "protonet_lf")]
    return run_all(runs, [], cache_dir=cache)


@pytest.fixture(scope="module")
def clips(material, backbones, cache):
    rows = chosen_clips(material, clips_per_class=5, n_needed=4)
    return spoil_clips(material, backbones, rows, spoilt_conditions(KINDS, [0.5, 1.0]), cache_dir=cache)


def frames_of(seed: int = 0) -> np.ndarray:
    return moving_frames(np.random.default_rng(seed), n_frames=12, step=2)


@pytest.mark.parametrize("kind", SPOILINGS)
def test_a_clip_is_spoilt_more_the_more_severe(kind):
    frames = frames_of()
    levels = (0, 0.3, 1) if SPOILINGS[kind].graded else (0, 1)
    spoilt = [spoil_clip(frames, kind, level, spoiling_rng(kind, "clip")) for level in levels]
    away = [np.abs(one.astype(float) - frames).mean() for one in spoilt]
    assert away[0] == 0 and all(a < b for a, b in zip(away, away[1:], strict=False))
    assert all(one.shape == frames.shape and one.dtype == np.uint8 for one in spoilt)


def test_slow_motion_moves_less_from_frame_to_frame_and_keeps_the_middle():
    ramp = np.repeat(np.arange(0, 240, 20, dtype=np.uint8), 16 * 16 * 3).reshape(12, 16, 16, 3)
    slow = spoil_clip(ramp, "slow", 1.0, np.random.default_rng(0))[:, 0, 0, 0].astype(float)
    np.testing.assert_allclose(np.diff(slow), 5, atol=1)  # a quarter of 20, rounded to grey levels
    assert slow.mean() == pytest.approx(ramp[:, 0, 0, 0].mean(), abs=1)


def test_unknown_kinds_and_impossible_severities_are_refused():
    with pytest.raises(UnknownName, match="darkness"):
        spoil_clip(frames_of(), "darknes", 0.5, np.random.default_rng(0))
    with pytest.raises(BadParameter, match="between 0 and 1"):
        spoilt_conditions({SENSOR: ["blur"]}, [1.5])
    with pytest.raises(BadParameter, match="each once"):
        spoilt_conditions({SENSOR: ["blur"]}, [0.0])
    with pytest.raises(UnknownName, match="kind of motion ambiguity"):
        spoilt_conditions({MOTION: ["blur"]}, [0.5])
    assert [c.severity for c in spoilt_conditions({MOTION: ["reversal"]}, [0.3, 1.0])] == [1.0]


def test_spoilt_features_are_those_of_the_spoilt_frames(material, backbones, clips):
    condition, place = Condition("blur", 0.5), 3
    name = material.dataset.manifest["clip_id"].iloc[clips.rows[place]]
    frames = centre_square(read_frames(material.dataset.clip_path(clips.rows[place])))
    spoilt = spoil_clip(frames, "blur", 0.5, spoiling_rng("blur", name))
    sizes = dict.fromkeys(("rgb", "flow"), 16)
    seen = streams(spoilt, sizes, **HOW)
    found = clips.features(condition, patches=True, whiten=False)
    for m, backbone in backbones.items():
        np.testing.assert_array_equal(found[m][place].numpy(), backbone.features(seen[m][None])[0])
    pooled = clips.features(condition, patches=False, whiten=False)["rgb"]
    assert torch.equal(pooled, found["rgb"].float().mean(2, keepdim=True))


def test_spoilt_clips_are_computed_once_and_a_lost_file_again(material, backbones, clips, cache):
    wanted = spoilt_conditions(KINDS, [0.5, 1.0])
    files = sorted(clips.folder.glob("*/shard-*.npz"))
    assert len(files) == len(wanted)
    before = {path: path.stat().st_mtime_ns for path in files}
    files[0].write_bytes(b"damaged")
    spoil_clips(material, backbones, clips.rows, wanted, cache_dir=cache)
    after = {path: path.stat().st_mtime_ns for path in files}
    assert [path for path in files if after[path] != before[path]] == [files[0]]


def test_too_few_clips_a_class_are_refused(material):
    with pytest.raises(TooFewVideos, match="clips_per_class is 3"):
        chosen_clips(material, clips_per_class=3, n_needed=4)


def test_sound_queries_are_answered_as_in_the_evaluation(material, results, clips):
    (found,) = ask(results, clips, [Condition("blur", 1.0)], [CELL])
    table = material.table()
    episodes = CELL.episodes(table)  # all test clips are chosen, so that these are the same episodes
    for result in results:
        expected = evaluate(result.method(), table, episodes)
        np.testing.assert_allclose(found.of(result.run.method, CLEAN), expected.accuracy, rtol=1e-6)
    weight, group = (found.of("amfir", CLEAN, quantity=name) for name in ("weight", "group"))
    c = evaluate(results[0].method(), table, episodes).certainty
    np.testing.assert_allclose(weight, (c["rgb"] / (c["rgb"] + c["flow"])).mean(1), rtol=1e-5)
    assert ((group >= 0) & (group <= 1)).all()


def test_without_a_modality_everywhere_the_other_one_decides(material, results, clips):
    gone = missing_conditions(material.dataset.modalities)
    (found,) = ask(results, clips, gone, [CELL])
    for missing, left, alone in (("rgb", "flow", "protonet_f"), ("flow", "rgb", "protonet")):
        everywhere = Condition(f"without {missing}", 1.0, "all")
        np.testing.assert_array_equal(found.of("amfir", everywhere), found.of("amfir", CLEAN, quantity=left))
        np.testing.assert_array_equal(found.of("protonet_lf", everywhere), found.of(alone, CLEAN))
        np.testing.assert_array_equal(found.of(alone, everywhere), found.of(alone, CLEAN))


def test_less_base_data_is_a_part_of_more_and_changes_nothing_else(tmp_path):
    whole = toy_material(tmp_path)
    few, fewer = (scarcity.reduce_base(whole, scarcity.Amount(scarcity.CLASSES, n)) for n in (4, 3))
    rows = [set(one.layout().rows("train")) for one in (fewer, few, whole)]
    assert rows[0] < rows[1] < rows[2] and len(few.layout().base_classes) == 4
    for split in ("val", "test"):
        np.testing.assert_array_equal(few.layout().rows(split), whole.layout().rows(split))
    clips = scarcity.reduce_base(whole, scarcity.Amount(scarcity.CLIPS, 2)).layout()
    assert np.unique(clips.labels[clips.rows("train")], return_counts=True)[1].tolist() == [2] * 6
    assert scarcity.reduce_base(whole, scarcity.Amount()) is whole
    assert few.identity != fewer.identity != whole.identity


def test_whitening_learns_from_the_clips_that_are_left(tmp_path):
    few = scarcity.reduce_base(toy_material(tmp_path), scarcity.Amount(scarcity.CLASSES, 3))
    raw = replace(few, whiten=False).table()
    expected = Whitening.fit(raw)(raw.features)
    for m, values in few.table().features.items():
        assert torch.equal(values, expected[m])


def test_training_episodes_shrink_with_the_clips_of_a_class():
    settings = Training(shots=(1, 5), n_query=5)
    less = scarcity.reduced_training(settings, scarcity.Amount(scarcity.CLIPS, 6))
    assert (less.shots, less.n_query) == ((1, 2), 2)
    assert scarcity.reduced_training(settings, scarcity.Amount(scarcity.CLASSES, 6)) is settings


def test_runs_on_less_are_tested_on_the_same_episodes(tmp_path):
    whole = toy_material(tmp_path)
    amounts = scarcity.amounts_of(whole, base_classes=[4, 99], base_clips=[4], n_way=3)
    assert amounts == [scarcity.Amount(), scarcity.Amount(scarcity.CLASSES, 4), scarcity.Amount(scarcity.CLIPS, 4)]
    series = [SimpleNamespace(method="protonet", runs=lambda m, t, s: [Run(m, "protonet", training=t, seed=0)])]
    cell = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=20)
    (found,) = scarcity.train_on_less(whole, series, QUICK, [cell], amounts, seeds=[0], cache_dir=tmp_path / "cache")
    assert found.conditions == amounts and found.of("protonet", amounts[1]).shape == (20,)
    with pytest.raises(BadParameter, match="too few for 3-way"):
        scarcity.amounts_of(whole, base_classes=[2], base_clips=[], n_way=3)


def test_multiply_adds_are_those_of_the_textbook():
    a, b = torch.zeros(3, 4, 5), torch.zeros(3, 5, 6)
    assert multiply_adds(lambda: a @ b) == 3 * 4 * 5 * 6
    assert multiply_adds(lambda: torch.cdist(a, b.mT.contiguous())) == 3 * 4 * 6 * 5
    frame, kernels = torch.zeros(1, 2, 8, 8), torch.zeros(3, 2, 3, 3)
    assert multiply_adds(lambda: torch.nn.functional.conv2d(frame, kernels, padding=1)) == 3 * 8 * 8 * 2 * 9


def test_the_peak_counts_what_lives_at_the_same_time():
    def call():
        first = torch.zeros(1000)
        second = first + 1
        del first
        view = second.view(10, 100)
        del second
        return view * 2

    with LiveTensors() as live:
        call()
    assert live.peak == 2 * 4000


def test_a_query_costs_what_its_modalities_cost(results, backbones):
    costs = cost_frame(results, backbones, n_way=3, n_shot=1, n_query=2).set_index("key")
    alone = costs.loc[["protonet", "protonet_f"]].sum()
    for name in ("parameters", "multiply_adds", "support_multiply_adds"):
        assert costs.loc["protonet_lf", name] == alone[name]
    assert (costs["query_ms"] > costs["reading_ms"]).all() and (costs["memory_mb"] > 0).all()


def test_what_the_claims_compare_must_be_among_the_methods(material):
    with pytest.raises(BadParameter, match="lacks protonet_lf.*Add what is missing"):
        compared(["amfir", "protonet", "protonet_f"], material)


def test_a_further_way_to_spoil_a_clip_is_one_entry(monkeypatch, material, backbones, results, tmp_path):
    """It is a condition with a figure of its clips, and it is answered: bright light costs what grey frames cost."""
    glare = Spoiling(SENSOR, "all is white", lambda frames, severity, rng: np.full_like(frames, 255))
    monkeypatch.setitem(SPOILINGS, "glare", glare)
    (condition,) = spoilt_conditions({SENSOR: ["glare"]}, [1.0])
    rows = chosen_clips(material, clips_per_class=5, n_needed=4)
    clips = spoil_clips(material, backbones, rows, [condition], cache_dir=tmp_path)
    (found,) = ask(results, clips, [condition], [CELL])
    assert condition in found.conditions and condition.columns["family"] == SENSOR
    np.testing.assert_allclose(found.of("protonet", condition), 1 / 3, atol=1e-6)  # all queries look alike
    view = explore.spoilt_views(material.dataset, int(rows[0]), [1.0])["glare"][0]
    assert (view == 255).all()  # frames, and flow that stands still
