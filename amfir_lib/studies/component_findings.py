"""What the tables of Table 2 and Figure 4 say, in words: every number comes from a table."""

from __future__ import annotations

import pandas as pd

from amfir_lib.tables import percent


def ablation_sentences(frame: pd.DataFrame) -> str:
    """What the paired differences to the full method say, one paragraph a data set.

    Args:
        frame: from ``component_tables.differences`` with the full method as reference.
    """
    return _paragraphs(frame, "points that full AMFIR is ahead", better="what costs accuracy", worse="what gains some")


def strategy_sentences(frame: pd.DataFrame) -> str:
    """As ``ablation_sentences``, for bidirectional minus the other strategies."""
    return _paragraphs(frame, "points that bidirectional is ahead", better="it beats", worse="it loses to")


def _paragraphs(frame: pd.DataFrame, unit: str, *, better: str, worse: str) -> str:
    words = {"better": better, "worse": worse, "undecided": "no difference is shown to"}
    first = frame["basis"].iloc[0]
    paragraphs = []
    for dataset, part in frame.groupby("dataset", sort=False):
        lines = []
        for n_shot, own in part[part["basis"] == first].groupby("n_shot", sort=False):
            said = [
                f"{words[verdict]} "
                + ", ".join(f"{row['other']} ({_gain(row)})" for _, row in own[own["verdict"] == verdict].iterrows())
                for verdict in words
                if (own["verdict"] == verdict).any()
            ]
            lines.append(f"{n_shot}-shot, {'; '.join(said)}")
        text = f"**{dataset}** ({unit}, {first}). " + ". ".join(lines) + "."
        paragraphs.append(f"{text} {_moved(part, first)}".rstrip())
    return "\n\n".join(paragraphs)


def _moved(part: pd.DataFrame, first: str) -> str:
    """Which verdicts another basis does not confirm."""
    keys = ["n_shot", "other"]
    before = part[part["basis"] == first].set_index(keys)["verdict"]
    others = []
    for basis, own in part[part["basis"] != first].groupby("basis", sort=False):
        after = own.set_index(keys)["verdict"]
        changed = [f"{other} {shot}-shot {after[shot, other]}" for shot, other in before.index if
                   after[shot, other] != before[shot, other]]  # fmt: skip
        others.append(f"on {basis} {'all verdicts stay' if not changed else 'other verdicts: ' + ', '.join(changed)}")
    text = "; ".join(others)
    return f"{text[0].upper()}{text[1:]}." if others else ""


def _gain(row: pd.Series) -> str:
    return percent(row["difference"], row["half_width"], signed=True)
