"""Lines with their bands: learning curves, free energies, sweeps, leads, and accuracy against severity or amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from amfir_lib.figures import style
from amfir_lib.figures.style import Look, Panel

N_MARKERS = 6  # on a line, so that lines can be told apart without colour
LABEL_GAP = 8.0  # points between labels at the ends of lines, at least


@style.styled
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
        x_label: None: the value of the last of ``columns``.
        percent: y is a share, drawn in percent.
        levels: name -> y of a grey line.
        paper: published values, drawn hollow at their x: columns as ``frame``.
        kept: columns as ``frame`` without y: markers stand at these points alone (the state that was kept).
        notes: column of words above a panel, those of its last x.
        height: of a row of panels, inches.
    Raises:
        ShapeError: no rows, or a column is missing.
    """
    frame = style.checked(frame, (*rows, *columns, series, x, y), shares=(y, "half_width") if percent else ())
    scale, shared = 100 if percent else 1, x_label is not None
    looks_of = style.looks(frame[series])
    figure, panels = style.grid_of_panels(
        frame, rows=rows, columns=columns, wrap=wrap, height=height, sharex=shared, sharey=share_y
    )
    ends = [_draw(panel, looks_of, x=x, y=y, series=series, kept=kept) for panel in panels]
    levels = {name: scale * level for name, level in (levels or {}).items()}
    level_keys = style.draw_levels(panels, levels)
    direct = panels[0].axes.get_gridspec().ncols <= 2
    at_ends = {key.label: key for key in level_keys if direct and key.label.isalpha()}
    keys = {} if direct else {look: {} for look in looks_of.values()}
    keys |= {key: {} for key in level_keys if key.label not in at_ends}
    for panel in panels:
        axes = panel.axes
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("\n".join([*(style.in_words(panel.place[row], row) for row in rows), y_label]).rstrip())
        if panel.last or not shared:
            axes.set_xlabel(x_label or panel.x_label)
            axes.tick_params(labelbottom=True)
        _ticks(axes, sorted(set((frame if shared else panel.frame)[x])), log=log)
        if notes:
            note = panel.frame.sort_values(x)[notes].iloc[-1]
            axes.set_title(note, loc="right", fontsize=6.5, fontweight="normal", color=style.SOFT)
        published = frame[:0] if paper is None else _within(paper, panel)
        published = published[published[x].isin(panel.frame[x])]
        for name, look in style.looks(published[series]).items():
            points = published[published[series] == name]
            options = {"color": look.colour, "linestyle": "", "markersize": 5, "zorder": 4}
            axes.plot(points[x], scale * points[y], look.marker, **options, **style.WHITE)
            keys[replace(look, label=f"{style.PAPER}: {look.label}", line="")] = style.WHITE
    if y == "difference" and style.not_shown(frame).any():
        keys[style.HOLLOW] = style.WHITE
    for panel, ends_of_panel in zip(panels, ends, strict=True):  # once all is drawn: the limits of the axes are final
        if limits:
            panel.axes.set_ylim(*limits)
        if direct:
            ends_of_panel |= {name: levels[name] for name in at_ends}
            _label_ends(panel.axes, ends_of_panel, looks_of | at_ends)
    style.legend(figure, keys)
    return figure


def from_start(frame: pd.DataFrame, columns: Sequence[str], *, start: str) -> pd.DataFrame:
    """Let every curve begin at the rows whose last of ``columns`` is ``start``, such as clips as they are.

    Returns:
        The frame with these rows repeated for each other combination of values of ``columns``.
    """
    begins = frame[columns[-1]] == start
    values = frame.loc[~begins, list(columns)].drop_duplicates()
    return pd.concat([frame[begins].drop(columns=list(columns)).merge(values, how="cross"), frame[~begins]])


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
        axes.fill_between(line.index, low, high, color=look.colour, alpha=0.12, linewidth=0)
        axes.plot(line.index, line["mean"], color=look.colour, linestyle=look.line, zorder=2)
        points = line
        if kept is not None:
            steps = _within(kept[kept[series] == name], panel)[x]
            points = line.iloc[[np.abs(line.index - steps.median()).argmin()]] if len(steps) else line.iloc[:0]
        hollow = style.not_shown(part.set_index(x)) if y == "difference" else pd.Series(False, points.index)
        for face, shown in (("white", points[hollow]), (look.colour, points[~hollow])):
            options = {"markerfacecolor": face, "markersize": 3.5, "markevery": max(1, len(points) // N_MARKERS)}
            axes.plot(shown.index, shown["mean"], look.marker, color=look.colour, linestyle="", zorder=3, **options)
        ends[str(name)] = float(line["mean"].iloc[-1])
    return ends


def _ticks(axes: Axes, points: Sequence[float], *, log: bool) -> None:
    """A tick at each of the points, or at some where they are many."""
    n_columns = axes.get_gridspec().ncols
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if not log and len(points) > 24 // n_columns:
        points = ticks_to_last(points, most=max(3, 10 // n_columns))
    elif any(point % 1 for point in points):
        points = np.linspace(points[0], points[-1], 3)
    axes.set_xticks(points, [f"{point:g}" for point in points])
    axes.margins(x=0.03)


def ticks_to_last(points: Sequence[float], *, most: int) -> Sequence[float]:
    """At most so many of the ascending points, equally many apart, the first and the last among them."""
    if len(points) <= most:
        return points
    gaps = len(points) - 1
    return points[:: gaps // next(n for n in range(most - 1, 0, -1) if gaps % n == 0)]


def _label_ends(axes: Axes, ends: Mapping[str, float], looks_of: Mapping[str, Look]) -> None:
    """Name each line at its right end, moved apart where ends are close, with a thin leader."""
    low, high = axes.get_ylim()
    height = axes.figure.get_size_inches()[1] * 72 * 0.72 / axes.get_gridspec().nrows  # points, about
    scale = height / (high - low)
    names = sorted(ends, key=lambda name: ends[name])
    wanted = [(ends[name] - low) * scale for name in names]
    for name, place, end in zip(names, spread(wanted, LABEL_GAP), wanted, strict=True):
        look = looks_of[name]
        axes.annotate(
            look.label, (1, ends[name]), xycoords=("axes fraction", "data"), xytext=(11, place - end),
            textcoords="offset points", color=look.colour, fontsize=7, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look.colour, "linewidth": 0.5, "shrinkA": 0.5, "shrinkB": 1,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Places at least ``gap`` apart, in the same order, as near as possible to the wanted ones (ascending)."""
    from scipy.optimize import isotonic_regression  # slow to import

    steps = gap * np.arange(len(wanted))
    return isotonic_regression(np.asarray(wanted) - steps).x + steps
