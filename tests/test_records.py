"""The record of a notebook: written last, with what it says about exports, code and machine."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from amfir_lib import records
from amfir_lib.errors import UnknownName
from amfir_lib.exports import Table
from amfir_lib.storage import digest_of_file
from amfir_lib.study.config import Config


@pytest.fixture
def config(tmp_path):
    return replace(Config.from_notebook({"profile": "smoke", "margin": 0.1}, environ={}), results_dir=tmp_path)


def a_figure() -> Figure:
    figure = Figure(figsize=(3.4, 2.0))
    figure.add_subplot().plot([0, 1], [0, 1], label="AMFIR")
    return figure


def test_the_record_names_every_export_with_its_digest_and_says_done(config):
    run = records.start("30_margin_sweep", config)
    drawn = {"curve": pd.DataFrame({"step": [0, 1], "value": [2 / 3, np.nan]})}
    table = pd.DataFrame({"free_energy": [-4.0]})
    run.finish({"curve": a_figure()}, {"plateau": table}, {"plateau": np.float32(-4.0)}, drawn=drawn)
    record = json.loads((config.output_dir / "records" / "30_margin_sweep.json").read_text())
    assert record["status"] == "done"
    assert record["numbers"] == {"plateau": -4.0}
    assert record["options"] == {"margin": 0.1}
    assert record["seeds"] == [0]
    assert record["tables"] == {"plateau": {"free_energy": "nats"}}
    kinds = {"figures/curve": ("png", "pdf", "csv"), "tables/plateau": ("csv", "md", "tex")}
    assert set(record["exports"]) == {f"{stem}.{suffix}" for stem, suffixes in kinds.items() for suffix in suffixes}
    for name, digest in record["exports"].items():
        assert digest_of_file(config.output_dir / name) == digest
    lines = (config.output_dir / "figures" / "curve.csv").read_text().splitlines()
    assert lines == ["step,value", "0,0.666667", "1,"], "the numbers that a figure draws stand beside it"
    with pytest.raises(UnknownName, match='"curves" .*did you mean "curve"'):
        run.finish({"curve": a_figure()}, drawn={"curves": pd.DataFrame()})


def test_what_must_be_said_stands_once_under_every_table_and_figure(config):
    run, note = records.start("30_margin_sweep", config), "RGB by a net with random weights."
    figures = {"curve": a_figure(), "other": a_figure()}
    figures["curve"].set_label(f"Accuracy. {note}")
    data = pd.DataFrame({"free_energy": [-4.0]})
    run.finish(figures, {"bare": data, "plateau": Table(data, caption=f"In nats. {note}")}, notes=note)
    captions = json.loads((config.output_dir / "records" / "30_margin_sweep.json").read_text())["captions"]
    assert captions == {"figures/curve": f"Accuracy. {note}", "figures/other": note}
    for name in ("bare", "plateau"):
        assert (config.output_dir / "tables" / f"{name}.md").read_text().count(note) == 1


def test_a_changed_notebook_that_is_run_without_the_runner_never_writes_over_the_baseline(config, monkeypatch, capsys):
    monkeypatch.delenv("AMFIR_VARIANT", raising=False)
    records.start("30_margin_sweep", config).finish()
    baseline = (config.output_dir / "records" / "30_margin_sweep.json").read_bytes()
    for changed in (replace(config, options={"margin": 0.5}), replace(config, n_seeds=7), config):
        records.start("30_margin_sweep", changed).finish(numbers={"answer": 1})
        places = sorted(path.parents[1].name for path in config.output_dir.rglob("30_margin_sweep.json"))
        if changed is not config:
            assert (config.output_dir / "records" / "30_margin_sweep.json").read_bytes() == baseline
    assert places == ["margin=0.5", "n_seeds=7", "smoke"]
    assert "margin differ from the results" in capsys.readouterr().out
    assert b"answer" in (config.output_dir / "records" / "30_margin_sweep.json").read_bytes()
    monkeypatch.setenv("AMFIR_VARIANT", "")  # the runner, which may renew the baseline with other defaults
    records.start("30_margin_sweep", replace(config, options={"margin": 0.5})).finish()
    assert b"answer" not in (config.output_dir / "records" / "30_margin_sweep.json").read_bytes()


def test_a_notebook_joins_only_results_of_the_same_seeds(config, monkeypatch):
    monkeypatch.delenv("AMFIR_VARIANT", raising=False)
    records.start("30_margin_sweep", replace(config, options={"margin": 0.5})).finish()
    for n_seeds, folder in ((config.n_seeds, config.output_dir), (7, config.output_dir / "variants" / "n_seeds=7")):
        records.start("31_other", replace(config, n_seeds=n_seeds, options={"margin": 0.1})).finish()
        assert (folder / "records" / "31_other.json").exists()


def test_a_failing_export_leaves_no_record(config):
    run = records.start("30_margin_sweep", config)
    with pytest.raises(AttributeError):
        run.finish(figures={"curve": "not a figure"})
    assert not (config.output_dir / "records").exists()
    assert not list(config.output_dir.rglob("*.partial*"))


def test_the_record_holds_no_path_of_this_machine(config, tmp_path):
    config = replace(config, data_root=tmp_path / "clips")
    record = records.start("30_margin_sweep", config).describe()
    assert str(tmp_path) not in json.dumps(record) and record["parameters"]["data_root"] == "clips"
    assert {"torch", "numpy", "papermill"} <= record["environment"]["packages"].keys()


def test_without_git_the_code_version_is_the_package_version(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert records.code_version(tmp_path) == {"version": records.__version__, "commit": None, "dirty": None}


def test_only_changes_of_code_make_a_version_dirty(tmp_path):
    def git(*arguments: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *author, *arguments], check=True, capture_output=True)

    (tmp_path / "amfir_lib").mkdir()
    (tmp_path / "amfir_lib" / "a.py").write_text("")
    git("init")
    assert records.code_version(tmp_path)["commit"] is None
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "README.md").write_text("prose")
    clean = records.code_version(tmp_path)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "amfir_lib" / "a.py").write_text("changed = True")
    assert records.code_version(tmp_path)["dirty"] is True
