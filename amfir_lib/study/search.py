"""The hyper-parameter search: ``python -m amfir_lib.study.search [METHOD ...]``.

Every trained method gets the same seven trials: three learning rates times two initial temperatures with the study's
own number of steps, and the best of these six with twice the steps.  Each trial is judged by its mean over the
validation classes of two benchmarks, one led by appearance and one by motion: what is best for one alone can leave a
method half-trained on the other.  Twice the steps are taken only where their second half gains two points on the first:
most methods have settled by then.  That threshold was set after the gains were seen, with the time of a study in mind:
at one point STRM-EC and ProtoNet-EA would train longer, too (column ``gain``).  The table of all trials is
``amfir_lib/methods/tuned.csv``; the study reads the chosen rows of it (``methods.tuned_settings``) and does not search
again.  A method whose search is repeated replaces its rows; the other rows stay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from amfir_lib.methods import METHODS, TUNED
from amfir_lib.storage import atomic_write
from amfir_lib.study.config import Config
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.study import prepare, training_of

BENCHMARKS = ("synth-kinetics", "synth-ssv2")
LEARNING_RATES = (0.01, 0.03, 0.1)
SOFTENING = (1.0, 3.0)  # the method's own initial inverse temperature is divided by these
LONGER = 2  # times the steps
WORTH_IT = 0.02  # of validation accuracy, for training longer


def search(config: Config, methods: Sequence[str]) -> pd.DataFrame:
    """Run all trials of some methods: one row each.

    Columns: ``method, lr, logit_scale, longer`` (times the study's steps), for each benchmark its validation accuracy
    (mean over shots, best step), ``val_accuracy`` (their mean), ``gain`` (of the second half of its steps), ``steps,
    chosen``; of equal trials the first is chosen.
    """
    scales = {m: asdict(METHODS[m].options(**METHODS[m].defaults))["logit_scale"] for m in methods}  # before any search
    grid = [(m, lr, scales[m] / soft) for m in methods for soft in SOFTENING for lr in LEARNING_RATES]
    short = _judged(config, pd.DataFrame(grid, columns=["method", "lr", "logit_scale"]), longer=1)
    best = short.loc[short.groupby("method", sort=False)["val_accuracy"].idxmax()]
    long = _judged(config, best[["method", "lr", "logit_scale"]], longer=LONGER)
    settled = long["gain"].to_numpy() < WORTH_IT
    short["gain"] = np.nan  # the rule looks at the long trials
    short["chosen"] = short.index.isin(best.index[settled])
    frame = pd.concat([short, long.assign(chosen=~settled)], ignore_index=True).round({"logit_scale": 4})
    return frame.sort_values("method", key=lambda names: names.map(list(methods).index), kind="stable")


def _judged(config: Config, trials: pd.DataFrame, *, longer: int) -> pd.DataFrame:
    """The trials with their validation accuracies."""
    trials, gains = trials.assign(longer=longer), []
    for name in BENCHMARKS:
        material = prepare(config, name)
        settings = training_of(config, material)
        settings = replace(settings, steps=longer * settings.steps)
        runs = [
            Run(material, trial.method, {"logit_scale": trial.logit_scale}, replace(settings, lr=trial.lr))
            for trial in trials.itertuples()
        ]
        results = run_all(runs, [], **config.workplace, description=f"{name}: search")
        trials[name] = [round(result.record["val_accuracy"], 4) for result in results]
        gains.append([gain_of_second_half(result.validation) for result in results])
    trials["val_accuracy"] = trials[list(BENCHMARKS)].mean(axis=1).round(4)
    trials["gain"] = np.mean(gains, axis=0).round(4)
    trials["steps"] = settings.steps
    return trials


def gain_of_second_half(validation: pd.DataFrame) -> float:
    """By how much the best validation accuracy of a training exceeds the best of its first half of steps."""
    accuracy = validation.groupby("step")["accuracy"].mean()
    return float(accuracy.max() - accuracy[accuracy.index <= accuracy.index[-1] / 2].max())


def main(arguments: Sequence[str]) -> None:
    """Search, and put the rows into the table."""
    methods = list(arguments) or [name for name, spec in METHODS.items() if not (spec.parts or spec.tuned_as)]
    trials = search(Config.from_notebook({"profile": "study"}), methods)
    if TUNED.exists():
        others = pd.read_csv(TUNED).query("method not in @methods")
        trials = pd.concat([others, trials], ignore_index=True)
    trials = trials.sort_values("method", key=lambda names: names.map(list(METHODS).index), kind="stable")
    with atomic_write(TUNED) as temporary:
        trials.to_csv(temporary, index=False)
    print(trials[trials["chosen"]].to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
