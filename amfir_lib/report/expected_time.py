"""How long an ablation is going to take: an estimate from the committed record of its baseline.

The record of a notebook names each of its runs with the seconds of its training.  A changed parameter makes some of
them anew, and what the notebook does beside training takes no longer than the whole baseline took.  So the estimate is
a range between two measured times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amfir_lib.report.reruns import Ablation
from amfir_lib.running.display import format_seconds

GROW_WITH = ("train_steps", "n_way")  # parameters with which the time of a run grows, about in proportion


@dataclass(frozen=True)
class Estimate:
    """What an ablation computes.

    Attributes:
        n_runs: that are trained anew.
        run_seconds: of the training of one.
        at_once: runs that train at the same time.
        baseline_seconds: of the whole notebook, with whatever its cache lacked.
        new_features: whether the clips must be read again before, which the estimate leaves out.
    """

    n_runs: int
    run_seconds: float
    at_once: int
    baseline_seconds: float
    new_features: bool = False

    @property
    def training_seconds(self) -> float:
        """Of the training alone; the lower end."""
        return self.n_runs * self.run_seconds / self.at_once

    @property
    def words(self) -> str:
        """``15 s to 1:28 min, estimated (12 runs of 2.4 s)``."""
        ends = [format_seconds(s) for s in (self.training_seconds, self.training_seconds + self.baseline_seconds)]
        features = "new features, then " if self.new_features else ""
        return f"{features}{ends[0]} to {ends[1]}, estimated ({self.n_runs} runs of {self.run_seconds:.1f} s)"


def estimate(row: Ablation, record: Mapping[str, Any]) -> Estimate | None:
    """The estimate for the first value of an ablation; None where the record names no trained runs.

    Args:
        row: of ``reruns.ablations``.
        record: of its notebook, as ``amfir_lib.records`` writes it.
    Example:
        A baseline of 74 s whose AMFIR was trained 12 times, 2.4 s each, on 2 cores: 14 s of training.
    """
    # Assembled and untrained methods have no best step: what they cost is already counted, or nothing.
    trained = {
        run["key"]: run["training_seconds"]
        for run in record.get("numbers", {}).get("runs", ())
        if run["best_step"] is not None and (not row.reaches or run["series"] in row.reaches)
    }
    if not trained:
        return None
    environment = record["environment"]
    return Estimate(
        n_runs=round(len(trained) * _share_of_runs(row, record)),
        run_seconds=sum(trained.values()) / len(trained) * _growth(row, record),
        at_once=environment["cores"] if environment["device"] == "cpu" else 1,
        baseline_seconds=record["seconds"],
        new_features=row.new_features,
    )


def _share_of_runs(row: Ablation, record: Mapping[str, Any]) -> float:
    """Runs to be trained, as a share of those of the baseline: of more seeds, only the further ones."""
    if row.parameter != "n_seeds":
        return 1.0
    n_seeds = len(record["seeds"])
    return max(0, int(row.values[0]) - n_seeds) / n_seeds


def _growth(row: Ablation, record: Mapping[str, Any]) -> float:
    """Seconds of a run over those of one of the baseline."""
    if row.parameter not in GROW_WITH:
        return 1.0
    return float(row.values[0]) / (record["options"].get(row.parameter) or record["profile"][row.parameter])
