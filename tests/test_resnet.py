"""ResNets of torchvision as backbones.  Untrained weights stand in for published ones, under names with their digest.

Tolerance 1 % of the spread where batches of other sizes are compared: float16 and the order of sums.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torchvision.models import resnet18
from toy_weights import publish

from amfir_lib.backbones import resnet as resnet_module
from amfir_lib.backbones import weights_files
from amfir_lib.backbones.efficientnet_lite import draw_flow
from amfir_lib.backbones.resnet import RESNETS, ResNet, flow_as_picture
from amfir_lib.errors import BackboneUnavailable, BadParameter, ShapeError, UnknownName
from amfir_lib.methods.base import seeded_init


@pytest.fixture(autouse=True)
def no_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_files, "download_folder", lambda: tmp_path / "downloads")


@pytest.fixture(scope="module")
def whole():
    """The network as torchvision has it, with its 1000 classes."""
    with seeded_init(0, "resnet"):
        return resnet18().eval()


@pytest.fixture
def published(tmp_path, monkeypatch, whole):
    file = publish(whole.state_dict(), tmp_path, "resnet18")
    monkeypatch.setitem(resnet_module.RESNETS, "resnet18", (resnet18, 512, (file,)))
    return tmp_path


def clips(modality="rgb", size=64, n=2):
    rng = np.random.default_rng(0)
    if modality == "flow":
        return rng.normal(0, 2, (n, 3, size, size, 2)).astype(np.float32)
    return rng.integers(0, 256, (n, 3, size, size, 3), dtype=np.uint8)


def test_features_are_those_of_torchvision_on_normalised_frames(published, whole):
    backbone = ResNet("resnet18", "rgb", weights_dir=published, input_size=64, n_patches=1)
    seen = []
    handle = whole.avgpool.register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(1)))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        whole(((torch.from_numpy(clips()[1] / 255.0).float() - mean) / std).movedim(-1, 1))
    handle.remove()
    found = backbone.features(clips())
    assert found.shape == (2, 3, 1, 512) and found.dtype == np.float16
    np.testing.assert_allclose(found[1, :, 0].astype(float), seen[0].numpy(), atol=0.01 * found.astype(float).std())


def test_patches_are_the_maxima_of_a_grid_of_4_x_4(published):
    backbone = ResNet("resnet18", "rgb", weights_dir=published, input_size=256)
    stream = backbone.trainable().eval()
    with torch.inference_mode():
        x = stream(torch.from_numpy(clips(size=256, n=1)))
        frame = torch.from_numpy(clips(size=256, n=1)[0, :1]).movedim(-1, 1) / 255.0
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        maps = stream.net((frame - mean) / std)[0]  # (512, 8, 8)
    assert x.shape == (1, 3, 16, 512)
    for patch in (0, 6, 15):
        row, column = divmod(patch, 4)
        cell = maps[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(x[0, 0, patch], cell.amax((-2, -1)), atol=1e-4)


def test_resnet50_has_2048_values_and_the_weights_of_the_published_numbers_first():
    backbone = ResNet("resnet50", "rgb", weights="random", input_size=64)
    assert backbone.features(clips(n=1)).shape == (1, 3, 16, 2048)
    assert [file.sha256 for file in RESNETS["resnet50"][2]] == ["0676ba61", "11ad3fa6"]


def test_flow_is_drawn_like_the_picture_of_the_other_backbones():
    flow = clips("flow") * 3
    expected = draw_flow(flow, picture="components", flow_range=8.0) / 255.0
    found = flow_as_picture(torch.from_numpy(flow), 8.0).numpy()
    np.testing.assert_allclose(found, expected, atol=0.5 / 255 + 1e-6)  # the other one rounds to 8 bits


def test_a_flow_stream_has_finite_features_of_its_own(published):
    values = ResNet("resnet18", "flow", weights_dir=published, input_size=64).features(clips("flow"))
    assert values.shape == (2, 3, 16, 512) and np.isfinite(values).all() and values.astype(float).std() > 0.01


def test_a_clip_has_the_same_features_in_any_batch_and_after_pickling(published):
    backbone = ResNet("resnet18", "rgb", weights_dir=published, input_size=64)
    there = pickle.loads(pickle.dumps(backbone))
    together = backbone.features(clips())
    np.testing.assert_array_equal(there.features(clips()), together)
    alone = there.features(clips()[1:]).astype(float)
    np.testing.assert_allclose(alone, together[1:].astype(float), atol=0.01 * together.astype(float).std())
    assert len(pickle.dumps(backbone)) < 5000  # the weights do not travel


def test_random_weights_are_said_and_have_a_name_and_a_digest_of_their_own(published):
    trained, random = (ResNet("resnet18", "rgb", weights=w, weights_dir=published) for w in ("pretrained", "random"))
    assert (trained.name, random.name) == ("resnet18", "resnet18-random") and trained.digest != random.digest
    assert trained.notes == () and "are random (untrained)" in random.notes[0]
    first, again = (ResNet("resnet18", "rgb", weights="random", input_size=64).features(clips()) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_digests_tell_settings_apart():
    settings = [
        {}, {"n_patches": 1}, {"patch_pooling": "mean"}, {"input_size": 112}, {"flow_range": 2.0},
    ]  # fmt: skip
    digests = {ResNet("resnet18", "flow", weights="random", **one).digest for one in settings}
    assert len(digests) == 5 and ResNet("resnet18", "rgb", weights="random").digest not in digests


def test_weights_that_are_not_there_name_file_digest_and_folder(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(weights_files.find_weights, "__kwdefaults__", {"weights_dir": None, "open_url": offline})
    with pytest.raises(BackboneUnavailable, match=r"weights of resnet50 .*resnet50-0676ba61\.pth.*begin.* 0676ba61"):
        ResNet("resnet50", "rgb", weights_dir=tmp_path)


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch, whole):
    state = whole.state_dict()
    del state["layer1.0.conv1.weight"]
    file = publish(state, tmp_path, "resnet18")
    monkeypatch.setitem(resnet_module.RESNETS, "resnet18", (resnet18, 512, (file,)))
    backbone = ResNet("resnet18", "rgb", weights_dir=tmp_path, input_size=64)
    with pytest.raises(BackboneUnavailable, match="does not fit the network"):
        backbone.features(clips())


def test_parameters_and_clips_that_do_not_fit_are_refused():
    with pytest.raises(UnknownName, match='did you mean "resnet50"'):
        ResNet("resnet5", "rgb")
    with pytest.raises(UnknownName, match="pooling of patches"):
        ResNet("resnet18", "rgb", patch_pooling="sum")
    with pytest.raises(BadParameter, match="n_patches = 4"):
        ResNet("resnet18", "rgb", n_patches=4)
    with pytest.raises(ShapeError, match=r"resnet18-random for flow needs float32 \[B, T, 224, 224, 2\]; got uint8"):
        ResNet("resnet18", "flow", weights="random").features(clips())
