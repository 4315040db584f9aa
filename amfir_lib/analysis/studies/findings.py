"""What the tables say, in words: every number comes from a table, no sentence is typed by hand."""

from __future__ import annotations

import pandas as pd

from amfir_lib.analysis.tables import percent

PARTS = ("certainty fusion", "distillation")  # that AMFIR minus ProtoNet-LF is the sum of
JUDGED = {"better": "beats", "worse": "loses to", "undecided": "is not shown to differ from"}


def summarise_comparison(
    paired: pd.DataFrame, decomposition: pd.DataFrame, selection: pd.DataFrame, calibration: pd.DataFrame
) -> str:
    """What notebook 02 found: a verdict for each data set, then a sentence on the parts, the scores and calibration."""
    late = paired[paired["other"] == "ProtoNet-LF"]
    lines = [f"**{dataset}**: {_verdicts(part)}." for dataset, part in late.groupby("dataset", sort=False)]
    picks = selection[selection["method"] == "AMFIR"].groupby("dataset")[
        ["hit_rate_free_energy", "hit_rate_certainty"]
    ].mean()  # fmt: skip
    own = calibration[calibration["method"] == "AMFIR"].groupby("stream", sort=False)["overconfidence"]
    gaps = [
        f"{_from_to(gap.min(), gap.max(), signed=True)} points ({stream.replace('rgb', 'RGB')})" for stream, gap in own
    ]
    lines.append(
        f"Of the two parts of this difference, {', and '.join(_counted(decomposition, part) for part in PARTS)}. "
        f"{_others(decomposition)}Over the data sets, free energy picks the right modality in "
        f"{_from_to(*picks['hit_rate_free_energy'].agg(['min', 'max']))} % of the decidable queries and certainty in "
        f"{_from_to(*picks['hit_rate_certainty'].agg(['min', 'max']))} %; mean certainty minus accuracy is "
        f"{' and '.join(gaps)}."
    )
    return "\n\n".join(lines)


def _verdicts(part: pd.DataFrame) -> str:
    """``after Holm's correction AMFIR beats equal-weight late fusion at 1-shot (+1.1 ± 0.9 points) and at 5-shot``."""
    texts = []
    for verdict, own in part.groupby("verdict", sort=False):
        told = [f"{row.n_shot}-shot ({_gain(row)} points)" for row in own.itertuples()]
        texts.append(f"{JUDGED[verdict]} equal-weight late fusion at {' and '.join(told)}")
    corrected = "after Holm's correction " if part["half_width"].notna().any() else ""
    return f"{corrected}AMFIR {', and '.join(texts)}"


def _counted(decomposition: pd.DataFrame, part: str) -> str:
    verdicts = decomposition.loc[decomposition["comparison"] == part, "verdict"]
    counts = [f"{word} in {(verdicts == verdict).sum()}" for verdict, word in (("better", "helps"), ("worse", "hurts"))]
    return f"{part} {' and '.join(counts)} of {len(verdicts)} cells"


def _others(decomposition: pd.DataFrame) -> str:
    """Further effects, such as that of training the backbones."""
    rest = decomposition[~decomposition["comparison"].isin(PARTS)]
    texts = [
        f"{row.comparison[0].upper()}{row.comparison[1:]} adds {_gain(row)} points on {row.dataset} at "
        f"{row.n_shot}-shot ({row.verdict}). "
        for row in rest.itertuples()
    ]
    return "".join(texts)


def _gain(row: tuple) -> str:
    return percent(row.difference, row.half_width, signed=True)


def _from_to(low: float, high: float, *, signed: bool = False) -> str:
    texts = [percent(value, signed=signed) for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"
