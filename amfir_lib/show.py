"""Figures, tables and sentences in a notebook, each with its caption."""

from __future__ import annotations

from IPython.display import Markdown, display
from matplotlib.figure import Figure

from amfir_lib.exports import Table


def show_table(table: Table) -> None:
    """The table as it is to be read, without row numbers, first column left and numbers right, caption below."""
    shown = table.shown if table.shown is not None else table.data
    first, others = list(shown.columns[:1]), list(shown.columns[1:])
    style = shown.style.hide(axis="index").format(precision=3, na_rep="–")
    style = style.set_properties(subset=first, **{"text-align": "left"})
    display(style.set_properties(subset=others, **{"text-align": "right"}))
    if table.caption:
        display(Markdown(f"*{table.caption}*"))


def show_figure(figure: Figure, caption: str) -> None:
    """The figure, caption below."""
    display(figure, Markdown(f"*{caption}*"))


def say(text: str) -> None:
    """A generated sentence, in Markdown."""
    display(Markdown(text))
