"""Figure 2: free energy over training, measured on fixed validation episodes, and what its shape amounts to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables import curve_frame, number
from amfir_lib.exports import Table
from amfir_lib.study.runs import RunResult

TOTAL = "total"
PREFIX = "free_energy_"
SMALL = 0.02  # nats; below this two curves are called equal


def curves(results: Iterable[RunResult], *, series: Callable[[RunResult], str]) -> pd.DataFrame:
    """Centred free energy of each modality, and their mean, at every validation.

    Args:
        results: runs of methods with two modalities.
        series: names the series of a run.
    Returns:
        Columns ``dataset, series, seed, step, stream, value`` (nats), averaged over queries and shots; ``stream`` is
        ``total`` or a modality.
    """
    results = list(results)
    modalities = list(dict.fromkeys(m for result in results for m in result.run.material.stores))
    long = curve_frame(results, [PREFIX + m for m in modalities], series=series)
    long = long.assign(stream=long.pop("column").str.removeprefix(PREFIX))
    keys = ["dataset", "series", "seed", "step"]
    total = long.groupby(keys, as_index=False, sort=False)["value"].mean().assign(stream=TOTAL)
    return pd.concat([total, long], ignore_index=True)[[*keys, "stream", "value"]]


def summary(frame: pd.DataFrame, results: Iterable[RunResult], *, series: Callable[[RunResult], str]) -> pd.DataFrame:
    """The shape of each curve in numbers.

    Args:
        frame: from ``curves``.
        results: the same runs.
        series: names the series of a run.
    Returns:
        One row per data set, series and stream, averaged over seeds: ``start``; ``settled``, the mean over the last
        quarter of training, and ``settled_sd`` over seeds; ``early_fluctuation`` and ``late_fluctuation``, the mean
        absolute change between validations in the first and last quarter; for the total also ``gap_start`` and
        ``gap_settled``, mean |F of one modality - F of the other| per query.  All in nats.
    """
    gaps = curve_frame(results, ["free_energy_gap"], series=series)
    rows = []
    for (dataset, name, stream), part in frame.groupby(["dataset", "series", "stream"], sort=False):
        seeds = [_shape(one.sort_values("step")) for _, one in part.groupby("seed")]
        row = {"dataset": dataset, "series": name, "stream": stream} | dict(pd.DataFrame(seeds).mean())
        row["settled_sd"] = float(np.std([one["settled"] for one in seeds], ddof=1)) if len(seeds) > 1 else np.nan
        if stream == TOTAL:
            own = gaps[(gaps["dataset"] == dataset) & (gaps["series"] == name)]
            row["gap_start"] = own.loc[own["step"] == own["step"].min(), "value"].mean()
            row["gap_settled"] = own.loc[own["step"] >= 0.75 * own["step"].max(), "value"].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def _shape(one: pd.DataFrame) -> dict[str, float]:
    last = one["step"].max()
    change = one["value"].diff().abs()
    return {
        "start": float(one["value"].iloc[0]),
        "settled": float(one.loc[one["step"] >= 0.75 * last, "value"].mean()),
        "early_fluctuation": float(change[one["step"] <= 0.25 * last].mean()),
        "late_fluctuation": float(change[one["step"] > 0.75 * last].mean()),
    }


def shown(frame: pd.DataFrame, *, caption: str) -> Table:
    """The summary as it is to be read."""
    text = pd.DataFrame(
        {
            "data set": frame["dataset"],
            "series": frame["series"],
            "stream": frame["stream"].replace({TOTAL: "mean of both", "rgb": "RGB"}),
            "at the start": [_nats(v) for v in frame["start"]],
            "settled": [_nats(v, s) for v, s in zip(frame["settled"], frame["settled_sd"], strict=True)],
            "change per validation, first quarter": [f"{v:.3f}" for v in frame["early_fluctuation"]],
            "change per validation, last quarter": [f"{v:.3f}" for v in frame["late_fluctuation"]],
            "gap between the streams": [f"{v:.2f}" if np.isfinite(v) else "–" for v in frame["gap_settled"]],
        }
    )
    return Table(frame, text, caption)


def _nats(value: float, spread: float = np.nan) -> str:
    return f"{number(value)} ± {spread:.2f}" if np.isfinite(spread) else number(value)


def sentences(frame: pd.DataFrame, *, plateau: float) -> str:
    """What was found, in words, from the summary alone.

    Args:
        frame: from ``summary``.
        plateau: the paper's level, in nats.
    """
    total = frame[frame["stream"] == TOTAL].set_index(["dataset", "series"])
    parts = []
    for dataset in dict.fromkeys(frame["dataset"]):
        own = total.loc[(dataset, "AMFIR")]
        moved = own["settled"] - own["start"]
        course = "stays" if abs(moved) < SMALL else "falls" if moved < 0 else "rises"
        text = (
            f"On **{dataset}** AMFIR's free energy {course}: it starts at {own['start']:.2f} nats and settles at "
            f"{own['settled']:.2f}; it fluctuates by {own['early_fluctuation']:.3f} in the first quarter of training "
            f"and by {own['late_fluctuation']:.3f} in the last; the paper prints about {plateau:.1f} on real data."
        )
        without = total["settled"].get((dataset, "no distillation"))
        if without is not None:
            text += (
                f" Without distillation, by cross-entropy alone, it settles at {without:.2f}, "
                f"{_compared(without, own['settled'])} with it."
            )
        fixed = total.loc[[key for key in total.index if key[0] == dataset and key[1].startswith("1/τ")]]
        if len(fixed):
            levels = ", ".join(
                f"from {row['start']:.2f} to {row['settled']:.2f} ({name})" for (_, name), row in fixed.iterrows()
            )
            text += f" With the temperature fixed it goes {levels}"
            if len(fixed) > 1:
                moved, started = np.ptp(fixed["settled"]), np.ptp(fixed["start"])
                text += f": levels that lie {started:.2f} nats apart at the start and {moved:.2f} at the end"
            text += "."
        parts.append(text)
    return re.sub(r"(?<!\w)-(?=\d)", "−", "\n\n".join(parts))


def _compared(value: float, other: float) -> str:
    return "as" if abs(value - other) < SMALL else "lower than" if value < other else "higher than"
