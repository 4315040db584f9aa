"""Meta-training (Sec. 3.6, Eq. 9-11): SGD over episodes, selection on validation classes, exact resume.

One loop serves frozen features and training through the backbones; they differ in their source: where the features of
the episodes of a step come from, and what learns beside the method.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from amfir_lib.errors import BadParameter, NonFiniteFeatures, TrainingDiverged
from amfir_lib.methods.base import Method, pick
from amfir_lib.storage import atomic_write, digest_of
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.feature_table import FeatureTable

HEAD = "head"  # the method, among the modules that learn; backbones are called by their modality


@dataclass(frozen=True)
class Training:
    """Settings of one meta-training with SGD.

    Attributes:
        shots: supports per class; steps take them in turn.
        episodes_per_step: episodes whose mean loss makes one step.
        lr: the paper's gamma.
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
        states: ``head`` and the modalities of trained backbones -> weights with the best validation accuracy, on the
            CPU.
        history: one row per step: loss, the method's terms, norms of the gradients.
        validation: one row per validation and shot: accuracy per stream, free energy and certainty per modality.
        val_accuracy: mean over shots at ``best_step``.
        seconds: of computation, over all resumed parts.
        clips_per_second: clips through trained backbones, over the steps of this process; 0 without any.
    """

    states: dict[str, dict[str, Tensor]]
    history: pd.DataFrame
    validation: pd.DataFrame
    best_step: int | None
    val_accuracy: float
    seconds: float
    clips_per_second: float = 0.0

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights of the method."""
        return self.states[HEAD]


class Source:
    """Where the features of a training come from: here a table of frozen ones, all episodes of a step at once.

    Training through the backbones is another source, see ``end_to_end.clips``.

    Attributes:
        backbones: modality -> what learns beside the method.
        identity: what a checkpoint belongs to, beside the method and the settings; anything that JSON can hold.
        writes: whether this process writes the checkpoint.
        n_clips: clips that went forward and backward through backbones so far.
    """

    backbones: Mapping[str, nn.Module] = {}
    identity: Any = None
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    writes: bool = True
    n_clips: int = 0

    def __init__(self, layout: FeatureTable) -> None:
        self.layout = layout

    def begin(self, method: Method, *, seed: int) -> None:
        """Check, and place what learns, before the first step; test clips are none of a training's business.

        Raises:
            NonFiniteFeatures: names modality, row and class.
        """
        table = self.layout
        rows = np.concatenate([table.rows("train"), table.rows("val")])
        for modality in method.modalities:
            values = table.features[modality]
            for part in np.array_split(rows, max(1, len(rows) // 256)):
                bad = torch.nonzero(~torch.isfinite(values[part]).flatten(1).all(1))
                if len(bad):
                    row = part[int(bad[0])]
                    raise NonFiniteFeatures(
                        f'the {modality} features of row {row} (class "{table.class_names[table.labels[row]]}") hold '
                        "NaN or infinity. Extract the features again (./run_all.sh clean --cache), or drop the clip."
                    )

    def parameter_groups(self, method: Method) -> dict[str, dict[str, Any]]:
        """Name of its gradient norm in the history -> group of parameters for the optimiser."""
        return {"gradient_norm": {"params": list(method.parameters())}}

    def parts(self, method: Method, episodes: Episodes, step: int) -> Iterator[tuple[FeatureTable, Episodes, int]]:
        """The episodes of a step in parts, on the rows of a table of features, and how many parts all devices have.

        The loss of a part runs backward before the next one is asked for.
        """
        yield self.layout, episodes, 1

    def over_devices(self, method: Method, terms: dict[str, float]) -> dict[str, float]:
        """The sum over all devices of a step's gradients, in place, and of the terms of its loss."""
        return terms

    def evaluate(self, method: Method, lists: Mapping[int, Episodes]) -> dict[int, QueryResults]:
        """Results on several lists of episodes; everything is in training mode afterwards."""
        return {n_shot: evaluate(method, self.layout, episodes) for n_shot, episodes in lists.items()}

    def remedy(self, settings: Training) -> str:
        """What to lower where a training diverges."""
        return f"lr (it is {settings.lr}) or logit_scale"


def validation_episodes(layout: FeatureTable, settings: Training) -> dict[int, Episodes]:
    """shot -> the fixed validation episodes; the same for every method and training seed."""
    n_way, n_query, n_episodes = settings.val_n_way or settings.n_way, settings.n_query, settings.n_val_episodes
    sizes = {"n_way": n_way, "n_query": n_query, "n_episodes": n_episodes}
    rngs = {n_shot: np.random.default_rng([20, n_shot]) for n_shot in settings.shots}
    return {n_shot: layout.sample("val", n_shot=n_shot, rng=rng, **sizes) for n_shot, rng in rngs.items()}


def embed_episodes(
    method: Method, table: FeatureTable, episodes: Episodes
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Embeddings of the supports and of the queries of a batch of episodes, as ``Method.compare`` takes them, and the
    (E, M) targets; each clip that occurs in the batch is embedded once.
    """
    rows = episodes.rows
    clips = {m: table.features[m][rows].float() for m in method.modalities}
    embeddings, places = method.embed(clips), episodes.on_rows(rows)
    support = torch.from_numpy(places.support).to(table.device)
    query = torch.from_numpy(places.query).flatten(1).to(table.device)
    return pick(embeddings, support), pick(embeddings, query), torch.from_numpy(episodes.target).to(table.device)


def check_finite(name: str, value: Tensor) -> None:
    """Refuse, with a FloatingPointError, a number that tells that a training has diverged."""
    if not torch.isfinite(value):
        raise FloatingPointError(f"{name} is {float(value.detach())}")


def train(
    method: Method,
    source: FeatureTable | Source,
    settings: Training,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> Trained:
    """Meta-train a method on the training classes; select on the validation classes.

    Episodes of step s come from a generator seeded by (seed, s), so a resumed training continues exactly.

    Args:
        method: with its initial weights, on the device of the features; changed in place.
        source: of the features; a table stands for ``Source`` of it.
        checkpoint: file that each validation renews and that an interrupted training resumes from; that of another
            method, seed or setting is replaced. None for none.
    Raises:
        NonFiniteFeatures: a training or validation clip has NaN or infinite features; names modality, row and class.
        TrainingDiverged: the loss or its gradient is not finite; names the step and what to lower.
    """
    source = Source(source) if isinstance(source, FeatureTable) else source
    method.train()
    source.begin(method, seed=seed)
    modules, groups = {HEAD: method, **source.backbones}, source.parameter_groups(method)
    optimiser = torch.optim.SGD(
        groups.values(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    held_out = validation_episodes(source.layout, settings)
    of_method = [type(method).__name__, asdict(method.options), method.dims]
    progress: dict[str, Any] = {
        "identity": digest_of([asdict(settings), seed, of_method, source.identity]), "step": 0, "history": [],
        "validation": [], "best_step": -1, "best": None, "val_accuracy": -1.0, "seconds": 0.0,
    }  # fmt: skip
    if checkpoint is not None and checkpoint.exists():
        content, seal = checkpoint.read_bytes()[:-32], checkpoint.read_bytes()[-32:]
        whole = sha256(content).digest() == seal  # else the training begins anew
        saved = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu") if whole else {"identity": ""}
        if saved["identity"] == progress["identity"]:
            for name, module in modules.items():
                module.load_state_dict(saved["modules"][name])
            optimiser.load_state_dict(saved["optimiser"])
            source.scaler.load_state_dict(saved["scaler"])
            progress = {name: saved[name] for name in progress}
    start, busy = perf_counter() - progress["seconds"], 0.0
    sizes = {"n_way": settings.n_way, "n_query": settings.n_query, "n_episodes": settings.episodes_per_step}
    for step in range(progress["step"], settings.steps + 1):
        try:
            if step % settings.validate_every == 0 or step == settings.steps:
                if not progress["validation"] or progress["validation"][-1]["step"] != step:
                    _validate(method, source, held_out, step, modules, progress)
                progress |= {"step": step, "seconds": perf_counter() - start}
                if checkpoint is not None and source.writes:
                    states = {name: module.state_dict() for name, module in modules.items()}
                    now = {"optimiser": optimiser.state_dict(), "scaler": source.scaler.state_dict()}
                    with atomic_write(checkpoint) as temporary:
                        torch.save(progress | now | {"modules": states}, temporary)
                        content = temporary.read_bytes()
                        temporary.write_bytes(content + sha256(content).digest())
            if step == settings.steps:
                break
            begun = perf_counter()
            n_shot, rng = settings.shots[step % len(settings.shots)], np.random.default_rng([10, seed, step])
            episodes = source.layout.sample("train", n_shot=n_shot, rng=rng, **sizes)
            optimiser.zero_grad()
            terms: dict[str, float] = {}
            for table, part, n_parts in source.parts(method, episodes, step):
                support, query, target = embed_episodes(method, table, part)
                output = method.compare(support, query)
                loss, logged = method.loss(output, target, **_facts(method, source.layout, part, target))
                check_finite("loss", loss)
                source.scaler.scale(loss / n_parts).backward()
                for name, value in logged.items():
                    terms[name] = terms.get(name, 0.0) + float(value) / n_parts
            terms = source.over_devices(method, terms)
            row = {"step": step, "n_shot": n_shot} | _move(optimiser, source.scaler, groups, settings.clip_norm)
            progress["history"].append(row | terms)
            busy += perf_counter() - begun
        except (FloatingPointError, NonFiniteFeatures) as error:
            finite = isinstance(error, FloatingPointError)  # the features of the clips are, so the weights are not
            state = error if finite else "embedding of a validation clip is not finite"
            raise TrainingDiverged(
                f"The {state} at step {step} of {settings.steps}. Lower {source.remedy(settings)}."
            ) from error
    return Trained(
        states=progress["best"],
        history=pd.DataFrame(progress["history"]),
        validation=pd.DataFrame(progress["validation"]),
        best_step=progress["best_step"],
        val_accuracy=progress["val_accuracy"],
        seconds=progress["seconds"],
        clips_per_second=source.n_clips / busy if busy else 0.0,
    )


def _facts(method: Method, layout: FeatureTable, episodes: Episodes, target: Tensor) -> dict[str, Tensor]:
    """What the loss of some methods reads beside the target: the base class of each way, see ``Method.needs``."""
    if "n_base_classes" not in method.needs:
        return {}
    return {"classes": torch.from_numpy(np.searchsorted(layout.base_classes, episodes.classes)).to(target)}


def _move(
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    groups: Mapping[str, Mapping[str, Any]],
    clip_norm: float,
) -> dict[str, float]:
    """One step along the gradients, clipped for each group; returns their norms."""
    scaler.unscale_(optimiser)
    norms = {}
    for name, group in groups.items():
        norm = torch.nn.utils.clip_grad_norm_(group["params"], clip_norm)
        if not scaler.is_enabled():  # the scaler leaves out a step that is not finite
            check_finite(name.replace("gradient_norm", "norm of the gradient").replace("_", " of the "), norm)
        norms[name] = float(norm)
    scaler.step(optimiser)
    scaler.update()
    return norms


def _validate(
    method: Method,
    source: Source,
    held_out: Mapping[int, Episodes],
    step: int,
    modules: Mapping[str, nn.Module],
    progress: dict[str, Any],
) -> None:
    """Append the validation of this step, and keep the weights if they are the best so far."""
    accuracies = []
    for n_shot, results in source.evaluate(method, held_out).items():
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
        best = {
            name: {key: value.detach().to("cpu", copy=True) for key, value in module.state_dict().items()}
            for name, module in modules.items()
        }
        progress |= {"val_accuracy": mean, "best_step": step, "best": best}
