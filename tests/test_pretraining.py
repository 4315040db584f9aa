"""Pretraining of the compact backbones on a corpus of a few clips.  All comparisons are exact."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from amfir_lib.backbones import pretraining
from amfir_lib.backbones.compact import CompactBackbone
from amfir_lib.backbones.pretraining import Pretraining, pretrained_backbones, pretraining_history, train_backbone
from amfir_lib.data.synthetic import generate
from amfir_lib.storage import digest_of_array

TINY = Pretraining(n_classes=4, clips_per_class=4, epochs=3, batch_size=6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining")
    pretrained_backbones(TINY, cache_dir=folder)
    return folder


@pytest.fixture(scope="module")
def inputs(cache):
    corpus = generate.make_corpus(cache_dir=cache, n_classes=4, clips_per_class=4)
    return pretraining.read_inputs(corpus, TINY, n_jobs=1)


def digests(backbones):
    return {modality: backbone.digest for modality, backbone in backbones.items()}


def digest_of_weights(weights):
    return digest_of_array(*(weights[name].numpy() for name in sorted(weights)))


def test_weights_are_the_same_for_one_and_two_workers(cache, inputs, tmp_path, monkeypatch):
    first = digests(pretrained_backbones(TINY, cache_dir=cache))
    monkeypatch.setattr(pretraining, "make_corpus", lambda **options: None)  # rendering and decoding by two workers
    monkeypatch.setattr(pretraining, "read_inputs", lambda *arguments, **options: inputs)  # have tests of their own
    assert digests(pretrained_backbones(TINY, cache_dir=tmp_path, n_jobs=2)) == first
    assert first["rgb"] != first["flow"]


def test_the_loss_falls(cache):
    history = pretraining_history(TINY, cache_dir=cache)
    for _, own in history.groupby("modality"):
        assert own["epoch"].tolist() == [1, 2, 3] and own["loss"].iloc[-1] < own["loss"].iloc[0]
    assert history["scene_accuracy"].count() == history["action_accuracy"].count() == 3  # each net its own reports


def test_trained_weights_are_found_the_second_time_and_nothing_is_rendered_or_decoded(cache, monkeypatch):
    expected = digests(pretrained_backbones(TINY, cache_dir=cache))
    for name in ("make_corpus", "read_inputs", "train_backbone", "map_parallel"):
        monkeypatch.setattr(pretraining, name, None)
    assert digests(pretrained_backbones(TINY, cache_dir=cache)) == expected


def test_only_the_stream_that_is_missing_is_trained(cache, monkeypatch):
    expected = digests(pretrained_backbones(TINY, cache_dir=cache))
    next((cache / "backbones").glob("compact-flow-*.json")).unlink()  # an interruption before the last file
    trained = []
    monkeypatch.setattr(
        pretraining, "train_backbone", lambda *arguments: trained.append(arguments[2]) or train_backbone(*arguments)
    )
    assert digests(pretrained_backbones(TINY, cache_dir=cache)) == expected and trained == ["flow"]


def test_another_setting_corpus_or_stream_gives_another_file(monkeypatch, tmp_path):
    paths = {pretraining._weights_path(TINY, modality, tmp_path) for modality in ("rgb", "flow")}
    for one in fields(Pretraining):
        value = "farneback" if one.name == "flow_algorithm" else getattr(TINY, one.name) + 1
        paths.add(pretraining._weights_path(replace(TINY, **{one.name: value}), "rgb", tmp_path))
    benchmarks = generate.synthetic.benchmarks
    monkeypatch.setattr(benchmarks, "CORPUS_CHARACTER", replace(benchmarks.CORPUS_CHARACTER, jitter=0.2))
    paths.add(pretraining._weights_path(TINY, "rgb", tmp_path))
    assert len(paths) == 2 + len(fields(Pretraining)) + 1


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_held_out_clips_are_watched_but_not_learnt_from(inputs, modality):
    clips, labels = inputs[0][modality], inputs[1]
    settings = replace(TINY, epochs=1)
    before = torch.get_rng_state()
    weights, history = train_backbone(clips, labels, modality, settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert labels["held_out"].sum() == 4 and labels["held_out"].numpy().reshape(4, 4)[:, -1].all()
    other = clips.copy()
    other[labels["held_out"].numpy()] = 0
    weights_without, history_without = train_backbone(other, labels, modality, settings)
    assert digest_of_weights(weights_without) == digest_of_weights(weights)
    assert history[0]["loss"] == history_without[0]["loss"]
    other_seed, _ = train_backbone(clips, labels, modality, replace(settings, seed=1))
    assert digest_of_weights(other_seed) != digest_of_weights(weights)


def test_inputs_are_the_clips_at_the_sampled_instants_with_their_labels(inputs):
    clips, labels = inputs
    assert clips["rgb"].shape == (16, 8, 64, 64, 3) and clips["rgb"].dtype == np.uint8
    assert clips["flow"].shape == (16, 8, 64, 64, 2) and clips["flow"].dtype == np.float16
    assert labels["joints"].shape == (16, 8, 15, 2)
    assert labels["action"].tolist() == np.repeat(range(4), 4).tolist()
    assert torch.bincount(labels["scene"]).tolist() == [4] * 4


def test_a_shift_moves_the_picture_and_the_joints_alike():
    rng = np.random.default_rng(0)
    points = rng.integers(20, 44, (5, 2))
    clips = np.zeros((5, 2, 64, 64, 3), np.uint8)
    for clip, (x, y) in zip(clips, points, strict=True):
        clip[:, y, x] = 255
    moved, by = pretraining._shifted(clips, 6, rng)
    new = np.rint((points / 64 - by.numpy()) * 64).astype(int)
    assert (new != points).any()
    for clip, (x, y) in zip(moved, new, strict=True):
        assert (clip[:, y, x] == 255).all() and clip.sum() == 2 * 3 * 255


def test_the_record_beside_the_weights_holds_the_settings(cache):
    for path in (cache / "backbones").glob("*.json"):
        assert json.loads(path.read_text())["settings"]["n_classes"] == 4
        assert path.with_suffix(".safetensors").exists()


def test_pretrained_backbones_read_their_stream(cache):
    backbones = pretrained_backbones(TINY, cache_dir=cache)
    assert {m: (type(b), b.modality) for m, b in backbones.items()} == {
        "rgb": (CompactBackbone, "rgb"), "flow": (CompactBackbone, "flow"),
    }  # fmt: skip
