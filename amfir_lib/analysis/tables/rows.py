"""The rows of the paper's Table 1: which method stands where, under which name, and what must be said beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from amfir_lib.analysis.tables.grouping import method_title
from amfir_lib.methods import METHODS
from amfir_lib.study.runs import RunResult

NOT_IN_PAPER = "not in the paper's table"


def by_method(result: RunResult) -> str:
    """Names a series by its method, which stays the same where a title changes."""
    return result.run.method


def ordered_methods(methods: Iterable[str]) -> list[str]:
    """Methods in the order of Table 1, those that the paper's table lacks at the end."""
    return sorted(dict.fromkeys(methods), key=list(METHODS).index)


def papers_name(method: str) -> str:
    """What the paper's Table 1 calls a method; empty for a row that it lacks."""
    return METHODS[method].paper_name


def heading(method: str, modalities: Sequence[str]) -> str:
    """The group of rows that a method stands in: the modality that it reads, Multimodal, or not in the paper's table.

    Args:
        method: one of METHODS.
        modalities: of the data, appearance first.
    """
    if not papers_name(method):
        return NOT_IN_PAPER
    names = [name.upper() if name == "rgb" else name.capitalize() for name in modalities]
    return {"first": names[0], "second": names[1], "both": "Multimodal"}[METHODS[method].streams]


def labels(results: Iterable[RunResult]) -> dict[str, str]:
    """Method -> its title with what must be said beside it, such as "STRM-EC (our reading)"."""
    found = {}
    for result in results:
        note = METHODS[result.run.method].note
        found[result.run.method] = method_title(result) + (f" ({note})" if note else "")
    return found


def wide(frame: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    """A row per method below the heading of its group, a column per data set and shot."""
    columns = list(dict.fromkeys(zip(frame["dataset"], frame["n_shot"], strict=True)))
    texts = dict(zip(zip(frame["dataset"], frame["n_shot"], frame["method"], strict=True), cells, strict=True))
    rows, previous = [], None
    for row in frame.drop_duplicates("method").sort_values("method", key=_place).itertuples():
        own = {f"{name} {shot}-shot": texts.get((name, shot, row.method), "–") for name, shot in columns}
        rows.append({"modality": row.heading if row.heading != previous else "", "method": row.label} | own)
        previous = row.heading
    return pd.DataFrame(rows)


def _place(methods: pd.Series) -> pd.Series:
    order = ordered_methods(methods)
    return methods.map(order.index)
