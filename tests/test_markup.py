"""Emphasis in table cells: Markdown as it is, HTML and LaTeX by translation."""

import pandas as pd

from amfir_lib import markup, show
from amfir_lib.exports import Table, holds_numbers, write_table

CELL = f"{markup.bold('52.4 ± 1.9')} {markup.aside('paper 82.8†')}"


def test_the_best_is_bold_and_the_aside_small_in_each_format():
    assert CELL == "**52.4 ± 1.9** *paper 82.8†*"
    html = markup.to_html(CELL)
    assert html.startswith("<b>52.4 ± 1.9</b><br><small") and html.endswith("paper 82.8†</small>")
    latex = markup.to_latex(CELL)
    assert latex == (r"\shortstack[r]{\textbf{52.4 $\pm$ 1.9} \\ {\scriptsize\textcolor{gray}{paper 82.8$^\dagger$}}}")
    assert markup.without_asides(CELL) == "52.4 ± 1.9"


def test_latex_escapes_what_would_mean_something_and_text_without_marks_stays():
    assert markup.to_latex("a_b & 5 % {c}") == r"a\_b \& 5 \% \{c\}"
    for text in ("2 * 3 * 4", "clip*.avi", "synth-ssv2", "a*b*c"):
        assert markup.to_html(text) == text and markup.without_asides(text) == text


def test_a_column_with_asides_is_still_a_column_of_numbers():
    assert holds_numbers(pd.Series([CELL, "– *paper 53.3*", "–", "40.0 ± 2.0"]))
    assert not holds_numbers(pd.Series([CELL, "AMFIR"]))


def test_a_written_table_names_the_packages_that_its_latex_needs(tmp_path):
    table = Table(pd.DataFrame({"x": [1.0]}), pd.DataFrame({"data_set 1-shot": [CELL]}), "5 % of † & others.")
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
