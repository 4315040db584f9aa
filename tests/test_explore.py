"""The explorer shows what the library computes, for any query, and follows a change of the clip.

Posteriors that are computed again from the video file agree to 1e-4: features are stored as float16.  Scores of the
session and of the evaluation agree to 1e-5: float32, embedded in batches of different sizes.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from scipy.spatial.distance import pdist
from toy_clips import ToyBackbone, eight_classes, moving_frames

from amfir_lib import distillation, explore, figures, inference
from amfir_lib.data.features import extract_stores
from amfir_lib.data.flow import flow_to_colour
from amfir_lib.data.spoiling import SPOILINGS
from amfir_lib.data.streams import streams
from amfir_lib.errors import BadParameter, UnknownName
from amfir_lib.explore import clips, widgets
from amfir_lib.explore.scene import in_plane_of_prototypes
from amfir_lib.explore.widgets import EpisodeExplorer, WhatIfPanel
from amfir_lib.figures.clips import colour_wheel
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.training import Training

CELL = TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=6)
QUICK = Training(n_way=2, shots=(1,), n_query=1, steps=2, episodes_per_step=1, validate_every=2, n_val_episodes=4)


@pytest.fixture(scope="module")
def backbones():
    return {"rgb": ToyBackbone("rgb"), "flow": ToyBackbone("flow")}


@pytest.fixture(scope="module")
def material(tmp_path_factory, backbones):
    root = tmp_path_factory.mktemp("clips")
    dataset = eight_classes(root, degraded_take=4)
    return Material(dataset, extract_stores(dataset, backbones, cache_dir=root / "cache", flow_size=48))


@pytest.fixture(scope="module")
def results(material, tmp_path_factory):
    """Method -> its trained run."""
    runs = [Run(material, name, training=QUICK) for name in ("amfir", "protonet_lf", "protonet")]
    done = run_all(runs, [], cache_dir=tmp_path_factory.mktemp("cache"))
    return {result.run.method: result for result in done}


@pytest.fixture(scope="module")
def session(results):
    return explore.open_session(results["amfir"], CELL, n_episodes=4)


@pytest.fixture
def what_if(session, backbones):
    return explore.WhatIf(session, backbones, episode=1, query=3)


@pytest.fixture
def study(material):
    return SimpleNamespace(materials=[material], config=SimpleNamespace(seeds=(0, 1)))


def test_a_session_says_what_the_evaluation_says(session, results):
    whole = CELL.episodes(session.table)
    np.testing.assert_array_equal(session.episodes.query, whole.query[:4])
    expected = evaluate(session.method, session.table, session.episodes)
    target = session.episodes.target
    for stream, posterior in session.answers.posterior.items():
        np.testing.assert_array_equal(posterior.argmax(-1) == target, expected.correct[stream])
    for m in ("rgb", "flow"):
        np.testing.assert_allclose(session.answers.free_energy[m], expected.score[m], rtol=1e-5)
        np.testing.assert_allclose(session.answers.certainty[m], expected.certainty[m], rtol=1e-5)
    lower = np.where(expected.score["rgb"] < expected.score["flow"], "rgb", "flow")
    np.testing.assert_array_equal(session.answers.dominant, lower)


def test_weights_are_those_of_the_fusion_and_equal_without_one(session, results):
    c, weight = session.answers.certainty, session.answers.weight
    np.testing.assert_allclose(weight["rgb"], c["rgb"] / (c["rgb"] + c["flow"]), rtol=1e-6)
    late = explore.open_session(results["protonet_lf"], CELL, n_episodes=1)
    assert (late.answers.weight["rgb"] == 0.5).all() and (late.answers.dominant != "").all()
    single = explore.open_session(results["protonet"], CELL, n_episodes=1)
    assert single.answers.weight == {} and (single.answers.dominant == "").all()
    assert "one stream" in explore.query_page(single, episode=0, query=0)


def test_the_tour_takes_the_first_query_on_which_exactly_one_modality_is_right(session, results):
    found = evaluate(session.method, session.table, session.episodes)
    right = {"rgb": np.ones((4, 6), bool), "flow": np.ones((4, 6), bool)}
    right["flow"][2, 3] = False
    found = replace(found, correct=found.correct | right)
    assert explore.choose_query(found, session.episodes) == (2, 3)
    assert explore.choose_query(found, session.episodes, episode=0, query=1) == (0, 1)
    with pytest.raises(BadParameter, match="query is 6, but must be from 0 to 5"):
        explore.choose_query(found, session.episodes, query=6)


def test_takes_of_a_class_end_with_a_degraded_one_and_kinds_begin_with_none(material):
    shown, marks = explore.grid_of_clips(material.dataset, "test", n_classes=2, n_takes=3)
    assert len(shown) == 2 and marks == [["", "", "shake"]] * 2
    assert all(take.shape == (8, explore.SIZE, explore.SIZE, 3) for takes in shown.values() for take in takes)
    assert list(explore.examples_of_kinds(material.dataset, "test")) == ["undegraded", "shake"]


def test_a_clip_is_shown_spoilt_in_every_way_it_has_at_a_level(material):
    views = explore.spoilt_views(material.dataset, 0, (0.5, 1.0))
    assert set(views) == {"as it is", *SPOILINGS} and views["as it is"][1] is None
    assert all((views[kind][0] is not None) == spoiling.graded for kind, spoiling in SPOILINGS.items())
    original, dark = views["as it is"][0], views["darkness"][1]
    assert original.shape == dark.shape == (4, explore.SIZE, explore.SIZE, 3) and dark[:2].mean() < original[:2].mean()


def test_filters_keep_what_they_say(session):
    table = explore.query_table(session)
    assert len(table) == 4 * 6
    wrong = explore.select_queries(table, show="wrong ones", sort="least probable true class first")
    assert not wrong["right"].any() and wrong["p_true"].is_monotonic_increasing
    assert (explore.select_queries(table, show="degraded clips")["degraded"] == "shake").all()
    for row in explore.select_queries(table, show="the modalities disagree").itertuples():
        p = session.answers.of(row.episode, row.query).posterior
        assert p["rgb"].argmax() != p["flow"].argmax()
    for row in explore.select_queries(table, show="free energy and certainty choose differently").itertuples():
        own = session.answers.of(row.episode, row.query)
        assert (own.free_energy["rgb"] < own.free_energy["flow"]) != (own.certainty["rgb"] > own.certainty["flow"])
    assert sum(len(explore.select_queries(table, show=show)) for show in ("wrong ones", "right ones")) == len(table)
    with pytest.raises(UnknownName, match="wrong ones"):
        explore.select_queries(table, show="wrong one")


def test_a_page_shows_numbers_clips_and_decision_of_its_query(session):
    page = explore.query_page(session, episode=2, query=1)
    own, target = session.answers.of(2, 1), session.episodes.target[2, 1]
    said = own.posterior["fused"].argmax()
    assert f'<span class="{"right" if said == target else "wrong"}">' in page
    for values in own.posterior.values():
        assert all(f"{p:.2f}</span>" in page for p in values)
    for values in (own.free_energy, own.certainty, own.weight):
        assert all(f"{value:.2f}".replace("-", "−") in page for value in values.values())
    n_supports = session.episodes.n_way * (session.episodes.n_shot + 2)  # and flow and film strip of the first of each
    assert page.count('src="data:image/webp') == 4 + 2 + n_supports  # three clips, the colour wheel, two film strips
    assert "http" not in page and "<script" not in page


def test_a_playing_clip_keeps_its_frames_and_its_rate():
    frames = moving_frames(np.random.default_rng(0), n_frames=7)
    address = clips.playing(frames, fps=12.5, size=48)
    content = base64.b64decode(address.partition(",")[2])
    assert content[8:12] == b"WEBP" and content.count(b"ANMF") == 7
    place = content.index(b"ANMF") + 8 + 12
    assert int.from_bytes(content[place : place + 3], "little") == 80  # ms a frame


def test_an_unchanged_clip_gives_the_answer_of_the_feature_store(session, what_if):
    inputs = what_if.inputs(explore.Knobs())
    path = session.dataset.clip_path(session.query_row(1, 3))
    expected = streams(path, {"rgb": 16, "flow": 16}, flow_size=48)
    np.testing.assert_array_equal(inputs["rgb"], expected["rgb"])
    np.testing.assert_array_equal(inputs["flow"], expected["flow"])
    now, then = what_if.answer(inputs), session.answers.of(1, 3)
    for stream, posterior in then.posterior.items():
        np.testing.assert_allclose(now.posterior[stream], posterior, atol=1e-4)
    assert now.dominant == then.dominant


@pytest.mark.parametrize("knob", ["darkness", "blur", "shake", "drop"])
def test_each_knob_changes_the_clip_more_the_further_it_is_turned(what_if, knob):
    original = what_if.frames.astype(float)
    away = [np.abs(explore.Knobs(**{knob: level}).spoil(what_if.frames) - original).mean() for level in (0, 0.4, 1)]
    assert away[0] == 0 < away[1] < away[2]


def test_the_table_of_knobs_begins_with_the_clip_as_it_is(session, what_if):
    table = explore.knob_table(what_if)
    assert list(table.data["change"].unique()) == ["as it is", "darkness", "blur", "shake", "drop"]
    target = session.episodes.target[1, 3]
    assert table.data["p_true_fused"][0] == pytest.approx(session.answers.of(1, 3).posterior["fused"][target], abs=1e-4)
    assert {"F RGB", "c flow", "α RGB", "p(true) fused"} <= set(table.shown.columns)


def test_menus_choose_filter_and_reload(session, results, study, monkeypatch):
    late = explore.open_session(results["protonet_lf"], CELL, n_episodes=2)

    def open_other(_, *, dataset, method, seed, n_way, n_shot):
        if n_way > 3:
            raise BadParameter(f"n_way is {n_way}, but there are 3 test classes. Lower it.")
        return {"amfir": session, "protonet_lf": late}[method]

    monkeypatch.setattr(widgets, "open_other", open_other)
    explorer = EpisodeExplorer(session, study, episode=2, query=1)
    assert (explorer.episode, explorer.query) == (2, 1) and "Query 1 of episode 2" in explorer.page.value
    explorer.show.value = "degraded clips"
    assert "shake" in explorer.page.value
    explorer.choose.index = len(explorer.choose.options) - 1
    assert f"Query {explorer.query} of episode {explorer.episode}" in explorer.page.value
    explorer.method.value = "protonet_lf"
    explorer.load.click()
    assert explorer.session is late and explorer.message.value.endswith("of 2 episodes")
    explorer.n_way.value = 9
    explorer.load.click()
    assert "Lower it." in explorer.message.value and explorer.session is late


def test_an_episode_can_be_chosen_and_the_buttons_step_through_its_queries(session, study):
    explorer = EpisodeExplorer(session, study)
    explorer.only.value = 2
    assert len(explorer.choose.options) == 6 and (explorer.episode, explorer.query) == (2, 0)
    explorer.forward.click()
    assert (explorer.episode, explorer.query) == (2, 1) and "Query 1 of episode 2" in explorer.page.value
    for _ in range(9):
        explorer.forward.click()
    assert explorer.query == 5
    explorer.back.click()
    assert explorer.query == 4
    explorer.only.value = -1
    assert len(explorer.choose.options) == 24 and (explorer.episode, explorer.query) == (2, 4)
    explorer.table = explorer.table.assign(degraded="")
    explorer.show.value = "degraded clips"
    assert "No query is left" in explorer.page.value


def test_the_colour_wheel_has_the_colours_of_the_flow_it_explains():
    wheel, right = colour_wheel(3.0, size=33), flow_to_colour(np.full((1, 1, 2), (3.0, 0.0)), max_displacement=3.0)
    assert wheel[16, 32].tolist() == right[0, 0].tolist()
    assert (wheel[0, 0] == 255).all() and (wheel[16, 16] == 255).all()  # outside it, and where nothing moves


def test_figure_1_carries_names_of_the_code_and_numbers_of_its_episode(session, backbones):
    scene = explore.architecture_scene(session, backbones)
    assert scene.supports["rgb"].shape == (3, 2, 112, 112, 3) and scene.queries["flow"].shape == (3, 112, 112, 3)
    n_query, fused = session.episodes.n_query, session.answers.posterior["fused"]
    of_classes = fused.reshape(len(fused), 3, n_query, 3)  # (E, class, query, N)
    for label, posterior in enumerate(scene.posteriors["fused"]):
        assert (of_classes[:, label] == posterior).all(-1).any()
    right = fused.argmax(-1) == session.episodes.target
    assert scene.accuracy == pytest.approx(right.mean()) and scene.n_episodes == len(session.episodes)
    np.testing.assert_allclose(scene.weight["rgb"] + scene.weight["flow"], 1, rtol=1e-6)
    written = " ".join(text.get_text() for text in figures.architecture(scene).findobj(Text))
    for part in (inference.free_energy, inference.reliability_groups, distillation.distillation_loss):
        assert part.__name__ in written
    assert "fusion.fuse_posteriors (Eq. 7)" in written and "ToyBackbone" in written and "ModalityHead" in written
    for values in (*scene.free_energy.values(), *scene.weight.values()):
        assert all(f"{value:.2f}".replace("-", "−") in written for value in values)


def test_the_plane_of_figure_1_keeps_the_distances_between_prototypes():
    vectors = np.random.default_rng(5).normal(size=(8, 40))  # 3 classes of 2 supports, and 2 queries
    shown = in_plane_of_prototypes(vectors, (3, 2))
    prototypes, points = vectors[:6].reshape(3, 2, 40).mean(1), shown[:6].reshape(3, 2, 2).mean(1)
    np.testing.assert_allclose(pdist(points), pdist(prototypes))
    assert np.linalg.norm(shown[6] - shown[7]) < np.linalg.norm(vectors[6] - vectors[7])


@pytest.mark.parametrize("n_wrong", [0, 1, 2, 6])
def test_figure_1_shows_both_groups_and_one_wrong_query_where_it_can(session, backbones, n_wrong):
    """The answers are made up: the first n queries of the last episode are wrong, and nobody dominates elsewhere."""
    target = session.episodes.target
    fused, dominant = np.eye(3)[target], np.full(target.shape, "", dtype=object)
    dominant[-1, ::2], dominant[-1, 1::2] = "rgb", "flow"
    fused[-1, :n_wrong] = np.eye(3)[(target[-1, :n_wrong] + 1) % 3]
    answers = replace(session.answers, posterior=session.answers.posterior | {"fused": fused}, dominant=dominant)
    scene = explore.architecture_scene(replace(session, answers=answers), backbones)
    wrong = [k for k, p in enumerate(scene.posteriors["fused"]) if p.argmax() != k]
    assert set(scene.dominant) == {"rgb", "flow"}
    if n_wrong in (1, 2):
        assert wrong == [0] and scene.rule.endswith("just one is decided wrongly")
    else:
        assert len(wrong) == (3 if n_wrong else 0) and scene.rule == "each modality dominates at least one"


def test_the_maps_of_figure_1_cut_no_point(session, backbones):
    scene = explore.architecture_scene(session, backbones)
    far = {m: points.copy() for m, points in scene.support_points.items()}
    far["rgb"][0, 0] = (50, -50)
    for axes in figures.architecture(replace(scene, support_points=far)).axes:
        for points in (drawn.get_offsets() for drawn in axes.collections):
            assert (points > [axes.get_xlim()[0], axes.get_ylim()[0]]).all()
            assert (points < [axes.get_xlim()[1], axes.get_ylim()[1]]).all()


def test_a_slider_changes_the_page_and_the_button_takes_it_back(what_if):
    panel = WhatIfPanel(what_if)
    before = panel.page.value
    panel.sliders["shake"].value = 0.8
    assert "shake 0.80" in panel.page.value and '<b style="left:' in panel.page.value
    panel.reset.click()
    assert panel.page.value == before and torch.is_grad_enabled()
