"""``GUIDE.html``: the guide of a study as a page whose links lead to the report."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from markupsafe import Markup

from amfir_lib.run.report.cards import as_cards
from amfir_lib.run.report.prose import to_page
from amfir_lib.run.report.templates import render
from amfir_lib.storage import atomic_write

SOURCE, PAGE = "GUIDE.md", "GUIDE.html"
LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)\)")  # to a file; not to an anchor, not to another place
SHOWN = (".md", ".png")  # what the report shows; a CSV file is opened itself
FLAG = re.compile(r"(?<= )-[^\s<]+(?=[^<]*</code>)")  # of a command: a browser would break the line after its hyphen
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)


def write_guide(output_dir: Path, *, study: str, anchors: Collection[str]) -> str | None:
    """Write the page of the guide, if the study has one.

    Args:
        output_dir: folder of the study.
        study: what the link back to the report is called.
        anchors: exhibits of the report, such as ``figures-differences``; links to their files become links to them.
    Returns:
        Name of the page; None where there is no guide.
    """
    source = output_dir / SOURCE
    if not source.exists():
        return None

    def follow(found: re.Match[str]) -> str:
        words, target = found.groups()
        anchor = target.rpartition(".")[0].replace("/", "-")
        if anchor in anchors and target.endswith(SHOWN):
            return f"[{words}](index.html#{anchor})"
        return found[0] if (output_dir / target).exists() else words

    title, _, body = source.read_text(encoding="utf-8").partition("\n")
    html = TABLE.sub(lambda table: as_cards(table[0]), to_page(LINK.sub(follow, body)))
    html = Markup(FLAG.sub(r'<span class="flag">\g<0></span>', html))
    page = render("guide.html", title=title.lstrip("# "), body=html, study=study)
    with atomic_write(output_dir / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return PAGE
