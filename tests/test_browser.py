"""What a browser makes of the report: links that lead somewhere, every screen, day and night, paper, no complaint.

Without Chromium these tests are skipped and say so.
"""

from __future__ import annotations

import nbformat
import pytest
from chromium import Complaints, chromium  # noqa: F401 (a fixture)
from nbformat.v4 import new_code_cell, new_notebook, new_output
from small_study import make_study
from test_explore import backbones, material, results, session  # noqa: F401 (fixtures)

from amfir_lib import explore, paths
from amfir_lib.run import report

COMMITTED = paths.RESULTS / "study" / "index.html"
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
# The worst contrast (WCAG 2) of all visible text, mixed by its opacity with the first background behind it that is not
# transparent.
WORST_CONTRAST = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = channels(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const opacity = element => element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1;
  const seen = (text, ground, share) => text.slice(0, 3).map((value, i) => share * value + (1 - share) * ground[i]);
  let worst = [21, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const counts = walker.currentNode.textContent.trim() && !element.closest('style, .skip');
    if (!counts || !element.checkVisibility()) continue;
    const ground = behind(element), text = seen(channels(getComputedStyle(element).color), ground, opacity(element));
    const [a, b] = [text, ground].map(light).sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 80)];
  }
  return worst;
}"""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The report of a small study."""
    return report.write(make_study(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def explored(session, backbones, tmp_path_factory):  # noqa: F811
    """An executed tour with the explorer's page of a query and the answer to a changed clip."""
    what_if = explore.WhatIf(session, backbones, episode=1, query=3)
    changed = explore.what_if_page(what_if, explore.Knobs(darkness=0.6))
    notebook = new_notebook(cells=[new_code_cell("show_page(page)", outputs=[
        new_output("display_data", {"text/html": page})
        for page in (explore.query_page(session, episode=1, query=3), changed)
    ])])  # fmt: skip
    path = tmp_path_factory.mktemp("tour") / "00_tour.ipynb"
    nbformat.write(notebook, path)
    return report.write_notebook(path, study="toy")


@pytest.fixture(params=["small", "committed"])
def index(request, study):
    """The report of a small study, and the committed one."""
    if request.param == "committed" and not COMMITTED.exists():
        pytest.skip("no report is committed")
    return study if request.param == "small" else COMMITTED


def open_page(browser, path, **options):
    """A page in a window of its own, and what it complains of."""
    page, complaints = browser.new_context(**options).new_page(), Complaints()
    complaints.listen(page)
    page.goto(path.as_uri(), wait_until="load", timeout=120_000)
    return page, complaints


def links_of(page) -> list[str]:
    """Targets of the links, as they stand in the page."""
    return sorted(set(page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")))


def test_every_link_of_the_report_leads_somewhere_and_nothing_complains(chromium, index):  # noqa: F811
    page, complaints = open_page(chromium, index)
    targets = links_of(page)
    assert any(target.endswith(".html") for target in targets)
    for target in targets:
        if target.startswith("#"):
            page.evaluate("target => { location.hash = target }", target)
            assert page.evaluate("document.querySelector(':target') !== null"), f"{target} leads nowhere"
        else:
            file = index.parent / target.partition("#")[0]
            assert file.stat().st_size > 0, f"{target} is empty"
    for target in (target for target in targets if target.partition("#")[0].endswith(".html")):
        page.goto((index.parent / target).as_uri(), timeout=120_000)
        back = page.locator("a[href$='index.html']").first
        back.click()
        page.wait_for_url("**/index.html")
    assert complaints == []
    page.context.close()


def test_a_reader_shows_the_claims_of_one_verdict_only(chromium, study, tmp_path):  # noqa: F811
    page, _ = open_page(chromium, study)
    rows = page.locator(".claims > li")
    assert rows.count() == 2 and all(row.is_visible() for row in rows.all())
    page.get_by_label("undecided").check()
    assert [row.is_visible() for row in rows.all()] == [True, False]
    page.screenshot(path=tmp_path / "claims.png")
    page.context.close()


def test_nothing_sticks_out_of_a_phone_screen_and_every_picture_is_drawn(chromium, index, tmp_path):  # noqa: F811
    page, _ = open_page(chromium, index, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate("[...document.images].forEach(picture => { picture.loading = 'eager' })")
    pictures = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert pictures and min(pictures) > 0
    page.screenshot(path=tmp_path / "phone.png")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(chromium, index, scheme, tmp_path):  # noqa: F811
    page, _ = open_page(chromium, index, color_scheme=scheme)
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(channels) < 64) == (scheme == "dark")
    ratio, where = page.evaluate(WORST_CONTRAST)
    assert ratio >= 4.5, where  # WCAG 2.2, AA
    page.screenshot(path=tmp_path / f"{scheme}.png")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_the_explorer_can_be_read_by_day_and_by_night(chromium, explored, scheme, tmp_path):  # noqa: F811
    page, complaints = open_page(chromium, explored, color_scheme=scheme)
    assert page.locator(".amfir-page").count() == 2 and page.locator(".amfir-page img").count() > 10
    ratio, where = page.evaluate(WORST_CONTRAST)
    assert ratio >= 4.5, where
    still = page.locator(".amfir-page img").first  # a picture of flow can be as white as the page
    assert still.evaluate("picture => getComputedStyle(picture).borderStyle") == "solid"
    assert complaints == []
    page.screenshot(path=tmp_path / f"explorer-{scheme}.png", full_page=True)
    page.context.close()


def test_paper_gets_the_pictures_and_the_folded_tables_but_no_buttons(chromium, study, tmp_path):  # noqa: F811
    page, _ = open_page(chromium, study)
    folded = page.locator("#tables-streams table")
    assert not folded.is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert folded.is_visible() and not page.locator("nav, fieldset").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    different = set(page.eval_on_selector_all("img", "pictures => pictures.map(picture => picture.src)"))
    page.emulate_media(media=None, color_scheme=None)
    content = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert content.count(b"/Subtype /Image") >= len(different) > 0  # equal pictures are stored once
    page.context.close()
