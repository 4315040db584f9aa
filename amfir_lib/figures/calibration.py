"""Reliability diagrams, and who is taken for whom."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from amfir_lib.analysis.confusion import Confusion
from amfir_lib.errors import ShapeError
from amfir_lib.figures.style import GREY, TWO_COLUMNS, Look, PrintFigure, checked, legend, looks, styled

DARKEST_RATE = 99.5  # percentile of the rates that is the end of the colour scale
LONGEST_NAME = 14  # letters


@styled
def reliability_diagram(frame: pd.DataFrame) -> Figure:
    """Accuracy against certainty of each modality, a column a data set, a row a number of shots.

    Args:
        frame: columns ``dataset, n_shot, stream, certainty, accuracy, half_width, share``; the area of a point is its
            share of the queries.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    shares = ("certainty", "accuracy", "half_width", "share")
    frame = checked(frame, ("dataset", "n_shot", "stream", *shares), shares=shares)
    look = looks(frame["stream"])
    datasets, shots = (list(dict.fromkeys(frame[c])) for c in ("dataset", "n_shot"))
    columns_wide = max(2, len(datasets))
    panel = TWO_COLUMNS / columns_wide
    figure = PrintFigure(figsize=(panel * len(datasets), 0.35 + panel * len(shots)), layout="constrained")
    grid = figure.subplots(len(shots), len(datasets), squeeze=False, sharex=True, sharey=True)
    for row, shot in zip(grid, shots, strict=True):
        for axes, dataset in zip(row, datasets, strict=True):
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, zorder=1)
            for name, style in look.items():
                own = frame[(frame["dataset"] == dataset) & (frame["n_shot"] == shot) & (frame["stream"] == name)]
                own = own.sort_values("certainty")
                axes.errorbar(
                    own["certainty"], own["accuracy"], own["half_width"].fillna(0), color=style.colour,
                    linestyle=style.line, linewidth=0.8, elinewidth=0.6, zorder=2,
                )  # fmt: skip
                axes.scatter(
                    own["certainty"], own["accuracy"], s=2 * own["share"], color=style.colour, marker=style.marker,
                    zorder=3, linewidth=0,
                )  # fmt: skip
            axes.set_title(f"{dataset}, {shot}-shot" if len(datasets) < 4 else f"{dataset}\n{shot}-shot")
            axes.set_aspect("equal")
            axes.set_xlim(0, 100)
            axes.set_ylim(0, 100)
        row[0].set_ylabel("accuracy (%)")
    for axes in grid[-1]:
        axes.set_xlabel("certainty (%)")
    legend(figure, dict.fromkeys([*look.values(), Look("as certain as right", GREY, "")], {}))
    return figure


@styled
def confusion_maps(found: Sequence[Confusion]) -> Figure:
    """How often each class is taken for each other one, classes that are confused beside each other.

    Args:
        found: one panel each; the diagonal, right answers, is left white.
    Returns:
        The figure, 7 in wide, one colour scale for all panels.
    Raises:
        ShapeError: nothing to show.
    """
    if not found:
        raise ShapeError("confusion_maps got no data set; give at least one.")
    rates = [_ordered(one) for one in found]
    top = max(float(np.nanpercentile(rate, DARKEST_RATE)) for rate in rates)
    figure = PrintFigure(figsize=(TWO_COLUMNS, 4.4), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, one, rate in zip(panels, found, rates, strict=True):
        sns.heatmap(rate, ax=axes, cmap="viridis", vmin=0, vmax=top, cbar=False)
        axes.set_title(f"{one.dataset}, {one.n_shot}-shot, {100 * one.accuracy:.1f} % right")
        axes.set_xlabel(f"taken for {rate.columns.name}".rstrip())
        axes.set_ylabel(f"true class {rate.index.name}".rstrip())
        axes.tick_params(length=0)
        axes.tick_params(axis="y", rotation=0)
        axes.grid(visible=False)
    image = panels[0].collections[0]
    bar = figure.colorbar(image, ax=panels.tolist(), location="bottom", shrink=0.5, aspect=30, extend="max")
    bar.set_label("queries of the true class that are taken for the other, where both are in the episode (%)")
    return figure


def _ordered(one: Confusion) -> pd.DataFrame:
    """(C, C) rates in per cent, no diagonal; what all names begin with stands once, as the name of the axes."""
    order = one.order()
    rate = 100 * one.rate[np.ix_(order, order)]
    np.fill_diagonal(rate, np.nan)
    shared = os.path.commonprefix(one.names).rstrip("0123456789")
    names = [one.names[i] for i in order]
    if all(name[len(shared) :].isdigit() for name in names):
        names, word = [str(int(name[len(shared) :])) for name in names], f"({shared}…)"
    else:
        names, word = [name[:LONGEST_NAME] for name in names], ""
    return pd.DataFrame(rate, pd.Index(names, name=word), pd.Index(names, name=word))
