"""Table 2 as a forest plot on three bases, and Figure 4: accuracies of the distillation strategies."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from amfir_lib.figures.style import (
    GREY,
    PAPER,
    TWO_COLUMNS,
    Look,
    PrintFigure,
    as_percent,
    check_columns,
    grid_of_panels,
    looks,
    styled,
)

BASIS_LOOKS = {  # of whatever bases come, in order
    0: Look("", "#000000", "o"), 1: Look("", "#0072B2", "s"), 2: Look("", "#E69F00", "D"),
}  # fmt: skip


@styled
def differences_by_basis(frame: pd.DataFrame, *, label: str = "difference of accuracies (points)") -> Figure:
    """Forest plot of paired differences, each comparison once for every basis, one column of panels a shot.

    An interval that reaches zero is drawn hollow: that comparison shows nothing.

    Args:
        frame: columns ``dataset, n_shot, comparison, basis, difference, half_width``, the last two as shares in
            [-1, 1] (half_width NaN where there is no interval).
        label: of the x axis.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(
        frame, ("dataset", "n_shot", "comparison", "basis", "difference", "half_width"), figure="differences_by_basis"
    )
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("difference", "half_width")})
    datasets, comparisons, bases = (list(dict.fromkeys(frame[c])) for c in ("dataset", "comparison", "basis"))
    shots = sorted(frame["n_shot"].unique())
    height = 0.7 + len(datasets) * (0.25 + len(comparisons) * (0.1 + 0.075 * len(bases)))
    figure = PrintFigure(figsize=(TWO_COLUMNS, height), layout="constrained")
    panels = figure.subplots(len(datasets), len(shots), squeeze=False, sharex=True, sharey=True)
    for dataset, row in zip(datasets, panels, strict=True):
        for shot, axes in zip(shots, row, strict=True):
            axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
            for number, basis in enumerate(bases):
                look = BASIS_LOOKS[number % len(BASIS_LOOKS)]
                own = frame[(frame["dataset"] == dataset) & (frame["n_shot"] == shot) & (frame["basis"] == basis)]
                for one in own.itertuples():
                    y = comparisons.index(one.comparison) + 0.24 * (number - (len(bases) - 1) / 2)
                    clear = abs(one.difference) > one.half_width
                    axes.errorbar(
                        one.difference, y, xerr=np.nan_to_num(one.half_width), fmt=look.marker, color=look.colour,
                        markerfacecolor=look.colour if clear else "white", markersize=3.5, elinewidth=0.9, capsize=1.5,
                    )  # fmt: skip
            axes.set_title(f"{dataset}, {shot}-shot")
            axes.set_xlabel(label if dataset == datasets[-1] else "")
            axes.set_yticks(range(len(comparisons)), comparisons)
            axes.set_ylim(len(comparisons) - 0.5, -0.5)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
    if len(bases) > 1:
        handles = [
            panels[0][0].plot([], [], BASIS_LOOKS[n % len(BASIS_LOOKS)].marker, color=BASIS_LOOKS[n % 3].colour)[0]
            for n in range(len(bases))
        ]
        figure.legend(handles, bases, loc="outside lower center", ncols=len(bases))
    return figure


@styled
def strategy_accuracies(frame: pd.DataFrame, *, paper: pd.DataFrame | None = None) -> Figure:
    """Figure 4: accuracy of each strategy with its interval, one panel a data set.

    Args:
        frame: columns ``dataset, method, accuracy, half_width``, shares in [0, 1]; one number of ways and shots.
        paper: columns ``dataset, method, value`` in [0, 1], drawn hollow beside ours.
    Returns:
        The figure, 3.4 in wide for one data set, else 7 in; its panels share the y axis.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "method", "accuracy", "half_width"), figure="strategy_accuracies")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("accuracy", "half_width")})
    names = list(dict.fromkeys(frame["method"]))
    looks_of = looks(names)
    datasets = list(dict.fromkeys(frame["dataset"]))
    figure, panels = grid_of_panels(len(datasets), height=2.4)
    published = paper is not None and len(paper) > 0
    for number, (dataset, axes) in enumerate(zip(datasets, panels, strict=True)):
        own = frame[frame["dataset"] == dataset].set_index("method").reindex(names)
        for x, name in enumerate(names):
            look = looks_of[name]
            axes.errorbar(
                x, own["accuracy"][name], np.nan_to_num(own["half_width"][name]), fmt=look.marker, color=look.colour,
                markersize=5, elinewidth=1, capsize=2.5,
            )  # fmt: skip
            axes.annotate(
                f"{own['accuracy'][name]:.1f}", (x, own["accuracy"][name]), xytext=(6, 0), va="center",
                textcoords="offset points", fontsize=6.5,
            )  # fmt: skip
            told = paper[(paper["dataset"] == dataset) & (paper["method"] == name)] if published else ()
            for value in told["value"] if published else ():
                axes.plot(x, 100 * value, look.marker, color=look.colour, markerfacecolor="white", markersize=5)
        axes.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.3)
        axes.set_title(dataset)
        axes.set_ylabel("accuracy (%)" if number % 2 == 0 else "")
    low, high = min(axes.get_ylim()[0] for axes in panels), max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)
    if published:
        (handle,) = panels[0].plot([], [], "o", color=GREY, markerfacecolor="white")
        figure.legend([handle], [f"{PAPER}, real data"], loc="outside lower center")
    return figure
