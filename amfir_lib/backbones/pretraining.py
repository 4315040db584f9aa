"""Pretraining of the ``compact`` backbones on the synthetic corpus, by the study itself.

The corpus stands in for ImageNet, COCO and Charades: its classes appear in no benchmark.  The RGB net learns to name
the scene of a frame and to point at the joints of the person in it; the flow net learns the action from the sequence of
its frame features.  Both read features averaged over the patches.
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
from torch.nn import functional as F

from amfir_lib.backbones import compact, pretraining
from amfir_lib.backbones.compact import DIM, INPUT_SIZE, CompactBackbone, CompactNet, normalise
from amfir_lib.data import flow as flow_module
from amfir_lib.data import streams as streams_module
from amfir_lib.data import video as video_module
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.streams import sample_instants, streams
from amfir_lib.data.synthetic.clips import N_FRAMES, SIDE
from amfir_lib.data.synthetic.generate import corpus_digest, joints_path, make_corpus
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_code, read_json, write_json


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
    paths = {modality: _weights_path(settings, modality, cache_dir) for modality in modalities}
    missing = [m for m in modalities if not (paths[m].exists() and paths[m].with_suffix(".json").exists())]
    if missing:
        corpus = make_corpus(
            cache_dir=cache_dir,
            n_classes=settings.n_classes,
            clips_per_class=settings.clips_per_class,
            seed=settings.seed,
            n_jobs=n_jobs,
        )
        inputs, labels = read_inputs(corpus, settings, n_jobs=n_jobs)
        tasks = [(m, inputs[m]) for m in missing]
        train = partial(_train_task, labels=labels, settings=settings)
        for modality, (weights, history) in zip(
            missing, map_parallel(train, tasks, n_jobs=n_jobs, description="pretraining", unit="backbone"), strict=True
        ):
            with atomic_write(paths[modality]) as temporary:
                save_file(weights, temporary)
            write_json(paths[modality].with_suffix(".json"), {"settings": asdict(settings), "history": history})
    return {m: CompactBackbone(m, load_file(paths[m])) for m in modalities}


def pretraining_history(settings: Pretraining, *, cache_dir: Path | str) -> pd.DataFrame:
    """Learning curves of the pretraining, one row per modality and epoch (for the notebook)."""
    parts = []
    for modality in ("rgb", "flow"):
        record = read_json(_weights_path(settings, modality, cache_dir).with_suffix(".json"))
        parts.append(pd.DataFrame(record["history"]).assign(modality=modality))
    return pd.concat(parts, ignore_index=True)


def _weights_path(settings: Pretraining, modality: str, cache_dir: Path | str) -> Path:
    """Where the weights are; the name covers settings, clips of the corpus, and the code that reads and trains."""
    corpus = corpus_digest(n_classes=settings.n_classes, clips_per_class=settings.clips_per_class, seed=settings.seed)
    source = digest_of_code(compact, pretraining, streams_module, flow_module, video_module)
    name = f"compact-{modality}-{digest_of([asdict(settings), modality, corpus, source])}.safetensors"
    return Path(cache_dir) / "backbones" / name


def read_inputs(
    corpus: Dataset, settings: Pretraining, *, n_jobs: int
) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """Decode the corpus once.

    Returns:
        uint8 RGB (n, T, S, S, 3) and float16 flow (n, T, S, S, 2); the labels as ``train_backbone`` wants them.
    """
    read = partial(_read, n_segments=settings.n_segments, flow_algorithm=settings.flow_algorithm)
    paths = [corpus.clip_path(row) for row in range(len(corpus.manifest))]
    clips = map_parallel(read, paths, n_jobs=n_jobs, description=f"{corpus.name}: decoding and flow", unit="clip")
    take = corpus.manifest.groupby("label").cumcount().to_numpy()
    instants = sample_instants(N_FRAMES, settings.n_segments)
    labels = {
        "action": torch.from_numpy(pd.factorize(corpus.manifest["label"], sort=True)[0]),
        "scene": torch.from_numpy(pd.factorize(corpus.manifest["scene"], sort=True)[0]),
        "joints": torch.from_numpy(np.stack([np.load(joints_path(path))[instants] for path in paths])),
        "held_out": torch.from_numpy(take >= settings.clips_per_class - max(1, settings.clips_per_class // 8)),
    }
    return {"rgb": np.stack([rgb for rgb, _ in clips]), "flow": np.stack([flow for _, flow in clips])}, labels


def _read(path: Path, **options: object) -> tuple[np.ndarray, np.ndarray]:
    seen = streams(path, {"rgb": INPUT_SIZE, "flow": INPUT_SIZE}, n_frames=N_FRAMES, **options)
    return seen["rgb"], seen["flow"].astype(np.float16)


def _train_task(
    item: tuple[str, np.ndarray], *, labels: dict[str, Tensor], settings: Pretraining
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    modality, clips = item
    return train_backbone(clips, labels, modality, settings)


class _RGBTask(nn.Module):
    """What the RGB net learns from: the scene and the joints of single frames."""

    def __init__(self, settings: Pretraining, n_joints: int) -> None:
        super().__init__()
        self.net = CompactNet(3)
        self.scene = nn.Sequential(nn.Dropout(0.3), nn.Linear(DIM, settings.n_classes))
        self.joints = nn.Linear(DIM, 2 * n_joints)

    def forward(self, x: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, T, 3, S, S) and labels of the clips -> loss, and per clip what to report."""
        features = self.net(x.flatten(0, 1)).mean((-2, -1)).unflatten(0, x.shape[:2])  # (B, T, D)
        scene = self.scene(features)
        target = labels["scene"][:, None].expand(scene.shape[:2])
        error = (self.joints(features).unflatten(-1, (-1, 2)) - labels["joints"]).abs()  # (B, T, J, 2)
        loss = F.cross_entropy(scene.flatten(0, 1), target.flatten(), label_smoothing=0.1)
        report = {
            "scene_accuracy": (scene.mean(1).argmax(-1) == labels["scene"]).float(),
            "joint_error_px": 2.0 * SIDE * error.mean((1, 2, 3)),  # |dx| + |dy|
        }
        return loss + JOINT_WEIGHT * error.mean(), report


class _FlowTask(nn.Module):
    """What the flow net learns from: the action of a sequence of flow fields."""

    def __init__(self, settings: Pretraining, n_joints: int) -> None:
        super().__init__()
        self.net = CompactNet(2)
        self.action = nn.Sequential(nn.Dropout(0.3), nn.Linear(settings.n_segments * DIM, settings.n_classes))

    def forward(self, x: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, T, 2, S, S) and labels of the clips -> loss, and per clip what to report."""
        features = self.net(x.flatten(0, 1)).mean((-2, -1))  # (B T, D)
        action = self.action(features.reshape(len(x), -1))
        loss = F.cross_entropy(action, labels["action"], label_smoothing=0.1)
        return loss, {"action_accuracy": (action.argmax(-1) == labels["action"]).float()}


_TASKS = {"rgb": _RGBTask, "flow": _FlowTask}
FRAMES_A_CLIP = {"rgb": 2}  # scenes and joints need no sequence: few frames of many clips make a better batch
JOINT_WEIGHT = 20.0  # an error of 5 % of the side weighs as much as one nat


def train_backbone(
    clips: np.ndarray, labels: dict[str, Tensor], modality: str, settings: Pretraining
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train one backbone.

    Args:
        clips: (n, T, S, S, C), see ``read_inputs``.
        labels: of the clips: ``action`` (n,), ``scene`` (n,), ``joints`` (n, T, J, 2), ``held_out`` (n,) bool.
        modality: ``rgb`` or ``flow``.
        settings: of the pretraining.
    Returns:
        The weights of the ``CompactNet``, and one row of history per epoch (loss, held-out results, seconds).
    """
    rng = np.random.default_rng([settings.seed, 2])
    train_rows, test_rows = (torch.nonzero(part)[:, 0].numpy() for part in (~labels["held_out"], labels["held_out"]))
    frames_a_clip = FRAMES_A_CLIP.get(modality, settings.n_segments)
    visits = settings.n_segments // frames_a_clip  # an epoch shows as many frames as there are
    steps = visits * int(np.ceil(len(train_rows) / settings.batch_size))
    history: list[dict[str, float]] = []
    start = perf_counter()
    with torch.random.fork_rng(devices=[]):  # layers and dropout draw from a stream of their own, not the caller's
        torch.default_generator.manual_seed(settings.seed)  # torch.manual_seed would touch the GPUs' too
        task = _TASKS[modality](settings, labels["joints"].shape[2])
        optimiser = torch.optim.AdamW(task.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=steps * settings.epochs)
        for epoch in range(settings.epochs):
            task.train()
            losses = []
            for rows in np.array_split(rng.permutation(np.repeat(train_rows, visits)), steps):
                instants = np.sort(rng.permutation(settings.n_segments)[:frames_a_clip])
                moved, by = _shifted(clips[rows][:, instants], settings.shift, rng)
                batch = {name: values[rows] for name, values in labels.items()}
                batch["joints"] = batch["joints"][:, instants] - by[:, None, None]
                loss, _ = task(normalise(moved, modality), batch)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
            report = _held_out(task, clips, labels, test_rows, modality)
            row = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "seconds": perf_counter() - start}
            history.append(row | report)
    return {key: value.clone().contiguous() for key, value in task.net.state_dict().items()}, history


def _shifted(clips: np.ndarray, reach: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
    """Each clip moved by a few pixels, alike in all its frames, edges repeated; and how far, (B, 2) x, y in sides."""
    side = clips.shape[2]
    out = np.empty_like(clips)
    moves = rng.integers(-reach, reach + 1, (len(clips), 2))
    for index, (dx, dy) in enumerate(moves):
        rows, columns = np.clip(np.arange(side) + dy, 0, side - 1), np.clip(np.arange(side) + dx, 0, side - 1)
        out[index] = clips[index][:, rows][:, :, columns]
    return out, torch.from_numpy(moves / side).float()


@torch.inference_mode()
def _held_out(
    task: nn.Module, clips: np.ndarray, labels: dict[str, Tensor], rows: np.ndarray, modality: str
) -> dict[str, float]:
    task.eval()
    reports = [
        task(normalise(clips[part], modality), {name: values[part] for name, values in labels.items()})[1]
        for part in np.array_split(rows, max(1, len(rows) // 64))
    ]
    return {name: float(torch.cat([report[name] for report in reports]).mean()) for name in reports[0]}
