"""Accuracies and paired differences of methods, with their intervals over classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from amfir_lib.figures.levels import note_missing_intervals, reference_line
from amfir_lib.figures.style import (
    GREY,
    PAPER,
    TWO_COLUMNS,
    PrintFigure,
    as_percent,
    check_columns,
    grid_of_panels,
    looks,
    point_of,
    shown_to_differ,
    styled,
)


@styled
def accuracy_bars(frame: pd.DataFrame, *, chance: float | None = 0.2) -> Figure:
    """Accuracy of each method with its interval, one panel a data set, one group of bars a shot.

    Args:
        frame: columns ``dataset, n_shot, method, accuracy, half_width``, the last two as shares in [0, 1] (half_width
            NaN where there is no interval); an optional column ``paper`` holds published accuracies, drawn hollow.
        chance: share of the thin grey line; None for none.
    Returns:
        The figure.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "n_shot", "method", "accuracy", "half_width"), figure="accuracy_bars")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("accuracy", "half_width")})
    looks_of = looks(frame["method"])
    datasets, shots = list(dict.fromkeys(frame["dataset"])), sorted(frame["n_shot"].unique())
    width = 0.8 / len(looks_of)
    figure, panels = grid_of_panels(len(datasets))
    for number, (dataset, axes) in enumerate(zip(datasets, panels, strict=True)):
        part = frame[frame["dataset"] == dataset]
        for index, (method, look) in enumerate(looks_of.items()):
            own = part[part["method"] == method].set_index("n_shot").reindex(shots)
            x = np.arange(len(shots)) + (index - (len(looks_of) - 1) / 2) * width
            axes.bar(x, own["accuracy"], 0.9 * width, color=look.colour, alpha=0.75, label=look.label, zorder=2)
            axes.errorbar(
                x, own["accuracy"], own["half_width"].fillna(0), fmt="none", ecolor="black", elinewidth=0.8,
                capsize=1.5, zorder=3,
            )  # fmt: skip
            if "paper" in own:
                published = as_percent(own["paper"].astype(float), name="paper")
                axes.plot(x, published, look.marker, color=look.colour, markerfacecolor="white", zorder=4)
        axes.set_xticks(range(len(shots)), [f"{shot}-shot" for shot in shots])
        axes.set_ylim(0, 100)
        axes.set_title(dataset)
        axes.set_ylabel("accuracy (%)" if number % 2 == 0 else "")
        if chance is not None:
            reference_line(axes, 100 * chance, "chance", outside=True)
    handles, labels = panels[0].get_legend_handles_labels()
    if "paper" in frame:
        handles += panels[0].plot([], [], "o", color=GREY, markerfacecolor="white")
        labels.append(PAPER)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3 if len(panels) == 1 else 6))
    return figure


@styled
def degradation_costs(frame: pd.DataFrame, *, own_least: float = 0.10, other_most: float = 0.03) -> Figure:
    """What each kind of degradation costs each stream, one panel a data set.

    Args:
        frame: columns ``dataset, label`` (the stream that the kind is meant to hurt), ``kind, stream, cost,
            half_width``; costs as shares, half_width NaN where there is no interval.
        own_least, other_most: dashed lines; the label is earned when the own stream loses more than the first and the
            other less than the second.
    Returns:
        The figure.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "label", "kind", "stream", "cost", "half_width"), figure="degradation_costs")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("cost", "half_width")})
    looks_of = looks(frame["stream"])
    datasets = list(dict.fromkeys(frame["dataset"]))
    kinds = frame[["label", "kind"]].drop_duplicates().itertuples(index=False)
    names = {kind.kind: f"{kind.kind.replace('_', ' ')}\n(meant for {looks_of[kind.label].label})" for kind in kinds}
    figure, panels = grid_of_panels(len(datasets), height=0.6 + 0.33 * len(names), share_x=True)
    for dataset, axes in zip(datasets, panels, strict=True):
        own = frame[frame["dataset"] == dataset]
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for limit, name, side in ((100 * other_most, "other ≤", "right"), (100 * own_least, "own ≥", "left")):
            axes.axvline(limit, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                f"{name} {limit:.0f}", (limit, 1), xycoords=("data", "axes fraction"), ha=side, va="bottom",
                xytext=(2 if side == "left" else 4, 1), textcoords="offset points", fontsize=6, color="#6B6B6B",
            )  # fmt: skip
        for shift, (stream, look) in zip((-0.13, 0.13), looks_of.items(), strict=False):
            part = own[own["stream"] == stream].set_index("kind").reindex(list(names))
            axes.errorbar(
                part["cost"], np.arange(len(names)) + shift, xerr=part["half_width"].fillna(0), fmt=look.marker,
                color=look.colour, elinewidth=1, capsize=2, label=look.label,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), list(names.values()))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(dataset, pad=11)
        axes.set_xlabel("cost (points of accuracy)")
        axes.tick_params(labelbottom=True)
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, [f"cost to {label}" for label in labels], loc="outside lower center", ncols=2)
    return figure


@styled
def paired_differences(frame: pd.DataFrame) -> Figure:
    """Forest plot of paired differences: a point with its interval and a line at zero, one panel a shot.

    A difference that is not shown is hollow (``style.shown_to_differ``), one without interval a grey cross.

    Args:
        frame: columns ``dataset, n_shot, comparison, difference, half_width``, the last two as shares in [-1, 1]; an
            optional column ``verdict``.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "n_shot", "comparison", "difference", "half_width"), figure="paired_differences")
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("difference", "half_width")})
    frame = frame.assign(shown=shown_to_differ(frame))
    shots = sorted(frame["n_shot"].unique())
    datasets, comparisons = (list(dict.fromkeys(frame[c])) for c in ("dataset", "comparison"))
    places, headings, y = {}, {}, 0.0
    for dataset in datasets:
        headings[dataset] = y
        for number, comparison in enumerate(comparisons):
            places[dataset, comparison] = y + 1 + number
        y += len(comparisons) + 1.6
    figure = PrintFigure(figsize=(TWO_COLUMNS, 0.6 + 0.16 * y), layout="constrained")
    panels = figure.subplots(1, len(shots), squeeze=False, sharey=True, sharex=True)[0]
    for shot, axes in zip(shots, panels, strict=True):
        own = frame[frame["n_shot"] == shot]
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for row in own.itertuples():
            axes.errorbar(
                row.difference, places[row.dataset, row.comparison], xerr=row.half_width, elinewidth=1, capsize=2,
                **point_of(row),
            )  # fmt: skip
        axes.set_title(f"{shot}-shot")
        note_missing_intervals(axes, own)
        axes.set_xlabel("difference of accuracies (points)")
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(
        [*places.values(), *headings.values()], [comparison for _, comparison in places] + [f"{d}:" for d in headings]
    )
    for text, is_heading in zip(
        panels[0].get_yticklabels(), [False] * len(places) + [True] * len(headings), strict=True
    ):
        text.set_fontweight("bold" if is_heading else "normal")
    panels[0].set_ylim(y - 0.6, -0.8)
    return figure
