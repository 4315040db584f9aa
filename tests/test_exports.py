"""Figures and tables as files: same input, same bytes; units and templates; emphasis in each format."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from amfir_lib import exports, show
from amfir_lib.errors import BadParameter
from amfir_lib.exports import Table, png_of, write_figure, write_table

CELL = f"{exports.bold('52.4 ± 1.9')} {exports.aside('paper 82.8')}"


def a_figure() -> Figure:
    figure = Figure(figsize=(3.4, 2.0))
    figure.add_subplot().plot([0, 1], [0, 1], label="AMFIR")
    return figure


def texts(table: Table | pd.DataFrame, folder) -> list[str]:
    """What is written as CSV, Markdown and LaTeX."""
    return [path.read_text(encoding="utf-8") for path in write_table(table, folder / "table")]


def test_the_best_is_bold_and_the_aside_small_in_each_format():
    assert CELL == "**52.4 ± 1.9** *paper 82.8*"
    html = exports.to_html(CELL)
    assert html.startswith("<b>52.4 ± 1.9</b><br><small") and html.endswith("paper 82.8</small>")
    assert exports.to_latex(CELL) == (
        r"\shortstack[r]{\textbf{52.4 $\pm$ 1.9} \\ {\scriptsize\textcolor{gray}{paper 82.8}}}"
    )
    assert exports.to_latex("a_b & 5 % {c} †") == r"a\_b \& 5 \% \{c\} $^\dagger$"
    for text in ("2 * 3 * 4", "clip*.avi", "synth-ssv2", "a*b*c"):
        assert exports.to_html(text) == text


def test_a_template_shows_numbers_in_their_units_and_leaves_out_what_does_not_exist():
    frame = pd.DataFrame({
        "dataset": ["d"] * 3, "n_shot": [1, 5, 1], "method": ["AMFIR", "AMFIR", "TRX"], "best": [True, False, False],
        "accuracy": [0.524, 0.7, 0.5], "half_width": [0.019, np.nan, 0.02], "paper": [0.828, np.nan, np.nan],
        "difference": [np.nan, 0.012, -0.0002], "p_holm": [np.nan] * 3,
    })  # fmt: skip
    wide = Table.of(
        frame, ["method"], "{accuracy} ± {half_width} *paper {paper}*", columns=["dataset", "n_shot"], bold="best"
    )
    assert wide.shown.to_dict("list") == {
        "method": ["AMFIR", "TRX"], "d 1-shot": [CELL, "50.0 ± 2.0"], "d 5-shot": ["70.0", "–"],
    }  # fmt: skip
    assert wide.readable()[1] == ["left", "right", "right"]
    long = Table.of(frame, ["n_shot"], {"lead": "{difference} ({half_width:2})", "p": "{p_holm}"}, only=~frame["best"])
    assert long.shown.to_dict("list") == {"shots": ["5", "1"], "lead": ["+1.2", "0.0 (2.00)"]}, "no p: no column"
    beside = Table.of(frame, ["method"], "{n_shot}", columns=["dataset"], beside={"first": "{accuracy}"})
    assert list(beside.shown["first"]) == ["52.4", "50.0"]


def test_numbers_without_a_unit_are_refused_by_name(tmp_path):
    table = Table(pd.DataFrame({"method": ["AMFIR"], "luck": [0.5]}))
    with pytest.raises(BadParameter, match=r'"luck".*Add it to COLUMNS.*units=\{"luck"'):
        write_table(table, tmp_path / "table")
    with pytest.raises(BadParameter, match='"percents" of the column "luck" is no unit. Take one of .*share'):
        write_table(replace(table, units={"luck": "percents"}), tmp_path / "table")
    assert replace(table, units={"luck": "share"}).declaration() == {"method": "key", "luck": "share"}


def test_a_table_keeps_full_precision_in_csv_and_reads_well_elsewhere(tmp_path):
    data = pd.DataFrame({"accuracy": [2 / 3, np.nan]}, index=pd.Index(["AMFIR", "ProtoNet"], name="method"))
    csv, markdown, latex = texts(data, tmp_path)
    assert "method,accuracy\nAMFIR,0.6666666666666666" in csv
    assert "66.7" in markdown and "–" in markdown and r"\toprule" in latex and "66.7" in latex


def test_what_is_shown_and_its_caption_go_to_markdown_and_latex_only(tmp_path):
    shown = pd.DataFrame({"method": ["AMFIR"], "data_set 1-shot": [CELL]})
    table = Table(pd.DataFrame({"accuracy": [0.5243]}), shown, "± covers 95 % of † & test_classes.")
    csv, markdown, latex = texts(table, tmp_path)
    assert csv == "accuracy\n0.5243\n" and CELL in markdown and "± covers" in markdown
    assert latex.startswith("% packages: booktabs, xcolor") and r"data\_set 1-shot" in latex
    assert r"95 \% of $^\dagger$ \& test\_classes." in latex


def test_a_shown_table_keeps_its_row_names_and_a_viewer_without_html_gets_readable_text(monkeypatch):
    found = []
    monkeypatch.setattr(show, "display", lambda data, raw: found.append(data))
    frame = pd.DataFrame({"1-shot": [CELL]}, index=pd.Index(["AMFIR"], name="method"))
    for _ in range(2):
        show.show_table(Table(pd.DataFrame(), frame, "What it **shows**."))
    assert found[:2] == found[2:], "nothing random is in the page"
    html, text = found[0]["text/html"], found[0]["text/plain"]
    assert "AMFIR" in html and "method" in html and "1\u2011shot" in html and "<b>52.4 ± 1.9</b>" in html
    assert text.splitlines()[1].split()[:4] == ["AMFIR", "52.4", "±", "1.9"] and "*" not in text
    assert found[1] == {"text/markdown": "*What it **shows**.*", "text/plain": "*What it **shows**.*"}


def test_equal_figures_are_equal_bytes(tmp_path):
    first, second = (write_figure(a_figure(), tmp_path / name / "curve") for name in ("a", "b"))
    assert [path.name for path in first] == ["curve.png", "curve.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"CreationDate" not in first[1].read_bytes()


def test_a_figure_that_is_mostly_pictures_has_no_pdf_and_leaves_none_of_its_name(tmp_path):
    for height, names in ((0.4, ["clips.png", "clips.pdf"]), (0.6, ["clips.png"])):
        figure = Figure(figsize=(4.0, 2.0))
        for k in range(2):  # two frames side by side, each of this height (of the page)
            figure.add_axes((k / 2, 0, 1 / 2, height)).imshow(np.full((8, 8, 3), 0.5), aspect="auto")
        assert [path.name for path in write_figure(figure, tmp_path / "clips")] == names
    assert not (tmp_path / "clips.pdf").exists()


@pytest.mark.parametrize("with_frames", [False, True])
def test_a_smaller_picture_looks_the_same(with_frames):
    figure = a_figure()
    if with_frames:
        across, rng = np.linspace(0.1, 0.9, 200), np.random.default_rng(0)
        frame = np.stack(np.broadcast_arrays(across, across[:, None], 0.5), axis=-1)
        figure.axes[0].imshow(np.clip(frame + 0.05 * rng.standard_normal(frame.shape), 0, 1))
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    small = png_of(figure, dpi=100)
    assert len(small) < len(buffer.getvalue())
    first, second = (np.asarray(Image.open(file).convert("RGB"), float) for file in (buffer, BytesIO(small)))
    if with_frames:  # what an eye sees of a dithered surface
        assert np.abs(cv2.blur(first, (9, 9)) - cv2.blur(second, (9, 9))).mean() <= 2  # of 255
    else:
        assert np.abs(first - second).max() <= 16  # of 255
