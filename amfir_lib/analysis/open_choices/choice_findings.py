"""What the open choices show, in words: every number comes from a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from amfir_lib.analysis.open_choices.choice_scores import (
    CALIBRATED,
    CALIBRATIONS,
    CERTAINTY,
    FREE_ENERGY,
    LEARNT,
    SCORED,
    ScoredCell,
)
from amfir_lib.analysis.open_choices.choices import Choice
from amfir_lib.analysis.open_choices.picks import RIGHT, UNHURT
from amfir_lib.analysis.open_choices.score_comparison import NAMES, best_column, hit_difference, hit_rate
from amfir_lib.analysis.tables import percent
from amfir_lib.study.statistics import Interval


def choice_sentences(pooled: pd.DataFrame) -> str:
    """How many choices matter, which they are, and how much could have hidden in the others.

    Args:
        pooled: from ``choice_tables.pooled_frame``.
    """
    words = {"better": "above the default", "worse": "below it"}
    parts = []
    for kind, word in words.items():
        own = pooled[pooled["verdict"] == kind].sort_values("difference", ascending=kind == "worse")
        named = ", ".join(f"{row.title} ({_points(row.difference, row.half_width)})" for row in own.itertuples())
        parts.append(f"{len(own)} {word}{': ' + named if len(own) else ''}")
    undecided = pooled[pooled["verdict"] == "undecided"]
    text = f"**Of {len(pooled)} choices, pooled over data sets and shots with Holm's correction**, {'; '.join(parts)}."
    if undecided["half_width"].notna().any():
        text += (
            f" The other {len(undecided)} are not shown to differ from the default; the widest of their intervals "
            f"reaches ± {100 * undecided['half_width'].max():.1f} points, and half of them stay within "
            f"± {100 * undecided['half_width'].median():.1f}."
        )
    return text


def score_sentences(validation: Sequence[ScoredCell], test: Sequence[ScoredCell]) -> str:
    """Whether calibration lets free energy pick as well as certainty, and which score was chosen on validation."""
    gap, closed = ((FREE_ENERGY, own) for own in (LEARNT, CALIBRATED))
    sure, sure_calibrated = ((CERTAINTY, own) for own in (LEARNT, CALIBRATED))
    text = (
        "**Which modality is right** (queries where exactly one is). As learnt, free energy picks it in "
        f"{_rate(test, gap)} % of the test queries and certainty in {_rate(test, sure)} %: "
        f"{_gap(validation, gap, sure)} points on validation classes, {_gap(test, gap, sure)} on test classes. With "
        f"temperatures fitted on validation classes free energy reaches {_rate(test, closed)} % and certainty "
        f"{_rate(test, sure_calibrated)} %; against certainty as learnt calibrated free energy is at "
        f"{_gap(test, closed, sure)}, against calibrated certainty at {_gap(test, closed, sure_calibrated)}. "
        f"{_closing(hit_difference(test, closed, sure_calibrated))}"
    )
    columns = [(score, calibration) for score in SCORED for calibration in CALIBRATIONS]
    best = best_column(validation, columns)
    text += (
        f"\n\n**The best of {len(columns)} scores on validation classes** is {_name(best)} (option "
        f"`score: {best[0]}`; {_rate(validation, best)} %)."
        f" On test classes it picks the right modality in {_rate(test, best)} %: "
        f"{_gap(test, best, sure)} points against certainty as learnt, {_gap(test, best, sure_calibrated)} against "
        "calibrated certainty"
    )
    unhurt = hit_difference(test, best, sure, what=UNHURT)
    if unhurt is not None:
        text += f"; for the undegraded modality {_interval(unhurt)} against certainty as learnt"
    return f"{text}."


def decision_effects(pooled: pd.DataFrame, choices: Sequence[Choice]) -> dict[tuple[str, str], str]:
    """(id, option) of a decision -> what its alternatives change, for ``decisions.decisions_table``."""
    by_key = pooled.set_index("choice")
    effects: dict[tuple[str, str], list[str]] = {}
    for one in choices:
        row = by_key.loc[one.key]
        told = {"better": ", better", "worse": ", worse"}.get(row["verdict"], "")
        text = f"{one.title} {_points(row['difference'], row['half_width'])} points{told}"
        for decision in one.decisions:
            effects.setdefault((decision.id, decision.option), []).append(text)
    return {key: "; ".join(texts) for key, texts in effects.items()}


def _closing(left: Interval | None) -> str:
    if left is None or not left.half_width == left.half_width:
        return "There are too few classes for an interval."
    if left.mean + left.half_width < 0:
        return "Calibration does not close the gap to certainty that is calibrated in the same way."
    if left.mean - left.half_width > 0:
        return "Calibrated free energy is ahead."
    return "What is left of the gap is not shown to differ from zero."


def _name(column: tuple[str, str]) -> str:
    score, calibration = column
    return f"{NAMES.get(score, score)}, {calibration}"


def _rate(cells: Sequence[ScoredCell], column: tuple[str, str]) -> str:
    found = hit_rate(cells, column, what=RIGHT)
    return percent(found.mean, found.half_width) if found else "–"


def _gap(cells: Sequence[ScoredCell], one: tuple[str, str], other: tuple[str, str]) -> str:
    return _interval(hit_difference(cells, one, other))


def _interval(found: Interval | None) -> str:
    return _points(found.mean, found.half_width) if found else "–"


def _points(difference: float, half_width: float) -> str:
    return percent(difference, half_width, signed=True)
