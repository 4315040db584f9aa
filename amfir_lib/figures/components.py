"""Table 2 as a forest plot on three bases, and Figure 4: accuracies of the distillation strategies."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from amfir_lib.figures.levels import chance_level, note_missing_intervals
from amfir_lib.figures.style import (
    GREY,
    HOLLOW,
    PAPER,
    TWO_COLUMNS,
    Look,
    PrintFigure,
    as_percent,
    check_columns,
    grid_of_panels,
    looks,
    point_of,
    shown_to_differ,
    styled,
)

# Of whatever bases come, in order; grey, as colours are methods.
BASIS_LOOKS = (Look("", "#000000", "o"), Look("", "#5A5A5A", "s"), Look("", "#A0A0A0", "D"))


@styled
def differences_by_basis(frame: pd.DataFrame, *, label: str = "difference of accuracies (points)") -> Figure:
    """Forest plot of paired differences, each comparison once for every basis, one column of panels a shot.

    A difference that is not shown is hollow (``style.shown_to_differ``), one without interval a grey cross.

    Args:
        frame: columns ``dataset, n_shot, comparison, basis, difference, half_width``, the last two as shares in
            [-1, 1] (half_width NaN where there is no interval); an optional column ``verdict``.
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
    frame = frame.assign(shown=shown_to_differ(frame))
    datasets, comparisons, bases = (list(dict.fromkeys(frame[c])) for c in ("dataset", "comparison", "basis"))
    looks_of = dict(zip(bases, itertools.cycle(BASIS_LOOKS), strict=False))
    shots = sorted(frame["n_shot"].unique())
    height = 0.7 + len(datasets) * (0.25 + len(comparisons) * (0.1 + 0.075 * len(bases)))
    figure = PrintFigure(figsize=(TWO_COLUMNS, height), layout="constrained")
    panels = figure.subplots(len(datasets), len(shots), squeeze=False, sharex=True, sharey=True)
    for dataset, row in zip(datasets, panels, strict=True):
        for shot, axes in zip(shots, row, strict=True):
            axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
            for number, (basis, look) in enumerate(looks_of.items()):
                own = frame[(frame["dataset"] == dataset) & (frame["n_shot"] == shot) & (frame["basis"] == basis)]
                for one in own.itertuples():
                    y = comparisons.index(one.comparison) + 0.24 * (number - (len(bases) - 1) / 2)
                    axes.errorbar(
                        one.difference, y, xerr=one.half_width, elinewidth=0.9, capsize=1.5,
                        **point_of(one, marker=look.marker, colour=look.colour, size=3.5),
                    )  # fmt: skip
            axes.set_title(f"{dataset}, {shot}-shot")
            note_missing_intervals(axes, frame[(frame["dataset"] == dataset) & (frame["n_shot"] == shot)])
            axes.set_xlabel(label if dataset == datasets[-1] else "")
            axes.set_yticks(range(len(comparisons)), comparisons)
            axes.set_ylim(len(comparisons) - 0.5, -0.5)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
    if len(bases) > 1:
        handles = [panels[0][0].plot([], [], look.marker, color=look.colour)[0] for look in looks_of.values()]
        handles += panels[0][0].plot([], [], "o", color=GREY, markerfacecolor="white")
        figure.legend(handles, [*bases, HOLLOW], loc="outside lower center", ncols=len(handles))
    return figure


@styled
def strategy_accuracies(frame: pd.DataFrame, *, chance: float, paper: pd.DataFrame | None = None) -> Figure:
    """Figure 4: accuracy of each strategy with its interval, one panel a data set.

    Args:
        frame: columns ``dataset, n_shot, method, accuracy, half_width``, shares in [0, 1]; one number
            of ways and shots.
        chance: accuracy of guessing.
        paper: columns ``dataset, method, value`` in [0, 1], drawn hollow beside ours.
    Returns:
        The figure, 3.4 in wide for one data set, else 7 in; its panels share the y axis.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "n_shot", "method", "accuracy", "half_width"), figure="strategy_accuracies")
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
        axes.set_title(f"{dataset}, {frame['n_shot'].iloc[0]}-shot")
        axes.set_ylabel("accuracy (%)" if number % 2 == 0 else "")
    low, high = min(axes.get_ylim()[0] for axes in panels), max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)
        chance_level(axes, 100 * chance)
    if published:
        figure.supxlabel(f"hollow: {PAPER}, real data", fontsize=7)
    return figure
