"""Forest plots: a row for each method, comparison or choice, with its value and interval on a horizontal axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from amfir_lib.figures import style
from amfir_lib.figures.style import GREY, WHITE, Keys, Look, in_words

ROW, SERIES = 0.155, 0.085  # inches: of a row, and of every further series in it
SIZES = (3.0, 4.4)  # of a marker, points, from the first series to the last where a marker belongs to the row


@style.styled
def forest(
    frame: pd.DataFrame,
    *,
    rows: str,
    value: str = "difference",
    group: str = "",
    series: str = "",
    look: str = "",
    panel_rows: Sequence[str] = (),
    columns: Sequence[str] = ("dataset",),
    wrap: int = 5,
    label: str | None = None,
    percent: bool = True,
    log: Sequence[str] = (),
    levels: Mapping[str, float] | None = None,
    limit: float | None = None,
    numbers: str = "",
) -> Figure:
    """A point with its interval for each row, and each series within it.

    A difference that is not shown to differ from zero is hollow, one without interval a cross.

    Args:
        frame: with ``half_width`` (NaN where there is no interval) and the columns named below; optionally ``verdict``
            of a difference, and ``paper``: a published value, drawn hollow and grey, with ``paper_doubt``: why it is
            doubtful (marked †), or empty.
        rows, value: column that names the rows, and column of what is drawn.
        group: column of headings above the rows.
        series: column of what stands several times in a row.
        look: column of names (of methods, say) that give a point its look; the series then differ in size.
        panel_rows, columns, wrap: the panels, see ``grid_of_panels``.
        label: of the x axis; None: the value of the last of ``columns``, each with its scale.
        percent: values are shares, drawn in percent.
        log: panels (by the value of the last of ``columns``) with a logarithmic axis.
        levels: name -> x of a grey line; of differences, zero has one anyway.
        limit: half the width of the axis; what lies beyond stands at its edge, as an arrow with its number.
        numbers: format in which the values stand at the right edge, such as ".1f".
    Raises:
        ShapeError: no rows, or a column is missing.
    """
    needed = (*panel_rows, *columns, rows, value, "half_width", *filter(None, (group, series, look)))
    frame = style.checked(frame, needed, shares=(value, "half_width", "paper") if percent else ())
    scale, difference = 100 if percent else 1, value == "difference"
    crossed = frame["half_width"].isna() & difference
    frame = frame.assign(crossed=crossed, hollow=~crossed & (style.not_shown(frame) if difference else False))
    names = list(dict.fromkeys(frame[series])) if series else [""]
    styles = style.looks(frame[look] if look else names)
    extra = SERIES / ROW * (len(names) - 1)  # what further series add to the height of a row
    places, headings = _places(frame, rows, group, step=1 + extra)
    top, bottom = -0.8 if headings else -0.6 - extra / 2, max(places.values()) + 0.6 + extra / 2
    figure, panels = style.grid_of_panels(
        frame, rows=panel_rows, columns=columns, wrap=wrap, height=0.3 + ROW * (bottom - top), sharex=label is not None
    )
    levels = ({"": 0.0} if difference else {}) | {name: scale * x for name, x in (levels or {}).items()}
    level_keys = style.draw_levels(panels, levels, upright=True)
    sizes = dict(zip(names, np.linspace(*SIZES, len(names)) if look and series else [3.8] * len(names), strict=True))
    for panel in panels:
        axes = panel.axes
        if panel.x_label in log:
            axes.set_xscale("log")
        for row in panel.frame.to_dict("records"):
            name = row[series] if series else ""
            y = places[row.get(group), row[rows]] + SERIES / ROW * names.index(name) - extra / 2
            look_of_row, row["x"] = styles[str(row[look] if look else name)], row[value]
            _draw(axes, row, y, look_of_row, size=sizes[name], limit=limit, numbers=numbers)
        axes.set_xlabel(panel.x_label)
        axes.tick_params(labelbottom=panel.last)
        _upright(axes)
        for y in places.values() if look else ():
            axes.axhline(y, color="#EEEEEE", linewidth=0.5, zorder=0)
    for axes in (panel.axes for panel in panels):  # once all is drawn: limits that are set end the search for limits
        left, right = axes.get_xlim()
        axes.set_xlim((-limit, limit) if limit else (left, min(right, 100) if percent else right))
    words = [in_words(name) for _, name in places] + [in_words(name) for name in headings]
    panels[0].axes.set_yticks([*places.values(), *headings.values()], words)
    panels[0].axes.set_ylim(bottom, top)
    for text in (text for panel in panels for text in panel.axes.get_yticklabels()[len(places) :]):
        text.set_fontweight("bold")
    if label:
        figure.supxlabel(label, fontsize=8)
    keys = {look: {} for look in styles.values() if not any(word.startswith(look.label) for word in words)}
    if look and series:
        keys |= {Look(in_words(n, series), "black", "o", ""): {"markersize": size} for n, size in sizes.items()}
    style.legend(figure, keys | _remarks(frame, styles) | level_keys, above=True)
    return figure


def _remarks(frame: pd.DataFrame, styles: Mapping[str, Look]) -> Keys:
    """Keys of the legend for what is hollow, without interval, or published."""
    keys = {}
    if "undecided" in styles:
        keys[styles["undecided"]] = WHITE
    elif frame["hollow"].any():
        keys[style.HOLLOW] = WHITE
    if frame["crossed"].any():
        keys[Look("no interval", GREY, "x", "")] = {}
    if "paper" in frame and frame["paper"].notna().any():
        doubt = "; †: doubtful" if "paper_doubt" in frame and frame["paper_doubt"].fillna("").any() else ""
        keys[Look(f"{style.PAPER}, real data{doubt}", GREY, "o", "")] = WHITE
    return keys


def _places(
    frame: pd.DataFrame, rows: str, group: str, *, step: float
) -> tuple[dict[tuple[str | None, str], float], dict[str, float]]:
    """y of each (group, row) and of each heading."""
    places, headings, y = {}, {}, -step
    for row in frame.to_dict("records"):
        heading, name = row.get(group), row[rows]
        if group and heading not in headings:
            headings[heading] = y = y + (step + 1) / 2 + 0.4 if places else 0.0
        if (heading, name) not in places:
            y += (step + 1) / 2 if y in headings.values() else step
            places[heading, name] = y
    return places, headings


def _draw(
    axes: Axes, row: Mapping[str, Any], y: float, look: Look, *, size: float, limit: float | None, numbers: str
) -> None:
    """One point with its interval, and the published value."""
    x, half_width, paper = row["x"], np.nan_to_num(row["half_width"]), row.get("paper", np.nan)
    beside = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
    if limit and abs(x) > limit:
        side = int(np.sign(x))
        axes.plot(side * limit, y, "<>"[side > 0], color=look.colour, markersize=3.5, clip_on=False)
        place = {"xytext": (-4 * side, 0), "ha": "left" if side < 0 else "right"}
        number = f"{x:+.0f}".replace("-", "−")
        axes.annotate(number, (side * limit, y), color=look.colour, fontsize=5.5, **place, **beside)
        return
    whole = {"markersize": size, "clip_on": False}  # a marker at 100 % is not cut in half
    axes.plot([x - half_width, x + half_width], [y, y], color=look.colour, linewidth=0.9, zorder=3)
    marker, face = "x" if row["crossed"] else look.marker, "white" if row["hollow"] else look.colour
    axes.plot(x, y, marker, color=look.colour, markerfacecolor=face, zorder=3, **whole)
    if numbers:
        edge = {"xycoords": ("axes fraction", "data"), "xytext": (3, 0)}
        axes.annotate(f"{x:{numbers}}", (1, y), fontsize=6.5, **edge, **beside)
    if np.isfinite(paper):
        axes.plot(paper, y, look.marker, color=GREY, markeredgewidth=0.6, zorder=2, **WHITE, **whole)
        if row.get("paper_doubt"):
            axes.annotate("†", (paper, y), xytext=(size / 2 + 0.5, 0), fontsize=7, **beside)


def _upright(axes: Axes) -> None:
    """Ticks of the x axis, and a grid of vertical lines alone."""
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
