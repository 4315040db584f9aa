"""Seconds that training and testing the methods of Table 1 take, planned from steps and episodes that were timed.

The arithmetic is in :func:`training_plan`: seconds of a run = steps x seconds a step + episodes x seconds an episode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from amfir_lib.exports import Table
from amfir_lib.methods import METHODS, Method, tuned_training, uses_patches
from amfir_lib.parallel import single_thread
from amfir_lib.study.config import PROFILES, Profile
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.training import Training, train

PAPER = PROFILES["paper"]
STEPS = 4  # that are timed, after one that warms up
EPISODES = 100  # that are timed at test


@dataclass(frozen=True)
class TrainingCosts:
    """Seconds that one method takes in one thread, or on one GPU.

    Args:
        step_s: one step of the optimiser, the mean over the shots that steps take in turn.
        episode_s: one episode of a test or validation, its share of embedding the clips included.
    """

    step_s: float
    episode_s: float


def trained_methods() -> list[str]:
    """The methods that are trained themselves; the others are assembled from them."""
    return [name for name, spec in METHODS.items() if not spec.parts]


def measure_training(
    build: Callable[[str, FeatureTable], Method], tables: Mapping[bool, FeatureTable], *,
    methods: Iterable[str] | None = None, profile: Profile = PAPER,
) -> dict[str, TrainingCosts]:  # fmt: skip
    """Time some steps and test episodes of each method, in one thread where the features are on the CPU.

    Args:
        build: method with initial weights from its name and a table.
        tables: whether a method uses patches -> features, with classes in "train" and "val".
        methods: names; None for all that are trained.
        profile: whose episodes are timed.
    """
    settings = Training(
        n_way=profile.n_way, shots=profile.train_shots, n_query=profile.n_query, steps=STEPS,
        episodes_per_step=profile.episodes_per_step, validate_every=STEPS, n_val_episodes=1,
    )  # fmt: skip
    found = {}
    with single_thread():
        for name in trained_methods() if methods is None else methods:
            table = tables[uses_patches(name)]
            method = build(name, table).to(next(iter(table.features.values())).device)
            train(method, table, settings, seed=0)
            step_s = train(method, table, settings, seed=1).seconds / STEPS
            episodes = table.sample(
                "val", n_way=profile.n_way, n_shot=max(profile.test_shots), n_query=profile.n_query,
                n_episodes=EPISODES, rng=np.random.default_rng(0),
            )  # fmt: skip
            start = time.perf_counter()
            evaluate(method, table, episodes)
            found[name] = TrainingCosts(step_s, (time.perf_counter() - start) / EPISODES)
    return found


def training_plan(costs: Mapping[str, TrainingCosts], *, profile: Profile = PAPER) -> pd.DataFrame:
    """What Table 1 of one data set takes: every method trained with every seed, validated and tested at every shot.

    Returns:
        One row a method: ``method, step_s, steps, episode_s, episodes, run_s, runs, hours``; ``run_s`` is steps x
        seconds a step + episodes x seconds an episode, ``hours`` that of all its runs, one after another.  Methods that
        are assembled from others take no step, and test each of their parts.
    """
    settings, rows = Training(steps=profile.train_steps), []
    for name, spec in METHODS.items():
        parts = spec.parts or (name,)
        if not all(part in costs for part in parts):
            continue
        steps = 0 if spec.parts else tuned_training(name, settings).steps
        validations = 0 if spec.parts else -(-steps // profile.validate_every) + 1
        episodes = validations * profile.n_val_episodes * len(profile.train_shots)
        episodes += profile.n_test_episodes * len(profile.test_shots)
        step_s = 0.0 if spec.parts else costs[name].step_s
        episode_s = sum(costs[part].episode_s for part in parts)
        run_s = steps * step_s + episodes * episode_s
        rows.append({
            "method": spec.title, "step_s": step_s, "steps": steps, "episode_s": episode_s, "episodes": episodes,
            "run_s": run_s, "runs": profile.n_seeds, "hours": profile.n_seeds * run_s / 3600,
        })  # fmt: skip
    return pd.DataFrame(rows)


def wall_hours(frame: pd.DataFrame, *, cores: int) -> float:
    """Wall time of all runs of ``training_plan`` on so many cores, one run a core; the longest run is the least.

    Assembled methods wait for their parts, which this leaves out: they take little.
    """
    return max(frame["hours"].sum() / cores, frame["run_s"].max() / 3600)


def training_table(frame: pd.DataFrame, *, profile: Profile = PAPER) -> Table:
    """``training_plan`` as a table to read."""
    shown = pd.DataFrame({
        "method": frame["method"], "a step (ms)": (1e3 * frame["step_s"]).map("{:.3g}".format),
        "steps": frame["steps"].map("{:,}".format), "an episode (ms)": (1e3 * frame["episode_s"]).map("{:.3g}".format),
        "episodes": frame["episodes"].map("{:,}".format), "a run (h)": (frame["run_s"] / 3600).map("{:.2g}".format),
        "runs": frame["runs"].map(str), "all (h)": frame["hours"].map("{:.2g}".format),
    })  # fmt: skip
    caption = (
        f"Table 1 of one data set in the profile {profile.name}, planned, not run: a run = steps × a step + episodes × "
        f"an episode; a step has {profile.episodes_per_step} episodes; the episodes are those of validation and test. "
        f"All methods together: {frame['hours'].sum():.0f} h of one core."
    )
    return Table(frame, shown, caption)
