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

from amfir_lib.backbones.frozen import freeze_batch_norm
from amfir_lib.data.features import extract_stores
from amfir_lib.data.flow import decode_flow
from amfir_lib.data.streams import random_view
from amfir_lib.errors import BackboneUnavailable, BadParameter, TrainingDiverged, UnknownName, UnknownParameter
from amfir_lib.study.config import Config
from amfir_lib.study.end_to_end import runs as end_to_end
from amfir_lib.study.end_to_end.clips import EndToEnd, prefetched
from amfir_lib.study.end_to_end.devices import train_on_devices
from amfir_lib.study.end_to_end.runs import RunEndToEnd, open_frames
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Run, Series, run_all
from amfir_lib.study.training import embed_episodes, train

BACKBONES = {"compact": compact_backbones, "resnet18": small_resnets}
CELL = TestCell(n_way=2, n_shot=1, n_query=2, n_episodes=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The clips, and a cache that all tests share."""
    root = tmp_path_factory.mktemp("moving")
    return moving_dataset(root / "clips"), root / "cache"


def run_of(place, kind="compact", method="amfir", training=TRAINING):
    dataset, cache_dir = place
    backbones = BACKBONES[kind]()
    stores = extract_stores(dataset, backbones, cache_dir=cache_dir / kind, flow_size=48)
    return Run(Material(dataset, stores), method, {}, training), backbones


def modules_of(place, kind="compact", *, method="amfir", **options):
    run, backbones = run_of(place, kind, method)
    options = EndToEnd(**({"frames_per_instant": 1, "backbone_lr": 0.02} | options))
    frames = open_frames(run, backbones, options, cache_dir=place[1])
    return RunEndToEnd(run, (), place[1], backbones=backbones, options=options, frames=frames).modules()


def trained(place, training=TRAINING, checkpoint=None, *, kind="compact", method="amfir", **options):
    return train(*modules_of(place, kind, method=method, **options), training, seed=0, checkpoint=checkpoint)


def weights(result):
    return {f"{part}.{name}": value for part, state in result.states.items() for name, value in state.items()}


def gradients(place, step=1, n_episodes=4, **options):
    """Loss and gradients of the backbones at one step."""
    method, clips = modules_of(place, **options)
    clips.begin(method.train(), seed=0)
    sizes = {"n_way": 2, "n_shot": 2, "n_query": 1, "n_episodes": n_episodes}
    episodes = clips.layout.sample("train", rng=np.random.default_rng([10, 0, step]), **sizes)
    loss = 0.0
    for table, part, n_parts in clips.parts(method, episodes, step):
        support, query, target = embed_episodes(method, table, part)
        share = method.loss(method.compare(support, query), target)[0] / n_parts
        share.backward()
        loss += share.item()
    named = {f"{m}.{n}": p.grad for m, s in clips.backbones.items() for n, p in s.named_parameters() if p.requires_grad}
    return loss, named


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_loss_falls_and_gradients_reach_both_backbones(place, kind):
    n_steps = 12 if kind == "compact" else 5
    training = replace(TRAINING, steps=n_steps, validate_every=n_steps, shots=(2,))
    method, clips = modules_of(place, kind, freeze_batch_norm=kind == "resnet18")
    before = {m: {n: v.clone() for n, v in s.state_dict().items()} for m, s in clips.backbones.items()}
    history = train(method, clips, training, seed=0).history
    assert history["loss"].tail(n_steps // 2).mean() < history["loss"].head(2).mean()
    for m, stream in clips.backbones.items():
        learning = [(n, p) for n, p in stream.named_parameters() if p.requires_grad]
        assert learning and not any(torch.equal(p, before[m][n]) for n, p in learning), m
    assert (history["gradient_norm_backbones"] > 0).all()


def test_a_resumed_training_is_the_uninterrupted_one_to_the_last_bit(place, tmp_path):
    whole = trained(place, freeze_batch_norm=False)
    method, clips = modules_of(place, freeze_batch_norm=False)
    parts = clips.parts

    def stop(method, episodes, step):
        if step == 4:
            raise KeyboardInterrupt
        return parts(method, episodes, step)

    clips.parts = stop
    with pytest.raises(KeyboardInterrupt):
        train(method, clips, TRAINING, seed=0, checkpoint=tmp_path / "c.pt")
    resumed = trained(place, checkpoint=tmp_path / "c.pt", freeze_batch_norm=False)
    assert resumed.history.equals(whole.history) and resumed.validation.equals(whole.validation)
    assert resumed.best_step == whole.best_step and whole.clips_per_second > 0
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


def test_small_passes_give_the_gradient_of_large_ones(place):
    (one, whole), (many, parts) = (gradients(place, clips_per_pass=n) for n in (100, 2))
    assert one == pytest.approx(many, rel=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-4 * largest)


def test_the_gradient_of_a_step_is_that_of_the_mean_loss_of_its_episodes(place):
    _, computed = gradients(place)
    method, clips = modules_of(place)
    for stream in clips.backbones.values():
        freeze_batch_norm(stream.train())
    sizes = {"n_way": 2, "n_shot": 2, "n_query": 1, "n_episodes": 4}
    episodes, losses = clips.layout.sample("train", rng=np.random.default_rng([10, 0, 1]), **sizes), []
    for number in range(4):
        rows, rng = episodes[number : number + 1].rows, np.random.default_rng([11, 0, 1, number])
        views, features = [random_view(rng, flip=True) for _ in rows], {}
        for m, stream in clips.backbones.items():
            raw = torch.from_numpy(clips.look(m, rows, views))
            values = stream(decode_flow(raw) if m == "flow" else raw).mean(2, keepdim=True)
            features[m] = {int(row): value for row, value in zip(rows, values, strict=True)}

        def gather(wanted, features=features):
            stacked = {m: torch.stack([by_row[int(row)] for row in wanted.ravel()]) for m, by_row in features.items()}
            return {m: values.unflatten(0, wanted.shape)[None] for m, values in stacked.items()}

        output = method(gather(episodes.support[number]), gather(episodes.query[number].ravel()))
        losses.append(method.loss(output, torch.from_numpy(episodes.target[number : number + 1]))[0])
    torch.stack(losses).mean().backward()
    largest = max(float(gradient.abs().max()) for gradient in computed.values())
    for m, stream in clips.backbones.items():
        for name, parameter in stream.named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(computed[f"{m}.{name}"], parameter.grad, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norms_keep_statistics_scales_and_shifts(place, frozen):
    method, clips = modules_of(place, freeze_batch_norm=frozen, clips_per_pass=2)
    before = {n: v.clone() for n, v in clips.backbones["rgb"].state_dict().items()}
    train(method, clips, replace(TRAINING, steps=1, validate_every=1), seed=0)
    after = clips.backbones["rgb"].state_dict()
    statistics = [n for n in before if n.endswith("running_mean") or ".stem.1." in n]
    assert all(torch.equal(before[n], after[n]) == frozen for n in statistics if "batches" not in n)


def test_settings_of_storage_and_speed_change_little(place):
    plain, _ = gradients(place, n_episodes=2)
    stored = [gradients(place, n_episodes=2, flow_type=name)[0] for name in ("float", "colour")]
    assert stored == pytest.approx([plain] * 2, rel=0.02) and len({plain, *stored}) == 3
    for options, tolerance in (({"precision": "bfloat16"}, 0.05), ({"channels_last": False}, 1e-4)):
        assert gradients(place, n_episodes=2, **options)[0] == pytest.approx(plain, rel=tolerance)


def test_mirrored_clips_are_for_data_sets_that_allow_it(place):
    assert modules_of(place)[1].flip and not modules_of(place, flip=False)[1].flip
    fixed = replace(place[0], flip=False), place[1]
    assert not modules_of(fixed)[1].flip and modules_of(fixed, flip=True)[1].flip


def test_features_of_central_views_are_those_of_the_frozen_backbone_on_the_same_squares(place):
    method, clips = modules_of(place)
    rows = np.array([0, 5, 9])
    table = clips.table(method, rows)
    frames = np.stack([np.array(clips.frames.clip("rgb", row)) for row in rows])
    room = (frames.shape[2] - 64) / 2
    cut = slice(round(room), round(room) + 64)
    expected = compact_backbones()["rgb"].features(frames[:, :, cut, cut]).mean(2, keepdims=True)
    np.testing.assert_allclose(table.features["rgb"], expected, atol=0.01 * float(expected.std()))
    assert table.class_names == clips.layout.class_names and (table.labels == clips.layout.labels[rows]).all()


@pytest.mark.parametrize("method", ["strm", "protonet", "protonet_f", "hyrsm"])
def test_other_methods_train_with_the_streams_that_they_read(place, method):
    training = replace(TRAINING, steps=1, validate_every=1, episodes_per_step=1)
    result = trained(place, training, method=method)
    modalities = {"protonet": {"rgb"}, "strm": {"rgb"}, "hyrsm": {"rgb"}, "protonet_f": {"flow"}}[method]
    assert set(result.states) == {"head"} | modalities and np.isfinite(result.history["loss"]).all()


def test_a_series_trained_through_its_backbones_stands_beside_its_frozen_runs(place, tmp_path, monkeypatch, capsys):
    run, backbones = run_of(place)
    monkeypatch.setattr(end_to_end, "open_backbones", lambda *_, **__: backbones)
    config = Config.from_notebook({"profile": "smoke", "n_seeds": 2}, environ={"AMFIR_CACHE_DIR": str(tmp_path)})
    series = Series("AMFIR", "amfir")
    settings = {"options": EndToEnd(backbone_lr=0.02), "n_steps": 2}

    def results(*cells):
        return end_to_end.train_through_backbones(config, run.material, series, TRAINING, cells, **settings)

    first, frozen = (
        results(CELL),
        run_all(series.runs(run.material, TRAINING, config.seeds), [CELL], cache_dir=tmp_path),
    )
    named = end_to_end.name_with_backbones([series])
    assert [named(result) for result in first + frozen] == ["AMFIR, end to end"] * 2 + ["AMFIR"] * 2
    assert [len(result.history) for result in first] == [2, 2] and len(frozen[0].history) == TRAINING.steps
    assert first[0].tests[CELL].correct.keys() == frozen[0].tests[CELL].correct.keys() == {"fused", "rgb", "flow"}
    assert first[0].record["title"] == "AMFIR (end to end)"
    assert first[0].record["parameters"] > frozen[0].record["parameters"]
    monkeypatch.setattr(end_to_end, "train_on_devices", lambda *_, **__: pytest.fail("trained again"))
    capsys.readouterr()
    more = replace(CELL, n_shot=2)
    (again, _) = results(CELL, more)
    assert "end to end: trained before, tested on new episodes" in capsys.readouterr().out
    np.testing.assert_array_equal(again.tests[CELL].accuracy, first[0].tests[CELL].accuracy)
    assert len(again.tests[more].accuracy) == 6 and again.method().dims == {"rgb": 96, "flow": 96}


def test_what_cannot_be_trained_is_refused_before_anything_is(place, monkeypatch):
    dataset = replace(place[0], synthetic=True)
    config = Config.from_notebook({"profile": "smoke"}, environ={})
    end_to_end.check_end_to_end(config, [dataset])
    with pytest.raises(BackboneUnavailable, match="compact_blurred is only used frozen. Train end to end with"):
        end_to_end.check_end_to_end(config.having(backbone="compact+compact_blurred"), [dataset])
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(BackboneUnavailable, match="pip install lightning-fabric"):
        end_to_end.check_end_to_end(replace(config, devices=2), [dataset])
    with pytest.raises(BadParameter, match="must be 1 to 4, the episodes of a step"):
        train_on_devices(*modules_of(place), TRAINING, seed=0, n_devices=5)
    run, backbones = run_of(place)
    with pytest.raises(BadParameter, match="assembled from protonet, protonet_f"):
        RunEndToEnd(
            replace(run, method="protonet_lf"), (), place[1], backbones=backbones, options=EndToEnd(), frames=None
        ).modules()
    with pytest.raises(BadParameter, match='precision is "float16", but the device is cpu'):
        trained(place, precision="float16")


def test_settings_from_the_command_line_are_checked():
    chosen = end_to_end.end_to_end_options({"backbone_lr": "1e-2", "flip": False, "clips_per_pass": 8})
    assert chosen == EndToEnd(backbone_lr=0.01, flip=False, clips_per_pass=8)
    for name, value in (("backbone_lr", "fast"), ("clips_per_pass", "8"), ("channels_last", 1)):
        with pytest.raises(BadParameter, match=f'{name} of end-to-end training is "{value}", but must be of the type'):
            end_to_end.end_to_end_options({name: value})
    for given, error, message in (
        ({"backbonelr": 0.1}, UnknownParameter, 'did you mean "backbone_lr"'),
        ({"precision": "float61"}, UnknownName, 'did you mean "float16"'),
        ({"flow_type": "int8"}, UnknownName, '"int8" is not a known storage of flow'),
        ({"clips_per_pass": 0}, BadParameter, "clips_per_pass is 0"),
    ):
        with pytest.raises(error, match=message):
            end_to_end.end_to_end_options(given)


def test_a_loss_that_is_not_finite_names_the_step_and_the_learning_rates(place):
    with pytest.raises(TrainingDiverged, match=r"at step \d of 6. Lower backbone_lr \(it is 1e\+30\)"):
        trained(place, backbone_lr=1e30)


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
    one = trained(place, training, freeze_batch_norm=frozen)
    shared = threading.Barrier(2, timeout=60), [None, None]
    modules = [modules_of(place, freeze_batch_norm=frozen) for _ in range(2)]

    def share(rank):
        method, clips = modules[rank]
        clips.place("cpu", ThreadRanks(rank, shared))
        return train(method, clips, training, seed=0)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(share, range(2))
    assert first.history.equals(second.history)
    np.testing.assert_allclose(first.history["loss"], one.history["loss"], rtol=1e-4 if frozen else 0.05)
    for name, value in weights(first).items():
        torch.testing.assert_close(weights(second)[name], value, rtol=0, atol=0)


@pytest.mark.skipif(importlib.util.find_spec("lightning_fabric") is None, reason="Lightning Fabric is not installed")
@pytest.mark.enable_socket  # the two processes talk to each other on this machine
def test_two_processes_train_what_one_does(place):
    training = replace(TRAINING, steps=2, validate_every=2)
    one, two = (train_on_devices(*modules_of(place), training, seed=0, n_devices=n) for n in (1, 2))
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-4)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-4)
