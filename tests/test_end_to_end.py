"""Training through the backbones, on tiny clips and CPU.

Exact on one machine where nothing else is said.  Tolerance 1e-4 of the largest gradient where sums are added in another
order; two devices against one: 1e-4 of the weights.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_end_to_end import TRAINING, compact_backbones, moving_dataset, small_resnets

from amfir_lib.analysis.tables import paired_table
from amfir_lib.backbones.blurred import BlurredBackbone
from amfir_lib.backbones.trainable import freeze_batch_norm
from amfir_lib.data.features import extract_stores
from amfir_lib.data.flow import decode_flow
from amfir_lib.data.streams import random_view
from amfir_lib.errors import BackboneUnavailable, BadParameter, TrainingDiverged, UnknownName, UnknownParameter
from amfir_lib.study.config import Config
from amfir_lib.study.end_to_end import EndToEnd, beside_frozen, evaluate_end_to_end, train_end_to_end, train_on_devices
from amfir_lib.study.end_to_end import loop as loop_module
from amfir_lib.study.end_to_end.clips import clips_table, look, prefetched, rows_of
from amfir_lib.study.end_to_end.frames import open_frames
from amfir_lib.study.end_to_end.runs import build_job, run_end_to_end
from amfir_lib.study.runs import Material, Run, Series, TestCell, run_all

BACKBONES = {"compact": compact_backbones, "resnet18": small_resnets}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The clips, and a cache that all tests share."""
    root = tmp_path_factory.mktemp("moving")
    return moving_dataset(root / "clips"), root / "cache"


def run_of(place, kind="compact", method="amfir", training=TRAINING, **options):
    dataset, cache_dir = place
    backbones = BACKBONES[kind]()
    stores = extract_stores(dataset, backbones, cache_dir=cache_dir / kind, flow_size=48)
    return Run(Material(dataset, stores), method, options, training), backbones


def job_of(place, kind="compact", *, checkpoint=None, method="amfir", training=TRAINING, **options):
    run, backbones = run_of(place, kind, method, training)
    settings = EndToEnd(**({"frames_per_instant": 1, "backbone_lr": 0.02} | options))
    cache = open_frames(run, backbones, settings, cache_dir=place[1])
    return build_job(run, backbones, cache, settings, checkpoint=checkpoint)


def weights(trained):
    states = {"head": trained.method_state, **trained.stream_states}
    return {f"{part}.{name}": value for part, state in states.items() for name, value in state.items()}


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_loss_falls_and_gradients_reach_both_backbones(place, kind):
    n_steps = 12 if kind == "compact" else 5
    training = replace(TRAINING, steps=n_steps, validate_every=n_steps, shots=(2,))
    job = job_of(place, kind, training=training, freeze_batch_norm=kind == "resnet18")
    before = {m: {n: v.clone() for n, v in s.state_dict().items()} for m, s in job.streams.items()}
    trained = train_end_to_end(job)
    losses = trained.history["loss"].to_numpy()
    third = len(losses) // 3
    assert losses[-third:].mean() < losses[:third].mean()
    for m, stream in job.streams.items():
        moved = [n for n, p in stream.named_parameters() if p.requires_grad and not torch.equal(p, before[m][n])]
        assert len(moved) == sum(p.requires_grad for p in stream.parameters()), m
    assert (trained.history["gradient_norm_backbones"] > 0).all() and trained.clips_per_second > 0


def test_a_resumed_training_is_the_uninterrupted_one_to_the_last_bit(place, tmp_path, monkeypatch):
    whole = train_end_to_end(job_of(place, freeze_batch_norm=False))
    step = loop_module._Trainer._step

    def stop(self, number):
        if number == 4:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(loop_module._Trainer, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train_end_to_end(job_of(place, checkpoint=tmp_path / "c.pt", freeze_batch_norm=False))
    monkeypatch.setattr(loop_module._Trainer, "_step", step)
    resumed = train_end_to_end(job_of(place, checkpoint=tmp_path / "c.pt", freeze_batch_norm=False))
    assert resumed.history.equals(whole.history) and resumed.validation.equals(whole.validation)
    assert resumed.best_step == whole.best_step
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


def gradients(job):
    trainer = loop_module._Trainer(job, "cpu", None)
    trainer.optimiser.step = lambda *_, **__: None
    row = trainer._step(1)
    return row, {f"{m}.{n}": p.grad for m, s in job.streams.items() for n, p in s.named_parameters() if p.requires_grad}


def test_small_passes_give_the_gradient_of_large_ones(place):
    (one, whole), (many, parts) = (gradients(job_of(place, clips_per_pass=n)) for n in (100, 2))
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-4 * largest)


def test_the_gradient_of_a_step_is_that_of_the_mean_loss_of_its_episodes(place):
    _, found = gradients(job_of(place, training=replace(TRAINING, clip_norm=1e9)))
    job = job_of(place)
    for stream in job.streams.values():
        freeze_batch_norm(stream.train())
    sizes = {"n_way": 2, "n_shot": 2, "n_query": 1, "n_episodes": 4}  # the second step has two supports a class
    episodes = job.layout.sample("train", rng=np.random.default_rng([10, 0, 1]), **sizes)
    losses = []
    for index in range(4):
        rows, rng = rows_of(episodes[index : index + 1]), np.random.default_rng([11, 0, 1, index])
        views = [random_view(rng, flip=True) for _ in rows]
        features = {}
        for m, stream in job.streams.items():
            clips = torch.from_numpy(look(job, m, rows, views))
            values = stream(decode_flow(clips) if m == "flow" else clips).mean(2, keepdim=True)
            features[m] = {int(row): value for row, value in zip(rows, values, strict=True)}

        def gather(wanted, features=features):
            stacked = {m: torch.stack([own[int(row)] for row in wanted.ravel()]) for m, own in features.items()}
            return {m: values.unflatten(0, wanted.shape)[None] for m, values in stacked.items()}

        output = job.method(gather(episodes.support[index]), gather(episodes.query[index].ravel()))
        losses.append(job.method.loss(output, torch.from_numpy(episodes.target[index : index + 1]))[0])
    torch.stack(losses).mean().backward()
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    for m, stream in job.streams.items():
        for name, parameter in stream.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(found[f"{m}.{name}"], parameter.grad, rtol=0, atol=1e-4 * largest)


def test_frozen_batch_norms_keep_statistics_scales_and_shifts(place):
    training = replace(TRAINING, steps=1, validate_every=1)
    for frozen in (True, False):
        job = job_of(place, training=training, freeze_batch_norm=frozen, clips_per_pass=2)
        before = {n: v.clone() for n, v in job.streams["rgb"].state_dict().items()}
        train_end_to_end(job)
        after = job.streams["rgb"].state_dict()
        statistics = [n for n in before if n.endswith("running_mean") or ".stem.1." in n]
        assert all(torch.equal(before[n], after[n]) == frozen for n in statistics if "batches" not in n)


def test_a_network_sees_nearly_the_same_flow_however_it_is_stored(place):
    losses = [gradients(job_of(place, flow_type=name))[0]["loss"] for name in ("float", "uint8", "colour")]
    assert losses == pytest.approx([losses[0]] * 3, rel=0.02) and len(set(losses)) == 3


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"channels_last": False}, {"clips_per_pass": 3}])
def test_speed_settings_change_little(place, options):
    plain, other = (gradients(job_of(place, **more))[0] for more in ({}, options))
    tolerance = 0.05 if "precision" in options else 1e-4  # bfloat16 keeps three digits
    assert other["loss"] == pytest.approx(plain["loss"], rel=tolerance)


def test_mirrored_clips_are_for_data_sets_that_allow_it(place):
    assert job_of(place).flip and not job_of(place, flip=False).flip
    dataset, cache_dir = place
    fixed = replace(dataset, flip=False)
    assert not job_of((fixed, cache_dir)).flip and job_of((fixed, cache_dir), flip=True).flip


def test_features_of_central_views_are_those_of_the_frozen_backbone_on_the_same_squares(place):
    job = job_of(place)
    rows = np.array([0, 5, 9])
    table = clips_table(job, job.streams, rows, torch.device("cpu"))
    frames = np.stack([np.array(job.cache.clip("rgb", row)) for row in rows])
    room = (frames.shape[2] - 64) / 2
    cut = slice(round(room), round(room) + 64)
    expected = compact_backbones()["rgb"].features(frames[:, :, cut, cut]).mean(2, keepdims=True)
    np.testing.assert_allclose(table.features["rgb"], expected, atol=0.01 * float(expected.std()))
    assert table.class_names == job.layout.class_names and (table.labels == job.layout.labels[rows]).all()


@pytest.mark.parametrize("method", ["strm", "protonet", "protonet_f", "hyrsm"])
def test_other_methods_train_with_the_streams_that_they_read(place, method):
    training = replace(TRAINING, steps=1, validate_every=1, episodes_per_step=1)
    job = job_of(place, method=method, training=training)
    trained = train_end_to_end(job)
    assert set(trained.stream_states) == set(job.method.modalities)
    assert np.isfinite(trained.history["loss"]).all()


def test_a_run_end_to_end_has_the_form_of_the_others_and_is_found_in_the_cache(place, tmp_path, monkeypatch):
    run, backbones = run_of(place)
    cells = [TestCell(n_way=2, n_shot=1, n_query=2, n_episodes=6)]
    settings = {"backbones": backbones, "cache_dir": tmp_path, "options": EndToEnd(backbone_lr=0.02)}
    result = run_end_to_end(run, cells, **settings)
    (frozen,) = run_all([run], cells, cache_dir=tmp_path)
    assert result.tests[cells[0]].accuracy.shape == frozen.tests[cells[0]].accuracy.shape
    assert set(result.tests[cells[0]].correct) == {"fused", "rgb", "flow"}
    assert result.record["title"] == "AMFIR (end to end)" and len(result.history) == TRAINING.steps
    assert {"step", "n_shot", "accuracy", "accuracy_rgb"} <= set(result.validation.columns)
    job = job_of(place)
    assert result.record["parameters"] > sum(p.numel() for p in job.method.parameters())
    monkeypatch.setattr(
        "amfir_lib.study.end_to_end.runs.train_on_devices", lambda *_, **__: pytest.fail("trained again")
    )
    more = [*cells, TestCell(n_way=2, n_shot=2, n_query=2, n_episodes=5)]
    again = run_end_to_end(run, more, **settings)
    np.testing.assert_array_equal(again.tests[cells[0]].accuracy, result.tests[cells[0]].accuracy)
    assert len(again.tests[more[1]].accuracy) == 5 and again.method().dims == {"rgb": 96, "flow": 96}


def test_a_series_trained_through_its_backbones_stands_beside_its_frozen_runs(place, tmp_path, monkeypatch):
    run, backbones = run_of(place)
    monkeypatch.setattr(beside_frozen, "open_backbones", lambda *_, **__: backbones)
    config = Config.from_notebook({"profile": "smoke", "n_seeds": 2}, environ={"AMFIR_CACHE_DIR": str(tmp_path)})
    series, cells = Series("AMFIR", "amfir"), [TestCell(n_way=2, n_shot=1, n_query=2, n_episodes=6)]
    settings = {"backbone": "compact", "options": beside_frozen.end_to_end_options({"backbone_lr": 0.02}), "n_steps": 2}
    trained = beside_frozen.train_through_backbones(config, run.material, series, TRAINING, cells, **settings)
    frozen = run_all(series.runs(run.material, TRAINING, config.seeds), cells, cache_dir=tmp_path)
    named = beside_frozen.name_with_backbones([series])
    assert [named(result) for result in trained + frozen] == ["AMFIR, end to end"] * 2 + ["AMFIR"] * 2
    assert [len(result.history) for result in trained] == [2, 2] and len(frozen[0].history) == TRAINING.steps
    (row,) = paired_table(trained + frozen, "AMFIR, end to end", others=["AMFIR"], series=named).to_dict("records")
    means = [np.mean([result.tests[cells[0]].accuracy.mean() for result in part]) for part in (trained, frozen)]
    assert row["difference"] == pytest.approx(means[0] - means[1])


def test_what_cannot_be_trained_is_refused_before_anything_is(place, monkeypatch):
    dataset = replace(place[0], synthetic=True)
    config = Config.from_notebook({"profile": "smoke"}, environ={})
    beside_frozen.check_end_to_end(config, [dataset], backbone="auto")
    with pytest.raises(BackboneUnavailable, match="compact_blurred is only used frozen. Train end to end with"):
        beside_frozen.check_end_to_end(config, [dataset], backbone="compact+compact_blurred")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(BackboneUnavailable, match="pip install lightning-fabric"):
        beside_frozen.check_end_to_end(replace(config, devices=2), [dataset], backbone="auto")
    with pytest.raises(UnknownParameter, match='did you mean "backbone_lr"'):
        beside_frozen.end_to_end_options({"backbonelr": 0.1})


def test_settings_from_the_command_line_are_checked():
    chosen = beside_frozen.end_to_end_options({"backbone_lr": "1e-2", "flip": False, "clips_per_pass": 8})
    assert chosen == EndToEnd(backbone_lr=0.01, flip=False, clips_per_pass=8)
    for name, value in (("backbone_lr", "fast"), ("clips_per_pass", "8"), ("channels_last", 1)):
        with pytest.raises(BadParameter, match=f'{name} of end-to-end training is "{value}", but must be of the type'):
            beside_frozen.end_to_end_options({name: value})


def test_equal_jobs_test_equally(place):
    cell = TestCell(n_way=2, n_shot=1, n_query=2, n_episodes=5)
    accuracies = [
        evaluate_end_to_end(job, cell.episodes(job.layout)).accuracy for job in (job_of(place), job_of(place))
    ]
    np.testing.assert_array_equal(*accuracies)


def test_what_cannot_be_trained_is_refused(place):
    run, backbones = run_of(place)
    settings = EndToEnd()
    with pytest.raises(BadParameter, match="assembled from protonet, protonet_f"):
        build_job(replace(run, method="protonet_lf"), backbones, None, settings)

    class OnlyFrozen:
        name, modality, dim, input_size = "only-frozen", "rgb", 96, 64

    with pytest.raises(BackboneUnavailable, match="only-frozen is only used frozen"):
        build_job(run, dict.fromkeys(backbones, OnlyFrozen()), None, settings)
    blurred = {m: BlurredBackbone(m, one.net.state_dict()) for m, one in backbones.items()}
    with pytest.raises(BackboneUnavailable, match="compact_blurred is only used frozen"):
        build_job(run, blurred, None, settings)
    with pytest.raises(UnknownName, match='did you mean "float16"'):
        EndToEnd(precision="float61")
    with pytest.raises(UnknownName, match='"int8" is not a known storage of flow'):
        EndToEnd(flow_type="int8")
    with pytest.raises(BadParameter, match="clips_per_pass is 0"):
        EndToEnd(clips_per_pass=0)
    with pytest.raises(BadParameter, match='precision is "float16", but the device is cpu'):
        train_end_to_end(job_of(place, precision="float16"))


def test_a_loss_that_is_not_finite_names_the_step_and_the_learning_rates(place):
    with pytest.raises(TrainingDiverged, match=r"at step \d of 6. Lower backbone_lr \(it is 1e\+30\)"):
        train_end_to_end(job_of(place, backbone_lr=1e30))


def test_items_are_read_ahead_and_stay_in_order():
    assert list(prefetched(lambda i: i * i, range(5))) == [0, 1, 4, 9, 16] and list(prefetched(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(prefetched(lambda i: 1 / i, [1, 0]))


class ThreadRanks:
    """Two threads that add up as two devices would."""

    world_size = 2

    def __init__(self, rank, shared):
        self.global_rank, (self.barrier, self.values) = rank, shared

    def all_reduce(self, value, *, reduce_op):
        self.values[self.global_rank] = value.clone()
        self.barrier.wait()
        total = sum(self.values)
        self.barrier.wait()
        return total / 2 if reduce_op == "mean" else total


@pytest.mark.parametrize("frozen", [True, False])
def test_two_devices_take_the_steps_of_one(place, frozen):
    training = replace(TRAINING, steps=3, validate_every=3)
    jobs = [job_of(place, training=training, freeze_batch_norm=frozen) for _ in range(3)]
    one = train_end_to_end(jobs.pop())
    shared = threading.Barrier(2, timeout=60), [None, None]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(train_end_to_end, job, ranks=ThreadRanks(r, shared)) for r, job in enumerate(jobs)]
        first, second = (future.result() for future in waiting)
    assert first.history.equals(second.history)
    np.testing.assert_allclose(first.history["loss"], one.history["loss"], rtol=1e-4 if frozen else 0.05)
    for name, value in weights(first).items():
        torch.testing.assert_close(weights(second)[name], value, rtol=0, atol=0)


def test_several_devices_need_fabric_and_episodes_enough(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(BackboneUnavailable, match="pip install lightning-fabric"):
        train_on_devices(job_of(place), n_devices=2)
    with pytest.raises(BadParameter, match="must be 1 to 4, the episodes of a step"):
        train_on_devices(job_of(place), n_devices=5)


@pytest.mark.skipif(importlib.util.find_spec("lightning_fabric") is None, reason="Lightning Fabric is not installed")
@pytest.mark.enable_socket  # the two processes talk to each other on this machine
def test_two_processes_train_what_one_does(place):
    training = replace(TRAINING, steps=2, validate_every=2)
    one = train_on_devices(job_of(place, training=training))
    two = train_on_devices(job_of(place, training=training), n_devices=2)
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-4)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-4)
