"""What the measurements of a benchmark's character need: copies of its validation clips, and trained methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from amfir_lib.data.features import extract_stores
from amfir_lib.data.store import FeatureStore
from amfir_lib.data.synthetic.probes import reversed_copy
from amfir_lib.errors import ManifestError
from amfir_lib.storage import digest_of
from amfir_lib.study.config import Config
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.materials import open_backbones, prepare, training_of
from amfir_lib.study.runs import Material, RunResult, Series, TestCell, run_all
from amfir_lib.workers import resolve_device

STREAMS = {"rgb": "protonet", "flow": "protonet_f"}  # stream -> the method that reads it alone
FORCED = ("none", "rgb", "flow")
REVERSED = "reversed"


@dataclass(frozen=True)
class Probes:
    """The validation clips of one benchmark in several versions, with what is needed to measure on them.

    Attributes:
        table: features of the whole benchmark.
        versions: version -> modality -> (n_val, T, 1, D) features of the validation clips, in the order of the rows.
        kinds: version -> (n_val,) kind of degradation.
    """

    table: FeatureTable
    versions: Mapping[str, Mapping[str, Tensor]]
    kinds: Mapping[str, np.ndarray]


def prepare_probes(config: Config, material: Material, *, backbone: str = "auto") -> Probes:
    """Render the validation clips again with forced degradations, and backwards, and extract their features.

    Args:
        config: of the notebook.
        material: the benchmark as it is, with the features that all else uses.
        backbone: that made them; as ``open_backbones``.
    Raises:
        ManifestError: a copy and the benchmark do not hold the same clips.
    """
    dataset, table = material.dataset, material.table()
    rows = table.rows("val")
    wanted = list(dataset.manifest["clip_id"].iloc[rows])
    whitening = material.whitening()
    versions, kinds = {}, {}
    for forced in FORCED:
        copy = prepare(config, dataset.name, backbone=backbone, degradation=forced, splits=("val",))
        if list(copy.dataset.manifest["clip_id"]) != wanted:
            raise ManifestError(
                f"the validation clips of {dataset.name} and of its copy with degradation {forced} differ. "
                "Clean the cache (./run_all.sh clean --cache) and run this again."
            )
        versions[forced] = whitening(replace(copy, whiten=False).table().features)
        kinds[forced] = copy.dataset.manifest["kind"].to_numpy(dtype=str)
    backwards = reversed_copy(dataset, "val", cache_dir=config.cache_dir, n_jobs=config.jobs)
    backbones = open_backbones(config, dataset, backbone=backbone)
    stores = extract_stores(backwards, backbones, cache_dir=config.cache_dir, n_jobs=config.jobs)
    versions[REVERSED] = whitening(Material(backwards, stores, whiten=False).table().features)
    kinds[REVERSED] = backwards.manifest["kind"].to_numpy(dtype=str)
    return Probes(table, versions, kinds)


def validation_cells(config: Config, *, n_episodes: int) -> list[TestCell]:
    """Episodes of validation classes on which the character is measured, one cell per number of shots."""
    profile = config.profile
    n_way = config.options.get("n_way") or profile.n_way
    return [
        TestCell(n_way=n_way, n_shot=n_shot, n_query=profile.n_query, n_episodes=n_episodes, split="val", seed=1)
        for n_shot in profile.test_shots
    ]


def train_streams(
    config: Config, materials: Sequence[Material], cells: Sequence[TestCell]
) -> dict[tuple[str, str], list[RunResult]]:
    """Train what the measurements need; runs that other notebooks share come from the cache.

    Args:
        config: of the notebook.
        materials: the benchmarks.
        cells: validation episodes that each run is tested on.
    Returns:
        (data set, measure) -> one result per seed for ``rgb`` and ``flow``, one for ``middle_frame`` (RGB, the middle
        frame repeated) and ``early_fusion`` (one head on the features of both streams side by side).
    """
    runs = {}
    for material in materials:
        name, training = material.dataset.name, training_of(config, material)
        for stream, method in STREAMS.items():
            runs[name, stream] = Series(stream, method).runs(material, training, config.seeds)
        for measure, derived in (("middle_frame", middle_frame(material)), ("early_fusion", early_fusion(material))):
            runs[name, measure] = Series(measure, "protonet").runs(derived, training, config.seeds[:1])
    flat = [run for part in runs.values() for run in part]
    results = iter(
        run_all(
            flat,
            cells,
            cache_dir=config.cache_dir,
            n_jobs=config.jobs,
            device=resolve_device(config.device),
            description="training",
        )
    )
    return {key: [next(results) for _ in part] for key, part in runs.items()}


def middle_frame(material: Material) -> Material:
    """The appearance stream with its middle frame in the place of all frames: no motion, no order."""
    (name, store), *_ = material.stores.items()
    features = _pooled(store)
    features = np.repeat(features[:, features.shape[1] // 2, None], features.shape[1], axis=1)
    return Material(material.dataset, {name: _derived([store], features, "middle frame")})


def early_fusion(material: Material) -> Material:
    """Both streams as one: their features side by side, (n, T, 1, D1 + D2)."""
    features = np.concatenate([_pooled(store) for store in material.stores.values()], axis=-1)
    return Material(material.dataset, {"fused": _derived(list(material.stores.values()), features, "early fusion")})


def _pooled(store: FeatureStore) -> np.ndarray:
    parts = [np.asarray(store.features[i : i + 256], np.float32) for i in range(0, len(store.features), 256)]
    return np.concatenate([part.mean(2, keepdims=True) for part in parts])


def _derived(stores: Sequence[FeatureStore], features: np.ndarray, what: str) -> FeatureStore:
    """Features in memory that are made from stores on disk; their digest follows from those of the stores."""
    digest = digest_of([what, *(store.digest for store in stores)])
    return FeatureStore(stores[0].path, features, {"derived": what}, digest)
