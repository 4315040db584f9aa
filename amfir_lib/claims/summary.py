"""What Table 1 shows, in words: every number comes from a table, no sentence is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from amfir_lib.claims.claim import HOLDS, Claim
from amfir_lib.tables import ALL, UNDEGRADED, percent


def summarise_table1(
    frame: pd.DataFrame,
    paired: pd.DataFrame,
    claims: Sequence[Claim],
    chosen: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Paragraphs on Table 1: the best rows, AMFIR against all others, and the claims.

    Args:
        frame: from ``tables.table1_frame``.
        paired: from ``tables.table1_paired``.
        claims: from ``table1_claims``.
        chosen: what was chosen on validation ("multimodal", "unimodal") -> data set -> method.
    Returns:
        Markdown: a paragraph each, then a list of the claims.
    """
    paragraphs = [_best_rows(frame), _against_others(paired)]
    if chosen:
        titles = dict(zip(frame["method"], frame["label"], strict=True))
        named = []
        for dataset in dict.fromkeys(frame["dataset"]):
            own = [f"{titles[names[dataset]]} ({kind})" for kind, names in chosen.items() if dataset in names]
            named.append(f"{dataset}: {' and '.join(own)}")
        paragraphs.append(f"Best on the validation classes, {'; '.join(named)}.")
    return "\n\n".join([*paragraphs, claim_lines(claims)])


def _best_rows(frame: pd.DataFrame) -> str:
    best = frame[frame["best"]]
    columns = [
        f"{row.dataset} {row.n_shot}-shot {row.label} ({percent(row.accuracy, row.half_width)} %)"
        for row in best.itertuples()
    ]
    own = best[best["method"] == "amfir"]
    return (
        f"**AMFIR** has the highest accuracy in {len(own)} of {len(best)} columns and is significantly above the best "
        f"other row in {int(own['bold'].sum())} of them; a cell is bold in {int(best['bold'].sum())} columns. "
        f"Highest: {'; '.join(columns)}."
    )


def _against_others(paired: pd.DataFrame) -> str:
    texts = []
    for basis in (ALL, UNDEGRADED):
        own = paired[paired["basis"] == basis]
        if len(own):
            counts = own["verdict"].value_counts()
            texts.append(
                f"on {basis} AMFIR is better in {counts.get('better', 0)} of {len(own)} comparisons with other rows, "
                f"worse in {counts.get('worse', 0)}, undecided in {counts.get('undecided', 0)}"
            )
    lost = paired[(paired["basis"] == ALL) & (paired["verdict"] == "worse")]
    by_other = ", ".join(
        f"{label} ({', '.join(f'{row.dataset} {row.n_shot}-shot' for row in own.itertuples())})"
        for label, own in lost.groupby("label", sort=False)
    )
    text = f"Holm's correction per column: {'; '.join(texts)}."
    return f"{text} On all queries it loses to {by_other}." if by_other else text


def claim_lines(claims: Sequence[Claim]) -> str:
    """A list, one item per claim: the verdict, then the value on each basis."""
    by_key: dict[str, list[Claim]] = {}
    for claim in claims:
        by_key.setdefault(claim.key, []).append(claim)
    lines = []
    for own in by_key.values():
        values = "; ".join(f"{claim.basis} {claim.value.partition(';')[0]}" for claim in own)
        rest = "" if own[0].verdict != HOLDS or len(own) == 1 else _elsewhere(own[1:])
        lines.append(f"* *{own[0].claim}*: **{own[0].verdict}**{rest} ({values}).")
    return "\n".join(lines)


def _elsewhere(others: Sequence[Claim]) -> str:
    open_bases = [f"{claim.verdict} on {claim.basis}" for claim in others if claim.verdict != HOLDS]
    return f" on all queries, {' and '.join(open_bases)}" if open_bases else " on every basis"
