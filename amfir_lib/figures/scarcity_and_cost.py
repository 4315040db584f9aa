"""Accuracy against the amount of base data, and against what a query costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from amfir_lib.figures.levels import chance_level
from amfir_lib.figures.style import (
    GREY,
    TWO_COLUMNS,
    Look,
    PrintFigure,
    as_percent,
    check_columns,
    legend_below,
    looks,
    spread,
    styled,
)

DODGE = 0.012  # of the x axis, between two methods at one amount
COARSE, FINE = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)  # leading digits of ticks: over more than a decade, over less
BESIDE = 0.022  # of the range of costs, between two methods of about equal cost


@styled
def scarcity_curves(frame: pd.DataFrame, *, full: Mapping[tuple[str, str], int], chance: float) -> Figure:
    """Accuracy of every method against the amount of base data: a row a data set, a column what is reduced.

    Args:
        frame: columns ``dataset, swept, n_left, key, accuracy, half_width``; the rows without ``swept`` are all data.
        full: (data set, swept) -> how much all is.
        chance: accuracy of guessing.
    Returns:
        The figure, 7 in wide.
    """
    check_columns(frame, ("dataset", "swept", "n_left", "key", "accuracy", "half_width"), figure="scarcity_curves")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("accuracy", "half_width")})
    look = looks(frame["key"])
    datasets = list(dict.fromkeys(frame["dataset"]))
    swept = [name for name in dict.fromkeys(frame["swept"]) if name]
    figure = PrintFigure(figsize=(TWO_COLUMNS, 0.4 + 2.1 * len(datasets)), layout="constrained")
    axes_of = figure.subplots(len(datasets), max(1, len(swept)), squeeze=False, sharey="row")
    for row, dataset in zip(axes_of, datasets, strict=True):
        for axes, name in zip(row, swept, strict=False):
            part = frame[(frame["dataset"] == dataset) & frame["swept"].isin(["", name])]
            part = part.assign(x=np.where(part["swept"] == "", full[dataset, name], part["n_left"]))
            times = part["x"].max() / part["x"].min()
            for number, key in enumerate(look):
                own = part[part["key"] == key].sort_values("x")
                x = own["x"] * times ** (DODGE * (number - (len(look) - 1) / 2))
                axes.errorbar(
                    x, own["accuracy"], own["half_width"].fillna(0), color=look[key].colour, linestyle=look[key].line,
                    marker=look[key].marker, markersize=3, linewidth=1, elinewidth=0.5,
                )  # fmt: skip
            axes.set_xscale("log")
            ticks = sorted(set(part["x"]))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.set_xlabel(f"{name} in training")
            axes.set_title(dataset)
        row[0].set_ylabel("accuracy (%)")
        for axes in row:
            chance_level(axes, 100 * chance)
    legend_below(figure, look.values())
    return figure


@styled
def cost_and_accuracy(frame: pd.DataFrame, *, chance: float) -> Figure:
    """Accuracy against what a query costs, with the line of methods that none beats at no higher cost.

    Methods of about equal cost stand side by side, so that all are seen.

    Args:
        frame: columns ``dataset, key, accuracy, half_width, multiply_adds, query_ms``.
        chance: accuracy of guessing.
    Returns:
        The figure, 7 in wide: a row a data set, multiply-adds of the method at the left, all milliseconds at the right.
    """
    columns = ("dataset", "key", "accuracy", "half_width", "multiply_adds", "query_ms")
    check_columns(frame, columns, figure="cost_and_accuracy")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("accuracy", "half_width")})
    look = looks(frame["key"])
    datasets = list(dict.fromkeys(frame["dataset"]))
    figure = PrintFigure(figsize=(TWO_COLUMNS, 0.4 + 2.1 * len(datasets)), layout="constrained")
    for row, dataset in zip(figure.subplots(len(datasets), 2, squeeze=False, sharey="row"), datasets, strict=True):
        part = frame[frame["dataset"] == dataset]
        for axes, (cost, label, scale) in zip(
            row,
            (
                ("multiply_adds", "multiply-adds a query, without backbones (millions)", 1e-6),
                ("query_ms", "milliseconds a query, reading the clip included", 1.0),
            ),
            strict=True,
        ):
            x = scale * part[cost]
            front = undominated(x.to_numpy(), part["accuracy"].to_numpy())
            order = front[np.argsort(x.to_numpy()[front], kind="stable")]
            places = side_by_side(x.to_numpy())
            axes.step(places[order], part["accuracy"].iloc[order], where="post", color=GREY, linewidth=0.8, zorder=3)
            for one, place in zip(part.itertuples(), places, strict=True):
                axes.errorbar(
                    place, one.accuracy, np.nan_to_num(one.half_width), fmt=look[one.key].marker,
                    color=look[one.key].colour, markersize=4, elinewidth=0.7, zorder=4,
                )  # fmt: skip
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=COARSE if x.max() > 10 * x.min() else FINE))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(label)
            axes.set_title(dataset)
        row[0].set_ylabel("accuracy (%)")
        for axes in row:
            chance_level(axes, 100 * chance)
    handles = [*look.values(), Look("best at its cost", GREY, "", "-")]
    legend_below(figure, handles)
    return figure


def undominated(cost: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Positions of the points than which no other is as cheap and as accurate, and better in one of both."""
    better = (cost[:, None] >= cost) & (accuracy[:, None] <= accuracy)  # [i, j]: j is no worse than i
    strictly = (cost[:, None] > cost) | (accuracy[:, None] < accuracy)
    return np.flatnonzero(~(better & strictly).any(1))


def side_by_side(cost: np.ndarray) -> np.ndarray:
    """Costs at which points are drawn: where they lie, moved apart on the log axis where these are close."""
    order = np.argsort(cost, kind="stable")
    logs = np.log(cost[order])
    places = np.empty(len(cost))
    places[order] = np.exp(spread(logs.tolist(), BESIDE * (logs[-1] - logs[0])))
    return places
