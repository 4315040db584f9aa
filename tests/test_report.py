"""The report says what records and exports say, and stands alone.  Exact."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from small_study import make_study

from amfir_lib.analysis.variants import TABLE
from amfir_lib.errors import BadParameter
from amfir_lib.exports import Table, write_table
from amfir_lib.run import report
from amfir_lib.storage import read_json, write_json

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


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def assert_in_order(text: str, parts: list[str]) -> None:
    places = [text.find(part) for part in parts]
    assert -1 not in places and places == sorted(places), dict(zip(parts, places, strict=True))


def test_the_page_loads_nothing_and_every_link_leads_somewhere(written):
    folder, _ = written
    page = check_page(folder / "index.html")
    assert {"figures/curve.pdf", "figures/curve.csv", "tables/accuracy.csv", "notebooks/90_small.html"} <= set(
        page.links
    )
    assert page.pictures and all(p["src"].startswith("data:") and p["alt"] for p in page.pictures)


def test_a_click_on_a_figure_opens_its_pdf_and_a_picture_its_png(written):
    _, text = written
    assert re.findall(r'<a href="([^"]+)"><img', text) == ["figures/curve.pdf", "figures/loose.png"]


def test_an_executed_notebook_becomes_a_page_that_loads_nothing_and_is_made_anew_when_it_changed(tmp_path):
    folder = make_study(tmp_path)
    report.write(folder)
    page, notebook = folder / "notebooks" / "90_small.html", folder / "notebooks" / "90_small.ipynb"
    check_page(page)
    text = page.read_text(encoding="utf-8")
    assert_in_order(text, ["A small title", "<em>generated</em>", "work in JupyterLab only", "One seed."])
    before = page.stat().st_mtime_ns
    report.write(folder)
    assert page.stat().st_mtime_ns == before
    notebook.write_text(notebook.read_text(encoding="utf-8").replace("One seed.", "Two seeds."), encoding="utf-8")
    os.utime(notebook, (page.stat().st_atime + 9, page.stat().st_mtime + 9))
    report.write(folder)
    assert "Two seeds." in page.read_text(encoding="utf-8")


def test_claims_figures_tables_and_facts_stand_in_order_with_their_captions(written):
    folder, text = written
    assert_in_order(text[text.index("<main") :], [
        "what we find", "A small title</h2>", "<strong>not shown</strong> to differ",
        "Table: accuracy", ">a|b</td>", "± covers classes.", "Table: table1", "The <em>first</em> table.",
        "<figcaption>Accuracy in %; synthetic clips.", "What was run",
    ])  # fmt: skip
    assert '<details id="tables-table1" open>' in text and '<details id="tables-accuracy" open>' in text
    assert '<details id="tables-streams">' in text
    alts = {picture["alt"] for picture in check_page(folder / "index.html").pictures}
    assert alts == {"Accuracy in %; synthetic clips.", "loose"}
    tail = words_of(text[text.index('id="run"') :])
    assert "0, 1, 2 0." in tail and "CPU cores" in tail and "torch " in tail


def test_a_claim_stands_once_in_which_each_basis_has_its_own_verdict_and_its_markup_is_not_obeyed(written):
    _, text = written
    assert "2 claims: 1 × undecided, 1 × not tested here." in words_of(text)
    assert text.count("&lt;b&gt;late&lt;/b&gt;") == 1 and 'id="show-undecided"' in text
    claims = text[text.index('<ul class="claims">') :]
    assert_in_order(words_of(claims[: claims.index('class="is-not-tested-here"')]), [
        "≈ undecided AMFIR beats", "(Sec. 4.2; as printed: +2.1; 5-way)", "all queries ≈ undecided +0.7 ± 1.4 points",
        "undegraded queries ✗ does not hold −2.2 ± 1.0 points", "degradation-free copies ✓ holds +3.3 ± 1.1 points",
        "(copies)", "90_small",
    ])  # fmt: skip


def test_synthetic_results_are_labelled_and_real_ones_are_not_called_synthetic(written, tmp_path):
    _, text = written
    assert "Synthetic results." in text and "on real data" in text
    other = make_study(tmp_path, study="my_clips")
    record = other / "records" / "90_small.json"
    record.write_text(re.sub(r'"datasets": \[[^]]*\]', '"datasets": ["folder"]', record.read_text(encoding="utf-8")))
    text = report.write(other).read_text(encoding="utf-8")
    assert "Synthetic" not in text and "AMFIR on my_clips" in text


def test_an_export_that_was_overwritten_is_marked(tmp_path):
    folder = make_study(tmp_path)
    assert "not the one that the record names" not in report.write(folder).read_text(encoding="utf-8")
    write_table(Table(pd.DataFrame({"method": ["other"]})), folder / "tables" / "table1")
    assert "not the one that the record names" in report.write(folder).read_text(encoding="utf-8")


def test_a_variant_stands_in_its_baseline_with_its_changes_and_its_paired_difference(tmp_path):
    folder = make_study(tmp_path)
    variant = make_study(tmp_path, variant="kd_lambda=0.5", kd_lambda=0.5)
    rows = pd.DataFrame({"method": ["AMFIR"], "difference": ["−0.4 ± 0.9"]})
    write_table(Table(rows, caption="Minus baseline."), variant / "tables" / TABLE)
    assert "Difference from the baseline" in report.write(variant).read_text(encoding="utf-8")
    text = report.write(folder).read_text(encoding="utf-8")
    check_page(folder / "index.html")
    check_page(variant / "index.html")
    assert_in_order(words_of(text[text.index('id="variants"') :]), [
        "kd_lambda=0.5", "AMFIR −0.4 ± 0.9", "Minus baseline.",
        "Report of this variant",
    ])  # fmt: skip


def test_a_mixture_of_profiles_or_of_shared_parameters_is_refused_with_the_notebooks(tmp_path):
    folder = make_study(tmp_path)
    record = read_json(folder / "records" / "90_small.json")
    for changes, words in (
        ({"parameters": record["parameters"] | {"n_seeds": 7}}, "n_seeds is 3 in 90_small and 7 in 91_other"),
        ({"profile": record["profile"] | {"n_way": 9}}, "n_way is 5 in 90_small and 9 in 91_other"),
    ):
        write_json(folder / "records" / "91_other.json", record | changes)
        with pytest.raises(BadParameter, match=f"do not belong together: {words}. Run the one again"):
            report.write(folder)


def test_a_folder_without_records_says_what_to_do(tmp_path):
    assert "Run <code>./run_all.sh</code>" in report.write(tmp_path).read_text(encoding="utf-8")


def test_pictures_keep_their_size_and_shrink(written):
    folder, _ = written
    uri, width, height = report.picture_of(folder / "figures" / "curve.png")
    assert (width, height) == (680, 400)
    assert len(uri) < (folder / "figures" / "curve.png").stat().st_size
