"""What numbers in tables are: how each kind is shown, by how much it may differ elsewhere, which column is which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

NONE, YES, NO = "–", "✓", "×"
POINT = 0.01  # one percentage point, as a share


@dataclass(frozen=True)
class Unit:
    """How numbers of one kind are shown, and by how much they may differ on another machine.

    On one machine a study is equal to the last digit.  On another one, floating-point sums differ in their last digits;
    training amplifies that until two runs with one seed differ as two seeds do.  So the yardstick is the spread of the
    training seeds: a mean over n seeds may move by two of its standard errors, 2 sd / sqrt(n), and never less than a
    point.  A number may differ by the largest of ``floor``, ``relative`` |value| and ``errors`` 2 sd / sqrt(n).
    """

    reason: str  # why it may, in words
    floor: float | None = 0.0  # None: it is not compared
    relative: float = 0.0
    errors: float = 0.0
    decimals: int | None = None  # of the number as it is shown; None: as it is
    scale: float = 1.0  # it is shown times this
    signed: bool = False  # a difference, shown with a plus
    machine: bool = False  # it differs from run to run on one machine, too


_SHARE = "one point, or 2 sd / sqrt(n) of the training seeds (of the study's, where the row has none)"
_DIFFERENCE = "one point, or 2 sqrt(2) sd / sqrt(n), with the sd of the training seeds"
_P = "moves by orders of magnitude with its difference, and acts through the verdict alone: not compared"
_SPREAD = "a deviation of a few values is known to about its own size: one point (0.01 nats), or that size"
_QUERY = "one query of one trained network, no mean of many: 0.1, or 25 %"
_MACHINE = "belongs to the machine: not compared"
_NUMBER = "0.001, or 5 %"
UNITS = {
    "key": Unit("names a row: equal"),
    "text": Unit("words: equal"),
    "sentence": Unit("words around numbers of other columns: not compared", None),
    "verdict": Unit("equal; a warning where the numbers of its row are within tolerance and no side is reversed"),
    "count": Unit("a count, fixed by seed and parameters: equal", decimals=0),
    "million": Unit("a count, fixed by the architecture: equal", decimals=2, scale=1e-6),
    "paper": Unit("a printed number: equal", decimals=1, scale=100),
    "paper difference": Unit("a difference of printed numbers: equal", decimals=1, scale=100, signed=True),
    "share": Unit(_SHARE, POINT, errors=1, decimals=1, scale=100),
    "difference": Unit(_DIFFERENCE, POINT, errors=math.sqrt(2), decimals=1, scale=100, signed=True),
    "cost": Unit(_DIFFERENCE, POINT, errors=math.sqrt(2), decimals=1, scale=100),
    "half width": Unit("it follows from a few dozen classes: one point, or 25 %", POINT, 0.25, decimals=1, scale=100),
    "spread": Unit(_SPREAD, POINT, 1, decimals=1, scale=100),
    "nats spread": Unit(_SPREAD, POINT, 1, decimals=3),
    "nats": Unit("0.1 nats, or 5 %", 0.1, 0.05, decimals=2),
    "nats difference": Unit("0.1 nats, or 5 %", 0.1, 0.05, decimals=2, signed=True),
    "p": Unit(_P, None, decimals=3),
    "step": Unit("the last digits decide between equally good validations: not compared", None, decimals=0),
    "query": Unit(_QUERY, 0.1, 0.25, decimals=2),
    "px": Unit(_NUMBER, 0.001, 0.05, decimals=2),
    "number": Unit(_NUMBER, 0.001, 0.05, decimals=2),
    "seconds": Unit(_MACHINE, None, decimals=1, machine=True),
    "ms": Unit(_MACHINE, None, decimals=3, machine=True),
    "MB": Unit(_MACHINE, None, decimals=2, machine=True),
    "machine": Unit(_MACHINE, None, machine=True),
}

# What every column of every table is: one line per unit.  Words that are not here are text; numbers must be here, or in
# the ``units`` of their table.
_COLUMNS = {
    "key": """
        dataset n_way n_shot n_left fold method key label heading stream modality series line measure basis other
        comparison kind family severity level side condition swept queries clips_with split true_class taken_for
        score calibration what reading choice bin change target claim setting id option notebook row configuration
        """,
    "sentence": "value measured effect",
    "verdict": "verdict overall met best bold right holds spared_verdict earned",
    "count": """
        n_seeds n_classes n_episodes n_queries n_clips n_folds n_runs n_changed classes clips groups steps episodes
        parameters index
        """,
    "million": "multiply_adds support_multiply_adds backbone_multiply_adds",
    "paper": "paper",
    "share": """
        accuracy accuracy_undegraded alone_accuracy certainty calibration_error auroc auroc_certainty auroc_free_energy
        auroc_right auroc_undegraded degraded_auroc_certainty degraded_auroc_free_energy hit_rate hit_rate_certainty
        hit_rate_free_energy hit_rate_right hit_rate_undegraded decidable_share first_group_share group_share
        right_share share rate mutual_rate weight baseline variant beyond_bound
        calibration_error_rgb calibration_error_flow calibration_error_depth
        """,
    "difference": "difference cost_difference gain group_gain weight_gain overconfidence",
    "cost": "cost own_cost other_cost first_cost second_cost",
    "half width": """
        half_width conventional_half_width half_width_undegraded alone_accuracy_half_width cost_half_width
        cost_difference_half_width own_half_width other_half_width first_cost_half_width second_cost_half_width
        gain_half_width group_gain_half_width group_share_half_width right_share_half_width weight_half_width
        weight_gain_half_width
        """,
    "spread": "seed_sd",
    "nats spread": "early_fluctuation late_fluctuation settled_sd",
    "nats": "free_energy start settled gap_start gap_settled",
    "p": "p_value p_holm",
    "step": "selected_step selected_step_last",
    "px": "median_px p95_px",
    "seconds": "training_seconds",
    "ms": "step_ms head_ms reading_ms query_ms",
    "MB": "memory_mb",
    "machine": "device",
}
COLUMNS = {name: unit for unit, names in _COLUMNS.items() for name in names.split()}


def text_of(value: Any, unit: Unit | str, decimals: int | None = None) -> str:
    """A value in its unit: ``52.4``, ``+2.1``, ``−1.97``, ``6,401``; an en dash for what does not exist."""
    unit = UNITS[unit] if isinstance(unit, str) else unit
    decimals = unit.decimals if decimals is None else decimals
    if value is None or value != value:
        return NONE
    if isinstance(value, bool | np.bool_):
        return YES if value else NO
    if isinstance(value, str) or not isinstance(value, int | float | np.number):
        return str(value)
    if decimals is None:
        return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    value = round(unit.scale * value, decimals) + 0.0  # + 0.0: what rounds to zero has no sign
    return f"{value:{'+' if unit.signed and value else ''},.{decimals}f}".replace("-", "−")
