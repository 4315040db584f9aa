"""Curves over training: accuracies, losses and free energies (Figure 2)."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.figures.levels import make_room, reference_line
from amfir_lib.figures.style import (
    GREY,
    PAPER,
    TWO_COLUMNS,
    Look,
    PrintFigure,
    as_percent,
    check_columns,
    grid_of_panels,
    label_ends,
    legend_below,
    looks,
    styled,
)
from amfir_lib.figures.ticks import set_ticks_to_last

N_MARKERS = 6  # on a line, so that lines can be told apart without colour


@styled
def learning_curves(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    hue: str = "series",
    label: str = "validation accuracy (%)",
    percent: bool = True,
    chance: float | None = None,
    x_label: str = "training step",
) -> Figure:
    """Learning curves, one panel a data set: a line for the mean over seeds, a band from the lowest to the highest.

    Args:
        frame: columns ``dataset, step, seed``, and those named by ``hue`` and ``value``; one row a measurement.
        value: column of what is drawn.
        hue: column that names the line; names of ``style.LOOKS`` get their colour and marker.
        label: of the y axis, with the unit.
        percent: ``value`` holds shares in [0, 1], to be drawn in percent.
        chance: share (or value) of a thin grey line named "chance"; None for none.
        x_label: of the x axis.
    Returns:
        The figure, 3.4 in wide for one data set, else 7 in.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(frame, ("dataset", "step", "seed", hue, value), figure="learning_curves")
    frame = frame.assign(**{value: as_percent(frame[value], name=value) if percent else frame[value]})
    looks_of = looks(frame[hue])
    datasets = list(dict.fromkeys(frame["dataset"]))
    figure, panels = grid_of_panels(len(datasets))
    for number, (dataset, axes) in enumerate(zip(datasets, panels, strict=True)):
        ends = _draw_lines(axes, frame[frame["dataset"] == dataset], hue=hue, value=value, looks_of=looks_of)
        axes.set_title(dataset)
        axes.set_ylabel(label if number % 2 == 0 else "")
        axes.set_xlabel(x_label if number >= len(datasets) - min(2, len(datasets)) else "")
        set_ticks_to_last(axes, frame["step"])
        if chance is not None:
            level = 100 * chance if percent else chance
            reference_line(axes, level, "chance")
            make_room(axes, [level])
        label_ends(axes, ends, looks_of)
    return figure


@styled
def free_energy_curves(frame: pd.DataFrame, *, plateau: float | None = -4.0, n_way: int | None = 5) -> Figure:
    """Free energy over training (Figure 2), with controls, one row of panels a data set.

    Args:
        frame: columns ``dataset, series, seed, step, value`` (value in nats); one line a series, mean and range over
            the seeds.  An optional column ``stream`` (total, rgb, flow ...) gives each stream a panel of its own.
        plateau: level that the paper's Figure 2 reaches, drawn dashed; None for none.
        n_way: draws where a uniform posterior stands, -log n_way, which is where centred free energy starts; None for
            none (it holds for the centred reading only).
    Returns:
        The figure; panels of one row share the y axis.
    Raises:
        ShapeError: no rows, or a column is missing.
    """
    check_columns(frame, ("dataset", "series", "seed", "step", "value"), figure="free_energy_curves")
    streams = list(dict.fromkeys(frame["stream"])) if "stream" in frame else [""]
    datasets = list(dict.fromkeys(frame["dataset"]))
    looks_of = looks(frame["series"])
    if streams == [""]:
        figure, panels = grid_of_panels(len(datasets), height=2.5)
        rows = [[axes] for axes in panels]
    else:
        figure = PrintFigure(figsize=(TWO_COLUMNS, 2.1 * len(datasets)), layout="constrained")
        rows = figure.subplots(len(datasets), len(streams), squeeze=False, sharey="row").tolist()
    levels: dict[float, Look] = {}  # named below the panels, where the names hide no curve
    if n_way:
        levels[-math.log(n_way)] = Look(f"uniform posterior, −log {n_way}", GREY, "")
    if plateau is not None:
        levels[plateau] = Look(f"{PAPER}: about {plateau:g}".replace("-", "−"), GREY, "", "--")
    for dataset, row in zip(datasets, rows, strict=True):
        part = frame[frame["dataset"] == dataset]
        for stream, axes in zip(streams, row, strict=True):
            own = part[part["stream"] == stream] if stream else part
            ends = _draw_lines(axes, own, hue="series", value="value", looks_of=looks_of)
            axes.set_title(looks([stream])[stream].label if stream else dataset)
            if axes is row[0]:
                axes.set_ylabel(f"{dataset}\nfree energy F (nats)" if stream else "free energy F (nats)")
            if row is rows[-1] or not stream:
                axes.set_xlabel("training step")
            set_ticks_to_last(axes, part["step"], most=3)
        # Once all panels are drawn: limits that are set end the search for limits in every panel that shares them.
        make_room(row[0], levels)
        for axes in row:
            for level, look in levels.items():
                axes.axhline(level, color=look.colour, linewidth=0.8, linestyle=look.line, zorder=1)
        label_ends(row[-1], ends, looks_of)
    if levels:
        legend_below(figure, levels.values())
    return figure


@styled
def pretraining_curves(history: pd.DataFrame) -> Figure:
    """What the backbones learn from the pretraining corpus: one panel a held-out measure, epochs to the right.

    Args:
        history: from ``pretraining_history``: ``modality, epoch`` and one column a measure, NaN where a modality has
            none; columns ending in ``_accuracy`` hold shares, in ``_px`` pixels.
    Returns:
        The figure, 7 in wide.
    """
    check_columns(history, ("modality", "epoch"), figure="pretraining_curves")
    measures = [column for column in history if column.endswith(("_accuracy", "_px"))]
    looks_of = looks(history["modality"])
    figure = PrintFigure(figsize=(TWO_COLUMNS, 1.8), layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for measure, axes in zip(measures, panels, strict=True):
        words, percent = measure.replace("_", " "), measure.endswith("_accuracy")
        long = history[["modality", "epoch", measure]].dropna().rename(columns={"epoch": "step"})
        long[measure] = 100 * long[measure] if percent else long[measure]
        _draw_lines(axes, long, hue="modality", value=measure, looks_of=looks_of)
        streams = ", ".join(looks_of[name].label for name in long["modality"].unique())
        axes.set_title(f"{streams}: {words.removesuffix(' px')}")
        axes.set_ylabel(f"{words} (%)" if percent else f"{words.removesuffix(' px')} (px)")
        axes.set_xlabel("epoch")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0.5, long["step"].max() + 0.5)
        set_ticks_to_last(axes, long["step"], most=9)
    return figure


def _draw_lines(
    axes: Axes, frame: pd.DataFrame, *, hue: str, value: str, looks_of: dict[str, Look]
) -> dict[str, float]:
    """Draw each series; return the last value of each."""
    ends = {}
    for name in dict.fromkeys(frame[hue].astype(str)):
        look = looks_of[name]
        by_step = frame[frame[hue].astype(str) == name].groupby("step")[value]
        line = by_step.agg(["mean", "min", "max"]).dropna()
        if line.empty:
            continue
        every = max(1, len(line) // N_MARKERS)
        axes.plot(
            line.index, line["mean"], color=look.colour, linestyle=look.line, marker=look.marker, markevery=every,
            markersize=3, label=look.label,
        )  # fmt: skip
        if (line["max"] > line["min"]).any():
            axes.fill_between(line.index, line["min"], line["max"], color=look.colour, alpha=0.18, linewidth=0)
        ends[name] = float(line["mean"].iloc[-1])
    axes.margins(x=0.02)
    return ends
