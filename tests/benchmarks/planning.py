"""What each real benchmark costs in time, disk and memory, from costs that were measured on this machine.

Hours = clips x seconds per clip / (3600 x cores), stage by stage; disk = clips x bytes per clip; seconds of a training
run = steps x seconds a step + episodes x seconds an episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from amfir_lib.data.benchmarks import BENCHMARKS, published_videos
from amfir_lib.methods import METHODS, tuned_training
from amfir_lib.study.config import PROFILES
from amfir_lib.study.study import FLOW_OF_REAL_CLIPS
from amfir_lib.study.training import Training

MODEL_CLIPS = "ucf101"  # whose typical clip stands for real ones
MACHINES = {"laptop": (2, 0), "one GPU": (16, 1), "8-GPU node": (128, 8), "cluster": (1024, 0)}  # cores, GPUs
PAPER = PROFILES["paper"]
GIGABYTE, HOUR = 1e9, 3600


def training_plan(costs: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """What Table 1 of one data set takes: every method trained with every seed, validated and tested at every shot.

    Returns:
        One row a method: ``method, step_s, steps, episode_s, episodes, run_s, runs, hours``; ``run_s`` is steps x
        seconds a step + episodes x seconds an episode.  Methods that are assembled from others take no step, and test
        each of their parts.
    """
    rows = []
    for name, spec in METHODS.items():
        parts = spec.parts or (name,)
        if not all(part in costs for part in parts):
            continue
        steps = 0 if spec.parts else tuned_training(name, Training(steps=PAPER.train_steps)).steps
        validations = 0 if spec.parts else -(-steps // PAPER.validate_every) + 1
        episodes = validations * PAPER.n_val_episodes * len(PAPER.train_shots)
        episodes += PAPER.n_test_episodes * len(PAPER.test_shots)
        step_s, episode_s = 0.0 if spec.parts else costs[name][0], sum(costs[part][1] for part in parts)
        run_s = steps * step_s + episodes * episode_s
        rows.append({
            "method": spec.title, "step_s": step_s, "steps": steps, "episode_s": episode_s, "episodes": episodes,
            "run_s": run_s, "runs": PAPER.n_seeds, "hours": PAPER.n_seeds * run_s / HOUR,
        })  # fmt: skip
    return pd.DataFrame(rows)


def plan(
    costs: Mapping[str, Mapping[str, float]], *, worker_bytes: float, frame_bytes: float, training: pd.DataFrame,
    gpu_features_s: float | None = None, gpu_training: pd.DataFrame | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Time, disk and memory of Table 1 of each benchmark on each machine, stages one after another.

    Args:
        costs: benchmark -> costs of one of its clips, in one thread.
        worker_bytes: memory of one worker.
        frame_bytes: of one clip in the frame cache of end-to-end training.
        training: of ``training_plan``, timed in one thread; one run a core, and the longest run is the least.
        gpu_features_s, gpu_training: seconds a clip, and ``training_plan``, on one GPU, which trains one run after
            another; None leaves the work to the cores everywhere.
    """
    rows = []
    for name, cost in costs.items():
        clips = sum(published_videos(name).values())
        for machine, (cores, gpus) in MACHINES.items():
            on_gpu = bool(gpus) and gpu_features_s is not None
            features_s = gpu_features_s / gpus if on_gpu else cost["features_s"] / cores
            hours = {
                "read_h": clips * cost["read_s"] / cores / HOUR,
                "features_h": clips * features_s / HOUR,
                "training_h": max(training["hours"].sum() / cores, training["run_s"].max() / HOUR),
            }
            if on_gpu:
                hours["training_h"] = gpu_training["hours"].sum()
            rows.append({
                "dataset": name, "machine": machine, "cores": cores, "gpus": gpus, "clips": clips, **hours,
                "total_h": sum(hours.values()), "features_gb": clips * cost["bytes"] / GIGABYTE,
                "frame_cache_gb": clips * frame_bytes / GIGABYTE, "memory_gb": cores * worker_bytes / GIGABYTE,
            })  # fmt: skip
    return pd.DataFrame(rows)


def page(
    machine: Mapping[str, Any], backbone: str, costs: Mapping[str, Mapping[str, float]], planned: pd.DataFrame,
    training: pd.DataFrame, rates: pd.DataFrame,
) -> str:  # fmt: skip
    """The planning page in Markdown."""
    sizes = {name: f"{kind.frames} frames, {kind.width} × {kind.height}" for name, kind in BENCHMARKS.items()}
    clips = pd.DataFrame({"dataset": name, "clip": sizes[name], **cost} for name, cost in costs.items())
    where = f"on {machine['gpu']}" if machine["gpu"] else "on the cores everywhere: no GPU was measured"
    intro = (
        f"Costs per clip were measured on {machine['device_name']}, {machine['cores']} cores, GPU: "
        f"{machine['gpu'] or 'none'}, torch {machine['packages']['torch']}, load average {machine['load_average']}, in "
        f"one thread with the backbone {backbone}; the rest is arithmetic, planned and not run: hours = clips × "
        "seconds a clip / (3600 × cores or GPUs); disk = clips × bytes a clip; memory = cores × that of a worker; "
        "training = (steps × seconds a step + episodes × seconds an episode) × runs / cores. The timed clips are coded "
        "in MPEG-4 part 2, as UCF101 and HMDB51 are; H.264 and VP9, the codecs of Kinetics and Something-Something, "
        "are not timed."
    )
    about_plan = (
        f"Flow: {FLOW_OF_REAL_CLIPS['flow_algorithm']}; backbone and training {where}. Wall time, one stage after "
        "another; one worker and one run a core. The frame cache (flow in 8 bits) is for end-to-end training, whose "
        "own time is not in the table."
    )
    about_training = (
        f"Table 1 of one data set in the profile paper; a step has {PAPER.episodes_per_step} episodes; the episodes "
        f"are those of validation and test. All methods together: {training['hours'].sum():.0f} h of one core."
    )
    about_rates = (
        "Clips read a second by feature extraction, both streams; share of the time in one thread. Real clips are as "
        f"long and large as those of {MODEL_CLIPS}."
    )
    parts = ["# Planning: what the real benchmarks cost", intro]
    for heading, table, caption in (
        ("Costs of one clip", clips, "Clips of the typical length."),
        ("Plan", planned, about_plan),
        ("Training Table 1, in one thread", training, about_training),
        ("Throughput", rates, about_rates),
    ):
        parts += [f"## {heading}", _markdown(table), caption]
    return "\n\n".join(parts) + "\n"


def _markdown(frame: pd.DataFrame) -> str:
    words = {"clips_per_s": "clips/s", "promised_per_s": "one thread × cores"}
    shown = frame.rename(columns=lambda name: words.get(name, name.replace("_", " ")))
    return shown.to_markdown(index=False, floatfmt=".3g", intfmt=",")
