"""Figures, tables and sentences in a notebook, each with its caption."""

from __future__ import annotations

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from amfir_lib.exports import Table, to_html, to_plain
from amfir_lib.storage import digest_of

NO_BREAK = "\u2011"  # a hyphen at which a browser does not break the line: "1-shot" stays whole


def show_table(table: Table) -> None:
    """The table as it is to be read, without row numbers, words left and numbers right, caption below."""
    plain, sides = table.readable()
    plain = plain.rename(columns=lambda name: str(name).replace("-", NO_BREAK))
    shown = plain.map(lambda value: to_html(value) if isinstance(value, str) else value)
    style = shown.style.hide(axis="index").format(precision=3, na_rep="–")
    heads = []
    for position, (name, side) in enumerate(zip(shown.columns, sides, strict=True)):
        style = style.set_properties(subset=[name], **{"text-align": side})
        heads.append({"selector": f"th.col{position}", "props": f"text-align: {side};"})
    styled = style.set_table_styles(heads).set_uuid(digest_of([plain.to_csv(), table.caption])[:8])
    _show({"text/html": styled.to_html(), "text/plain": as_text(plain)})
    if table.caption:
        say(f"*{table.caption}*")


def as_text(frame: pd.DataFrame) -> str:
    """A table in plain letters, for viewers without HTML: no marks of emphasis, no row numbers."""
    words = frame.map(lambda value: to_plain(value) if isinstance(value, str) else value)
    return words.to_string(index=False, na_rep="–", float_format="{:.4g}".format)


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
