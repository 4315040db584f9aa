"""A folder of labelled clips as a data set: ``class_name/clip.ext``, with optional ``clips.csv`` and ``split.yaml``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.data.class_split import ClassSplit, check_classes, draw_class_fold, draw_class_split, read_class_split
from amfir_lib.data.listing import find_clips, groups_from_names, read_clips_file
from amfir_lib.data.manifest import SPLITS, Dataset, write_manifest
from amfir_lib.data.preparation import preparation_folder, probe_clips, report_lines
from amfir_lib.errors import BadParameter, TooFewVideos
from amfir_lib.storage import write_json

CLIPS_FILE, SPLIT_FILE = "clips.csv", "split.yaml"
MIN_CLIPS = 2  # a support and a query
MAX_SKIPPED_SHARE = 0.2
NAMED_APPEARANCES = ("depth", "infrared", "thermal")  # recognised at the end of the folder's name: "my_clips_depth"


def choose_split(
    root: Path,
    labels: Sequence[str],
    *,
    split: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None,
    class_folds: int = 0,
    class_fold: int = 0,
    seed: int = 0,
) -> ClassSplit:
    """The class split: asked-for folds or counts first, then the given or the accompanying file, then a drawn one.

    Args, Raises: as ``load_folder``; ``labels`` are those of all clips.
    """
    if split is not None and (class_folds or class_counts):
        raise BadParameter(f"a class split ({split}) and drawn classes were asked for at once. Give one of them.")
    accompanying = root / SPLIT_FILE
    file = read_class_split(split) if split is not None else None
    if file is None and accompanying.is_file():
        file = read_class_split(accompanying)
    rng = np.random.default_rng(seed)
    if class_folds:
        chosen = draw_class_fold(labels, n_folds=class_folds, fold=class_fold, rng=rng)
    elif class_counts:
        chosen = draw_class_split(labels, rng=rng, counts=class_counts)
    elif file is not None:
        chosen = file
    else:
        chosen = draw_class_split(labels, rng=rng)
    check_classes(chosen, labels)
    source = Path(chosen.source).name if chosen is file else chosen.source  # reports name the file, not the machine
    return ClassSplit(chosen.split_of, source, file.settings if file is not None else {})


@dataclass(frozen=True)
class NamedClips:
    """What a folder holds by the names of its files, before any is decoded.

    Attributes:
        clips: columns ``path, label, group``, and ``n_frames`` where ``clips.csv`` states it.
        groups: where the groups come from, for reports.
        split: which class is in which split.
        not_listed: videos that ``clips.csv`` leaves out.
    """

    clips: pd.DataFrame
    groups: str
    split: ClassSplit
    not_listed: list[str]


def read_names(
    data_root: Path | str,
    *,
    group_pattern: str | None = None,
    split: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None,
    class_folds: int = 0,
    class_fold: int = 0,
    seed: int = 0,
) -> NamedClips:
    """Clips, groups and class split of a folder, from the names of its files and ``clips.csv`` and ``split.yaml``.

    Args, Raises: as ``load_folder``, which decodes the clips next.
    """
    root = Path(os.path.abspath(Path(data_root).expanduser()))
    listing = find_clips(root)
    clips = read_clips_file(root / CLIPS_FILE) if (root / CLIPS_FILE).is_file() else listing
    if group_pattern:
        groups = f'pattern "{group_pattern}"'
        clips = clips.assign(group=groups_from_names(clips["path"], group_pattern))
    elif "group" in clips:
        groups = CLIPS_FILE
    else:
        groups, clips = "each clip its own", clips.assign(group=clips["path"])
    chosen = choose_split(
        root, clips["label"], split=split, class_counts=class_counts, class_folds=class_folds, class_fold=class_fold,
        seed=seed,
    )  # fmt: skip
    return NamedClips(clips, groups, chosen, sorted(set(listing["path"]) - set(clips["path"])))


def load_folder(
    data_root: Path | str,
    *,
    cache_dir: Path | str,
    group_pattern: str | None = None,
    split: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None,
    class_folds: int = 0,
    class_fold: int = 0,
    appearance: str | None = None,
    flip: bool | None = None,
    n_segments: int = 8,
    seed: int = 0,
    n_jobs: int = 1,
    max_skipped_share: float = MAX_SKIPPED_SHARE,
) -> Dataset:
    """Load a folder of labelled clips as a data set, decoding each clip once to see what is in it.

    Clips that cannot be read, or are shorter than ``n_segments``, are skipped, counted, printed, and listed in
    ``preparation_report.json`` in the cache, beside the manifest.

    Args:
        data_root: folder with ``class_name/clip.ext``; ``clips.csv`` (path, label, group) in it replaces the listing.
        cache_dir: the cache folder.
        group_pattern: regular expression on file names, see :func:`amfir_lib.data.listing.groups_from_names`; goes
            before the groups of ``clips.csv``.  With neither, every clip is its own group.
        split: YAML file, or name of a published list; None looks for ``split.yaml`` in the folder, else draws.
        class_counts: draw this many classes, like "4/3/3"; goes before ``split.yaml``.
        class_folds, class_fold: draw k class folds and use this one; goes before ``class_counts``.
        appearance: name of the appearance stream ("depth"); None asks the split file, then the end of the folder's name
            (``clips_depth``), which is said; else "rgb".
        flip: whether mirrored clips keep their class; None asks the split file, else False.
        n_segments: clips with fewer frames are skipped (never fewer than 2: flow needs a pair).
        seed: of the drawn class split.
        n_jobs: number of processes.
        max_skipped_share: largest share of clips that may be skipped.
    Returns:
        The data set; its name is that of the folder.
    Raises:
        DataNotFound, ManifestError, BadParameter: see the functions above.
        TooFewVideos: a class is left with fewer than 2 clips, or too many clips were skipped.
    """
    root = Path(os.path.abspath(Path(data_root).expanduser()))
    named = read_names(
        root, group_pattern=group_pattern, split=split, class_counts=class_counts, class_folds=class_folds,
        class_fold=class_fold, seed=seed,
    )  # fmt: skip
    clips, chosen = named.clips, named.split
    min_frames = max(n_segments, 2)
    folder = preparation_folder(cache_dir, root)
    found = probe_clips(
        root, list(clips["path"]), cache_file=folder / "probes.json", n_jobs=n_jobs, description=f"clips of {root.name}"
    )
    errors = {path: found[path]["error"] for path in clips["path"] if "error" in found[path]}
    unreadable = {path: error.replace(f"{root}{os.sep}", "") for path, error in errors.items()}
    too_short = [p for p in clips["path"] if p not in unreadable and found[p]["n_frames"] < min_frames]
    usable = clips[~clips["path"].isin([*unreadable, *too_short])]
    lengths = [found[path]["n_frames"] for path in usable["path"]] or [0]
    report: dict[str, Any] = {
        "name": root.name, "root": str(root), "n_clips": len(usable), "n_groups": int(usable["group"].nunique()),
        "groups": named.groups, "split": chosen.source, "classes": dict(zip(SPLITS, chosen.counts, strict=True)),
        "frames": [min(lengths), max(lengths)],
        "min_frames": min_frames, "unreadable": list(unreadable.values()), "not_listed": named.not_listed,
        "too_short": [f"{path} ({found[path]['n_frames']})" for path in too_short],
        "other_frame_count": _other_frame_counts(usable, found), "file": str(folder / "preparation_report.json"),
    }  # fmt: skip
    write_json(folder / "preparation_report.json", report)
    print("\n".join(report_lines(report)))
    _check_enough(clips, usable, report, max_skipped_share=max_skipped_share)
    manifest = manifest_of_clips(usable, found, chosen.split_of)
    write_manifest(folder / "manifest.csv", manifest)
    settings = chosen.settings
    return Dataset(
        name=root.name, root=root, manifest=manifest,
        modalities=(str(appearance or settings.get("appearance") or _named_appearance(root.name)), "flow"),
        flip=bool(settings.get("flip", False)) if flip is None else flip,
        caption=str(settings.get("caption", f"{root.name}, {len(usable)} clips")),
    )  # fmt: skip


def _named_appearance(name: str) -> str:
    """The appearance stream that the name of a folder ends in, else "rgb"."""
    for appearance in NAMED_APPEARANCES:
        if name.lower().endswith(f"_{appearance}"):
            print(f'The appearance stream is called "{appearance}" after the folder {name}; appearance=rgb changes it.')
            return appearance
    return "rgb"


def _other_frame_counts(clips: pd.DataFrame, found: dict[str, dict[str, Any]]) -> list[str]:
    """Clips for which ``clips.csv`` states another number of frames than decoding finds."""
    if "n_frames" not in clips:
        return []
    stated = zip(clips["path"], clips["n_frames"], strict=True)
    return [
        f"{path} (stated {text}, decoded {found[path]['n_frames']})"
        for path, text in stated
        if text != "" and text != str(found[path]["n_frames"])
    ]


def _check_enough(
    clips: pd.DataFrame, usable: pd.DataFrame, report: dict[str, Any], *, max_skipped_share: float
) -> None:
    """Refuse when too much was skipped."""
    left = Counter(usable["label"])
    for label in sorted(clips["label"].unique()):
        if left[label] < MIN_CLIPS:
            raise TooFewVideos(
                f'class "{label}" has {left[label]} usable clips of {int((clips["label"] == label).sum())}, but an '
                f"episode needs {MIN_CLIPS} or more. Add clips, or remove the class. See {report['file']}."
            )
    skipped = len(clips) - len(usable)
    if skipped > max_skipped_share * len(clips):
        raise TooFewVideos(
            f"{skipped} of {len(clips)} clips of {report['root']} cannot be used, more than the accepted "
            f"{max_skipped_share:.0%}. Repair the files, or raise max_skipped_share. See {report['file']}."
        )


def manifest_of_clips(
    clips: pd.DataFrame, found: dict[str, dict[str, Any]], split_of: Mapping[str, str]
) -> pd.DataFrame:
    """The manifest of usable clips; a clip's id is its path without the suffix where that is unique.

    Args:
        clips: columns ``path, label, group``.
        found: path -> what decoding found, see :func:`amfir_lib.data.preparation.probe_clips`.
        split_of: class name -> split.
    """
    stems = [str(PurePosixPath(path).with_suffix("")) for path in clips["path"]]
    repeated = {stem for stem, count in Counter(stems).items() if count > 1}
    ids = [path if stem in repeated else stem for path, stem in zip(clips["path"], stems, strict=True)]
    info = pd.DataFrame([found[path] for path in clips["path"]])
    manifest = pd.DataFrame({
        "clip_id": ids, "path": list(clips["path"]), "label": list(clips["label"]),
        "split": [split_of[label] for label in clips["label"]], "group": list(clips["group"]),
    })  # fmt: skip
    manifest = pd.concat([manifest, info], axis=1)
    return manifest.sort_values("clip_id").reset_index(drop=True)
