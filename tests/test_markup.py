"""Emphasis in table cells: Markdown as it is, HTML and LaTeX by translation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from amfir_lib import exports, show
from amfir_lib.errors import BadParameter
from amfir_lib.exports import Table, write_table

CELL = f"{exports.bold('52.4 ± 1.9')} {exports.aside('paper 82.8')}"


def test_the_best_is_bold_and_the_aside_small_in_each_format():
    assert CELL == "**52.4 ± 1.9** *paper 82.8*"
    html = exports.to_html(CELL)
    assert html.startswith("<b>52.4 ± 1.9</b><br><small") and html.endswith("paper 82.8</small>")
    latex = exports.to_latex(CELL)
    assert latex == (r"\shortstack[r]{\textbf{52.4 $\pm$ 1.9} \\ {\scriptsize\textcolor{gray}{paper 82.8}}}")
    assert exports.without_asides(CELL) == "52.4 ± 1.9"


def test_latex_escapes_what_would_mean_something_and_text_without_marks_stays():
    assert exports.to_latex("a_b & 5 % {c}") == r"a\_b \& 5 \% \{c\}"
    for text in ("2 * 3 * 4", "clip*.avi", "synth-ssv2", "a*b*c"):
        assert exports.to_html(text) == text and exports.without_asides(text) == text


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
    assert wide.numbers == ("d 1-shot", "d 5-shot")
    long = Table.of(frame, ["n_shot"], {"lead": "{difference} ({half_width:2})", "p": "{p_holm}"}, only=~frame["best"])
    assert long.shown.to_dict("list") == {"shots": ["5", "1"], "lead": ["+1.2", "0.0 (2.00)"]}, "no p: no column"
    assert long.numbers == ("shots", "lead")


def test_numbers_without_a_unit_are_refused_by_name(tmp_path):
    table = Table(pd.DataFrame({"method": ["AMFIR"], "luck": [0.5]}))
    with pytest.raises(BadParameter, match=r'"luck".*Add it to COLUMNS.*units=\{"luck"'):
        write_table(table, tmp_path / "table")
    with pytest.raises(BadParameter, match='"percents" of the column "luck" is no unit. Take one of .*share'):
        write_table(replace(table, units={"luck": "percents"}), tmp_path / "table")
    assert replace(table, units={"luck": "share"}).declaration() == {"method": "key", "luck": "share"}


def test_a_written_table_names_the_packages_that_its_latex_needs(tmp_path):
    table = Table(pd.DataFrame({"accuracy": [1.0]}), pd.DataFrame({"data_set 1-shot": [CELL]}), "5 % of † & others.")
    _, markdown, latex = (path.read_text() for path in write_table(table, tmp_path / "table"))
    assert CELL in markdown
    assert latex.startswith("% packages: booktabs, xcolor") and r"data\_set 1-shot" in latex
    assert r"5 \% of $^\dagger$ \& others." in latex


def test_a_shown_table_keeps_its_row_names(monkeypatch):
    found = []
    monkeypatch.setattr(show, "display", lambda data, raw: found.append(data))
    frame = pd.DataFrame({"1-shot": [CELL]}, index=pd.Index(["AMFIR"], name="method"))
    show.show_table(Table(pd.DataFrame(), frame))
    html = found[0]["text/html"]
    assert "AMFIR" in html and "method" in html and "1\u2011shot" in html and "<b>52.4 ± 1.9</b>" in html


def test_a_viewer_without_html_gets_a_readable_table_and_the_same_table_is_the_same_text(monkeypatch):
    found = []
    monkeypatch.setattr(show, "display", lambda data, raw: found.append(data))
    table = Table(pd.DataFrame(), pd.DataFrame({"method": ["AMFIR"], "accuracy": [CELL]}), "What it **shows**.")
    show.show_table(table)
    show.show_table(table)
    assert found[:2] == found[2:], "nothing random is in the page"
    rows = found[0]["text/plain"].splitlines()
    assert rows[0].split() == ["method", "accuracy"] and rows[1].split()[:4] == ["AMFIR", "52.4", "±", "1.9"]
    assert "*" not in found[0]["text/plain"] and "Styler" not in found[0]["text/plain"]
    assert found[1] == {"text/markdown": "*What it **shows**.*", "text/plain": "*What it **shows**.*"}
