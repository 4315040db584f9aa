"""Clips spoilt in every way, and accuracy and fusion weight against severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.errors import ShapeError
from amfir_lib.figures.clips import add_axes_inches, picture, saturation_of, strip
from amfir_lib.figures.levels import SOFT, note_above
from amfir_lib.figures.style import (
    GREY,
    ONE_COLUMN,
    TWO_COLUMNS,
    Look,
    PrintFigure,
    as_percent,
    check_columns,
    legend_below,
    looks,
    styled,
)

CLEAN = "none"
MOST_COLUMNS = 4  # panels beside each other
DODGE = 0.012  # of the x axis, between two methods at one severity
SHARES = {
    "weight": ("mean fusion weight", "#000000", "-", "P"),
    "group_share": ("share of queries in its group", "#707070", "--", "X"),
    "right_share": ("it is the right one (where one is)", "#000000", ":", "*"),
}  # black and grey, as colours are methods


@styled
def spoilt_clips(shown: Mapping[str, Sequence[tuple | None]], *, levels: Sequence[str]) -> Figure:
    """One clip as it is, and below it spoilt in every way: two frames and two flow fields at each level.

    Args:
        shown: kind -> for each level frames uint8 (2, S, S, 3) and flow (2, S, S, 2), or None; the first kind is the
            clip as it is: it stands above the headings, and its first picture sets the scale of the flow colours.
        levels: what stands above the columns.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: nothing to show, or not one entry for each level.
    """
    if not shown or any(len(row) != len(levels) for row in shown.values()):
        raise ShapeError(f"spoilt_clips needs, for each kind, {len(levels)} pictures or None. Give one a level.")
    first = next(one for row in shown.values() for one in row if one is not None)
    limit = saturation_of(first[1])
    left, head, gap = 0.75, 0.18, 0.07
    width = (TWO_COLUMNS - left) / max(2, len(levels)) - gap  # one level alone would be shown too large
    height = width / 4
    step = height + 0.05
    figure = PrintFigure(figsize=(TWO_COLUMNS, head + step * len(shown)), layout="none")
    up = figure.get_size_inches()[1]
    for row, (kind, pictures) in enumerate(shown.items()):
        bottom = up - (row + 1) * step + 0.03 - (head if row else 0)
        figure.text((left - 0.07) / TWO_COLUMNS, (bottom + height / 2) / up, kind, ha="right", va="center", fontsize=7)
        for column, one in enumerate(pictures):
            if one is None:
                continue
            image = np.concatenate([one[0], flow_to_colour(one[1], max_displacement=limit)])
            axes = add_axes_inches(figure, left + column * (width + gap), bottom, width, height)
            picture(axes, strip(image, gap=1))
    for column, level in enumerate(levels):
        across = (left + column * (width + gap)) / TWO_COLUMNS
        figure.text(across, 1 - (step + 0.09) / up, level, va="center", fontsize=7)
    return figure


@styled
def severity_curves(frame: pd.DataFrame, *, chance: float) -> Figure:
    """Accuracy of every method against severity: a row a data set, a column a kind.

    Args:
        frame: columns ``dataset, kind, severity, key, accuracy, half_width``; the rows of kind ``none`` are the start
            of every curve.
        chance: accuracy of guessing.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "kind", "severity", "key", "accuracy", "half_width"), figure="severity_curves")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("accuracy", "half_width")})
    look = looks(frame["key"])
    figure, panels = _grid(frame)
    for (dataset, kind), axes in panels.items():
        part = _with_start(frame, dataset, kind)
        for number, name in enumerate(look):
            own = part[part["key"] == name].sort_values("severity")
            x = own["severity"] + DODGE * (number - (len(look) - 1) / 2)
            axes.errorbar(
                x, own["accuracy"], own["half_width"].fillna(0), color=look[name].colour, linestyle=look[name].line,
                marker=look[name].marker, markersize=3, linewidth=1, elinewidth=0.5, zorder=3 if name == "amfir" else 2,
            )  # fmt: skip
        axes.axhline(100 * chance, color=GREY, linewidth=0.8, zorder=1)
    _label(panels, "accuracy (%)")
    next(iter(panels.values())).annotate(
        "chance", (0, 100 * chance), xytext=(0, 2), textcoords="offset points", color=SOFT, fontsize=6
    )
    legend_below(figure, look.values())
    return figure


@styled
def weight_curves(frame: pd.DataFrame) -> Figure:
    """Weight and group share of the first modality against severity, beside how often it is the right one.

    Args:
        frame: columns ``dataset, kind, severity, first, spared_verdict``, and ``weight, group_share, right_share``,
            each with ``_half_width``.
    Returns:
        The figure, 7 in wide; above each panel the modality that is shown to lose less at the largest severity, or
        "undecided".
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    columns = [name for share in SHARES for name in (share, f"{share}_half_width")]
    check_columns(frame, ("dataset", "kind", "severity", "first", "spared_verdict", *columns), figure="weight_curves")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in columns})
    first = frame["first"].iloc[0]
    styles = {name: Look(label, colour, marker, line) for name, (label, colour, line, marker) in SHARES.items()}
    figure, panels = _grid(frame)
    for (dataset, kind), axes in panels.items():
        part = _with_start(frame, dataset, kind).sort_values("severity")
        for name, style in styles.items():
            axes.errorbar(
                part["severity"], part[name], part[f"{name}_half_width"].fillna(0), color=style.colour,
                linestyle=style.line, marker=style.marker, markersize=4, linewidth=1, elinewidth=0.5,
            )  # fmt: skip
        axes.axhline(50, color=GREY, linewidth=0.8, zorder=1)
        axes.set_ylim(0, 100)
        spared = part["spared_verdict"].iloc[-1]
        note_above(axes, f"{looks([spared])[spared].label} loses less" if spared else "undecided")
    _label(panels, f"share of {looks([first])[first].label} (%)")
    legend_below(figure, [*styles.values(), Look("50 %: both alike", GREY, "", "-")])
    return figure


def _grid(frame: pd.DataFrame) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel for each data set and kind, at most four kinds beside each other, the data sets below each other."""
    datasets = list(dict.fromkeys(frame["dataset"]))
    kinds = [kind for kind in dict.fromkeys(frame["kind"]) if kind != CLEAN]
    blocks = [kinds[start : start + MOST_COLUMNS] for start in range(0, len(kinds), MOST_COLUMNS)]
    n_columns = max(map(len, blocks))
    width = TWO_COLUMNS if n_columns > 1 else ONE_COLUMN
    figure = PrintFigure(figsize=(width, 0.3 + 1.75 * len(datasets) * len(blocks)), layout="constrained")
    grid = figure.subplots(len(blocks) * len(datasets), n_columns, squeeze=False, sharey=True)
    panels = {}
    for number, block in enumerate(blocks):
        rows = grid[number * len(datasets) : (number + 1) * len(datasets)]
        for row, dataset in zip(rows, datasets, strict=True):
            panels |= {(dataset, kind): axes for kind, axes in zip(block, row, strict=False)}
            for spare in row[len(block) :]:
                spare.set_axis_off()
    return figure, panels


def _with_start(frame: pd.DataFrame, dataset: str, kind: str) -> pd.DataFrame:
    own = frame[frame["dataset"] == dataset]
    return own[own["kind"].isin([CLEAN, kind])]


def _label(panels: Mapping[tuple[str, str], Axes], label: str) -> None:
    """Titles above the first data set, the data set and quantity at the left, severity below the last data set."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in panels))
    kinds = list(dict.fromkeys(kind for _, kind in panels))
    for (dataset, kind), axes in panels.items():
        last = dataset == datasets[-1]
        if dataset == datasets[0]:
            axes.set_title(kind)
        if kinds.index(kind) % MOST_COLUMNS == 0:
            axes.set_ylabel(f"{dataset}\n{label}")
        if kind == "reversal":
            axes.set_xticks([0, 1], ["forward", "back"])
        else:
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.set_xlabel("severity" if last else "")
        axes.tick_params(axis="x", labelbottom=last)
        axes.set_xlim(-0.1, 1.1)
