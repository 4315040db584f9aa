"""Real benchmarks as their users have them on disk: odd folders, label files and video lists.  Exact."""

from __future__ import annotations

import shutil

import miniatures
import pandas as pd
import pytest

from amfir_lib.data.benchmark_report import check_shares, class_table
from amfir_lib.data.benchmarks import BENCHMARKS, published_class_sizes
from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.clip_names import group_of
from amfir_lib.data.layouts import FoundClip, look_into
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.recognition import recognise
from amfir_lib.data.selection import from_list
from amfir_lib.data.video_lists import name_classes, parse_video_list
from amfir_lib.errors import BadParameter, DataNotFound, ManifestError

MAKERS = {
    "kinetics": lambda root: miniatures.kinetics(root, (1, 1, 1), clips=2),
    "kinetics_flat": miniatures.kinetics_flat,
    "ssv2": lambda root: miniatures.ssv2(root, (1, 1, 1), clips=2),
    "hmdb51": lambda root: miniatures.hmdb51(root, (1, 1, 1), films=1),
    "ucf101": lambda root: miniatures.ucf101(root, (1, 1, 1), groups=1),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Miniature -> its folder and what its maker returns."""
    base = tmp_path_factory.mktemp("layouts")
    return {key: (base / key, make(base / key)) for key, make in MAKERS.items()}


@pytest.fixture
def copy_of(pristine, tmp_path):
    return lambda key: shutil.copytree(pristine[key][0], tmp_path / key)


def load(name, root, **options):
    options = {"class_counts": "1/1/1", "min_found": 0} | options
    return load_dataset(name, cache_dir=root.parent / "cache", data_root=root, **options)


def classes_of(name):
    return {label for labels in miniatures.some_classes(name, (1, 1, 1)).values() for label in labels}


# ---------------------------------------------------------------------------------------------- label files


def test_flat_kinetics_takes_its_labels_from_the_csv_files_and_says_so(copy_of, capsys):
    root = copy_of("kinetics_flat")
    dataset = load("kinetics100", root)
    assert set(dataset.manifest["label"]) == classes_of("kinetics100") and len(dataset) == 12
    printed = capsys.readouterr().out
    assert (
        "12 .mp4 files, flat, without class folders; labels from annotations/train.csv, annotations/val.csv" in printed
    )
    for file in root.glob("*/*.mp4"):
        file.rename(file.with_name(file.name[:11] + file.suffix))  # only the YouTube id is left
    assert len(load("kinetics100", root)) == 12
    assert len(load("kinetics100", root / "train")) == 6  # the csv files lie beside the data root
    assert "labels from ../annotations/train.csv" in capsys.readouterr().out


def test_flat_kinetics_without_csv_files_says_which_are_needed_and_where(copy_of):
    root = copy_of("kinetics_flat")
    shutil.rmtree(root / "annotations")
    with pytest.raises(
        DataNotFound, match=r"need the CSV files .*label,youtube_id.* in labels or annotations in it or beside it"
    ):
        load("kinetics100", root)
    (root / "train.csv").write_text("label,youtube_id\n,BBBBBBBBBBB\nbusking,AAAAAAAAAAA\n")
    (root / "clips.csv").write_text("path,label\na,b\n")
    with pytest.raises(DataNotFound, match="; train.csv labels none of them; "):
        load("kinetics100", root)


def test_two_labels_of_one_video_are_refused_but_not_two_clips_of_one_youtube_video(copy_of):
    root = copy_of("kinetics_flat")
    first = (root / "annotations" / "train.csv").read_text().splitlines()[1].split(",")
    extra = root / "annotations" / "more.csv"
    extra.write_text(f"label,youtube_id,time_start,time_end\nbusking,{first[1]},700,710\n")
    assert len(load("kinetics100", root)) == 12
    extra.write_text(f"label,youtube_id,time_start,time_end\nbusking,{','.join(first[1:4])}\n")
    with pytest.raises(
        ManifestError, match='train.csv labels the video .* "air drumming", but another file says "busk'
    ):
        load("kinetics100", root)


@pytest.mark.parametrize(
    ("place", "said"),
    [("beside", "../labels/train.json"), ("two levels down", "something/labels/train.json")],
)
def test_ssv2_labels_are_found_beside_the_data_root_and_two_levels_down(copy_of, capsys, place, said):
    root = copy_of("ssv2")
    if place == "two levels down":
        (root / "something").mkdir()
        (root / "labels").rename(root / "something" / "labels")
    else:
        root = root / "20bn-something-something-v2"
    assert len(load("ssv2_small", root)) == 6
    assert f"labels from {said}" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- folders


def test_one_picture_in_a_class_folder_does_not_make_it_a_clip(copy_of):
    root = copy_of("ucf101")
    (root / "UCF-101" / "ApplyEyeMakeup" / "thumb1.jpg").write_bytes(b"0")
    dataset = load("ucf101", root)
    assert dataset.classes("train") == ("ApplyEyeMakeup",) and len(dataset) == 6
    folder = load_dataset("folder", cache_dir=root / "cache", data_root=root / "UCF-101")
    assert len(folder) == 6


def frames_beside_flow(root):
    """``class/video/{img,flow_x,flow_y}/00001.jpg``."""
    number = 0
    for labels in miniatures.some_classes("ucf101", (1, 1, 1)).values():
        for label in labels:
            for clip in (1, 2):
                number += 1
                for part in ("img", "flow_x", "flow_y"):
                    miniatures.write_frames(root / label / f"v_{label}_g01_c0{clip}" / part, number)


def test_frames_in_a_folder_beside_flow_are_the_clip_and_flow_is_left_out(tmp_path, capsys):
    root = tmp_path / "frames"
    frames_beside_flow(root)
    dataset = load("ucf101", root)
    assert set(dataset.manifest["group"]) == {f"{label}_g01" for label in classes_of("ucf101")}
    assert len(dataset) == 6
    flow = "12 folders of flow pictures, such as ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01/flow_x, are not read"
    assert f"6 folders of frames, in class folders; {flow}" in capsys.readouterr().out
    own = load_dataset("folder", cache_dir=root.parent / "cache", data_root=root)
    assert len(own) == 6 and set(own.manifest["label"]) == classes_of("ucf101")
    assert flow in capsys.readouterr().out


@pytest.mark.parametrize("root", ["data", "data/tvl1_flow", "data/tvl1_flow/u"])
def test_flow_alone_is_not_taken_for_rgb(tmp_path, root):
    for part in "uv":
        miniatures.write_frames(tmp_path / "data" / "tvl1_flow" / part / "v_Archery_g01_c01", 0, n_frames=1)
    with pytest.raises(DataNotFound, match=r"[12] folders of flow pictures, such as .*v_Archery_g01_c01, are not read"):
        load("ucf101", tmp_path / root)


def test_letters_of_an_alphabet_and_kinetics_flowers_are_no_flow(tmp_path):
    for label in ("t", "u", "v", "flower_arranging"):
        miniatures.write_frames(tmp_path / label / "clip", 0, n_frames=1)
    scan = look_into(tmp_path)
    assert [clip.folder for clip in scan.clips] == ["flower_arranging", "t", "u", "v"] and scan.flow == ()


def test_clips_of_a_neighbouring_benchmark_do_not_enter_classes_of_the_same_name(copy_of, tmp_path):
    root = copy_of("ucf101")
    miniatures.write_clip(root / "UCF-101" / "Fencing" / "v_Fencing_g01_c01.avi", 90)
    miniatures.write_clip(root / "UCF-101" / "Fencing" / "v_Fencing_g02_c01.avi", 91)
    shutil.copytree(copy_of("hmdb51"), root / "hmdb51")
    assert len(list(root.glob("hmdb51/fencing/*"))) == 2
    for name, folder in (("ucf101", "UCF-101"), ("hmdb51", "hmdb51")):
        paths = load(name, root, class_counts="1/1/1" if name == "hmdb51" else "2/1/1").manifest["path"]
        assert len(paths) >= 6 and all(path.startswith(folder) for path in paths)


def test_more_videos_than_published_are_said(pristine, monkeypatch, capsys):
    monkeypatch.setattr("amfir_lib.data.selection.published_class_sizes", lambda name: dict.fromkeys(
        BENCHMARKS[name].split.split_of, 1))  # fmt: skip
    load("ucf101", pristine["ucf101"][0])
    assert "3 classes have more videos than published: ApplyEyeMakeup (2, not 1), " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Die_Another_Day_-_Fencing_Scene_Part_1_[HD]_avi", "Die_Another_Day_-_Fencing_Scene_Part_1_[HD]"),
        ("Die_Another_Day_-_Fencing_Scene_Part_1_[HD]", "Die_Another_Day_-_Fencing_Scene_Part_2_[HD]"),
        ("The_Matrix_2", "The_Matrix_3"),
        ("RETURN_OF_THE_KING", "Return_of_the_King_12"),
        ("Hitch_Part_2", "Hitch"),
    ],
)
def test_scenes_and_parts_of_one_film_are_one_group(one, other):
    first, second = (group_of("hmdb51", "fencing", f"{film}_fencing_f_cm_np2_le_goo_0") for film in (one, other))
    assert first == second


@pytest.mark.parametrize("other", ["The_Matrix_Revolutions_2", "21", "Oceans12", "Iaido_2008"])
def test_other_films_are_other_groups(other):
    films = ["The_Matrix_2", "22", "Oceans13", "Iaido_2009", other]
    groups = [group_of("hmdb51", "turn", f"{film}_turn_h_cm_np1_ri_med_5") for film in films]
    assert len(set(groups)) == len(films)


# ---------------------------------------------------------------------------------------------- video lists


def test_lists_in_the_data_root_may_end_in_list(copy_of, pristine, capsys):
    root = copy_of("ssv2")
    for split in SPLITS:
        (root / f"{split}.list").write_text("\n".join(pristine["ssv2"][1][split]))
    load("ssv2_small", root, class_counts=None)
    assert "the video list ssv2" in capsys.readouterr().out


def test_a_folder_that_all_classes_share_is_no_class(copy_of, pristine):
    root = copy_of("ssv2")
    lists = pristine["ssv2"][1]
    lines = [line.replace("/", "//20bn-something-something-v2/") + ".webm" for split in SPLITS for line in lists[split]]
    (root / "list.txt").write_text("\n".join(lines))
    dataset = load("ssv2_small", root, class_counts=None, video_list=root / "list.txt")
    assert set(dataset.manifest["label"]) == classes_of("ssv2_small") and len(dataset) == 6
    shutil.rmtree(root / "labels")
    full = load("ssv2_full", root, class_counts=None, video_list=root / "list.txt")
    assert set(full.manifest["label"]) == {"train0", "val0", "test0"}


def test_a_numbered_list_of_another_benchmark_is_still_refused():
    lines = "train0//videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\ntrain1//videos/Archery/v_Archery_g01_c01.avi"
    with pytest.raises(ManifestError, match='"ApplyEyeMakeup" in train, but is read for .*hmdb51.*no such class'):
        name_classes(parse_video_list(lines, "list"), BENCHMARKS["hmdb51"].split, {}, "list")


def test_numbers_behind_a_blank_are_left_out():
    wanted = ("v_Archery_g01_c01", "Archery")
    for line in (
        "Archery/v_Archery_g01_c01.avi 3",
        "Archery/v_Archery_g01_c01 120 3",
        "train2//a/Archery/v_Archery_g01_c01.avi 3",
    ):
        (video,) = parse_video_list(line, "list")
        assert (video.name, video.label) == wanted


def test_a_list_that_names_no_video_is_shown_beside_the_first_clip(pristine, tmp_path):
    (tmp_path / "list.txt").write_text("Archery/video_one.avi\nBilliards/video_two.avi\n")
    with pytest.raises(
        DataNotFound,
        match='the first listed video is "Archery/video_one", the first clip is "UCF-101/ApplyEyeMakeup/v_A',
    ):
        load("ucf101", pristine["ucf101"][0], video_list=tmp_path / "list.txt")


def as_published(name, tmp_path, change=lambda lines: lines):
    """The selection of a list with the published numbers, in which something may be changed."""
    split_of, sizes = BENCHMARKS[name].split.split_of, published_class_sizes(name)
    lines = [f"{label}/{label.replace(' ', '_')}_{n}" for label in split_of for n in range(sizes[label])]
    (tmp_path / "list.txt").write_text("\n".join(change(lines)))
    clips = [FoundClip("a/b.avi", "b", "a", ".avi")]
    return from_list(BENCHMARKS[name], clips, {}, tmp_path / "list.txt")


def test_only_a_list_with_the_published_classes_and_counts_is_called_published(tmp_path):
    assert as_published("kinetics100", tmp_path).note == "" == as_published("hmdb51", tmp_path).note
    assert "as published" in as_published("hmdb51", tmp_path).how

    def moved(lines):  # one video from each class to the next
        return [line if line != "air drumming/air_drumming_0" else "arm wrestling/another" for line in lines]

    note = as_published("kinetics100", tmp_path, moved).note
    assert note in [f"not the published split: its video list has {n}" for n in (
        "101 videos of arm wrestling, not 100", "99 videos of air drumming, not 100")]  # fmt: skip

    def merged(lines):  # a class less, and another one with twice its videos
        return [line.replace("air drumming/air", "arm wrestling/air") for line in lines]

    assert "63/12/24 classes" in as_published("kinetics100", tmp_path, merged).note


# ---------------------------------------------------------------------------------------------- what is lacking


def test_absent_classes_are_left_out_by_the_number_of_those_that_are_there():
    rows = [("train", "a", "x"), ("train", "b", ""), ("val", "c", "y"), ("test", "d", "z"), ("test", "e", "w")]
    wanted = pd.DataFrame(rows, columns=["split", "label", "path"])
    classes = class_table(wanted, dict.fromkeys("abcde", 1), [], [])
    report = {"title": "UCF101", "root": "/data", "file": "report.json"}
    with pytest.raises(DataNotFound, match=r'"b" .*add --set class_counts=1/1/2 to the same command\.$'):
        check_shares(classes, min_found=0.9, report=report, nearest={"b": []})
    with pytest.raises(DataNotFound, match=r"listed in report.json\.$"):  # of test nothing is left
        check_shares(classes[classes["split"] != "test"], min_found=0.9, report=report, nearest={"b": []})


def test_a_class_that_is_absent_is_left_out_while_the_others_are_still_looked_at(copy_of):
    root = copy_of("ucf101")
    with pytest.raises(DataNotFound, match=r"98 of 101 classes.*--set class_counts=1/1/1 to the same command"):
        load("ucf101", root, class_counts=None, min_found=0.01)
    assert len(load("ucf101", root, class_counts="1/1/1", min_found=0.01)) == 6
    with pytest.raises(Exception, match="3 of 3 classes .* fewer than 90%"):
        load("ucf101", root, class_counts="1/1/1", min_found=0.9)


# ---------------------------------------------------------------------------------------------- which benchmark it is


@pytest.mark.parametrize(
    ("key", "name"),
    [("kinetics", "kinetics100"), ("kinetics_flat", "kinetics100"), ("hmdb51", "hmdb51"), ("ssv2", "ssv2_small")],
)
def test_the_names_of_the_files_say_which_benchmark_it_is(pristine, key, name):
    assert recognise(pristine[key][0]) == name


def test_with_a_list_something_something_may_be_either(copy_of):
    with pytest.raises(BadParameter, match="may hold ssv2_small or ssv2_full"):
        recognise(copy_of("ssv2"), video_list="list.txt")
