"""Training of compact nets: pretraining on a corpus of a few clips, adaptation to a few clips of moving textures.

All comparisons are exact, but for a shift in float32.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from toy_clips import toy_dataset

from amfir_lib.backbones import shipped, training
from amfir_lib.backbones.compact import CompactBackbone, CompactNet
from amfir_lib.backbones.frozen import KINDS
from amfir_lib.backbones.training import Adaptation, Pretraining, adapt, pretrain, pretrained_backbones
from amfir_lib.data.synthetic import generate
from amfir_lib.storage import digest_of_array, read_json

CORPUS = Pretraining(n_classes=4, clips_per_class=4, epochs=3, batch_size=6)
TINY = Adaptation(epochs=3, batch_size=5, n_views=2, lr=3e-3)
FLOW = {"flow_algorithm": "dis", "flow_average": 1}


def digests(backbones):
    return {stream: backbone.digest for stream, backbone in backbones.items()}


def digest(weights):
    return digest_of_array(*(weights[name].numpy() for name in sorted(weights)))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A cache, and the nets of both streams."""
    folder = tmp_path_factory.mktemp("pretraining")
    return folder, pretrained_backbones(CORPUS, cache_dir=folder)


@pytest.fixture(scope="module")
def corpus(pretrained):
    made = generate.make_corpus(cache_dir=pretrained[0], n_classes=4, clips_per_class=4)
    return training.read_corpus(made, CORPUS, n_jobs=1)


@pytest.fixture(scope="module")
def first():
    nets = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(3)
            nets[stream] = CompactBackbone(stream, CompactNet(channels).state_dict())
    return nets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Ten training clips of two classes; the files of the validation and test clips do not exist."""
    known = toy_dataset(tmp_path_factory.mktemp("clips"))
    others = known.manifest.head(4).assign(
        clip_id=[f"other{i}" for i in range(4)],
        path=[f"absent{i}.avi" for i in range(4)],
        label=["class2", "class2", "class3", "class3"],
        split=["val", "val", "test", "test"],
    )
    return replace(known, manifest=pd.concat([known.manifest, others], ignore_index=True))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, dataset, first):
    """A cache, and the adapted nets: no clip of a validation or test class was opened, for there are none."""
    folder = tmp_path_factory.mktemp("adaptation")
    return folder, {s: adapt(net, dataset, TINY, cache_dir=folder, flow=FLOW) for s, net in first.items()}


# pretraining


def test_the_loss_falls_and_each_net_has_reports_of_its_own(pretrained, corpus):
    history = training.pretraining_history(CORPUS, cache_dir=pretrained[0])
    for _, rows in history.groupby("modality"):
        assert rows["epoch"].tolist() == [1, 2, 3] and rows["loss"].iloc[-1] < rows["loss"].iloc[0]
    assert history["scene_accuracy"].count() == history["action_accuracy"].count() == 3
    clips, labels = corpus
    assert clips["rgb"].shape == (16, 8, 64, 64, 3) and labels["joints"].shape == (16, 8, 15, 2)
    assert torch.bincount(labels["scene"]).tolist() == [4] * 4
    assert labels["action"].tolist() == np.repeat(range(4), 4).tolist()


def test_pretrained_weights_are_the_same_for_two_workers(pretrained, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "make_corpus", lambda **options: None)  # rendering and decoding by two workers
    monkeypatch.setattr(training, "read_corpus", lambda *arguments, **options: corpus)  # have tests of their own
    again = pretrained_backbones(CORPUS, cache_dir=tmp_path, n_jobs=2)
    assert digests(again) == digests(pretrained[1]) and again["rgb"].digest != again["flow"].digest


def test_only_the_stream_that_is_missing_is_read_and_trained(pretrained, monkeypatch):
    folder, before = pretrained
    next((folder / "backbones").glob("compact-flow-*.json")).unlink()  # an interruption before the last file
    assert digests(pretrained_backbones(CORPUS, cache_dir=folder)) == digests(before)
    for name in ("make_corpus", "read_corpus", "map_parallel"):
        monkeypatch.setattr(training, name, None)  # nothing is rendered, decoded or trained the second time
    assert digests(pretrained_backbones(CORPUS, cache_dir=folder)) == digests(before)
    for path in (folder / "backbones").glob("*.json"):
        assert read_json(path)["settings"]["n_classes"] == 4 and path.with_suffix(".safetensors").exists()


def test_another_setting_corpus_or_stream_gives_another_file(monkeypatch, tmp_path):
    paths = {*training._pretrained_paths(CORPUS, tmp_path).values()}
    for field in fields(Pretraining):
        value = "farneback" if field.name == "flow_algorithm" else getattr(CORPUS, field.name) + 1
        paths |= {training._pretrained_paths(replace(CORPUS, **{field.name: value}), tmp_path)["rgb"]}
    benchmarks = generate.synthetic.benchmarks
    monkeypatch.setattr(benchmarks, "CORPUS_CHARACTER", replace(benchmarks.CORPUS_CHARACTER, jitter=0.2))
    paths |= {training._pretrained_paths(CORPUS, tmp_path)["rgb"]}
    assert len(paths) == 2 + len(fields(Pretraining)) + 1


def test_the_nets_in_the_package_are_those_of_todays_settings_and_tell_scenes_and_actions_apart(corpus, first):
    clips, labels = corpus
    for stream, backbone in shipped.shipped_backbones().items():
        with safe_open(shipped.FILES[stream], "pt") as file:
            assert json.loads(file.metadata()["settings"]) == asdict(Pretraining())
        target = labels["scene" if stream == "rgb" else "action"].numpy()
        right = {}
        for name, net in (("shipped", backbone), ("untrained", first[stream])):
            x = net.features(clips[stream].astype(KINDS[stream][0])).astype(np.float64).mean(2).reshape(len(target), -1)
            x = (x - x.mean(0)) / (x.std(0) + 1e-6)
            away = np.linalg.norm(x[:, None] - x, axis=-1) + np.diag(np.full(len(x), np.inf))
            right[name] = np.mean(target[away.argmin(1)] == target)
        assert right["shipped"] > right["untrained"] and right["shipped"] > 0.5, (stream, right)


def test_shipping_writes_what_was_trained_in_16_bits(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "Pretraining", lambda: CORPUS)
    monkeypatch.setattr(shipped, "FILES", {stream: tmp_path / f"{stream}.safetensors" for stream in shipped.FILES})
    shipped.ship(pretrained[0])
    for stream, backbone in shipped.shipped_backbones().items():
        trained = pretrained[1][stream].net.state_dict()
        for name, values in backbone.net.state_dict().items():
            torch.testing.assert_close(values, trained[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_held_out_clips_are_watched_but_not_learnt_from(corpus, stream):
    clips, labels = corpus[0][stream], corpus[1]
    settings, before = replace(CORPUS, epochs=1), torch.get_rng_state()
    weights, history = pretrain((stream, clips), labels=labels, settings=settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert labels["held_out"].numpy().reshape(4, 4).tolist() == [[False, False, False, True]] * 4
    other = clips.copy()
    other[labels["held_out"].numpy()] = 0
    weights_without, history_without = pretrain((stream, other), labels=labels, settings=settings)
    assert digest(weights_without) == digest(weights) and history[0]["loss"] == history_without[0]["loss"]
    assert digest(pretrain((stream, clips), labels=labels, settings=replace(settings, seed=1))[0]) != digest(weights)


def test_a_shift_moves_the_picture_and_the_joints_alike():
    rng = np.random.default_rng(0)
    points = rng.integers(20, 44, (5, 2))
    clips = np.zeros((5, 2, 64, 64, 3), np.uint8)
    for clip, (x, y) in zip(clips, points, strict=True):
        clip[:, y, x] = 255
    shifted, by = training._shifted(clips, 6, rng)
    new = np.rint((points / 64 - by.numpy()) * 64).astype(int)
    assert (new != points).any()
    for clip, (x, y) in zip(shifted, new, strict=True):
        assert (clip[:, y, x] == 255).all() and clip.sum() == 2 * 3 * 255


# adaptation


def test_adaptation_lowers_the_loss_of_both_streams_and_is_noted(adapted):
    folder, backbones = adapted
    for path in (folder / "backbones").glob("*.json"):
        history = read_json(path)["history"]
        assert history[-1]["loss"] < history[0]["loss"]
    assert (backbones["rgb"].blur, backbones["flow"].blur) == (0, TINY.smoothing)
    assert backbones["rgb"].notes == (training.ADAPTED_NOTE,)


def test_other_test_clips_give_the_same_backbone_and_other_base_classes_another(
    adapted, dataset, first, tmp_path, monkeypatch
):
    train = dataset.manifest.query("split == 'train'").reset_index(drop=True)
    moved = train.assign(split=["val" if label == "class1" else "train" for label in train["label"]])
    other = adapt(first["flow"], replace(dataset, manifest=moved), TINY, cache_dir=tmp_path, flow=FLOW)
    assert other.digest != adapted[1]["flow"].digest and other.name != adapted[1]["flow"].name
    for name in ("streams", "fine_tune", "map_parallel"):
        monkeypatch.setattr(training, name, lambda *_, **__: pytest.fail("computed again"))
    again = adapt(first["flow"], replace(dataset, manifest=train), TINY, cache_dir=adapted[0], flow=FLOW)
    assert again.digest == adapted[1]["flow"].digest


def test_adapted_weights_do_not_depend_on_the_workers_but_on_the_seed(adapted, dataset, first, tmp_path):
    before = torch.get_rng_state()
    options = {"cache_dir": tmp_path, "flow": FLOW}
    assert adapt(first["flow"], dataset, TINY, n_jobs=2, **options).digest == adapted[1]["flow"].digest
    other = adapt(first["flow"], dataset, replace(TINY, seed=1), **options)
    assert other.digest != adapted[1]["flow"].digest and torch.equal(torch.get_rng_state(), before)
    same = adapt(first["flow"], dataset, replace(TINY, epochs=0), **options)
    assert digest(same.net.state_dict()) == digest(first["flow"].net.state_dict())


def test_the_way_flow_is_computed_belongs_to_the_key_of_the_motion_stream_alone(dataset, first, tmp_path):
    def path(stream, **flow):
        return training._adapted_path(first[stream], dataset, TINY, FLOW | flow, tmp_path)

    assert path("flow") != path("flow", flow_average=3) and path("rgb") == path("rgb", flow_average=3)


def test_no_class_gives_more_clips_than_allowed_and_each_view_is_another_sampling(dataset):
    views, labels = training._read_views(dataset, replace(TINY, clips_per_class=3), FLOW, ["rgb"], n_jobs=1)
    assert views["rgb"].shape == (2, 6, 8, 64, 64, 3) and torch.bincount(labels["class"]).tolist() == [3, 3]
    assert not np.array_equal(*views["rgb"])


def test_a_clip_is_moved_alike_in_all_its_frames_and_its_edge_is_repeated():
    frame = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 2, 16, 16)).astype(np.float32))
    result = training.moved(frame.repeat(3, 4, 1, 1, 1), shift=3.0, scale=0.2, rng=np.random.default_rng(1))
    assert torch.equal(result, result[:, :1].expand_as(result)) and not torch.equal(result[0], result[1])

    class Draws:
        def uniform(self, low, high, size):
            return np.full(size, 1.0) * (1, 0) if isinstance(size, tuple) else np.zeros(size)

    picture = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    result = training.moved(picture, shift=1.0, scale=0.0, rng=Draws())
    expected = torch.cat((picture[..., 1:], picture[..., -1:]), -1)  # one pixel along x, to the left
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
