"""The training of compact nets, by the study itself: pretraining on a synthetic corpus, adaptation to real clips.

The corpus stands in for ImageNet, COCO and Charades: its classes appear in no benchmark.  ``compact_adapted`` goes on
learning on the base classes of a real data set, because nets that have seen rendered figures only transfer badly to
what a sensor shows (a declared deviation: the paper's backbones are fixed by their published weights).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from amfir_lib.backbones import compact
from amfir_lib.backbones.compact import DIM, CompactBackbone, CompactNet, net_channels, normalise
from amfir_lib.data import flow as flow_module
from amfir_lib.data import images as images_module
from amfir_lib.data import streams as streams_module
from amfir_lib.data import video as video_module
from amfir_lib.data.manifest import Dataset, manifest_digest
from amfir_lib.data.streams import STREAMS, sample_instants, streams
from amfir_lib.data.synthetic.clips import N_FRAMES, SIDE
from amfir_lib.data.synthetic.generate import corpus_digest, joints_path, make_corpus
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_code, read_json, read_sealed, write_sealed

FRAMES_A_CLIP = {"rgb": 2}  # scenes and joints need no sequence: few frames of many clips make a better batch
DROPOUT, LABEL_SMOOTHING = 0.3, 0.1
JOINT_WEIGHT = 20.0  # an error of 5 % of the side weighs as much as one nat
ADAPTED = "compact_adapted"
ADAPTED_NOTE = "Compact backbones go on learning on the base classes of the data set (a deviation from the paper)."

Labels = dict[str, Tensor]
Clips = dict[str, np.ndarray]  # stream -> uint8 frames or float16 flow
Weights = tuple[dict[str, Tensor], list[dict[str, float]]]  # of a net, and the history of its training


@dataclass(frozen=True)
class Pretraining:
    """Settings of the pretraining."""

    n_classes: int = 128  # actions, and scenes, in the corpus
    clips_per_class: int = 12  # takes of each action; the last eighth is held out to watch the training
    epochs: int = 8
    batch_size: int = 32
    lr: float = 4e-3  # highest one of the one-cycle schedule (AdamW)
    weight_decay: float = 0.05
    n_segments: int = 8
    shift: int = 6  # largest random shift of a clip in px, the only augmentation
    flow_algorithm: str = "dis"
    seed: int = 0  # of corpus, initial weights and order


@dataclass(frozen=True)
class Adaptation:
    """Settings of the adaptation, tried on base and validation classes of real clips (``real_clips_choice.csv``)."""

    epochs: int = 12  # passes over the training clips; 0 keeps the weights
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    clips_per_class: int = 64  # at most so many of each base class, drawn by the seed; they are held in memory
    n_views: int = 4  # ways in which a clip is sampled in time: the centres of its segments, and random instants
    shift: float = 6.0  # largest random shift of a clip in px
    scale: float = 0.15  # largest random change of its size, as a share
    smoothing: int = compact.BLUR  # times that the features of a motion backbone are blurred in time
    n_segments: int = 8
    seed: int = 0


def pretrained_backbones(
    settings: Pretraining, *, cache_dir: Path | str, n_jobs: int = 1
) -> dict[str, CompactBackbone]:
    """Stream -> compact backbone, trained if the cache lacks it; weights and history go to ``backbones/``.

    Each net trains on one thread, so the weights do not depend on ``n_jobs``.
    """

    def read(missing: Sequence[str]) -> tuple[Clips, Labels]:
        sizes = {"n_classes": settings.n_classes, "clips_per_class": settings.clips_per_class}
        corpus = make_corpus(cache_dir=cache_dir, seed=settings.seed, n_jobs=n_jobs, **sizes)
        return read_corpus(corpus, settings, missing, n_jobs=n_jobs)

    paths = _pretrained_paths(settings, cache_dir)
    weights = _trained(paths, read, partial(pretrain, settings=settings), settings, "pretraining", n_jobs=n_jobs)
    return {stream: CompactBackbone(stream, weights[stream]) for stream in STREAMS}


def pretraining_history(settings: Pretraining, *, cache_dir: Path | str) -> pd.DataFrame:
    """Learning curves of the pretraining, one row per modality and epoch."""
    records = {s: read_json(path.with_suffix(".json")) for s, path in _pretrained_paths(settings, cache_dir).items()}
    curves = [pd.DataFrame(record["history"]).assign(modality=stream) for stream, record in records.items()]
    return pd.concat(curves, ignore_index=True)


def adapt(
    backbone: CompactBackbone,
    dataset: Dataset,
    settings: Adaptation | None = None,
    *,
    cache_dir: Path | str,
    flow: Mapping[str, Any],
    n_jobs: int = 1,
) -> CompactBackbone:
    """A compact backbone adapted to the training split of a data set, trained if the cache lacks it.

    ``flow`` are the options of flow (``flow_algorithm``, ...) of the features that will be extracted.
    """
    settings, stream = settings or Adaptation(), backbone.modality
    flow = {"flow_size": 112, "flow_bound": 20.0} | dict(flow)
    path = _adapted_path(backbone, dataset, settings, flow, cache_dir)
    read = partial(_read_views, dataset, settings, flow, n_jobs=n_jobs)
    train = partial(fine_tune, first=backbone.net.state_dict(), settings=settings)
    weights = _trained({stream: path}, read, train, settings, "adaptation", n_jobs=n_jobs)[stream]
    return CompactBackbone(stream, weights, blur=settings.smoothing, name=ADAPTED, notes=(ADAPTED_NOTE,))


def _trained(
    paths: Mapping[str, Path],
    read: Callable[[Sequence[str]], tuple[Clips, Labels]],
    train: Callable[..., Weights],
    settings: Pretraining | Adaptation,
    description: str,
    *,
    n_jobs: int,
) -> dict[str, dict[str, Tensor]]:
    """Stream -> weights, from the cache where it has them and their history; clips are read once for all others."""
    missing = [s for s, path in paths.items() if read_sealed(path.with_suffix(".json")) is None]
    if missing:
        clips, labels = read(missing)
        tasks = [(stream, clips[stream]) for stream in missing]
        work = partial(train, labels=labels)
        trained = map_parallel(work, tasks, n_jobs=n_jobs, description=description, unit="backbone")
        for stream, (weights, history) in zip(missing, trained, strict=True):
            with atomic_write(paths[stream]) as temporary:
                save_file(weights, temporary)
            record = {"settings": asdict(settings), "history": history}
            write_sealed(paths[stream].with_suffix(".json"), record, files=[paths[stream].name])
    return {stream: load_file(path) for stream, path in paths.items()}


def _path(cache_dir: Path | str, name: str, stream: str, made_of: list[Any]) -> Path:
    """Where weights are; the name covers what they are made of, and the code that reads and trains."""
    code = digest_of_code(compact, sys.modules[__name__], streams_module, flow_module, images_module, video_module)
    return Path(cache_dir) / "backbones" / f"{name}-{stream}-{digest_of([*made_of, stream, code])}.safetensors"


def _pretrained_paths(settings: Pretraining, cache_dir: Path | str) -> dict[str, Path]:
    corpus = corpus_digest(n_classes=settings.n_classes, clips_per_class=settings.clips_per_class, seed=settings.seed)
    return {stream: _path(cache_dir, "compact", stream, [asdict(settings), corpus]) for stream in STREAMS}


def _adapted_path(
    backbone: CompactBackbone, dataset: Dataset, settings: Adaptation, flow: Mapping[str, Any], cache_dir: Path | str
) -> Path:
    clips = dataset.manifest.query("split == 'train'").assign(group="-")
    of_flow = dict(flow) if backbone.modality == "flow" else None
    decoder = video_module.decoder_version()
    made_of = [asdict(settings), backbone.digest, manifest_digest(clips), of_flow, decoder]
    return _path(cache_dir, ADAPTED, backbone.modality, made_of)


def read_corpus(
    corpus: Dataset, settings: Pretraining, wanted: Sequence[str] = STREAMS, *, n_jobs: int
) -> tuple[Clips, Labels]:
    """Decode the corpus once: clips (n, T, S, S, C), and of each its ``action``, ``scene``, ``joints`` (T, J, 2), and
    whether it is ``held_out``."""
    paths = [corpus.clip_path(row) for row in range(len(corpus.manifest))]
    take = corpus.manifest.groupby("label").cumcount().to_numpy()
    instants = sample_instants(N_FRAMES, settings.n_segments)
    labels = {
        "action": torch.from_numpy(pd.factorize(corpus.manifest["label"], sort=True)[0]),
        "scene": torch.from_numpy(pd.factorize(corpus.manifest["scene"], sort=True)[0]),
        "joints": torch.from_numpy(np.stack([np.load(joints_path(path))[instants] for path in paths])),
        "held_out": torch.from_numpy(take >= settings.clips_per_class - max(1, settings.clips_per_class // 8)),
    }
    options = {"n_segments": settings.n_segments, "flow_algorithm": settings.flow_algorithm}
    items = [(path, N_FRAMES, None) for path in paths]
    return _read(items, wanted, n_jobs, f"{corpus.name}: decoding and flow", **options), labels


def _read_views(
    dataset: Dataset, settings: Adaptation, flow: Mapping[str, Any], wanted: Sequence[str], *, n_jobs: int
) -> tuple[Clips, Labels]:
    """The training clips, decoded once per view: stream -> (V, n, T, S, S, C); numbers of the base classes, (n,)."""
    rng = np.random.default_rng([settings.seed, 29])
    drawn = pd.Series(rng.permutation(dataset.rows("train")))
    of_class = drawn.groupby(dataset.manifest["label"].iloc[drawn].to_numpy()).cumcount()
    rows = np.sort(drawn[of_class < settings.clips_per_class].to_numpy())
    clips = dataset.manifest.iloc[rows]
    items = [
        (dataset.clip_path(row), int(n_frames), [settings.seed, 30, view, place] if view else None)
        for view in range(settings.n_views)  # the first has the instants of the features
        for place, (row, n_frames) in enumerate(zip(rows, clips["n_frames"], strict=True))
    ]
    views = _read(items, wanted, n_jobs, f"training clips of {dataset.name}", n_segments=settings.n_segments, **flow)
    by_view = {stream: x.reshape(settings.n_views, len(rows), *x.shape[1:]) for stream, x in views.items()}
    return by_view, {"class": torch.from_numpy(np.unique(clips["label"], return_inverse=True)[1])}


def _read(items: list[tuple], wanted: Sequence[str], n_jobs: int, description: str, **options: Any) -> Clips:
    """Clips one after the other, from paths, numbers of frames, and seeds of random instants (None: the centres)."""
    read = partial(_read_clip, sizes=dict.fromkeys(wanted, compact.INPUT_SIZE), **options)
    clips = map_parallel(read, items, n_jobs=n_jobs, description=description, unit="clip")
    return {stream: np.stack([clip[stream] for clip in clips]) for stream in wanted}


def _read_clip(item: tuple[Path, int, list[int] | None], **options: Any) -> Clips:
    path, n_frames, seed = item
    rng = None if seed is None else np.random.default_rng(seed)
    clip = streams(path, n_frames=n_frames, rng=rng, **options)
    return {stream: x.astype(np.float16) if stream == "flow" else x for stream, x in clip.items()}


class _Task(nn.Module):
    """What a net learns from: the ``label`` of every ``n_frames`` frames, and the joints in each frame, if any."""

    def __init__(self, stream: str, label: str, n_frames: int, n_classes: int, *, n_joints: int = 0) -> None:
        super().__init__()
        self.label, self.width = label, n_frames * DIM
        self.net = CompactNet(net_channels(stream))
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(self.width, n_classes))
        self.joints = nn.Linear(DIM, 2 * n_joints) if n_joints else None

    def forward(self, x: Tensor, labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, T, C, S, S) and labels of the clips -> loss, and per clip what to report."""
        features = self.net(x.flatten(0, 1)).mean((-2, -1)).unflatten(0, x.shape[:2])  # (B, T, D)
        logits = self.classifier(features.reshape(len(x), -1, self.width))  # (B, T / n_frames, N)
        target = labels[self.label]
        each = target[:, None].expand(logits.shape[:2]).flatten()
        loss = F.cross_entropy(logits.flatten(0, 1), each, label_smoothing=LABEL_SMOOTHING)
        report = {f"{self.label}_accuracy": (logits.mean(1).argmax(-1) == target).float()}
        if self.joints is not None:
            error = (self.joints(features).unflatten(-1, (-1, 2)) - labels["joints"]).abs()  # (B, T, J, 2)
            loss = loss + JOINT_WEIGHT * error.mean()
            report["joint_error_px"] = 2.0 * SIDE * error.detach().mean((1, 2, 3))  # |dx| + |dy|
        return loss, report


def pretrain(item: tuple[str, np.ndarray], *, labels: Labels, settings: Pretraining) -> Weights:
    """Train a compact net on clips (n, T, S, S, C) of the corpus in one stream, labelled by ``read_corpus``.

    Returns the weights of the ``CompactNet``, and one row of history per epoch (loss, held-out results, seconds).
    """
    stream, clips = item
    rng = np.random.default_rng([settings.seed, 2])
    train_rows, test_rows = (torch.nonzero(part)[:, 0].numpy() for part in (~labels["held_out"], labels["held_out"]))
    frames_a_clip = FRAMES_A_CLIP.get(stream, settings.n_segments)
    visits = settings.n_segments // frames_a_clip  # an epoch shows as many frames as there are
    steps = visits * int(np.ceil(len(train_rows) / settings.batch_size))

    def build() -> nn.Module:
        if stream == "rgb":
            return _Task(stream, "scene", 1, settings.n_classes, n_joints=labels["joints"].shape[2])
        return _Task(stream, "action", settings.n_segments, settings.n_classes)

    def labels_of(rows: np.ndarray) -> Labels:
        return {name: values[rows] for name, values in labels.items()}

    def batches() -> Iterable[tuple[Tensor, Labels]]:
        for rows in np.array_split(rng.permutation(np.repeat(train_rows, visits)), steps):
            instants = np.sort(rng.permutation(settings.n_segments)[:frames_a_clip])
            shifted, by = _shifted(clips[rows][:, instants], settings.shift, rng)
            batch = labels_of(rows)
            batch["joints"] = batch["joints"][:, instants] - by[:, None, None]
            yield normalise(torch.from_numpy(shifted), stream), batch

    def held_out() -> Iterable[tuple[Tensor, Labels]]:
        for rows in np.array_split(test_rows, max(1, len(test_rows) // 64)):
            yield normalise(torch.from_numpy(clips[rows]), stream), labels_of(rows)

    return _fit(build, batches, steps, settings, held_out)


def fine_tune(
    item: tuple[str, np.ndarray], *, labels: Labels, first: Mapping[str, Tensor], settings: Adaptation
) -> Weights:
    """Train a compact net, from its ``first`` weights, to name the base classes of clips (V views, n, T, S, S, C)."""
    stream, views = item
    n_views, n_clips, n_segments = views.shape[:3]
    rng = np.random.default_rng([settings.seed, 31])
    steps = int(np.ceil(n_clips / settings.batch_size))

    def build() -> nn.Module:
        task = _Task(stream, "class", n_segments, int(labels["class"].max()) + 1)
        task.net.load_state_dict(first)
        return task

    def batches() -> Iterable[tuple[Tensor, Labels]]:
        for rows in np.array_split(rng.permutation(n_clips), steps):
            clips = torch.from_numpy(views[rng.integers(n_views, size=len(rows)), rows])
            clips = moved(normalise(clips, stream), shift=settings.shift, scale=settings.scale, rng=rng)
            yield clips, {"class": labels["class"][rows]}

    return _fit(build, batches, steps, settings)


def _fit(
    build: Callable[[], nn.Module],
    batches: Callable[[], Iterable[tuple[Tensor, Labels]]],
    steps: int,
    settings: Pretraining | Adaptation,
    held_out: Callable[[], Iterable[tuple[Tensor, Labels]]] | None = None,
) -> Weights:
    """The one loop: AdamW with a one-cycle schedule over the batches of every epoch.

    The reports on ``held_out`` enter the history, else those on the training batches.
    """
    history: list[dict[str, float]] = []
    start = perf_counter()
    with torch.random.fork_rng(devices=[]):  # layers and dropout draw from a stream of their own, not the caller's
        torch.default_generator.manual_seed(settings.seed)  # torch.manual_seed would touch the GPUs' too
        task = build()
        optimiser = torch.optim.AdamW(task.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        n_steps = max(1, steps * settings.epochs)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=n_steps)
        for epoch in range(settings.epochs):
            task.train()
            losses, reports = [], []
            for clips, labels in batches():
                loss, report = task(clips, labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
                reports.append(report)
            if held_out:
                task.eval()
                with torch.inference_mode():
                    reports = [task(*batch)[1] for batch in held_out()]
            means = {name: float(torch.cat([report[name] for report in reports]).mean()) for name in reports[0]}
            row = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "seconds": perf_counter() - start}
            history.append(row | means)
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


def moved(clips: Tensor, *, shift: float, scale: float, rng: np.random.Generator) -> Tensor:
    """Each clip (B, T, C, S, S) shifted by up to ``shift`` px and resized by up to ``scale``, alike in all frames.

    Edges are repeated; nothing is mirrored, because swipes and circles have a direction.
    """
    n_clips, n_segments = clips.shape[:2]
    matrix = np.zeros((n_clips, 2, 3), np.float32)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 + scale * rng.uniform(-1, 1, n_clips)
    matrix[:, :, 2] = 2 * shift / clips.shape[-1] * rng.uniform(-1, 1, (n_clips, 2))  # the side is 2 long
    each = torch.from_numpy(matrix).repeat_interleave(n_segments, 0)
    frames = clips.flatten(0, 1)
    grid = F.affine_grid(each, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False).unflatten(0, clips.shape[:2])
