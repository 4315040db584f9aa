"""Sentences that notebooks generate: short, with the verdicts of the tables, and every number from a table."""

from __future__ import annotations

import pandas as pd

from amfir_lib.analysis.claims import summarise_table1
from amfir_lib.analysis.studies.component_tables import words_of_table2
from amfir_lib.analysis.studies.components import table2_configurations
from amfir_lib.analysis.studies.findings import summarise_comparison
from amfir_lib.analysis.tables import ALL, UNDEGRADED


def test_the_comparison_has_a_verdict_for_each_data_set_and_one_closing_paragraph():
    rows = {"dataset": ["a", "a", "b", "b"], "n_shot": [1, 5, 1, 5], "half_width": 0.01}
    paired = pd.DataFrame(
        rows | {"other": "ProtoNet-LF", "difference": [0.02, 0.03, -0.02, 0.0],
                "verdict": ["better", "better", "worse", "undecided"]}
    )  # fmt: skip
    effects = [paired.assign(comparison=name) for name in ("certainty fusion", "distillation")]
    picks = pd.DataFrame({
        "dataset": ["a", "b"], "n_shot": 1, "method": "AMFIR", "hit_rate_free_energy": [0.6, 0.7],
        "hit_rate_certainty": [0.65, 0.65],
    })  # fmt: skip
    gaps = pd.DataFrame({"dataset": "a", "method": "AMFIR", "stream": ["rgb", "rgb"], "overconfidence": [-0.1, 0.05]})
    first, second, closing = summarise_comparison(paired, pd.concat(effects), picks, gaps).split("\n\n")
    assert "AMFIR beats equal-weight late fusion at 1-shot (+2.0 ± 1.0 points) and 5-shot" in first
    assert "loses to" in second and "is not shown to differ from" in second and "Holm" in second
    assert "distillation helps in 2 and hurts in 1 of 4 cells" in closing
    assert "60.0 to 70.0 %" in closing and "certainty in 65.0 %" in closing and "−10.0 to +5.0 points (RGB)" in closing


def test_table_1_counts_the_columns_and_names_who_wins_without_remarks():
    frame = pd.DataFrame({
        "dataset": ["a", "a", "b", "b"], "n_shot": 1, "method": ["amfir", "amfar"] * 2,
        "best": [True, False, False, True],
        "label": ["AMFIR", "AMFAR (our reading)"] * 2, "bold": [True, False, False, False],
    })  # fmt: skip
    paired = pd.DataFrame({
        "basis": [ALL, ALL, UNDEGRADED], "label": "AMFAR (our reading)", "verdict": ["better", "worse", "undecided"],
    })  # fmt: skip
    text = summarise_table1(frame, paired, [], {"multimodal": {"a": "amfar", "b": "amfar"}})
    assert "highest accuracy in 1 of 2 columns (otherwise AMFAR in 1)" in text and "our reading" not in text
    assert "better in 1 of 2 comparisons and worse in 1 (AMFAR 1)" in text and "multimodal: AMFAR (a, b)" in text


def test_the_names_of_table_2_are_explained_in_the_readings_that_are_shown():
    words = words_of_table2(table2_configurations(("rgb", "flow"), readings=("a", "c")))
    assert words.startswith("RD, FD:") and "(a):" in words and "(c):" in words and "(b):" not in words
