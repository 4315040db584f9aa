"""Training through the backbones (Eq. 11 updates theta_m): episodes of augmented clips, bounded memory, exact resume.

Each episode is a forward and backward pass of its own; the gradients of ``episodes_per_step`` are added up for a step.
An episode with more clips than ``clips_per_pass`` goes through the backbones twice: once without a graph to learn the
gradient of the loss at the features, once in parts to carry it into the weights.  The gradient is the same, the memory
is that of one part.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from amfir_lib.backbones.trainable import freeze_batch_norm, statistics_kept
from amfir_lib.data.streams import random_view
from amfir_lib.errors import BadParameter, TrainingDiverged
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.storage import atomic_write
from amfir_lib.study.end_to_end.clips import (
    clips_table,
    features_of,
    for_method,
    look,
    on_rows,
    prefetched,
    raw_parts,
    rows_of,
)
from amfir_lib.study.end_to_end.job import Job
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.training import validation_episodes


@dataclass(frozen=True)
class TrainedEndToEnd:
    """What an end-to-end training leaves behind.

    Attributes:
        method_state, stream_states: weights with the best validation accuracy, on the CPU.
        history: one row per step: loss, the method's terms, gradient norms of head and backbones.
        validation: one row per validation and shot.
        best_step: step of the weights.
        val_accuracy: mean over shots at that step.
        seconds: of computation, over all resumed parts.
        clips_per_second: clips through forward and backward, over the steps of this process.
    """

    method_state: dict[str, Tensor]
    stream_states: dict[str, dict[str, Tensor]]
    history: pd.DataFrame
    validation: pd.DataFrame
    best_step: int
    val_accuracy: float
    seconds: float
    clips_per_second: float


def train_end_to_end(job: Job, *, device: str = "cpu", ranks: Any = None) -> TrainedEndToEnd:
    """Meta-train a method together with its backbones.

    Episodes of a step are those of ``training.train``; views follow from (seed, step, episode), so a resumed training
    continues exactly and several devices see what one would (on a GPU up to rounding: its sums have no fixed order).

    Args:
        job: what to train; its modules are changed in place.
        device: of this process.
        ranks: how several devices work together, see ``devices``; None for one.
    Raises:
        TrainingDiverged: the loss or a gradient is not finite; names the step and what to lower.
        BadParameter: float16 on a CPU.
    """
    if job.options.precision == "float16" and not device.startswith("cuda"):
        raise BadParameter(f'precision is "float16", but the device is {device}. Use "bfloat16" or "float32" there.')
    return _Trainer(job, device, ranks).run()


class _Trainer:
    """The state of one training."""

    def __init__(self, job: Job, device: str, ranks: Any) -> None:
        self.job, self.device, self.ranks = job, torch.device(device), ranks
        self.rank, self.n_ranks = (0, 1) if ranks is None else (ranks.global_rank, ranks.world_size)
        self.method = job.method.to(self.device)
        self.streams = {m: _laid_out(s, job.options.channels_last).to(self.device) for m, s in job.streams.items()}
        settings, options = job.settings, job.options
        self._train_mode()
        backbones = [p for stream in self.streams.values() for p in stream.parameters() if p.requires_grad]
        self.groups = {"head": list(self.method.parameters()), "backbones": backbones}
        self.optimiser = torch.optim.SGD(
            [{"params": self.groups["head"]}, {"params": backbones, "lr": options.backbone_lr}],
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "float16")
        self.held_out = validation_episodes(job.layout, settings)
        self.n_clips, self.busy_seconds = 0, 0.0
        self.progress: dict[str, Any] = {
            "identity": job.identity,
            "step": 0,
            "history": [],
            "validation": [],
            "best_step": -1,
            "best": None,
            "val_accuracy": -1.0,
            "seconds": 0.0,
        }

    def run(self) -> TrainedEndToEnd:
        settings = self.job.settings
        self._resume()
        start = perf_counter() - self.progress["seconds"]
        for step in range(self.progress["step"], settings.steps + 1):
            if step % settings.validate_every == 0 or step == settings.steps:
                done = self.progress["validation"]
                if not done or done[-1]["step"] != step:
                    self._validate(step)
                self.progress |= {"step": step, "seconds": perf_counter() - start}
                self._save()
            if step < settings.steps:
                begun = perf_counter()
                self.progress["history"].append(self._step(step))
                self.busy_seconds += perf_counter() - begun
        best = self.progress["best"]
        return TrainedEndToEnd(
            method_state=best["method"],
            stream_states=best["streams"],
            history=pd.DataFrame(self.progress["history"]),
            validation=pd.DataFrame(self.progress["validation"]),
            best_step=self.progress["best_step"],
            val_accuracy=self.progress["val_accuracy"],
            seconds=self.progress["seconds"],
            clips_per_second=self.n_clips / self.busy_seconds if self.busy_seconds else 0.0,
        )

    def _train_mode(self) -> None:
        self.method.train()
        for stream in self.streams.values():
            stream.train()
            if self.job.options.freeze_batch_norm:
                freeze_batch_norm(stream)

    def _step(self, step: int) -> dict[str, float]:
        """One step of the optimiser over ``episodes_per_step`` episodes."""
        job, settings = self.job, self.job.settings
        episodes = job.layout.sample(
            "train",
            n_way=settings.n_way,
            n_shot=settings.shots[step % len(settings.shots)],
            n_query=settings.n_query,
            n_episodes=settings.episodes_per_step,
            rng=np.random.default_rng([10, job.seed, step]),
        )
        self.optimiser.zero_grad(set_to_none=False)
        totals: dict[str, float] = {}
        own = range(self.rank, len(episodes), self.n_ranks)
        read = prefetched(lambda index: self._clips_of(episodes[index : index + 1], step, index), own)
        for index, clips in zip(own, read, strict=True):
            terms = self._episode(episodes[index : index + 1], clips, step)
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + value / len(episodes)
        totals = self._over_ranks(totals)
        self.scaler.unscale_(self.optimiser)
        norms = {}
        for name, parameters in self.groups.items():
            norms[name] = float(torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)) if parameters else 0.0
            if not np.isfinite(norms[name]) and not self.scaler.is_enabled():  # the scaler leaves out such a step
                raise self._diverged(f"norm of the gradient of the {name}", norms[name], step)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return {"step": step, "n_shot": episodes.n_shot} | {f"gradient_norm_{n}": v for n, v in norms.items()} | totals

    def _clips_of(self, episode: Episodes, step: int, index: int) -> dict[str, np.ndarray]:
        """A random view of each clip of one episode, as stored; runs in a thread of its own."""
        job, rows = self.job, rows_of(episode)
        rng = np.random.default_rng([11, job.seed, step, index])
        views = [random_view(rng, flip=job.flip) for _ in rows]
        return {m: look(job, m, rows, views) for m in self.streams}

    def _episode(self, episode: Episodes, clips: dict[str, np.ndarray], step: int) -> dict[str, float]:
        """Add the gradients of one episode, as its share of the step; returns the terms of its loss."""
        job, rows = self.job, rows_of(episode)
        whole = len(rows) <= job.options.clips_per_pass
        features = {}
        for m, stream in self.streams.items():
            with nullcontext() if whole else torch.no_grad(), nullcontext() if whole else statistics_kept(stream):
                features[m] = features_of(job, stream, raw_parts(job, m, clips[m], self.device), self.device)
            if not whole:
                features[m].requires_grad_(True)
        output, target = self._compare(features, on_rows(episode, rows))
        given = {}
        if "n_base_classes" in self.method.needs:
            classes = np.searchsorted(job.layout.base_classes, episode.classes)
            given["classes"] = torch.from_numpy(classes).to(target)
        loss, terms = self.method.loss(output, target, **given)
        if not torch.isfinite(loss):
            raise self._diverged("loss", float(loss.detach()), step)
        self.scaler.scale(loss / job.settings.episodes_per_step).backward()
        if not whole:
            for m, stream in self.streams.items():
                gradients = features[m].grad.split(job.options.clips_per_pass)
                for part, gradient in zip(raw_parts(job, m, clips[m], self.device), gradients, strict=True):
                    features_of(job, stream, [part], self.device).backward(gradient)
        self.n_clips += len(rows)
        return {name: float(value) for name, value in terms.items()}

    def _compare(self, features: dict[str, Tensor], episode: Episodes) -> tuple[EpisodeOutput, Tensor]:
        """The method on one episode, whose rows are positions in ``features`` (n, T, P, D)."""
        embeddings = self.method.embed({m: for_method(self.job, features[m]) for m in self.method.modalities})
        support = torch.from_numpy(episode.support).to(self.device)
        query = torch.from_numpy(episode.query).flatten(1).to(self.device)
        output = self.method.compare(
            {name: values[support] for name, values in embeddings.items()},
            {name: values[query] for name, values in embeddings.items()},
        )
        return output, torch.from_numpy(episode.target).to(self.device)

    def _over_ranks(self, totals: dict[str, float]) -> dict[str, float]:
        """Sums over all devices: gradients in place, and the terms of the loss; averages of running statistics."""
        if self.n_ranks == 1:
            return totals
        for parameters in filter(None, self.groups.values()):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            summed = self.ranks.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="sum")
            for p, part in zip(parameters, summed.split([p.numel() for p in parameters]), strict=True):
                p.grad = part.view_as(p).clone()
        if not self.job.options.freeze_batch_norm:
            for buffer in (b for stream in self.streams.values() for b in stream.buffers() if b.is_floating_point()):
                buffer.copy_(self.ranks.all_reduce(buffer, reduce_op="mean"))
        names = sorted(totals)
        summed = self.ranks.all_reduce(torch.tensor([totals[n] for n in names], device=self.device), reduce_op="sum")
        return dict(zip(names, summed.tolist(), strict=True))

    def _validate(self, step: int) -> None:
        """Measure accuracy on the validation classes, and keep the weights if they are the best so far."""
        rows = np.unique(np.concatenate([rows_of(episodes) for episodes in self.held_out.values()]))
        table = clips_table(self.job, self.streams, rows, self.device)
        accuracies = []
        for n_shot, episodes in self.held_out.items():
            results = evaluate(self.method, table, on_rows(episodes, rows))
            accuracies.append(float(results.accuracy.mean()))
            row = {"step": step, "n_shot": n_shot, "accuracy": accuracies[-1]}
            row |= {f"accuracy_{m}": float(results.stream_accuracy(m).mean()) for m in results.free_energy}
            row |= {f"free_energy_{m}": float(values.mean()) for m, values in results.free_energy.items()}
            row |= {f"certainty_{m}": float(values.mean()) for m, values in results.certainty.items()}
            self.progress["validation"].append(row)
        self._train_mode()
        if (mean := float(np.mean(accuracies))) > self.progress["val_accuracy"]:
            best = {"method": _on_cpu(self.method), "streams": {m: _on_cpu(s) for m, s in self.streams.items()}}
            self.progress |= {"val_accuracy": mean, "best_step": step, "best": best}

    def _save(self) -> None:
        if self.job.checkpoint is None or self.rank > 0:
            return
        state = {
            "method": self.method.state_dict(),
            "streams": {m: stream.state_dict() for m, stream in self.streams.items()},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with atomic_write(self.job.checkpoint) as temporary:
            torch.save(self.progress | {"now": state}, temporary)

    def _resume(self) -> None:
        path = self.job.checkpoint
        if path is None or not path.exists():
            return
        saved = torch.load(path, weights_only=True, map_location="cpu")
        if saved["identity"] != self.job.identity:
            return
        state = saved.pop("now")
        self.method.load_state_dict(state["method"])
        for m, stream in self.streams.items():
            stream.load_state_dict(state["streams"][m])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.progress = saved

    def _diverged(self, what: str, value: float, step: int) -> TrainingDiverged:
        settings, options = self.job.settings, self.job.options
        return TrainingDiverged(
            f"The {what} is {value} at step {step} of {settings.steps}. Lower backbone_lr "
            f"(it is {options.backbone_lr}) or lr (it is {settings.lr})."
        )


def _laid_out(stream: nn.Module, channels_last: bool) -> nn.Module:
    three_d = any(isinstance(module, nn.Conv3d) for module in stream.modules())
    layout = torch.channels_last_3d if three_d else torch.channels_last
    return stream.to(memory_format=layout if channels_last else torch.contiguous_format)


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}
