"""Random features in the shape of the study's, and episodes of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from amfir_lib.backbones.compact import CompactBackbone, CompactNet
from amfir_lib.methods import DataFacts, Method, build_method, uses_patches
from amfir_lib.methods.base import seeded_init
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.feature_table import FeatureTable

T = 8  # segments of a clip
FPS = 25.0  # of probe clips


def random_table(
    *, dim: int, n_classes: int, n_patches: int = 1, clips_per_class: int = 20, modalities: tuple[str, ...] = ("rgb",)
) -> FeatureTable:
    """Clips of Gaussian classes, all in one split; every clip is a group of its own."""
    source = torch.Generator().manual_seed(0)
    n = n_classes * clips_per_class
    labels = np.repeat(np.arange(n_classes), clips_per_class)
    features = {}
    for modality in modalities:
        centres = torch.randn(n_classes, T, n_patches, dim, generator=source)
        features[modality] = centres[labels] + torch.randn(n, T, n_patches, dim, generator=source)
    names = [f"class{number}" for number in range(n_classes)]
    return FeatureTable(features, labels, np.arange(n), np.array(["train"] * n), names)


def new_method(name: str, table: FeatureTable, **options: object) -> Method:
    """A method with initial weights for that table."""
    n_patches = {m: x.shape[2] if uses_patches(name) else 1 for m, x in table.features.items()}
    facts = DataFacts(n_base_classes=len(table.class_names), n_patches=n_patches)
    dims = table.dims if len(table.dims) == 2 else {**table.dims, "flow": 1}
    return build_method(name, dims=dims, options=options, generator=torch.Generator().manual_seed(0), facts=facts)


def draw(table: FeatureTable, *, n_episodes: int, n_shot: int, seed: int = 0) -> Episodes:
    """5-way episodes with 25 queries."""
    rng = np.random.default_rng(seed)
    return table.sample("train", n_way=5, n_shot=n_shot, n_query=5, n_episodes=n_episodes, rng=rng)


def untrained_compact() -> dict[str, CompactBackbone]:
    """The compact nets with initial weights, which are as fast as trained ones."""
    backbones = {}
    for modality, channels in (("rgb", 3), ("flow", 2)):
        with seeded_init(0, modality):
            weights = {name: value.clone() for name, value in CompactNet(channels).state_dict().items()}
        backbones[modality] = CompactBackbone(modality, weights)
    return backbones


def write_probe_clip(path: Path, *, n_frames: int, height: int, width: int, rng: np.random.Generator) -> None:
    """Write a clip of that length and size: a smooth texture that drifts."""
    texture = cv2.GaussianBlur(rng.integers(0, 255, (height, width + n_frames, 3), dtype=np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), FPS, (width, height))
    for step in range(n_frames):
        writer.write(np.ascontiguousarray(texture[:, step : step + width]))
    writer.release()
