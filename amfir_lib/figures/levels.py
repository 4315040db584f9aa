"""Grey levels that results are read against: chance, and other references, with their names."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from amfir_lib.figures.style import GREY

SOFT = "#6B6B6B"  # of small words beside results


def reference_line(axes: Axes, level: float, label: str, *, outside: bool = False) -> None:
    """A thin grey horizontal line with its name: below its right end, or outside the right edge."""
    axes.axhline(level, color=GREY, linewidth=0.8, zorder=1)
    axes.annotate(
        label, (1, level), xycoords=("axes fraction", "data"), xytext=(3, 0) if outside else (-3, -2),
        textcoords="offset points", ha="left" if outside else "right", va="center" if outside else "top", color=SOFT,
        fontsize=6.5, zorder=4, annotation_clip=False, path_effects=[withStroke(linewidth=1.5, foreground="white")],
    )  # fmt: skip


def make_room(axes: Axes, levels: Iterable[float], *, share: float = 0.06) -> None:
    """Widen the y axis so that reference levels lie inside, and their names, which take a share of its height."""
    low, high = axes.get_ylim()
    low, high = min([low, *levels]), max([high, *levels])
    pad = share * (high - low)
    axes.set_ylim(low - pad, high + pad)


def chance_level(axes: Axes, level: float) -> None:
    """Chance as a grey line, where the y axis reaches down to it, and in words above the panel.

    Call it when the limits of the axes are final.
    """
    reached = level >= axes.get_ylim()[0]
    if reached:
        axes.axhline(level, color=GREY, linewidth=0.8, zorder=1)
    note_above(axes, f"{'grey level: chance,' if reached else 'axis cut: chance is'} {level:.3g} %")


def note_missing_intervals(axes: Axes, part: pd.DataFrame) -> None:
    """What a cross means, above a panel with one: a difference without interval (``style.point_of``)."""
    if part["half_width"].isna().any():
        note_above(axes, "×: no interval")


def note_above(axes: Axes, text: str) -> None:
    """A few words above the panel, at its right end, where they hide nothing."""
    axes.set_title(text, loc="right", fontsize=6.5, fontweight="normal", color=SOFT)
