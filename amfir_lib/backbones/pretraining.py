"""Pretraining of the ``compact`` backbones on the synthetic corpus, by the study itself.

The corpus stands in for ImageNet and Charades: its classes appear in no benchmark.  The RGB net learns to name the
scene of each frame and the action of the clip; the flow net learns the action.  Frames are encoded one by one; the
action is read from the sequence of frame features, so that features keep what order in time means.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from amfir_lib.backbones import compact, pretraining
from amfir_lib.backbones.compact import DIM, INPUT_SIZE, CompactBackbone, CompactNet, normalise
from amfir_lib.data.features import ClipInputs, clip_inputs
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.synthetic import make_corpus
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_source, read_json, write_json


@dataclass(frozen=True)
class Pretraining:
    """Settings of the pretraining.

    Attributes:
        n_classes: actions, and scenes, in the corpus.
        clips_per_class: takes of each action; the last eighth is held out to watch the training.
        epochs: passes over the corpus.
        batch_size: clips a step.
        lr: highest learning rate of the one-cycle schedule (AdamW).
        weight_decay: of AdamW.
        n_segments: frames per clip, T.
        shift: largest random shift of a clip in pixels, the only augmentation.
        flow_algorithm: for the flow stream.
        seed: of corpus, initial weights and order.
    """

    n_classes: int = 128
    clips_per_class: int = 12
    epochs: int = 12
    batch_size: int = 32
    lr: float = 4e-3
    weight_decay: float = 0.05
    n_segments: int = 8
    shift: int = 6
    flow_algorithm: str = "dis"
    seed: int = 0


def pretrained_backbones(
    settings: Pretraining, *, cache_dir: Path | str, modalities: tuple[str, ...] = ("rgb", "flow"), n_jobs: int = 1
) -> dict[str, CompactBackbone]:
    """The compact backbones, trained if the cache lacks them.

    Args:
        settings: of the pretraining.
        cache_dir: folder of the cache; weights and history go to ``backbones/``.
        modalities: ``rgb``, ``flow`` or both.
        n_jobs: worker processes; each net trains on one thread, so the weights do not depend on it.
    Returns:
        modality -> backbone.
    """
    folder = Path(cache_dir) / "backbones"
    source = digest_of_source(compact, pretraining)
    paths = {m: folder / f"compact-{m}-{digest_of([asdict(settings), m, source])}.safetensors" for m in modalities}
    missing = [m for m in modalities if not (paths[m].exists() and paths[m].with_suffix(".json").exists())]
    if missing:
        corpus = make_corpus(
            cache_dir=cache_dir,
            n_classes=settings.n_classes,
            clips_per_class=settings.clips_per_class,
            seed=settings.seed,
            n_jobs=n_jobs,
        )
        inputs = read_inputs(corpus, settings, n_jobs=n_jobs)
        tasks = [(m, inputs[m]) for m in missing]
        train = partial(_train_task, manifest=corpus.manifest, settings=settings)
        for modality, (weights, history) in zip(
            missing, map_parallel(train, tasks, n_jobs=n_jobs, description="pretraining", unit="backbone"), strict=True
        ):
            with atomic_write(paths[modality]) as temporary:
                save_file(weights, temporary)
            write_json(paths[modality].with_suffix(".json"), {"settings": asdict(settings), "history": history})
    return {m: CompactBackbone(m, load_file(paths[m])) for m in modalities}


def pretraining_history(settings: Pretraining, *, cache_dir: Path | str) -> pd.DataFrame:
    """Learning curves of the pretraining, one row per modality and epoch (for the notebook)."""
    source = digest_of_source(compact, pretraining)
    parts = []
    for modality in ("rgb", "flow"):
        name = f"compact-{modality}-{digest_of([asdict(settings), modality, source])}.json"
        record = read_json(Path(cache_dir) / "backbones" / name)
        parts.append(pd.DataFrame(record["history"]).assign(modality=modality))
    return pd.concat(parts, ignore_index=True)


def read_inputs(corpus: Dataset, settings: Pretraining, *, n_jobs: int) -> dict[str, np.ndarray]:
    """Decode the corpus once: uint8 RGB (n, T, S, S, 3) and float16 flow (n, T, S, S, 2)."""
    read = partial(
        _read, n_segments=settings.n_segments, size=INPUT_SIZE, flow_algorithm=settings.flow_algorithm
    )
    paths = [corpus.clip_path(row) for row in range(len(corpus.manifest))]
    clips = map_parallel(read, paths, n_jobs=n_jobs, description=f"{corpus.name}: decoding and flow", unit="clip")
    return {"rgb": np.stack([rgb for rgb, _ in clips]), "flow": np.stack([flow for _, flow in clips])}


def _read(path: Path, **options: object) -> tuple[np.ndarray, np.ndarray]:
    inputs: ClipInputs = clip_inputs(path, **options)
    return inputs.rgb, inputs.flow.astype(np.float16)


def _train_task(
    task: tuple[str, np.ndarray], *, manifest: pd.DataFrame, settings: Pretraining
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    modality, clips = task
    return train_backbone(clips, manifest, modality, settings)


class _Recogniser(nn.Module):
    """Frame encoder with the two heads that pretraining needs and throws away."""

    def __init__(self, modality: str, n_classes: int, n_segments: int) -> None:
        super().__init__()
        self.net = CompactNet(2 if modality == "flow" else 3)
        self.action = nn.Sequential(nn.Dropout(0.3), nn.Linear(n_segments * DIM, n_classes))
        self.scene = nn.Sequential(nn.Dropout(0.3), nn.Linear(DIM, n_classes)) if modality != "flow" else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, T, C, S, S) -> action logits (B, n), scene logits of each frame (B T, n) or None."""
        features = self.net(x.flatten(0, 1)).mean((-2, -1))  # (B T, D)
        scene = self.scene(features) if self.scene is not None else None
        return self.action(features.reshape(len(x), -1)), scene


def train_backbone(
    clips: np.ndarray, manifest: pd.DataFrame, modality: str, settings: Pretraining
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train one backbone.

    Args:
        clips: (n, T, S, S, C), see ``read_inputs``.
        manifest: of the corpus; columns ``label`` and ``scene``.
        modality: ``rgb`` or ``flow``.
        settings: of the pretraining.
    Returns:
        The weights of the ``CompactNet``, and one row of history per epoch (loss, held-out accuracy, seconds).
    """
    action = torch.from_numpy(pd.factorize(manifest["label"], sort=True)[0])
    scene = torch.from_numpy(pd.factorize(manifest["scene"], sort=True)[0])
    take = manifest.groupby("label").cumcount().to_numpy()
    held_out = take >= settings.clips_per_class - max(1, settings.clips_per_class // 8)
    rng = np.random.default_rng([settings.seed, 2])
    with torch.random.fork_rng(devices=[]):  # layers and dropout draw from a stream of their own, not the caller's
        torch.random.manual_seed(settings.seed)
        model = _Recogniser(modality, settings.n_classes, settings.n_segments)
        optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        train_rows, test_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        steps = settings.epochs * int(np.ceil(len(train_rows) / settings.batch_size))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=steps)
        loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
        history: list[dict[str, float]] = []
        start = perf_counter()
        for epoch in range(settings.epochs):
            model.train()
            losses = []
            for rows in np.array_split(rng.permutation(train_rows), steps // settings.epochs):
                x = normalise(_shifted(clips[rows], settings.shift, rng), modality)
                by_action, by_scene = model(x)
                loss = loss_of(by_action, action[rows])
                if by_scene is not None:
                    loss = loss + loss_of(by_scene, scene[rows].repeat_interleave(settings.n_segments))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
            row = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "seconds": perf_counter() - start}
            history.append(row | _held_out_accuracy(model, clips, test_rows, modality, action, scene))
    return {key: value.clone() for key, value in model.net.state_dict().items()}, history


def _shifted(clips: np.ndarray, reach: int, rng: np.random.Generator) -> np.ndarray:
    """Each clip moved by the same few pixels in all its frames, edges repeated."""
    side = clips.shape[2]
    out = np.empty_like(clips)
    for index, (dy, dx) in enumerate(rng.integers(-reach, reach + 1, (len(clips), 2))):
        rows, columns = np.clip(np.arange(side) + dy, 0, side - 1), np.clip(np.arange(side) + dx, 0, side - 1)
        out[index] = clips[index][:, rows][:, :, columns]
    return out


@torch.inference_mode()
def _held_out_accuracy(
    model: _Recogniser, clips: np.ndarray, rows: np.ndarray, modality: str, action: Tensor, scene: Tensor
) -> dict[str, float]:
    model.eval()
    outputs = [model(normalise(clips[part], modality)) for part in np.array_split(rows, max(1, len(rows) // 64))]
    by_action = torch.cat([first for first, _ in outputs])
    accuracy = {"action_accuracy": float((by_action.argmax(1) == action[rows]).float().mean())}
    if outputs[0][1] is not None:
        by_scene = torch.cat([second for _, second in outputs]).reshape(len(rows), -1, by_action.shape[1]).mean(1)
        accuracy["scene_accuracy"] = float((by_scene.argmax(1) == scene[rows]).float().mean())
    return accuracy
