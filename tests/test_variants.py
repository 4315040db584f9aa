"""The difference of a variant to its baseline: paired on the same episodes, or refused with a reason."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from toy_tables import QUICK, toy_material

from amfir_lib.analysis import variants
from amfir_lib.analysis.answers import collect_answers
from amfir_lib.analysis.contrasts import contrast
from amfir_lib.analysis.training import run_facts
from amfir_lib.exports import write_table
from amfir_lib.storage import write_json
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Series, name_of, run_all

CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=30)
OPTIONS = {"width": 4}


class Notebooks:
    """Baseline and variant of one notebook with toy runs, each with the record that the runner would find."""

    def __init__(self, folder) -> None:
        self.cache, self.baseline = folder / "cache", folder / "study"
        self.variant = self.baseline / "variants" / "x"
        self.material = toy_material(folder / "stores")

    def run(self, place, kd_lambda: float, *, cells=(CELL,), training=QUICK, options=OPTIONS):
        series = [
            Series("AMFIR", "amfir", OPTIONS | options | {"kd_lambda": kd_lambda}),
            Series("ProtoNet", "protonet", OPTIONS),
        ]
        runs = [run for one in series for run in one.runs(self.material, training, (0, 1))]
        results = run_all(runs, cells, cache_dir=self.cache)
        facts = run_facts(results, series=name_of(series))
        write_json(place / "records" / "02_training.json", {"numbers": {"runs": facts}, "seconds": 1.0})

    def compare(self, **variant):
        """What the comparison gives for a variant that was run so."""
        self.run(self.baseline, 1.0)
        self.run(self.variant, **{"kd_lambda": 0.0} | variant)
        return variants.compare(self.baseline, self.variant, self.cache, notebooks=["02_training"])


def test_a_series_without_another_accuracy_in_any_episode_is_named_and_has_no_row(tmp_path):
    notebooks = Notebooks(tmp_path)
    off = {"kd_strategy": "none"}  # so that the weight of distillation changes the run's key and no answer
    for place, weight in ((notebooks.baseline, 1.0), (notebooks.variant, 0.5)):
        notebooks.run(place, weight, options=off)
    data, remarks = variants.compare(notebooks.baseline, notebooks.variant, notebooks.cache, notebooks=["02_training"])
    assert data.empty
    assert any("no episode has another accuracy than in the baseline with AMFIR" in remark for remark in remarks)


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    return Notebooks(tmp_path_factory.mktemp("variants"))


def test_the_difference_equals_the_contrast_of_one_run_that_holds_both(notebooks, tmp_path):
    data, remarks = notebooks.compare()
    (row,) = data.to_dict("records")
    both = [Series("before", "amfir", OPTIONS), Series("after", "amfir", OPTIONS | {"kd_lambda": 0.0})]
    runs = [run for one in both for run in one.runs(notebooks.material, QUICK, (0, 1))]
    results = run_all(runs, [CELL], cache_dir=notebooks.cache)
    names = ["difference", "half_width", "p_value", "p_holm", "verdict", "n_classes", "n_shot", "n_episodes"]
    pd.testing.assert_frame_equal(data[names], contrast(collect_answers(results, name_of(both)), "after")[names])
    assert row["series"] == "AMFIR" and row["variant"] - row["baseline"] == pytest.approx(row["difference"])
    text = " ".join(remarks)
    assert "02_training: the runs differ in kd_lambda 1.0 -> 0.0." in text
    assert "the parameter does not reach ProtoNet: these are the baseline's own runs." in text
    _, markdown, _ = write_table(variants.difference_table(data, "kd_lambda=0.0"), tmp_path / variants.TABLE)
    assert "Variant kd_lambda=0.0 minus baseline on identical test episodes" in markdown.read_text()


def test_other_episodes_are_not_paired(notebooks):
    data, remarks = notebooks.compare(cells=(replace(CELL, n_way=4),))
    assert data.empty
    assert "AMFIR (toy), ProtoNet (toy) met other test episodes than the baseline" in " ".join(remarks)


def test_another_number_of_training_steps_reaches_every_trained_method(notebooks):
    data, remarks = notebooks.compare(kd_lambda=1.0, training=replace(QUICK, steps=2))
    assert list(data["series"]) == ["AMFIR", "ProtoNet"]
    assert f"steps {QUICK.steps} -> 2" in " ".join(remarks)


def test_a_baseline_that_lacks_its_record_or_its_runs_names_the_command_that_makes_them(notebooks, tmp_path):
    notebooks.compare()
    data, remarks = variants.compare(tmp_path, notebooks.variant, notebooks.cache, notebooks=["02_training"])
    assert data.empty
    assert "02_training has no baseline yet. Make it with the same command without -p" in remarks[0]
    data, remarks = variants.compare(notebooks.baseline, notebooks.variant, tmp_path, notebooks=["02_training"])
    assert data.empty
    assert "the cache does not hold the runs of the baseline. Compute them with" in remarks[0]


def test_a_notebook_without_tests_has_nothing_to_pair(tmp_path):
    for place in (tmp_path / "a", tmp_path / "b"):
        write_json(place / "records" / "01_data.json", {"numbers": {}})
    data, remarks = variants.compare(tmp_path / "a", tmp_path / "b", tmp_path, notebooks=["01_data"])
    assert data.empty and remarks == ["01_data measures no test accuracy; compare its tables with the baseline's."]
