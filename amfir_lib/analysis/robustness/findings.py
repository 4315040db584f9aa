"""What the robustness tables say, in words: every number comes from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from amfir_lib.analysis.robustness.confusion import Confusion
from amfir_lib.analysis.robustness.tables import OWN
from amfir_lib.analysis.robustness.weighing import counted_moves
from amfir_lib.analysis.tables import percent

LATE = "protonet_lf"


def spoilt_sentences(accuracy: pd.DataFrame, paired: pd.DataFrame, *, severity: float) -> str:
    """Which disturbance costs AMFIR most, and where it loses less or more than late fusion; one paragraph a data set.

    Args:
        accuracy, paired: from ``tables.accuracy_frame`` and ``paired_frame``.
        severity: the one that is told.
    """
    paragraphs = []
    own, gaps = (_told(frame, severity) for frame in (accuracy, paired))
    for dataset, part in own[own["key"] == OWN].groupby("dataset", sort=False):
        part = part.sort_values("cost", ascending=False)
        worst, mildest = part.iloc[0], part.iloc[-1]
        text = (
            f"**{dataset}**, severity {severity:g}: AMFIR loses most to {worst['kind']} "
            f"({_loss(worst)} points) and least to {mildest['kind']} ({_loss(mildest)})."
        )
        late = gaps[(gaps["dataset"] == dataset) & (gaps["key"] == LATE)]
        if len(late):
            text += f" {_sides(late)}"
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _told(frame: pd.DataFrame, severity: float) -> pd.DataFrame:
    own = frame[(frame["n_shot"] == frame["n_shot"].min()) & (frame["family"] != "")]
    return own[(own["severity"] == severity) | (own["kind"] == "reversal")]


def _loss(row: pd.Series) -> str:
    return percent(row["cost"], row["cost_half_width"])


def _sides(late: pd.DataFrame) -> str:
    """``Equal late fusion loses more under blur (1.2 points). In 7 of 8 kinds no difference is shown.``"""
    difference, half = late["cost_difference"], late["cost_difference_half_width"]
    texts = []
    for word, mask in (("more", difference > half), ("less", -difference > half)):
        if mask.any():
            told = ", ".join(f"{r.kind} ({percent(abs(r.cost_difference))} points)" for r in late[mask].itertuples())
            texts.append(f"{word} than AMFIR under {told}")
    rest = int((~(difference.abs() > half)).sum())
    shown = f"Equal late fusion loses {', and '.join(texts)}. " if texts else ""
    return f"{shown}In {rest} of {len(late)} kinds no difference to equal late fusion is shown."


def weight_sentences(frame: pd.DataFrame, *, severity: float) -> str:
    """Whether the weight moves to the healthy stream; from ``weighing.weights_frame``."""
    own = _told(frame, severity)
    own = own[own["spared_verdict"] != ""]
    if own.empty:
        return "No disturbance is shown to spare one modality, so nothing can be said about where the weight should go."
    weight, group = (percent(own[name].mean(), signed=True) for name in ("weight_gain", "group_gain"))
    most = own.loc[own["weight_gain"].abs().idxmax()]
    largest = percent(most["weight_gain"], most["weight_gain_half_width"], signed=True)
    return (
        f"Where a disturbance at severity {severity:g} is shown to spare one modality, {counted_moves(own)}; on "
        f"average it gains {weight} points of weight, while that modality's share of AMFIR's "
        f"own groups changes by {group} points. The largest change is {largest} points ({most['kind']} on "
        f"{most['dataset']}, {most['spared_verdict'].replace('rgb', 'RGB')} spared)."
    )


def missing_sentences(frame: pd.DataFrame) -> str:
    """What a missing modality costs, beside the network that reads the other one alone."""
    own = frame[(frame["n_shot"] == frame["n_shot"].min()) & (frame["key"] == OWN) & (frame["severity"] > 0)]
    sides = {"queries": "queries", "all": "supports and queries"}
    texts = [
        f"{row.kind} ({sides[row.side]}) AMFIR reaches {percent(row.accuracy, row.half_width)} % on {row.dataset}, "
        f"the other modality alone {percent(row.alone_accuracy)} %"
        for row in own.itertuples()
    ]
    return f"{'; '.join(texts)}.".replace("without rgb", "without RGB").replace("without", "Without", 1)


def scarcity_sentences(accuracy: pd.DataFrame, paired: pd.DataFrame) -> str:
    """What little base data cost, one sentence a data set."""
    own = accuracy[(accuracy["n_shot"] == accuracy["n_shot"].min()) & (accuracy["key"] == OWN)]
    texts = []
    for dataset, part in own.groupby("dataset", sort=False):
        full = part[part["swept"] == ""].iloc[0]
        text = f"**{dataset}**: AMFIR reaches {percent(full['accuracy'], full['half_width'])} % with all base data"
        for swept, less in part[part["swept"] != ""].groupby("swept", sort=False):
            least = less.loc[less["n_left"].idxmin()]
            gap = paired[(paired["dataset"] == dataset) & (paired["key"] == LATE) & (paired["swept"] == swept)]
            gap = gap[(gap["n_left"] == least["n_left"]) & (gap["n_shot"] == least["n_shot"])]
            text += f", {percent(least['accuracy'])} % with {least['n_left']} {swept}"
            if len(gap):
                row = gap.iloc[0]
                width = row["cost_difference_half_width"]
                text += f" ({percent(row['cost_difference'], width, signed=True)} less lost than late fusion)"
        texts.append(f"{text}.")
    return " ".join(texts)


def cost_sentence(costs: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """What AMFIR's query costs, and how little of it is AMFIR."""
    row = costs.set_index("key").loc[OWN]
    others = ", ".join(
        f"{titles[one.key].partition(' (')[0]} {one.multiply_adds / row['multiply_adds']:.1f} times"
        for one in costs.itertuples()
        if one.key != OWN
    )
    return (
        f"A query takes AMFIR {row['multiply_adds'] / 1e6:.2f} million multiply-adds ({others}); the backbones take "
        f"{row['backbone_multiply_adds'] / 1e6:.0f} million for its clip. Of {row['query_ms']:.1f} ms a query, reading "
        f"the clip takes {row['reading_ms']:.1f}."
    )


def reliability_sentence(frame: pd.DataFrame) -> str:
    """Over- or under-confidence of each modality, the range over the data sets."""
    gap = frame.groupby("stream", sort=False)["overconfidence"].agg(["min", "max"])
    texts = [
        f"{stream.replace('rgb', 'RGB')} from {percent(row['min'], signed=True)} to {percent(row['max'], signed=True)}"
        for stream, row in gap.iterrows()
    ]
    return f"Mean certainty minus accuracy, over data sets and shots, in points: {'; '.join(texts)}."


def confusion_sentences(found: Sequence[Confusion], pairs: pd.DataFrame) -> str:
    """The most confused pair of the best and the worst benchmark, beside the mean rate of all pairs."""
    texts = []
    for one in found:
        own = pairs[pairs["dataset"] == one.dataset]
        top = own.loc[own["mutual_rate"].idxmax()]
        mean = own["rate"].mean()
        texts.append(
            f"On **{one.dataset}** ({percent(one.accuracy)} % right at {one.n_shot}-shot) {top['true_class']} and "
            f"{top['taken_for']} are taken for one another in {percent(top['mutual_rate'])} % of the queries where "
            f"that is possible; over all pairs it is {percent(mean)} %."
        )
    return " ".join(texts)
