"""Tables of the ablations (Table 2) and of the distillation strategies (Figure 4), on all bases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.studies.components import FULL, Configuration, published_ablation
from amfir_lib.analysis.studies.copies import original
from amfir_lib.analysis.tables import (
    ALL,
    UNDEGRADED,
    accuracy_table,
    holm_note,
    interval_note,
    number,
    paired_table,
    percent,
    verdict_cell,
)
from amfir_lib.analysis.tables.bases import COPIES
from amfir_lib.analysis.tables.grouping import Namer
from amfir_lib.analysis.tables.shown import JACKKNIFE
from amfir_lib.exports import Table
from amfir_lib.study.runs import RunResult

CHECK, CROSS = "✓", "×"
PAPERS_COLUMNS = "Columns named paper: as printed, real data."
READ_AS = {
    "a": "(a): the other group is empty",
    "b": "(b): all queries are in the one group",
    "c": "(c): all queries are in the one group and its modality alone decides",
}
STRATEGIES = (
    "T-X: modality X teaches the other one on all queries; bidirectional: AMFIR, each teaches the queries that it "
    "dominates"
)


def on_bases(
    table: Callable[..., pd.DataFrame],
    results: Sequence[RunResult],
    copies: Sequence[RunResult] = (),
    *arguments: object,
    series: Namer,
) -> pd.DataFrame:
    """A table of ``amfir_lib.analysis.tables`` on all queries, on undegraded queries and on degradation-free copies.

    Args:
        table: ``accuracy_table`` or ``paired_table``.
        results: runs on the benchmarks.
        copies: runs on their copies.
        arguments: what the table takes after the results.
        series: names the series of a run.
    Returns:
        Its columns and ``basis``; a basis that the data do not have is left out, and copies bear the benchmark's name.
    """
    parts = [
        table(runs, *arguments, series=series, basis=queries).assign(basis=basis)
        for basis, runs, queries in ((ALL, results, ALL), (UNDEGRADED, results, UNDEGRADED), (COPIES, copies, ALL))
    ]
    frame = pd.concat([part for part in parts if "n_shot" in part], ignore_index=True)
    return frame.assign(dataset=frame["dataset"].map(original))


def accuracies(results: Sequence[RunResult], copies: Sequence[RunResult] = (), *, series: Namer) -> pd.DataFrame:
    """``tables.accuracy_table`` on all bases; arguments as ``on_bases``."""
    return on_bases(accuracy_table, results, copies, series=series)


def differences(
    results: Sequence[RunResult], copies: Sequence[RunResult], reference: str, *, series: Namer
) -> pd.DataFrame:
    """``tables.paired_table`` on all bases: ``reference`` minus every other; Holm within basis, data set and shots."""
    return on_bases(paired_table, results, copies, reference, series=series)


def captions_of_differences(frame: pd.DataFrame, what: str, words: str) -> tuple[str, str]:
    """The captions of the figure of differences and of their table, which show the intervals in other ways.

    Args:
        frame: from ``differences``.
        what: is subtracted from what.
        words: what the names mean.
    """
    drawn = interval_note(frame, f"bars: paired {JACKKNIFE}", then=f"filled: shown after {holm_note(frame)}")
    written = interval_note(
        frame, f"± is the paired {JACKKNIFE}", then=f"p and verdict: of all queries, after {holm_note(frame)}"
    )
    return tuple(f"{what}, percentage points; {covers}. {words}." for covers in (drawn, written))


def words_of_table2(configurations: Sequence[Configuration]) -> str:
    """What the names of rows and columns of Table 2 mean."""
    readings = dict.fromkeys(one.reading for one in configurations if one.reading in READ_AS)
    return (
        "RD, FD: the groups that the appearance and the motion dominate; AMD: distillation; AMI: adaptive fusion "
        f"weights; {', '.join(READ_AS[reading] for reading in readings)}"
    )


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
    caption = f"{caption} {words_of_table2(configurations)}."
    told = f" {PAPERS_COLUMNS}" if any(head.endswith(", paper") for head in columns) else ""
    return Table(frame, pd.DataFrame(columns), caption + told)


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
        row |= {"p (Holm)": number(first["p_holm"], 3), "verdict": verdict_cell(first["verdict"], first["p_holm"])}
        if "paper" in part:
            row["paper"] = percent(first["paper"], signed=True)
        rows.append(row)
    shown_frame = pd.DataFrame(rows)
    if "paper" in shown_frame:
        if (shown_frame["paper"] == "–").all():
            shown_frame = shown_frame.drop(columns="paper")
        else:
            caption = f"{caption} {PAPERS_COLUMNS}"
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
