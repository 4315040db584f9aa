"""From a notebook's parameters to data sets and the sizes of training and test.  All comparisons are exact."""

from __future__ import annotations

import numpy as np
import pytest
from toy_clips import ToyBackbone, write_class_folders

from amfir_lib.data import features
from amfir_lib.errors import BadParameter
from amfir_lib.study import materials
from amfir_lib.study.config import Config
from amfir_lib.study.runs import Material


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Seven classes with three clips each."""
    root = tmp_path_factory.mktemp("clips") / "seven"
    write_class_folders(root, n_classes=7)
    return root


def config_of(clips, tmp_path, **parameters):
    values = {"profile": "smoke", "dataset": "folder", "data_root": str(clips)} | parameters
    return Config.from_notebook(values, environ={"AMFIR_CACHE_DIR": str(tmp_path), "AMFIR_JOBS": "1"})


def test_parameters_of_a_notebook_reach_the_data_set(clips, tmp_path):
    config = config_of(clips, tmp_path, class_counts="4/2/1", appearance="depth")
    dataset = materials.open_dataset(config, "folder")
    assert dataset.modalities == ("depth", "flow")
    assert dataset.manifest.groupby("split")["label"].nunique().to_dict() == {"train": 4, "val": 2, "test": 1}


def test_an_argument_goes_before_the_parameter_of_the_notebook(clips, tmp_path):
    config = config_of(clips, tmp_path, appearance="depth")
    assert materials.open_dataset(config, "folder", appearance="infrared").modalities == ("infrared", "flow")


def test_sizes_come_from_the_profile_unless_the_notebook_gives_them(clips, tmp_path):
    config = config_of(clips, tmp_path, class_counts="3/2/2", n_way=2, n_query=1, train_steps=0)
    material = Material(materials.open_dataset(config, "folder"), {})
    settings = materials.training_of(config, material)
    assert (settings.n_way, settings.n_query, settings.val_n_way) == (2, 1, 0)
    assert settings.steps == config.profile.train_steps
    cells = materials.test_cells(config, material)
    assert [(cell.n_way, cell.n_shot, cell.n_query) for cell in cells] == [(2, 1, 1), (2, 2, 1)]


def test_validation_takes_fewer_ways_where_classes_are_few_and_says_so(clips, tmp_path, capsys):
    config = config_of(clips, tmp_path, class_counts="3/2/2", n_way=3)
    material = Material(materials.open_dataset(config, "folder"), {})
    assert materials.training_of(config, material).val_n_way == 2
    assert "selected on 2-way episodes" in capsys.readouterr().out


def test_one_validation_class_is_refused_because_it_selects_nothing(clips, tmp_path):
    config = config_of(clips, tmp_path, class_counts="4/1/2", n_way=2)
    with pytest.raises(BadParameter, match="1 validation classes; .* Give two or more"):
        materials.training_of(config, Material(materials.open_dataset(config, "folder"), {}))


def test_one_test_class_is_not_called_an_episode(clips, tmp_path):
    config = config_of(clips, tmp_path, class_counts="4/2/1", n_way=2)
    with pytest.raises(BadParameter, match="1 test classes but n_way is 2. Give more of the classes to the test"):
        materials.test_cells(config, Material(materials.open_dataset(config, "folder"), {}))


def test_more_ways_than_test_classes_name_the_largest_that_works(clips, tmp_path):
    config = config_of(clips, tmp_path, class_counts="3/2/2", n_way=3)
    with pytest.raises(BadParameter, match="2 test classes but n_way is 3.*n_way=2"):
        materials.test_cells(config, Material(materials.open_dataset(config, "folder"), {}))


def test_flow_of_a_folder_is_averaged_unless_the_notebook_says_otherwise(clips, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(materials, "open_backbones", lambda *_, **__: {})
    monkeypatch.setattr(materials, "extract_stores", lambda *_, **options: asked.append(options) or {})
    materials.prepare(config_of(clips, tmp_path), "folder")
    materials.prepare(config_of(clips, tmp_path, flow_algorithm="dis", flow_average=5), "folder")
    assert [(one["flow_algorithm"], one["flow_average"]) for one in asked] == [("farneback", 7), ("dis", 5)]


class OneAnswer(ToyBackbone):
    """Answers every clip alike, as broken weights do."""

    def features(self, clips):
        return np.ones_like(super().features(clips))


def test_features_that_hardly_vary_are_warned_of_before_the_rest_is_computed_and_once(
    clips, tmp_path, monkeypatch, capsys
):
    backbones = {"rgb": ToyBackbone("rgb"), "flow": OneAnswer("flow")}
    monkeypatch.setattr(materials, "open_backbones", lambda *_, **__: backbones)
    monkeypatch.setattr(features, "PROBE_CLIPS", 6)
    monkeypatch.setattr(features, "SHARD_CLIPS", 3)
    warned_after, extract = [], features.extract_shard

    def extract_and_note(shard):
        warned_after.append("hardly vary" in capsys.readouterr().out)
        extract(shard)

    monkeypatch.setattr(features, "extract_shard", extract_and_note)
    config = config_of(clips, tmp_path)
    materials.prepare(config, "folder")
    assert len(warned_after) == 7  # 21 clips in shards of three
    assert [place for place, warned in enumerate(warned_after) if warned] == [2]  # after two shards of both modalities
    assert "hardly vary" not in capsys.readouterr().out
    materials.prepare(config, "folder")
    said = capsys.readouterr().out
    assert said.count("The flow features of seven from toy hardly vary") == 1 and "rgb features" not in said


def test_folds_of_a_folder_share_its_name_and_each_class_is_tested_once(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(materials, "open_backbones", lambda *_, **__: {})
    monkeypatch.setattr(materials, "extract_stores", lambda *_, **__: {})
    found = materials.prepare_all(config_of(clips, tmp_path, class_folds=3, class_fold=-1), "folder")
    tested = [set(one.dataset.manifest.query("split == 'test'")["label"]) for one in found]
    assert {one.dataset.name for one in found} == {"seven"} and len({one.dataset.digest for one in found}) == 3
    assert sum(map(len, tested)) == len(set().union(*tested)) == 7
    (only,) = materials.prepare_all(config_of(clips, tmp_path, class_folds=3, class_fold=1), "folder")
    assert set(only.dataset.manifest.query("split == 'test'")["label"]) == tested[1]
