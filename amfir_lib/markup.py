"""Emphasis in the cells of a table: bold for the best, a small grey aside for what others have published.

Cells are text with two marks of Markdown, ``**52.4 ± 1.9**`` and ``*paper 82.8*``, which Markdown shows as they are;
HTML and LaTeX translate them.
"""

from __future__ import annotations

import re

ASIDE_COLOUR = "#6B6B6B"
_BOLD = re.compile(r"\*\*(?=\S)([^*]+?)\*\*")
_ASIDE = re.compile(r"\s*(?<![*\w])\*(?=\S)([^*]+?)\*(?![*\w])")
_LATEX = str.maketrans({
    "\\": r"\textbackslash ", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde ", "^": r"\textasciicircum ",
})  # fmt: skip
_SIGNS = {"±": r"$\pm$", "−": "$-$", "†": r"$^\dagger$", "λ": r"$\lambda$", "≥": r"$\geq$", "≤": r"$\leq$"}


def bold(text: str) -> str:
    """Mark a cell as the best."""
    return f"**{text}**"


def aside(text: str) -> str:
    """Mark a part of a cell as no result of ours."""
    return f"*{text}*"


def without_asides(text: str) -> str:
    """The cell's own content, without marks."""
    return _BOLD.sub(r"\1", _ASIDE.sub("", text))


def to_plain(text: str) -> str:
    """The cell without marks; an aside stands in brackets."""
    return _BOLD.sub(r"\1", _ASIDE.sub(r" (\1)", text)).strip()


def to_html(text: str) -> str:
    """The cell for a notebook; an aside goes on a line of its own."""
    small = rf'<br><small style="color: {ASIDE_COLOUR}">\1</small>'
    return _BOLD.sub(r"<b>\1</b>", _ASIDE.sub(small, text)).removeprefix("<br>")


def to_latex(text: str) -> str:
    """The cell for LaTeX, escaped; asides (package xcolor) go on a line of their own."""
    asides = _ASIDE.findall(text)
    own = signs(_BOLD.sub(r"\\textbf{\1}", _ASIDE.sub("", text).translate(_LATEX)))
    small = [rf"{{\scriptsize\textcolor{{gray}}{{{signs(aside.translate(_LATEX))}}}}}" for aside in asides]
    lines = r" \\ ".join([own, *small])
    return rf"\shortstack[r]{{{lines}}}" if small else own


def signs(text: str) -> str:
    """Signs that plain LaTeX has in mathematics only."""
    for sign, latex in _SIGNS.items():
        text = text.replace(sign, latex)
    return text
