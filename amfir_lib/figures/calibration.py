"""Reliability diagrams, and who is taken for whom."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from amfir_lib.analysis.confusion import Confusion
from amfir_lib.figures.style import GREY, TWO_COLUMNS, Look, PrintFigure, checked, grid_of_panels, legend, looks, styled

DARKEST_RATE = 99.5  # percentile of the rates that is the end of the colour scale
LONGEST_NAME = 14  # letters
BAR_LABEL = "queries of the true class that are taken for the other, where both are in the episode (%)"


@styled
def reliability_diagram(frame: pd.DataFrame) -> Figure:
    """Accuracy against certainty of each modality, a column a data set, a row a number of shots.

    Args:
        frame: columns ``dataset, n_shot, stream, certainty, accuracy, half_width, share``; the area of a point is its
            share of the queries.
    """
    shares = ("certainty", "accuracy", "half_width", "share")
    frame = checked(frame, ("dataset", "n_shot", "stream", *shares), shares=shares)
    look = looks(frame["stream"])
    side = TWO_COLUMNS / max(2, frame["dataset"].nunique())
    figure, panels = grid_of_panels(frame, rows=["n_shot"], columns=["dataset", "n_shot"], wrap=0, height=side)
    for panel in panels:
        axes = panel.axes
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, zorder=1)
        for name, bins in panel.frame.groupby("stream", sort=False):
            bins, style = bins.sort_values("certainty"), look[name]
            line = {"color": style.colour, "linestyle": style.line, "linewidth": 0.8, "elinewidth": 0.6, "zorder": 2}
            axes.errorbar(bins["certainty"], bins["accuracy"], bins["half_width"].fillna(0), **line)
            point = {"color": style.colour, "marker": style.marker, "zorder": 3, "linewidth": 0}
            axes.scatter(bins["certainty"], bins["accuracy"], s=2 * bins["share"], **point)
        if side <= 2:
            axes.set_title(axes.get_title(loc="left").replace(", ", "\n"))
        axes.set(aspect="equal", xlim=(0, 100), ylim=(0, 100))
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("accuracy (%)")
        if panel.last:
            axes.set_xlabel("certainty (%)")
    legend(figure, dict.fromkeys([*look.values(), Look("as certain as right", GREY, "")], {}))
    return figure


@styled
def confusion_maps(confusions: Sequence[Confusion]) -> Figure:
    """How often each class is taken for each other one, classes that are confused beside each other.

    One panel each, one colour scale for all; the diagonal, right answers, is left white.
    """
    import seaborn as sns  # takes two seconds

    rates = [_ordered(confusion) for confusion in confusions]
    top = max(float(np.nanpercentile(rate, DARKEST_RATE)) for rate in rates)
    figure = PrintFigure(figsize=(TWO_COLUMNS, 4.4), layout="constrained")
    panels = figure.subplots(1, len(rates), squeeze=False)[0]
    for axes, confusion, rate in zip(panels, confusions, rates, strict=True):
        sns.heatmap(rate, ax=axes, cmap="viridis", vmin=0, vmax=top, cbar=False)
        axes.set_title(f"{confusion.dataset}, {confusion.n_shot}-shot, {100 * confusion.accuracy:.1f} % right")
        axes.set_xlabel(f"taken for {rate.columns.name}".rstrip())
        axes.set_ylabel(f"true class {rate.index.name}".rstrip())
        axes.tick_params(length=0)
        axes.tick_params(axis="y", rotation=0)
        axes.grid(visible=False)
    image, style = panels[0].collections[0], {"location": "bottom", "shrink": 0.5, "aspect": 30, "extend": "max"}
    figure.colorbar(image, ax=panels.tolist(), **style).set_label(BAR_LABEL)
    return figure


def _ordered(confusion: Confusion) -> pd.DataFrame:
    """(C, C) rates in per cent, no diagonal; what all names begin with stands once, as the name of the axes."""
    order = confusion.order()
    rate = 100 * confusion.rate[np.ix_(order, order)]
    np.fill_diagonal(rate, np.nan)
    shared = os.path.commonprefix(confusion.names).rstrip("0123456789")
    names = [confusion.names[i] for i in order]
    if all(name[len(shared) :].isdigit() for name in names):
        names, word = [str(int(name[len(shared) :])) for name in names], f"({shared}…)"
    else:
        names, word = [name[:LONGEST_NAME] for name in names], ""
    return pd.DataFrame(rate, pd.Index(names, name=word), pd.Index(names, name=word))
