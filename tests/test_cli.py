"""The command line: what is understood, what is refused, and with which exit status."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from small_notebooks import PARAMETERS, write_notebook

from amfir_lib import __version__, fusion, paths
from amfir_lib.errors import BadParameter
from amfir_lib.run import command, runner
from amfir_lib.run.clean import TAG, tag_cache
from amfir_lib.run.notebooks import find_notebooks
from amfir_lib.run.plan import Request, plan
from amfir_lib.storage import digest_of_code, write_json, write_sealed

RUN_ALL = paths.REPOSITORY / "run_all.sh"


def refused(capsys, *arguments: str) -> str:
    """The one sentence on standard error; checks that the exit status is 2."""
    assert command.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


@pytest.fixture
def requests(monkeypatch):
    """The requests that reach the runner, instead of being carried out."""
    seen: list[runner.Request] = []
    monkeypatch.setattr(runner, "run", lambda request: seen.append(request) or 0)
    return seen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "--dry-run"], "--dry-run and --list belong to a run"),
        (["--cold"], "--cold and --exact belong to the command check"),
        (["--stale"], "belong to the command clean"),
        (["--set", "n_way=3"], "with --dataset NAME. Any other change is a variant: -p n_way=3"),
        (["--dataset", "synth-ssv2", "--set", "kd_lambda=3"], "Any other change is a variant: -p kd_lambda=3"),
        (["--dataset", "synth-ssv2", "--set", "n_way"], "--set NAME=VALUE"),
        (["--backend", "dusk"], '"dusk" is not a known backend (did you mean "dask"?)'),
        (["--backend", "dask"], "--backend dask needs the address of a running cluster: --scheduler ADDRESS."),
        (["--scheduler", "tcp://x"], "--scheduler tcp://x belongs to a cluster: add --backend dask (or ray)."),
        (["doctor", "--devices", "2"], "--devices 2 is for training the backbones"),
        (["--devices", "0"], 'The number of devices is "0", but must be a whole number of at least 1.'),
        (["tset"], 'did you mean "test"'),
        (["--profile", "smokey"], 'did you mean "smoke"'),
        (["--nway", "5"], '"--nway" is not a known option'),
        (["--profil", "smoke"], 'did you mean "--profile"'),
        (["--jobs", "none"], "must be a whole number"),
        (["--device", "gpu"], "auto, cpu, cuda or cuda:N"),
        (["--seeds", "0"], "--seeds is 0"),
        (["-p", "n_way"], "-p NAME=VALUE"),
        (["-p", "n_way=5", "-p", "n_way=6"], "given twice"),
        (["--yes"], "belong to the command clean"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence_with_status_2(capsys, requests, arguments, words):
    assert words in refused(capsys, *arguments)
    assert not requests


def test_options_reach_the_runner(requests, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "--profile smoke --only 01_a,02_b --only 3 -p n_way=7 --seeds 2 --jobs 2 --device cpu --cache-dir c --force"
    assert command.main(line.split()) == 0
    request = requests[0]
    assert request.baseline == {"profile": "smoke"}
    assert request.overrides == {"n_way": "7", "n_seeds": "2"}
    assert request.only == ("01_a", "02_b", "3")
    assert request.environment == {"AMFIR_CACHE_DIR": str(tmp_path / "c"), "AMFIR_DEVICE": "cpu", "AMFIR_JOBS": "2"}
    assert request.force


def test_a_relative_data_root_is_found_from_where_the_user_stands(requests, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.main(["--dataset", "folder", "--data-root", "clips", "--set", "class_counts=4/3/3", "-p", "score=entropy"])
    assert requests[0].facts == {"class_counts": "4/3/3"} and requests[0].overrides == {"score": "entropy"}
    data_root = requests[0].baseline["data_root"]
    assert (paths.REPOSITORY / data_root).resolve() == tmp_path.resolve() / "clips"


def test_a_data_root_says_which_benchmark_it_holds(requests, tmp_path, capsys):
    for name in ("v_Archery_g01_c01.avi", "v_Archery_g01_c02.avi", "cover.avi"):
        (tmp_path / name).write_bytes(b"")
    assert command.main(["--profile", "paper", "--data-root", str(tmp_path), "--set", "class_counts=4/3/3"]) == 0
    assert requests[0].baseline["dataset"] == "ucf101" and requests[0].facts == {"class_counts": "4/3/3"}
    assert f"The files in {tmp_path} are named as those of ucf101: --dataset ucf101." in capsys.readouterr().out
    (tmp_path / "v_Archery_g01_c01.avi").rename(tmp_path / "archery.avi")
    words = "Say which is meant: --dataset ucf101, or another of kinetics100, ssv2_small"
    assert words in refused(capsys, "--data-root", str(tmp_path))
    (tmp_path / "A_eat_f_cm_np1_fr_med_0.avi").write_bytes(b"")
    assert "may hold ucf101 or hmdb51. Say which" in refused(capsys, "--data-root", str(tmp_path))


def test_the_paper_profile_without_data_says_what_it_runs(requests, capsys):
    assert command.main(["--profile", "paper"]) == 0
    assert "runs the synthetic benchmarks without --data-root" in capsys.readouterr().out
    command.main(["--profile", "paper", "--dataset", "synth-ssv2"])
    command.main(["--profile", "study"])
    assert capsys.readouterr().out == "" and [r.baseline.get("dataset") for r in requests] == [None, "synth-ssv2", None]


def test_list_says_what_a_notebook_makes_takes_and_needs_in_time(capsys, tmp_path):
    write_notebook(tmp_path, "03_free_energy")
    parameters = f"{PARAMETERS}\nmargin: float = 0.1  # to dominate"
    write_notebook(tmp_path, "04_other", parameters=parameters, needs=["03_free_energy"])
    record = {"seconds": 5, "peak_memory_bytes": 1e8, "environment": {"cores": 2, "device": "cpu"}}
    record |= {"costliest": {"seconds": 190, "peak_memory_bytes": 1.2e9}}  # the first execution, not the last
    record |= {"exports": {"figures/more.pdf": "", "figures/more.png": "", "tables/04_other.csv": ""}}
    write_json(tmp_path / "results" / "smoke" / "records" / "04_other.json", record)
    assert command.main(["--notebooks-dir", str(tmp_path), "--list", "--results-dir", str(tmp_path / "results")]) == 0
    text = capsys.readouterr().out
    first, second, shared = text.split("\n\n")[:3]
    assert "not measured yet (no record in smoke)" in first and "margin" not in first
    assert "3:10 min on 2 cores (cpu), 1.2 GB, by its record in smoke" in second
    assert "figures     more\n" in second and "tables      04_other\n" in second
    assert "needs       03_free_energy" in second
    assert "margin: float = 0.1   to dominate" in second and "n_way" not in second
    assert "n_way: int = 5   classes per episode" in shared


def test_several_devices_are_refused_where_no_backbone_is_trained():
    several = {"AMFIR_DEVICES": "2"}
    with pytest.raises(BadParameter, match=r"--devices 2 is for .* --only 02_training -p end_to_end=True"):
        plan(Request(only=("02",), environment=several))
    (task,) = plan(Request(only=("02",), environment=several, overrides={"end_to_end": "True"}))
    assert task.config.devices == 2


def test_every_notebook_takes_the_variants_of_a_backbone():
    chosen = {"backbone": "resnet18", "weights": "random", "input_size": "112", "n_patches": "1"}
    tasks = plan(Request(overrides=chosen))
    assert len(tasks) == len(find_notebooks(paths.NOTEBOOKS))
    for task in tasks:
        own = {name: task.config.options[name] for name in chosen}
        assert own == {"backbone": "resnet18", "weights": "random", "input_size": 112, "n_patches": 1}
        assert task.config.variant == "backbone=resnet18,input_size=112,n_patches=1,weights=random"


def test_help_of_a_notebook_needs_no_kernel(capsys, tmp_path):
    write_notebook(tmp_path, "03_free_energy")
    assert command.main(["--notebooks-dir", str(tmp_path), "--help", "03"]) == 0
    assert "n_way: int = 5   classes per episode" in capsys.readouterr().out


def test_the_help_text_names_every_option():
    text = (paths.LIBRARY / "run" / "usage.txt").read_text()
    for action in command.build_parser()._actions:
        for option in action.option_strings:
            assert option in text or option == "--notebooks-dir"
    for name in command.COMMANDS[1:]:
        assert f"\n  {name}" in text


def test_arguments_after_test_go_to_pytest_unread(monkeypatch):
    seen = []
    finished = subprocess.CompletedProcess((), 3)
    monkeypatch.setattr(subprocess, "run", lambda arguments, **_: seen.extend(arguments) or finished)
    assert command.main(["test", "-k", "fusion", "--help"]) == 3
    assert seen[1:] == ["-m", "pytest", "-k", "fusion", "--help"]


def test_a_folder_that_may_not_be_written_is_named_with_a_remedy(capsys, monkeypatch):
    def refuse(request):
        raise PermissionError(13, "Permission denied", "/cache/runs")

    monkeypatch.setattr(runner, "run", refuse)
    assert command.main([]) == 1
    assert re.search(r"/cache/runs may not be .* another --cache-dir", capsys.readouterr().err)


def test_lab_takes_the_places_of_the_study_and_hands_on_the_rest(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("os.execve", lambda program, arguments, environment: calls.append((arguments, environment)))
    command.main(["lab", "--cache-dir", str(tmp_path / "cache"), "--no-browser", "--jobs=1"])
    ((arguments, environment),) = calls
    assert arguments[-1] == "--no-browser" and "--cache-dir" not in arguments
    assert environment["AMFIR_CACHE_DIR"] == str(tmp_path / "cache") and environment["AMFIR_JOBS"] == "1"
    assert (tmp_path / "cache" / "jupyter").is_dir()


def test_clean_says_what_and_how_much_and_removes_only_a_folder_of_ours(capsys, tmp_path):
    cache, results = tmp_path / "cache", tmp_path / "results"
    places = ["--cache-dir", str(cache), "--results-dir", str(results)]
    tag_cache(cache)
    (cache / "clip.avi").write_bytes(bytes(2_000_000))
    (results / "study" / "variants" / "n_way=7").mkdir(parents=True)

    assert command.main(["clean", "--cache", *places]) == 1  # nobody there to ask
    assert "2 MB" in capsys.readouterr().out and cache.exists()
    assert command.main(["clean", "--cache", "--yes", *places]) == 0
    assert not cache.exists() and (results / "study" / "variants").exists()
    assert command.main(["clean", "--variants", "--yes", *places]) == 0
    assert not (results / "study" / "variants").exists() and (results / "study").exists()


def test_clean_stale_removes_runs_that_no_present_code_and_no_record_refers_to(capsys, tmp_path):
    cache, results = tmp_path / "cache", tmp_path / "results"
    tag_cache(cache)
    now = {"torch": torch.__version__, "code": {"amfir_lib.fusion": digest_of_code(fusion), "run": "0"}, "parts": {}}
    old = now | {"code": {"amfir_lib.fusion": "0"}}

    def add(name: str, identity: dict | None) -> Path:
        folder = cache / "runs" / "toy" / name
        write_json(folder / "history.json", {})
        if identity:
            write_sealed(folder / "record.json", {"identity": identity, "key": name.rpartition("-")[2]})
        return folder

    whole = now | {"parts": {"protonet": "part"}}
    kept = [add("protonet_lf-0-now", whole), add("amfir-0-named", old), add("protonet-0-part", old)]
    gone = [add("trx-0-old", old), add("trx-1-other", now | {"torch": "0"}), add("amfir-0-halfway", None)]
    gone.append(add("amfir-2-damaged", now))
    (gone[-1] / "record.json").write_bytes(b"\0\0")
    kept.append(add("amfir-1-halfway", None))  # nothing was finished in its place
    for halfway in (gone[2], kept[-1]):
        (halfway / "checkpoint.pt").touch()
        os.utime(halfway / "checkpoint.pt", (0, 0))
    write_json(results / "study" / "records" / "02_a.json", {"numbers": {"runs": [{"key": "named"}]}})
    places = ["--cache-dir", str(cache), "--results-dir", str(results)]

    assert command.main(["clean", "--stale", *places]) == 1  # nobody there to ask
    text = capsys.readouterr().out
    assert "amfir_lib.fusion has changed since" in text and "made with torch 0" in text and "interrupted" in text
    assert command.main(["clean", "--stale", "--yes", *places]) == 0
    assert all(folder.exists() for folder in kept) and not any(folder.exists() for folder in gone)
    assert command.main(["clean", "--stale", *places]) == 0
    assert "There is nothing to remove." in capsys.readouterr().out


def test_clean_refuses_a_folder_that_may_not_be_ours(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert TAG in refused(capsys, "clean", "--cache", "--yes", "--cache-dir", str(tmp_path))
    assert (tmp_path / "thesis.tex").exists()


def run_all(*arguments: str, cwd) -> subprocess.CompletedProcess:
    """Run the script in an almost empty environment."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run([str(RUN_ALL), *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_script_answers_help_and_version_without_any_set_up_from_any_folder(tmp_path):
    assert run_all("--version", cwd=tmp_path).stdout == f"amfir-study {__version__}\n"
    assert run_all("--help", cwd=tmp_path).stdout == (paths.LIBRARY / "run" / "usage.txt").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_script_works_through_a_link_with_a_space_in_its_path(tmp_path):
    link = tmp_path / "a folder" / "study"
    link.parent.mkdir()
    link.symlink_to(RUN_ALL)
    result = subprocess.run([str(link), "--version"], capture_output=True, text=True, check=True)
    assert __version__ in result.stdout
