"""Figure 2's numbers and claims: the shape of a curve, with seeds as replicates."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from amfir_lib.analysis.claims import FAILS, HOLDS, UNDECIDED
from amfir_lib.analysis.free_energy import (
    free_energy_claims,
    free_energy_curves,
    interval_over_seeds,
    published_plateau,
    shapes,
    summary,
)

FALLING = [-1.6, -3.0, -2.2, -3.0, -3.5, -3.8, -3.9, -4.0, -4.0]


def result(name, values, *, seed=0, gap=(0.2, 1.0)):
    """A run whose validation curve is given; flow lies one tenth of a nat below RGB."""
    values = np.asarray(values) + 0.01 * seed
    steps, gaps = np.arange(len(values)) * 10, np.linspace(*gap, len(values))
    validation = pd.DataFrame({"step": steps, "n_shot": 1, "free_energy_rgb": values + 0.05})
    validation = validation.assign(free_energy_flow=values - 0.05, free_energy_gap=gaps)
    material = SimpleNamespace(dataset=SimpleNamespace(name="toy"), stores={"rgb": None, "flow": None})
    return SimpleNamespace(run=SimpleNamespace(material=material, seed=seed), validation=validation, name=name)


def named(one):
    return one.name


RESULTS = [result("AMFIR", FALLING, seed=seed) for seed in range(3)] + [
    result("no distillation", np.array(FALLING) / 2, seed=seed, gap=(0.2, 0.6 + 0.01 * seed)) for seed in range(3)
]


def shapes_of(results):
    return shapes(free_energy_curves(results, series=named), results, series=named)


def claims(results):
    rows = free_energy_claims(shapes_of(results), plateau=-4.0, notebook="03")
    return {row["key"]: row for row in rows}


def test_the_total_is_the_mean_of_the_modalities():
    frame = free_energy_curves(RESULTS, series=named).query("series == 'AMFIR' and step == 0 and seed == 0")
    assert frame.set_index("stream")["value"].to_dict() == pytest.approx({"total": -1.6, "rgb": -1.55, "flow": -1.65})


def test_a_curve_settles_at_the_mean_of_its_last_quarter_and_a_summary_averages_the_seeds():
    by_seed = shapes_of(RESULTS)
    assert len(by_seed) == 2 * 3 * 3
    row = by_seed.iloc[0]
    assert (row["start"], row["settled"]) == pytest.approx((-1.6, (-3.9 - 4.0 - 4.0) / 3))
    assert row["early_fluctuation"] == pytest.approx((1.4 + 0.8) / 2)
    assert row["late_fluctuation"] == pytest.approx((0.1 + 0.0) / 2)
    assert (row["gap_start"], row["gap_settled"]) == pytest.approx((0.2, 0.9))
    total = summary(by_seed, RESULTS, series=named).iloc[0]
    assert (total["settled"], total["settled_sd"]) == pytest.approx((row["settled"] + 0.01, 0.01))
    assert total["gap_settled"] == pytest.approx(0.9)
    assert summary(by_seed, RESULTS, series=named).query("stream == 'rgb'")["gap_settled"].isna().all()


def test_a_curve_that_falls_calms_and_settles_near_the_plateau_supports_every_claim():
    found = claims(RESULTS)
    assert len(found) == 6 and {row["verdict"] for row in found.values()} == {HOLDS}
    assert "toy −3.96" in found["free_energy_plateau"]["value"]
    assert "interval over seeds only" in found["free_energy_falls"]["setting"]
    assert found["free_energy_falls"]["basis"] == "validation episodes"


def test_a_curve_that_rises_and_settles_elsewhere_contradicts_them():
    found = claims([result("AMFIR", FALLING[::-1], seed=seed, gap=(1.0, 0.2)) for seed in range(3)])
    for key in ("free_energy_falls", "free_energy_plateau", "selection_less_uncertain"):
        assert found[key]["verdict"] == FAILS
    assert "free_energy_by_distillation" not in found


def test_a_gap_that_widens_more_without_distillation_is_not_its_doing():
    without = [result("no distillation", FALLING, seed=seed, gap=(0.2, 2.0 + 0.1 * seed)) for seed in range(3)]
    found = claims([*RESULTS[:3], *without])
    assert found["selection_less_uncertain"]["verdict"] == HOLDS
    assert found["less_uncertain_by_distillation"]["verdict"] == FAILS


def test_one_seed_decides_nothing_but_shows_the_value():
    found = claims([RESULTS[0]])
    assert {row["verdict"] for row in found.values()} == {UNDECIDED}
    assert "toy +2.37 nats" in found["free_energy_falls"]["value"]


def test_the_interval_over_seeds_is_students():
    found = interval_over_seeds([1.0, 2.0, 4.0])
    expected = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert not interval_over_seeds([1.0]).defined


def test_the_published_plateau_is_the_number_of_the_papers_text():
    assert published_plateau() == -4.0
