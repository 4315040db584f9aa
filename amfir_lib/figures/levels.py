"""Grey levels that results are read against: chance, and other references, with their names."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from amfir_lib.figures.style import GREY

SOFT = "#6B6B6B"  # of small words beside results


def reference_line(
    axes: Axes, level: float, label: str, *, dashed: bool = False, place: str = "left", below: bool = False
) -> None:
    """A thin grey horizontal line with its name: inside at the "left" or "right" end, or "outside" the right edge."""
    axes.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (5, 3)) if dashed else "-", zorder=1)
    vertical = "center" if place == "outside" else "top" if below else "bottom"
    axes.annotate(
        label, (0 if place == "left" else 1, level), xycoords=("axes fraction", "data"),
        xytext=(-3 if place == "right" else 3, {"center": 0, "top": -2, "bottom": 2}[vertical]),
        textcoords="offset points", ha="right" if place == "right" else "left", va=vertical, color=SOFT,
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


def note_above(axes: Axes, text: str) -> None:
    """A few words above the panel, at its right end, where they hide nothing."""
    axes.set_title(text, loc="right", fontsize=6.5, fontweight="normal", color=SOFT)
