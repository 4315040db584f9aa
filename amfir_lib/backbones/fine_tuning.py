"""Fine-tuning of a compact net: it learns to name the base classes from the sequence of its frame features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amfir_lib.backbones.compact import DIM, CompactNet, normalise
from amfir_lib.errors import BadParameter


@dataclass(frozen=True)
class Adaptation:
    """Settings of the adaptation, tried on base and validation classes of real depth clips (``real_clips_choice.csv``).

    Attributes:
        epochs: passes over the training clips; 0 keeps the weights.
        batch_size: clips a step.
        lr: highest learning rate of the one-cycle schedule (AdamW).
        weight_decay: of AdamW.
        dropout: before the classifier.
        label_smoothing: of the cross-entropy.
        clips_per_class: at most so many of each base class, drawn by the seed; they are held in memory.
        n_views: ways in which a clip is sampled in time: the centres of its segments, and random instants.
        shift: largest random shift of a clip in pixels of the backbone's input.
        scale: largest random change of its size, as a share.
        smoothing: how often the features of a motion backbone are blurred in time, see ``backbones.blurred``.
        n_segments: frames per clip, T.
        seed: of instants, order, classifier and augmentation.
    """

    epochs: int = 12
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    label_smoothing: float = 0.1
    clips_per_class: int = 64
    n_views: int = 4
    shift: float = 6.0
    scale: float = 0.15
    smoothing: int = 2
    n_segments: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse, with a BadParameter, a setting that no adaptation can have."""
        for name, low in (("epochs", 0), ("batch_size", 1), ("clips_per_class", 1), ("n_views", 1), ("smoothing", 0)):
            if getattr(self, name) < low:
                raise BadParameter(f"{name} is {getattr(self, name)}, but must be at least {low}. Raise it.")


def fine_tune(
    weights: Mapping[str, Tensor], views: np.ndarray, labels: np.ndarray, stream: str, settings: Adaptation
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train a compact net to name the base classes.

    Args:
        weights: of the ``CompactNet`` to begin with.
        views: (V, n, T, S, S, C), see ``normalise``.
        labels: (n,) class numbers.
        stream: "rgb" or "flow".
        settings: of the adaptation.
    Returns:
        The new weights, and one row of history per epoch: loss, accuracy on what was trained on, seconds.
    """
    n_views, n_clips, n_segments = views.shape[:3]
    rng = np.random.default_rng([settings.seed, 31])
    target = torch.from_numpy(labels)
    steps = int(np.ceil(n_clips / settings.batch_size))
    history: list[dict[str, float]] = []
    start = perf_counter()
    with torch.random.fork_rng(devices=[]):  # layers and dropout draw from a stream of their own, not the caller's
        torch.default_generator.manual_seed(settings.seed)  # torch.manual_seed would touch the GPUs' too
        net = CompactNet(views.shape[-1])
        net.load_state_dict(dict(weights))
        classifier = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(n_segments * DIM, int(labels.max()) + 1))
        parameters = [*net.parameters(), *classifier.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        n_steps = max(1, steps * settings.epochs)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=n_steps)
        for epoch in range(settings.epochs):
            losses, hits = [], 0
            for rows in np.array_split(rng.permutation(n_clips), steps):
                clips = normalise(views[rng.integers(n_views, size=len(rows)), rows], stream)
                clips = moved(clips, shift=settings.shift, scale=settings.scale, rng=rng)
                features = net(clips.flatten(0, 1)).mean((-2, -1))  # (B T, D)
                logits = classifier(features.reshape(len(rows), -1))
                loss = F.cross_entropy(logits, target[rows], label_smoothing=settings.label_smoothing)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
                hits += int((logits.argmax(-1) == target[rows]).sum())
            row = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "accuracy": hits / n_clips}
            history.append(row | {"seconds": perf_counter() - start})
    return {key: value.clone().contiguous() for key, value in net.state_dict().items()}, history


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
