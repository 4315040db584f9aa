"""Figures 3 and 5: accuracy, and the lead of one method, as the number of shots or ways changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.figures.levels import make_room
from amfir_lib.figures.style import (
    GREY,
    HOLLOW,
    PAPER,
    Look,
    as_percent,
    check_columns,
    grid_of_panels,
    label_ends,
    looks,
    styled,
)

X_LABELS = {"n_shot": "shots (supports per class)", "n_way": "ways (classes per episode)"}
FIXED = {"n_shot": ("n_way", "way"), "n_way": ("n_shot", "shot")}
DODGE = 0.07  # between two methods at one point, so that intervals do not hide each other
ASIDE = 0.32  # of the paper's value, from the methods at its point
ACCURACY_TICK = 20  # percent between two ticks


@styled
def sweep_accuracies(frame: pd.DataFrame, *, swept: str, paper: pd.DataFrame | None = None) -> Figure:
    """Accuracy of each method with its interval at every point, chance, and what the paper's text says.

    Args:
        frame: columns ``dataset, n_way, n_shot, method, key, accuracy, half_width``; ``method`` is the title, ``key``
            the registry name, which has the look; shares in [0, 1], half_width NaN where there is no interval.
        swept: "n_shot" or "n_way": the x axis.  Each data set and value of the other has a panel of its own.
        paper: columns ``dataset, n_way, n_shot, key, value, bound`` in [0, 1], drawn hollow; an upper bound ("all
            other methods below") is a bar with an arrow.
    Returns:
        The figure, 3.4 in wide for one panel, else 7 in; its panels share the y axis.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(
        frame, ("dataset", "n_way", "n_shot", "method", "key", "accuracy", "half_width"), figure="sweep_accuracies"
    )
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("accuracy", "half_width")})
    looks_of = _titled(frame)
    parts = _panels(frame, swept)
    figure, panels = grid_of_panels(len(parts), height=2.7)
    drawn, ends = set(), []
    for number, ((title, part), axes) in enumerate(zip(parts.items(), panels, strict=True)):
        ends.append(_lines(axes, part, looks_of, swept=swept, value="accuracy"))
        ticks = np.array(sorted(part[swept].unique()))
        chance = 100 / (ticks if swept == "n_way" else np.full(len(ticks), part["n_way"].iloc[0]))
        axes.plot(ticks, chance, color=GREY, linewidth=0.8, zorder=1)
        axes.annotate(
            "chance", (ticks[0], chance[0]), xytext=(0, 3), textcoords="offset points", color="#6B6B6B", fontsize=6.5
        )
        own = _published(paper, part, ticks, swept)
        drawn |= _draw_published(axes, own, looks_of, swept, first=ticks[0])
        _axes(axes, title, ticks, swept, "accuracy (%)" if number % 2 == 0 else "")
        make_room(axes, [*chance, *(100 * own["value"])])
    low, high = min(axes.get_ylim()[0] for axes in panels), max(axes.get_ylim()[1] for axes in panels)
    ticks = np.arange(0, 101, ACCURACY_TICK)
    top = ticks[np.searchsorted(ticks, min(high, 100))]
    for axes, own in zip(panels, ends, strict=True):
        axes.set_yticks(ticks[(ticks >= low) & (ticks <= top)])
        axes.set_ylim(max(low, 0), max(high, top))
        label_ends(axes, own, looks_of)
    if drawn:
        handles = [
            panels[0].plot([], [], marker, color=GREY, markerfacecolor="white")[0] for marker, _ in sorted(drawn)
        ]
        figure.legend(handles, [f"{PAPER}{text}" for _, text in sorted(drawn)], loc="outside lower center", ncols=2)
    return figure


@styled
def sweep_leads(frame: pd.DataFrame, *, swept: str) -> Figure:
    """The paired lead of one method over others at every point; a point whose interval reaches zero is hollow.

    Args:
        frame: columns ``dataset, n_way, n_shot, other, key, difference, half_width``, the last two as shares in
            [-1, 1]; ``key`` is the registry name of the other method, "" for one without a look.
        swept: "n_shot" or "n_way".
    Returns:
        The figure, 3.4 in wide for one panel, else 7 in; its panels share the y axis.
    Raises:
        ShapeError: no rows, or a column is missing. BadParameter: shares beyond 1.
    """
    check_columns(
        frame, ("dataset", "n_way", "n_shot", "other", "key", "difference", "half_width"), figure="sweep_leads"
    )
    frame = frame.assign(**{c: as_percent(frame[c], name=c) for c in ("difference", "half_width")})
    frame = frame.assign(method=frame["other"])
    looks_of = {
        name: look if frame.loc[frame["other"] == name, "key"].iloc[0] else Look(name, "#000000", "o", "--")
        for name, look in _titled(frame).items()
    }
    parts = _panels(frame, swept)
    figure, panels = grid_of_panels(len(parts), height=2.2)
    limits = []
    for number, ((title, part), axes) in enumerate(zip(parts.items(), panels, strict=True)):
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        _lines(axes, part, looks_of, swept=swept, value="difference", hollow=True)
        _axes(axes, title, sorted(part[swept].unique()), swept, "AMFIR's lead (points)" if number % 2 == 0 else "")
        limits.append(axes.get_ylim())
    for axes, (_, part) in zip(panels, parts.items(), strict=True):
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        last = part[part[swept] == part[swept].max()].set_index("method")["difference"]
        names = {name: Look(f"over {look.label}", look.colour, look.marker) for name, look in looks_of.items()}
        label_ends(axes, dict(last), names)
    handles = panels[0].plot([], [], "o", color=GREY, markerfacecolor="white")
    figure.legend(handles, [HOLLOW], loc="outside lower center")
    return figure


def _titled(frame: pd.DataFrame) -> dict[str, Look]:
    """Title -> the look of its registry name, labelled with the title without the remark in brackets."""
    pairs = frame[["method", "key"]].drop_duplicates().itertuples(index=False)
    names = {pair.method: pair.key or pair.method for pair in pairs}
    found = looks(names.values())
    return {
        title: Look(title.partition(" (")[0], found[name].colour, found[name].marker, found[name].line)
        for title, name in names.items()
    }


def _panels(frame: pd.DataFrame, swept: str) -> dict[str, pd.DataFrame]:
    """Title of each panel -> its rows."""
    fixed, word = FIXED[swept]
    return {
        f"{dataset}, {value}-{word}": part for (dataset, value), part in frame.groupby(["dataset", fixed], sort=False)
    }


def _lines(
    axes: Axes, part: pd.DataFrame, looks_of: dict[str, Look], *, swept: str, value: str, hollow: bool = False
) -> dict[str, float]:
    """Draw each method, a little beside the others; return the last value of each."""
    names = [name for name in looks_of if name in set(part["method"])]
    ends = {}
    for index, name in enumerate(names):
        look, own = looks_of[name], part[part["method"] == name].sort_values(swept)
        x = own[swept] + DODGE * (index - (len(names) - 1) / 2)
        axes.plot(x, own[value], color=look.colour, linestyle=look.line, linewidth=1, zorder=2)
        axes.errorbar(
            x, own[value], own["half_width"].fillna(0), fmt="none", ecolor=look.colour, elinewidth=0.7, capsize=1.5,
            alpha=0.8, zorder=2,
        )  # fmt: skip
        clear = own[value].abs() > own["half_width"] if hollow else np.ones(len(own), dtype=bool)
        for chosen, face in ((clear, look.colour), (~clear, "white")):
            axes.plot(
                x[chosen], own.loc[chosen, value] if hollow else own[value][chosen], look.marker, color=look.colour,
                markerfacecolor=face, markersize=3.5, zorder=3,
            )  # fmt: skip
        ends[name] = float(own[value].iloc[-1])
    return ends


def _published(paper: pd.DataFrame | None, part: pd.DataFrame, ticks: np.ndarray, swept: str) -> pd.DataFrame:
    """What the paper says about this panel."""
    if paper is None or paper.empty:
        return pd.DataFrame(columns=["n_way", "n_shot", "key", "value", "bound"])
    fixed = FIXED[swept][0]
    here = (paper["dataset"] == part["dataset"].iloc[0]) & (paper[fixed] == part[fixed].iloc[0])
    return paper[here & paper[swept].isin(ticks)]


def _draw_published(
    axes: Axes, own: pd.DataFrame, looks_of: dict[str, Look], swept: str, *, first: int
) -> set[tuple[str, str]]:
    """Hollow markers beside the methods (left of the first point, else right); returns (marker, text) of the legend."""
    drawn = set()
    amfir = next((look for look in looks_of.values() if look.label.startswith("AMFIR")), Look("AMFIR", GREY, "D"))
    for row in own.itertuples():
        x, y = getattr(row, swept), 100 * row.value
        if row.bound:
            axes.plot([x - 0.4, x + 0.22], [y, y], color=GREY, linewidth=1, zorder=5)
            axes.plot(x - 0.32, y - 1.5, "v", color=GREY, markerfacecolor="white", markersize=4.5, zorder=5)
            drawn.add(("v", ": all other methods below"))
        else:
            x += -ASIDE if x == first else ASIDE
            axes.plot(x, y, amfir.marker, color=amfir.colour, markerfacecolor="white", markersize=5, zorder=4)
            drawn.add((amfir.marker, ": AMFIR (approximate)"))
    return drawn


def _axes(axes: Axes, title: str, ticks: object, swept: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xticks(list(ticks))
    axes.set_xlim(min(ticks) - 0.48, max(ticks) + 0.48)
    axes.set_xlabel(X_LABELS[swept])
    axes.set_ylabel(label)
