"""How long an ablation, or one notebook alone, is going to take: estimates from the committed records.

The record of a notebook names each of its runs with the seconds of its training.  A changed parameter makes some of
them anew, and what the notebook does beside training takes no longer than the whole baseline took.  So the estimate of
an ablation is a range between two measured times.  A notebook alone has to do what an earlier one did for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amfir_lib.run.display import format_seconds
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.report.reruns import Ablation

GROW_WITH = ("train_steps", "n_way")  # parameters with which the time of a run grows, about in proportion


@dataclass(frozen=True)
class Estimate:
    """What an ablation computes.

    Attributes:
        n_runs: that are trained anew.
        run_seconds: of the training of one.
        at_once: runs that train at the same time.
        baseline_seconds: of the whole notebook when it computed its runs.
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
    trained = _trained(record, row.reaches)
    if not trained:
        return None
    return Estimate(
        n_runs=round(len(trained) * _share_of_runs(row, record)),
        run_seconds=sum(trained.values()) / len(trained) * _growth(row, record),
        at_once=_at_once(record),
        baseline_seconds=cost_of(record)["seconds"],
        new_features=row.new_features,
    )


def alone_seconds(notebook: str, records: Mapping[str, Mapping[str, Any]]) -> float:
    """What one notebook takes with an empty cache, where its record tells what it took after the ones before it.

    Added to its own time are that of the earlier notebooks that name no runs, because they prepare the data, and the
    training of the runs that it shares with earlier ones.  Data that another notebook prepared for itself are not
    counted.

    Args:
        notebook: one of ``records``.
        records: notebook -> record, of one study.
    Example:
        A notebook of 30 s on 2 cores, after one of 200 s without runs and one that trained two of its runs, 10 s each:
        30 + 200 + 20 / 2 = 240 s.
    """
    own = records[notebook]
    seconds, shared = cost_of(own).get("seconds", 0.0), {}
    for name in sorted(earlier for earlier in records if earlier < notebook):
        before = _trained(records[name])
        shared |= before
        seconds += 0.0 if before else cost_of(records[name]).get("seconds", 0.0)
    again = sum(shared[key] for key in _trained(own) if key in shared)
    return seconds + again / (_at_once(own) if again else 1)


def _trained(record: Mapping[str, Any], series: Sequence[str] = ()) -> dict[str, float]:
    """Key -> training seconds of the trained runs of a record; of these series, if any are given.

    Assembled and untrained methods have no best step: what they cost is already counted, or nothing.
    """
    return {
        run["key"]: run["training_seconds"]
        for run in record.get("numbers", {}).get("runs", ())
        if run["best_step"] is not None and (not series or run["series"] in series)
    }


def _at_once(record: Mapping[str, Any]) -> int:
    """Runs that train at the same time."""
    environment = record["environment"]
    return environment["cores"] if environment["device"] == "cpu" else 1


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
