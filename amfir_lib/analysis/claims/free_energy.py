"""The claims of Figure 2 (free energy over training), with training seeds as replicates.

The curves are measured on fixed validation episodes, so an interval here covers another training seed and nothing
else: neither other classes nor other clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from amfir_lib.analysis.claims.claim import FAILS, HOLDS, NOT_TESTED, UNDECIDED, VALIDATION, Claim
from amfir_lib.analysis.claims.joint import joint_verdict, listed
from amfir_lib.analysis.studies.free_energy_curve import TOTAL
from amfir_lib.analysis.tables import curve_frame
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Interval

NEAR = 0.5  # nats: what "near" the paper's plateau is taken to mean
NATS = {"scale": 1.0, "decimals": 2}


def free_energy_claims(
    curves: pd.DataFrame,
    results: Iterable[RunResult],
    *,
    series: Callable[[RunResult], str],
    plateau: float,
    reference: str = "AMFIR",
    without: str = "no distillation",
    notebook: str = "03_free_energy",
) -> list[Claim]:
    """The claims of Sec. 4.2, one row each over all data sets.

    *Falls*: settled minus start < 0, where settled is the mean over the last quarter of training.  *Fluctuates less*:
    mean absolute change between validations, first quarter minus last quarter, > 0.  *Settles near the plateau*: the
    interval of the settled level lies within 0.5 nats of it.  *Less uncertain*: |F of one modality - F of the other|
    per query, settled minus start, > 0; its ratio to the mean |F| is given beside it, because sharper posteriors alone
    widen the gap.  *Because of distillation*, by seed: the settled level without distillation minus that with it, > 0;
    the gap with distillation minus that without it, > 0.

    Args:
        curves: from ``free_energy_curve.curves``.
        results: the same runs.
        series: names the series of a run.
        plateau: the paper's level, in nats.
        reference, without: names of the series.
        notebook: that measures them.
    Returns:
        Claims on validation episodes; the intervals are over seeds, and undefined with one seed.
    """
    by_seed = shapes(curves, results, series=series)
    own, control = by_seed[by_seed["series"] == reference], by_seed[by_seed["series"] == without]

    def over_sets(values: Callable[[pd.DataFrame], pd.Series]) -> dict[str, Interval]:
        return {name: interval_over_seeds(values(part)) for name, part in own.groupby("dataset", sort=False)}

    def row(key: str, statement: str, parts: Mapping, value: str, verdict: str, paper: str = "") -> Claim:
        n_seeds = int(own.groupby("dataset").size().min())
        setting = f"{', '.join(parts)}; {n_seeds} training seed(s), interval over seeds only"
        return Claim(key, statement, "Sec. 4.2, Fig. 2", setting, VALIDATION, value, verdict, notebook, paper)

    falls = over_sets(lambda part: part["start"] - part["settled"])
    calms = over_sets(lambda part: part["early_fluctuation"] - part["late_fluctuation"])
    levels = over_sets(lambda part: part["settled"])
    wider = over_sets(lambda part: part["gap_settled"] - part["gap_start"])
    relative = over_sets(
        lambda part: part["gap_settled"] / part["settled"].abs() - part["gap_start"] / part["start"].abs()
    )
    rows = [
        row("free_energy_falls", "Free energy falls over training", falls,
            f"fall {listed(falls, **NATS)} nats", joint_verdict(list(falls.values()))),
        row("free_energy_calms", "Free energy fluctuates at first and less at the end", calms,
            f"first minus last quarter {listed(calms, scale=1.0, decimals=3)} nats",
            joint_verdict(list(calms.values()))),
        row("free_energy_plateau", f"Free energy settles near {plateau:.1f} nats".replace("-", "−"), levels,
            f"settled {listed(levels, **NATS)} nats (near: within {NEAR:g})", near_verdict(levels.values(), plateau),
            f"about {plateau:.1f} on SSv2 and Kinetics".replace("-", "−")),
        row("selection_less_uncertain", "The choice of modality becomes less uncertain over training", wider,
            f"gap between the modalities {listed(wider, **NATS)} nats; relative to |F| {listed(relative, **NATS)}",
            joint_verdict(list(wider.values()))),
    ]  # fmt: skip
    if len(control):
        paired = own.merge(control, on=["dataset", "seed"], suffixes=("", "_without"))
        lower = {
            name: interval_over_seeds(part["settled_without"] - part["settled"])
            for name, part in paired.groupby("dataset", sort=False)
        }
        surer = {
            name: interval_over_seeds(part["gap_settled"] - part["gap_settled_without"])
            for name, part in paired.groupby("dataset", sort=False)
        }
        rows += [
            row("free_energy_by_distillation", "It is distillation that lowers free energy", lower,
                f"settled without minus with distillation {listed(lower, **NATS)} nats",
                joint_verdict(list(lower.values()))),
            row("less_uncertain_by_distillation", "It is distillation that makes the choice of modality less uncertain",
                surer, f"gap with minus without distillation {listed(surer, **NATS)} nats",
                joint_verdict(list(surer.values()))),
        ]  # fmt: skip
    return rows


def shapes(curves: pd.DataFrame, results: Iterable[RunResult], *, series: Callable[[RunResult], str]) -> pd.DataFrame:
    """The shape of each seed's total curve.

    Returns:
        One row per data set, series and seed: ``start, settled, early_fluctuation, late_fluctuation`` (nats) and the
        gap between the modalities at the start and settled, ``gap_start, gap_settled``.
    """
    keys = ["dataset", "series", "seed"]
    gaps = curve_frame(results, ["free_energy_gap"], series=series).rename(columns={"value": "gap"})
    total = curves[curves["stream"] == TOTAL].merge(gaps[[*keys, "step", "gap"]], on=[*keys, "step"], how="left")
    rows = []
    for key, part in total.groupby(keys, sort=False):
        part = part.sort_values("step")
        step, change = part["step"], part["value"].diff().abs()
        late = step >= 0.75 * step.max()
        rows.append(dict(zip(keys, key, strict=True)) | {
            "start": part["value"].iloc[0],
            "settled": part.loc[late, "value"].mean(),
            "early_fluctuation": change[step <= 0.25 * step.max()].mean(),
            "late_fluctuation": change[step > 0.75 * step.max()].mean(),
            "gap_start": part["gap"].iloc[0],
            "gap_settled": part.loc[late, "gap"].mean(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def interval_over_seeds(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean over training seeds; with one seed its half width is NaN."""
    values = np.asarray(values, dtype=np.float64)
    se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
    half_width = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * se
    return Interval(float(values.mean()), half_width, se, len(values), half_width, None, confidence)


def near_verdict(levels: Iterable[Interval], plateau: float, *, near: float = NEAR) -> str:
    """``holds``: each interval lies within ``near`` of the plateau; ``does not hold``: one lies wholly outside."""
    levels = list(levels)
    if not levels:
        return NOT_TESTED
    if any(level.low > plateau + near or level.high < plateau - near for level in levels):
        return FAILS
    inside = all(level.low >= plateau - near and level.high <= plateau + near for level in levels)
    return HOLDS if inside else UNDECIDED
