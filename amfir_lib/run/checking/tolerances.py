"""By how much a number of a table may differ between two machines, and why: one rule per kind of column.

On one machine a study is equal to the last digit.  On another one, floating-point sums differ in their last digits;
training amplifies that until two runs with one seed differ as two seeds do.  So the yardstick is the spread of the
training seeds: a mean over n seeds may move by two of its standard errors, 2 sd / sqrt(n), and never less than a point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

POINT = 0.01  # one percentage point, as a share
N_ERRORS = 2.0  # standard errors that a mean may move by
NATS = 0.1
RELATIVE = 0.05
TINY = 0.001
ONE_QUERY = 0.1


@dataclass(frozen=True)
class Spread:
    """How far training seeds lie apart in the committed study, for tables that do not state it row by row.

    Attributes:
        sd: root mean square of all committed ``seed_sd``, as a share; 0 where no table has one.
        n_seeds: training seeds behind a mean.
    """

    sd: float = 0.0
    n_seeds: int = 1

    @classmethod
    def of(cls, tables: Iterable[pd.DataFrame]) -> Spread:
        """The spread in all tables that have the columns ``seed_sd`` and ``n_seeds``."""
        parts = [frame[["seed_sd", "n_seeds"]].dropna() for frame in tables if {"seed_sd", "n_seeds"} <= {*frame}]
        rows = pd.concat(parts) if parts else pd.DataFrame()
        if rows.empty:
            return cls()
        return cls(float(np.sqrt(np.square(rows["seed_sd"]).mean())), max(1, int(rows["n_seeds"].median())))

    def mean(self, row: Mapping[str, Any]) -> float:
        """What the mean of this row may move by, as a share: from its own ``seed_sd``, else from the study's."""
        own = row.get("seed_sd"), row.get("n_seeds")
        sd, n = own if all(isinstance(x, int | float) and np.isfinite(x) for x in own) else (self.sd, self.n_seeds)
        return max(POINT, N_ERRORS * sd / np.sqrt(max(1, n)))

    def difference(self, row: Mapping[str, Any]) -> float:
        """What the difference of two such means may move by: sqrt(2) times the spread of one."""
        return max(POINT, np.sqrt(2) * N_ERRORS * self.sd / np.sqrt(self.n_seeds))


Allowed = Callable[[float, Mapping[str, Any], Spread], float]


@dataclass(frozen=True)
class Rule:
    """How one kind of column is compared.

    Attributes:
        name: of the kind.
        columns: regular expression, searched in the column's name in small letters.
        reason: why this tolerance.
        allowed: committed value, its row, the spread -> largest accepted |difference|; None: not compared.
        tables: regular expression on the table's name; empty for all.
    """

    name: str
    columns: str
    reason: str
    allowed: Allowed | None = None
    tables: str = ""


def _word(*words: str) -> str:
    """A pattern that finds one of these as a whole word, underscores counting as spaces."""
    return rf"(?<![^\W_])({'|'.join(words)})(?![^\W_])"


def _exactly(value: float, row: Mapping[str, Any], spread: Spread) -> float:
    return 0.0


RULES = (
    Rule(
        "time and memory",
        _word("seconds?", "minutes?", "hours?", "ms", "time", "times", "memory", "bytes", "mb", "gb", "per second"),
        "belongs to the machine: not compared",
    ),
    Rule("machine and code", _word("digest", "commit", "device", "key"), "names machine or code: not compared"),
    Rule(
        "one query",
        "",
        "one query of one trained network, no mean of many: 0.1, or 25 %",
        lambda value, row, spread: max(ONE_QUERY, 0.25 * abs(value)),
        tables="^tour_",
    ),
    Rule(
        "p-value",
        _word("p_value", "p_holm"),
        "moves by orders of magnitude when its difference moves by a little, and acts through the verdict alone: "
        "not compared",
    ),
    Rule("best step", _word("best_step"), "the last digits decide between equally good validations: not compared"),
    Rule("paper", _word("paper", "published", "printed"), "a printed number: equal", _exactly),
    Rule("count", r"^n_", "a count, fixed by seed and parameters: equal", _exactly),
    Rule(
        "spread",
        _word("sd", "std", "fluctuation", "spread"),
        "a standard deviation of a few values is itself known to about its own size: one point, or that size",
        lambda value, row, spread: max(POINT, abs(value)),
    ),
    Rule(
        "half width of an interval",
        _word("half_width", "se"),
        "it follows from a few dozen classes: one point, or 25 %",
        lambda value, row, spread: max(POINT, 0.25 * abs(value)),
    ),
    Rule(
        "end of an interval",
        _word("low", "high", "lower", "upper"),
        "mean and half width both move: one point more than the mean",
        lambda value, row, spread: POINT + spread.mean(row),
    ),
    Rule(
        "difference of accuracies",
        _word("difference", "cost", "gain", "drop", "lead", "effect"),
        "one point, or 2 sqrt(2) sd / sqrt(n), with the sd of training seeds in this study",
        lambda value, row, spread: spread.difference(row),
    ),
    Rule(
        "accuracy or share",
        _word(
            "accuracy", "share", "rate", "auroc", "certainty", "overconfidence", "calibration_error", "weight",
            "baseline", "variant",
        ),
        "one point, or 2 sd / sqrt(n) of the row's training seeds (of the study's, where the row has none)",
        lambda value, row, spread: spread.mean(row),
    ),
    Rule(
        "free energy",
        _word("energy", "nats", "f", "start", "settled", "gap", "entropy", "loss"),
        "0.1 nats, or 5 %",
        lambda value, row, spread: max(NATS, RELATIVE * abs(value)),
    ),
)  # fmt: skip
WHOLE = Rule("whole number", "", "a count, fixed by seed and parameters: equal", _exactly)
OTHER = Rule("other number", "", "5 %, or 0.001", lambda value, row, spread: max(TINY, RELATIVE * abs(value)))
TEXT = Rule("text", "", "words are equal; numbers in them: those in points or % as differences, others 5 %")
VERDICT = Rule(
    "verdict", "", "equal; a warning where all numbers of its row are within their tolerance and no side is reversed"
)
ALL_RULES = (*RULES, WHOLE, OTHER, TEXT, VERDICT)


def rule_for(table: str, column: str, *, whole: bool) -> Rule:
    """The rule of a column that holds numbers.

    Args:
        table: name of the table.
        column: name of the column.
        whole: whether all its values are whole numbers.
    """
    for rule in RULES:
        if re.search(rule.tables, table) and re.search(rule.columns, column.lower()):
            return rule
    return WHOLE if whole else OTHER
