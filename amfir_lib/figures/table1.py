"""Figures of Table 1: every method's accuracy beside the published one, and how each of them learnt."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from amfir_lib.figures.style import (
    GREY,
    ONE_COLUMN,
    PAPER,
    TWO_COLUMNS,
    PrintFigure,
    as_percent,
    check_columns,
    looks,
    styled,
)
from amfir_lib.figures.ticks import set_ticks_to_last

SIZES = (3.0, 4.4)  # of a marker, points: the fewest and the most shots
ROW = 0.19  # inches
APART = 0.4  # of a row, between the markers of two numbers of shots


@styled
def accuracy_dots(frame: pd.DataFrame, *, chance: float | None = 0.2) -> Figure:
    """A row for each method, grouped by what it reads; a panel for each data set, a marker for each number of shots.

    Within a row, fewer shots stand above more and are smaller.

    Args:
        frame: columns ``dataset, n_shot, method, label, heading, accuracy, half_width`` in the order of the rows;
            ``method`` is the registry name, which has the look; shares in [0, 1] (half_width NaN where there is no
            interval); an optional column ``paper`` holds published accuracies, drawn hollow, and ``paper_doubt`` why
            one is doubtful ("": it is not), marked †.
        chance: share of the thin grey line; None for none.
    Returns:
        The figure, 7 in wide (3.4 in for one data set).
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    columns = ("dataset", "n_shot", "method", "label", "heading", "accuracy", "half_width")
    check_columns(frame, columns, figure="accuracy_dots")
    if "paper" not in frame:
        frame = frame.assign(paper=np.nan)
    if "paper_doubt" not in frame:
        frame = frame.assign(paper_doubt="")
    frame = frame.assign(**{c: as_percent(frame[c].astype(float), name=c) for c in ("accuracy", "half_width", "paper")})
    datasets, shots = list(dict.fromkeys(frame["dataset"])), sorted(frame["n_shot"].unique())
    looks_of = looks(frame["method"])
    sizes = dict(zip(shots, np.linspace(*SIZES, len(shots)), strict=True))
    places, headings = _places(frame.drop_duplicates("label")[["label", "heading"]])
    height = max(places.values()) + 0.8
    width = ONE_COLUMN if len(datasets) == 1 else TWO_COLUMNS
    figure = PrintFigure(figsize=(width, 0.75 + ROW * height), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False, sharey=True, sharex=True)[0]
    for dataset, axes in zip(datasets, panels, strict=True):
        own = frame[frame["dataset"] == dataset]
        for row in own.itertuples():
            look = looks_of[row.method]
            y = places[row.label] + APART * (shots.index(row.n_shot) - (len(shots) - 1) / 2)
            half = np.nan_to_num(row.half_width)
            axes.plot([row.accuracy - half, row.accuracy + half], [y, y], color=look.colour, linewidth=0.9, zorder=3)
            whole = {"markersize": sizes[row.n_shot], "clip_on": False}  # a marker at 100 % is not cut in half
            axes.plot(row.accuracy, y, look.marker, color=look.colour, zorder=3, **whole)
            if np.isfinite(row.paper):
                hollow = {"color": GREY, "markerfacecolor": "white", "markeredgewidth": 0.6}
                axes.plot(row.paper, y, look.marker, zorder=2, **hollow, **whole)
                axes.annotate(
                    "†" if row.paper_doubt else "", (row.paper, y), xytext=(sizes[row.n_shot] / 2 + 0.5, 0),
                    textcoords="offset points", fontsize=7, va="center", annotation_clip=False,
                )  # fmt: skip
        axes.set_title(dataset)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        for y in places.values():
            axes.axhline(y, color="#EEEEEE", linewidth=0.5, zorder=0)
        if chance is not None:
            axes.axvline(100 * chance, color=GREY, linewidth=0.8, zorder=1)
    _name_rows(panels[0], places, headings)
    panels[0].set_ylim(height, -0.8)
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(max(0, low), 100 if high > 95 else high)
    panels[0].xaxis.set_major_locator(MultipleLocator(25))
    figure.supxlabel("accuracy (%)", fontsize=8)
    handles = [
        panels[0].plot([], [], "o", color="black", markersize=sizes[shot], label=f"{shot}-shot")[0] for shot in shots
    ]
    if frame["paper"].notna().any():
        name = f"{PAPER}, real data" + ("; †: doubtful" if frame["paper_doubt"].any() else "")
        handles += panels[0].plot([], [], "o", color=GREY, markerfacecolor="white", markersize=3.2, label=name)
    if chance is not None:
        handles += panels[0].plot([], [], color=GREY, linewidth=0.8, label="chance")
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _places(rows: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """y of each method and of each heading."""
    places, headings, y = {}, {}, -1.0
    for row in rows.itertuples():
        if row.heading not in headings:
            headings[row.heading] = y = y + 1.0 + 0.4 * bool(places)
        places[row.label] = y = y + 1.0
    return places, headings


def _name_rows(axes: Axes, places: dict[str, float], headings: dict[str, float]) -> None:
    """Methods as tick labels, headings in bold."""
    axes.set_yticks([*places.values(), *headings.values()], [*places, *headings])
    texts = axes.get_yticklabels()
    for text in texts[len(places) :]:
        text.set_fontweight("bold")


@styled
def learning_grid(frame: pd.DataFrame, selected: pd.DataFrame, *, chance: float | None = None) -> Figure:
    """Validation accuracy over training, one small panel a method and one line a data set.

    A dot marks the state that was kept (median over seeds); a curve that still rises at the end would show a method
    that was cut off.

    Args:
        frame: columns ``dataset, step, seed, series, value``, shares; from ``tables.curve_frame``.
        selected: columns ``dataset, series, step``: the step whose state was kept.
        chance: share of a thin grey line; None for none.
    Returns:
        The figure, 7 in wide, panels on common axes.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "step", "seed", "series", "value"), figure="learning_grid")
    frame = frame.assign(value=as_percent(frame["value"], name="value"))
    names, datasets = list(dict.fromkeys(frame["series"])), list(dict.fromkeys(frame["dataset"]))
    looks_of = looks(datasets)
    columns = 5 if len(names) % 5 == 0 else min(4, len(names))
    n_rows = -(-len(names) // columns)
    figure = PrintFigure(figsize=(TWO_COLUMNS, 0.6 + 1.25 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for spare in panels[len(names) :]:
        spare.set_axis_off()
    for number, (name, axes) in enumerate(zip(names, panels, strict=False)):
        for dataset, look in looks_of.items():
            own = frame[(frame["series"] == name) & (frame["dataset"] == dataset)].groupby("step")["value"]
            line = own.agg(["mean", "min", "max"])
            axes.plot(line.index, line["mean"], color=look.colour, linestyle=look.line, linewidth=1, label=dataset)
            axes.fill_between(line.index, line["min"], line["max"], color=look.colour, alpha=0.15, linewidth=0)
            kept = selected[(selected["series"] == name) & (selected["dataset"] == dataset)]["step"]
            if len(kept) and len(line):
                step = line.index[np.abs(line.index - kept.median()).argmin()]
                axes.plot(step, line.loc[step, "mean"], look.marker, color=look.colour, markersize=3, zorder=3)
        axes.set_title(name, pad=2)
        if chance is not None:
            axes.axhline(100 * chance, color=GREY, linewidth=0.8, zorder=1, label="chance")
        set_ticks_to_last(axes, frame["step"], most=3)
        axes.tick_params(labelbottom=number >= len(names) - columns)
    figure.supxlabel("training step", fontsize=8)
    figure.supylabel("validation accuracy (%)", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure
