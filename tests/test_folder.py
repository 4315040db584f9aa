"""A folder of clips as a data set, its class splits, and the catalogue.  All comparisons are exact."""

from __future__ import annotations

import os
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_clips import encode_streams, encode_video, moving_frames, smooth_frames, write_class_folders, write_images

from amfir_lib.data import preparation
from amfir_lib.data.catalogue import DATASET_NAMES, load_dataset
from amfir_lib.data.class_split import (
    check_classes,
    draw_class_fold,
    draw_class_split,
    parse_class_split,
    parse_counts,
    published_splits,
    read_class_split,
)
from amfir_lib.data.folder import groups_from_names, load_folder
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.video import write_video
from amfir_lib.errors import (
    BadParameter,
    DataNotFound,
    ManifestError,
    TooFewVideos,
    UnknownName,
    UnknownParameter,
)
from amfir_lib.storage import read_json

SPLIT = "train: [c0, c1, c2]\nval: [c3]\ntest: [c4]\n"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("pristine") / "actions"
    write_class_folders(root)
    return root


@pytest.fixture
def clips(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "actions")


def load(root, **options):
    return load_folder(root, cache_dir=root.parent / "cache", **options)


def test_class_folders_are_enough(clips, capsys):
    dataset = load(clips)
    manifest = dataset.manifest
    assert dataset.name == "actions" and dataset.modalities == ("rgb", "flow") and dataset.flip is False
    assert len(manifest) == 15 and manifest["clip_id"].iloc[0] == "c0/p0_a"
    assert set(manifest["n_frames"]) == {10} and set(manifest["height"]) == {48}
    assert manifest["group"].is_unique
    assert [len(dataset.classes(split)) for split in SPLITS] == [3, 1, 1]
    assert "actions: 15 clips of 5 classes (3/1/1 train/val/test; drawn" in capsys.readouterr().out
    (file,) = clips.parent.glob("cache/folders/*/manifest.csv")
    assert list(pd.read_csv(file)["clip_id"]) == list(manifest["clip_id"])


def test_loading_is_the_same_for_one_and_four_workers_and_a_second_time(clips):
    digests = {load_folder(clips, cache_dir=clips.parent / f"cache{n}", n_jobs=n).digest for n in (1, 4, 1)}
    assert len(digests) == 1


def test_a_second_load_decodes_only_what_has_changed_which_changes_the_digest(clips, monkeypatch):
    before, looked_at, probe = load(clips).digest, [], preparation.probe_video
    monkeypatch.setattr(preparation, "probe_video", lambda path: looked_at.append(path.name) or probe(path))
    assert load(clips).digest == before and looked_at == []
    write_video(clips / "c1" / "p1_a.avi", moving_frames(np.random.default_rng(9)))
    assert load(clips).digest != before and looked_at == ["p1_a.avi"]


def test_folders_of_frames_are_clips_and_a_changed_frame_is_noticed(tmp_path):
    frames = moving_frames(np.random.default_rng(0), n_frames=12, size=32)
    for number, label in enumerate("abc"):
        for clip in range(2):
            write_images(tmp_path / "clips" / label / f"clip{clip}", np.roll(frames, 2 * number + clip, axis=1))
    first = load(tmp_path / "clips")
    assert len(first) == 6 and set(first.manifest["n_frames"]) == {12}
    cv2.imwrite(str(tmp_path / "clips" / "a" / "clip0" / "00003.png"), np.zeros((32, 32, 3), np.uint8))
    assert load(tmp_path / "clips").digest != first.digest


def test_a_damaged_memory_of_earlier_looks_is_ignored(clips):
    before = load(clips).digest
    (probes,) = clips.parent.glob("cache/folders/*/probes.json")
    probes.write_text('{"c0/p0_a.avi": ')
    assert load(clips).digest == before


def test_clips_file_gives_labels_and_groups_and_unlisted_files_are_reported(clips, capsys):
    (clips / "clips.csv").write_text(
        "path,label,group,n_frames\n"
        + "".join(f"c{c}/p{k}_a.avi,c{c},person{k},{10 if c else 99}\n" for c in range(5) for k in range(2))
    )
    dataset = load(clips)
    assert len(dataset) == 10 and set(dataset.manifest["group"]) == {"person0", "person1"}
    printed = capsys.readouterr().out
    assert "videos that clips.csv does not list (5)" in printed
    assert "Clips with another number of frames than clips.csv says (what was decoded counts) (2)" in printed
    assert "c0/p0_a.avi (stated 99, decoded 10)" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "lacks the column path"),
        ("path,label\n", "lists no clip"),
        ("path,label\nc0/p0_a.avi,c0\nc0/p0_a.avi,c1\n", 'line 3: "c0/p0_a.avi" stands twice'),
        ("path,label\n../secret.avi,c0\n", "secret.avi. is outside the folder"),
        ("path,label\n{}\\clips\\a.avi,c0\n".format("C:"), "a.avi. is outside the folder"),
        ("path,label,group\nc0/p0_a.avi,c0,\n", 'line 2: "c0/p0_a.avi" has an empty cell'),
        ("path,label\nc0/p0_a.avi,c0,too,many\n,\n", "clips.csv"),
    ],
)
def test_a_clips_file_that_makes_no_sense_is_refused(clips, text, message):
    (clips / "clips.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        load(clips)


def test_a_group_pattern_finds_persons_in_file_names(clips):
    assert set(load(clips, group_pattern=r"^(p\d)_").manifest["group"]) == {"p0", "p1", "p2"}
    assert groups_from_names(["x/ab_7.avi"], r"(?P<other>a)(?P<group>b)") == ["b"]
    assert groups_from_names(["x/ab_7.avi"], r"\d") == ["7"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"^(q\d)_", 'finds no group in any of the file names, for instance "c0/p0_a.avi"'),
        (r"^(p[01])_", 'finds no group in 5 of 15 of the file names, for instance "c0/p2_a.avi"'),
        (r"(", "is not a regular expression"),
    ],
)
def test_a_group_pattern_that_does_not_fit_names_a_file(clips, pattern, message):
    with pytest.raises(BadParameter, match=message):
        load(clips, group_pattern=pattern)


def test_the_split_file_beside_the_clips_is_used_and_names_the_appearance_stream(clips):
    (clips / "split.yaml").write_text(SPLIT + "appearance: depth\nflip: true\n")
    dataset = load(clips)
    assert dataset.classes("val") == ("c3",) and dataset.classes("test") == ("c4",)
    assert dataset.modalities == ("depth", "flow") and dataset.flip is True
    assert load(clips, appearance="infrared", flip=False).modalities == ("infrared", "flow")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SPLIT.replace("[c3]", "[c3, c0]"), 'has the class "c0" in train and in val'),
        (SPLIT.replace("[c3]", "[c3, c3]"), 'has the class "c3" twice in val'),
        (SPLIT.replace("[c4]", "[cc4]"), r'"cc4" is not a known class .*did you mean "c4"'),
        (SPLIT.replace("c2", "c1").replace("c1, c1", "c1"), 'class "c2" has clips but is in no split'),
        (SPLIT.replace("val:", "validation:"), r'"validation" is not a known key'),
        (SPLIT.replace("val: [c3]\n", ""), 'no list of class names under "val"'),
        ("train: [c0", "is not valid YAML"),
        ("just words", "needs the keys train, val and test"),
    ],
)
def test_a_split_file_that_contradicts_the_clips_is_refused(clips, text, message):
    (clips / "split.yaml").write_text(text)
    with pytest.raises(ManifestError, match=message):
        load(clips)


def test_bad_and_missing_clips_are_skipped_counted_printed_and_listed(clips, capsys):
    (clips / "c0" / "p0_a.avi").write_bytes(b"")
    (clips / "c1" / "p0_a.avi").write_bytes(b"not a video" * 50)
    write_video(clips / "c2" / "p0_a.avi", moving_frames(np.random.default_rng(0), n_frames=5))
    (clips / "c2" / "notes.txt").write_text("not looked at")
    (clips / "c2" / "._p0_a.avi").write_bytes(b"hidden")
    lines = [f"c{c}/p{k}_a.avi,c{c}" for c in range(5) for k in range(3)]
    (clips / "clips.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    (clips / "c3" / "p1_a.avi").unlink()
    dataset = load(clips, max_skipped_share=0.5)
    assert len(dataset) == 11
    printed = capsys.readouterr().out
    assert "Left out: clips that cannot be read (3)" in printed and "is empty (0 bytes)" in printed
    assert re.search(r"There is no video .*c3.p1_a\.avi", printed)
    assert "Left out: clips with fewer than 8 frames (1): c2/p0_a.avi (5)" in printed
    (file,) = clips.parent.glob("cache/folders/*/preparation_report.json")
    report = read_json(file)
    assert str(file) in printed
    assert len(report["unreadable"]) == 3 and report["too_short"] == ["c2/p0_a.avi (5)"] and report["n_clips"] == 11


def test_a_clip_that_lacks_frames_is_named_and_one_that_lacks_many_is_not_used(clips, capsys):
    first = {"movflags": "faststart"}  # the table of frames stands before them
    for name, kept in (("p0_b.mp4", 0.93), ("p1_b.mp4", 0.6)):
        path = encode_video(
            clips / "c0" / name, smooth_frames(60), "mjpeg", pix_fmt="yuvj420p", container_options=first
        )
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
    assert len(load(clips)) == 16
    printed = capsys.readouterr().out
    assert re.search(r"Clips that lack some frames .*: c0/p0_b\.mp4 \(\d\)", printed)
    assert re.search(r"c0/p1_b\.mp4 is damaged: \d+ of its 60 frames are missing", printed)


def test_clips_of_several_video_streams_get_a_word(clips, capsys):
    encode_streams(clips / "c0" / "two.mkv", smooth_frames(), smooth_frames()[::-1])
    encode_streams(clips / "c0" / "short.mkv", smooth_frames()[:3], smooth_frames()[:3])  # is not used anyway
    assert "n_streams" not in load(clips).manifest
    assert "several video streams (how many), of which one is read (1): c0/two.mkv (2)" in capsys.readouterr().out


def test_what_could_not_be_read_is_tried_again(clips):
    whole = (clips / "c0" / "p0_a.avi").read_bytes()
    stamp = (clips / "c0" / "p0_a.avi").stat()
    (clips / "c0" / "p0_a.avi").write_bytes(b"\0" * len(whole))
    os.utime(clips / "c0" / "p0_a.avi", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert len(load(clips)) == 14
    (clips / "c0" / "p0_a.avi").write_bytes(whole)
    os.utime(clips / "c0" / "p0_a.avi", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert len(load(clips)) == 15


def test_a_class_left_with_one_clip_is_named_with_a_remedy(clips):
    for name in ("p0_a.avi", "p1_a.avi"):
        (clips / "c3" / name).write_bytes(b"")
    with pytest.raises(TooFewVideos, match='class "c3" has 1 usable clips of 3, .* Add clips, or remove the class'):
        load(clips)


def test_too_many_bad_clips_are_not_tolerated(clips):
    for c in range(4):
        (clips / f"c{c}" / "p0_a.avi").write_bytes(b"")
    with pytest.raises(TooFewVideos, match="4 of 15 clips .* more than the accepted 20%"):
        load(clips)
    assert len(load(clips, max_skipped_share=0.5)) == 11


def test_a_folder_that_is_missing_or_holds_no_clips_says_what_is_expected(tmp_path):
    with pytest.raises(DataNotFound, match="There is no folder .*one folder per class"):
        load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match="holds no video .* Give the folder that holds one folder per class"):
        load(tmp_path / "empty")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "clip.avi").touch()
    with pytest.raises(DataNotFound, match="holds no video as class_name/clip.ext"):
        load(tmp_path / "flat")


def test_clips_that_differ_in_their_suffix_only_have_different_ids(clips):
    encode_video(clips / "c0" / "p0_a.mkv", smooth_frames(), "libx264")
    assert {"c0/p0_a.avi", "c0/p0_a.mkv"} < set(load(clips).manifest["clip_id"])


def test_class_counts_and_folds_go_before_the_split_file(clips):
    (clips / "split.yaml").write_text(SPLIT + "appearance: depth\n")
    dataset = load(clips, class_counts="1/2/2")
    assert [len(dataset.classes(split)) for split in SPLITS] == [1, 2, 2] and dataset.modalities[0] == "depth"
    test = [load(clips, class_folds=5, class_fold=fold).classes("test") for fold in range(5)]
    assert sorted(label for part in test for label in part) == ["c0", "c1", "c2", "c3", "c4"]
    with pytest.raises(BadParameter, match="asked for at once"):
        load(clips, split="ucf101_ARN", class_counts="1/2/2")


def test_three_folds_of_27_classes_have_13_5_and_9_and_each_class_is_novel_once():
    labels = [f"a{i:02d}" for i in range(27)]
    novel = []
    for fold in range(3):
        split = draw_class_fold(labels, n_folds=3, fold=fold, rng=np.random.default_rng(0))
        assert split.counts == (13, 5, 9)
        novel += [label for label, name in split.split_of.items() if name == "test"]
    assert sorted(novel) == labels


@given(st.integers(3, 60), st.integers(0, 2**32 - 1))
def test_a_drawn_split_covers_every_class_once_and_none_is_empty(n_classes, seed):
    labels = [f"a{i}" for i in range(n_classes)]
    split = draw_class_split(labels, rng=np.random.default_rng(seed))
    check_classes(split, labels)
    assert sum(split.counts) == n_classes and min(split.counts) >= 1
    assert split == draw_class_split(labels[::-1], rng=np.random.default_rng(seed))


@pytest.mark.parametrize("counts", ["4/3", "4/3/x", "0/5/5", 10, "4/3/3/2"])
def test_class_counts_that_are_no_three_numbers_are_refused(counts):
    with pytest.raises(BadParameter, match="like 4/3/3"):
        parse_counts(counts)


def test_class_counts_must_add_up_and_folds_must_exist():
    labels = list("abcdefghij")
    with pytest.raises(BadParameter, match="4/3/4 add up to 11, but 10 classes"):
        draw_class_split(labels, rng=np.random.default_rng(0), counts="4/3/4")
    with pytest.raises(BadParameter, match="class fold 3 of 3"):
        draw_class_fold(labels, n_folds=3, fold=3, rng=np.random.default_rng(0))
    with pytest.raises(ManifestError, match="2 classes cannot be split"):
        draw_class_split(["a", "b"], rng=np.random.default_rng(0))


def test_the_published_class_lists_have_the_published_sizes():
    sizes = {name: read_class_split(name).counts for name in published_splits()}
    assert sizes == {
        "hmdb51_ARN": (31, 10, 10), "kinetics100_CMN": (64, 12, 24), "ssv2_full_OTAM": (64, 12, 24),
        "ssv2_small_CMN": (64, 12, 24), "ucf101_ARN": (70, 10, 21),
    }  # fmt: skip
    with pytest.raises(DataNotFound, match="one of hmdb51_ARN"):
        read_class_split("no_such_list")


def test_class_names_that_yaml_reads_as_numbers_stay_text():
    split = parse_class_split("train: [1, 2]\nval: [3]\ntest: [04a]\n", "s.yaml")
    assert set(split.split_of) == {"1", "2", "3", "04a"}


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("synth-ssv3", {}, UnknownName, '"synth-ssv3" is not a known data set .did you mean "synth-ssv2"'),
        ("folder", {}, BadParameter, "give --data-root DIR"),
        ("synth-ssv2", {"data_root": "clips"}, BadParameter, "is rendered and takes no data root"),
        ("folder", {"data_root": "clips", "group_patern": "x"}, UnknownParameter, 'did you mean "group_pattern"'),
        ("ucf101", {"data_root": "clips", "class_folds": 3}, UnknownParameter, '"class_folds" .* of .* "ucf101"'),
    ],
)
def test_the_catalogue_refuses_what_it_does_not_know(tmp_path, name, options, error, message):
    with pytest.raises(error, match=message):
        load_dataset(name, cache_dir=tmp_path, **options)


def test_the_catalogue_loads_a_folder_and_an_empty_option_is_not_given(clips):
    assert len(load_dataset("folder", cache_dir=clips.parent / "cache", data_root=clips, group_pattern="")) == 15
    assert "folder" in DATASET_NAMES


def test_appearance_is_named_by_argument_then_by_split_file_then_by_the_folder(tmp_path, capsys):
    root = tmp_path / "clips_depth"
    write_class_folders(root)
    assert load_folder(root, cache_dir=tmp_path / "cache").modalities == ("depth", "flow")
    assert 'called "depth" after the folder clips_depth' in capsys.readouterr().out
    (root / "split.yaml").write_text(SPLIT + "appearance: thermal\n")
    assert load_folder(root, cache_dir=tmp_path / "cache").modalities == ("thermal", "flow")
    assert load_folder(root, cache_dir=tmp_path / "cache", appearance="rgb").modalities == ("rgb", "flow")
    assert "called" not in capsys.readouterr().out


# what people have: layouts, copies, spellings


def placed(root, *names, start=0):
    """Write another small clip at each of these places below a root."""
    for number, name in enumerate(names, start=start):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, moving_frames(np.random.default_rng(number)))


LETTERS = "abcdef"  # classes


@pytest.mark.parametrize(
    ("names", "labels", "groups", "said"),
    [
        ([f"{c}/p{k}/x.avi" for c in LETTERS for k in (1, 2)], LETTERS, {"p1", "p2"}, ""),
        ([f"{s}/{c}/x{s}.avi" for c in LETTERS for s in ("train", "test")], LETTERS, None, "of a split are joined"),
        ([f"{c}/x{k}.avi" for c in LETTERS for k in (1, 2)] + ["loose.avi"], LETTERS, None, r"folder \(1\): loose"),
    ],
)  # fmt: skip
def test_deeper_folders_are_groups_and_what_is_left_out_is_named(tmp_path, capsys, names, labels, groups, said):
    placed(tmp_path / "set", *names)
    manifest = load(tmp_path / "set").manifest
    assert sorted(set(manifest["label"])) == list(labels) and (manifest["label"].value_counts() == 2).all()
    assert groups is None or set(manifest["group"]) == groups
    assert re.search(said, capsys.readouterr().out)


def test_every_file_that_is_no_clip_is_counted_and_named(clips, capsys):
    for name in ("c0/notes.docx", "c1/archive.zip", "c2/sound.wav"):
        (clips / name).write_bytes(b"0")
    encode_video(clips / "c0" / "p9.wmv", smooth_frames(), "wmv2")
    assert len(load(clips)) == 16
    assert re.search(r"files .*no clips \(3\): c0/notes.docx, c1/archive.zip, c2/sound", capsys.readouterr().out)


def test_names_that_are_no_utf_8_are_named_with_a_remedy(clips, capsys):
    for name in (b"c0/caf\xe9.avi", b"\xe9cole"):
        place = clips / os.fsdecode(name)
        shutil.copytree(clips / "c0", place) if b"." not in name else shutil.copy(clips / "c0" / "p0_a.avi", place)
    assert len(load(clips)) == 15
    assert "c0/caf\\udce9.avi (its name is not UTF-8: rename it)" in capsys.readouterr().out


def test_a_link_to_itself_and_a_root_that_is_a_link_are_no_obstacle(clips, tmp_path):
    (clips / "c0" / "loop").symlink_to(clips / "c0" / "loop")
    (tmp_path / "link").symlink_to(clips)
    lines = [f"{clips}/c{c}/p{k}_a.avi,c{c}" for c in range(5) for k in range(3)]
    (clips / "clips.csv").write_text("path,label\n" + "\n".join(lines))
    assert len(load(tmp_path / "link")) == 15


def test_frames_of_one_clip_in_two_folders_are_refused_and_a_list_of_clips_needs_no_class_folders(clips, capsys):
    for part in ("img", "rgb"):
        write_images(clips / "c1" / "p9" / part, smooth_frames())
    with pytest.raises(ManifestError, match="c1/p9/img and c1/p9/rgb are frames of one clip"):
        load(clips)
    for number, path in enumerate(sorted(clips.rglob("*.avi"))):
        path.rename(clips / f"{number:02d}.avi")
    lines = [f"{n:02d}.avi,c{n // 3}" for n in range(15)]
    (clips / "clips.csv").write_text("path,label\n" + "\n".join(lines))
    capsys.readouterr()
    assert len(load(clips)) == 15
    printed = capsys.readouterr().out
    assert "does not list (2)" in printed and "c1/p9/rgb" in printed and "no class folder" not in printed


def test_a_copy_is_one_clip_and_under_two_labels_it_is_refused(clips, capsys):
    shutil.copy(clips / "c0" / "p0_a.avi", clips / "c0" / "copy.avi")
    write_images(clips / "c1" / "p0_a", smooth_frames())
    assert len(load(clips)) == 15
    printed = capsys.readouterr().out
    assert "copies of others (1)" in printed and "videos lie beside them (1): c1/p0_a" in printed
    shutil.copy(clips / "c0" / "p0_a.avi", clips / "c1" / "other.avi")
    with pytest.raises(ManifestError, match="are one video under two labels"):
        load(clips)


@pytest.mark.parametrize("spelling", ["C0", "c\u200b0", "\uff430"])
def test_two_spellings_of_a_class_are_refused(clips, spelling):
    placed(clips, f"{spelling}/x.avi", f"{spelling}/y.avi", start=90)
    with pytest.raises(ManifestError, match="two spellings of one class"):
        load(clips)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_clips_files_of_spreadsheets_and_with_absolute_paths_are_read(clips, mark):
    lines = [f"{clips}/c{c}/p{k}_a.avi{mark}c{c}{mark}p{k}" for c in range(5) for k in range(3)]
    (clips / "clips.csv").write_text(f"\ufeffpath{mark}label{mark}group\n" + "\n".join(lines), encoding="utf-8")
    manifest = load(clips).manifest
    assert len(manifest) == 15 and set(manifest["group"]) == {"p0", "p1", "p2"} and manifest["path"][0] == "c0/p0_a.avi"


def test_a_pattern_sees_the_name_of_a_clip_of_frames_and_the_folders_above_it():
    assert groups_from_names(["run/p3_walk/img"], r"^(p\d)_") == ["p3"]
    assert groups_from_names(["run/anna/0001.mp4"], "anna|bert") == ["anna"]


def test_classes_may_be_called_on_no_and_007(tmp_path):
    placed(tmp_path / "set", *(f"{label}/{k}.avi" for label in ("on", "no", "007", "1e3") for k in range(2)))
    (tmp_path / "set" / "split.yaml").write_text("train: [on, no]\nval: [007]\ntest: [1e3]\nflip: yes\n")
    dataset = load(tmp_path / "set")
    assert dataset.classes("train") == ("no", "on") and dataset.classes("val") == ("007",) and dataset.flip
