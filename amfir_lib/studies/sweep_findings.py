"""What the tables of Figures 3 and 5 say, in words: every number comes from a table."""

from __future__ import annotations

import pandas as pd

from amfir_lib.studies.sweep_tables import NEXT_BEST, SWEPT
from amfir_lib.tables import percent


def sweep_sentences(accuracy: pd.DataFrame, lead: pd.DataFrame, *, swept: str) -> str:
    """What a sweep found, one paragraph a data set, every number from the tables."""
    fixed = next(name for name in SWEPT if name != swept)
    paragraphs = []
    for (dataset, other), part in accuracy.groupby(["dataset", fixed], sort=False):
        own = part[part["key"] == "amfir"].sort_values(swept)
        start, end = own.iloc[0], own.iloc[-1]
        unit = SWEPT[swept]
        text = f"**{dataset}, {other}-{SWEPT[fixed]}**: AMFIR reaches {_percent(start)} % at {start[swept]}-{unit}"
        if len(own) > 1:
            text += f" and {_percent(end)} % at {end[swept]}-{unit}"
        leads = lead[(lead["dataset"] == dataset) & (lead[fixed] == other) & (lead["other"] == NEXT_BEST)]
        leads = leads.sort_values(swept)
        told = [
            f"{percent(row['difference'], row['half_width'], signed=True)} at {row[swept]}-{unit} "
            f"(over {row['next_best']})"
            for _, row in leads.iterrows()
        ]
        ahead = int((leads["difference"] > leads["half_width"]).sum())
        behind = int((-leads["difference"] > leads["half_width"]).sum())
        text += (
            f"; its lead over the next best method is {'; '.join(told)} points: shown at {ahead} of {len(leads)} "
            f"points, a deficit at {behind}."
        )
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _percent(row: pd.Series) -> str:
    return percent(row["accuracy"], row["half_width"])
