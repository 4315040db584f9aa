"""Figures, tables and sentences in a notebook, each with its caption."""

from __future__ import annotations

from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure

from amfir_lib import markup
from amfir_lib.exports import Table, flat, holds_numbers

NO_BREAK = "\u2011"  # a hyphen at which a browser does not break the line: "1-shot" stays whole


def show_table(table: Table) -> None:
    """The table as it is to be read, without row numbers, words left and numbers right, caption below."""
    plain = flat(table.shown if table.shown is not None else table.data)
    plain = plain.rename(columns=lambda name: str(name).replace("-", NO_BREAK))
    shown = plain.map(lambda value: markup.to_html(value) if isinstance(value, str) else value)
    style = shown.style.hide(axis="index").format(precision=3, na_rep="–")
    heads = []
    for position, name in enumerate(shown.columns):
        side = "right" if holds_numbers(plain[name]) else "left"
        style = style.set_properties(subset=[name], **{"text-align": side})
        heads.append({"selector": f"th.col{position}", "props": f"text-align: {side};"})
    display(style.set_table_styles(heads))
    if table.caption:
        display(Markdown(f"*{table.caption}*"))


def show_figure(figure: Figure, caption: str) -> None:
    """The figure, caption below; the figure keeps it as its label, from which the record takes it."""
    figure.set_label(caption)
    display(figure, Markdown(f"*{caption}*"))


def say(text: str) -> None:
    """A generated sentence, in Markdown."""
    display(Markdown(text))


def show_page(html: str) -> None:
    """A piece of HTML, such as ``explore.query_page`` makes."""
    display(HTML(html))
