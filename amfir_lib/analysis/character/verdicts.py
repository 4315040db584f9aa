"""What the measured character of a benchmark says about its labels and its targets, in words."""

from __future__ import annotations

import pandas as pd

from amfir_lib.analysis.character.probes import STREAMS

# Targets of the benchmarks, as shares of right answers (or points / 100); fixed before any two methods were compared.
MIN_OWN_COST, MAX_OTHER_COST = 0.10, 0.03
SINGLE_LOW, SINGLE_HIGH, EARLY_FUSION_HIGH = 0.35, 0.75, 0.92
MIDDLE_FRAME_HIGH, REVERSAL_COST = 0.30, 0.10


def label_verdicts(degradation: pd.DataFrame) -> pd.DataFrame:
    """Is the label of each kind earned: it costs its own stream at least 10 points and the other at most 3.

    Args:
        degradation: from ``measure_degradation``, of one or more benchmarks.
    Returns:
        One row per data set and kind: costs of both streams as shares with half-widths, ``verdict``: ``earned``,
        ``hurts both`` or ``too weak``.
    """
    over_shots = degradation[(degradation["n_shot"] == 0) & (degradation["kind"] != "all")]
    rows = []
    for (dataset, label, kind), part in over_shots.groupby(["dataset", "queries", "kind"], sort=False):
        by_stream = part.set_index("stream")
        (other,) = set(STREAMS) - {label}
        row = {"dataset": dataset, "label": label, "kind": kind, "n_queries": int(by_stream["n_queries"].iloc[0])}
        for role, stream in (("own", label), ("other", other)):
            row[f"{role}_cost"] = by_stream.loc[stream, "cost"]
            row[f"{role}_half_width"] = by_stream.loc[stream, "cost_half_width"]
        if row["own_cost"] < MIN_OWN_COST:
            row["verdict"] = "too weak"
        else:
            row["verdict"] = "earned" if row["other_cost"] <= MAX_OTHER_COST else "hurts both"
        rows.append(row)
    return pd.DataFrame(rows)


def kind_costs(degradation: pd.DataFrame) -> pd.DataFrame:
    """What each kind costs each stream, mean over shots, as ``figures.degradation_costs`` draws it."""
    chosen = degradation[(degradation["n_shot"] == 0) & (degradation["kind"] != "all")]
    columns = {"dataset": "dataset", "queries": "label", "kind": "kind", "stream": "stream", "cost": "cost"}
    return chosen.rename(columns=columns | {"half_width": "-", "cost_half_width": "half_width"})[
        [*columns.values(), "half_width"]
    ]


def character_verdicts(character: pd.DataFrame) -> pd.DataFrame:
    """Each target of a benchmark, what was measured, and whether it is met.

    Args:
        character: from ``measure_character``, of one or more benchmarks.
    Returns:
        Columns ``dataset, target, measured`` (text) and ``met`` (bool).
    """
    low, high = character["n_shot"].min(), character["n_shot"].max()
    at = {(r.dataset, r.measure, r.n_shot): r for r in character.itertuples()}
    rows = []
    for dataset in dict.fromkeys(character["dataset"]):
        for stream, label in (("rgb", "RGB"), ("flow", "flow")):
            value = at[dataset, stream, low].accuracy
            target = f"{label} alone, {low}-shot: {100 * SINGLE_LOW:.0f} to {100 * SINGLE_HIGH:.0f} %"
            rows.append((dataset, target, f"{100 * value:.1f} %", SINGLE_LOW <= value <= SINGLE_HIGH))
        value = at[dataset, "early_fusion", high].accuracy
        target = f"early fusion, {high}-shot: under {100 * EARLY_FUSION_HIGH:.0f} %"
        rows.append((dataset, target, f"{100 * value:.1f} %", value < EARLY_FUSION_HIGH))
        if dataset == "synth-kinetics":
            ahead = at[dataset, "rgb", low].accuracy - at[dataset, "flow", low].accuracy
            rows.append((dataset, f"RGB ahead of flow, {low}-shot", f"{100 * ahead:+.1f} points", ahead > 0))
        if dataset == "synth-ssv2":
            value = at[dataset, "middle_frame", low].accuracy
            target = f"middle frame of RGB, {low}-shot: at most {100 * MIDDLE_FRAME_HIGH:.0f} %"
            rows.append((dataset, target, f"{100 * value:.1f} %", value <= MIDDLE_FRAME_HIGH))
            value = at[dataset, "flow_reversed", low].cost
            target = f"a reversed query costs flow, {low}-shot: at least {100 * REVERSAL_COST:.0f} points"
            rows.append((dataset, target, f"{100 * value:.1f} points", value >= REVERSAL_COST))
    rows += _ranking(character[character["n_shot"] == low])
    return pd.DataFrame(rows, columns=["dataset", "target", "measured", "met"])


def _ranking(character: pd.DataFrame) -> list[tuple[str, str, str, bool]]:
    """Which benchmark is the hardest and which the easiest, by the mean of both streams, where all are there."""
    streams = character[character["measure"].isin(STREAMS)]
    means = streams.groupby("dataset")["accuracy"].mean().sort_values()
    if not {"synth-hmdb51", "synth-ucf101"} <= set(means.index) or len(means) < 4:
        return []
    n = len(means)
    return [
        (name, f"the {word} of the {n} (mean of both streams)", f"{found} ({100 * means[found]:.1f} %)", found == name)
        for name, word, found in (
            ("synth-hmdb51", "hardest", means.index[0]),
            ("synth-ucf101", "easiest", means.index[-1]),
        )
    ]
