"""One look for all figures: sizes, text, and one colour and one marker for each method or stream.

Nothing here changes matplotlib's settings for anybody else: the style holds inside ``styled`` functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.exports import png_of

STYLE = Path(__file__).with_name("amfir.mplstyle")
ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches
SCREEN_DPI = 130
GREY = "#8C8C8C"  # chance, references, and everything that is no result of ours
PAPER = "paper (as printed)"
HOLLOW = "hollow: no difference shown"


@dataclass(frozen=True)
class Look:
    """How a method or stream appears in every figure.

    Attributes:
        label: its name.
        colour: safe for colour-blind readers in the sets that occur together.
        marker: of matplotlib; differs where colours are close.
        line: style of the line.
    """

    label: str
    colour: str
    marker: str
    line: str = "-"


class PrintFigure(Figure):
    """A figure that a notebook shows when it is the value of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        return png_of(self, dpi=SCREEN_DPI)


# Okabe and Ito's colours first; appearance is warm, motion is blue, what joins both is black, green or purple.
LOOKS: dict[str, Look] = {
    "rgb": Look("RGB", "#D55E00", "o"),
    "depth": Look("depth", "#D55E00", "o"),
    "flow": Look("flow", "#0072B2", "s"),
    "fused": Look("fused", "#000000", "D"),
    "total": Look("mean of both", "#000000", "D"),
    "amfir": Look("AMFIR", "#009E73", "D"),
    "amfar": Look("AMFAR", "#E69F00", "^"),
    "nearest_mean": Look("nearest mean", "#777777", "d"),
    "protonet": Look("ProtoNet", "#D55E00", "o"),
    "protonet_f": Look("ProtoNet-F", "#0072B2", "s"),
    "protonet_lf": Look("ProtoNet-LF", "#CC79A7", "v"),
    "protonet_ec": Look("ProtoNet-EC", "#882255", "P"),
    "protonet_ea": Look("ProtoNet-EA", "#882255", "X"),
    "no_distillation": Look("no distillation", "#56B4E9", "v", "--"),
    "certainty_groups": Look("certainty groups", "#E69F00", "^", "-."),
    "bidirectional": Look("bidirectional", "#009E73", "D"),
    "t_rgb": Look("T-RGB", "#D55E00", "o"),
    "t_depth": Look("T-depth", "#D55E00", "o"),
    "t_flow": Look("T-Flow", "#0072B2", "s"),
    "matchingnet": Look("MatchingNet", "#999933", "<"),
    "cmn": Look("CMN", "#DDCC77", ">"),
    "otam": Look("OTAM", "#56B4E9", "p"),
    "trx": Look("TRX", "#332288", "h"),
    "trx_f": Look("TRX-F", "#4477AA", "h", "--"),
    "trx_lf": Look("TRX-LF", "#AA4499", "h", "-."),
    "strm": Look("STRM", "#CC6677", "o"),
    "strm_f": Look("STRM-F", "#6699CC", "s"),
    "strm_lf": Look("STRM-LF", "#7B4EA3", "v"),
    "strm_ec": Look("STRM-EC", "#44AA99", "P"),
    "hyrsm": Look("HyRSM", "#661100", "*"),
    "both teach all": Look("both teach all", "#EE3377", "p"),
    "1/τ = 5, fixed": Look("1/τ = 5, fixed", "#AA3377", "P", "-."),
    "1/τ = 20, fixed": Look("1/τ = 20, fixed", "#663333", "v", "--"),
    "synth-kinetics": Look("synth-kinetics", "#BB5566", "<"),
    "synth-ssv2": Look("synth-ssv2", "#004488", ">", "--"),
    "synth-hmdb51": Look("synth-hmdb51", "#997700", "d", "-."),
    "synth-ucf101": Look("synth-ucf101", "#117733", "*", ":"),
}
# For names that have no look of their own, in the order in which they come; their colours are nobody else's.
SPARE = [
    Look("", colour, marker, line)
    for colour, marker, line in (
        ("#225555", "h", "-"), ("#6A3D9A", "v", "--"), ("#B15928", "d", "-."), ("#4D4D4D", "p", ":"),
        ("#EE99AA", "<", "-"), ("#003344", "X", "--"), ("#88CCEE", ">", "-."), ("#665500", "*", ":"),
    )
]  # fmt: skip


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Name (or label) -> look, in the order given: the fixed one of a known name, a spare one with its name of another.

    Raises:
        BadParameter: more unknown names than spare looks; a figure with so many lines cannot be read.
    """
    names = list(dict.fromkeys(str(name) for name in names))
    known = LOOKS | {look.label: look for look in LOOKS.values()}
    unknown = [name for name in names if name not in known]
    if len(unknown) > len(SPARE):
        raise BadParameter(
            f"{len(unknown)} series have no look of their own ({', '.join(unknown)}), but {len(SPARE)} are free. "
            "Draw fewer series in one figure, or add looks to amfir_lib/figures/style.py."
        )
    given = iter(SPARE)
    result = {}
    for name in names:
        look = known[name] if name in known else next(given)
        result[name] = look if look.label else Look(name, look.colour, look.marker, look.line)
    return result


def styled(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Let a function that returns a figure draw in the study's style."""

    @wraps(function)
    def draw(*arguments: Any, **options: Any) -> Figure:
        with matplotlib.style.context(["default", STYLE]):
            return function(*arguments, **options)

    return draw


def grid_of_panels(
    n_panels: int, *, height: float = 2.2, max_columns: int = 2, share_x: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each data set: 3.4 in for one, 7 in for more; ``height`` is that of a row.

    Figures are made without pyplot, so nothing is shown and nothing stays open.
    """
    columns = min(n_panels, max_columns)
    rows = -(-n_panels // columns)
    figure = PrintFigure(figsize=(ONE_COLUMN if columns == 1 else TWO_COLUMNS, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share_x).ravel().tolist()
    for spare in axes[n_panels:]:
        spare.set_axis_off()
    return figure, axes[:n_panels]


def check_columns(frame: pd.DataFrame, columns: Iterable[str], *, figure: str) -> None:
    """Refuse a frame without rows or without a needed column."""
    missing = [column for column in columns if column not in frame.columns]
    if missing or frame.empty:
        what = f"lacks the column {', '.join(missing)}" if missing else "has no rows"
        raise ShapeError(f"the frame for {figure} {what}; it needs {', '.join(columns)}.")


def as_percent(values: pd.Series, *, name: str) -> pd.Series:
    """Shares as percent; refuses what is in percent already."""
    if (values.abs() > 1).any():
        worst = values[values.abs() > 1].iloc[0]
        raise BadParameter(f"{name} holds {worst:.4g}, but must be a share in [-1, 1]. Divide by 100.")
    return 100 * values


def label_ends(axes: Axes, ends: dict[str, float], looks_of: dict[str, Look], *, gap: float = 8.0) -> None:
    """Name each line at its right end, moved apart where ends are close (``gap`` points), with a thin leader.

    Call it last, when the limits of the axes are final.

    Args:
        axes: the panel.
        ends: name -> y of the last point.
        looks_of: from ``looks``.
        gap: smallest distance of two labels, in points.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    height = axes.figure.get_size_inches()[1] * 72 * 0.72 / axes.get_gridspec().nrows  # points, about
    scale = height / (high - low)
    names = sorted(ends, key=lambda name: ends[name])
    wanted = [(ends[name] - low) * scale for name in names]
    places = spread(wanted, gap)
    for name, place, end in zip(names, places, wanted, strict=True):
        look = looks_of[name]
        axes.annotate(
            look.label, (1, ends[name]), xycoords=("axes fraction", "data"), xytext=(11, place - end),
            textcoords="offset points", color=look.colour, fontsize=7, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look.colour, "linewidth": 0.5, "shrinkA": 0.5, "shrinkB": 1},
        )  # fmt: skip


def shown_to_differ(frame: pd.DataFrame) -> pd.Series:
    """(rows) which differences are filled: by the ``verdict``, which is corrected, else by an interval without 0."""
    if "verdict" in frame:
        return frame["verdict"] != "undecided"
    return frame["difference"].abs() > frame["half_width"]


def point_of(row: Any, *, marker: str = "o", colour: str = "black", size: float | None = None) -> dict[str, Any]:
    """How ``errorbar`` draws a difference: hollow where it is not ``shown``, a grey cross where it has no interval."""
    if not np.isfinite(row.half_width):
        return {"fmt": "x", "color": GREY, "markersize": size}
    face = colour if row.shown else "white"
    return {"fmt": marker, "color": colour, "markerfacecolor": face, "markersize": size}


def legend_below(figure: Figure, styles: Iterable[Look]) -> None:
    """One legend for all panels, below them."""
    styles = list(styles)
    axes = figure.axes[0]
    handles = [
        axes.plot([], [], color=s.colour, linestyle=s.line, marker=s.marker or None, markersize=3.5)[0] for s in styles
    ]
    n_columns = len(styles) if len(styles) < 7 else 4
    figure.legend(handles, [s.label for s in styles], loc="outside lower center", ncols=n_columns)


def spread(wanted: list[float], gap: float) -> list[float]:
    """Places at least ``gap`` apart, in the same order, as near as possible to the wanted ones (ascending).

    Neighbours that are too close form a block around the mean of what they wanted; blocks that then touch are joined.
    """
    blocks: list[list[float]] = []  # members' wanted places, shifted by gap times their position in the block
    for place in wanted:
        blocks.append([place])
        while len(blocks) > 1 and _top(blocks[-2], gap) + gap > _bottom(blocks[-1], gap):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_bottom(block, gap) + gap * index for block in blocks for index in range(len(block))]


def _bottom(block: list[float], gap: float) -> float:
    return sum(block) / len(block) - gap * (len(block) - 1) / 2


def _top(block: list[float], gap: float) -> float:
    return _bottom(block, gap) + gap * (len(block) - 1)
