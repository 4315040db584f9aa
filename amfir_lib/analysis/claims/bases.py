"""A claim on its three bases: all queries, undegraded queries, and degradation-free copies of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from amfir_lib.analysis.claims.claim import COPIES, Claim, claim_from_difference, setting_of, settle
from amfir_lib.analysis.tables import ALL, UNDEGRADED, percent, pooled_difference
from amfir_lib.analysis.tables.grouping import Namer, method_title
from amfir_lib.analysis.tables.pooled import Choice
from amfir_lib.methods import METHODS
from amfir_lib.study.runs import RunResult

Chooser = Choice | Callable[[Sequence[RunResult]], Choice]  # a series, or a function that finds it in the results


def claims_on_bases(
    key: str,
    *,
    claim: str,
    source: str,
    notebook: str,
    one: Chooser,
    other: Chooser,
    results: Sequence[RunResult],
    copies: Sequence[RunResult] = (),
    series: Namer = method_title,
    share: Callable[[str, int, int], float] | None = None,
    paper: str = "",
) -> list[Claim]:
    """The claim that ``one`` is more accurate than ``other``, on every basis that the data have.

    Args:
        key, claim, source, notebook, paper: see ``Claim``.
        one, other: series, the same everywhere or by data set, or a function that chooses them from the results.
        results: runs on the benchmarks.
        copies: runs on the degradation-free copies.
        series: names the series of a run.
        share: as ``tables.pooled_difference``.
    Returns:
        Up to three claims; none where the series were not run.
    """
    found = []
    for basis, runs, queries in ((ALL, results, ALL), (UNDEGRADED, results, UNDEGRADED), (COPIES, copies, ALL)):
        if not runs:
            continue
        names = [choice(runs) if callable(choice) else choice for choice in (one, other)]
        pooled = pooled_difference(runs, *names, series=series, basis=queries, share=share)
        if pooled is not None:
            detail = "; ".join(filter(None, (range_of(pooled.cells), chosen_pairs(*names, pooled.cells["dataset"]))))
            found.append(
                claim_from_difference(
                    key,
                    claim=claim,
                    source=source,
                    notebook=notebook,
                    interval=pooled.interval,
                    mean=pooled.mean,
                    setting=setting_of(pooled.cells),
                    basis=basis,
                    detail=detail,
                    paper=paper,
                )
            )
    return settle(found)


def range_of(cells: pd.DataFrame) -> str:
    """``8 cells from −0.3 to +4.0``; empty for a single cell."""
    if len(cells) < 2:
        return ""
    low, high = (percent(value, signed=True) for value in (cells["difference"].min(), cells["difference"].max()))
    return f"{len(cells)} cells from {low} to {high}"


def chosen_pairs(one: Choice, other: Choice, datasets: Iterable[str]) -> str:
    """``AMFIR − STRM-F on synth-kinetics, ...`` where the series differ between data sets; else empty."""
    if isinstance(one, str) and isinstance(other, str):
        return ""
    texts = []
    for dataset in dict.fromkeys(datasets):
        names = [choice if isinstance(choice, str) else choice[dataset] for choice in (one, other)]
        texts.append(f"{' − '.join(METHODS[name].title if name in METHODS else name for name in names)} on {dataset}")
    return ", ".join(texts)
