"""The list of open choices, their runs, tables and figure.  Exact: every run computes with one thread."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from toy_tables import QUICK, toy_material

from amfir_lib.analysis.decisions import DECISIONS, decisions_table
from amfir_lib.analysis.open_choices import choice_runs, choices
from amfir_lib.analysis.open_choices.choice_data import changed_data
from amfir_lib.analysis.open_choices.choice_findings import choice_sentences, decision_effects, score_sentences
from amfir_lib.analysis.open_choices.choice_runs import choice_of, measure
from amfir_lib.analysis.open_choices.choice_scores import score_cells
from amfir_lib.analysis.open_choices.choice_tables import choices_frame, pooled_frame, shown_choices, shown_pooled
from amfir_lib.analysis.open_choices.choices import CHOICES, DEFAULT, SECTIONS, Choice, change_of, chosen
from amfir_lib.analysis.open_choices.picks import own_score, picks, pooled_picks
from amfir_lib.analysis.open_choices.retest import Retest, retest_all
from amfir_lib.analysis.open_choices.score_comparison import scores_frame
from amfir_lib.analysis.tables import run_facts
from amfir_lib.errors import BadParameter, UnknownName, UnknownParameter
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.runs import TestCell, load_method

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
    patch.setattr(choice_runs, "prepare_all", lambda config, name, backbone: [material])
    patch.setattr(choice_runs, "test_cells", lambda config, material: list(CELLS))
    patch.setattr(choice_runs, "training_of", lambda config, material: QUICK)
    config = SimpleNamespace(
        datasets=("toy",), seeds=(0, 1, 2), cache_dir=tmp_path_factory.mktemp("cache"), jobs=1, device="cpu"
    )
    yield config
    patch.undo()


@pytest.fixture(scope="module")
def measured(place):
    return measure(place, LIST)


def test_keys_and_titles_are_unique_and_every_choice_questions_a_decision():
    assert len({one.key for one in CHOICES}) == len({one.title for one in CHOICES}) == len(CHOICES)
    assert all(one.decisions for one in CHOICES), [one.key for one in CHOICES if not one.decisions]


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


def test_what_is_changed_is_told_with_its_default():
    assert change_of(chosen(["cosine"])[0]) == ("metric = euclidean", "metric = cosine")
    assert change_of(chosen(["kd_scope_all"])[0]) == ("kd_scope = group", "kd_scope = all")
    changed = change_of(chosen(["flow_algorithm"])[0], {"flow_algorithm": ("farneback", "dis")})
    assert changed == ("flow_algorithm = farneback", "flow_algorithm = dis")


def test_every_choice_is_measured_with_the_default_on_the_same_cells(measured):
    assert list(dict.fromkeys(map(choice_of, measured.results))) == [DEFAULT, *(one.key for one in LIST)]
    assert measured.seeds == (0, 1)
    assert all(set(result.tests) == set(CELLS) for result in measured.results)


def test_a_line_more_in_the_list_is_a_row_more_in_table_and_figure(measured):
    frame, pooled = choices_frame(measured, LIST), pooled_frame(measured, LIST)
    assert set(frame["choice"]) == {DEFAULT, *(one.key for one in LIST)}
    assert NEW.title in shown_choices(frame, pooled, caption="c").shown["choice"].tolist()
    assert NEW.title in set(pooled["title"])


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


def test_a_retest_is_found_in_the_cache(measured):
    one = Retest(measured.defaults[0], NEW.options)
    before = one.path(ONE).stat().st_mtime_ns
    retest_all([one], CELLS)
    assert one.path(ONE).stat().st_mtime_ns == before


def test_what_training_depends_on_cannot_be_retested(measured):
    with pytest.raises(BadParameter, match="acts in training too"):
        Retest(measured.defaults[0], {"margin": 0.1})


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
    (own,) = (r for r in measured.results if choice_of(r) == "matched_shots" and r.run.seed == 0)
    assert own.run.training.shots == (1,)
    assert own.record["seconds"] > 0
    folders = list((place.cache_dir / "runs" / "toy").glob("amfir-0-*/record.json"))
    assert len(folders) == 6  # the default, certainty, calibrated groups, raw features, and one for each of two shots


def test_the_record_names_every_training_once_and_no_test_that_it_is_not_kept_for(measured):
    facts = run_facts(measured.trained, series=choice_of)
    assert len({fact["key"] for fact in facts}) == len(facts) == 12
    own = {fact["series"]: fact["tests"] for fact in facts if fact["series"].startswith("matched")}
    assert own == {"matched_shots_1": [CELLS[0].name], "matched_shots_2": [CELLS[1].name]}
    assert not {fact["series"] for fact in facts} & {NEW.key, "calibrated_test"}


def test_raw_features_are_read_as_they_are(place):
    material = choice_runs.prepare_all(place, "toy", backbone="auto")[0]
    (changed,), resolved = changed_data(place, [material], {"whiten": False})
    assert not changed.whiten and resolved == {"whiten": (True, False)}
    with pytest.raises(UnknownName, match="whiten"):
        changed_data(place, [material], {"whitened": False})


def test_sentences_and_effects_name_what_is_in_the_tables(measured):
    pooled = pooled_frame(measured, LIST)
    assert f"Of {len(LIST)} choices" in choice_sentences(pooled)
    effects = decision_effects(pooled, LIST)
    assert effects["D3", "ami_power"].startswith("weights cubed ")
    table = decisions_table(effects).set_index(["id", "option"])
    assert table.loc[("D3", "ami_power"), "effect"] == effects["D3", "ami_power"]
    assert table.loc[("C5", "–"), "effect"] == "–"
    assert "effect" not in decisions_table()


def test_the_pooled_table_is_shown_in_points_and_kept_in_shares(measured):
    pooled = pooled_frame(measured, LIST)
    table = shown_pooled(pooled, caption="c")
    assert table.data is pooled
    for share, shown in zip(pooled["difference"], table.shown["difference"], strict=True):
        assert float(shown.split(" ± ")[0].replace("−", "-")) == pytest.approx(100 * share, abs=0.051)


def test_verdicts_are_told_apart():
    pooled = pd.DataFrame(
        {
            "title": ["a", "b", "c"], "difference": [0.02, -0.03, 0.001], "half_width": [0.01, 0.01, 0.02],
            "verdict": ["better", "worse", "undecided"],
        }
    )  # fmt: skip
    text = choice_sentences(pooled)
    assert "1 above the default: a (+2.0 ± 1.0)" in text and "1 below it: b (−3.0 ± 1.0)" in text
    assert "± 2.0 points" in text


def test_scores_on_validation_and_test_classes_become_a_paragraph_and_a_figure(measured):
    validation, test = score_cells(measured, split="val"), score_cells(measured, split="test")
    assert {cell.cell.split for cell in validation} == {"val"} and {cell.cell.split for cell in test} == {"test"}
    assert "free energy picks it in" in score_sentences(validation, test)
    frame = scores_frame(validation, test)
    assert set(frame["split"]) == {"val", "test"}


def test_the_scores_as_learnt_are_those_that_evaluation_keeps(measured):
    (cell,) = (c for c in score_cells(measured, split="test") if c.cell == ONE)
    tests = [result.tests[ONE] for result in measured.defaults]
    expected = pooled_picks([picks(own_score(test), test.correct, None) for test in tests])
    found = cell.picked["right", "all queries"]["centred", "as learnt"]
    assert np.array_equal(found.counted, expected.counted)
    assert found.rate == pytest.approx(expected.rate, abs=0.01)  # another path of float32 sums may turn near ties


def test_sections_hold_every_choice_once():
    assert sum(map(len, SECTIONS.values())) == len(CHOICES)
    assert choices.section_of(NEW) == "further"
