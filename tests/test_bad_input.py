"""Bad input, whole path: one clear sentence that names what is wrong and the remedy, and nothing lost.

What a single module refuses is tested beside it (videos, folders, manifests, features, episodes, parameters); here are
the sentences as a person meets them, and the cases that cross modules.
"""

from __future__ import annotations

import errno
import io
import re

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from small_notebooks import write_notebook
from toy_clips import moving_frames, write_class_folders
from toy_tables import QUICK, new_method, toy_material, toy_table

from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.manifest import check_manifest
from amfir_lib.data.streams import streams
from amfir_lib.data.video import read_frames, write_video
from amfir_lib.errors import AmfirError, DiskFull, UnknownName
from amfir_lib.run import command, runner
from amfir_lib.storage import atomic_write
from amfir_lib.study import runs as runs_module
from amfir_lib.study.config import Config
from amfir_lib.study.episodes import sample_episodes
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.study import prepare
from amfir_lib.study.training import train

CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=10)


def file(path, content):
    path.write_bytes(content)
    return path


def video(path, n_frames=10):
    write_video(path, moving_frames(np.random.default_rng(0), n_frames=n_frames))
    return path


def clips_with_a_small_class(folder):
    write_class_folders(folder / "clips")
    for name in ("p1_a.avi", "p2_a.avi"):
        (folder / "clips" / "c3" / name).unlink()
    return {"data_root": folder / "clips", "cache_dir": folder / "cache"}


def class_in_two_splits(folder):
    manifest = toy_material(folder).dataset.manifest.copy()
    manifest.loc[0, "split"] = "test"
    check_manifest(manifest, "clips.csv")


def group_on_both_sides(folder):
    options = {"n_way": 1, "n_shot": 1, "n_query": 1, "n_episodes": 1, "rng": np.random.default_rng(0)}
    sample_episodes(np.zeros(6, int), np.zeros(6, int), np.arange(6), class_names=["wave"], **options)


def nan_features(folder):
    table = toy_table()
    table.features["rgb"][0] = torch.nan
    train(new_method(), table, QUICK, seed=0)


def run(folder, *method, cell=CELL):
    run_all([Run(toy_material(folder), *method)], [cell], cache_dir=folder)


@pytest.mark.parametrize(
    ("case", "names", "remedy"),
    [
        (lambda f: read_frames(file(f / "wave.avi", b"")), "wave.avi", "again"),
        (lambda f: read_frames(file(f / "a.avi", video(f / "b.avi").read_bytes()[:300])), "a.avi", "again"),
        (lambda f: read_frames(file(f / "wave.avi", b"today I waved. " * 20)), "wave.avi", "again"),
        (
            lambda f: streams(video(f / "wave.avi", 5), {"rgb": 48}),
            "wave.avi has 5 frames", "Drop the clip, or lower n_segments",
        ),
        (
            lambda f: load_dataset("folder", **clips_with_a_small_class(f)),
            'class "c3"', "Add clips, or remove the class",
        ),
        (class_in_two_splits, 'class "class0" in two splits', "put all its clips into one split"),
        (group_on_both_sides, 'class "wave" has 6 videos from 1 group', "or drop the class"),
        (nan_features, 'rgb features of row 0 .class "class0".', "Extract the features again"),
        (lambda f: load_dataset("synth-svs2", cache_dir=f), '"synth-svs2"', 'did you mean "synth-ssv2"'),
        (lambda f: run(f, "amfri"), '"amfri"', 'did you mean "amfir"'),
        (lambda f: run(f, "amfir", {"kd_lamda": 1.0}), '"kd_lamda"', 'did you mean "kd_lambda"'),
        (
            lambda f: run(f, "amfir", {"width": 4}, QUICK, cell=TestCell(n_way=9)),
            "there are 6 classes .* 9-way", "Lower n_way to 6",
        ),
        (
            lambda f: load_dataset("synth-ssv2", cache_dir=f, class_counts=(4, 5, 4)),
            r"\(4, 5, 4\)", "take even numbers",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_what_and_where_and_the_remedy(tmp_path, case, names, remedy):
    with pytest.raises(AmfirError) as caught:
        case(tmp_path)
    sentence = str(caught.value)
    assert "\n" not in sentence and "Traceback" not in sentence and len(sentence) < 400
    assert re.search(names, sentence) and re.search(remedy, sentence), sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "synth-svs2"], ['"synth-svs2" is not a known data set', 'did you mean "synth-ssv2"']),
        (["-p", "nway=3"], ['"nway" is not a known parameter', 'did you mean "n_way"']),
        (["-p", "n_way=five"], ['n_way of 01_data_preparation is "five"', "a whole number", "-p n_way="]),
        (["--dataset", "folder", "--data-root", "no/such"], ["no/such", "must be the folder of your clips"]),
        (["--data-root", "."], ["holds no video", "Give the folder that holds the videos (--data-root)"]),
    ],
)
def test_the_command_line_refuses_before_anything_is_computed(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    place = ["--cache-dir", str(tmp_path / "cache"), "--results-dir", str(tmp_path / "results")]
    assert command.main(["--only", "01_data_preparation", *arguments, *place]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err + captured.out
    assert all(word in captured.err for word in words), captured.err
    assert not list(tmp_path.rglob("*.json"))  # no kernel was started, no record written


BAD_CLASS = """
from pathlib import Path
from amfir_lib.study.study import open_dataset, prepare
open_dataset(config, "folder")
"""


def test_a_bad_folder_reaches_the_screen_as_one_line_and_the_log_as_a_traceback(tmp_path):
    clips_with_a_small_class(tmp_path)
    parameters = 'profile: str = "smoke"\ndataset: str = ""\ndata_root: str = ""\nn_seeds: int = 0'
    write_notebook(tmp_path / "notebooks", "01_clips", BAD_CLASS, parameters=parameters)
    request = runner.Request(
        baseline={"dataset": "folder", "data_root": str(tmp_path / "clips")},
        notebooks=tmp_path / "notebooks",
        environment={
            "AMFIR_CACHE_DIR": str(tmp_path / "cache"),
            "AMFIR_RESULTS_DIR": str(tmp_path / "results"),
            "AMFIR_JOBS": "1",
        },
    )
    stream = io.StringIO()
    assert runner.run(request, stream) == 1
    text = stream.getvalue()
    (line,) = [line for line in text.splitlines() if line.startswith("NotebookFailed")]
    assert "TooFewVideos" in line and 'class "c3"' in line and "Traceback" not in text
    (log,) = (tmp_path / "results").rglob("01_clips.log")
    assert "Traceback" in log.read_text() and 'class "c3"' in log.read_text()


def test_an_unknown_backbone_is_refused_before_clips_are_rendered(tmp_path):
    config = Config.from_notebook({"profile": "smoke"}, environ={"AMFIR_CACHE_DIR": str(tmp_path)})
    with pytest.raises(UnknownName, match='did you mean "compact"'):
        prepare(config.having(backbone="compat"), "synth-ssv2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_disk_that_is_full_is_named_by_the_file_and_keeps_the_old_one(tmp_path, error):
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(DiskFull, match=r"No room on the disk for .*state\.safetensors\. Free space there, or choose"):
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise error
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fills_while_a_run_is_written_loses_no_other_run(tmp_path, monkeypatch, capsys):
    material = toy_material(tmp_path)
    done, failing = (Run(material, "amfir", {"width": 4}, QUICK, seed=seed) for seed in (0, 1))
    save_file, calls = runs_module.save_file, iter(range(1))

    def fills(state, path):
        if next(calls, None) is None:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_file(state, path)

    with monkeypatch.context() as patch, pytest.raises(DiskFull, match="No room on the disk for .*--cache-dir"):
        patch.setattr(runs_module, "save_file", fills)
        run_all([done, failing], [CELL], cache_dir=tmp_path)
    capsys.readouterr()
    run_all([done, failing], [CELL], cache_dir=tmp_path)
    out = capsys.readouterr().out
    assert "toy/amfir/seed 1: resumed where it was interrupted" in out
    assert out.endswith("training: 1 computed, 1 found in the cache\n")
