"""Tables whose rows become cards: always where a cell holds a paragraph, else on a narrow screen."""

from __future__ import annotations

import html
import re

from markupsafe import Markup

LONG = 200  # characters in a cell: more is a paragraph, which no column among others is wide enough for
EMPTY = ("", "–")
ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
CELL = re.compile(r"<t(?P<kind>[dh])(?P<given>[^>]*)>(?P<text>.*?)</t[dh]>", re.DOTALL)
# a box of another display than a table's is no table for a screen reader, unless its role says so
ROLES = {"<thead>": '<thead role="rowgroup">', "<tbody>": '<tbody role="rowgroup">'}


def as_cards(table: str, *, always: bool = False) -> Markup:
    """A table whose cells carry the names of their columns, for the class ``cards`` of the pages' style.

    Args:
        table: HTML as of ``prose.to_html``: a header, whose cells and whose rows' first cells are ``th``.
        always: the rows are cards on any screen, by the class ``records``; else on a narrow one.
    """
    header, _, body = str(table).partition("</thead>")
    names = [_plain(cell["text"]) for cell in CELL.finditer(header)]
    for tag, with_role in ROLES.items():
        header, body = header.replace(tag, with_role), body.replace(tag, with_role)
    header = header.replace("<tr>", '<tr role="row">').replace("<th ", '<th role="columnheader" ')
    kinds = "cards records" if always else "cards"
    header = header.replace("<table>", f'<table class="{kinds}" role="table">')
    return Markup(header + "</thead>" + ROW.sub(lambda row: _row(row[1], names), body))


def holds_paragraphs(table: str) -> bool:
    """Whether a cell is longer than ``LONG``."""
    return any(len(_plain(cell["text"])) > LONG for cell in CELL.finditer(str(table)))


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def _row(cells: str, names: list[str]) -> str:
    made = []
    for name, cell in zip(names, CELL.finditer(cells), strict=True):
        if cell["kind"] == "h":
            made.append(f'<th role="rowheader"{cell["given"]}>{cell["text"]}</th>\n')
        else:
            empty = " data-empty" if cell["text"].strip() in EMPTY else ""
            label = Markup.escape(name)
            made.append(f'<td role="cell" data-label="{label}"{empty}{cell["given"]}>{cell["text"]}</td>\n')
    return f'<tr role="row">\n{"".join(made)}</tr>'
