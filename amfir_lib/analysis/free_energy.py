"""Figure 2: free energy over training on fixed validation episodes, what its shape amounts to, and the claims about it.

An interval here covers another training seed and nothing else: neither other classes nor other clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import special

from amfir_lib.analysis.answers import Namer
from amfir_lib.analysis.claims import VALIDATION, joint_verdict, listed, near_verdict, row
from amfir_lib.analysis.training import curves
from amfir_lib.paper import published
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import CONFIDENCE, Interval

TOTAL = "total"
PREFIX = "free_energy_"
NEAR = 0.5  # nats: what "near" the paper's plateau is taken to mean
LINE = ["dataset", "series", "stream"]


def free_energy_curves(results: Sequence[RunResult], *, series: Namer) -> pd.DataFrame:
    """Centred free energy of each modality, and their mean, at every validation.

    Returns:
        Columns ``dataset, series, seed, step, stream, value`` (nats), averaged over queries and shots; ``stream`` is
        ``total`` or a modality.
    """
    modalities = dict.fromkeys(m for result in results for m in result.run.material.stores)
    long = curves(results, [PREFIX + m for m in modalities], series=series)
    long = long.assign(stream=long.pop("column").str.removeprefix(PREFIX))
    keys = ["dataset", "series", "seed", "step"]
    total = long.groupby(keys, as_index=False, sort=False)["value"].mean().assign(stream=TOTAL)
    return pd.concat([total, long], ignore_index=True)[[*keys, "stream", "value"]]


def shapes(frame: pd.DataFrame, results: Sequence[RunResult], *, series: Namer) -> pd.DataFrame:
    """The shape of each curve (of ``free_energy_curves``) of each seed, in nats.

    Returns:
        One row per data set, series, stream and seed: ``start``; ``settled``, the mean over the last quarter of
        training; ``early_fluctuation`` and ``late_fluctuation``, the mean absolute change between validations in the
        first and last quarter; of the total also ``gap_start`` and ``gap_settled``, mean |F of one modality - F of the
        other| per query.
    """
    gaps = curves(results, ["free_energy_gap"], series=series)
    by_seed = {key: part.sort_values("step") for key, part in gaps.groupby(["dataset", "series", "seed"])}
    rows = []
    for key, part in frame.groupby([*LINE, "seed"], sort=False):
        where = dict(zip([*LINE, "seed"], key, strict=True))
        part = part.sort_values("step")
        step, change = part["step"], part["value"].diff().abs()
        last = step.max()
        shape = {
            "start": float(part["value"].iloc[0]),
            "settled": float(part.loc[step >= 0.75 * last, "value"].mean()),
            "early_fluctuation": float(change[step <= 0.25 * last].mean()),
            "late_fluctuation": float(change[step > 0.75 * last].mean()),
        }
        if where["stream"] == TOTAL:
            gap = by_seed[where["dataset"], where["series"], where["seed"]]
            settled = gap.loc[gap["step"] >= 0.75 * gap["step"].max(), "value"].mean()
            shape |= {"gap_start": gap["value"].iloc[0], "gap_settled": settled}
        rows.append(where | shape)
    return pd.DataFrame(rows)


def summary(by_seed: pd.DataFrame, results: Sequence[RunResult], *, series: Namer) -> pd.DataFrame:
    """The shape of each curve in numbers: the means over seeds of ``shapes``, and ``settled_sd``."""
    gaps = curves(results, ["free_energy_gap"], series=series)
    late = gaps[gaps["step"] >= 0.75 * gaps.groupby(["dataset", "series"])["step"].transform("max")]
    settled = {key: part["value"].mean() for key, part in late.groupby(["dataset", "series"])}
    rows = []
    for key, part in by_seed.groupby(LINE, sort=False):
        row = dict(zip(LINE, key, strict=True)) | dict(part.drop(columns=[*LINE, "seed"]).mean())
        row["settled_sd"] = float(np.std(list(part["settled"]), ddof=1)) if len(part) > 1 else np.nan
        rows.append(row | {"gap_settled": settled[key[:2]] if key[2] == TOTAL else np.nan})
    return pd.DataFrame(rows)


def published_plateau() -> float:
    """The free energy, in nats, at which the paper says that both curves of its Figure 2 settle (Sec. 4.2)."""
    numbers = published("text_numbers")
    (value,) = numbers.loc[numbers["quantity"] == "free_energy_converged", "value"].unique()
    return float(value)


def free_energy_claims(by_seed: pd.DataFrame, *, plateau: float, notebook: str) -> list[dict[str, str]]:
    """The claims of Sec. 4.2, one row each over all data sets.

    *Falls*: settled minus start < 0, where settled is the mean over the last quarter of training.  *Fluctuates less*:
    mean absolute change between validations, first quarter minus last quarter, > 0.  *Settles near the plateau*: the
    interval of the settled level lies within 0.5 nats of it.  *Less uncertain*: |F of one modality - F of the other|
    per query, settled minus start, > 0; its ratio to the mean |F| is given beside it, because sharper posteriors alone
    widen the gap.  *Because of distillation*, by seed: the settled level without distillation minus that with it, > 0;
    the gap with distillation minus that without it, > 0.

    Intervals are over seeds, and undefined with one seed.
    """
    total = by_seed[by_seed["stream"] == TOTAL]
    own, control = total[total["series"] == "AMFIR"], total[total["series"] == "no distillation"]
    paired = own.merge(control, on=["dataset", "seed"], suffixes=("", "_without"))

    def over_sets(values: Callable[[pd.DataFrame], pd.Series], of: pd.DataFrame = own) -> dict[str, Interval]:
        return {name: interval_over_seeds(values(part)) for name, part in of.groupby("dataset", sort=False)}

    def nats(parts: Mapping[str, Interval], decimals: int | None = None) -> str:
        return listed(parts, "nats difference", decimals, alone=True)

    falls = over_sets(lambda part: part["start"] - part["settled"])
    calms = over_sets(lambda part: part["early_fluctuation"] - part["late_fluctuation"])
    levels = over_sets(lambda part: part["settled"])
    wider = over_sets(lambda part: part["gap_settled"] - part["gap_start"])
    relative = over_sets(
        lambda part: part["gap_settled"] / part["settled"].abs() - part["gap_start"] / part["start"].abs()
    )
    lower = over_sets(lambda part: part["settled_without"] - part["settled"], paired)
    surer = over_sets(lambda part: part["gap_settled"] - part["gap_settled_without"], paired)
    level = f"{plateau:.1f}".replace("-", "−")
    asked = [
        ("free_energy_falls", "Free energy falls over training", falls, f"fall {nats(falls)} nats"),
        ("free_energy_calms", "Free energy fluctuates at first and less at the end", calms,
         f"first minus last quarter {nats(calms, 3)} nats"),
        ("free_energy_plateau", f"Free energy settles near {level} nats", levels,
         f"settled {nats(levels)} nats (near: within {NEAR:g})"),
        ("selection_less_uncertain", "The choice of modality becomes less uncertain over training", wider,
         f"gap between the modalities {nats(wider)} nats; relative to |F| {nats(relative)}"),
        ("free_energy_by_distillation", "It is distillation that lowers free energy", lower,
         f"settled without minus with distillation {nats(lower)} nats"),
        ("less_uncertain_by_distillation", "It is distillation that makes the choice of modality less uncertain", surer,
         f"gap with minus without distillation {nats(surer)} nats"),
    ]  # fmt: skip
    n_seeds = int(own.groupby("dataset").size().min())
    rows = []
    for key, claim, parts, value in asked:
        if parts:
            near = key == "free_energy_plateau"
            verdict = near_verdict(parts.values(), plateau, near=NEAR) if near else joint_verdict(parts.values())
            about = {"notebook": notebook, "basis": VALIDATION}
            about |= {"paper": f"about {level} on SSv2 and Kinetics"} if near else {}
            setting = f"{', '.join(parts)}; {n_seeds} training seed(s), interval over seeds only"
            rows.append(row(key, claim, "Sec. 4.2, Fig. 2", value=value, verdict=verdict, setting=setting, **about))
    return rows


def interval_over_seeds(values: Iterable[float]) -> Interval:
    """Student's t interval of the mean over training seeds; with one seed its half width is NaN."""
    values = np.asarray(list(values), dtype=np.float64)
    se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
    half_width = float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * se
    return Interval(float(values.mean()), half_width, se, len(values), half_width)
