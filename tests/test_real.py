"""The five real benchmarks from miniature copies: layouts, label files, video lists, and what is lacking.  Exact."""

from __future__ import annotations

import re
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
from amfir_lib.data.features import extract_stores
from amfir_lib.data.lists import name_classes, parse_video_list
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.names import class_key, group_of, keys_of, nearest_names
from amfir_lib.data.real import check_shares, class_table
from amfir_lib.data.selection import Selection, from_list, recognise
from amfir_lib.data.tree import FoundClip, scan_tree
from amfir_lib.errors import AmfirError, BadParameter, DataNotFound, ManifestError, TooFewVideos
from amfir_lib.methods.base import seeded_init
from amfir_lib.storage import read_json
from amfir_lib.study.config import REAL_BENCHMARKS, Config
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.study import open_dataset

FEW, ONE = {"class_counts": "2/2/2", "min_found": 0}, {"class_counts": "1/1/1", "min_found": 0}
ALL = {"min_found": 0}


def renamed(root, pattern, name_of):
    for file in list(root.glob(pattern)):
        file.rename(name_of(file))


def ucf_beside_flow(root):
    """``class/video/{img,flow_x,flow_y}/00001.jpg``."""
    for number, label in enumerate(sum(miniatures.some_classes("ucf101", (1, 1, 1)).values(), [])):
        for clip in (1, 2):
            for folder in ("img", "flow_x", "flow_y"):
                miniatures.write_frames(root / label / f"v_{label}_g01_c0{clip}" / folder, 2 * number + clip)


def flow_alone(root):
    for folder in "uv":
        miniatures.write_frames(root / "tvl1_flow" / folder / "v_Archery_g01_c01", 0, n_frames=1)


TREES = {  # built once, and copied where a test changes them
    "kinetics": miniatures.kinetics,
    "kinetics_flat": miniatures.kinetics_flat,
    "frame_folders": miniatures.frame_folders,
    "ssv2": miniatures.ssv2,
    "hmdb51": miniatures.hmdb51,
    "ucf101": miniatures.ucf101,
    "ucf101_flat": lambda root: miniatures.ucf101(root, (1, 1, 1), flat=True),
    "ucf101_beside_flow": ucf_beside_flow,
    "flow_alone": flow_alone,
}
CHANGES = {  # what people's copies are like: tree that is changed, and how
    "kinetics by YouTube id": (
        "kinetics_flat", lambda r: renamed(r, "*/*.mp4", lambda f: f.with_name(f.name[:11] + f.suffix)),
    ),
    "kinetics without labels": ("kinetics_flat", lambda r: shutil.rmtree(r / "annotations")),
    "kinetics with other files": (
        "kinetics_flat", lambda r: (
            shutil.rmtree(r / "annotations"), (r / "clips.csv").write_text("path,label\na,b\n"),
            (r / "train.csv").write_text("label,youtube_id\n,BBBBBBBBBBB\nbusking,AAAAAAAAAAA\n"),
        ),
    ),
    "ssv2 with deep labels": (
        "ssv2", lambda r: ((r / "all").mkdir(), (r / "labels").rename(r / "all" / "labels")),
    ),
    "ssv2 without labels": ("ssv2", lambda r: shutil.rmtree(r / "labels")),
    "hmdb51 flat": ("hmdb51", lambda r: renamed(r, "*/*.avi", lambda f: r / f.name)),
    "ucf101 with a picture": (
        "ucf101", lambda r: (r / "UCF-101" / "ApplyEyeMakeup" / "thumb1.jpg").write_bytes(b"0"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Tree -> its folder and what its maker returns."""
    base = tmp_path_factory.mktemp("miniatures")
    return {key: (base / key, make(base / key)) for key, make in TREES.items()}


@pytest.fixture
def tree(pristine, tmp_path):
    """A copy of a tree, changed where its name says so."""

    def copy(key):
        original, change = CHANGES.get(key, (key, None))
        root = shutil.copytree(pristine[original][0], tmp_path / original)
        if change:
            change(root)
        return root

    return copy


def load(name, root, cache, **options):
    return load_dataset(name, cache_dir=cache, data_root=root, **options)


def report_of(cache):
    (file,) = cache.glob("folders/*/preparation_report.json")
    return read_json(file)


def classes_of(name, counts=(1, 1, 1)):
    return set(sum(miniatures.some_classes(name, counts).values(), []))


# what is published, and names


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
        assert len(keys_of(split_of)) == len(split_of)
    assert REAL_BENCHMARKS == REAL_NAMES


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("Playing_Ice-Hockey", "playing ice hockey"),
        ("Pretending to put [something] into [something]", "Pretending to put something into something"),
        ("HandStandPushups", "HandstandPushups"),
    ],
)
def test_class_names_are_compared_without_case_blanks_and_punctuation(name, same):
    assert class_key(name) == class_key(same)
    assert nearest_names(name, ["walk", f"{same} 2"]) == [f"{same} 2"]


FILM = "Die_Another_Day_-_Fencing_Scene_Part_"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (f"{FILM}1_[HD]_avi", f"{FILM}1_[HD]", True),
        (f"{FILM}1_[HD]", f"{FILM}2_[HD]", True),
        ("The_Matrix_2", "The_Matrix_3", True),
        ("RETURN_OF_THE_KING", "Return_of_the_King_12", True),
        ("Hitch_Part_2", "Hitch", True),
        ("The_Matrix_2", "The_Matrix_Revolutions_2", False),
        ("22", "21", False),
        ("Oceans13", "Oceans12", False),
        ("Iaido_2009", "Iaido_2008", False),
    ],
)
def test_scenes_and_parts_of_one_film_are_one_group_and_other_films_others(first, second, same):
    groups = [group_of("hmdb51", "fencing", f"{film}_fencing_f_cm_np2_le_goo_0") for film in (first, second)]
    assert (groups[0] == groups[1]) is same


@pytest.mark.parametrize(
    ("benchmark", "label", "name", "group"),
    [
        ("hmdb51", "kick_ball", "Two_Towers_1_kick_ball_f_cm_np2_ri_goo_10", "two_towers"),
        ("hmdb51", "eat", "renamed by hand", "renamed by hand"),
        ("kinetics100", "busking", "6Z267m0nKuo_000001_000011", "6Z267m0nKuo"),
        ("ucf101", "Archery", "v_Archery_g03_c02", "Archery_g03"),
        ("ssv2_small", "Holding something", "78687", "78687"),
    ],
)
def test_groups_are_films_source_videos_and_youtube_ids(benchmark, label, name, group):
    assert group_of(benchmark, label, name) == group


# layouts

LAYOUTS = [
    ("kinetics", "kinetics100", FEW, 24, "18 .mp4 files and 6 .mkv files, in class folders"),
    ("frame_folders", "kinetics100", FEW, 18, "18 folders of frames, in class folders"),
    ("ssv2", "ssv2_small", FEW, 24, "24 .webm files, flat, without class folders; labels from labels/train.json, la"),
    ("hmdb51", "hmdb51", FEW, 36, "36 .avi files, in class folders"),
    ("ucf101", "ucf101", FEW, 36, "36 .avi files, in class folders"),
    ("ucf101_flat", "ucf101", ONE, 18, "flat, without class folders"),
    ("hmdb51 flat", "hmdb51", ONE, 18, "flat, without class folders"),
    ("ucf101 with a picture", "ucf101", ONE, 18, "18 .avi files, in class folders"),
    (
        "ucf101_beside_flow", "ucf101", ONE, 6, "6 folders of frames, in class folders; 12 folders of flow pictures, "
        "such as ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01/flow_x, are not read",
    ),
    (
        "kinetics_flat", "kinetics100", ONE, 12, "12 .mp4 files, flat, without class folders; labels from "
        "annotations/train.csv, annotations/val.csv",
    ),
    ("kinetics by YouTube id", "kinetics100", ONE, 12, "labels from annotations/train.csv"),
    ("kinetics_flat/train", "kinetics100", ONE, 6, "labels from ../annotations/train.csv"),
    ("ssv2/20bn-something-something-v2", "ssv2_small", ONE, 12, "labels from ../labels/train.json"),
    ("ssv2 with deep labels", "ssv2_small", ONE, 12, "labels from all/labels/train.json"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name", "options", "n_clips", "layout"), LAYOUTS, ids=[row[0] for row in LAYOUTS])
def test_every_layout_is_recognised_and_printed(tree, tmp_path, capsys, key, name, options, n_clips, layout):
    key, _, inner = key.partition("/")
    dataset = load(name, tree(key) / inner, tmp_path / "cache", **options)
    assert layout in capsys.readouterr().out
    assert dataset.name == name and len(dataset) == n_clips and dataset.flip is (not name.startswith("ssv2"))
    counts = tuple(map(int, options["class_counts"].split("/")))
    expected = miniatures.some_classes(name, counts)
    assert {split: dataset.classes(split) for split in SPLITS} == {s: tuple(sorted(c)) for s, c in expected.items()}


READ_THROUGH = ["kinetics", "frame_folders", "ssv2", "hmdb51", "ucf101"]


@pytest.mark.parametrize(("key", "name", "options"), [row[:3] for row in LAYOUTS if row[0] in READ_THROUGH])
def test_a_method_learns_from_and_is_tested_on_every_miniature(pristine, tmp_path, key, name, options):
    dataset = load(name, pristine[key][0], tmp_path, **options)
    toys = extract_stores(dataset, {s: ToyBackbone(s) for s in ("rgb", "flow")}, cache_dir=tmp_path, flow_size=32)
    assert toys["rgb"].features.shape == (len(dataset), 8, 4, 3) and np.ptp(toys["flow"].features, axis=0).max() > 0
    weights = {}
    for stream in ("rgb", "flow"):
        with seeded_init(0, stream):
            net = CompactNet(2 if stream == "flow" else 3)
        weights[stream] = {name: values.clone() for name, values in net.state_dict().items()}
    backbones = {stream: CompactBackbone(stream, values) for stream, values in weights.items()}
    stores = extract_stores(dataset, backbones, cache_dir=tmp_path, flow_size=32)
    training = replace(QUICK, n_way=2, shots=(1,), n_query=1, steps=2, n_val_episodes=4, val_n_way=2)
    run = Run(Material(dataset, stores), "amfir", {"width": 4}, training)
    cell = TestCell(n_way=2, n_shot=1, n_query=1, n_episodes=10)
    (result,) = run_all([run], [cell], cache_dir=tmp_path / "runs")
    assert result.tests[cell].accuracy.shape == (10,)


def test_loading_does_not_depend_on_workers_or_on_earlier_looks(pristine, tmp_path):
    digests = {load("hmdb51", pristine["hmdb51"][0], tmp_path / str(n), n_jobs=n, **FEW).digest for n in (1, 2, 1)}
    assert len(digests) == 1


def test_letters_of_an_alphabet_and_kinetics_flowers_are_no_flow(tmp_path):
    for label in ("t", "u", "v", "flower_arranging"):
        miniatures.write_frames(tmp_path / label / "clip", 0, n_frames=1)
    scan = scan_tree(tmp_path)
    assert [clip.folder for clip in scan.clips] == ["flower_arranging", "t", "u", "v"] and scan.flow == []


def test_clips_of_a_neighbouring_benchmark_do_not_enter_classes_of_the_same_name(tree, tmp_path):
    root = tree("ucf101")
    for group in (1, 2):
        miniatures.write_clip(root / "UCF-101" / "Fencing" / f"v_Fencing_g0{group}_c01.avi", group)
    shutil.copytree(tree("hmdb51"), root / "hmdb51")
    for name, folder, counts in (("ucf101", "UCF-101", "2/1/1"), ("hmdb51", "hmdb51", "1/1/1")):
        paths = load(name, root, tmp_path / "c", class_counts=counts, min_found=0).manifest["path"]
        assert len(paths) >= 18 and all(path.startswith(folder) for path in paths)


def test_two_labels_of_one_video_are_refused_but_not_two_clips_of_one_youtube_video(tree, tmp_path):
    root = tree("kinetics_flat")
    first = (root / "annotations" / "train.csv").read_text().splitlines()[1].split(",")
    extra = root / "annotations" / "more.csv"
    extra.write_text(f"label,youtube_id,time_start,time_end\nbusking,{first[1]},700,710\n")
    assert len(load("kinetics100", root, tmp_path / "c", **ONE)) == 12
    extra.write_text(f"label,youtube_id,time_start,time_end\nbusking,{','.join(first[1:4])}\n")
    message = 'train.csv labels the video .* "air drumming", but another file says "busk'
    with pytest.raises(ManifestError, match=message):
        load("kinetics100", root, tmp_path / "c", **ONE)


@pytest.mark.parametrize(
    ("key", "name", "options", "message"),
    [
        ("kinetics", "ucf101", ALL, "None of the 24 clips .* is of UCF101.*crcv.ucf.edu"),
        ("ssv2 without labels", "ssv2_small", FEW, "videos without class folders need the label files"),
        ("ssv2", "ssv2_full", ALL, "without its published video list.*tobyperrett/trx.*ssv2_OTAM.*video_list"),
        (
            "kinetics without labels", "kinetics100", ONE,
            "need the CSV files .*label,youtube_id.* in labels or annotations in it or beside it",
        ),
        ("kinetics with other files", "kinetics100", ONE, "; train.csv labels none of them; "),
        ("flow_alone", "ucf101", ONE, "2 folders of flow pictures, such as .*v_Archery_g01_c01, are not read"),
        ("flow_alone/tvl1_flow", "ucf101", ONE, "2 folders of flow pictures, such as .*v_Archery_g01_c01, are not"),
        ("flow_alone/tvl1_flow/u", "ucf101", ONE, "1 folders of flow pictures, such as v_Archery_g01_c01, are not"),
        ("ucf101/UCF-101/none", "ucf101", ONE, "There is no folder .*none. Give the folder that holds the videos"),
        ("ucf101", "ucf101", FEW | {"class_counts": "9/1/1"}, "asks for 9 train classes, but videos of 2 were found"),
        ("ucf101", "ucf101", {"min_found": 90}, "min_found is 90"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_what_is_missing(tree, tmp_path, key, name, options, message):
    key, _, inner = key.partition("/")
    with pytest.raises((DataNotFound, BadParameter), match=message):
        load(name, tree(key) / inner, tmp_path / "c", **options)


# video lists


def ssv2_lists(root, lines, pattern):
    for split in SPLITS:
        (root / pattern.format(split)).parent.mkdir(exist_ok=True)
        (root / pattern.format(split)).write_text("\n".join(lines[split]))


def test_a_video_list_chooses_the_videos_and_names_those_that_are_missing(tree, pristine, tmp_path, capsys):
    root, lines = tree("kinetics"), pristine["kinetics"][1]
    next(root.rglob(f"{lines[0].split('/')[1]}.*")).unlink()
    file = next(root.rglob(f"{lines[5].split('/')[1]}.*"))
    file.rename(file.with_name(lines[5].split("/")[1][:11] + file.suffix))  # only the YouTube id is left
    (root / "video_list.txt").write_text("# a comment\n\n" + "\n".join(lines[:3] + lines[4:]) + "\n")
    dataset = load("kinetics100", root, tmp_path / "c", video_list=root / "video_list.txt", min_found=0)
    assert len(dataset) == 22  # 24 less one that is gone and one that is not listed
    report = report_of(tmp_path / "c")
    assert report["missing"] == [lines[0]] and "published: 6400/1200/2400" in report["selection"]
    assert "not the published split: its video list has 7/8/8 videos" in dataset.caption
    assert "6400 7 6 1 0 0 6 " in " ".join(capsys.readouterr().out.split())  # of train one is missing


def test_lists_of_both_formats_choose_the_same_videos(pristine, tmp_path):
    root, lines = pristine["kinetics"]
    split_of = BENCHMARKS["kinetics100"].split.split_of
    ids = {label: str(number) for number, label in enumerate(split_of)}
    pairs = [line.split("/") for line in lines]
    other = [f"{split_of[a]}{ids[a]}//train_256/{a.replace(' ', '_')}/{b}.mp4" for a, b in pairs]
    for name, text in (("a.txt", lines), ("b.txt", other)):
        (tmp_path / name).write_text("\n".join(text[::2]))
    options = {"cache": tmp_path / "c", "min_found": 0}
    first, second = (load("kinetics100", root, video_list=tmp_path / name, **options) for name in ("a.txt", "b.txt"))
    assert first.digest == second.digest and len(first) == 12


@pytest.mark.parametrize("pattern", ["{}list07.txt", "{}.list", "video_list/{}_few_shot.txt"])
def test_lists_in_the_data_root_are_found_and_numbered_classes_named_by_templates(tree, pristine, tmp_path, pattern):
    root = tree("ssv2")
    ssv2_lists(root, pristine["ssv2"][1], pattern)
    dataset = load("ssv2_small", root, tmp_path / "c", **ALL)
    assert set(dataset.manifest["label"]) == classes_of("ssv2_small", (2, 2, 2))
    assert "SSv2-Full" in load("ssv2_full", root, tmp_path / "c", **ALL).caption
    shutil.rmtree(root / "labels")  # then the numbers have to do
    dataset = load("ssv2_small", root, tmp_path / "c", **ALL)
    assert dataset.classes("test") == ("test0", "test1") and len(dataset) == 24


def test_a_folder_that_all_classes_share_is_no_class(tree, pristine, tmp_path):
    root, lists = tree("ssv2"), pristine["ssv2"][1]
    lines = [line.replace("/", "//20bn-something-something-v2/") + ".webm" for split in SPLITS for line in lists[split]]
    (root / "list.txt").write_text("\n".join(lines))
    dataset = load("ssv2_small", root, tmp_path / "c", video_list=root / "list.txt", **ALL)
    assert set(dataset.manifest["label"]) == classes_of("ssv2_small", (2, 2, 2)) and len(dataset) == 24


@pytest.mark.parametrize(
    "line",
    ["Archery/v_Archery_g01_c01.avi 3", "Archery/v_Archery_g01_c01 120 3", "train2//a/Archery/v_Archery_g01_c01.avi 3"],
)
def test_numbers_behind_a_blank_are_left_out(line):
    (video,) = parse_video_list(line, "list")
    assert (video.name, video.label) == ("v_Archery_g01_c01", "Archery")


FIRST = "air drumming/-0001_aBcDe_000001_000011\n"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (f"{FIRST}baking bread/-0001_aBcDe", ManifestError, 'class "baking bread" in no split.*no such class'),
        (f"{FIRST}test0//a/air drumming/-2.mp4", ManifestError, "in test, .*where it is in train"),
        (f"{FIRST}only_a_name", ManifestError, 'line 2: "only_a_name" is neither "class/video"'),
        (2 * FIRST, ManifestError, 'lists "air drumming/.*" 2 times'),
        ("# nothing\n", ManifestError, "lists no video. Download the list again"),
        (b"\xff\xfe\x00", ManifestError, "not a text file in UTF-8"),
        ("busking/video_one.avi", DataNotFound, 'such as videos/.*the first listed video is "busking/video_one"'),
        (None, DataNotFound, "There is no video list .*list.txt"),
    ],
)
def test_a_list_of_another_benchmark_or_with_a_broken_line_is_refused(pristine, tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=message):
        load("kinetics100", pristine["kinetics"][0], tmp_path / "c", video_list=tmp_path / "list.txt", **ALL)


def test_an_incomplete_folder_of_lists_and_a_video_in_the_wrong_file_are_refused(pristine, tmp_path):
    (tmp_path / "trainlist03.txt").write_text("air drumming/x")
    with pytest.raises(DataNotFound, match="one video list for each of train, val and test"):
        load("kinetics100", pristine["kinetics"][0], tmp_path / "c", video_list=tmp_path, **ALL)
    with pytest.raises(ManifestError, match="is a test video in a train file. Move the line"):
        parse_video_list("test0//a/b.avi", "list", split="train")
    numbered = "train0//videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\ntrain1//videos/Archery/v_Archery_g01_c01"
    with pytest.raises(ManifestError, match='"ApplyEyeMakeup" in train, but is read for .*hmdb51.*no such class'):
        name_classes(parse_video_list(numbered, "list"), BENCHMARKS["hmdb51"].split, {}, "list")


@pytest.mark.parametrize(
    ("name", "old", "new", "notes"),
    [
        ("kinetics100", "", "", [""]),
        ("hmdb51", "", "", [""]),
        (
            "kinetics100", "air drumming/air_drumming_0\n", "arm wrestling/another\n",
            [f"its video list has {n}" for n in ("101 videos of arm wrestling, not 100", "99 videos of air drumming")],
        ),
        ("kinetics100", "air drumming/air", "arm wrestling/air", ["not the published split: .* 63/12/24 classes"]),
        ("hmdb51", "brush_hair/brush_hair_0\n", "", ["not the published split: .* 4279/1194/1292 videos"]),
    ],
)  # fmt: skip
def test_only_a_list_with_the_published_classes_and_counts_is_called_published(tmp_path, name, old, new, notes):
    sizes = published_class_sizes(name)
    videos = [f"{label}/{label.replace(' ', '_')}_{n}\n" for label in sizes for n in range(sizes[label])]
    (tmp_path / "list.txt").write_text("".join(videos).replace(old or "-", new))
    chosen = from_list(BENCHMARKS[name], [FoundClip("a/b.avi", "b", "a", ".avi")], {}, tmp_path / "list.txt")
    assert any(re.search(note, chosen.note) for note in notes)
    assert ("as published" in chosen.how) is (chosen.note == "") is (old == "")


def test_without_a_list_100_videos_a_class_are_drawn_by_seed_and_the_caption_says_so(pristine, tmp_path, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "kinetics100", replace(BENCHMARKS["kinetics100"], per_class=3))
    root = pristine["kinetics"][0]
    first, again, other = (load("kinetics100", root, tmp_path, seed=seed, **FEW) for seed in (0, 0, 1))
    assert set(first.manifest.groupby("label").size()) == {3}
    assert first.digest == again.digest != other.digest
    assert "not the published split: up to 3 of each class, drawn with seed 0" in first.caption


# what is lacking


def test_missing_broken_and_short_videos_are_counted_by_class_and_listed(tree, tmp_path, capsys):
    root = tree("hmdb51")
    broken, short, gone = sorted((root / "catch").iterdir())[:3]
    broken.write_bytes(b"not a video" * 40)
    miniatures.write_clip(short, 0, n_frames=5)
    gone.unlink()
    (root / "catch" / "notes.doc").touch()
    assert len(load("hmdb51", root, tmp_path / "c", **FEW)) == 33
    classes = pd.read_csv(next(tmp_path.glob("c/folders/*/preparation_report.csv"))).set_index("label")
    assert classes.loc["catch"].to_dict() == {
        "split": "train", "expected": 102, "found": 5, "missing": 97, "unreadable": 1, "too_short": 1, "used": 3,
    }  # fmt: skip
    report = report_of(tmp_path / "c")
    assert broken.name in report["unreadable"][0] and report["too_short"] == [f"catch/{short.name} (5)"]
    assert "catch: 97 videos" in report["missing"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "Left out: files and folders that are no clips (1): catch/notes.doc." in printed
    assert "missing unreadable too_short used lowest_share train 2 4280 209 11 198 1 1 9 3%" in printed
    table = overview.preparation_table(overview.folder_report(root, cache_dir=tmp_path / "c", name="hmdb51"))
    assert list(table.data["used"]) == [9, 12, 12] and "HMDB51 (ARN split)" in table.caption
    assert table.declaration()["lowest_share"] == "share"


def test_copies_in_a_benchmark_stay_and_get_a_word(tree, tmp_path, capsys):
    root = tree("hmdb51")
    n_clips = len(load("hmdb51", root, tmp_path / "c", **FEW))
    assert "copies of others" not in capsys.readouterr().out
    first, second, *_ = sorted((root / "catch").iterdir())
    second.write_bytes(first.read_bytes())
    assert len(load("hmdb51", root, tmp_path / "c", **FEW)) == n_clips
    assert f"Clips that are copies of others (1), which stay because the benchmark has them: catch/{second.name}" in (
        capsys.readouterr().out
    )


def test_too_small_a_share_of_a_class_stops_with_the_option_that_accepts_it(tree, tmp_path):
    root = tree("kinetics")
    videos = sorted(root.rglob("*.m*"))
    lines = [f"{path.parent.name.replace('_', ' ').lower()}/{path.stem}" for path in videos]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    videos[0].unlink()
    message = r'1 of 6 classes .* under 90% of their videos, the least "air drumming" with 3 of 4.*found 0.75'
    with pytest.raises(TooFewVideos, match=message):
        load("kinetics100", root, tmp_path / "c", video_list=tmp_path / "list.txt")
    chosen = {"video_list": tmp_path / "list.txt", "min_found": 0.75}
    assert len(load("kinetics100", root, tmp_path / "c", **chosen)) == 23


def test_a_class_without_videos_names_the_nearest_folders_and_is_left_out_on_request(tree, tmp_path, capsys):
    root = tree("ucf101")
    with pytest.raises(DataNotFound, match=r"95 of 101 classes.*--set class_counts=2/2/2 to the same command"):
        load("ucf101", root, tmp_path / "c", min_found=0.01)
    assert len(load("ucf101", root, tmp_path / "c", class_counts="2/2/2", min_found=0.01)) == 36
    shutil.rmtree(root / "UCF-101" / "ApplyEyeMakeup")
    archery = (root / "UCF-101" / "Archery").rename(root / "UCF-101" / "Archerry")
    renamed(archery, "*", lambda file: file.with_name(f"clip{file.name[-9:]}"))  # nor do the files' names tell
    message = r'97 of 101 classes .* have no video .*: "Archery" .nearest folders: Archerry.'
    with pytest.raises(DataNotFound, match=message):
        load("ucf101", root, tmp_path / "c", min_found=0.01)
    archery.rename(root / "UCF-101" / "Archery")
    assert load("ucf101", root, tmp_path / "c", **ALL).classes("train") == ("Archery",)
    assert "classes with fewer than 2 usable videos (96)" in capsys.readouterr().out


def test_absent_classes_are_left_out_by_the_number_of_those_that_are_there():
    rows = [("train", "a", "x"), ("train", "b", ""), ("val", "c", "y"), ("test", "d", "z"), ("test", "e", "w")]
    wanted = pd.DataFrame(rows, columns=["split", "label", "path"])
    classes = class_table(Selection(BENCHMARKS["ucf101"], wanted, dict.fromkeys("abcde", 1), {}, ""), [], [])
    report = {"title": "UCF101", "root": "/data", "file": "report.json"}
    with pytest.raises(DataNotFound, match=r'"b" .*add --set class_counts=1/1/2 to the same command\.$'):
        check_shares(classes, min_found=0.9, report=report, folders=set())
    with pytest.raises(DataNotFound, match=r"add the videos\.$"):  # of test nothing is left
        check_shares(classes[classes["split"] != "test"], min_found=0.9, report=report, folders=set())


# which benchmark it is, and the command line


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("kinetics", "kinetics100"),
        ("kinetics_flat", "kinetics100"),
        ("hmdb51", "hmdb51"),
        ("ucf101", "ucf101"),
        ("ssv2", "ssv2_small"),
    ],
)
def test_the_names_of_the_files_say_which_benchmark_it_is(pristine, key, name):
    assert recognise(pristine[key][0]) == name


def test_with_a_list_something_something_may_be_either_and_other_names_do_not_tell(pristine, tree):
    with pytest.raises(BadParameter, match="may hold ssv2_small or ssv2_full"):
        recognise(pristine["ssv2"][0], video_list="list.txt")
    with pytest.raises(AmfirError, match="holds no data set whose file names are known. Say which .*--dataset folder"):
        recognise(tree("ssv2 without labels"))


def test_the_command_line_reaches_the_data_set_through_the_configuration(pristine, tmp_path):
    environ = {"AMFIR_CACHE_DIR": str(tmp_path), "AMFIR_JOBS": "1", "AMFIR_MIN_FOUND": "0"}
    parameters = {"dataset": "ucf101", "data_root": str(pristine["ucf101"][0]), "class_counts": "1/1/1"}
    config = Config.from_notebook(parameters, environ=environ)
    assert config.study == "ucf101" and config.data_choices == {"min_found": "0.0"}
    assert len(open_dataset(config, "ucf101")) == 18
    with pytest.raises(BadParameter, match='"ten", but must lie between 0 and 1'):
        Config.from_notebook(parameters, environ=environ | {"AMFIR_MIN_FOUND": "ten"})
