"""The list of open choices, their runs, tables and figure.  Exact: every run computes with one thread."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file
from toy_tables import QUICK, toy_material

from amfir_lib import figures
from amfir_lib.analysis import open_choices
from amfir_lib.analysis.calibration import Retest, retest
from amfir_lib.analysis.choices import CHOICES, DEFAULT, SECTIONS, Choice, chosen
from amfir_lib.analysis.decisions import DECISIONS, decisions_table
from amfir_lib.analysis.open_choices import (
    changed_data,
    choice_of,
    choices_frame,
    decision_effects,
    measure,
    pooled_frame,
)
from amfir_lib.analysis.reliability import own_score, picks, pooled_picks
from amfir_lib.analysis.scores import SCORED, hit_rate, score_answers, scores_frame
from amfir_lib.analysis.training import run_facts
from amfir_lib.errors import BadParameter, UnknownName, UnknownParameter
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import load_method

ONE = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=40)
CELLS = (ONE, replace(ONE, n_shot=2))
SMALL = {"width": 4}
NEW = Choice("power_3", "weights cubed", "D3", {"ami_power": 3.0})
LIST = (
    Choice("certainty", "certainty", "A1", {"score": "neg_certainty"}),
    Choice("calibrated_groups", "calibrated", "A6", calibrated="groups"),
    Choice("raw_features", "raw", "B11", data={"whiten": False}),
    NEW,
    Choice("calibrated_test", "calibrated at test", "A6", calibrated="test"),
    Choice("matched_shots", "matched", "E14", training={"shots": "matched"}),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A toy data set whose classes suffice for an interval, with the functions that would read a configuration."""
    material = toy_material(tmp_path_factory.mktemp("stores"))
    patch = pytest.MonkeyPatch()
    patch.setattr(open_choices, "prepare_all", lambda config, name: [material])
    patch.setattr(open_choices, "test_cells", lambda config, material: list(CELLS))
    patch.setattr(open_choices, "training_of", lambda config, material: QUICK)
    config = SimpleNamespace(
        datasets=("toy",),
        seeds=(0, 1, 2),
        cache_dir=(cache := tmp_path_factory.mktemp("cache")),
        jobs=1,
        device="cpu",
        workplace={"cache_dir": cache, "n_jobs": 1, "device": "cpu"},
    )
    yield config
    patch.undo()


@pytest.fixture(scope="module")
def measured(place):
    return measure(place, LIST)


def test_keys_and_titles_are_unique_and_every_choice_questions_a_decision():
    assert len({one.key for one in CHOICES}) == len({one.title for one in CHOICES}) == len(CHOICES)
    assert all(one.decisions for one in CHOICES), [one.key for one in CHOICES if not one.decisions]
    assert sum(map(len, SECTIONS.values())) == len(CHOICES) and NEW.section == "further"


def test_every_alternative_of_a_decision_about_the_score_is_a_choice():
    listed = {one.options.get("score") for one in CHOICES}
    (score,) = (one for one in DECISIONS if one.option == "score")
    assert set(score.alternatives) <= listed


def test_what_acts_at_test_alone_is_not_trained():
    assert {one.key for one in CHOICES if not one.trains} == {
        "ami_free_energy", "ami_equal", "ami_hard", "raw_distances", "power_2", "power_4", "calibrated_test",
    }  # fmt: skip


def test_a_choice_is_refused_where_it_is_wrong():
    with pytest.raises(UnknownParameter, match="did you mean"):
        Choice("x", "x", "A4", {"margn": 0.1})
    with pytest.raises(BadParameter, match="changes nothing"):
        Choice("x", "x", "A4")
    with pytest.raises(UnknownName, match="did you mean"):
        Choice("x", "x", "A6", calibrated="group")
    with pytest.raises(UnknownName, match="entropy"):
        chosen(["entrpy"])
    with pytest.raises(UnknownName, match="whiten"):
        Choice("x", "x", "B11", data={"whitened": False})


def test_what_is_changed_is_told_with_its_default():
    assert tuple(chosen(["cosine"])[0].change().values()) == ("metric = euclidean", "metric = cosine")
    assert tuple(chosen(["kd_scope_all"])[0].change().values()) == ("kd_scope = group", "kd_scope = all")
    changed = chosen(["flow_algorithm"])[0].change({"flow_algorithm": ("farneback", "dis")})
    assert tuple(changed.values()) == ("flow_algorithm = farneback", "flow_algorithm = dis")


def test_every_choice_is_measured_with_the_default_on_the_same_cells(measured):
    assert list(dict.fromkeys(map(choice_of, measured.results))) == [DEFAULT, *(one.key for one in LIST)]
    assert measured.seeds == (0, 1)
    assert {(choice_of(r), cell) for r in measured.results for cell in r.tests} == {
        (key, cell) for key in (DEFAULT, *(one.key for one in LIST)) for cell in CELLS
    }


def test_a_line_more_in_the_list_is_a_row_more_in_tables_and_forest_plot(measured):
    frame, pooled = choices_frame(measured, LIST), pooled_frame(measured, LIST)
    assert set(frame["choice"]) == {DEFAULT, *pooled["choice"]} == {DEFAULT, *(one.key for one in LIST)}
    drawn = figures.forest(pooled.assign(panel="pooled"), rows="title", group="section", columns=["panel"])
    labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert NEW.title in labels and set(pooled["section"]) <= set(labels)
    effects = decision_effects(pooled, LIST)
    assert effects["D3", "ami_power"].startswith("weights cubed ")
    table = decisions_table(effects).set_index(["id", "option"])
    assert table.loc[("D3", "ami_power"), "effect"] == effects["D3", "ami_power"]
    assert table.loc[("C5", "–"), "effect"] == "–"


def test_a_difference_is_that_of_the_accuracies(measured):
    frame = choices_frame(measured, LIST).set_index(["n_shot", "choice"])
    for (n_shot, choice), row in frame.iterrows():
        if choice != DEFAULT:
            expected = row["accuracy"] - frame.loc[(n_shot, DEFAULT), "accuracy"]
            assert row["difference"] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(frame.loc[(1, DEFAULT), "difference"])


def test_a_retest_is_the_trained_weights_with_other_options(measured):
    trained = measured.defaults[0]
    options = dict(trained.run.options) | NEW.options
    other = replace(trained.run, options=options)
    method = load_method(other, load_file(trained.folder / "state.safetensors"))
    table = trained.run.read.table()
    expected = evaluate(method, table, ONE.episodes(table))
    (found,) = (r for r in measured.results if choice_of(r) == NEW.key and r.run.seed == trained.run.seed)
    assert np.array_equal(found.tests[ONE].correct["fused"], expected.correct["fused"])
    assert found.record["seconds"] == 0
    again = Retest(trained, NEW.options, {}, CELLS)
    before = again.key.stat().st_mtime_ns
    retest([again])
    assert again.key.stat().st_mtime_ns == before


def test_calibration_at_test_changes_certainties_by_the_fitted_temperatures(measured):
    before = measured.defaults[0].tests[ONE].certainty["rgb"]
    temperature = measured.temperatures[0]["rgb"][1]
    (after,) = (r for r in measured.results if choice_of(r) == "calibrated_test" and r.run.seed == 0)
    after = after.tests[ONE].certainty["rgb"]
    assert (after.mean() < before.mean()) == (temperature > 1)


def test_groups_are_calibrated_by_one_temperature_a_modality(measured):
    (own,) = (r for r in measured.results if choice_of(r) == "calibrated_groups" and r.run.seed == 0)
    assert own.run.options["score_temperature_first"] == round(measured.temperatures[0]["rgb"][0], 6)
    assert own.run.options["score_temperature_second"] == round(measured.temperatures[0]["flow"][0], 6)


def test_matched_training_takes_each_cell_from_the_run_with_its_shots(place, measured):
    results = [r for r in measured.results if choice_of(r) == "matched_shots" and r.run.seed == 0]
    assert {r.run.training.shots: tuple(r.tests) for r in results} == {(1,): CELLS[:1], (2,): CELLS[1:]}
    folders = list((place.cache_dir / "runs" / "toy").glob("amfir-0-*/record.json"))
    assert len(folders) == 6  # the default, certainty, calibrated groups, raw features, and one for each of two shots


def test_the_record_names_every_training_once_and_no_test_that_it_is_not_kept_for(measured):
    facts = run_facts(measured.trained, series=choice_of)
    assert len({fact["key"] for fact in facts}) == len(facts) == 12
    assert not {fact["series"] for fact in facts} & {NEW.key, "calibrated_test"}


def test_raw_features_are_read_as_they_are(place):
    material = open_choices.prepare_all(place, "toy")[0]
    (changed,), resolved = changed_data(place, [material], {"whiten": False})
    assert not changed.whiten and resolved == {"whiten": (True, False)}


def test_scores_are_compared_on_validation_and_test_classes(measured):
    validation, test = score_answers(measured, split="val"), score_answers(measured, split="test")
    assert {place.cell.split for place in validation} == {"val"} and {place.cell.split for place in test} == {"test"}
    frame = scores_frame(validation, test)
    assert len(frame) == 2 * 2 * 3 * len(SCORED)  # splits, aims, calibrations
    own = frame.set_index(["split", "what", "score", "calibration"]).loc["test", "right", "neg_certainty", "as learnt"]
    assert own["gain"] == 0 and own["gain_half_width"] == 0 and own["half_width"] > 0


def test_the_scores_as_learnt_are_those_that_evaluation_keeps(measured):
    (place,) = (p for p in score_answers(measured, split="test") if p.cell == ONE)
    tests = [result.tests[ONE] for result in measured.defaults]
    expected = pooled_picks([picks(own_score(test), test.correct, None) for test in tests])
    counted = place.by_seed("centred", "as learnt", quantity=("right", "all queries", "counted")).sum(0)
    assert np.array_equal(counted, expected.counted)
    rate = hit_rate([place], ("centred", "as learnt"))
    assert rate.mean == pytest.approx(expected.rate, abs=0.01)  # another path of float32 sums may turn near ties
