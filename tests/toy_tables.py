"""Feature tables of Gaussian classes for tests of training, evaluation and the grid of runs."""

from __future__ import annotations

import numpy as np
import torch

from amfir_lib.feature_table import FeatureTable
from amfir_lib.methods import build_method
from amfir_lib.training import Training

DIMS = {"rgb": 6, "flow": 5}
QUICK = Training(
    n_way=3, shots=(1, 2), n_query=2, steps=9, episodes_per_step=2, validate_every=3, n_val_episodes=12, lr=0.05
)


def toy_table(*, n_classes: tuple[int, int, int] = (6, 5, 6), n_clips: int = 6, noise: float = 1.0) -> FeatureTable:
    """Clips whose class shows in the first two channels of each modality, among channels of louder noise.

    Args:
        n_classes: in train, val and test.
        n_clips: of each class, each from a group of its own.
        noise: standard deviation in the first two channels; three times as much in the others.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(sum(n_classes)), n_clips)
    features = {}
    for modality, dim in DIMS.items():
        centres = np.zeros((sum(n_classes), dim))
        centres[:, :2] = 3 * rng.standard_normal((sum(n_classes), 2))
        loudness = np.where(np.arange(dim) < 2, noise, 3 * noise)
        values = centres[labels] + loudness * rng.standard_normal((len(labels), dim))
        values = values[:, None] + 0.1 * rng.standard_normal((len(labels), 3, dim))  # T = 3 instants of each clip
        features[modality] = torch.from_numpy(values[:, :, None].astype(np.float32))
    return FeatureTable(
        features=features,
        labels=labels,
        groups=np.arange(len(labels)),
        splits=np.repeat(("train", "val", "test"), np.array(n_classes) * n_clips),
        class_names=[f"class{number}" for number in range(sum(n_classes))],
        degraded=rng.choice(["none", "rgb", "flow", "both"], len(labels)),
    )


def new_method(name: str = "amfir", *, seed: int = 0, **options: object):
    """A method for the tables of this module."""
    options = {"width": 4} | options
    return build_method(name, dims=DIMS, options=options, generator=torch.Generator().manual_seed(seed))
