"""Figures and tables as files: the same input gives the same bytes, and nothing half-written is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from amfir_lib import markup
from amfir_lib.storage import atomic_write

DPI = 200
PICTURE_DPI = 130  # frames of clips have few pixels, and lines of text stay sharp
PICTURES = 0.5  # of the page; above it a figure is a picture
# matplotlib writes dates and its own version into files; without them equal figures are equal bytes.
PDF_METADATA = {"CreationDate": None, "Creator": None, "Producer": None}


@dataclass(frozen=True)
class Table:
    """A table to export.

    Attributes:
        data: tidy numbers in full precision, for the CSV file.
        shown: the table as it is to be read, for Markdown and LaTeX: text cells such as ``52.4 ± 1.9``, with the
            marks of ``amfir_lib.markup``; default: data with four significant digits.
        caption: data set, split, episodes, seeds, and what the ± covers.
    """

    data: pd.DataFrame
    shown: pd.DataFrame | None = None
    caption: str = ""


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.pdf`` without dates, at 200 dpi, or 130 where a panel holds pictures of clips.

    A figure that is mostly pictures has no PDF: lines and letters gain by one, pixels do not.

    Returns:
        The paths.
    """
    dpi = PICTURE_DPI if holds_pictures(figure) else DPI
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf"))
    with atomic_write(png) as temporary:
        temporary.write_bytes(png_of(figure, dpi=dpi))
    if share_of_pictures(figure) > PICTURES:
        pdf.unlink(missing_ok=True)  # of an earlier figure of this name
        return [png]
    with atomic_write(pdf) as temporary:
        figure.savefig(temporary, format="pdf", dpi=dpi, metadata=PDF_METADATA)
    return [png, pdf]


def write_drawn(frame: pd.DataFrame, stem: Path) -> Path:
    """Write ``stem.csv``, the numbers that a figure draws, with six significant digits.

    Returns:
        The path.
    """
    path = stem.with_name(f"{stem.name}.csv")
    with atomic_write(path) as temporary:
        temporary.write_text(
            flat(frame).to_csv(index=False, float_format="%.6g", lineterminator="\n"), encoding="utf-8"
        )
    return path


def holds_pictures(figure: Figure) -> bool:
    """Whether a panel shows frames of clips, flow colours or a map."""
    return any(axes.images for axes in figure.axes)


def share_of_pictures(figure: Figure) -> float:
    """Part of the page, 0 to 1, that pictures cover, once the figure is drawn."""
    boxes = [axes.bbox for axes in figure.axes if axes.images]
    return float(sum(box.width * box.height for box in boxes) / (figure.bbox.width * figure.bbox.height))


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


def write_table(table: Table | pd.DataFrame, stem: Path) -> list[Path]:
    """Write ``stem.csv`` with full precision, ``stem.md`` and ``stem.tex`` (booktabs) as they are to be read.

    An index that is more than row numbers becomes the first columns.

    Returns:
        The three paths.
    """
    table = table if isinstance(table, Table) else Table(table)
    data = flat(table.data)
    shown = flat(table.shown) if table.shown is not None else data
    caption = f"\n\n{table.caption}" if table.caption else ""
    contents = {
        ".csv": data.to_csv(index=False, lineterminator="\n"),
        ".md": _markdown(shown) + caption + "\n",
        ".tex": _latex(shown, table.caption),
    }
    written = []
    for suffix, text in contents.items():
        path = stem.with_name(stem.name + suffix)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with one level of column names, and its index as columns unless that is row numbers."""
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis([" ".join(str(part) for part in column if str(part)) for column in frame], axis=1)
    return frame


def holds_numbers(column: pd.Series) -> bool:
    """Whether every cell is a number, with or without sign, interval and unit; asides do not count."""
    cells = column.dropna().astype(str).map(markup.without_asides).str.lstrip("+-−–").str.strip()
    return bool(cells.str.match(r"^$|^(nan|[\d.,]+(e[+-]?\d+)?)( ± [\d.]+)?( %| px| points)?$").all())


def _alignment(frame: pd.DataFrame) -> list[str]:
    """Numbers right, words left."""
    return ["right" if holds_numbers(frame[column]) else "left" for column in frame]


def _markdown(frame: pd.DataFrame) -> str:
    alignment = _alignment(frame)
    text = frame.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value)
    text = text.map(lambda value: value.replace("|", r"\|") if isinstance(value, str) else value)  # ends no cell
    text = text.astype(object).where(frame.notna(), None)
    return text.to_markdown(index=False, colalign=alignment, missingval="–", disable_numparse=True)


def _latex(frame: pd.DataFrame, caption: str) -> str:
    columns = "".join(alignment[0] for alignment in _alignment(frame))
    cells = frame.map(lambda value: markup.to_latex(value) if isinstance(value, str) else value)
    text = cells.rename(columns=lambda name: markup.to_latex(str(name))).to_latex(
        index=False,
        escape=False,
        na_rep="–",
        float_format="{:.4g}".format,
        column_format=columns,
        caption=markup.signs(caption.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")) or None,
    )
    return f"% packages: booktabs, xcolor\n{text}" if r"\textcolor" in text else text
