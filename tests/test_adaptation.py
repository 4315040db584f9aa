"""Adaptation of compact backbones to the base classes of a data set, on a few clips of moving textures.

All comparisons are exact, but for one loop reference in float32 (tolerance 1e-6: other order of summation).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from toy_clips import toy_dataset

from amfir_lib.backbones import adaptation
from amfir_lib.backbones.adaptation import AdaptedBackbone, adapt, adaptation_history
from amfir_lib.backbones.blurred import BlurredBackbone, blurred
from amfir_lib.backbones.compact import CompactBackbone, CompactNet
from amfir_lib.backbones.fine_tuning import Adaptation, moved
from amfir_lib.data.features import store_path
from amfir_lib.errors import BadParameter
from amfir_lib.storage import digest_of_array

TINY = Adaptation(epochs=3, batch_size=5, n_views=2, lr=3e-3)
FLOW = {"flow_algorithm": "dis", "flow_average": 1}


def first_weights(channels):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return CompactNet(channels).state_dict()


@pytest.fixture(scope="module")
def pretrained():
    return {"rgb": CompactBackbone("rgb", first_weights(3)), "flow": CompactBackbone("flow", first_weights(2))}


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
def cache(tmp_path_factory, dataset, pretrained):
    folder = tmp_path_factory.mktemp("adaptation")
    adapt(pretrained, dataset, TINY, cache_dir=folder, flow=FLOW)
    return folder


def digests(backbones):
    return {stream: backbone.digest for stream, backbone in backbones.items()}


def digest_of_weights(net):
    state = net.state_dict()
    return digest_of_array(*(state[name].numpy() for name in sorted(state)))


def test_the_loss_falls_in_both_streams(cache, dataset, pretrained):
    for backbone in pretrained.values():
        history = pd.DataFrame(adaptation_history(backbone, dataset, TINY, cache_dir=cache, flow=FLOW))
        assert history["epoch"].tolist() == [1, 2, 3]
        assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_validation_and_test_clips_are_never_opened(cache, dataset, pretrained):
    adapted = adapt(pretrained, dataset, TINY, cache_dir=cache, flow=FLOW)  # their files do not exist
    assert digest_of_weights(adapted["flow"].net) != digest_of_weights(pretrained["flow"].net)


def test_other_test_clips_give_the_same_backbone_and_another_base_class_gives_another(cache, dataset, pretrained):
    expected = digests(adapt(pretrained, dataset, TINY, cache_dir=cache, flow=FLOW))
    train = dataset.manifest.query("split == 'train'").reset_index(drop=True)
    assert digests(adapt(pretrained, replace(dataset, manifest=train), TINY, cache_dir=cache, flow=FLOW)) == expected
    moved_class = train.assign(split=["val" if label == "class1" else "train" for label in train["label"]])
    other = adapt(
        {"flow": pretrained["flow"]}, replace(dataset, manifest=moved_class), TINY, cache_dir=cache, flow=FLOW
    )
    assert other["flow"].digest != expected["flow"]


def test_the_same_seed_gives_the_same_weights_with_one_worker_and_with_two(
    cache, dataset, pretrained, tmp_path, monkeypatch
):
    expected = digests(adapt(pretrained, dataset, TINY, cache_dir=cache, flow=FLOW))
    read = partial(adaptation._read_views, n_jobs=1)  # decoding by two workers has tests of its own
    monkeypatch.setattr(adaptation, "_read_views", lambda *arguments, n_jobs: read(*arguments))
    assert digests(adapt(pretrained, dataset, TINY, cache_dir=tmp_path, flow=FLOW, n_jobs=2)) == expected
    other = adapt({"flow": pretrained["flow"]}, dataset, replace(TINY, seed=1), cache_dir=tmp_path, flow=FLOW)
    assert other["flow"].digest != expected["flow"]


def test_adapted_weights_are_found_the_second_time_and_nothing_is_decoded(cache, dataset, pretrained, monkeypatch):
    expected = digests(adapt(pretrained, dataset, TINY, cache_dir=cache, flow=FLOW))
    for name in ("streams", "fine_tune", "map_parallel"):
        monkeypatch.setattr(adaptation, name, None)
    assert digests(adapt(pretrained, dataset, TINY, cache_dir=cache, flow=FLOW)) == expected


def test_the_way_flow_is_computed_belongs_to_the_key_of_the_motion_stream_alone(cache, dataset, pretrained):
    def path(stream, **flow):
        return adaptation._weights_path(pretrained[stream], dataset, TINY, FLOW | flow, cache)

    assert path("flow") != path("flow", flow_average=3)
    assert path("rgb") == path("rgb", flow_average=3)


def test_two_adaptations_keep_their_features_in_two_files(cache, dataset, pretrained):
    one, other = (AdaptedBackbone("flow", first_weights(2), times=times) for times in (1, 2))
    paths = {store_path(dataset, "flow", backbone, cache_dir=cache) for backbone in (one, other)}
    assert len(paths) == 2 and all("compact_adapted" in path.name for path in paths)


def test_without_epochs_the_weights_stay_as_they_are(dataset, pretrained, tmp_path):
    settings = replace(TINY, epochs=0, n_views=1)
    adapted = adapt({"flow": pretrained["flow"]}, dataset, settings, cache_dir=tmp_path, flow=FLOW)["flow"]
    assert digest_of_weights(adapted.net) == digest_of_weights(pretrained["flow"].net)


def test_no_class_gives_more_clips_than_allowed_and_each_view_is_another_sampling(dataset):
    settings = replace(TINY, clips_per_class=3)
    views, labels = adaptation._read_views(
        dataset, {"rgb": 64}, settings, FLOW | {"flow_size": 64, "flow_bound": 20.0}, n_jobs=1
    )
    assert views["rgb"].shape == (2, 6, 8, 64, 64, 3) and np.bincount(labels).tolist() == [3, 3]
    assert not np.array_equal(*views["rgb"])


def test_only_the_motion_stream_is_blurred(cache, dataset, pretrained):
    adapted = adapt(pretrained, dataset, TINY, cache_dir=cache, flow=FLOW)
    assert (adapted["rgb"].times, adapted["flow"].times) == (0, TINY.smoothing)
    assert adapted["rgb"].notes == adapted["flow"].notes == (adaptation.NOTE,)


def test_features_are_those_of_the_net_blurred_in_time():
    clips = np.random.default_rng(0).normal(size=(2, 8, 64, 64, 2)).astype(np.float32)
    plain = CompactBackbone("flow", first_weights(2)).features(clips)
    found = BlurredBackbone("flow", first_weights(2), times=1).features(clips)
    assert found.shape == (2, 8, 16, 96) and found.dtype == np.float16
    assert np.array_equal(found, blurred(plain.astype(np.float32), times=1).astype(np.float16))
    assert np.array_equal(BlurredBackbone("flow", first_weights(2), times=0).features(clips), plain)


def test_blur_matches_a_loop_over_segments():
    features = np.random.default_rng(0).normal(size=(3, 5, 2, 4)).astype(np.float32)
    expected = np.empty_like(features)
    for t in range(5):
        before, after = features[:, max(t - 1, 0)], features[:, min(t + 1, 4)]
        expected[:, t] = 0.25 * before + 0.5 * features[:, t] + 0.25 * after
    np.testing.assert_allclose(blurred(features, times=1), expected, atol=1e-6)
    np.testing.assert_allclose(blurred(features, times=2), blurred(expected, times=1), atol=1e-6)
    np.testing.assert_array_equal(blurred(features, times=0), features)


def test_a_clip_is_moved_alike_in_all_its_frames():
    frame = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 2, 16, 16)).astype(np.float32))
    result = moved(frame.repeat(3, 4, 1, 1, 1), shift=3.0, scale=0.2, rng=np.random.default_rng(1))
    assert torch.equal(result, result[:, :1].expand_as(result))  # frames alike
    assert not torch.equal(result[0], result[1])  # clips differ


def test_a_shift_of_whole_pixels_moves_the_picture_and_repeats_its_edge():
    class Draws:
        def uniform(self, low, high, size):
            return np.full(size, 1.0) * (1, 0) if isinstance(size, tuple) else np.zeros(size)

    picture = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    result = moved(picture, shift=1.0, scale=0.0, rng=Draws())
    expected = torch.cat((picture[..., 1:], picture[..., -1:]), -1)  # one pixel along x, to the left
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_the_callers_random_numbers_are_left_alone(dataset, pretrained, tmp_path):
    before = torch.get_rng_state()
    adapt({"flow": pretrained["flow"]}, dataset, replace(TINY, epochs=1), cache_dir=tmp_path, flow=FLOW)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "clips_per_class", "n_views", "smoothing"])
def test_a_setting_out_of_range_is_named(name):
    with pytest.raises(BadParameter, match=f"{name} is -1, but must be at least"):
        Adaptation(**{name: -1})
