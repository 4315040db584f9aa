"""Spoilt test clips: what may be done to the queries of an episode, and the features of clips to which it was done.

Clips are decoded once and spoilt in every way.  The features of one shard of clips in one condition are one file in the
cache, so that an interrupted call, or another severity, costs only what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amfir_lib.analysis.costs import blank_clips, reading_settings
from amfir_lib.data import flow, images, spoiling, video
from amfir_lib.data import streams as streams_module
from amfir_lib.data.spoiling import SPOILINGS, check_spoiling, spoil_clip, spoiling_rng
from amfir_lib.data.streams import centre_square, seen_by, streams
from amfir_lib.data.synthetic import degradation
from amfir_lib.data.video import read_frames
from amfir_lib.errors import BadParameter, NonFiniteFeatures, TooFewVideos, unknown_name
from amfir_lib.parallel import map_parallel, single_thread
from amfir_lib.storage import check_free_space, digest_of, digest_of_code
from amfir_lib.study.cache import save_arrays, whole_arrays
from amfir_lib.study.feature_table import FeatureTable, Whitening
from amfir_lib.study.material import Material

SHARD_CLIPS = 32
POOLED = "mean over patches"
NOTHING, MISSING = "none", "without "  # kinds beside those of spoiling; the latter before a modality


@dataclass(frozen=True, order=True)
class Condition:
    """One state of the queries, and with side "all" of the supports as well."""

    kind: str = NOTHING
    severity: float = 0.0  # up to 1
    side: str = "queries"

    @property
    def key(self) -> str:
        """Name for files."""
        return f"{self.kind}-{self.severity:.3f}-{self.side}".replace(" ", "_")

    @property
    def missing(self) -> str:
        """Name of the modality that is missing, or empty."""
        return self.kind.partition(MISSING)[2]

    @property
    def family(self) -> str:
        """Of the kind of spoiling, or empty."""
        return SPOILINGS[self.kind].family if self.kind in SPOILINGS else ""

    @property
    def label(self) -> str:
        """In words."""
        return self.kind

    @property
    def columns(self) -> dict[str, object]:
        """Of a table, that say which condition a row is about."""
        return {"family": self.family} | vars(self)


CLEAN = Condition()


def spoilt_conditions(kinds: Mapping[str, Sequence[str]], severities: Sequence[float]) -> list[Condition]:
    """Every kind (by family) at every severity, above 0 and up to 1; a kind that is not graded at severity 1 alone.

    Raises:
        UnknownName: no such kind in the family. BadParameter: wrong severities.
    """
    if not severities or min(severities) <= 0 or len(set(severities)) < len(severities):
        raise BadParameter(f"severities is {list(severities)}, but must name some above 0 and up to 1, each once.")
    conditions = []
    for family, names in kinds.items():
        known = [kind for kind, spoiling in SPOILINGS.items() if spoiling.family == family]
        for kind in dict.fromkeys(names):
            if kind not in known:
                raise unknown_name(f"kind of {family}", kind, known)
            for severity in severities:
                check_spoiling(kind, severity)
            graded = sorted(severities) if SPOILINGS[kind].graded else [1.0]
            conditions += [Condition(kind, float(severity)) for severity in graded]
    return conditions


def missing_conditions(modalities: Sequence[str]) -> list[Condition]:
    """Each modality missing in the queries, and in all clips of an episode."""
    return [Condition(f"{MISSING}{m}", 1.0, side) for side in ("queries", "all") for m in modalities]


@dataclass(frozen=True, eq=False)
class SpoiltClips:
    """The test clips that are asked about, and where their spoilt features lie."""

    material: Material
    rows: np.ndarray  # (n,) of the manifest, ascending
    folder: Path  # in the cache
    blank: dict[str, np.ndarray] = field(repr=False)  # modality -> (1, T, P, D) of a black clip, or of no flow at all
    whitening: Whitening = field(repr=False)

    def features(self, condition: Condition, *, patches: bool, whiten: bool = True) -> dict[str, Tensor]:
        """Features in a condition that was computed, with a modality missing, or as they are.

        Returns:
            modality -> (n, T, P, D) float16, or without patches (n, T, 1, D) float32, in the order of ``rows``.
        """
        if condition.family:
            raw: dict[str, list[np.ndarray]] = {m: [] for m in self.blank}
            for path in sorted((self.folder / condition.key).glob("shard-*.npz")):
                with np.load(path) as arrays:
                    for m, shards in raw.items():
                        shards.append(arrays[m if patches else f"{m} {POOLED}"])
            tensors = {m: torch.from_numpy(np.concatenate(shards)) for m, shards in raw.items()}
        else:
            kept = {m: np.asarray(store.features[self.rows]) for m, store in self.material.stores.items()}
            if condition.missing:
                kept[condition.missing] = np.repeat(self.blank[condition.missing], len(self.rows), axis=0)
            tensors = {m: torch.from_numpy(x if patches else _pooled(x)) for m, x in kept.items()}
        return self.whitening(tensors) if whiten else tensors

    def layout(self) -> FeatureTable:
        """Labels and groups of these clips alone: row i is clip i."""
        return replace(self.material.layout().take(self.rows), degraded=None)


def chosen_clips(material: Material, *, clips_per_class: int, n_needed: int) -> np.ndarray:
    """At most so many clips of each test class, evenly spread over its clip ids, which often go by person.

    Returns:
        (n,) manifest rows, ascending.
    Raises:
        TooFewVideos: fewer than the ``n_needed`` supports and queries that an episode takes of a class.
    """
    if clips_per_class < n_needed:
        raise TooFewVideos(
            f"clips_per_class is {clips_per_class}, but an episode takes {n_needed} clips of each class. Raise it, or "
            "lower n_query or n_shots."
        )
    layout = material.layout()
    rows = layout.rows("test")
    by_class = [rows[layout.labels[rows] == label] for label in np.unique(layout.labels[rows])]
    spread = [np.linspace(0, len(of) - 1, min(clips_per_class, len(of))).round().astype(int) for of in by_class]
    return np.sort(np.concatenate([of[places] for of, places in zip(by_class, spread, strict=True)]))


def spoil_clips(
    material: Material, backbones: Mapping[str, Any], rows: np.ndarray, conditions: Sequence[Condition], *,
    cache_dir: Path, n_jobs: int = 1,
) -> SpoiltClips:  # fmt: skip
    """Features of chosen clips (manifest rows) in every condition, from the cache where they are there.

    Flow and features are computed from the spoilt frames by the backbones and settings that made the material's.

    Raises:
        UnreadableVideo, NonFiniteFeatures: name the clip. DiskFull: no room; what is finished is kept.
    """
    stores, dataset = material.stores, material.dataset
    settings = reading_settings(material)
    ids = [str(name) for name in dataset.manifest["clip_id"].iloc[rows]]
    code = digest_of_code(spoiling, streams_module, images, video, flow, degradation)
    digests = {m: [backbones[m].digest, store.digest] for m, store in stores.items()}  # the stores know the pixels
    made_of = [ids, dataset.digest, digests, settings, code]
    folder = Path(cache_dir) / "spoilt" / f"{dataset.name}-{digest_of(made_of)}"
    clips = [(name, str(dataset.clip_path(row))) for name, row in zip(ids, rows, strict=True)]
    shards = []
    for number, start in enumerate(range(0, len(clips), SHARD_CLIPS)):
        paths = {condition: folder / condition.key / f"shard-{number:03d}.npz" for condition in conditions}
        missing = {condition: path for condition, path in paths.items() if not whole_arrays(path)}
        if missing:
            shards.append(_Shard(clips[start : start + SHARD_CLIPS], missing, dict(backbones), settings))
    clip_bytes = sum(int(np.prod(store.features.shape[1:])) * 2 for store in stores.values())
    check_free_space(folder / "shard", sum(len(s.clips) * len(s.paths) for s in shards) * clip_bytes)
    map_parallel(
        _extract, shards, n_jobs=n_jobs, description=f"{dataset.name}: spoilt clips",
        units_of=lambda shard: len(shard.clips),
    )  # fmt: skip
    n_segments = settings["n_segments"]
    with single_thread():
        blank = {m: one.features(blank_clips(one, n_segments=n_segments)) for m, one in backbones.items()}
    return SpoiltClips(material, rows, folder, blank, material.whitening())


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
    how = seen_by(shard.backbones.values()) | shard.settings
    for condition, path in shard.paths.items():
        inputs = []
        for (name, _), frames in zip(shard.clips, originals, strict=True):
            rng = spoiling_rng(condition.kind, name)
            inputs.append(streams(spoil_clip(frames, condition.kind, condition.severity, rng), **how))
        arrays = {}
        for modality, backbone in shard.backbones.items():
            values = backbone.features(np.stack([clip[backbone.modality] for clip in inputs]))
            bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2, 3)))
            if len(bad):
                raise NonFiniteFeatures(
                    f'clip "{shard.clips[bad[0]][0]}" has NaN or infinite {modality} features in {condition.kind} '
                    f"{condition.severity:g}. Drop the clip, or lower the severity."
                )
            arrays |= {modality: values, f"{modality} {POOLED}": _pooled(values)}
        save_arrays(path, arrays)


def _pooled(values: np.ndarray) -> np.ndarray:
    """(n, T, P, D) of any float type -> float32 (n, T, 1, D)."""
    return np.asarray(values, np.float32).mean(2, keepdims=True)
