"""Figures, tables and sentences in a notebook, each with its caption."""

from __future__ import annotations

from IPython.display import display
from matplotlib.figure import Figure

from amfir_lib.exports import Table, to_html, to_plain
from amfir_lib.storage import digest_of
from amfir_lib.units import NONE

NO_BREAK = "\u2011"  # a hyphen at which a browser does not break the line: "1-shot" stays whole


def show_table(table: Table) -> None:
    """The table as it is to be read, without row numbers, words left and numbers right, caption below."""
    shown, sides = table.readable()
    shown = shown.rename(columns=lambda name: str(name).replace("-", NO_BREAK))
    html, plain = (shown.map(lambda x, to=to: to(x) if isinstance(x, str) else x) for to in (to_html, to_plain))
    style = html.style.hide(axis="index").format(precision=3, na_rep=NONE)
    heads = []
    for position, (name, side) in enumerate(zip(html.columns, sides, strict=True)):
        style = style.set_properties(subset=[name], **{"text-align": side})
        heads.append({"selector": f"th.col{position}", "props": f"text-align: {side};"})
    style = style.set_table_styles(heads).set_uuid(digest_of([shown.to_csv(), table.caption])[:8])
    text = plain.to_string(index=False, na_rep=NONE, float_format="{:.4g}".format)
    _show({"text/html": style.to_html(), "text/plain": text})
    if table.caption:
        say(f"*{table.caption}*")


def show_figure(figure: Figure, caption: str) -> None:
    """The figure, caption below; the figure keeps it as its label, from which the record takes it."""
    figure.set_label(caption)
    display(figure)
    say(f"*{caption}*")


def say(text: str) -> None:
    """A generated sentence, in Markdown."""
    _show({"text/markdown": text, "text/plain": text})


def show_page(html: str) -> None:
    """A piece of HTML, such as ``explore.query_page`` makes."""
    _show({"text/html": html, "text/plain": "A page that a browser shows."})


def _show(data: dict[str, str]) -> None:
    """One output in several forms; the viewer takes the richest that it knows."""
    display(data, raw=True)
