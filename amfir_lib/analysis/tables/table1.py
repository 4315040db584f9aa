"""The paper's Table 1: its rows in its order, our numbers with intervals, and the printed ones beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables.accuracy import accuracy_table, paired_table
from amfir_lib.analysis.tables.group import ALL, UNDEGRADED
from amfir_lib.analysis.tables.grouping import grouped
from amfir_lib.analysis.tables.rows import by_method, heading, labels, ordered_methods, papers_name, wide
from amfir_lib.analysis.tables.setting import spread
from amfir_lib.analysis.tables.shown import JACKKNIFE, interval_note, percent
from amfir_lib.exports import Table, aside, bold
from amfir_lib.paper import doubtful_cells, published, published_name
from amfir_lib.study.runs import RunResult

REFERENCE = "amfir"
DOUBTS = "table1_doubts"  # name of the exported table of printed numbers that look wrong
PUBLISHED_WAY, PUBLISHED_SHOTS = 5, (1, 5)


def table1_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Accuracy of every method with the paper's number for the same cell.

    Args:
        results: runs with tests, AMFIR among them.
    Returns:
        The rows of ``accuracy_table`` in the order of Table 1, with ``method`` the registry's name, ``label``,
        ``heading``, ``n_queries`` (of an episode), ``accuracy_undegraded, half_width_undegraded`` (NaN where it is
        unknown which queries are degraded), ``paper`` (share; NaN where nothing is printed), ``paper_doubt`` (why the
        printed number looks wrong; empty otherwise), ``best`` (highest in its data set and shot) and ``bold``: it is
        the best, and the paired difference between AMFIR and it (for AMFIR: the best other row) excludes 0 after
        Holm's correction over all comparisons with AMFIR in that data set and shot.
    """
    results = list(results)
    titles = labels(results)
    frame = accuracy_table(results, series=by_method)
    modalities = {one.run.material.dataset.name: one.run.material.dataset.modalities for one in results}
    order = {method: place for place, method in enumerate(ordered_methods(titles))}
    frame = frame.sort_values("method", key=lambda column: column.map(order), kind="stable", ignore_index=True)
    frame["label"] = frame["method"].map(titles)
    frame["heading"] = [heading(row.method, modalities[row.dataset]) for row in frame.itertuples()]
    place = ["dataset", "n_way", "n_shot"]
    sizes = [group.where() | {"n_queries": group.episodes.target.shape[1]} for group in grouped(results)]
    frame = frame.merge(pd.DataFrame(sizes).drop_duplicates(), on=place)
    undegraded = accuracy_table(results, series=by_method, basis=UNDEGRADED)
    if undegraded.empty:
        frame = frame.assign(accuracy_undegraded=np.nan, half_width_undegraded=np.nan)
    else:
        own = undegraded[[*place, "method", "accuracy", "half_width"]]
        frame = frame.merge(own, on=[*place, "method"], how="left", suffixes=("", "_undegraded"))
    numbers, doubts = published("table1").set_index(["method", "dataset", "shot"])["accuracy"], doubtful_cells()
    cells = [_published_cell(row) for row in frame.itertuples()]
    frame["paper"] = [numbers[cell] / 100 if cell else np.nan for cell in cells]
    frame["paper_doubt"] = [doubts.get(cell, "") for cell in cells]
    paired = paired_table(results, REFERENCE, series=by_method)
    paired = paired.set_index([*place, "other"]).sort_index() if len(paired) else paired
    parts = []
    for where, own in frame.groupby(place, sort=False):
        parts.append(_with_best(own, paired.loc[where] if len(titles) > 1 else None))
    return pd.concat(parts, ignore_index=True)


def _published_cell(row: object) -> tuple[str, str, int] | None:
    """The cell of the paper's table that a row stands beside: method, data set and shots; None if there is none."""
    cell = papers_name(row.method), published_name(row.dataset), row.n_shot
    comparable = row.n_way == PUBLISHED_WAY and row.n_shot in PUBLISHED_SHOTS
    return cell if all(cell) and comparable else None


def _with_best(own: pd.DataFrame, paired: pd.DataFrame | None) -> pd.DataFrame:
    """Mark the best row of one data set and shot, and whether it may be bold."""
    accuracy = own.set_index("method")["accuracy"]
    best = accuracy.idxmax()
    earned = False
    if paired is not None:
        rival = accuracy.drop(REFERENCE).idxmax() if best == REFERENCE else best
        earned = paired.loc[rival, "verdict"] == ("better" if best == REFERENCE else "worse")
    is_best = own["method"] == best
    return own.assign(best=is_best, bold=is_best & earned)


def shown_table1(frame: pd.DataFrame, *, caption: str) -> Table:
    """Table 1 as it is to be read: a row per method, a column per data set and shot, the paper's number in grey."""
    cells = []
    for row in frame.itertuples():
        own = percent(row.accuracy, row.half_width)
        doubt = "†" if row.paper_doubt else ""
        printed = f" {aside(f'paper {percent(row.paper)}{doubt}')}" if np.isfinite(row.paper) else ""
        cells.append((bold(own) if row.bold else own) + printed)
    return Table(frame, wide(frame, cells), caption)


def caption_of_table1(frame: pd.DataFrame, *, kind: str, budget: str = "") -> str:
    """What Table 1 shows, what its ± covers, when a cell is bold, and where the doubts about printed numbers stand.

    Args:
        frame: from ``table1_frame``.
        kind: of the clips, such as "synthetic clips".
        budget: one sentence on the training, or empty.
    """
    one_of = {column: spread(frame[column]) for column in ("n_way", "n_episodes", "n_queries", "n_seeds", "n_classes")}
    covers = interval_note(
        frame,
        f"± is the {JACKKNIFE} ({one_of['n_classes']} test classes): another draw of test classes, not of seeds",
        then="bold: the highest of its column, if it differs from AMFIR (AMFIR: from the next) after Holm's correction "
        "over the column",
    )
    text = (
        f"Test accuracy in % ({kind}), {one_of['n_way']}-way, {one_of['n_episodes']} episodes of "
        f"{one_of['n_queries']} queries per cell, mean of {one_of['n_seeds']} training seed(s); {covers}. {budget}"
    ).strip()
    if frame["paper"].notna().any():
        named = {name: published_name(name) for name in dict.fromkeys(frame["dataset"])}
        pairs = ", ".join(f"{column} beside {name}" for name, column in named.items() if column)
        text += f' After "paper": its Table 1 as printed, on other, real data ({pairs}).'
    return (
        f"{text} † doubtful as printed; the reasons stand in {DOUBTS}." if (frame["paper_doubt"] != "").any() else text
    )


def doubts_table(frame: pd.DataFrame) -> Table:
    """The printed numbers that look wrong, with the reason; no rows where none is shown.

    Args:
        frame: from ``table1_frame``.
    """
    doubtful = frame[frame["paper_doubt"] != ""]
    reasons = [text.partition(": ") for text in doubtful["paper_doubt"]]
    shown = pd.DataFrame(
        {
            "method": doubtful["method"].map(papers_name),
            "data set": doubtful["dataset"].map(published_name),
            "shots": doubtful["n_shot"],
            "printed (%)": doubtful["paper"].map(percent),
            "looks": [looks for looks, _, _ in reasons],
            "because": [because for _, _, because in reasons],
        }
    ).reset_index(drop=True)
    data = doubtful[["dataset", "n_way", "n_shot", "method", "paper", "paper_doubt"]].reset_index(drop=True)
    return Table(data, shown, "Cells of the paper's Table 1 that are marked † beside ours. They are shown as printed.")


def table1_paired(results: Sequence[RunResult]) -> pd.DataFrame:
    """AMFIR minus every other method on identical episodes, on all queries and on undegraded ones.

    Returns:
        The columns of ``paired_table`` in the order of Table 1, with ``label`` and ``heading`` of the other method;
        ``basis`` says which queries count.  Holm's family is one data set, shot and basis.
    """
    results = list(results)
    titles = labels(results)
    modalities = {one.run.material.dataset.name: one.run.material.dataset.modalities for one in results}
    others = [method for method in ordered_methods(titles) if method != REFERENCE]
    parts = [
        paired_table(results, REFERENCE, others=others, series=by_method, basis=basis).assign(basis=basis)
        for basis in (ALL, UNDEGRADED)
    ]
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
    frame["label"] = frame["other"].map(titles)
    frame["comparison"] = f"{titles[REFERENCE]} − " + frame["label"]
    frame["heading"] = [heading(row.other, modalities[row.dataset]) for row in frame.itertuples()]
    return frame


def shown_table1_paired(frame: pd.DataFrame, *, caption: str) -> Table:
    """Differences on all queries as they are to be read: a row per method; bold: not 0 after the correction."""
    own = frame[frame["basis"] == ALL]
    cells = [
        bold(text) if row.verdict != "undecided" else text
        for row in own.itertuples()
        for text in [percent(row.difference, row.half_width, signed=True)]
    ]
    return Table(frame, wide(own.assign(method=own["other"]), cells), caption)


def caption_of_paired(frame: pd.DataFrame) -> str:
    """What the table of differences shows."""
    family = frame.groupby(["dataset", "n_shot", "basis"]).size().max()
    covers = interval_note(
        frame[frame["basis"] == ALL],
        f"± is the paired {JACKKNIFE}, not corrected",
        then=f"bold: excludes 0 after Holm's correction over the {family} comparisons of its column",
    )
    return (
        "AMFIR minus the row, on identical test episodes, percentage points; positive: AMFIR is more accurate; "
        f"{covers}. The CSV has the same on undegraded queries, where they are known."
    )
