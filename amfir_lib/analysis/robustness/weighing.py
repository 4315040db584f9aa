"""Does the weight move to the modality that is less disturbed?

Which modality that is is measured by two networks that know nothing of each other or of AMFIR: the same head on each
modality alone.  The one that loses less accuracy under a condition is the healthy one, if the interval of the
difference of the losses excludes zero.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.robustness.conditions import CLEAN
from amfir_lib.analysis.robustness.estimates import Estimate, estimate
from amfir_lib.analysis.robustness.outcomes import DECIDABLE, FIRST_RIGHT, GROUP, WEIGHT, Outcomes
from amfir_lib.analysis.robustness.tables import OWN, cells_of, where_of
from amfir_lib.analysis.tables import percent
from amfir_lib.exports import Table
from amfir_lib.study.evaluation import FUSED

NEITHER = ""


def weights_frame(outcomes: Sequence[Outcomes], *, method: str = OWN) -> pd.DataFrame:
    """Weight and group share of the first modality in every condition, and which modality is healthy.

    Args:
        outcomes: cells in which the method and both single modalities were asked.
        method: one that weighs modalities.
    Returns:
        One row per data set, shots (0: their mean) and condition: where, ``first`` and ``second`` (modalities),
        ``weight, group_share, right_share`` (of the first among queries on which exactly one modality is right), each
        with ``_half_width``; ``first_cost, second_cost`` of the single modalities; ``spared_verdict`` (the healthy
        one, or empty); ``weight_gain`` (change of its weight) and ``group_gain``, with half widths, NaN where neither
        is healthy.
    """
    (one_method, first), (other_method, second) = outcomes[0].singles.items()
    rows = []
    for where, part in cells_of(outcomes):
        for condition in part[0].conditions:
            row = where | where_of(condition) | {"first": first, "second": second}
            for name, quantity in (("weight", WEIGHT), ("group_share", GROUP)):
                row |= estimate(part, lambda one, q=quantity, c=condition: one.of(method, c, q)).columns(name)
            row |= estimate(part, lambda one, c=condition: _right_share(one, method, c)).columns("right_share")
            for name, single in (("first_cost", one_method), ("second_cost", other_method)):
                row |= estimate(part, lambda one, s=single, c=condition: one.of(s) - one.of(s, c)).columns(name)
            side = healthy_side(part, condition, one_method, other_method)
            row["spared_verdict"] = {1: first, -1: second, 0: NEITHER}[side]
            for name, quantity in (("weight_gain", WEIGHT), ("group_gain", GROUP)):
                found = estimate(part, lambda one, q=quantity, c=condition, s=side: moved(one, method, c, q, s))
                row |= (found if side else Estimate(np.nan, None)).columns(name)
            rows.append(row)
    return pd.DataFrame(rows)


def healthy_side(part: Sequence[Outcomes], condition: Hashable, one_method: str, other_method: str) -> int:
    """1 where the first modality loses less, -1 where the second does, 0 where the interval includes both."""
    gap = estimate(part, lambda one: _loss(one, other_method, condition) - _loss(one, one_method, condition))
    return int(np.sign(gap.mean)) if abs(gap.mean) > gap.half_width else 0  # NaN compares as False: 0


def moved(one: Outcomes, method: str, condition: Hashable, quantity: str, side: int) -> np.ndarray:
    """(E,) by how much the share of the healthy modality grows."""
    return side * (one.of(method, condition, quantity) - one.of(method, CLEAN, quantity))


def counted_moves(changes: pd.DataFrame) -> str:
    """How often the weight of the less disturbed modality grows and shrinks, by sign and beyond the interval.

    Args:
        changes: columns ``weight_gain, weight_gain_half_width``, a row a data set and kind that spares one modality.
    """
    texts = []
    for word, sign in (("grows", 1), ("shrinks", -1)):
        gain = sign * changes["weight_gain"]
        beyond = (gain > changes["weight_gain_half_width"]).sum()
        texts.append(f"{word} in {(gain > 0).sum()} of {len(changes)} cases (beyond its interval in {beyond})")
    return f"the weight of the less disturbed modality {' and '.join(texts)}"


def _loss(one: Outcomes, method: str, condition: Hashable) -> np.ndarray:
    return one.of(method, CLEAN, FUSED) - one.of(method, condition, FUSED)


def _right_share(one: Outcomes, method: str, condition: Hashable) -> tuple[np.ndarray, np.ndarray]:
    """Share of the first modality among decidable queries of each episode, and how many these are."""
    decidable, right = (one.of(method, condition, quantity) for quantity in (DECIDABLE, FIRST_RIGHT))
    return np.divide(right, decidable, out=np.zeros_like(right), where=decidable > 0), decidable


def shown_weights(frame: pd.DataFrame, *, severity: float, basis: str) -> Table:
    """Weights at one severity, one row a data set and kind; the caption says what each column is.

    Args:
        frame: from ``weights_frame``.
        severity: the one that is shown; kinds without grades at their only one.
        basis: what the numbers rest on and what ± is, for the caption.
    """
    shown = frame[frame["n_shot"] == frame["n_shot"].min()]
    shown = shown[shown["severity"].isin([0.0, severity]) | (shown["kind"] == "reversal")]
    rows = []
    for row in shown.itertuples():
        first, second = (name.upper() if name == "rgb" else name for name in (row.first, row.second))
        rows.append({
            "data set": row.dataset,
            "queries": "as they are" if row.kind == CLEAN.kind else row.kind,
            f"{first} alone loses (points)": percent(row.first_cost) if row.severity else "–",
            f"{second} alone loses (points)": percent(row.second_cost) if row.severity else "–",
            "less disturbed": row.spared_verdict.replace("rgb", "RGB") or "–",
            f"weight of {first} (%)": percent(row.weight, row.weight_half_width),
            f"queries that {first} dominates (%)": percent(row.group_share, row.group_share_half_width),
            f"{first} is the right one (%)": percent(row.right_share, row.right_share_half_width),
            "weight gained by the less disturbed (points)": percent(
                row.weight_gain, row.weight_gain_half_width, signed=True
            ),
        })  # fmt: skip
    caption = (
        f"AMFIR's weights on queries at severity {severity:g} ({basis}). Alone loses: accuracy that the network on "
        "this modality alone loses. Less disturbed: the modality whose network loses less, where the paired interval "
        "excludes 0. Weight: mean fusion weight (Eq. 8). Dominates: has the lower free energy (Eq. 3). Is the right "
        "one: share among the queries that exactly one of AMFIR's modalities answers rightly. Weight gained: against "
        "the queries as they are."
    )
    return Table(frame, pd.DataFrame(rows), caption)
