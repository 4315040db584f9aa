"""Every place where the paper is silent, or contradicts itself, and what the study does there.

One row of ``decisions.csv`` per option, or per choice that is no option: A free energy and groups, B features and
posterior, C losses, D inference, E experiments.  ``09_open_choices`` renders them, with the measured effects, as
``tables/decisions``, to which the README links; a test holds rows and code together.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from amfir_lib.study.config import PROFILES
from amfir_lib.study.training import Training


class Decision(NamedTuple):
    """One open choice; ``option`` is empty where it is not an option of a method, all values are texts."""

    id: str
    where: str
    problem: str
    option: str
    default: str
    alternatives: tuple[str, ...]
    reason: str


def _read() -> tuple[Decision, ...]:
    study = PROFILES["study"]
    numbers = {"study": study, "training": Training(), "n_queries": study.n_way * study.n_query}
    numbers["train_shots"] = " and ".join(map(str, study.train_shots))
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= {"default": row["default"].format(**numbers)}
        row["alternatives"] = tuple(filter(None, row["alternatives"].split(" | ")))
    return tuple(Decision(**row) for row in rows)


DECISIONS = _read()


def decisions_table(effects: Mapping[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """The decisions as a table, one row per decision, in the order of their ids.

    Args:
        effects: (id, option) -> what its alternatives were measured to change; None leaves the column out, and a
            decision that has none gets a dash.
    """
    rows = []
    for decision in DECISIONS:
        row = decision._asdict() | {"option": decision.option or "–"}
        row["alternatives"] = ", ".join(decision.alternatives) or "–"
        effect = {} if effects is None else {"effect": effects.get((decision.id, decision.option), "–")}
        rows.append(row | effect)
    return pd.DataFrame(rows)
