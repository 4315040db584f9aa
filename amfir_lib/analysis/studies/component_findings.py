"""What the tables of Table 2 and Figure 4 say, in words: every number comes from a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from amfir_lib.analysis.tables import percent

FEW = 3  # so many undecided ones are counted, not named


def ablation_sentences(frame: pd.DataFrame) -> str:
    """What the paired differences to the full method say, one sentence a data set and one on the other bases.

    Args:
        frame: from ``component_tables.differences`` with the full method as reference.
    """
    words = {"better": "full AMFIR beats", "worse": "it loses to"}
    return _sentences(frame, "points that full AMFIR is ahead", words)


def strategy_sentences(frame: pd.DataFrame) -> str:
    """As ``ablation_sentences``, for bidirectional minus the other strategies."""
    words = {"better": "bidirectional beats", "worse": "it loses to"}
    return _sentences(frame, "points that bidirectional is ahead", words)


def _sentences(frame: pd.DataFrame, unit: str, words: dict[str, str]) -> str:
    first = frame["basis"].iloc[0]
    paragraphs = []
    for dataset, part in frame.groupby("dataset", sort=False):
        shots = [
            f"at {n_shot}-shot {_decided(own, words)}"
            for n_shot, own in part[part["basis"] == first].groupby("n_shot", sort=False)
        ]
        text = f"**{dataset}** ({first}, {unit}): after Holm's correction, {'; '.join(shots)}."
        paragraphs.append(f"{text} {_moved(part, first)}".rstrip())
    return "\n\n".join(paragraphs)


def _decided(own: pd.DataFrame, words: dict[str, str]) -> str:
    """Who is beaten and who wins; the undecided are counted where they are many."""
    said = []
    for verdict, word in words.items():
        rows = own[own["verdict"] == verdict]
        if len(rows):
            said.append(f"{word} {_named(rows['other'])} ({_gains(rows)})")
    rest = list(own.loc[own["verdict"] == "undecided", "other"])
    if rest:
        others = _named(rest) if len(rest) < FEW else f"{'the other' if said else 'any of'} {len(rest)}"
        said.append(f"no difference is shown to {others}")
    return ", ".join(said)


def _named(others: Iterable[str]) -> str:
    return ", ".join(f"*{other}*" for other in others)


def _moved(part: pd.DataFrame, first: str) -> str:
    """How many verdicts another basis does not confirm."""
    keys = ["n_shot", "other"]
    before = part[part["basis"] == first].set_index(keys)["verdict"]
    others = []
    for basis, own in part[part["basis"] != first].groupby("basis", sort=False):
        after = own.set_index(keys)["verdict"].reindex(before.index)
        changed = int((after != before).sum())
        others.append(f"on {basis} {f'{changed} of {len(before)} verdicts differ' if changed else 'all verdicts stay'}")
    text = "; ".join(others)
    return f"{text[0].upper()}{text[1:]}." if others else ""


def _gains(rows: pd.DataFrame) -> str:
    """The lowest and the highest difference: ``+2.3 ± 1.1 to +2.5 ± 1.1``."""
    ordered = rows.sort_values("difference")
    ends = ordered.iloc[[0, -1]] if len(rows) > 1 else ordered
    return " to ".join(percent(row.difference, row.half_width, signed=True) for row in ends.itertuples())
