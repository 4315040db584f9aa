"""The same methods with and without degradation, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from amfir_lib.analysis.studies.copies import original
from amfir_lib.analysis.tables.accuracy import accuracy_table
from amfir_lib.analysis.tables.group import ALL, UNDEGRADED
from amfir_lib.analysis.tables.rows import by_method, labels
from amfir_lib.analysis.tables.shown import interval_note, percent
from amfir_lib.exports import Table
from amfir_lib.study.runs import RunResult

COPIES = "degradation-free copies"
MEANING = {
    UNDEGRADED: "Undegraded queries: those whose own clip is not degraded, with the supports as they are.",
    COPIES: "Degradation-free copies: the same clips rendered without any degradation; training, validation and test "
    "on them.",
}


def bases_table(results: Sequence[RunResult], copies: Sequence[RunResult] = (), *, methods: Sequence[str]) -> Table:
    """Accuracies on all queries, on undegraded queries and on degradation-free copies.

    Args:
        results: runs on the benchmarks.
        copies: runs on data sets called like a benchmark with "-clean" after it.
        methods: which to show, in order.
    Returns:
        One row per data set and method; as data one row per shots and basis, too, with the columns of
        ``accuracy_table``, ``basis`` and ``label``.  A basis that a data set does not have is a dash, one that none
        has is left out.
    """
    titles = labels(results)
    parts = [
        accuracy_table(results, series=by_method).assign(basis=ALL),
        accuracy_table(results, series=by_method, basis=UNDEGRADED).assign(basis=UNDEGRADED),
        accuracy_table(copies, series=by_method).assign(basis=COPIES),
    ]
    data = pd.concat([part for part in parts if "method" in part], ignore_index=True)
    data["dataset"] = data["dataset"].map(original)
    data = data[data["method"].isin(methods)].assign(label=data["method"].map(titles))
    cells = data.assign(cell=[percent(a, h) for a, h in zip(data["accuracy"], data["half_width"], strict=True)])
    texts = cells.set_index(["dataset", "n_shot", "method", "basis"])["cell"]
    shots, bases = list(dict.fromkeys(data["n_shot"])), list(dict.fromkeys(data["basis"]))
    rows = []
    for dataset in dict.fromkeys(data["dataset"]):
        for number, method in enumerate(methods):
            row = {"data set": dataset if number == 0 else "", "method": titles[method]}
            for shot in shots:
                for basis in bases:
                    row[f"{shot}-shot, {basis}"] = texts.get((dataset, shot, method, basis), "–")
            rows.append(row)
    caption = [f"Test accuracy in %; {interval_note(data)}.", *(MEANING[basis] for basis in bases if basis in MEANING)]
    return Table(data, pd.DataFrame(rows), " ".join(caption))
