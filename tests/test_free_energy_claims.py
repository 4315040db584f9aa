"""Claims of Figure 2: seeds as replicates, verdicts from intervals over seeds."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from amfir_lib.analysis.claims.claim import FAILS, HOLDS, UNDECIDED
from amfir_lib.analysis.claims.free_energy import free_energy_claims, interval_over_seeds, near_verdict, shapes
from amfir_lib.analysis.studies.free_energy_curve import curves
from amfir_lib.study.statistics import Interval


def result(name, values, *, seed=0, gap=(0.2, 1.0), dataset="toy"):
    steps = np.arange(len(values)) * 10
    values = np.asarray(values) + 0.01 * seed
    validation = pd.DataFrame({"step": steps, "n_shot": 1, "free_energy_rgb": values, "free_energy_flow": values})
    validation = validation.assign(free_energy_gap=np.linspace(*gap, len(values)))
    material = SimpleNamespace(dataset=SimpleNamespace(name=dataset), stores={"rgb": None, "flow": None})
    return SimpleNamespace(run=SimpleNamespace(material=material, seed=seed), validation=validation, name=name)


def named(one):
    return one.name


FALLING = [-1.6, -3.0, -2.2, -3.0, -3.5, -3.8, -3.9, -4.0, -4.0]
RESULTS = [result("AMFIR", FALLING, seed=seed) for seed in range(3)]
RESULTS += [
    result("no distillation", np.array(FALLING) / 2, seed=seed, gap=(0.2, 0.6 + 0.01 * seed)) for seed in range(3)
]


def claims(results):
    rows = free_energy_claims(curves(results, series=named), results, series=named, plateau=-4.0)
    return {row.key: row for row in rows}


def test_a_curve_that_falls_calms_and_settles_near_the_plateau_supports_every_claim():
    found = claims(RESULTS)
    assert {row.verdict for row in found.values()} == {HOLDS}
    assert "toy −3.96" in found["free_energy_plateau"].value
    assert "interval over seeds only" in found["free_energy_falls"].setting
    assert found["free_energy_falls"].basis == "validation episodes"


def test_a_curve_that_rises_and_settles_elsewhere_contradicts_them():
    found = claims([result("AMFIR", FALLING[::-1], seed=seed, gap=(1.0, 0.2)) for seed in range(3)])
    assert found["free_energy_falls"].verdict == FAILS
    assert found["free_energy_plateau"].verdict == FAILS
    assert found["selection_less_uncertain"].verdict == FAILS
    assert "free_energy_by_distillation" not in found


def test_a_gap_that_widens_more_without_distillation_is_not_its_doing():
    without = [result("no distillation", FALLING, seed=seed, gap=(0.2, 2.0 + 0.1 * seed)) for seed in range(3)]
    found = claims([*RESULTS[:3], *without])
    assert found["selection_less_uncertain"].verdict == HOLDS
    assert found["less_uncertain_by_distillation"].verdict == FAILS


def test_one_seed_decides_nothing_but_shows_the_value():
    found = claims([RESULTS[0]])
    assert {row.verdict for row in found.values()} == {UNDECIDED}
    assert "±" not in found["free_energy_falls"].value


def test_shapes_are_one_row_a_seed():
    frame = shapes(curves(RESULTS, series=named), RESULTS, series=named)
    assert len(frame) == 6
    row = frame.iloc[0]
    assert row["settled"] == pytest.approx((-3.9 - 4.0 - 4.0) / 3)
    assert row["gap_start"] == pytest.approx(0.2)


def test_the_interval_over_seeds_is_students():
    found = interval_over_seeds([1.0, 2.0, 4.0])
    expected = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(interval_over_seeds([1.0]).half_width)


def test_near_means_that_the_whole_interval_lies_within_half_a_nat():
    def level(mean, half_width):
        return Interval(mean, half_width, 0.1, 3, np.nan)

    assert near_verdict([level(-4.1, 0.2)], -4.0) == HOLDS
    assert near_verdict([level(-4.1, 0.9)], -4.0) == UNDECIDED
    assert near_verdict([level(-4.1, 0.2), level(-6.0, 0.5)], -4.0) == FAILS
