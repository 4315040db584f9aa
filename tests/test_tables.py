"""Tables from results: seeds averaged per episode, intervals over classes, verdicts after correction."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from amfir_lib.evaluation import QueryResults
from amfir_lib.experiments import TestCell
from amfir_lib.feature_table import FeatureTable
from amfir_lib.statistics import class_jackknife, paired_difference
from amfir_lib.tables import accuracy_table, calibration_table, paired_table, percent, selection_table, verdict

N_CLASSES, CLIPS = 12, 8
CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=40)
TABLE = FeatureTable(
    {},
    labels=np.repeat(np.arange(N_CLASSES), CLIPS),
    groups=np.arange(N_CLASSES * CLIPS),
    splits=np.full(N_CLASSES * CLIPS, "test"),
    class_names=[str(number) for number in range(N_CLASSES)],
    degraded=np.tile(["rgb", "flow"], N_CLASSES * CLIPS // 2),
)
EPISODES = CELL.episodes(TABLE)


def result(method: str, seed: int, accuracy: float, stream: int = 0):
    """A run as far as tables read it: every query right with a given probability."""
    rng = np.random.default_rng([seed, stream])
    shape = EPISODES.query.reshape(len(EPISODES), -1).shape
    correct = {name: rng.random(shape) < accuracy for name in ("fused", "rgb", "flow")}
    values = {name: rng.random(shape) for name in ("rgb", "flow")}
    tests = {CELL: QueryResults(correct, {}, values, values, values)}
    material = SimpleNamespace(dataset=SimpleNamespace(name="toy"), layout=lambda: TABLE)
    run = SimpleNamespace(material=material, method=method, seed=seed)
    return SimpleNamespace(run=run, tests=tests, record={})


RESULTS = [result("amfir", seed, 0.9, 1) for seed in range(3)] + [result("protonet", seed, 0.5, 2) for seed in range(3)]


def test_an_accuracy_averages_the_seeds_of_each_episode_before_its_interval():
    table = accuracy_table(RESULTS).set_index("method")
    mean = np.mean([one.tests[CELL].accuracy for one in RESULTS[:3]], axis=0)
    expected = class_jackknife(mean, EPISODES.classes)
    row = table.loc["AMFIR"]
    assert row["accuracy"] == pytest.approx(expected.mean)
    assert row["half_width"] == pytest.approx(expected.half_width)
    assert (row["n_seeds"], row["n_classes"], row["n_episodes"]) == (3, N_CLASSES, 40)


def test_a_paired_difference_is_taken_on_identical_episodes():
    row = paired_table(RESULTS, "AMFIR").iloc[0]
    means = [np.mean([one.tests[CELL].accuracy for one in part], axis=0) for part in (RESULTS[:3], RESULTS[3:])]
    expected = paired_difference(*means, EPISODES.classes)
    assert row["difference"] == pytest.approx(expected.mean)
    assert row["half_width"] == pytest.approx(expected.half_width)
    assert row["verdict"] == "better"


def test_the_correction_counts_every_comparison_of_one_data_set_and_shot():
    others = [result("protonet_f", seed, 0.88, 3) for seed in range(3)]
    alone, both = paired_table(RESULTS, "AMFIR"), paired_table(RESULTS + others, "AMFIR")
    p = both.set_index("other").loc["ProtoNet", "p_holm"]
    assert p >= alone.loc[0, "p_holm"]
    assert len(both) == 2


def test_too_few_classes_for_a_jackknife_leave_the_interval_open():
    cell = TestCell(n_way=11, n_shot=1, n_query=1, n_episodes=5)
    rng = np.random.default_rng(0)
    tests = {cell: QueryResults({"fused": rng.random((5, 11)) < 0.5}, {}, {}, {}, {})}
    one = SimpleNamespace(run=RESULTS[0].run, tests=tests, record={})
    row = accuracy_table([one]).iloc[0]
    assert np.isnan(row["half_width"]) and np.isfinite(row["accuracy"])


def test_a_verdict_needs_a_small_p_value_and_a_sign():
    assert verdict(0.02, 0.01) == "better"
    assert verdict(-0.02, 0.01) == "worse"
    assert verdict(0.02, 0.2) == "undecided"
    assert verdict(0.02, float("nan")) == "undecided"


def test_overconfidence_is_mean_certainty_minus_accuracy():
    row = calibration_table(RESULTS).set_index(["method", "stream"]).loc[("AMFIR", "rgb")]
    tests = [one.tests[CELL] for one in RESULTS[:3]]
    expected = np.mean([t.certainty["rgb"].mean() - t.correct["rgb"].mean() for t in tests])
    assert row["overconfidence"] == pytest.approx(expected)
    assert 0 <= row["calibration_error"] <= 1


def test_selection_averages_the_seeds():
    table = selection_table(RESULTS)
    assert list(table["method"]) == ["AMFIR", "ProtoNet"]
    assert table["hit_rate_free_energy"].between(0, 1).all()


def test_percentages_show_what_does_not_exist_as_a_dash():
    assert percent(0.5241, 0.019) == "52.4 ± 1.9"
    assert percent(0.021, 0.008, signed=True) == "+2.1 ± 0.8"
    assert percent(-0.021, 0.008, signed=True) == "−2.1 ± 0.8"
    assert percent(-0.0002, signed=True) == "0.0"
    assert percent(0.5, float("nan")) == "50.0"
    assert percent(float("nan")) == "–"
    assert isinstance(pd.Series([percent(0.1)]).iloc[0], str)
