"""Figures and tables as files: the same input gives the same bytes, and nothing half-written is left behind.

A table declares once what its columns are: ``keys`` name a row, every other column has a unit.  CSV, Markdown, LaTeX,
HTML and the command ``check`` read that declaration, and nothing guesses from names or text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from PIL import Image

from amfir_lib.errors import BadParameter
from amfir_lib.storage import atomic_write, write_text
from amfir_lib.units import COLUMNS, NONE, UNITS, Unit, text_of

DPI = 200
PICTURE_DPI = 130  # frames of clips have few pixels, and lines of text stay sharp
PICTURES = 0.5  # of the page; above it a figure is a picture
# matplotlib writes dates and its own version into files; without them equal figures are equal bytes.
PDF_METADATA = {"CreationDate": None, "Creator": None, "Producer": None}


HEADS = {"dataset": "data set", "n_shot": "shots", "n_way": "ways", "p_holm": "p (Holm)", "p_value": "p"}
SUFFIXES = {"n_shot": "-shot", "n_way": "-way"}  # of values that head a column: "synth-ssv2 1-shot"


@dataclass(frozen=True)
class Table:
    """A table to export.

    Attributes:
        data: tidy numbers in full precision, for the CSV file.
        shown: the table as it is to be read, for Markdown, LaTeX and HTML: text cells such as ``52.4 ± 1.9``, with the
            marks of :func:`bold` and :func:`aside`; :meth:`of` makes it.  Default: data, each column in its unit.
        caption: data set, split, episodes, seeds, and what the ± covers.
        keys: columns that name a row, where ``COLUMNS`` does not say so.
        units: column of ``data`` -> a name in ``UNITS``, where ``COLUMNS`` does not say it.
        numbers: columns of ``shown`` that hold numbers and stand right.
    """

    data: pd.DataFrame
    shown: pd.DataFrame | None = None
    caption: str = ""
    keys: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    numbers: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        data: pd.DataFrame,
        rows: Mapping[str, str] | Sequence[str],
        cells: Mapping[str, str] | str,
        *,
        columns: Sequence[str] = (),
        beside: Mapping[str, str] | None = None,
        only: pd.Series | None = None,
        bold: str = "",
        caption: str = "",
        keys: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
    ) -> Table:
        """A table whose readable form follows from its data and their units.

        A cell is a template over the columns of ``data``: ``"{accuracy} ± {half_width}"``.  Each number is shown in its
        unit; ``{settled:3}`` asks for three decimals.  What does not exist is an en dash, and takes its ``± –``,
        ``(–)`` or ``*paper –*`` with it.  A shown column without a single value is left out::

            Table.of(frame, ["dataset", "n_shot"], {"lead": "{difference} ± {half_width}", "p (Holm)": "{p_holm}"})
            Table.of(frame, ["method"], "{accuracy} ± {half_width}", columns=["dataset", "n_shot"])  # wide

        Args:
            rows: columns that name a shown row; a mapping gives their heads.
            cells: head -> template.  In the wide form one template, or several, whose heads follow that of the column:
                ``synth-ssv2 1-shot, paper``.
            columns: wide form: columns of data whose values head the shown columns, in order of appearance.
            beside: wide form: head -> template of columns at the end, from the first row of data of each shown row.
            only: which rows of data are shown, as truth values; the CSV file has all in any case.
            bold: a column of truth values: these cells are bold.
        """
        table = cls(data, None, caption, tuple(keys), dict(units or {}))
        heads = rows if isinstance(rows, Mapping) else {column: HEADS.get(column, column) for column in rows}
        cells, beside = {"": cells} if isinstance(cells, str) else cells, beside or {}
        frame = data if only is None else data[only]
        by_column = {column: UNITS[table.unit(column)] for column in frame}
        names = {head: None for head in heads.values()}  # in order; the first column of a template decides the side
        numbers = {head for column, head in heads.items() if _is_number(data[column])}
        shown: dict[Any, dict[str, str]] = {}
        for number, values in enumerate(frame.to_dict("records")):
            record = {column: _Cell(value, by_column[column]) for column, value in values.items()}
            key = tuple(values[column] for column in heads) if columns else number
            if key not in shown:
                shown[key] = {head: f"{record[column]}" for column, head in heads.items()}
                shown[key] |= {head: _filled(template, record) for head, template in beside.items()}
            place = " ".join(f"{record[column]}{SUFFIXES.get(column, '')}" for column in columns)
            for head, template in cells.items():
                head = ", ".join(filter(None, (place, head)))
                shown[key][head] = _filled(template, record, strong=bool(bold) and bool(values[bold]))
                names[head] = template
        names |= beside
        numbers |= {head for head, text in names.items() if text and by_column[_first(text)].decimals is not None}
        text = pd.DataFrame(list(shown.values()), columns=list(names)).fillna(NONE)
        text = text[[head for head in names if names[head] is None or (text[head] != NONE).any()]]
        return replace(table, shown=text, numbers=tuple(head for head in text if head in numbers))

    def unit(self, column: str) -> str:
        """Unit of a column of ``data``, or "key": the table's own word, else that of ``COLUMNS``, else "text"."""
        unit = "key" if column in self.keys else self.units.get(column) or COLUMNS.get(column, "text")
        if unit not in UNITS:
            raise BadParameter(f'"{unit}" of the column "{column}" is no unit. Take one of {", ".join(UNITS)}.')
        return unit

    def declaration(self) -> dict[str, str]:
        """Unit, or "key", of every column of ``data``: what the record keeps for ``check``.

        Raises:
            BadParameter: a column of numbers has no unit.
        """
        data = flat(self.data)
        units = {column: self.unit(column) for column in data}
        for column, unit in units.items():
            if unit == "text" and _is_number(data[column]):
                raise BadParameter(
                    f'The column "{column}" of a table holds numbers without a unit, so nothing knows how to show them '
                    "and by how much they may differ on another machine. Add it to COLUMNS of amfir_lib.units, or give "
                    f'the table units={{"{column}": UNIT}}, one of {", ".join(UNITS)}.'
                )
        return units

    def readable(self) -> tuple[pd.DataFrame, list[str]]:
        """What is shown, and per column whether it stands "left" or "right"."""
        if self.shown is None:
            data = flat(self.data)
            return Table.of(data, {column: column for column in data}, {}, keys=self.keys, units=self.units).readable()
        shown = flat(self.shown)
        numbers = {column for column in shown if _is_number(shown[column]) or column in self.numbers}
        return shown, ["right" if column in numbers else "left" for column in shown]


class _Cell(NamedTuple):
    """A value and its unit in a template, where ``{x:3}`` asks for three decimals."""

    value: Any
    unit: Unit

    def __format__(self, decimals: str) -> str:
        return text_of(self.value, self.unit, int(decimals) if decimals else None)


def _filled(template: str, record: Mapping[str, _Cell], *, strong: bool = False) -> str:
    text = _LACKING.sub("", template.format_map(record))
    main, star, rest = text.partition(" *")
    return f"{bold(main)}{star}{rest}" if strong and main else text


def _first(template: str) -> str:
    """The first column that a template names."""
    return next(name for _, name, _, _ in Formatter().parse(template) if name)


def write_table(table: Table | pd.DataFrame, stem: Path) -> list[Path]:
    """Write ``stem.csv`` with full precision, ``stem.md`` and ``stem.tex`` (booktabs) as they are to be read.

    An index with a name becomes the first columns.  Returns the three paths.

    Raises:
        BadParameter: a column of numbers has no unit.
    """
    table = table if isinstance(table, Table) else Table(table)
    table.declaration()
    shown, sides = table.readable()
    caption = f"\n\n{table.caption}" if table.caption else ""
    contents = {
        ".csv": flat(table.data).to_csv(index=False, lineterminator="\n"),
        ".md": _markdown(shown, sides) + caption + "\n",
        ".tex": _latex(shown, sides, table.caption),
    }
    written = {stem.with_name(stem.name + suffix): text for suffix, text in contents.items()}
    for path, text in written.items():
        write_text(path, text)
    return list(written)


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with one level of column names, and its index as columns where that has a name."""
    if frame.index.names != [None]:
        frame = frame.reset_index()
    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis([" ".join(str(part) for part in column if str(part)) for column in frame], axis=1)
    return frame


def _is_number(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column) and column.notna().any()


def _markdown(frame: pd.DataFrame, sides: list[str]) -> str:
    text = frame.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value)
    text = text.map(lambda value: value.replace("|", r"\|") if isinstance(value, str) else value)  # ends no cell
    text = text.astype(object).where(frame.notna(), None)
    return text.to_markdown(index=False, colalign=sides, missingval=NONE, disable_numparse=True)


def _latex(frame: pd.DataFrame, sides: list[str], caption: str) -> str:
    columns = "".join(side[0] for side in sides)
    cells = frame.map(lambda value: to_latex(value) if isinstance(value, str) else value)
    text = cells.rename(columns=lambda name: to_latex(str(name))).to_latex(
        index=False,
        escape=False,
        na_rep=NONE,
        float_format="{:.4g}".format,
        column_format=columns,
        caption=signs(caption.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")) or None,
    )
    return f"% packages: booktabs, xcolor\n{text}" if r"\textcolor" in text else text


ASIDE_COLOUR = "#6B6B6B"
_LACKING = re.compile(rf" ± {NONE}| \({NONE}\)| \*[^*{NONE}]*{NONE}[^*]*\*")
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


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.pdf`` without dates, at 200 dpi, or 130 where a panel holds pictures of clips.

    A figure that is mostly pictures has no PDF: lines and letters gain by one, pixels do not.  Returns the paths.
    """
    dpi = PICTURE_DPI if holds_pictures(figure) else DPI
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf"))
    with atomic_write(png) as temporary:
        temporary.write_bytes(png_of(figure, dpi=dpi))
    boxes = [axes.bbox for axes in figure.axes if axes.images]
    if sum(box.width * box.height for box in boxes) > PICTURES * figure.bbox.width * figure.bbox.height:
        pdf.unlink(missing_ok=True)  # of an earlier figure of this name
        return [png]
    with atomic_write(pdf) as temporary:
        figure.savefig(temporary, format="pdf", dpi=dpi, metadata=PDF_METADATA)
    return [png, pdf]


def write_drawn(frame: pd.DataFrame, stem: Path) -> Path:
    """Write ``stem.csv``, the numbers that a figure draws, with six significant digits; returns the path."""
    path = stem.with_name(f"{stem.name}.csv")
    write_text(path, flat(frame).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return path


def holds_pictures(figure: Figure) -> bool:
    """Whether a panel shows frames of clips, flow colours or a map."""
    return any(axes.images for axes in figure.axes)


def png_of(figure: Figure, *, dpi: float) -> bytes:
    """A figure as PNG, the same bytes for the same figure.

    A palette of 256 colours, which lines and letters do not fill, halves their file; frames of clips, dithered, take a
    quarter of theirs.  The PDF keeps all colours.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    image = Image.open(buffer).convert("RGB")
    few = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4 if holds_pictures(figure) else 0)
    if holds_pictures(figure):
        few = image.quantize(palette=few, dither=Image.Dither.FLOYDSTEINBERG)
    smaller = BytesIO()
    few.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()
