"""What the names of files tell about real clips.  The files here are empty: nothing can have been decoded."""

from __future__ import annotations

import shutil

import pytest
from miniatures import some_classes

from amfir_lib.data.folder import find_clips
from amfir_lib.errors import BadParameter, DataNotFound, TooFewVideos, UnknownParameter
from amfir_lib.run import command
from amfir_lib.run.first_look import look
from amfir_lib.run.plan import Request, plan, source_path
from amfir_lib.storage import write_sealed
from amfir_lib.study.config import Config


@pytest.fixture
def clips(tmp_path):
    """Ten classes with three clips of each of four persons."""
    for number in range(10):
        folder = tmp_path / "clips" / f"action{number}"
        folder.mkdir(parents=True)
        for person in ("ann", "bob", "eve", "joe"):
            for take in range(3):
                (folder / f"{person}_{take}.mp4").touch()
    return tmp_path / "clips"


def seen(root, *, dataset="folder", draws_episodes=True, **parameters):
    values = {"profile": "study", "dataset": dataset, "data_root": str(root)} | parameters
    return look(Config.from_notebook(values, environ={}), draws_episodes=draws_episodes)


def test_a_folder_is_described_by_its_clips_classes_and_groups(clips):
    told = seen(clips, group_pattern="^([a-z]+)_", class_counts="4/3/3", n_way=3)
    assert told == (
        "clips, by the names of its files: 120 clips of 10 classes (4/3/3 train/val/test; drawn, 4/3/3 classes), "
        '4 groups (pattern "^([a-z]+)_").'
    )
    assert "120 groups (each clip its own)" in seen(clips, class_counts="3/2/5", n_way=3)
    assert "in 2 class folds, each class tested once" in seen(clips, class_folds=2, n_way=3)


def test_too_few_classes_are_refused_where_episodes_are_drawn_and_nowhere_else(clips):
    with pytest.raises(BadParameter, match="clips has 3 test classes but n_way is 5"):
        seen(clips, class_counts="4/3/3")
    with pytest.raises(BadParameter, match="clips has 1 validation classes"):
        seen(clips, class_counts="4/1/5")
    with pytest.raises(BadParameter, match="clips has 4 test classes but n_way is 5"):
        seen(clips, class_folds=3)
    assert "4/3/3" in seen(clips, class_counts="4/3/3", draws_episodes=False)


@pytest.mark.parametrize(
    ("n_classes", "persons", "takes", "working"),
    [
        (10, "ab", 5, "class_counts=3/2/5 --set n_way=3 --set n_query=5"),
        (10, "abc", 2, "class_counts=3/2/5 --set n_way=3 --set n_query=1"),
        (6, "abcd", 3, "class_counts=2/2/2 --set n_way=2 --set n_query=5"),
        (23, "abcdefghij", 1, ""),
        (23, "a", 20, None), (23, "abcd", 1, None), (5, "abcd", 5, None),
    ],
)  # fmt: skip
def test_too_few_clips_are_refused_by_their_names_with_numbers_that_work(tmp_path, n_classes, persons, takes, working):
    for number in range(n_classes):
        (tmp_path / f"action{number}").mkdir()
        for person in persons:
            for take in range(takes):
                (tmp_path / f"action{number}" / f"{person}_{take}.mp4").touch()
    asked = {"group_pattern": "^([a-z])_"} if working is None or persons != "abc" else {}
    if working == "":
        assert "(13/5/5 train/val/test" in seen(tmp_path, **asked)
        return
    words = "No numbers make episodes of these clips: it takes six classes" if working is None else working
    with pytest.raises((BadParameter, TooFewVideos), match=words):
        seen(tmp_path, **asked)
    if working is not None:
        numbers = dict(word.split("=") for word in working.replace("--set ", "").split())
        numbers |= {name: int(numbers[name]) for name in ("n_way", "n_query")}
        assert "by the names of its files" in seen(tmp_path, **asked | numbers)


def test_a_pattern_that_finds_no_group_is_refused(clips):
    with pytest.raises(BadParameter, match="finds no group in any of the file names"):
        seen(clips, group_pattern=r"^(\d+)_")


def test_videos_of_a_benchmark_are_counted_beside_those_that_there_should_be(tmp_path):
    for labels in some_classes("ucf101", (1, 1, 1)).values():
        for label in labels:
            (tmp_path / label).mkdir()
            (tmp_path / label / f"v_{label}_g01_c01.avi").touch()
    told = seen(tmp_path, dataset="ucf101", class_counts="1/1/1", draws_episodes=False)
    assert told.startswith("ucf101, by the names of its files: 3 of ") and "3 classes (1/1/1 train/val/test)" in told
    with pytest.raises(UnknownParameter, match='"class_folds" is not a known option of the data set "ucf101"'):
        seen(tmp_path, dataset="ucf101", class_folds=3)
    with pytest.raises(DataNotFound, match="None of the 1 clips"):
        seen(tmp_path / label, dataset="hmdb51")


def test_a_dry_run_looks_at_the_names_and_a_run_that_cannot_succeed_is_refused_at_once(clips, tmp_path, capsys):
    place = ["--cache-dir", str(tmp_path / "cache"), "--results-dir", str(tmp_path / "results"), "--dry-run"]
    asked = ["--dataset", "folder", "--data-root", str(clips), "--set", "class_counts=4/3/3"]
    assert command.main([*asked, *place, "--set", "n_way=3", "--only", "02"]) == 0
    assert "120 clips of 10 classes" in capsys.readouterr().out
    assert command.main([*asked, *place, "--only", "02"]) == 2
    assert "Lower it (--set n_way=3)" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_what_describes_the_data_set_is_no_mistake_where_a_notebook_does_without_it(clips, tmp_path, capsys):
    asked = ["--dataset", "folder", "--data-root", str(clips), "--set", "n_query=4", "--only", "01", "--dry-run"]
    assert command.main([*asked, "--cache-dir", str(tmp_path), "--results-dir", str(tmp_path / "results")]) == 0
    assert "01_data_preparation without n_query: no such parameter there." in capsys.readouterr().out


def test_a_group_pattern_without_a_folder_is_refused(capsys):
    assert command.main(["--group-pattern", "^([a-z]+)_", "--dry-run"]) == 2
    assert "add --dataset folder --data-root DIR" in capsys.readouterr().err


def test_notebooks_that_read_the_clips_alike_are_looked_at_together(clips, tmp_path, monkeypatch, capsys):
    searches = []
    monkeypatch.setattr("amfir_lib.data.folder.find_clips", lambda root: searches.append(root) or find_clips(root))
    asked = [
        "--dataset",
        "folder",
        "--data-root",
        str(clips),
        "--set",
        "class_folds=2",
        "--set",
        "n_way=3",
        "--only",
        "04,05,06,07,09",
    ]
    place = ["--cache-dir", str(tmp_path / "cache"), "--results-dir", str(tmp_path / "results")]
    assert command.main([*asked, *place, "--dry-run"]) == 0
    assert len(searches) == 1 and capsys.readouterr().out.count("by the names of its files") == 1


def test_two_folders_of_one_name_do_not_share_results(clips, tmp_path):
    other = shutil.copytree(clips, tmp_path / "elsewhere" / "clips")
    places = {"AMFIR_CACHE_DIR": str(tmp_path / "cache"), "AMFIR_RESULTS_DIR": str(tmp_path / "results")}

    def planned(root):
        return plan(Request({"dataset": "folder", "data_root": str(root)}, only=("04",), environment=places))[0].config

    write_sealed(source_path(planned(clips)), {"data_root": str(clips)})
    assert planned(clips).study == "clips"
    with pytest.raises(BadParameter, match="holds the results of .*, another folder of the same name"):
        planned(other)
    shutil.rmtree(clips)  # it was moved
    assert planned(other).study == "clips"
