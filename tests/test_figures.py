"""Figures: they draw what they are given, look the same everywhere, and refuse what they cannot draw."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from amfir_lib import figures
from amfir_lib.analysis.studies.components import CONTROL
from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.exports import write_figure
from amfir_lib.figures.architecture import CLASS_COLOURS
from amfir_lib.figures.clips import saturation_of, strip
from amfir_lib.figures.scene import moved_apart
from amfir_lib.figures.style import LOOKS, ONE_COLUMN, SPARE, TWO_COLUMNS, looks, spread
from amfir_lib.figures.ticks import ticks_to_last
from amfir_lib.methods import METHODS
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS


def curves(datasets: tuple[str, ...] = ("a", "b"), series: tuple[str, ...] = ("rgb", "flow")) -> pd.DataFrame:
    """Two seeds that lie 0.1 apart around a rising line."""
    return pd.DataFrame(
        [
            {"dataset": d, "series": s, "seed": seed, "step": step, "value": 0.2 + step / 100 + 0.1 * seed}
            for d in datasets
            for s in series
            for seed in (0, 1)
            for step in (0, 10, 20)
        ]
    )


def clip(rng: np.random.Generator, *, n: int = 4, size: int = 16) -> dict[str, np.ndarray]:
    rgb = rng.integers(0, 255, (n, size, size, 3), dtype=np.uint8)
    return {"rgb": rgb, "flow": rng.normal(size=(n, size, size, 2)).astype(np.float32)}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_learning_curves_draw_the_mean_over_seeds_in_percent():
    axes = figures.learning_curves(curves(), chance=0.2).axes[0]
    line = next(line for line in axes.lines if line.get_label() == "RGB")
    np.testing.assert_allclose(line.get_ydata(), [25, 35, 45])
    assert line.get_color() == LOOKS["rgb"].colour and line.get_marker() == LOOKS["rgb"].marker


def test_one_data_set_is_one_column_wide_and_more_are_two():
    assert figures.learning_curves(curves(("a",))).get_size_inches()[0] == ONE_COLUMN
    assert figures.learning_curves(curves()).get_size_inches()[0] == TWO_COLUMNS


def test_the_plateau_of_the_paper_is_named_as_the_papers():
    frame = curves().assign(value=lambda f: -2 - f["value"])
    figure = figures.free_energy_curves(frame, plateau=-4.0)
    assert any("paper (as printed)" in text and "−4" in text for text in texts(figure))
    low, high = figure.axes[0].get_ylim()
    assert low < -4 < high


def test_free_energy_has_a_panel_for_each_stream_where_the_frame_names_streams():
    frame = pd.concat([curves().assign(stream=stream) for stream in ("total", "rgb", "flow")])
    assert len(figures.free_energy_curves(frame).axes) == 6


def test_values_in_percent_are_refused_where_shares_are_asked_for():
    with pytest.raises(BadParameter, match="must be a share"):
        figures.learning_curves(curves().assign(value=52.0))


def test_a_missing_column_is_named():
    with pytest.raises(ShapeError, match="lacks the column seed"):
        figures.learning_curves(curves().drop(columns="seed"))


def test_a_paired_difference_is_filled_by_its_verdict_or_where_it_has_none_by_its_interval():
    frame = pd.DataFrame({
        "dataset": "a", "n_shot": 1, "comparison": ["AMFIR − x", "AMFIR − y"], "difference": [0.05, 0.01],
        "half_width": [0.02, 0.02],
    })  # fmt: skip
    judged = frame.assign(verdict=["undecided", "better"])
    for one, expected in ((frame, ["black", "white"]), (judged, ["white", "black"])):
        axes = figures.paired_differences(one).axes[0]
        points = [line for line in axes.lines if line.get_marker() == "o"]
        assert [point.get_markerfacecolor() for point in points] == expected


def test_a_difference_without_interval_is_a_cross_that_is_explained():
    frame = pd.DataFrame({
        "dataset": "a", "n_shot": [1, 5], "comparison": "AMFIR − x", "difference": 0.05, "half_width": [np.nan, 0.02],
    })  # fmt: skip
    without, with_one = figures.paired_differences(frame).axes
    assert any(line.get_marker() == "x" for line in without.lines)
    assert without.get_title(loc="right") == "×: no interval" and not with_one.get_title(loc="right")


def test_accuracies_without_interval_are_drawn_without_one():
    frame = pd.DataFrame({
        "dataset": "a", "n_shot": [1, 5], "method": "amfir", "accuracy": [0.5, 0.7], "half_width": [np.nan, np.nan],
    })  # fmt: skip
    heights = [bar.get_height() for bar in figures.accuracy_bars(frame).axes[0].patches]
    np.testing.assert_allclose(heights, [50, 70])


def test_degradation_costs_name_the_stream_that_each_kind_is_meant_for():
    frame = pd.DataFrame({
        "dataset": "a", "label": ["rgb", "rgb"], "kind": ["false_colour"] * 2, "stream": ["rgb", "flow"],
        "cost": [0.2, 0.01], "half_width": [0.05, np.nan],
    })  # fmt: skip
    assert "false colour\n(meant for RGB)" in texts(figures.degradation_costs(frame))


def test_pretraining_curves_have_a_panel_for_each_measure():
    history = pd.DataFrame({
        "modality": ["rgb", "rgb", "flow"], "epoch": [1, 2, 1], "scene_accuracy": [0.1, 0.2, np.nan],
        "action_accuracy": [np.nan, np.nan, 0.3], "loss": [2.0, 1.0, 3.0],
    })  # fmt: skip
    titles = [axes.get_title(loc="left") for axes in figures.pretraining_curves(history).axes]
    assert titles == ["RGB: scene accuracy", "flow: action accuracy"]


@pytest.mark.parametrize(
    ("points", "most", "expected"),
    [
        (range(0, 401, 10), 3, [0, 200, 400]),
        (range(0, 401, 50), 5, [0, 100, 200, 300, 400]),
        (range(0, 151, 10), 5, [0, 50, 100, 150]),
        (range(5, 11), 9, [5, 6, 7, 8, 9, 10]),
        ([0, 7, 37], 2, [0, 37]),
        ([3], 5, [3]),
    ],
)
def test_ticks_are_round_and_reach_the_last_point(points, most, expected):
    assert ticks_to_last(points, most=most) == expected


@given(st.lists(st.integers(0, 2000), min_size=1, unique=True), st.integers(2, 9))
def test_the_last_point_has_a_tick_whatever_the_points(points, most):
    ticks = ticks_to_last(points, most=most)
    assert ticks[0] == min(points) and ticks[-1] == max(points) and len(ticks) <= max(2, most)


def test_lines_over_steps_have_a_tick_at_the_last_step():
    for figure in (figures.learning_curves(curves()), figures.free_energy_curves(curves())):
        assert all(axes.get_xticks()[-1] == 20 for axes in figure.axes)


def test_no_panel_of_a_row_cuts_a_line_of_free_energy():
    deep = curves().assign(value=lambda f: -9 * f["value"], stream="depth")
    frame = pd.concat([curves().assign(stream="total"), deep, curves().assign(stream="flow")])
    for axes in figures.free_energy_curves(frame).axes:
        low, high = axes.get_ylim()
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        assert low < drawn.min() and drawn.max() < high


def test_levels_of_free_energy_are_named_below_the_panels():
    for plateau, n_way, expected in (
        (-4.0, 5, ["uniform posterior, −log 5", "paper (as printed): about −4"]),
        (None, None, []),
    ):
        figure = figures.free_energy_curves(curves(), plateau=plateau, n_way=n_way)
        assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == expected


def test_an_arrow_beside_the_flow_says_what_its_length_means():
    shown = clip(np.random.default_rng(0))
    figure = figures.flow_views(shown["rgb"], shown["flow"], max_displacement=4.4)
    assert any("this long: 4.4 px" in text for text in texts(figure))


def test_colours_of_classes_are_far_from_those_of_modalities():
    def hue(colour):
        return 360 * mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(colour))[0]

    for one in CLASS_COLOURS:
        for modality in ("rgb", "flow", "depth"):
            apart = abs(hue(one) - hue(LOOKS[modality].colour))
            assert min(apart, 360 - apart) > 30


def test_every_method_has_a_look_of_its_own():
    own = [LOOKS[name] for name in METHODS]
    assert len({(look.colour, look.marker) for look in own}) == len(METHODS)


def test_series_and_data_sets_of_the_study_have_looks_that_nothing_else_has():
    names = [*SYNTHETIC_BENCHMARKS, CONTROL, "1/τ = 5, fixed", "1/τ = 20, fixed"]
    assert set(names) <= set(LOOKS)
    others = {(look.colour, look.marker) for name, look in LOOKS.items() if name not in names}
    own = {(LOOKS[name].colour, LOOKS[name].marker) for name in names}
    assert len(own) == len(names) and not own & others


def test_spare_looks_have_colours_that_no_method_has():
    assert not {look.colour for look in SPARE} & {look.colour for look in LOOKS.values()}


def test_chance_is_a_line_where_the_axis_reaches_it_and_words_where_it_does_not():
    frame = pd.DataFrame({"method": ["amfir", "amfar"], "accuracy": [0.5, 0.6], "half_width": 0.05})
    frame = frame.assign(dataset="a", n_shot=1)
    cut = figures.strategy_accuracies(frame, chance=0.2)
    reached = figures.strategy_accuracies(frame, chance=0.5)
    for figure, words, level in ((cut, "axis cut: chance is 20 %", 20), (reached, "grey level: chance, 50 %", 50)):
        assert words in texts(figure)
        drawn = any(list(line.get_ydata()) == [level, level] for line in figure.axes[0].lines)
        assert drawn == (figure is reached)


def test_discs_that_would_hide_each_other_are_moved_apart_and_others_stay():
    points = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]])
    moved = moved_apart(points, least=1.0)
    np.testing.assert_allclose(moved, [[-0.45, 0], [0.55, 0], [5, 5]], atol=1e-9)
    same = moved_apart(np.zeros((3, 2)), least=1.0)
    gaps = [np.hypot(*(same[i] - same[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) > 0.99


def test_an_unknown_series_keeps_its_name_and_takes_no_colour_that_is_in_use():
    found = looks(["amfir", "no_distillation", "something else"])
    assert found["something else"].label == "something else"
    assert len({look.colour for look in found.values()}) == 3


def test_too_many_unknown_series_are_refused_with_a_remedy():
    with pytest.raises(BadParameter, match="Draw fewer series"):
        looks([f"series {i}" for i in range(len(SPARE) + 1)])


@pytest.mark.parametrize("wanted", [[0.0, 1.0, 2.0], [5.0, 5.0, 5.0, 30.0], [0.0, 100.0]])
def test_labels_keep_their_order_and_their_distance(wanted):
    places = spread(wanted, 8.0)
    assert places == sorted(places)
    assert (np.diff(places) >= 8 - 1e-9).all()
    assert np.mean(places) == pytest.approx(np.mean(wanted))


def test_labels_that_are_apart_stay_where_they_are():
    assert spread([0.0, 20.0, 40.0], 8.0) == [0.0, 20.0, 40.0]


def test_a_strip_holds_the_chosen_frames_side_by_side():
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 2, 3, 3), np.uint8)
    image = strip(frames, every=2, gap=1)
    assert image.shape == (2, 7, 3)
    assert image[0, [0, 3, 4], 0].tolist() == [1, 255, 3]


def test_saturation_is_never_below_one_pixel():
    assert saturation_of(np.zeros((2, 8, 8, 2))) == 1.0


def test_flow_of_another_size_than_the_frames_is_refused():
    one = clip(np.random.default_rng(0))
    with pytest.raises(ShapeError, match="differ"):
        figures.flow_views(one["rgb"], one["flow"][:, :8])


def test_the_tour_marks_the_true_class_and_refuses_missing_supports():
    rng = np.random.default_rng(0)
    clips = [clip(rng) for _ in range(3)]
    p = np.array([0.2, 0.7, 0.1])
    page = {
        "class_names": ["one", "two", "three"], "query": clip(rng), "true_class": 1, "notes": {"rgb": "F = −1.5"},
        "posteriors": {"rgb": p, "flow": p, "fused": p},
    }  # fmt: skip
    figure = figures.tour_figure(supports=clips, **page)
    assert {"two\n(true class)", "F = −1.5", "one"} <= set(texts(figure))
    with pytest.raises(ShapeError, match="3 class names need as many supports"):
        figures.tour_figure(supports=clips[:2], **page)


def test_the_same_figure_is_the_same_file(tmp_path):
    """Bytes of the PNG; a PDF may differ between machines, so it is only checked for being there."""
    for name in ("first", "second"):
        png, pdf = write_figure(figures.learning_curves(curves()), tmp_path / name)
        assert pdf.stat().st_size > 0
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_drawing_changes_no_setting_of_matplotlib_for_others():
    before = dict(mpl.rcParams)
    figures.learning_curves(curves())
    assert dict(mpl.rcParams) == before


def test_a_notebook_shows_a_figure_without_pyplot():
    assert figures.learning_curves(curves())._repr_png_().startswith(b"\x89PNG")
