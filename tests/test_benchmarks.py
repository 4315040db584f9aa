"""The five real benchmarks from miniature copies, through to features.  All comparisons are exact."""

from __future__ import annotations

import shutil
from dataclasses import replace

import miniatures
import numpy as np
import pandas as pd
import pytest
from toy_clips import ToyBackbone
from toy_tables import QUICK

from amfir_lib.backbones.compact import CompactBackbone, CompactNet
from amfir_lib.data import overview
from amfir_lib.data.benchmarks import BENCHMARKS, REAL_NAMES, published_class_sizes, published_videos
from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.class_names import class_key, keys_of, nearest_names
from amfir_lib.data.clip_names import group_of
from amfir_lib.data.features import extract_stores
from amfir_lib.data.manifest import SPLITS
from amfir_lib.errors import BadParameter, DataNotFound, ManifestError, TooFewVideos, UnknownParameter
from amfir_lib.methods.base import seeded_init
from amfir_lib.storage import read_json
from amfir_lib.study.config import REAL_BENCHMARKS, Config
from amfir_lib.study.materials import open_dataset
from amfir_lib.study.runs import Material, Run, TestCell, run_all

MAKERS = {
    "kinetics": ("kinetics100", miniatures.kinetics),
    "ssv2": ("ssv2_small", miniatures.ssv2),
    "hmdb51": ("hmdb51", miniatures.hmdb51),
    "ucf101": ("ucf101", miniatures.ucf101),
    "frame_folders": ("kinetics100", miniatures.frame_folders),
}


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """Miniature -> its folder and what its maker returns."""
    base = tmp_path_factory.mktemp("miniatures")
    return {key: (base / key, make(base / key)) for key, (_, make) in MAKERS.items()}


@pytest.fixture
def copy_of(pristine, tmp_path):
    return lambda key: shutil.copytree(pristine[key][0], tmp_path / key)


def load(name, root, cache, **options):
    return load_dataset(name, cache_dir=cache, data_root=root, **({"class_counts": "2/2/2", "min_found": 0} | options))


def random_weights(stream):
    with seeded_init(0, stream):
        net = CompactNet(2 if stream == "flow" else 3)
    return {name: values.clone() for name, values in net.state_dict().items()}


def report_of(cache):
    (file,) = cache.glob("folders/*/preparation_report.json")
    return read_json(file)


# ---------------------------------------------------------------------------------------------- what is published


def test_published_counts_add_up_to_those_of_the_papers():
    sizes = {name: tuple(published_videos(name).values()) for name in REAL_NAMES}
    assert sizes == {
        "kinetics100": (6400, 1200, 2400), "ssv2_small": (6400, 1200, 2400), "ssv2_full": (67013, 1926, 2857),
        "hmdb51": (4280, 1194, 1292), "ucf101": (9154, 1421, 2745),
    }  # fmt: skip
    for name in ("kinetics100", "ssv2_small", "hmdb51", "ucf101"):
        split_of, of_class = BENCHMARKS[name].split.split_of, published_class_sizes(name)
        sums = {split: sum(of_class[label] for label in split_of if split_of[label] == split) for split in SPLITS}
        assert sums == published_videos(name)
    assert REAL_BENCHMARKS == REAL_NAMES


def test_class_names_are_compared_without_case_blanks_and_punctuation():
    assert class_key("Playing_Ice-Hockey") == class_key("playing ice hockey")
    assert class_key("Pretending to put [something] into [something]") == class_key(
        "Pretending to put something into something"
    )
    assert class_key("HandStandPushups") == class_key("HandstandPushups")
    assert nearest_names("busking", ["bus king 2", "Busking_street", "walk"])[0] in ("bus king 2", "Busking_street")
    for benchmark in BENCHMARKS.values():
        assert len(keys_of(benchmark.split.split_of)) == len(benchmark.split.split_of)


# ---------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("key", "n_clips", "layout"),
    [
        ("kinetics", 24, "18 .mp4 files and 6 .mkv files, in class folders"),
        ("ssv2", 24, "24 .webm files, flat, without class folders; labels from labels/train.json, labels/validat"),
        ("hmdb51", 36, "36 .avi files, in class folders"),
        ("ucf101", 36, "36 .avi files, in class folders"),
        ("frame_folders", 18, "18 folders of frames, in class folders"),
    ],
)
def test_every_layout_is_recognised_printed_and_read_through_to_features(
    pristine, tmp_path, capsys, key, n_clips, layout
):
    name = MAKERS[key][0]
    dataset = load(name, pristine[key][0], tmp_path)
    assert layout in capsys.readouterr().out
    assert dataset.name == name and len(dataset) == n_clips
    assert dataset.flip is (not name.startswith("ssv2"))
    expected = miniatures.some_classes(name, (2, 2, 2))
    assert {split: dataset.classes(split) for split in SPLITS} == {s: tuple(sorted(c)) for s, c in expected.items()}
    stores = extract_stores(
        dataset, {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("flow")}, cache_dir=tmp_path, flow_size=32
    )
    assert stores["rgb"].features.shape == (n_clips, 8, 4, 3)
    assert np.ptp(stores["flow"].features, axis=0).max() > 0


def test_files_that_lie_flat_tell_their_class_by_name(tmp_path, capsys):
    miniatures.ucf101(tmp_path / "ucf", (1, 1, 1), flat=True)
    dataset = load("ucf101", tmp_path / "ucf", tmp_path / "c", class_counts="1/1/1")
    assert len(dataset) == 18 and "flat, without class folders" in capsys.readouterr().out
    miniatures.hmdb51(tmp_path / "hmdb", (1, 1, 1))
    for file in (tmp_path / "hmdb").glob("*/*.avi"):
        file.rename(tmp_path / "hmdb" / file.name)
    assert set(load("hmdb51", tmp_path / "hmdb", tmp_path / "c", class_counts="1/1/1").manifest["label"]) == {
        "brush_hair", "cartwheel", "fencing",
    }  # fmt: skip


def test_groups_are_films_source_videos_and_youtube_ids(pristine, tmp_path):
    ucf = load("ucf101", pristine["ucf101"][0], tmp_path).manifest
    assert set(ucf.loc[ucf["label"] == "Archery", "group"]) == {"Archery_g01", "Archery_g02", "Archery_g03"}
    hmdb = load("hmdb51", pristine["hmdb51"][0], tmp_path).manifest
    assert set(hmdb["group"]) == {"a_film_0!", "a_film_1!", "a_film_2!"}  # one film in several classes is one group
    kinetics = load("kinetics100", pristine["kinetics"][0], tmp_path).manifest
    assert kinetics["group"].iloc[0] == "-0001_aBcDe" and kinetics["group"].is_unique
    assert load("ssv2_small", pristine["ssv2"][0], tmp_path).manifest["group"].is_unique
    assert group_of("hmdb51", "kick_ball", "Two_Towers_1_kick_ball_f_cm_np2_ri_goo_10") == "two_towers"
    assert group_of("hmdb51", "eat", "renamed by hand") == "renamed by hand"
    assert group_of("kinetics100", "busking", "6Z267m0nKuo") == "6Z267m0nKuo"


def test_loading_does_not_depend_on_workers_or_on_earlier_looks(pristine, tmp_path):
    digests = {load("hmdb51", pristine["hmdb51"][0], tmp_path / str(n), n_jobs=n).digest for n in (1, 2, 1)}
    assert len(digests) == 1


@pytest.mark.parametrize("key", MAKERS)
def test_a_method_learns_from_and_is_tested_on_every_miniature(pristine, tmp_path, key):
    dataset = load(MAKERS[key][0], pristine[key][0], tmp_path)
    backbones = {stream: CompactBackbone(stream, random_weights(stream)) for stream in ("rgb", "flow")}
    stores = extract_stores(dataset, backbones, cache_dir=tmp_path, flow_size=32)
    training = replace(QUICK, n_way=2, shots=(1,), n_query=1, steps=2, n_val_episodes=4, val_n_way=2)
    run = Run(Material(dataset, stores), "amfir", {"width": 4}, training)
    cell = TestCell(n_way=2, n_shot=1, n_query=1, n_episodes=10)
    (result,) = run_all([run], [cell], cache_dir=tmp_path / "runs")
    assert result.tests[cell].accuracy.shape == (10,)


# ---------------------------------------------------------------------------------------------- which videos


def test_a_video_list_chooses_the_videos_and_names_those_that_are_missing(copy_of, pristine, tmp_path, capsys):
    root = copy_of("kinetics")
    lines = pristine["kinetics"][1]
    gone = next(root.rglob(f"{lines[0].split('/')[1]}.*"))
    gone.unlink()
    renamed = next(root.rglob(f"{lines[5].split('/')[1]}.*"))
    renamed.rename(renamed.with_name(lines[5].split("/")[1][:11] + renamed.suffix))  # only the YouTube id is left
    (root / "video_list.txt").write_text("# a comment\n\n" + "\n".join(lines[:3] + lines[4:]) + "\n")
    dataset = load("kinetics100", root, tmp_path / "c", class_counts=None, video_list=root / "video_list.txt")
    assert len(dataset) == 22  # 24 less one that is gone and one that is not listed
    report = report_of(tmp_path / "c")
    assert report["missing"] == [lines[0]]
    assert "published: 6400/1200/2400" in report["selection"]
    assert "not the published split: its video list has 7/8/8 videos" in dataset.caption
    assert "1 missing" in capsys.readouterr().out


def test_lists_of_both_formats_choose_the_same_videos(pristine, tmp_path):
    root, lines = pristine["kinetics"]
    split_of = BENCHMARKS["kinetics100"].split.split_of
    ids = {label: str(number) for number, label in enumerate(split_of)}
    other = []
    for line in lines:
        label, name = line.split("/")
        other.append(f"{split_of[label]}{ids[label]}//train_256/{label.replace(' ', '_')}/{name}.mp4")
    (tmp_path / "a.txt").write_text("\n".join(lines[::2]))
    (tmp_path / "b.txt").write_text("\n".join(other[::2]))
    options = {"class_counts": None, "cache": tmp_path / "c"}
    first, second = (load("kinetics100", root, video_list=tmp_path / name, **options) for name in ("a.txt", "b.txt"))
    assert first.digest == second.digest and len(first) == 12


def test_lists_in_the_data_root_are_found_and_numbered_classes_named_by_templates(copy_of, pristine, tmp_path):
    root, lines = copy_of("ssv2"), pristine["ssv2"][1]
    for split in SPLITS:
        (root / f"{split}list07.txt").write_text("\n".join(lines[split]))
    dataset = load("ssv2_small", root, tmp_path / "c", class_counts=None)
    assert dataset.classes("test") == tuple(sorted(miniatures.some_classes("ssv2_small", (2, 2, 2))["test"]))
    shutil.rmtree(root / "labels")  # then the numbers have to do
    dataset = load("ssv2_small", root, tmp_path / "c", class_counts=None)
    assert dataset.classes("test") == ("test0", "test1") and len(dataset) == 24


def test_the_full_ssv2_needs_its_list_and_says_where_to_get_it(copy_of, pristine, tmp_path):
    root, lines = copy_of("ssv2"), pristine["ssv2"][1]
    with pytest.raises(DataNotFound, match=r"without its published video list.*tobyperrett/trx.*ssv2_OTAM.*video_list"):
        load("ssv2_full", root, tmp_path / "c")
    (root / "video_list").mkdir()
    for split in SPLITS:
        (root / "video_list" / f"{split}_few_shot.txt").write_text("\n".join(lines[split]))
    dataset = load("ssv2_full", root, tmp_path / "c", class_counts=None)
    assert len(dataset) == 24 and dataset.flip is False and "SSv2-Full" in dataset.caption


def test_without_a_list_100_videos_a_class_are_drawn_by_seed_and_the_caption_says_so(pristine, tmp_path, monkeypatch):
    root = pristine["kinetics"][0]
    drawn = BENCHMARKS["kinetics100"].__class__(**{**vars(BENCHMARKS["kinetics100"]), "per_class": 3})
    monkeypatch.setitem(BENCHMARKS, "kinetics100", drawn)
    first, again, other = (load("kinetics100", root, tmp_path / "c", seed=seed) for seed in (0, 0, 1))
    assert set(first.manifest.groupby("label").size()) == {3}
    assert first.digest == again.digest != other.digest
    assert "not the published split: up to 3 of each class, drawn with seed 0" in first.caption


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("baking bread/-0001_aBcDe_000001_000011", 'class "baking bread" in no split.*no such class'),
        ("test0//videos/air drumming/-0002_aBcDe_000001_000011.mp4", "in test, .*where it is in train"),
        ("only_a_name", 'line 2: "only_a_name" is neither "class/video"'),
        ("air drumming/-0001_aBcDe_000001_000011", 'lists "air drumming/.*" 2 times'),
    ],
)
def test_a_list_of_another_benchmark_or_with_a_broken_line_is_refused(pristine, tmp_path, line, message):
    (tmp_path / "list.txt").write_text(f"air drumming/-0001_aBcDe_000001_000011\n{line}\n")
    with pytest.raises(ManifestError, match=message):
        load("kinetics100", pristine["kinetics"][0], tmp_path / "c", video_list=tmp_path / "list.txt")


def test_an_incomplete_folder_of_lists_and_a_missing_list_are_refused(pristine, tmp_path):
    (tmp_path / "trainlist03.txt").write_text("air drumming/x")
    messages = {tmp_path: "one video list for each of train, val and test", tmp_path / "no": "There is no video list"}
    for path, message in messages.items():
        with pytest.raises(DataNotFound, match=message):
            load("kinetics100", pristine["kinetics"][0], tmp_path / "c", video_list=path)


# ---------------------------------------------------------------------------------------------- what is lacking


def test_missing_broken_and_short_videos_are_counted_by_class_and_listed(copy_of, tmp_path, capsys):
    root = copy_of("hmdb51")
    broken, short, gone = sorted((root / "catch").iterdir())[:3]
    broken.write_bytes(b"not a video" * 40)
    miniatures.write_clip(short, 0, n_frames=5)
    gone.unlink()
    dataset = load("hmdb51", root, tmp_path / "c")
    assert len(dataset) == 33
    classes = pd.read_csv(next(tmp_path.glob("c/folders/*/preparation_report.csv"))).set_index("label")
    assert classes.loc["catch"].to_dict() == {
        "split": "train", "expected": 102, "found": 5, "missing": 97, "unreadable": 1, "too_short": 1, "used": 3,
    }  # fmt: skip
    report = report_of(tmp_path / "c")
    assert broken.name in report["unreadable"][0] and report["too_short"] == [f"catch/{short.name} (5)"]
    assert "catch: 97 videos" in report["missing"]
    printed = capsys.readouterr().out
    assert "train   2 classes: 9 videos used of 209 (published: 4,280); 198 missing, 1 unreadable, 1 shorter" in printed
    table = overview.preparation_table(overview.folder_report(root, cache_dir=tmp_path / "c", name="hmdb51"))
    assert list(table.data["used"]) == [9, 12, 12] and "HMDB51 (ARN split)" in table.caption


def test_too_small_a_share_of_a_class_stops_with_the_option_that_accepts_it(copy_of, tmp_path):
    root = copy_of("kinetics")
    lines = [f"{path.parent.name.replace('_', ' ').lower()}/{path.stem}" for path in sorted(root.rglob("*.m*"))]
    sorted(root.rglob("*.m*"))[0].unlink()
    (tmp_path / "list.txt").write_text("\n".join(lines))
    options = {"class_counts": None, "video_list": tmp_path / "list.txt"}
    with pytest.raises(
        TooFewVideos, match=r'1 of 6 classes .* fewer than 90% of their videos, the least "air drumming" with 3 of 4.*'
        r"add --min-found 0.75 to the same command",
    ):  # fmt: skip
        load("kinetics100", root, tmp_path / "c", min_found=0.9, **options)
    assert len(load("kinetics100", root, tmp_path / "c", min_found=0.75, **options)) == 23


def test_a_class_without_videos_names_the_nearest_folders_and_is_left_out_on_request(copy_of, tmp_path, capsys):
    root = copy_of("ucf101")
    (root / "UCF-101" / "Archery").rename(root / "UCF-101" / "Archerry")
    message = (
        r'97 of 101 classes .* have no video .*: "Archery" .nearest folders: "Archerry".*preparation_report.json\.$'
    )
    with pytest.raises(DataNotFound, match=message):
        shutil.rmtree(root / "UCF-101" / "ApplyEyeMakeup")
        for file in (root / "UCF-101" / "Archerry").iterdir():
            file.rename(file.with_name(f"clip{file.name[-5:]}"))  # nor do the files' names tell
        load("ucf101", root, tmp_path / "c", class_counts=None, min_found=0.01)
    (root / "UCF-101" / "Archerry").rename(root / "UCF-101" / "Archery")
    dataset = load("ucf101", root, tmp_path / "c", class_counts=None)
    assert dataset.classes("train") == ("Archery",)
    assert "96 classes have fewer than 2 usable videos and are left out" in capsys.readouterr().out


def test_a_folder_of_something_else_is_refused_with_what_to_get(pristine, copy_of, tmp_path):
    with pytest.raises(DataNotFound, match="None of the 24 clips .* belongs to UCF101.*crcv.ucf.edu"):
        load("ucf101", pristine["kinetics"][0], tmp_path, class_counts=None)
    root = copy_of("ssv2")
    shutil.rmtree(root / "labels")
    with pytest.raises(DataNotFound, match="videos without class folders need the label files"):
        load("ssv2_small", root, tmp_path / "c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match="holds no video"):
        load("ucf101", tmp_path / "empty", tmp_path)


def test_options_out_of_range_are_refused(pristine, tmp_path):
    root = pristine["ucf101"][0]
    with pytest.raises(BadParameter, match="asks for 9 train classes, but videos of 2 were found"):
        load("ucf101", root, tmp_path, class_counts="9/1/1")
    with pytest.raises(BadParameter, match="min_found is 90"):
        load("ucf101", root, tmp_path, min_found=90)
    with pytest.raises(UnknownParameter, match='"class_folds" is not a known option of the data set "ucf101"'):
        load("ucf101", root, tmp_path, class_folds=3)
    with pytest.raises(BadParameter, match='"ucf101" needs the folder'):
        load_dataset("ucf101", cache_dir=tmp_path)


def test_the_command_line_reaches_the_data_set_through_the_configuration(pristine, tmp_path):
    environ = {"AMFIR_CACHE_DIR": str(tmp_path), "AMFIR_JOBS": "1", "AMFIR_MIN_FOUND": "0"}
    parameters = {"dataset": "ucf101", "data_root": str(pristine["ucf101"][0]), "class_counts": "1/1/1"}
    config = Config.from_notebook(parameters, environ=environ)
    assert config.study == "ucf101" and config.data_choices == {"min_found": "0.0"}
    assert len(open_dataset(config, "ucf101")) == 18
    with pytest.raises(BadParameter, match='"ten", but must lie between 0 and 1'):
        Config.from_notebook(parameters, environ=environ | {"AMFIR_MIN_FOUND": "ten"})
