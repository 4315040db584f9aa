"""Exports and records: same input, same bytes; the record last; what it says about code and machine."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from amfir_lib import records
from amfir_lib.errors import UnknownName
from amfir_lib.exports import Table, png_of, write_figure, write_table
from amfir_lib.storage import digest_of_file
from amfir_lib.study.config import Config


@pytest.fixture
def config(tmp_path):
    return replace(Config.from_notebook({"profile": "smoke", "margin": 0.1}, environ={}), results_dir=tmp_path)


def a_figure() -> Figure:
    figure = Figure(figsize=(3.4, 2.0))
    figure.add_subplot().plot([0, 1], [0, 1], label="AMFIR")
    return figure


def test_equal_figures_are_equal_bytes(tmp_path):
    first, second = (write_figure(a_figure(), tmp_path / name / "curve") for name in ("a", "b"))
    assert [path.name for path in first] == ["curve.png", "curve.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"CreationDate" not in first[1].read_bytes()


def pictures(height: float) -> Figure:
    """A wide page with two frames side by side and nothing else, each of this height (of the page)."""
    figure = Figure(figsize=(4.0, 2.0))
    for k in range(2):
        axes = figure.add_axes((k / 2, 0, 1 / 2, height))
        axes.imshow(np.full((8, 8, 3), 0.5), aspect="auto")
    return figure


def test_a_figure_that_is_mostly_pictures_has_no_pdf_and_leaves_none_of_its_name(tmp_path):
    assert [path.name for path in write_figure(pictures(0.4), tmp_path / "clips")] == ["clips.png", "clips.pdf"]
    assert [path.name for path in write_figure(pictures(0.6), tmp_path / "clips")] == ["clips.png"]
    assert not (tmp_path / "clips.pdf").exists()


def test_a_table_keeps_full_precision_in_csv_and_reads_well_elsewhere(tmp_path):
    data = pd.DataFrame({"method": ["AMFIR", "ProtoNet"], "accuracy": [2 / 3, np.nan]})
    csv, markdown, latex = (path.read_text() for path in write_table(data, tmp_path / "table1"))
    assert "AMFIR,0.6666666666666666" in csv
    assert "66.7" in markdown and "–" in markdown
    assert r"\toprule" in latex and "66.7" in latex


def test_a_shown_table_and_its_caption_go_to_markdown_and_latex_only(tmp_path):
    data = pd.DataFrame({"method": ["AMFIR"], "accuracy": [0.5243], "half_width": [0.019]})
    shown = pd.DataFrame({"method": ["AMFIR"], "5-way": ["52.4 ± 1.9"]})
    table = Table(data, shown, caption="Test split; ± covers 95 % of test_classes.")
    csv, markdown, latex = (path.read_text() for path in write_table(table, tmp_path / "table1"))
    assert "±" not in csv and "half_width" in csv
    assert "52.4 ± 1.9" in markdown and "± covers" in markdown
    assert r"52.4 $\pm$ 1.9" in latex and r"95 \% of test\_classes" in latex


def test_an_index_becomes_columns(tmp_path):
    data = pd.DataFrame({"clips": [1, 2]}, index=pd.Index(["rgb", "flow"], name="modality"))
    assert write_table(data, tmp_path / "t")[0].read_text().splitlines() == ["modality,clips", "rgb,1", "flow,2"]


def test_the_record_names_every_export_with_its_digest_and_says_done(config):
    run = records.start("30_margin_sweep", config)
    run.finish({"curve": a_figure()}, {"plateau": pd.DataFrame({"free_energy": [-4.0]})}, {"plateau": np.float32(-4.0)})
    record = json.loads((config.output_dir / "records" / "30_margin_sweep.json").read_text())
    assert record["status"] == "done"
    assert record["numbers"] == {"plateau": -4.0}
    assert record["options"] == {"margin": 0.1}
    assert record["seeds"] == [0]
    assert record["tables"] == {"plateau": {"free_energy": "nats"}}
    kinds = {"figures/curve": ("png", "pdf"), "tables/plateau": ("csv", "md", "tex")}
    assert set(record["exports"]) == {f"{stem}.{suffix}" for stem, suffixes in kinds.items() for suffix in suffixes}
    for name, digest in record["exports"].items():
        assert digest_of_file(config.output_dir / name) == digest


def test_the_numbers_that_a_figure_draws_stand_beside_it(config):
    run = records.start("30_margin_sweep", config)
    run.finish({"curve": a_figure()}, drawn={"curve": pd.DataFrame({"step": [0, 1], "value": [2 / 3, np.nan]})})
    record = json.loads((config.output_dir / "records" / "30_margin_sweep.json").read_text())
    path = config.output_dir / "figures" / "curve.csv"
    assert path.read_text().splitlines() == ["step,value", "0,0.666667", "1,"]
    assert record["exports"]["figures/curve.csv"] == digest_of_file(path)
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


def test_a_failing_export_leaves_no_record(config):
    run = records.start("30_margin_sweep", config)
    with pytest.raises(AttributeError):
        run.finish(figures={"curve": "not a figure"})
    assert not (config.output_dir / "records").exists()
    assert not list(config.output_dir.rglob("*.partial*"))


def test_the_record_holds_no_path_of_this_machine(config, tmp_path):
    config = replace(config, data_root=tmp_path / "clips")
    text = json.dumps(records.start("30_margin_sweep", config).describe())
    assert str(tmp_path) not in text and '"clips"' in text


def test_values_that_json_cannot_hold_are_made_plain():
    value = {"a": np.arange(2), "b": (np.int64(1), np.nan), 3: np.bool_(True)}
    assert records.plain(value) == {"a": [0, 1], "b": [1, None], "3": True}


def test_the_environment_names_packages_and_device():
    record = records.environment_record("cpu")
    assert record["device"] == "cpu"
    assert {"torch", "numpy", "papermill"} <= record["packages"].keys()


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


def test_a_smaller_picture_of_a_plot_looks_the_same():
    figure = a_figure()
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    small = png_of(figure, dpi=100)
    first, second = (np.asarray(Image.open(one).convert("RGB"), int) for one in (buffer, BytesIO(small)))
    assert np.abs(first - second).max() <= 16 and len(small) < len(buffer.getvalue())  # of 255


def test_a_smaller_picture_of_frames_keeps_their_colours():
    figure = a_figure()
    across, rng = np.linspace(0.1, 0.9, 200), np.random.default_rng(0)
    frame = np.stack(np.broadcast_arrays(across, across[:, None], 0.5), axis=-1)
    figure.axes[0].imshow(np.clip(frame + 0.05 * rng.standard_normal(frame.shape), 0, 1))
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    small = png_of(figure, dpi=100)
    first, second = (np.asarray(Image.open(one).convert("RGB"), float) for one in (buffer, BytesIO(small)))
    blurred = [cv2.blur(one, (9, 9)) for one in (first, second)]  # what an eye sees of a dithered surface
    assert np.abs(blurred[0] - blurred[1]).mean() <= 2 and len(small) < len(buffer.getvalue())  # of 255
