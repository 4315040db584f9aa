"""Tables of the ablations (Table 2) and of the distillation strategies (Figure 4), on all bases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from amfir_lib.ablations import FULL, Configuration, published_ablation
from amfir_lib.copies import original
from amfir_lib.experiments import RunResult
from amfir_lib.exports import Table
from amfir_lib.leave_out import (
    ALL_QUERIES,
    CLEAN_COPIES,
    UNDEGRADED,
    Point,
    accuracy_frame,
    difference_frame,
    points,
)
from amfir_lib.tables import percent

CHECK, CROSS = "✓", "×"
Bases = Mapping[str, list[Point]]


def bases(
    results: Iterable[RunResult], clean: Iterable[RunResult], *, series: Callable[[RunResult], str]
) -> dict[str, list[Point]]:
    """Basis -> points: all queries, undegraded queries, degradation-free copies; those that the data allow.

    Args:
        results: runs on the data sets.
        clean: runs on their degradation-free copies.
        series: names the series of a run.
    """
    results = list(results)
    found = {
        ALL_QUERIES: points(results, series=series),
        UNDEGRADED: points(results, series=series, queries=UNDEGRADED),
        CLEAN_COPIES: [replace(one, dataset=original(one.dataset)) for one in points(clean, series=series)],
    }
    return {basis: part for basis, part in found.items() if part}


def accuracies(found: Bases) -> pd.DataFrame:
    """Accuracies of all bases; ``accuracy_frame`` and a column ``basis``."""
    return pd.concat([accuracy_frame(part).assign(basis=basis) for basis, part in found.items()], ignore_index=True)


def differences(found: Bases, reference: str, *, others: Sequence[str] | None = None) -> pd.DataFrame:
    """Reference minus others of all bases; Holm within each basis, data set and shot; a column ``basis``."""
    parts = [difference_frame(part, reference, others=others).assign(basis=basis) for basis, part in found.items()]
    return pd.concat(parts, ignore_index=True)


def shown_table2(frame: pd.DataFrame, configurations: Sequence[Configuration], *, caption: str) -> Table:
    """Table 2 with check marks: ours, and the paper's number beside it where it has one.

    Args:
        frame: from ``ablations.with_published``; what is shown is the first basis, the CSV file has all.
        configurations: the rows, in order.
        caption: of the table.
    """
    columns: dict[str, list[str]] = {
        "configuration": [one.name for one in configurations],
        **{
            head: [CHECK if one.marks[mark] else CROSS for one in configurations]
            for head, mark in (("RD", "asi_rd"), ("FD", "asi_fd"), ("AMD", "amd"), ("AMI", "ami"))
        },
    }
    first = frame[frame["basis"] == frame["basis"].iloc[0]]
    for (dataset, n_shot), part in first.groupby(["dataset", "n_shot"], sort=False):
        own = part.set_index("method").reindex(columns["configuration"])
        head = f"{dataset} {n_shot}-shot"
        columns[head] = [percent(a, h) for a, h in zip(own["accuracy"], own["half_width"], strict=True)]
        if own["paper"].notna().any():
            columns[f"{head}, paper"] = [percent(value) for value in own["paper"]]
    return Table(frame, pd.DataFrame(columns), caption)


def shown_bases(frame: pd.DataFrame, *, caption: str) -> Table:
    """Paired differences, one row a comparison, one column a basis, with Holm's p and verdict on all queries."""
    keys = ["dataset", "n_shot", "comparison"]
    rows = []
    for (dataset, n_shot, comparison), part in frame.groupby(keys, sort=False):
        row = {"data set": dataset, "shots": n_shot, "comparison": comparison}
        for basis in dict.fromkeys(frame["basis"]):
            own = part[part["basis"] == basis]
            row[basis] = percent(own["difference"].iloc[0], own["half_width"].iloc[0], signed=True) if len(own) else "–"
        first = part.iloc[0]
        row |= {"p (Holm)": f"{first['p_holm']:.3f}" if np.isfinite(first["p_holm"]) else "–"}
        row |= {"verdict": first["verdict"]}
        if "paper" in part:
            row["paper"] = percent(first["paper"], signed=True)
        rows.append(row)
    shown_frame = pd.DataFrame(rows)
    if "paper" in shown_frame and (shown_frame["paper"] == "–").all():
        shown_frame = shown_frame.drop(columns="paper")
    return Table(frame, shown_frame, caption)


def with_published_differences(frame: pd.DataFrame, configurations: Sequence[Configuration]) -> pd.DataFrame:
    """Differences to the full method with what the paper's Table 2 prints for them (column ``paper``), in [-1, 1]."""
    marks = {one.name: one.marks for one in configurations}
    printed = [
        published_ablation(row.dataset, row.n_shot, marks[FULL])
        - published_ablation(row.dataset, row.n_shot, marks[row.other])
        if row.n_way == 5
        else np.nan
        for row in frame.itertuples()
    ]
    return frame.assign(paper=printed)


def shown_accuracies_by_basis(frame: pd.DataFrame, *, caption: str) -> Table:
    """Accuracies, one row a strategy, data set and number of shots, one column a basis."""
    cells = frame.assign(cell=[percent(a, h) for a, h in zip(frame["accuracy"], frame["half_width"], strict=True)])
    keys = ["dataset", "n_shot", "method"]
    wide = cells.pivot(index=keys, columns="basis", values="cell").fillna("–")
    wide = wide.reindex(pd.MultiIndex.from_frame(frame[keys].drop_duplicates()))[list(dict.fromkeys(frame["basis"]))]
    shown = wide.reset_index().rename(columns={"dataset": "data set", "n_shot": "shots", "method": "strategy"})
    return Table(frame, shown.rename_axis(columns=None), caption)


def shown_claims(rows: Sequence[Mapping[str, str]]) -> Table:
    """This notebook's rows of the table of claims, as they are to be read in it."""
    columns = ["claim", "basis", "value", "verdict", "paper"]
    frame = pd.DataFrame(rows)
    shown = frame[[c for c in columns if frame[c].any()]].rename(columns={"value": "measured"})
    return Table(frame, shown, "Rows for the table of claims; ± is the 95 % class-jackknife interval, in points.")
