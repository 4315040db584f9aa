"""Lines with their bands: learning curves, free energies, sweeps, leads, and accuracy against severity or amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from amfir_lib.figures.style import (
    HOLLOW,
    PAPER,
    SOFT,
    WHITE,
    Keys,
    Look,
    Panel,
    checked,
    draw_levels,
    grid_of_panels,
    in_words,
    legend,
    looks,
    not_shown,
    spread,
    styled,
)

N_MARKERS = 6  # on a line, so that lines can be told apart without colour


@styled
def lines(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: str = "series",
    rows: Sequence[str] = (),
    columns: Sequence[str] = ("dataset",),
    wrap: int = 2,
    x_label: str | None = None,
    y_label: str = "",
    percent: bool = True,
    share_y: bool = True,
    log: bool = False,
    levels: Mapping[str, float] | None = None,
    limits: tuple[float, float] | None = None,
    paper: pd.DataFrame | None = None,
    kept: pd.DataFrame | None = None,
    notes: str = "",
    height: float = 2.2,
) -> Figure:
    """One line a series in each panel, with its interval or the range of its repetitions as a band.

    Lines are named at their right ends where at most two panels stand side by side, else in the legend.  A difference
    that is not shown to differ from zero is hollow.

    Args:
        frame: with ``half_width`` (NaN where there is no interval), or with several rows (such as seeds) at one x, of
            which the line is the mean and the band the range.
        x, y, series, rows, columns, wrap: columns of the frame, and its panels, see ``grid_of_panels``.
        x_label: None: the value of the last of ``columns``, which then is no title.
        percent: y is a share, drawn in percent.
        levels: name -> y of a grey line.
        paper: published values, drawn hollow at their x: columns as ``frame``.
        kept: columns as ``frame`` without y: markers stand at these points alone (the state that was kept).
        notes: column of words above a panel, those of its last x.
        height: of a row of panels, inches.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    needed = (*rows, *columns, series, x, y)
    frame = checked(frame, needed, shares=(y, "half_width") if percent else ())
    scale = 100 if percent else 1
    levels = {name: scale * level for name, level in (levels or {}).items()}
    looks_of = looks(frame[series])
    figure, panels = grid_of_panels(
        frame, rows=rows, columns=columns, wrap=wrap, height=height, sharex=x_label is not None, sharey=share_y
    )
    direct = panels[0].axes.get_gridspec().ncols <= 2
    styles = {} if direct else {look: {} for look in looks_of.values()}
    ends = [_draw(panel, looks_of, x=x, y=y, series=series, kept=kept) for panel in panels]
    keys = draw_levels(panels, levels)
    at_ends = {key.label: key for key in keys if direct and key.label.isalpha()}
    looks_of |= at_ends
    styles |= {key: style for key, style in keys.items() if key.label not in at_ends}
    for panel, ends_of_panel in zip(panels, ends, strict=True):
        points = panel.frame[x] if x_label is None else frame[x]
        _label(panel, rows, points=sorted(set(points)), x_label=x_label, y_label=y_label, log=log)
        if notes:
            text = panel.frame.sort_values(x)[notes].iloc[-1]
            panel.axes.set_title(text, loc="right", fontsize=6.5, fontweight="normal", color=SOFT)
        ends_of_panel |= {name: levels[name] for name in at_ends}
        if paper is not None and len(paper):
            styles |= _draw_paper(panel, paper, x=x, y=y, series=series, scale=scale)
    if y == "difference" and not_shown(frame).any():
        styles[HOLLOW] = WHITE
    for panel, ends_of_panel in zip(panels, ends, strict=True):
        if limits:
            panel.axes.set_ylim(*limits)
        if direct:
            label_ends(panel.axes, ends_of_panel, looks_of)
    legend(figure, styles)
    return figure


def from_start(frame: pd.DataFrame, columns: Sequence[str], *, start: str) -> pd.DataFrame:
    """Let every curve begin at the rows whose last of ``columns`` is ``start``, such as clips as they are.

    Returns:
        The frame with these rows repeated for each other combination of values of ``columns``.
    """
    begins = frame[columns[-1]] == start
    values = frame.loc[~begins, list(columns)].drop_duplicates().to_dict("records")
    return pd.concat([*(frame[begins].assign(**value) for value in values), frame[~begins]], ignore_index=True)


def _within(frame: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """The rows of another frame that belong to a panel."""
    for column, value in panel.place.items():
        frame = frame[frame[column] == value] if column in frame else frame
    return frame


def _draw(
    panel: Panel, looks_of: Mapping[str, Look], *, x: str, y: str, series: str, kept: pd.DataFrame | None
) -> dict[str, float]:
    """Draw each series of a panel; return the last value of each."""
    axes, ends = panel.axes, {}
    for name, part in panel.frame.groupby(series, sort=False):
        look = looks_of[str(name)]
        line = part.groupby(x)[y].agg(["mean", "min", "max"]).dropna()
        if line.empty:
            continue
        low, high = line["min"], line["max"]
        if "half_width" in part:
            half_width = part.groupby(x)["half_width"].mean().reindex(line.index)
            low, high = line["mean"] - half_width, line["mean"] + half_width
        points = line
        if kept is not None:
            steps = _within(kept, panel).loc[lambda rows, name=name: rows[series] == name, x]
            points = line.iloc[[np.abs(line.index - steps.median()).argmin()]] if len(steps) else line.iloc[:0]
        hollow = not_shown(part.set_index(x)) if y == "difference" else pd.Series(False, points.index)
        axes.fill_between(line.index, low, high, color=look.colour, alpha=0.12, linewidth=0)
        axes.plot(line.index, line["mean"], color=look.colour, linestyle=look.line, zorder=2)
        for face, shown in (("white", points[hollow]), (look.colour, points[~hollow])):
            every = max(1, len(points) // N_MARKERS)
            style = {"color": look.colour, "markerfacecolor": face, "markersize": 3.5, "markevery": every}
            axes.plot(shown.index, shown["mean"], look.marker, linestyle="", zorder=3, **style)
        ends[str(name)] = float(line["mean"].iloc[-1])
    return ends


def _draw_paper(panel: Panel, paper: pd.DataFrame, *, x: str, y: str, series: str, scale: float) -> Keys:
    """Hollow markers at the points of a panel; returns what the legend needs."""
    rows, keys = _within(paper, panel), {}
    rows = rows[rows[x].isin(panel.frame[x])]
    for name, look in looks(rows[series]).items():
        points, style = rows[rows[series] == name], {"linestyle": "", "markersize": 5, "zorder": 4}
        panel.axes.plot(points[x], scale * points[y], look.marker, color=look.colour, **style, **WHITE)
        keys[replace(look, label=f"{PAPER}: {look.label}", line="")] = WHITE
    return keys


def _label(
    panel: Panel, rows: Sequence[str], *, points: Sequence[float], x_label: str | None, y_label: str, log: bool
) -> None:
    """Titles, ticks and the names of the axes."""
    axes, own_axis = panel.axes, x_label is None
    axes.set_title(panel.title.rpartition(", ")[0] if own_axis else panel.title)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("\n".join([*(in_words(panel.place[row], row) for row in rows), y_label]).rstrip())
    if own_axis or panel.last:
        axes.set_xlabel(list(panel.place.values())[-1] if own_axis else x_label)
        axes.tick_params(labelbottom=True)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    n_columns = axes.get_gridspec().ncols
    if not log and len(points) > 24 // n_columns:
        points = ticks_to_last(points, most=max(3, 10 // n_columns))
    elif any(point % 1 for point in points):
        points = np.linspace(points[0], points[-1], 3)
    axes.set_xticks(points, [f"{point:g}" for point in points])
    axes.margins(x=0.03)


def label_ends(axes: Axes, ends: Mapping[str, float], looks_of: Mapping[str, Look], *, gap: float = 8.0) -> None:
    """Name each line at its right end, moved apart where ends are closer than ``gap`` points, with a thin leader.

    Call it last, when the limits of the axes are final.
    """
    low, high = axes.get_ylim()
    height = axes.figure.get_size_inches()[1] * 72 * 0.72 / axes.get_gridspec().nrows  # points, about
    scale = height / (high - low)
    names = sorted(ends, key=lambda name: ends[name])
    wanted = [(ends[name] - low) * scale for name in names]
    for name, place, end in zip(names, spread(wanted, gap), wanted, strict=True):
        look = looks_of[name]
        axes.annotate(
            look.label, (1, ends[name]), xycoords=("axes fraction", "data"), xytext=(11, place - end),
            textcoords="offset points", color=look.colour, fontsize=7, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look.colour, "linewidth": 0.5, "shrinkA": 0.5, "shrinkB": 1,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def ticks_to_last(points: Sequence[float], *, most: int) -> Sequence[float]:
    """At most so many of the ascending points, equally many apart, the first and the last among them."""
    if len(points) <= most:
        return points
    gaps = len(points) - 1
    return points[:: gaps // next(n for n in range(most - 1, 0, -1) if gaps % n == 0)]
