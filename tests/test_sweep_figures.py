"""Figures 3 to 5 and the forest plot of Table 2: they draw what they are given and name what is the paper's."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from amfir_lib import figures
from amfir_lib.analysis.studies.components import distillation_strategies
from amfir_lib.errors import ShapeError
from amfir_lib.figures.style import LOOKS, ONE_COLUMN, TWO_COLUMNS

NAMES = {"STRM": "strm", "STRM-F": "strm_f", "STRM-LF": "strm_lf", "AMFAR": "amfar", "AMFIR": "amfir"}


def sweep(*, datasets=("synth-ssv2", "synth-kinetics"), n_ways=(5, 6, 10)) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"dataset": dataset, "n_way": n_way, "n_shot": 1, "method": title, "key": key, "half_width": 0.02,
             "accuracy": 0.3 + 0.05 * number - 0.01 * n_way}
            for dataset in datasets
            for n_way in n_ways
            for number, (title, key) in enumerate(NAMES.items())
        ]
    )  # fmt: skip


PAPER = pd.DataFrame({
    "dataset": "synth-ssv2", "n_way": [5, 5, 8], "n_shot": 1, "key": ["amfir", "", "amfir"],
    "value": [0.7, 0.6, 0.5], "bound": [False, True, False],
})  # fmt: skip


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def hollow(axes) -> list:
    return [line for line in axes.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]


def test_a_sweep_has_a_panel_for_each_data_set_and_names_its_methods():
    figure = figures.sweep_accuracies(sweep(), swept="n_way")
    assert len(figure.axes) == 2 and figure.get_size_inches()[0] == TWO_COLUMNS
    assert set(NAMES) <= set(texts(figure)) and "chance" in texts(figure)
    assert figures.sweep_accuracies(sweep(datasets=("a",)), swept="n_way").get_size_inches()[0] == ONE_COLUMN


def test_chance_falls_with_the_ways_and_is_level_over_shots():
    by_way = figures.sweep_accuracies(sweep(), swept="n_way").axes[0]
    levels = [line.get_ydata() for line in by_way.lines if len(line.get_ydata()) == 3]
    assert any(np.allclose(level, [20, 100 / 6, 10]) for level in levels)
    shots = sweep().rename(columns={"n_way": "n_shot", "n_shot": "n_way"}).assign(n_way=5)
    levels = [line.get_ydata() for line in figures.sweep_accuracies(shots, swept="n_shot").axes[0].lines]
    assert any(len(level) == 3 and np.allclose(level, 20) for level in levels)


def test_the_papers_values_are_hollow_named_and_only_where_there_is_a_point():
    figure = figures.sweep_accuracies(sweep(), swept="n_way", paper=PAPER)
    drawn = hollow(figure.axes[0])
    assert [line.get_ydata()[0] for line in drawn] == pytest.approx([70, 58.5])  # 8-way is no point of ours
    assert drawn[0].get_xdata()[0] < 5 - 0.2  # beside the methods, so that it hides none
    assert not hollow(figure.axes[1])
    assert drawn[0].get_color() == LOOKS["amfir"].colour
    assert "paper (as printed): AMFIR (approximate)" in texts(figure)


def test_a_lead_whose_interval_reaches_zero_is_hollow():
    frame = pd.DataFrame({
        "dataset": "a", "n_way": 5, "n_shot": [1, 2], "other": "AMFAR", "key": "amfar", "difference": [0.05, 0.01],
        "half_width": [0.02, 0.02],
    })  # fmt: skip
    axes = figures.sweep_leads(frame, swept="n_shot").axes[0]
    assert [line.get_ydata()[0] for line in hollow(axes)] == [1.0]
    assert "over AMFAR" in texts(axes.figure)


def test_panels_of_leads_share_their_axis_and_next_best_needs_no_look():
    frame = sweep().rename(columns={"method": "other", "accuracy": "difference"})
    frame.loc[frame["other"] == "STRM", ["other", "key"]] = ["next best", ""]
    figure = figures.sweep_leads(frame, swept="n_way")
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert "over next best" in texts(figure)


def test_panels_of_accuracies_share_their_axis_and_its_top_has_a_tick():
    figure = figures.sweep_accuracies(sweep(), swept="n_way", paper=PAPER)
    limits, ticks = {axes.get_ylim() for axes in figure.axes}, figure.axes[0].get_yticks()
    ((low, high),) = limits
    assert high - ticks[-1] < 20 and low <= ticks[0] and list(figure.axes[0].get_xticks()) == [5, 6, 10]


def test_differences_are_drawn_once_for_each_basis():
    frame = pd.DataFrame({
        "dataset": "a", "n_shot": 1, "comparison": "AMFIR − no AMD", "basis": ["all queries", "undegraded queries"],
        "difference": [0.05, 0.01], "half_width": [0.02, np.nan],
    })  # fmt: skip
    figure = figures.differences_by_basis(frame)
    assert {"all queries", "undegraded queries", "AMFIR − no AMD", "×: no interval"} <= set(texts(figure))
    with pytest.raises(ShapeError, match="lacks the column basis"):
        figures.differences_by_basis(frame.drop(columns="basis"))


def test_strategies_keep_the_colour_of_their_teacher():
    names = [one.name for one in distillation_strategies(("rgb", "flow"))]
    frame = pd.DataFrame({"dataset": "a", "n_shot": 1, "method": names, "accuracy": 0.5, "half_width": 0.02})
    paper = pd.DataFrame({"dataset": "a", "method": ["bidirectional"], "value": [0.7]})
    figure = figures.strategy_accuracies(frame, chance=0.2, paper=paper)
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert {LOOKS[name].colour for name in ("rgb", "flow", "amfir")} <= colours
    assert {"hollow: paper (as printed), real data", "a, 1-shot"} <= set(texts(figure))


def test_panels_of_strategies_share_their_axis():
    names = [one.name for one in distillation_strategies(("rgb", "flow"))]
    rows = [
        {"dataset": d, "n_shot": 1, "method": m, "accuracy": a, "half_width": 0.02}
        for d, a in (("a", 0.3), ("b", 0.8))
        for m in names
    ]
    first, second = figures.strategy_accuracies(pd.DataFrame(rows), chance=0.2).axes
    assert first.get_ylim() == second.get_ylim()
