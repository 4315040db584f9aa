"""What the tables of Figures 3 and 5 say, in words: every number comes from a table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from amfir_lib.analysis.studies.sweep_tables import NEXT_BEST, SWEPT
from amfir_lib.analysis.tables import percent


def sweep_sentences(accuracy: pd.DataFrame, lead: pd.DataFrame, *, swept: str) -> str:
    """What a sweep found, one sentence a data set, every number from the tables."""
    fixed = next(name for name in SWEPT if name != swept)
    sentences = []
    for (dataset, other), part in accuracy.groupby(["dataset", fixed], sort=False):
        own = part[part["key"] == "amfir"].sort_values(swept)
        leads = lead[(lead["dataset"] == dataset) & (lead[fixed] == other) & (lead["other"] == NEXT_BEST)]
        leads = leads.sort_values(swept)
        names = dict.fromkeys(name.partition(" (")[0] for name in leads["next_best"])  # without the remark in brackets
        ahead = int((leads["difference"] > leads["half_width"]).sum())
        behind = int((-leads["difference"] > leads["half_width"]).sum())
        reached = _at_ends(own, swept, lambda row: f"{percent(row['accuracy'], row['half_width'])} %")
        led = _at_ends(leads, swept, lambda row: percent(row["difference"], row["half_width"], signed=True) + " points")
        sentences.append(
            f"**{dataset}, {other}-{SWEPT[fixed]}**: AMFIR reaches {reached}; its lead over the next best method "
            f"({' or '.join(names)}) is {led}; of {len(leads)} points of the curve, a lead is shown at {ahead} and a "
            f"deficit at {behind}."
        )
    return "\n\n".join(sentences)


def _at_ends(rows: pd.DataFrame, swept: str, text: Callable[[pd.Series], str]) -> str:
    """``59.1 % at 1-shot and 82.1 % at 5-shot``."""
    ends = rows.iloc[[0, -1]] if len(rows) > 1 else rows
    return " and ".join(f"{text(row)} at {row[swept]}-{SWEPT[swept]}" for _, row in ends.iterrows())
