"""The report says what records and exports say, in the notebooks' order, and stands alone.  Exact."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markupsafe import Markup
from small_study import make_study

from amfir_lib import paths
from amfir_lib.analysis import variants
from amfir_lib.analysis.variants import VariantDifference
from amfir_lib.exports import Table, write_table
from amfir_lib.run import report
from amfir_lib.run.report import templates
from amfir_lib.run.report.cards import LONG
from amfir_lib.run.report.exhibits import Exhibit, read_exhibits
from amfir_lib.run.report.pictures import picture_of_file
from amfir_lib.run.report.prose import inline, split_table, to_text
from amfir_lib.run.report.story import read_story

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Links, anchors, pictures and unclosed tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.anchors, self.pictures, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given[name] for name in ("href", "src") if given.get(name)]
        self.anchors += [given["id"]] if "id" in given else []
        self.pictures += [given] if tag == "img" else []
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A study with its report: the folder and the text of the page."""
    folder = make_study(tmp_path_factory.mktemp("results"))
    return folder, report.write(folder).read_text(encoding="utf-8")


def check_page(path: Path) -> Page:
    """No network, no script, whole tags, and every link leads somewhere."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.anchors) == len(set(page.anchors))
    assert "<script" not in text and "@import" not in text and "url(" not in text
    for link in page.links:
        if link.startswith("data:"):
            continue
        assert "://" not in link and not link.startswith("//"), f"{link} needs the network"
        target, _, anchor = link.partition("#")
        assert (path.parent / target).exists(), f"{link} leads nowhere"
        assert target or not anchor or anchor in page.anchors, f"{link} leads nowhere"
    return page


def test_the_page_loads_nothing_and_every_link_leads_somewhere(written):
    folder, _ = written
    page = check_page(folder / "index.html")
    assert {"figures/curve.pdf", "tables/accuracy.csv", "notebooks/90_small.html"} <= set(page.links)
    assert "figures/curve.csv" in page.links and "#tables-table1_more" in page.links  # which a caption names
    assert page.pictures and all(p["src"].startswith("data:") and p["alt"] for p in page.pictures)


def test_a_click_on_a_figure_opens_its_pdf_and_a_picture_its_png(written):
    folder, _ = written
    opened = re.findall(r'<a href="([^"]+)">\s*<img', (folder / "index.html").read_text(encoding="utf-8"))
    assert opened == ["figures/curve.pdf", "figures/loose.png"]


def test_an_executed_notebook_becomes_a_page_that_loads_nothing(written):
    folder, _ = written
    check_page(folder / "notebooks" / "90_small.html")
    text = (folder / "notebooks" / "90_small.html").read_text(encoding="utf-8")
    assert "A small title" in text and "work in JupyterLab only" in text


def test_the_page_of_a_notebook_is_made_anew_only_when_the_notebook_changed(tmp_path):
    folder = make_study(tmp_path)
    report.write(folder)
    page, notebook = folder / "notebooks" / "90_small.html", folder / "notebooks" / "90_small.ipynb"
    before = page.stat().st_mtime_ns
    report.write(folder)
    assert page.stat().st_mtime_ns == before
    notebook.write_text(notebook.read_text(encoding="utf-8").replace("One seed.", "Two seeds."), encoding="utf-8")
    report.write(folder)
    assert "Two seeds." in page.read_text(encoding="utf-8")


def test_title_prose_exports_and_sentences_stand_in_the_order_of_the_notebook(written):
    _, text = written
    order = [
        "what we find", "The paper's tables", "The first table;", "A small title</h2>", "<strong>Claim</strong>",
        "<strong>not shown</strong> to differ", "<h3>First heading</h3>", "Why we look at it.",
        "<figcaption>Accuracy in %; synthetic clips.",
        "<em>generated</em> sentence", "executed notebook</a>.", "Second heading", "± covers classes.",
        "Limits", "One seed.", "figures-loose",
        "What was run",
    ]  # fmt: skip
    text = text[text.index("<main") :]
    places = [text.find(part) for part in order]
    assert -1 not in places and places == sorted(places)
    assert "leads to nothing" not in text and "Makes:" not in text and "a caption" not in text


def test_captions_are_alternative_texts_and_come_from_the_record(written):
    folder, _ = written
    alts = {picture["alt"] for picture in check_page(folder / "index.html").pictures}
    assert alts == {"Accuracy in %; synthetic clips.", "loose"}


def test_claims_carry_their_verdict_in_words_and_markup_of_a_claim_is_not_obeyed(written):
    _, text = written
    assert "2 claims:" in text and "1 × undecided" in text and "1 × not tested here" in text
    assert text.count("&lt;b&gt;late&lt;/b&gt;") == 1
    assert text.count('class="is-undecided"') == 1 and 'id="show-undecided"' in text


def test_a_claim_has_one_row_in_which_each_basis_has_its_own_verdict(written):
    _, text = written
    start = text.index('class="is-undecided"')
    row = " ".join(re.sub(r"<[^>]+>", " ", text[start : text.index("</tr>", start)]).split())
    order = [
        "≈ undecided", "AMFIR beats", "(Sec. 4.2; as printed: +2.1)", "5-way",
        "all queries ≈ undecided +0.7 ± 1.4 points",
        "undegraded queries ✗ does not hold −2.2 ± 1.0 points", "degradation-free copies ✓ holds +3.3 ± 1.1 points",
        "(copies)", "90_small",
    ]  # fmt: skip
    places = [row.find(part) for part in order]
    assert -1 not in places and places == sorted(places)


def test_synthetic_results_are_labelled_and_real_ones_are_not_called_synthetic(written, tmp_path):
    folder, text = written
    assert "Synthetic results." in text and "on real data" in text
    other = make_study(tmp_path, study="my_clips")
    record = other / "records" / "90_small.json"
    record.write_text(re.sub(r'"datasets": \[[^]]*\]', '"datasets": ["folder"]', record.read_text(encoding="utf-8")))
    text = report.write(other).read_text(encoding="utf-8")
    assert "Synthetic" not in text and "AMFIR on my_clips" in text


def test_what_was_run_names_code_machine_packages_and_seeds(written):
    _, text = written
    tail = " ".join(text[text.index('id="run"') :].split())
    assert "version 0." in tail and "CPU cores" in tail and "<li>torch " in tail and "0, 1, 2" in tail


def test_an_export_that_was_overwritten_is_marked(tmp_path):
    folder = make_study(tmp_path)
    assert "not the one that the record names" not in report.write(folder).read_text(encoding="utf-8")
    write_table(Table(pd.DataFrame({"method": ["other"]})), folder / "tables" / "table1")
    assert "not the one that the record names" in report.write(folder).read_text(encoding="utf-8")


def test_a_variant_stands_beside_its_baseline_with_its_changes_and_its_paired_difference(tmp_path):
    folder = make_study(tmp_path)
    variant = make_study(tmp_path, variant="kd_lambda=0.5", kd_lambda=0.5)
    rows = pd.DataFrame({
        "notebook": "90_small", "dataset": "toy", "n_way": 5, "n_shot": [1, 5], "series": "AMFIR", "baseline": 0.5,
        "variant": [0.496, 0.52], "difference": [-0.004, 0.02], "half_width": 0.009, "p_holm": [0.4, 0.01],
        "verdict": ["undecided", "better"],
    })  # fmt: skip
    table = VariantDifference(rows, ()).table("kd_lambda=0.5")
    write_table(table, variant / "tables" / variants.TABLE)
    assert "Difference from the baseline" in report.write(variant).read_text(encoding="utf-8")
    text = report.write(folder).read_text(encoding="utf-8")
    check_page(folder / "index.html")
    check_page(variant / "index.html")
    assert "90_small: kd_lambda 1.0 → 0.5" in text
    part = text[text.index('id="90_small"') : text.index('id="variants"')]  # of the baseline's notebook
    assert "2 comparisons: 1 better, 0 worse, 1 undecided" in part
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", part[part.index("variant is") :])
    assert cells[:8] == ["toy", "5", "1", "AMFIR", "50.0", "49.6", "−0.4 ± 0.9", "undecided"]
    assert table.caption.partition(",")[0] in part


def test_the_guide_becomes_a_page_whose_links_lead_to_the_exhibits(tmp_path):
    folder = make_study(tmp_path)
    (folder / "GUIDE.md").write_text(
        "# Guide to study\n\n| what | expected |\n|:--|--:|\n| [curve](figures/curve.png) | a<br>b |\n"
        "| [numbers](figures/curve.csv) | `./run_all.sh -p a=-1` |\n| [gone](figures/gone.png) | <i>1</i> |\n",
        encoding="utf-8",
    )
    report.write(folder)
    page = check_page(folder / "GUIDE.html")
    assert "index.html#figures-curve" in page.links and "figures-curve" in check_page(folder / "index.html").anchors
    text = (folder / "GUIDE.html").read_text(encoding="utf-8")
    assert 'aria-label="table"><table class="cards" role="table">' in text
    assert '<td role="cell" data-label="expected"' in text
    assert "figures/curve.csv" in page.links  # whose digits are not those of the report
    assert '<code>./run_all.sh <span class="flag">-p</span> a=-1</code>' in text
    assert "a<br>b" in text and "&lt;i&gt;" in text and ">gone<" in text.replace('scope="row"', "")
    assert "GUIDE.html" in check_page(folder / "index.html").links


def test_only_the_papers_tables_stand_before_the_notebooks(tmp_path):
    folder = make_study(tmp_path)
    text = report.write(folder).read_text(encoding="utf-8")
    assert "<h3>Table 1</h3>" in text
    exhibit = Exhibit("tables/table1_paired", "", None, Markup("<table></table>"), (), changed=False)
    assert not exhibit.is_numbered_table and exhibit.name == "table1 paired"


def test_a_folder_without_records_says_what_to_do(tmp_path):
    assert "Run <code>./run_all.sh</code>" in report.write(tmp_path).read_text(encoding="utf-8")


def test_a_table_names_its_columns_and_rows_and_keeps_a_bar_inside_a_cell(tmp_path):
    table = Table(pd.DataFrame({"method": ["a|b"], "accuracy": [0.25]}), caption="A *caption*.")
    markdown = write_table(table, tmp_path / "t")[1].read_text(encoding="utf-8")
    html, caption = split_table(markdown)
    assert '<th scope="row">a|b</th>' in html and '<th scope="col" class="number">accuracy</th>' in html
    assert '<td class="number">25.0</td>' in html
    assert caption == "A *caption*." and inline(caption) == "A <em>caption</em>." and to_text(caption) == "A caption."


def test_a_table_with_a_paragraph_in_a_cell_becomes_cards_whose_cells_name_their_columns(tmp_path):
    rows = pd.DataFrame({"id": ["A1", "A2"], "a & b": ["–", "x < y"], "reason": ["short", LONG * "w"]})
    (tmp_path / "tables").mkdir()
    write_table(Table(rows), tmp_path / "tables" / "short")
    exports = {f"tables/{name}.md": "" for name in ("decisions", "short")}
    write_table(Table(rows.assign(reason=["short", (LONG + 1) * "w"])), tmp_path / "tables" / "decisions")
    found = read_exhibits(tmp_path, exports, {})
    assert "cards" not in found["tables/short"].table
    table = found["tables/decisions"].table
    assert '<table class="cards records" role="table">' in table
    assert '<th role="rowheader" scope="row">A2</th>\n<td role="cell" data-label="a &amp; b">x &lt; y</td>' in table
    assert '<td role="cell" data-label="a &amp; b" data-empty>–</td>' in table
    assert table.count('role="columnheader"') == 3 and Page(table).open == []


@pytest.mark.parametrize("name", ["guide.html", "notebook.html", "page.html"])
def test_all_pages_have_one_head_and_a_change_of_it_makes_them_anew(name):
    own = (templates.FOLDER / name).read_text(encoding="utf-8")
    assert own.count('{% include "head.html" %}') == 1 and "charset" not in own and "style.html" not in own
    assert all(
        (templates.FOLDER / part).read_text() in templates.source_of_template(name) for part in templates.INCLUDED
    )


def test_pictures_keep_their_size_and_shrink(written):
    folder, _ = written
    picture = picture_of_file(folder / "figures" / "curve.png")
    assert (picture.width, picture.height) == (680, 400)
    assert len(picture.uri) < (folder / "figures" / "curve.png").stat().st_size


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_of_the_study_tells_its_title_and_shows_what_it_makes(path):
    story = read_story(path)
    assert story.title != path.stem and story.lead and story.parts[-1].prose
    assert sum(len(part.exports) for part in story.parts) >= 1
