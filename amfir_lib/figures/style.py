"""One look for all figures: sizes, text, and one colour and one marker for each method, stream or data set.

Nothing here changes matplotlib's settings for anybody else: the style holds inside ``styled`` functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.exports import png_of
from amfir_lib.methods import METHODS

STYLE = Path(__file__).with_name("amfir.mplstyle")
ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
SCREEN_DPI = 130
GREY = "#8C8C8C"  # chance, references, and everything that is no result of ours
SOFT = "#6B6B6B"  # small words beside results
PAPER = "paper (as printed)"
LEVEL_LINES = ("-", "--", ":")  # of reference levels, in order


@dataclass(frozen=True)
class Look:
    """How a method or stream appears in every figure.

    Colours are safe for colour-blind readers in the sets that occur together: Okabe and Ito's first; appearance is
    warm, motion is blue, what joins both is black, green or purple.  Markers differ where colours are close.
    """

    label: str
    colour: str
    marker: str
    line: str = "-"


Keys = dict[Look, dict[str, Any]]  # of a legend: look -> what differs from it in the key
WHITE = {"markerfacecolor": "white"}
HOLLOW = Look("hollow: no difference shown", GREY, "o", "")
# Of streams, series, data sets and verdicts from the file, of methods from their registry.
_ROWS = pd.read_csv(Path(__file__).with_name("looks.csv"), keep_default_na=False).to_dict("records")
LOOKS = {row.pop("name"): Look(**row) for row in _ROWS}
LOOKS |= {name: Look(spec.title, spec.colour, spec.marker, spec.line) for name, spec in METHODS.items()}
# For names that have no look of their own, in the order in which they come; their colours are nobody else's.
_COLOURS = ("#225555", "#6A3D9A", "#B15928", "#4D4D4D", "#EE99AA", "#003344", "#88CCEE", "#665500")
SPARE = [Look("", *style) for style in zip(_COLOURS, "hvdp<X>*", ("-", "--", "-.", ":") * 2, strict=True)]


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Name (or label) -> look, in the order given: the fixed one of a known name, a spare one of another.

    Titles may end in a remark: "AMFAR (our reading)" and "STRM-lite" have the looks of AMFAR and STRM.
    """
    by_label, spare, looks_of = {look.label: look for look in LOOKS.values()}, iter(SPARE), {}
    for name in dict.fromkeys(map(str, names)):
        title = name.partition(" (")[0]
        look = LOOKS.get(name) or by_label.get(title.removesuffix("-lite")) or next(spare, None)
        if look is None:
            raise BadParameter(
                f'"{name}" and {len(SPARE)} other series have no look of their own. Draw fewer series in one figure, '
                "or add looks to amfir_lib/figures/looks.csv."
            )
        looks_of[name] = look if name in LOOKS else replace(look, label=title)
    return looks_of


class PrintFigure(Figure):
    """A figure that a notebook shows when it is the value of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        return png_of(self, dpi=SCREEN_DPI)


def styled(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Let a function that returns a figure draw in the study's style."""

    @wraps(function)
    def draw(*arguments: Any, **options: Any) -> Figure:
        with matplotlib.style.context(["default", STYLE]):
            return function(*arguments, **options)

    return draw


@dataclass(frozen=True)
class Panel:
    """One panel of a grid."""

    axes: Axes
    frame: pd.DataFrame  # its rows
    place: dict[str, Any]  # column -> value, of all columns that tell it from others
    last: bool  # whether none stands below it
    x_label: str  # the last of the values that tell it from others of its row, if that names its axis, else ""


def grid_of_panels(
    frame: pd.DataFrame, *, rows: Sequence[str], columns: Sequence[str], wrap: int, height: float, sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, list[Panel]]:  # fmt: skip
    """A panel for each combination of values, in the order in which they come: 3.4 in for one column, 7 in for more.

    The values of ``columns`` stand above a panel, unless they stand above the one over it, too.

    Args:
        rows: columns of the frame whose values make the rows of the grid; () to fill the grid row by row.
        columns: columns of the frame whose values tell the panels of a row apart.
        wrap: panels beside each other at most, without ``rows``.
        height: of a row, inches.
        sharex: whether panels have one x axis; without, the last value of ``columns`` is its name and no title.
    """
    by_row = frame.groupby(list(rows), sort=False) if rows else [((), frame)]
    cells = [[(row, *cell) for cell in part.groupby(list(columns), sort=False)] for row, part in by_row]
    if not rows:
        cells = [cells[0][start : start + wrap] for start in range(0, len(cells[0]), wrap)]
    n_columns = max(map(len, cells))
    size = (ONE_COLUMN if n_columns == 1 else TWO_COLUMNS, 0.45 + height * len(cells))
    figure = PrintFigure(figsize=size, layout="constrained")
    grid = figure.subplots(len(cells), n_columns, squeeze=False, sharex=sharex, sharey=sharey)
    panels, above = [], {}
    for number, line in enumerate(cells):
        n_below = len(cells[number + 1]) if number + 1 < len(cells) else 0
        for column, axes in enumerate(grid[number]):
            if column >= len(line):
                axes.set_axis_off()
                continue
            row, value, part = line[column]
            words = [in_words(*pair) for pair in zip(value, columns, strict=True)]
            title = ", ".join(words if sharex else words[:-1])
            axes.set_title("" if rows and title == above.get(column) else title)
            above[column] = title
            place = dict(zip((*rows, *columns), (*row, *value), strict=True))
            panels.append(Panel(axes, part, place, column >= n_below, "" if sharex else str(value[-1])))
    return figure, panels


def in_words(value: Any, column: str = "") -> str:
    """``5-shot``, ``RGB``, ``false colour``: a value as it stands above a panel or beside a row."""
    if column in ("n_way", "n_shot"):
        return f"{value}-{column.removeprefix('n_')}"
    if value in LOOKS:
        return LOOKS[value].label
    return value.replace("_", " ") if str(value).isidentifier() else str(value)


def checked(frame: pd.DataFrame, columns: Iterable[str], *, shares: Iterable[str] = ()) -> pd.DataFrame:
    """The frame, its shares in percent; refused (ShapeError) where it has no rows or lacks a column."""
    missing = [column for column in dict.fromkeys(columns) if column not in frame.columns]
    if missing or frame.empty:
        problem = f"lacks the column {', '.join(missing)}" if missing else "has no rows"
        raise ShapeError(f"the frame of this figure {problem}; it needs {', '.join(dict.fromkeys(columns))}.")
    return frame.assign(**{name: 100 * frame[name].astype(float) for name in shares if name in frame})


def not_shown(frame: pd.DataFrame) -> pd.Series:
    """(rows) differences that are drawn hollow: by the ``verdict``, which is corrected, else by an interval with 0."""
    by_interval = ~(frame["difference"].abs() > frame["half_width"])
    if "verdict" not in frame:
        return by_interval
    return (frame["verdict"] == "undecided") | (by_interval & frame["verdict"].isna())


def draw_levels(panels: Iterable[Panel], levels: Mapping[str, float], *, upright: bool = False) -> Keys:
    """A grey line in every panel for each level (name -> place on the axis); returns what the legend needs."""
    keys = {}
    for (name, level), line in zip(levels.items(), LEVEL_LINES, strict=False):
        for panel in panels:
            draw = panel.axes.axvline if upright else panel.axes.axhline
            draw(level, color=GREY, linewidth=0.8, linestyle=line, zorder=1)
        keys |= {Look(name, GREY, "", line): {}} if name else {}
    return keys


def legend(figure: Figure, styles: Keys, *, above: bool = False) -> None:
    """One legend for all panels, below or above them; none without keys."""
    if not styles:
        return
    handles = [
        Line2D([], [], **{"color": s.colour, "linestyle": s.line, "marker": s.marker, "markersize": 3.5} | other)
        for s, other in styles.items()
    ]
    labels, place = [s.label for s in styles], f"outside {'upper' if above else 'lower'} center"
    rows = -(-sum(len(label) + 6 for label in labels) // (105 if figure.get_size_inches()[0] > ONE_COLUMN else 50))
    figure.legend(handles, labels, loc=place, ncols=-(-len(labels) // rows))
