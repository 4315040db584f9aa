"""Copies of a data set that differ in one thing, for measuring what that thing is worth."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from amfir_lib.data.manifest import Dataset
from amfir_lib.data.video import read_frames, write_video
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import digest_of, digest_of_code


def reversed_copy(dataset: Dataset, split: str, *, cache_dir: Path | str, n_jobs: int = 1) -> Dataset:
    """The clips of one split played backwards, as lossless video files in the cache.

    Everything that reads a data set reads the copy in the same way, so flow is computed anew from the reversed frames:
    a field of the copy is not the negative of an old one, it starts at the other frame of the pair.

    Args:
        dataset: with even frame sizes, which FFV1 asks for.
        split: train, val or test.
        cache_dir: folder of the cache; clips that are there already are kept.
        n_jobs: worker processes.
    Returns:
        A data set of that split alone, its rows in the order of the original.
    """
    manifest = dataset.manifest.iloc[dataset.rows(split)].reset_index(drop=True)
    source = digest_of_code(sys.modules[__name__])
    root = Path(cache_dir) / "clips" / f"{dataset.name}-reversed-{digest_of([dataset.root.name, split, source])}"
    copy = replace(
        dataset,
        root=root,
        manifest=manifest.assign(path=[str(Path(path).with_suffix(".avi")) for path in manifest["path"]]),
        caption=f"{dataset.caption}, played backwards",
    )
    pairs = [
        (dataset.root / old, root / new, fps)
        for old, new, fps in zip(manifest["path"], copy.manifest["path"], manifest["fps"], strict=True)
        if not (root / new).exists()  # each file is written whole or not at all
    ]
    map_parallel(_reverse, pairs, n_jobs=n_jobs, description=f"{dataset.name}: reversed clips")
    return copy


def _reverse(pair: tuple[Path, Path, float]) -> None:
    original, copy, fps = pair
    write_video(copy, read_frames(original)[::-1], fps=fps, codec="FFV1")
