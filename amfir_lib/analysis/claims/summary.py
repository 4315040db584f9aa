"""What Table 1 shows, in words: every number comes from a table, no sentence is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from amfir_lib.analysis.claims.claim import HOLDS, Claim
from amfir_lib.analysis.tables import ALL, UNDEGRADED


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
        Markdown: two paragraphs, then a list of the claims.
    """
    paragraphs = [f"{_best_rows(frame)} {_against_others(paired)}"]
    if chosen:
        paragraphs.append(f"Best on the validation classes, {_chosen(frame, chosen)}.")
    return "\n\n".join([*paragraphs, claim_lines(claims)])


def _best_rows(frame: pd.DataFrame) -> str:
    best = frame[frame["best"]]
    own = best[best["method"] == "amfir"]
    counts = best.loc[best["method"] != "amfir", "label"].map(_short).value_counts(sort=False)
    others = f" (otherwise {', '.join(f'{label} in {n}' for label, n in counts.items())})" if len(counts) else ""
    return (
        f"**AMFIR** has the highest accuracy in {len(own)} of {len(best)} columns{others}, and is significantly "
        f"above the best other row in {int(own['bold'].sum())}."
    )


def _against_others(paired: pd.DataFrame) -> str:
    """Counts after Holm's correction, with the rows that it loses to on all queries."""
    texts = []
    for basis in (ALL, UNDEGRADED):
        own = paired[paired["basis"] == basis]
        if len(own):
            better, worse = ((own["verdict"] == verdict).sum() for verdict in ("better", "worse"))
            lost = own.loc[own["verdict"] == "worse", "label"].map(_short).value_counts(sort=False)
            told = f" ({', '.join(f'{label} {n}' for label, n in lost.items())})" if basis == ALL and len(lost) else ""
            texts.append(f"on {basis} it is better in {better} of {len(own)} comparisons and worse in {worse}{told}")
    return f"After Holm's correction per column, {'; '.join(texts)}." if texts else ""


def _chosen(frame: pd.DataFrame, chosen: Mapping[str, Mapping[str, str]]) -> str:
    """``multimodal: STRM-LF (synth-kinetics, synth-ssv2); unimodal: ...``."""
    titles = dict(zip(frame["method"], frame["label"], strict=True))
    texts = []
    for kind, names in chosen.items():
        found: dict[str, list[str]] = {}
        for dataset in dict.fromkeys(frame["dataset"]):
            if dataset in names:
                found.setdefault(_short(titles[names[dataset]]), []).append(dataset)
        told = [f"{title} ({', '.join(datasets)})" for title, datasets in found.items()]
        texts.append(f"{kind}: {', '.join(told)}")
    return "; ".join(texts)


def _short(label: str) -> str:
    """Without the remark in brackets."""
    return label.partition(" (")[0]


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
