"""The open choices: a forest plot of what each changes, and what every score picks before and after calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.figures.style import (
    GREY,
    TWO_COLUMNS,
    Look,
    PrintFigure,
    as_percent,
    check_columns,
    styled,
)

BETTER, WORSE, OPEN = "#004488", "#BB5566", "#6B6B6B"  # no method's colours
MOST_POINTS = 8.0  # widest x axis, in points; what lies beyond is written at the edge
POOLED = "pooled"
CALIBRATION_LOOKS = {
    "as learnt": Look("as learnt", "#6B6B6B", "o"),
    "z-scored": Look("z-scored", "#997700", "v"),
    "calibrated": Look("calibrated", "#004488", "P"),
}


@styled
def choice_forest(pooled: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """What each choice changes against the default: pooled on the left, every data set and number of shots beside it.

    Blue: better than the default, red: worse, grey and hollow: not shown to differ.  The pooled colours follow
    Holm's correction over all choices, those of single cells their own interval.  A value beyond the axis is written
    at its edge.

    Args:
        pooled: columns ``choice, title, section, difference, half_width, verdict``; shares.
        cells: columns ``choice, dataset, n_shot, difference, half_width``; shares; rows without a difference (the
            default) are left out.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(pooled, ("choice", "title", "section", "difference", "half_width", "verdict"), figure="choice_forest")
    check_columns(cells, ("choice", "dataset", "n_shot", "difference", "half_width"), figure="choice_forest")
    pooled, cells = (
        frame.assign(**{c: as_percent(frame[c], name=c) for c in ("difference", "half_width")})
        for frame in (pooled, cells.dropna(subset="difference"))
    )
    places, headings, y = {}, {}, 0.0
    for section, part in pooled.groupby("section", sort=False):
        headings[section] = y
        for choice in part["choice"]:
            y += 1
            places[choice] = y
        y += 1.5
    columns = list(dict.fromkeys(zip(cells["dataset"], cells["n_shot"], strict=True)))
    figure = PrintFigure(figsize=(TWO_COLUMNS, 0.8 + 0.148 * y), layout="constrained")
    ratios = [1.5, *[1.0] * len(columns)]
    panels = figure.subplots(1, len(ratios), squeeze=False, sharey=True, width_ratios=ratios)[0]
    pooled = pooled.assign(colour=[{"better": BETTER, "worse": WORSE}.get(v, OPEN) for v in pooled["verdict"]])
    _draw(panels[0], pooled, places)
    panels[0].set_title(POOLED, fontweight="bold")
    limit = _limit(cells)
    for (dataset, shot), axes in zip(columns, panels[1:], strict=True):
        own = cells[(cells["dataset"] == dataset) & (cells["n_shot"] == shot)]
        clear = own["difference"].abs() > own["half_width"]
        signs = np.where(own["difference"] > 0, BETTER, WORSE)
        _draw(axes, own.assign(colour=np.where(clear, signs, OPEN)), places, limit=limit)
        axes.set_title(f"{dataset}\n{shot}-shot", fontsize=6)
    titles = dict(zip(pooled["choice"], pooled["title"], strict=True))
    panels[0].set_yticks(
        [*places.values(), *headings.values()], [*(titles[choice] for choice in places), *headings], fontsize=6.5
    )
    for number, text in enumerate(panels[0].get_yticklabels()):
        text.set_fontweight("bold" if number >= len(places) else "normal")
    panels[0].set_ylim(y - 0.6, -0.9)
    figure.supxlabel("accuracy minus the default's (points)", fontsize=8)
    handles = [
        panels[0].plot([], [], "o", color=colour, markerfacecolor=face, markersize=3.5)[0]
        for colour, face in ((BETTER, BETTER), (WORSE, WORSE), (OPEN, "white"))
    ]
    names = ["better than the default", "worse than the default", "no difference shown"]
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    return figure


def _limit(frame: pd.DataFrame) -> float:
    """Half the width of the x axis: all intervals, but no more than ``MOST_POINTS``."""
    ends = (frame["difference"].abs() + frame["half_width"].fillna(0)).max()
    return float(min(MOST_POINTS, max(1.0, 1.05 * ends)))


def _draw(axes: Axes, frame: pd.DataFrame, places: dict[str, float], *, limit: float | None = None) -> None:
    limit = limit or _limit(frame)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for row in frame.itertuples():
        y, low, high = places[row.choice], row.difference, row.difference
        half_width = 0.0 if np.isnan(row.half_width) else row.half_width
        low, high = max(-limit, low - half_width), min(limit, high + half_width)
        if abs(row.difference) <= limit:
            axes.plot([low, high], [y, y], color=row.colour, linewidth=0.9, zorder=2)
            axes.plot(
                row.difference, y, "o", color=row.colour, markersize=3, zorder=3,
                markerfacecolor="white" if row.colour == OPEN else row.colour,
            )  # fmt: skip
        else:
            side = np.sign(row.difference)
            axes.plot(side * limit, y, "<" if side < 0 else ">", color=row.colour, markersize=3.5, clip_on=False)
            axes.annotate(
                f"{row.difference:+.0f}".replace("-", "−"), (side * limit, y), xytext=(-4 * side, 0), fontsize=5.5,
                textcoords="offset points", ha="left" if side < 0 else "right", va="center", color=row.colour,
            )  # fmt: skip
    axes.set_xlim(-limit, limit)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6.5)
    axes.spines["left"].set_visible(False)


@styled
def score_picks(frame: pd.DataFrame, *, names: dict[str, str] | None = None) -> Figure:
    """How often each score picks the modality that is right, and the one that is not degraded.

    Args:
        frame: columns ``what, score, calibration, hit_rate, half_width``, one split; shares.
        names: what scores are called.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("what", "score", "calibration", "hit_rate", "half_width"), figure="score_picks")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("hit_rate", "half_width")})
    kinds, scores, calibrations = (list(dict.fromkeys(frame[c])) for c in ("what", "score", "calibration"))
    first = frame[(frame["what"] == kinds[0]) & (frame["calibration"] == calibrations[0])].set_index("score")
    scores = sorted(scores, key=lambda score: -first["hit_rate"][score])
    height = 0.9 + 0.36 * len(scores)
    figure = PrintFigure(figsize=(TWO_COLUMNS, height), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    handles = {}
    for kind, axes in zip(kinds, panels, strict=True):
        axes.axvline(50, color=GREY, linewidth=0.8, zorder=1)
        axes.annotate("chance", (50, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=6.5)
        for number, calibration in enumerate(calibrations):
            look = CALIBRATION_LOOKS.get(calibration, Look(calibration, "#000000", "s"))
            own = frame[(frame["what"] == kind) & (frame["calibration"] == calibration)].set_index("score")
            y = np.arange(len(scores)) + 0.22 * (number - (len(calibrations) - 1) / 2)
            handles[calibration] = axes.errorbar(
                own["hit_rate"].reindex(scores), y, xerr=np.nan_to_num(own["half_width"].reindex(scores)),
                fmt=look.marker, color=look.colour, markersize=3.5, elinewidth=0.9, capsize=1.5,
            )  # fmt: skip
        axes.set_title(f"the modality that is {kind}", pad=12)
        axes.set_xlabel("picked (% of the queries that count)")
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(scores)), [(names or {}).get(score, score) for score in scores])
    panels[0].set_ylim(len(scores) - 0.5, -0.5)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
    return figure
