"""Feature tables of Gaussian classes for tests of training, evaluation and the grid of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from amfir_lib.data.arrays import open_array, write_array
from amfir_lib.data.manifest import Dataset
from amfir_lib.methods import build_method
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import Material
from amfir_lib.study.training import Training

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


def toy_material(folder: Path, *, name: str = "toy", shift: float = 0.0, swap_groups: bool = False) -> Material:
    """The clips of ``toy_table`` as a data set (without files) with feature stores of two patches in ``folder``.

    Args:
        folder: for the stores.
        name: of the data set.
        shift: added to the first value of the flow features, which makes another store of them.
        swap_groups: exchange the groups of two clips, which makes another manifest.
    """
    table = toy_table()
    n_clips = len(table.labels)
    groups = [f"person{number:03d}" for number in range(n_clips)]
    if swap_groups:
        groups[:2] = groups[1::-1]
    manifest = pd.DataFrame(
        {
            "clip_id": [f"clip{number:03d}" for number in range(n_clips)],
            "path": [f"clip{number:03d}.avi" for number in range(n_clips)],
            "label": [table.class_names[label] for label in table.labels],
            "split": table.splits,
            "group": groups,
            "n_frames": 16, "fps": 12.0, "height": 64, "width": 64,
            "degraded": table.degraded,
        }
    )  # fmt: skip
    stores = {}
    for modality, values in table.features.items():
        features = np.repeat(values.numpy().astype(np.float16), 2, axis=2)
        if modality == "flow":
            features[0, 0, 0, 0] += shift
        path = folder / f"{modality}.safetensors"
        write_array(path, [features], shape=features.shape, metadata={"modality": modality})
        stores[modality] = open_array(path)
    return Material(Dataset(name, folder, manifest), stores)
