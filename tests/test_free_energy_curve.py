"""Figure 2's numbers: the shape of a curve, and sentences that follow it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from amfir_lib.analysis.studies.free_energy_curve import curves, sentences, summary
from amfir_lib.paper import published, published_plateau


def result(name: str, values: list[float], seed: int = 0):
    """A run whose validation curve is given; flow lies one nat below RGB."""
    steps = np.arange(len(values)) * 10
    validation = pd.DataFrame(
        {"step": steps, "n_shot": 1, "free_energy_rgb": values, "free_energy_flow": np.array(values) - 1.0}
    ).assign(free_energy_gap=1.0)
    material = SimpleNamespace(dataset=SimpleNamespace(name="toy"), stores={"rgb": None, "flow": None})
    return SimpleNamespace(run=SimpleNamespace(material=material, seed=seed), validation=validation, name=name)


def named(one):
    return one.name


RESULTS = [
    result("AMFIR", [-1.5, -3.5, -2.0, -2.5, -3.0, -3.2, -3.4, -3.5, -3.5]),
    result("no distillation", [-1.5, -2.0, -2.2, -2.4, -2.6, -2.8, -3.0, -3.0, -3.0]),
]


def test_the_total_is_the_mean_of_the_modalities():
    frame = curves(RESULTS, series=named).query("series == 'AMFIR' and step == 0").set_index("stream")["value"]
    assert frame["total"] == pytest.approx((frame["rgb"] + frame["flow"]) / 2)


def test_a_curve_settles_at_the_mean_of_its_last_quarter():
    row = summary(curves(RESULTS, series=named), RESULTS, series=named).query("series == 'AMFIR'")
    row = row.set_index("stream").loc["rgb"]
    assert row["start"] == -1.5
    assert row["settled"] == pytest.approx((-3.4 - 3.5 - 3.5) / 3)
    assert row["early_fluctuation"] == pytest.approx((2.0 + 1.5) / 2)
    assert row["late_fluctuation"] == pytest.approx((0.1 + 0.0) / 2)


def test_the_sentences_follow_the_numbers():
    text = sentences(summary(curves(RESULTS, series=named), RESULTS, series=named), plateau=-4.0)
    assert "falls: it starts at −2.00 nats and settles at −3.97; it fluctuates by 1.750 in the first quarter" in text
    assert "it settles at −3.50, higher than with it" in text
    rising = [result("AMFIR", [-3.0, -2.9, -2.8, -2.7, -2.6, -2.5, -2.4, -2.3, -1.0])]
    found = summary(curves(rising, series=named), rising, series=named)
    assert "rises: it starts at −3.50" in sentences(found, plateau=-4.0)


def test_fixed_temperatures_are_compared_at_the_start_and_at_the_end():
    fixed = [result("1/τ = 5, fixed", [-1.0] + [-2.0] * 8), result("1/τ = 20, fixed", [-3.0] + [-2.1] * 8)]
    frame = summary(curves(RESULTS + fixed, series=named), RESULTS + fixed, series=named)
    text = sentences(frame, plateau=-4.0)
    assert "from −1.50 to −2.50 (1/τ = 5, fixed), from −3.50 to −2.60 (1/τ = 20, fixed)" in text
    assert "2.00 nats apart at the start and 0.10 at the end" in text


def test_the_published_plateau_is_the_number_of_the_papers_text():
    assert published_plateau() == -4.0
    assert len(published("table1")) == 96
    with pytest.raises(ValueError, match='did you mean "table1"'):
        published("tabel1")
