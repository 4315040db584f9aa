"""Few, small clips whose class is their colour and the direction in which they move; and a training on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from toy_clips import texture

from amfir_lib.backbones.compact import CompactBackbone, CompactNet
from amfir_lib.backbones.resnet import ResNet
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.data.video import write_video
from amfir_lib.methods.base import seeded_init
from amfir_lib.study.training import Training

SPLITS = {"train": 3, "val": 2, "test": 2}
N_FRAMES, SIDE = 8, 48
TRAINING = Training(
    n_way=2, shots=(1, 2), n_query=1, steps=6, episodes_per_step=4, lr=0.02, validate_every=3, n_val_episodes=4
)  # fmt: skip


def moving_dataset(root: Path, *, clips_per_class: int = 4) -> Dataset:
    """A data set of 7 classes with both cues."""
    rng = np.random.default_rng(3)
    rows = []
    for split, n_classes in SPLITS.items():
        for c in range(n_classes):
            tint, angle = rng.integers(60, 256, 3) / 255, 2 * np.pi * rng.random()
            for k in range(clips_per_class):
                picture, name = texture(rng, SIDE + 60) * tint, f"{split}{c}_{k}"
                steps = np.outer(np.arange(N_FRAMES), 3 * np.array([np.sin(angle), np.cos(angle)])) + 30
                corners = steps.round().astype(int)
                frames = np.stack([picture[y : y + SIDE, x : x + SIDE] for y, x in corners]).astype(np.uint8)
                write_video(root / f"{name}.avi", frames)
                rows.append((name, f"{name}.avi", f"{split}{c}", split, name, N_FRAMES, 12.0, SIDE, SIDE))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("clip_id", ignore_index=True)
    return Dataset("moving", root, frame, flip=True)


def compact_backbones() -> dict[str, CompactBackbone]:
    """Untrained compact nets."""
    backbones = {}
    for modality, channels in (("rgb", 3), ("flow", 2)):
        with seeded_init(0, modality):
            net = CompactNet(channels)
        backbones[modality] = CompactBackbone(modality, {k: v.clone() for k, v in net.state_dict().items()})
    return backbones


def small_resnets() -> dict[str, ResNet]:
    """Untrained ResNets of 18 layers at 32 px."""
    options = {"weights": "random", "input_size": 32, "n_patches": 1}
    return {modality: ResNet("resnet18", modality, **options) for modality in ("rgb", "flow")}
