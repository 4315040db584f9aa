"""Features of spoilt test clips: decoded once, spoilt in every way, and kept in the cache clip by clip.

The features of one shard of clips in one condition are one file, so that an interrupted call, or another severity,
costs only what is missing.  They are compressed, because half of their values are zero.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amfir_lib.analysis.robustness.conditions import Condition
from amfir_lib.data import flow, spoiling, video
from amfir_lib.data import streams as streams_module
from amfir_lib.data.spoiling import spoil_clip, spoiling_rng
from amfir_lib.data.streams import centre_square, dense_frames, seen_by, streams
from amfir_lib.data.synthetic import degradation
from amfir_lib.data.video import read_frames
from amfir_lib.errors import NonFiniteFeatures, TooFewVideos
from amfir_lib.parallel import map_parallel, single_thread
from amfir_lib.storage import atomic_write, check_free_space, digest_of, digest_of_code
from amfir_lib.study.feature_table import FeatureTable, Whitening
from amfir_lib.study.runs import Material

SHARD_CLIPS = 32
POOLED = "mean over patches"


@dataclass(frozen=True, eq=False)
class SpoiltClips:
    """The test clips that are asked about, and where their spoilt features lie; equal where the folder is.

    Attributes:
        material: the data set.
        rows: (n,) manifest rows of the clips, ascending.
        folder: in the cache.
        blank: modality -> (1, T, P, D) raw features of a black clip, or of no flow at all.
        whitening: the map from raw features to what methods read.
    """

    material: Material
    rows: np.ndarray
    folder: Path
    blank: dict[str, np.ndarray] = field(repr=False)
    whitening: Whitening = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpoiltClips) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def features(self, condition: Condition, *, patches: bool, whiten: bool = True) -> dict[str, Tensor]:
        """Features in one condition.

        Args:
            condition: one that was computed, or a modality that is missing, or nothing at all.
            patches: keep the P patches (float16), or average over them (float32).
            whiten: by base-class statistics, as most methods read them.
        Returns:
            modality -> (n, T, P or 1, D), in the order of ``rows``.
        """
        raw = self._raw(condition, patches)
        return self.whitening(raw) if whiten else raw

    def layout(self) -> FeatureTable:
        """Labels and groups of these clips alone: row i is clip i."""
        whole = self.material.layout()
        own = {name: getattr(whole, name)[self.rows] for name in ("labels", "groups", "splits")}
        return replace(whole, **own, degraded=None)

    def _raw(self, condition: Condition, patches: bool) -> dict[str, Tensor]:
        if condition.severity and not condition.missing:
            shards = sorted((self.folder / condition.key).glob("shard-*.npz"))
            return {m: torch.from_numpy(_joined(shards, m, patches)) for m in self.blank}
        raw = {m: np.asarray(store.features[self.rows]) for m, store in self.material.stores.items()}
        if condition.missing:
            raw[condition.missing] = np.repeat(self.blank[condition.missing], len(self.rows), axis=0)
        return {m: torch.from_numpy(x if patches else _pooled(x)) for m, x in raw.items()}


def chosen_clips(material: Material, *, clips_per_class: int, n_needed: int) -> np.ndarray:
    """Some clips of each test class, evenly spread over its clip ids, which often go by person.

    Args:
        material: the data set.
        clips_per_class: at most so many of each class.
        n_needed: supports and queries that an episode takes of a class.
    Returns:
        (n,) manifest rows, ascending.
    Raises:
        TooFewVideos: fewer than an episode needs.
    """
    if clips_per_class < n_needed:
        raise TooFewVideos(
            f"clips_per_class is {clips_per_class}, but an episode takes {n_needed} clips of each class. Raise it, or "
            "lower n_query or n_shots."
        )
    layout = material.layout()
    rows = layout.rows("test")
    kept = []
    for label in np.unique(layout.labels[rows]):
        own = rows[layout.labels[rows] == label]
        kept.append(own[np.linspace(0, len(own) - 1, min(clips_per_class, len(own))).round().astype(int)])
    return np.sort(np.concatenate(kept))


def spoil_clips(
    material: Material, backbones: Mapping[str, Any], rows: np.ndarray, conditions: Sequence[Condition], *,
    cache_dir: Path, n_jobs: int = 1,
) -> SpoiltClips:  # fmt: skip
    """Features of chosen clips in every condition, from the cache where they are there.

    Flow and features are computed from the spoilt frames with the settings that the feature stores recorded.

    Args:
        material: the data set with its feature stores.
        backbones: modality -> backbone that made them.
        rows: manifest rows of the clips.
        conditions: each a kind of spoiling and a severity.
        cache_dir: the cache folder; the files go to ``spoilt/``.
        n_jobs: worker processes.
    Raises:
        UnreadableVideo, NonFiniteFeatures: name the clip. DiskFull: no room; what is finished is kept.
    """
    stores, manifest = material.stores, material.dataset.manifest
    how = next(store.metadata["flow"] for store in stores.values() if store.metadata["flow"])
    settings = {
        "n_segments": next(iter(stores.values())).metadata["n_segments"], "flow_size": how["size"],
        "flow_algorithm": how["algorithm"], "flow_bound": how["bound"], "flow_average": how["average"],
    }  # fmt: skip
    ids = [str(name) for name in manifest["clip_id"].iloc[rows]]
    code = digest_of_code(spoiling, streams_module, video, flow, degradation)
    digests = {m: [backbones[m].digest, store.digest] for m, store in stores.items()}  # the stores know the pixels
    made_of = [ids, material.dataset.digest, digests, settings, code]
    folder = Path(cache_dir) / "spoilt" / f"{material.dataset.name}-{digest_of(made_of)}"
    clips = [(name, str(material.dataset.clip_path(row))) for name, row in zip(ids, rows, strict=True)]
    shards = []
    for number, start in enumerate(range(0, len(clips), SHARD_CLIPS)):
        paths = {one: folder / one.key / f"shard-{number:03d}.npz" for one in conditions}
        missing = {one: path for one, path in paths.items() if not _is_whole(path)}
        if missing:
            shards.append(_Shard(clips[start : start + SHARD_CLIPS], missing, dict(backbones), settings))
    clip_bytes = sum(int(np.prod(store.features.shape[1:])) * 2 for store in stores.values())
    check_free_space(folder / "shard", sum(len(s.clips) * len(s.paths) for s in shards) * clip_bytes)
    map_parallel(
        _extract, shards, n_jobs=n_jobs, description=f"{material.dataset.name}: spoilt clips",
        units_of=lambda shard: len(shard.clips),
    )  # fmt: skip
    return SpoiltClips(material, rows, folder, _blank(backbones, settings["n_segments"]), material.whitening())


@dataclass(frozen=True)
class _Shard:
    """Some clips, and the files of the conditions that are still missing."""

    clips: list[tuple[str, str]]
    paths: dict[Condition, Path]
    backbones: dict[str, Any] = field(repr=False)
    settings: dict[str, Any]

    @property
    def item_name(self) -> str:
        return f"clips {self.clips[0][0]} to {self.clips[-1][0]}"


def _extract(shard: _Shard) -> None:
    """Worker: decode the clips once, and write their features in each condition."""
    originals = [centre_square(read_frames(path)) for _, path in shard.clips]
    for condition, path in shard.paths.items():
        inputs = []
        for (name, _), frames in zip(shard.clips, originals, strict=True):
            rng = spoiling_rng(condition.kind, name)
            spoilt = spoil_clip(frames, condition.kind, condition.severity, rng)
            inputs.append(streams(spoilt, **seen_by(shard.backbones.values()), **shard.settings))
        arrays = {}
        for modality, backbone in shard.backbones.items():
            values = backbone.features(np.stack([one[backbone.modality] for one in inputs]))
            bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))
            if len(bad):
                raise NonFiniteFeatures(
                    f'clip "{shard.clips[bad[0]][0]}" has NaN or infinite {modality} features in {condition.kind} '
                    f"{condition.severity:g}. Drop the clip, or lower the severity."
                )
            arrays |= {modality: values, f"{modality} {POOLED}": _pooled(values)}
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, **arrays)


def _pooled(values: np.ndarray) -> np.ndarray:
    """(n, T, P, D) of any float type -> float32 (n, T, 1, D)."""
    return np.asarray(values, np.float32).mean(2, keepdims=True)


def _is_whole(path: Path) -> bool:
    """Whether a file is there and its directory of arrays can be read; files are written whole or not at all."""
    return path.is_file() and zipfile.is_zipfile(path)


def _joined(shards: Sequence[Path], modality: str, patches: bool) -> np.ndarray:
    parts = []
    for path in shards:
        with np.load(path) as arrays:
            parts.append(arrays[modality if patches else f"{modality} {POOLED}"])
    return np.concatenate(parts)


def _blank(backbones: Mapping[str, Any], n_segments: int) -> dict[str, np.ndarray]:
    """Raw features of a black clip, and of a clip without any flow."""
    found = {}
    with single_thread():
        for modality, one in backbones.items():
            channels, kind = (2, np.float32) if one.modality == "flow" else (3, np.uint8)
            count = dense_frames(one) or n_segments
            found[modality] = one.features(np.zeros((1, count, one.input_size, one.input_size, channels), kind))
    return found
