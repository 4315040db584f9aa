"""Figures: they draw what they are given, look the same everywhere, and refuse what they cannot draw."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist

from amfir_lib import figures
from amfir_lib.analysis.components import CONTROL
from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.exports import write_figure
from amfir_lib.figures.architecture import CLASS_COLOURS, moved_apart
from amfir_lib.figures.clips import saturation_of, some_of, strip
from amfir_lib.figures.lines import spread, ticks_to_last
from amfir_lib.figures.style import LOOKS, ONE_COLUMN, SPARE, TWO_COLUMNS, looks
from amfir_lib.methods import METHODS
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS

STEPS = {"x": "step", "y": "value", "x_label": "training step"}
WAYS = {"x": "n_way", "y": "accuracy", "series": "method", "columns": ["dataset", "n_shot"], "x_label": "ways"}


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


def sweep() -> pd.DataFrame:
    """Two data sets, three numbers of ways, two methods."""
    return pd.DataFrame(
        [
            {"dataset": d, "n_way": n, "n_shot": 1, "method": m, "half_width": 0.02, "accuracy": 0.9 - 0.05 * n + i / 9}
            for d in ("synth-ssv2", "synth-kinetics")
            for n in (5, 6, 10)
            for i, m in enumerate(("AMFAR (our reading)", "AMFIR"))
        ]
    )


def differences(**columns: object) -> pd.DataFrame:
    """One comparison for each value of the columns."""
    frame = {"dataset": "a", "n_shot": 1, "comparison": "AMFIR − x", "difference": 0.05, "half_width": 0.02}
    return pd.DataFrame(frame | columns)


def clip(rng: np.random.Generator, *, n: int = 4, size: int = 16) -> dict[str, np.ndarray]:
    rgb = rng.integers(0, 255, (n, size, size, 3), dtype=np.uint8)
    return {"rgb": rgb, "flow": rng.normal(size=(n, size, size, 2)).astype(np.float32)}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def points(axes, *, face: str = "") -> list[tuple[float, float]]:
    """Where markers stand, of one filling."""
    drawn = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    return [
        tuple(map(float, xy)) for d in drawn if not face or d.get_markerfacecolor() == face for xy in d.get_xydata()
    ]


# lines


def test_lines_draw_the_mean_over_seeds_in_percent_and_their_range():
    axes = figures.lines(curves(), **STEPS).axes[0]
    line = next(line for line in axes.lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(line.get_xydata(), [[0, 25], [10, 35], [20, 45]])
    assert line.get_color() == LOOKS["rgb"].colour
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(20) and band.max() == pytest.approx(50)


def test_a_point_stands_exactly_where_it_was_measured_with_its_interval_as_a_band():
    frame, figure = sweep(), figures.lines(sweep(), **WAYS)
    assert figure.get_size_inches()[0] == TWO_COLUMNS
    for panel, axes in zip(("synth-ssv2", "synth-kinetics"), figure.axes, strict=True):
        part = frame[frame["dataset"] == panel]
        expected = sorted(zip(part["n_way"].astype(float), 100 * part["accuracy"], strict=True))
        np.testing.assert_allclose(sorted(points(axes)), expected)
        for band, (_, of_method) in zip(axes.collections, part.groupby("method"), strict=True):
            heights = band.get_paths()[0].vertices[:, 1]
            assert heights.max() == pytest.approx(100 * (of_method["accuracy"].max() + 0.02))


def test_rows_and_columns_make_the_grid_and_its_words_and_lines_are_named_at_their_ends_or_below():
    frame = pd.concat([curves().assign(stream=stream) for stream in ("total", "rgb", "flow")])
    figure = figures.lines(frame, rows=["dataset"], columns=["stream"], **STEPS, y_label="F (nats)")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mean of both", "RGB", "flow", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["a\nF (nats)", "b\nF (nats)"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["RGB", "flow"]
    beside = figures.lines(curves(("a",)), **STEPS)
    assert not beside.legends and {"RGB", "flow"} <= set(texts(beside)) and beside.get_size_inches()[0] == ONE_COLUMN


def test_levels_lie_within_the_axis_and_are_named():
    figure = figures.lines(curves(), **STEPS, levels={"chance": 0.1, "as the paper says": 0.9})
    low, high = figure.axes[0].get_ylim()
    assert low < 10 and high > 90 and "chance" in texts(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["as the paper says"]


def test_the_papers_values_are_hollow_named_and_only_where_there_is_a_point():
    paper = pd.DataFrame({
        "dataset": "synth-ssv2", "n_way": [5, 5, 8], "n_shot": 1, "accuracy": [0.7, 0.6, 0.5],
        "method": ["amfir", "all others below", "amfir"],
    })  # fmt: skip
    figure = figures.lines(sweep(), **WAYS, paper=paper)
    assert points(figure.axes[0], face="white") == [(5, 70), (5, 60)]  # 8-way is no point of ours
    assert not points(figure.axes[1], face="white")
    names = {"paper (as printed): AMFIR", "paper (as printed): all others below"}
    assert names <= set(texts(figure))


def test_a_lead_is_hollow_by_its_verdict_or_where_it_has_none_by_its_interval():
    frame = differences(n_shot=[1, 2], n_way=5, other="AMFAR", difference=[0.05, 0.01])
    axis = {"x": "n_shot", "y": "difference", "series": "other", "columns": ["dataset", "n_way"], "x_label": "shots"}
    for verdict, expected in (([None, None], 2), (["undecided", "better"], 1)):
        figure = figures.lines(frame.assign(verdict=verdict), **axis)
        assert [x for x, _ in points(figure.axes[0], face="white")] == [expected]
        assert "hollow: no difference shown" in texts(figure)


def test_the_kept_state_is_marked_on_the_line_of_its_series_alone():
    kept = pd.DataFrame([{"dataset": "a", "series": "rgb", "step": 10}])
    figure = figures.lines(curves(), **STEPS, series="dataset", columns=["series"], kept=kept)
    assert points(figure.axes[0]) == [pytest.approx((10, 35))] and not points(figure.axes[1])


def test_every_curve_begins_at_the_clips_as_they_are():
    frame = pd.DataFrame({"kind": ["none", "blur", "noise"], "severity": [0.0, 1, 1], "value": [0.9, 0.5, 0.4]})
    whole = figures.from_start(frame, ["kind"], start="none")
    assert whole.groupby("kind")["value"].apply(list).to_dict() == {"blur": [0.9, 0.5], "noise": [0.9, 0.4]}
    figure = figures.lines(whole.assign(series="amfir"), x="severity", y="value", columns=["kind"], x_label="severity")
    assert points(figure.axes[1]) == [(0, pytest.approx(90)), (1, pytest.approx(40))]


def test_a_logarithmic_axis_has_a_tick_at_each_amount_and_the_name_of_its_panel():
    frame = curves(("a",)).assign(step=lambda f: f["step"] + 6, swept="clips per class")
    axes = figures.lines(frame, x="step", y="value", rows=["dataset"], columns=["swept"], log=True).axes[0]
    assert axes.get_xscale() == "log" and list(axes.get_xticks()) == [6, 16, 26]
    assert axes.get_xlabel() == "clips per class" and axes.get_title(loc="left") == ""


@given(st.lists(st.integers(0, 2000), min_size=1, unique=True), st.integers(2, 9))
def test_ticks_are_equally_far_apart_and_reach_the_last_point(steps, most):
    ticks = ticks_to_last(sorted(steps), most=most)
    assert ticks[0] == min(steps) and ticks[-1] == max(steps) and len(ticks) <= max(2, most)
    gaps = np.diff(np.searchsorted(sorted(steps), ticks))
    assert len(set(gaps.tolist())) <= 1


# forest


def test_a_forest_draws_each_value_with_its_interval_at_its_row():
    frame = differences(comparison=["AMFIR − x", "AMFIR − y"], difference=[0.05, -0.03])
    axes = figures.forest(frame, rows="comparison", label="points").axes[0]
    assert points(axes) == [(5, 0), (-3, 1)]
    intervals = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    np.testing.assert_allclose(intervals[1:], [[3, 7], [-5, -1]])  # the first is the line at zero
    assert [label.get_text() for label in axes.get_yticklabels()] == ["AMFIR − x", "AMFIR − y"]


def test_a_difference_is_filled_by_its_verdict_or_where_it_has_none_by_its_interval():
    frame = differences(comparison=["AMFIR − x", "AMFIR − y"], difference=[0.05, 0.01])
    for one, expected in ((frame, 1), (frame.assign(verdict=["undecided", "better"]), 5)):
        axes = figures.forest(one, rows="comparison").axes[0]
        assert [x for x, _ in points(axes, face="white")] == [expected]


def test_a_difference_without_interval_is_a_cross_that_is_explained():
    frame = differences(n_shot=[1, 5], half_width=[np.nan, 0.02], difference=[0.05, 0.4])
    figure = figures.forest(frame, rows="comparison", columns=["n_shot"], label="points")
    crosses = [any(line.get_marker() == "x" for line in axes.lines) for axes in figure.axes]
    assert crosses == [True, False] and "no interval" in texts(figure)
    assert all(axes.get_xlim()[0] < 0 and axes.get_xlim()[1] > 42 for axes in figure.axes)  # no panel cuts another


def test_differences_are_drawn_once_for_each_basis():
    frame = differences(basis=["all queries", "undegraded queries"], difference=[0.05, 0.01])
    figure = figures.forest(frame, rows="comparison", series="basis")
    assert {"all queries", "undegraded queries"} <= set(texts(figure))
    (first, y_first), (second, y_second) = points(figure.axes[0])
    assert (first, second) == (5, 1) and y_first < 0 < y_second


def test_headings_stand_above_their_rows():
    frame = differences(dataset=["a", "a", "b"], comparison=["x", "y", "x"], difference=[0.01, 0.02, 0.03])
    figure = figures.forest(frame, rows="comparison", group="dataset", columns=["n_shot"], label="points")
    labels = {label.get_text(): label for label in figure.axes[0].get_yticklabels()}
    assert labels["a"].get_fontweight() == labels["b"].get_fontweight() == "bold"
    places = figure.axes[0].get_yticks()  # x and y of a, x of b, then the headings
    assert list(np.argsort(places)) == [3, 0, 1, 4, 2]


def table1(**columns: object) -> pd.DataFrame:
    frame = {
        "dataset": "a", "n_shot": [1, 5, 1, 5], "method": ["amfar", "amfar", "amfir", "amfir"], "heading": "Multimodal",
        "label": ["AMFAR (our reading)"] * 2 + ["AMFIR"] * 2, "accuracy": [0.5, 0.7, 0.6, 0.98], "half_width": 0.05,
        "paper": [np.nan, np.nan, 0.828, 0.923],
    }  # fmt: skip
    return pd.DataFrame(frame | columns)


TABLE1 = {"rows": "label", "value": "accuracy", "group": "heading", "series": "n_shot", "look": "method", "label": "%"}


def test_a_method_keeps_its_colour_and_marker_at_every_number_of_shots():
    figure = figures.forest(table1(), **TABLE1, levels={"chance": 0.2})
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    ours = sorted((d.get_color(), d.get_marker()) for d in drawn if d.get_markerfacecolor() != "white")
    assert ours == sorted(2 * [(LOOKS[name].colour, LOOKS[name].marker) for name in ("amfir", "amfar")])
    assert {"AMFIR", "AMFAR (our reading)", "Multimodal", "1-shot", "5-shot", "chance"} <= set(texts(figure))
    left, right = figure.axes[0].get_xlim()
    assert left < 20 and right == 100  # the level lies within the axis, and no marker at its end is cut
    assert not any(line.get_clip_on() for line in drawn)
    bare = figures.forest(table1(half_width=np.nan), **TABLE1).axes[0]
    assert not any(line.get_marker() == "x" for line in bare.lines)  # without interval each keeps its marker


def test_the_papers_numbers_are_hollow_and_a_doubtful_one_is_marked():
    figure = figures.forest(table1(paper_doubt=["", "", "", "as for another method"]), **TABLE1)
    assert [x for x, _ in points(figure.axes[0], face="white")] == pytest.approx([82.8, 92.3])
    assert texts(figure).count("†") == 1 and "paper (as printed), real data; †: doubtful" in texts(figure)


def test_what_lies_beyond_the_axis_is_an_arrow_with_its_number():
    frame = differences(comparison=["x", "y"], difference=[-0.3, 0.01], verdict=["worse", "undecided"])
    figure = figures.forest(frame, rows="comparison", look="verdict", limit=8)
    assert figure.axes[0].get_xlim() == (-8, 8) and "−30" in texts(figure)
    assert {"worse", "no difference shown"} <= set(texts(figure))


def test_panels_of_several_quantities_have_axes_of_their_own():
    frame = pd.DataFrame({
        "method": ["ProtoNet", "AMFIR"] * 2, "panel": ["accuracy (%)"] * 2 + ["ms"] * 2, "value": [50.0, 60, 1, 100],
        "half_width": [2.0, 3, 0, 0],
    })  # fmt: skip
    figure = figures.forest(
        frame, rows="method", value="value", look="method", columns=["panel"], percent=False, log=["ms"], numbers=".3g"
    )
    assert [axes.get_xlabel() for axes in figure.axes] == ["accuracy (%)", "ms"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log"] and {"50", "100"} <= set(texts(figure))


# both


@pytest.mark.parametrize(
    "draw",
    [
        lambda f: figures.lines(f, **STEPS),
        lambda f: figures.forest(f.assign(half_width=0), rows="series", value="value"),
    ],
)
def test_a_frame_without_rows_or_without_a_column_is_refused(draw):
    with pytest.raises(ShapeError, match="lacks the column value"):
        draw(curves().drop(columns="value"))
    with pytest.raises(ShapeError, match="has no rows"):
        draw(curves()[:0])


def test_colours_of_classes_are_far_from_those_of_modalities():
    def hue(colour):
        return 360 * mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(colour))[0]

    for one in CLASS_COLOURS:
        for modality in ("rgb", "flow", "depth"):
            apart = abs(hue(one) - hue(LOOKS[modality].colour))
            assert min(apart, 360 - apart) > 30


def test_methods_series_and_data_sets_have_looks_that_nothing_else_has():
    names = [*METHODS, *SYNTHETIC_BENCHMARKS, CONTROL, "1/τ = 5, fixed", "1/τ = 20, fixed"]
    assert len({(look.colour, look.marker) for look in looks(names).values()}) == len(names)
    assert all(LOOKS[name].label == spec.title for name, spec in METHODS.items())
    assert looks(["STRM-lite"])["STRM-lite"].colour == LOOKS["strm"].colour


def test_an_unknown_series_keeps_its_name_and_takes_a_colour_that_nothing_has():
    known = looks(["amfir", "no distillation", "something else"])
    assert known["something else"].label == "something else"
    assert not {look.colour for look in SPARE} & {look.colour for look in LOOKS.values()}
    with pytest.raises(BadParameter, match="Draw fewer series"):
        looks([f"series {i}" for i in range(len(SPARE) + 1)])


@pytest.mark.parametrize("wanted", [[0.0, 1.0, 2.0], [5.0, 5.0, 5.0, 30.0], [0.0, 100.0]])
def test_labels_keep_their_order_and_their_distance(wanted):
    places = spread(wanted, 8.0)
    assert (np.diff(places) >= 8 - 1e-9).all()
    assert np.mean(places) == pytest.approx(np.mean(wanted))


def test_the_same_figure_is_the_same_file_and_changes_no_setting_for_others(tmp_path):
    """Bytes of the PNG; a PDF may differ between machines, so it is only checked for being there."""
    before = dict(mpl.rcParams)
    assert figures.lines(curves(), **STEPS)._repr_png_().startswith(b"\x89PNG")  # shown without pyplot
    for name in ("first", "second"):
        png, pdf = write_figure(figures.lines(curves(), **STEPS), tmp_path / name)
        assert pdf.stat().st_size > 0
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert dict(mpl.rcParams) == before


# clips, tour, architecture


def test_an_arrow_beside_the_flow_says_what_its_length_means():
    shown = clip(np.random.default_rng(0))
    figure = figures.flow_views(shown["rgb"], np.full_like(shown["flow"], 3.0))
    assert any("arrow of 4.2 px" in text for text in texts(figure))


def test_a_strip_holds_the_chosen_frames_side_by_side():
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 2, 3, 3), np.uint8)
    assert strip(some_of(frames, 2), gap=1)[0, :, 0].tolist() == [0, 0, 0, 255, 3, 3, 3]
    assert saturation_of(np.zeros((2, 8, 8, 2))) == 1.0  # never below one pixel


def test_clips_stand_in_rows_and_columns_with_words_above_them():
    frames = clip(np.random.default_rng(0))["rgb"]
    marked = figures.clip_grid({"walk": [frames, frames], "run": [frames, None]}, marks=[["", "shake"], ["", ""]])
    assert len(marked.axes) == 3 and {"walk", "run", "shake"} <= set(texts(marked))
    views = {"as it is": [frames, None], "blur": [frames, frames]}
    spoilt = figures.clip_grid(views, heads=["severity 0.5", "severity 1"])
    assert len(spoilt.axes) == 3 and {"as it is", "blur", "severity 1"} <= set(texts(spoilt))


def test_the_tour_marks_the_true_class():
    rng = np.random.default_rng(0)
    clips = [clip(rng) for _ in range(3)]
    p = np.array([0.2, 0.7, 0.1])
    page = {
        "class_names": ["one", "two", "three"], "query": clip(rng), "true_class": 1, "notes": {"rgb": "F = −1.5"},
        "posteriors": {"rgb": p, "flow": p, "fused": p},
    }  # fmt: skip
    figure = figures.tour_figure(supports=clips, **page)
    assert {"two\n(true class)", "F = −1.5", "one"} <= set(texts(figure))


def test_discs_that_would_hide_each_other_are_moved_apart_and_others_stay():
    moved = moved_apart(np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]]), least=1.0)
    np.testing.assert_allclose(moved, [[-0.45, 0], [0.55, 0], [5, 5]], atol=1e-9)
    assert pdist(moved_apart(np.zeros((3, 2)), least=1.0)).min() > 0.99
