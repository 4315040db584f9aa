"""Markdown of notebooks, captions and exported tables as HTML, with tables that a screen reader can follow."""

from __future__ import annotations

import html
import re
from collections.abc import Collection

import mistune
from markupsafe import Markup

from amfir_lib.show import NO_BREAK

EXPORT_NAME = re.compile(r"`?\b(?P<name>[a-z]\w*_\w+)\b`?")  # words with an underscore are no words of a language


class _Renderer(mistune.HTMLRenderer):
    """HTML whose tables name their header cells; raw HTML in the text is shown, not obeyed, but for ``<br>``."""

    def inline_html(self, html: str) -> str:
        return "<br>" if html == "<br>" else super().inline_html(html)

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        tag, scope = ("th", ' scope="col"') if head else ("td", "")
        side = ' class="number"' if align == "right" else ""
        if head:
            text = text.replace("-", NO_BREAK)
        return f"<{tag}{scope}{side}>{text}</{tag}>\n"

    def table_row(self, text: str) -> str:
        first = text.find("</td>")
        if first >= 0:  # the first cell names the row
            text = '<th scope="row"' + text[len("<td") : first] + "</th>" + text[first + len("</td>") :]
        return f"<tr>\n{text}</tr>\n"


_MARKDOWN = mistune.create_markdown(renderer=_Renderer(escape=True), plugins=["table"])


def to_html(markdown: str) -> Markup:
    """Paragraphs, lists and tables."""
    return Markup(_MARKDOWN(markdown.strip()))


def to_page(markdown: str) -> Markup:
    """The same, each table in a box that scrolls sideways where the screen is narrow."""
    box = '<div class="scroll" tabindex="0" role="region" aria-label="table">'
    text = str(to_html(markdown))  # Markup would escape what it is given to put in
    return Markup(text.replace("<table>", f"{box}<table>").replace("</table>", "</table></div>"))


def inline(markdown: str) -> Markup:
    """One paragraph without the tags around it, for a caption or a cell."""
    text = str(_MARKDOWN(" ".join(markdown.split()))).strip()
    return Markup(re.sub(r"^<p>|</p>$", "", text))


def linked(markdown: str, anchors: Collection[str]) -> Markup:
    """The same as ``inline``, where the name of an exported table is a link to it.

    Args:
        markdown: one paragraph.
        anchors: of the page, such as ``tables-table1_doubts``.
    """

    def link(found: re.Match[str]) -> str:
        anchor = f"tables-{found['name']}"
        return f"[{found['name']}](#{anchor})" if anchor in anchors else found[0]

    return inline(EXPORT_NAME.sub(link, markdown))


def to_text(markdown: str) -> str:
    """Plain words, for an alternative text."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", str(to_html(markdown)))).split())


def split_table(markdown: str) -> tuple[Markup, str]:
    """An exported Markdown table.

    Args:
        markdown: as ``exports.write_table`` writes it: the table, then its caption.
    Returns:
        The table as HTML; the caption as Markdown, empty where there is none.
    """
    table, _, caption = markdown.strip().partition("\n\n")
    return to_html(table), caption.strip()
