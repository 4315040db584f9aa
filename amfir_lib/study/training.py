"""Meta-training (Sec. 3.6, Eq. 9-11): SGD over episodes, selection on validation classes, exact resume."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amfir_lib.errors import BadParameter, NonFiniteFeatures, TrainingDiverged
from amfir_lib.methods.base import EpisodeOutput, Method, pick
from amfir_lib.storage import atomic_write, digest_of
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import FeatureTable


@dataclass(frozen=True)
class Training:
    """Settings of one meta-training.

    Attributes:
        n_way: classes per episode.
        shots: supports per class; steps take them in turn.
        n_query: queries per class.
        steps: optimiser steps.
        episodes_per_step: episodes whose mean loss makes one step.
        lr: learning rate of SGD, the paper's gamma.
        momentum: of SGD.
        weight_decay: of SGD.
        clip_norm: largest norm of the gradient.
        validate_every: steps between two validations; the state with the best validation accuracy is kept.
        n_val_episodes: per shot, from the validation classes.
        val_n_way: ways of the validation episodes; 0 means ``n_way``.
    """

    n_way: int = 5
    shots: tuple[int, ...] = (1, 5)
    n_query: int = 5
    steps: int = 400
    episodes_per_step: int = 8
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    validate_every: int = 20
    n_val_episodes: int = 200
    val_n_way: int = 0

    def __post_init__(self) -> None:
        """Refuse, with a BadParameter, a setting that no training can have."""
        for name, low in (("steps", 0), ("episodes_per_step", 1), ("validate_every", 1), ("n_val_episodes", 1)):
            if getattr(self, name) < low:
                raise BadParameter(f"{name} is {getattr(self, name)}, but must be at least {low}. Raise it.")
        if not self.shots or min(self.shots) < 1:
            raise BadParameter(f"shots is {tuple(self.shots)}, but must name numbers of supports, each at least 1.")
        if not self.lr > 0:
            raise BadParameter(f"lr is {self.lr}, but must be above 0. Raise it.")


@dataclass(frozen=True)
class Trained:
    """What a meta-training leaves behind.

    Attributes:
        state: weights with the best validation accuracy.
        history: one row per step: loss and the method's terms.
        validation: one row per validation and shot: accuracy per stream, free energy and certainty per modality.
        best_step: step of ``state``.
        val_accuracy: mean over shots at that step.
        seconds: of computation, over all resumed parts.
    """

    state: dict[str, Tensor]
    history: pd.DataFrame
    validation: pd.DataFrame
    best_step: int
    val_accuracy: float
    seconds: float


def validation_episodes(table: FeatureTable, settings: Training) -> dict[int, Episodes]:
    """shot -> the fixed validation episodes; the same for every method and training seed."""
    return {
        n_shot: table.sample(
            "val",
            n_way=settings.val_n_way or settings.n_way,
            n_shot=n_shot,
            n_query=settings.n_query,
            n_episodes=settings.n_val_episodes,
            rng=np.random.default_rng([20, n_shot]),
        )
        for n_shot in settings.shots
    }


def episode_step(method: Method, table: FeatureTable, episodes: Episodes) -> tuple[EpisodeOutput, Tensor]:
    """Forward pass over a batch of episodes, embedding each clip that occurs in it once.

    Returns:
        The output and the (E, M) targets.
    """
    rows = np.unique(np.concatenate([episodes.support.ravel(), episodes.query.ravel()]))
    clips = {m: table.features[m][rows].float() for m in method.modalities}
    device = next(iter(clips.values())).device
    embeddings = method.embed(clips)
    support = torch.from_numpy(np.searchsorted(rows, episodes.support)).to(device)
    query = torch.from_numpy(np.searchsorted(rows, episodes.query)).flatten(1).to(device)
    output = method.compare(pick(embeddings, support), pick(embeddings, query))
    return output, torch.from_numpy(episodes.target).to(device)


def train(
    method: Method, table: FeatureTable, settings: Training, *, seed: int, checkpoint: Path | None = None
) -> Trained:
    """Meta-train a method on the training classes; select on the validation classes.

    Episodes of step s come from a generator seeded by (seed, s), so a resumed training continues exactly.

    Args:
        method: with its initial weights, on the device of the table; changed in place.
        table: features and labels of all splits.
        settings: of the training.
        seed: of the episodes.
        checkpoint: file that each validation renews and that an interrupted training resumes from; that of another
            method, seed or setting is replaced. None for none.
    Returns:
        The best state and both histories.
    Raises:
        NonFiniteFeatures: a training or validation clip has NaN or infinite features; names modality, row and class.
        TrainingDiverged: the loss or its gradient is not finite; names the step and what to lower.
    """
    _check_features(table, method.modalities)
    optimiser = torch.optim.SGD(
        method.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    held_out = validation_episodes(table, settings)
    identity = digest_of([asdict(settings), seed, type(method).__name__, asdict(method.options), method.dims])
    progress: dict[str, Any] = {
        "identity": identity, "step": 0, "history": [], "validation": [], "best_step": -1, "best": None,
        "val_accuracy": -1.0, "seconds": 0.0,
    }  # fmt: skip
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=next(method.parameters()).device)
        if saved["identity"] == identity:
            method.load_state_dict(saved.pop("method"))
            optimiser.load_state_dict(saved.pop("optimiser"))
            progress = saved
    start = perf_counter() - progress["seconds"]
    method.train()
    for step in range(progress["step"], settings.steps + 1):
        if step % settings.validate_every == 0 or step == settings.steps:
            if not progress["validation"] or progress["validation"][-1]["step"] != step:
                try:
                    _validate(method, table, held_out, step, progress)
                except NonFiniteFeatures as error:  # the features are finite, so the weights are not
                    raise _diverged("embedding of a validation clip", "not finite", step, settings) from error
            progress |= {"step": step, "seconds": perf_counter() - start}
            if checkpoint is not None:
                with atomic_write(checkpoint) as temporary:
                    state = {"method": method.state_dict(), "optimiser": optimiser.state_dict()}
                    torch.save(progress | state, temporary)
        if step == settings.steps:
            break
        episodes = table.sample(
            "train",
            n_way=settings.n_way,
            n_shot=settings.shots[step % len(settings.shots)],
            n_query=settings.n_query,
            n_episodes=settings.episodes_per_step,
            rng=np.random.default_rng([10, seed, step]),
        )
        output, target = episode_step(method, table, episodes)
        given = {}
        if "n_base_classes" in method.needs:
            given["classes"] = torch.from_numpy(np.searchsorted(table.base_classes, episodes.classes)).to(target)
        loss, terms = method.loss(output, target, **given)
        _check_finite("loss", loss, step, settings)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(method.parameters(), settings.clip_norm)
        _check_finite("norm of the gradient", norm, step, settings)
        optimiser.step()
        row = {name: float(value) for name, value in terms.items()}
        progress["history"].append({"step": step, "n_shot": episodes.n_shot, "gradient_norm": float(norm)} | row)
    return Trained(
        state=progress["best"],
        history=pd.DataFrame(progress["history"]),
        validation=pd.DataFrame(progress["validation"]),
        best_step=progress["best_step"],
        val_accuracy=progress["val_accuracy"],
        seconds=progress["seconds"],
    )


def _check_features(table: FeatureTable, modalities: tuple[str, ...]) -> None:
    """Refuse features that no training can learn from; test clips are none of its business."""
    rows = np.concatenate([table.rows("train"), table.rows("val")])
    for modality in modalities:
        values = table.features[modality]
        for part in np.array_split(rows, max(1, len(rows) // 256)):
            bad = torch.nonzero(~torch.isfinite(values[part]).flatten(1).all(1))
            if len(bad):
                row = part[int(bad[0])]
                raise NonFiniteFeatures(
                    f'the {modality} features of row {row} (class "{table.class_names[table.labels[row]]}") hold NaN '
                    "or infinity. Extract the features again (./run_all.sh clean --cache), or drop the clip."
                )


def _check_finite(what: str, value: Tensor, step: int, settings: Training) -> None:
    if not torch.isfinite(value):
        raise _diverged(what, f"{float(value.detach())}", step, settings)


def _diverged(what: str, state: str, step: int, settings: Training) -> TrainingDiverged:
    return TrainingDiverged(
        f"The {what} is {state} at step {step} of {settings.steps}. Lower lr (it is {settings.lr}) or logit_scale."
    )


def _validate(
    method: Method, table: FeatureTable, held_out: dict[int, Episodes], step: int, progress: dict[str, Any]
) -> None:
    """Append the validation of this step, and keep the weights if they are the best so far."""
    accuracies = []
    for n_shot, episodes in held_out.items():
        results = evaluate(method, table, episodes)
        accuracies.append(float(results.accuracy.mean()))
        row: dict[str, float] = {"step": step, "n_shot": n_shot, "accuracy": accuracies[-1]}
        for m, energies in results.free_energy.items():
            row |= {f"accuracy_{m}": float(results.stream_accuracy(m).mean())}
            row |= {f"free_energy_{m}": float(energies.mean()), f"free_energy_sd_{m}": float(energies.std())}
            row |= {f"certainty_{m}": float(results.certainty[m].mean())}
            row |= {f"ce_{m}": -float(results.true_log_posterior[m].mean())}
        if len(results.free_energy) == 2:
            first, second = results.score.values()
            gap = np.abs(np.subtract(*results.free_energy.values()))
            row |= {"first_group": float((first < second).mean()), "free_energy_gap": float(gap.mean())}
        progress["validation"].append(row)
    mean = float(np.mean(accuracies))
    if mean > progress["val_accuracy"]:
        progress |= {"val_accuracy": mean, "best_step": step, "best": copy.deepcopy(method.state_dict())}
