"""A folder of labelled clips as a data set: ``class_name/clip.ext``, with optional ``clips.csv`` and ``split.yaml``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.data.class_split import (
    ClassSplit,
    check_classes,
    draw_class_fold,
    draw_class_split,
    joined,
    read_class_split,
)
from amfir_lib.data.manifest import SPLITS, Dataset
from amfir_lib.data.preparation import LEFT_OUT, MIN_CLIPS, REMARKS, REPORT_FILE, absolute, prepare_clips, some_of
from amfir_lib.data.tree import FRAMES, FRAMES_PART, scan_tree
from amfir_lib.errors import BadParameter, DataNotFound, ManifestError, TooFewVideos
from amfir_lib.storage import write_json

CLIPS_FILE, SPLIT_FILE = "clips.csv", "split.yaml"
SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}
CLIPS_COLUMNS = ("path", "label", "group", "n_frames")
NAMED_APPEARANCES = ("depth", "infrared", "thermal")  # recognised at the end of the folder's name: "my_clips_depth"


def find_clips(root: Path) -> pd.DataFrame:
    """The clips of a folder, ``class_name/clip.ext``, sorted by path: columns ``path`` (forward slashes), ``label`` and
    ``within``, the folders between class and clip, ``class_name/person/clip.ext``, which are the clip's group.

    A folder of numbered images, ``class_name/clip/00001.jpg`` or ``class_name/clip/img/00001.jpg``, is a clip, too.
    Folders of a split (``train/class_name/clip.ext``) are joined.  What is not used is counted and named.

    Raises:
        DataNotFound: no such folder, or no video in a class folder.  ManifestError: two folders of frames of one clip.
    """
    scan = scan_tree(root, holding="one folder per class")
    names = {clip.path.split("/")[0].casefold() for clip in scan.clips}
    skipped = 1 if len(names) > 1 and names <= SPLIT_FOLDERS else 0
    rows, loose = [], []
    for clip in scan.clips:
        parts = clip.path.split("/")[skipped:]
        if clip.kind == FRAMES and len(parts) > 2 and FRAMES_PART.fullmatch(parts[-1]):
            parts.pop()
        if len(parts) > 1:
            rows.append((clip.path, parts[0], "/".join(parts[1:-1]), "/".join((*parts[:-1], clip.name)), clip.kind))
        else:
            loose.append(clip.path)
    clips = pd.DataFrame(rows, columns=["path", "label", "within", "name", "kind"])
    of_frames = clips["kind"] == FRAMES
    beside = of_frames & clips["name"].isin(clips.loc[~of_frames, "name"])  # a video and its own frames
    twice = clips.loc[of_frames & ~beside & clips["name"].duplicated(keep=False), "path"].tolist()
    if twice:
        raise ManifestError(f"{root}: {twice[0]} and {twice[1]} are frames of one clip. Remove one of them.")
    if skipped:
        print(f"The folders {', '.join(sorted(names))} of a split are joined: here classes are split, not clips.")
    for found, why in (
        (clips.loc[beside, "path"].tolist(), "folders of frames, because their videos lie beside them"),
        (loose, "clips, because they lie in no class folder"),
        (scan.others, "files and folders that are no clips"),
        ([clip.path for clip in scan.flow], "folders of flow pictures, because flow is computed from the frames"),
    ):
        if found:
            print(f"{LEFT_OUT}{why} ({len(found)}): {some_of(found)}.")
    clips = clips[~beside]
    if clips.empty:
        raise DataNotFound(
            f"{root} holds no video as class_name/clip.ext. Put the clips of each class into a folder with its name."
        )
    return clips[["path", "label", "within"]].reset_index(drop=True)


def read_clips_file(path: Path) -> pd.DataFrame:
    """``clips.csv``: ``path`` and ``label``, optionally ``group`` and ``n_frames``; other columns are dropped.

    Raises:
        ManifestError: not a CSV file, a missing column, an empty cell, a path listed twice or outside the folder.
    """
    try:
        header = path.open(encoding="utf-8-sig").readline()
        mark = max(",;\t", key=header.count)
        clips = pd.read_csv(path, dtype=str, keep_default_na=False, sep=mark, encoding="utf-8-sig")
        clips = clips.rename(columns=lambda name: str(name).strip())
    except ValueError as error:  # not UTF-8, or no table
        raise ManifestError(f"{path} is not a CSV file: {error}. It needs the columns path,label,group.") from error
    if missing := {"path", "label"} - {*clips.columns}:
        raise ManifestError(f"{path} lacks the column {', '.join(sorted(missing))}; it needs path,label and group.")
    clips = clips[[column for column in CLIPS_COLUMNS if column in clips]].apply(lambda column: column.str.strip())
    roots = [f"{root.as_posix()}/" for root in (path.parent, path.parent.resolve())]  # it may be a link
    clips["path"] = [text.replace("\\", "/").removeprefix(roots[0]).removeprefix(roots[1]) for text in clips["path"]]
    clips["path"] = [PurePosixPath(text).as_posix() if text else "" for text in clips["path"]]
    empty = (clips.drop(columns="n_frames", errors="ignore") == "").any(axis=1)
    outside = clips["path"].map(lambda text: re.match(r"/|[A-Za-z]:/", text) is not None or ".." in text.split("/"))
    for rows, wrong in (
        (empty, "has an empty cell"), (outside, "is outside the folder"), (clips["path"].duplicated(), "stands twice")
    ):  # fmt: skip
        if rows.any():
            line = int(np.argmax(rows.to_numpy()))
            raise ManifestError(
                f'{path}, line {line + 2}: "{clips["path"].iloc[line]}" {wrong}. Correct or drop the line.'
            )
    if clips.empty:
        raise ManifestError(f"{path} lists no clip. Fill it, or remove it to use the folders as they are.")
    return clips.sort_values("path").reset_index(drop=True)


def groups_from_names(paths: Iterable[str], pattern: str) -> list[str]:
    """The group (person, source video) of each clip, found by a regular expression in its name or, if it is not there,
    in its path below the class.

    It is what the pattern's group named ``group`` matches, else its first group, else all of it.  The same text means
    the same group in every class.

    Raises:
        BadParameter: not a regular expression, or no match in some name (one is named).
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadParameter(
            f'group pattern "{pattern}" is not a regular expression: {error}. Example for person_action.avi: ^(\\w+?)_'
        ) from error
    which: str | int = "group" if "group" in compiled.groupindex else min(compiled.groups, 1)
    matches = {}
    for path in paths:
        parts = path.split("/")
        parts = parts[:-1] if len(parts) > 2 and FRAMES_PART.fullmatch(parts[-1]) else parts
        matches[path] = compiled.search(parts[-1]) or compiled.search("/".join(parts[1:]))
    groups = {path: match.group(which) if match else None for path, match in matches.items()}
    if failed := [path for path, group in groups.items() if not group]:
        share = "any" if len(failed) == len(groups) else f"{len(failed)} of {len(groups)}"
        raise BadParameter(
            f'group pattern "{pattern}" finds no group in {share} of the file names, for instance "{failed[0]}". '
            "Correct the pattern, or leave it out to treat every clip as a group of its own."
        )
    return [str(group) for group in groups.values()]


def check_spelling(names: Iterable[str], kind: str, root: Path) -> None:
    """Refuse, with a ManifestError, names that differ by case, separators or what the eye does not see."""
    spellings: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text = unicodedata.normalize("NFKC", name).casefold()
        key = re.sub(r"[\s_-]+", " ", re.sub(r"[\u200b-\u200f\ufeff]", "", text)).strip() or name
        if key in spellings:
            raise ManifestError(
                f"{root} has two spellings of one {kind}: {spellings[key]!a} and {name!a}. Rename one of them."
            )
        spellings[key] = name


def choose_split(
    root: Path, labels: Sequence[str], *, split: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None, class_folds: int = 0, class_fold: int = 0, seed: int = 0,
) -> ClassSplit:  # fmt: skip
    """The class split: asked-for folds or counts first, then the given or the accompanying file, then a drawn one."""
    if split is not None and (class_folds or class_counts):
        raise BadParameter(f"a class split ({split}) and drawn classes were asked for at once. Give one of them.")
    file = split if split is not None else root / SPLIT_FILE if (root / SPLIT_FILE).is_file() else None
    of_file = read_class_split(file) if file is not None else None
    rng = np.random.default_rng(seed)
    if class_folds:
        chosen = draw_class_fold(labels, n_folds=class_folds, fold=class_fold, rng=rng)
    elif class_counts or of_file is None:
        chosen = draw_class_split(labels, rng=rng, counts=class_counts)
    else:
        chosen = of_file
    check_classes(chosen, labels)
    source = Path(chosen.source).name if chosen is of_file else chosen.source  # reports name the file, not the machine
    return ClassSplit(chosen.split_of, source, of_file.settings if of_file else {})


@dataclass(frozen=True)
class NamedClips:
    """What a folder holds by the names of its files, before any is decoded.

    ``clips`` has columns ``path, label, group``, and ``n_frames`` where ``clips.csv`` states it; ``groups`` says where
    the groups come from; ``not_listed`` are the videos that ``clips.csv`` leaves out.
    """

    root: Path
    clips: pd.DataFrame
    groups: str
    split: ClassSplit
    not_listed: list[str]


def read_names(data_root: Path | str, *, group_pattern: str | None = None, **split_options: Any) -> NamedClips:
    """Clips, groups and class split of a folder, from the names of its files and ``clips.csv`` and ``split.yaml``.

    Args, Raises: as ``load_folder``, which decodes the clips next; ``split_options`` as in ``choose_split``.
    """
    root, groups, not_listed = absolute(data_root), CLIPS_FILE, set()
    if (root / CLIPS_FILE).is_file():
        clips = read_clips_file(root / CLIPS_FILE)
        not_listed = {clip.path for clip in scan_tree(root).clips} - {*clips["path"]}
    else:
        clips = find_clips(root)
    check_spelling(clips["label"], "class", root)
    if group_pattern:
        groups = f'pattern "{group_pattern}"'
        clips = clips.assign(group=groups_from_names(clips["path"], group_pattern))
    elif "group" not in clips:
        within = clips["within"] if "within" in clips else pd.Series("", clips.index)
        groups = "the folders below the class" if within.any() else "each clip its own"
        clips = clips.assign(group=within.where(within != "", clips["path"]))
    check_spelling(clips.loc[clips["group"] != clips["path"], "group"], "group", root)
    chosen = choose_split(root, clips["label"], **split_options)
    return NamedClips(root, clips, groups, chosen, sorted(not_listed))


def one_of_each(clips: pd.DataFrame, probes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The clips without copies of others, which are named; refuses, with a ManifestError, one under two labels."""
    digests = clips["path"].map(lambda path: probes[path]["file_digest"])
    for _, copies in clips[digests.duplicated(keep=False)].groupby(digests):
        if copies["label"].nunique() > 1:
            first, other = copies.drop_duplicates("label")["path"].iloc[:2]
            raise ManifestError(f"{first} and {other} are one video under two labels. Remove one of them.")
    copied = digests.duplicated()
    if copied.any():
        named = some_of(clips.loc[copied, "path"].tolist())
        print(f"{LEFT_OUT}clips that are copies of others ({copied.sum()}): {named}.")
    return clips[~copied]


def load_folder(
    data_root: Path | str, *, cache_dir: Path | str, group_pattern: str | None = None, split: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None, class_folds: int = 0, class_fold: int = 0,
    appearance: str | None = None, flip: bool | None = None, n_segments: int = 8, seed: int = 0, n_jobs: int = 1,
    max_skipped_share: float = 0.2,
) -> Dataset:  # fmt: skip
    """Load a folder of labelled clips as a data set, decoding each clip once to see what is in it.

    Clips that cannot be read, or are shorter than ``n_segments``, are skipped, counted, printed, and listed in
    ``preparation_report.json`` in the cache, beside the manifest.

    Args:
        data_root: folder with ``class_name/clip.ext``; ``clips.csv`` (path, label, group) in it replaces the listing.
        group_pattern: regular expression on file names, see :func:`groups_from_names`; goes before the groups of
            ``clips.csv``.  With neither, every clip is its own group.
        split: YAML file, or name of a published list; None looks for ``split.yaml`` in the folder, else draws.
        class_counts: draw this many classes, like "4/3/3"; goes before ``split.yaml``.
        class_folds, class_fold: draw k class folds and use this one; goes before ``class_counts``.
        appearance: name of the appearance stream ("depth"); None asks the split file, then the end of the folder's name
            (``clips_depth``), which is said; else "rgb".
        flip: whether mirrored clips keep their class; None asks the split file, else False.
        n_segments: clips with fewer frames are skipped (never fewer than 2: flow needs a pair).
        seed: of the drawn class split.
        max_skipped_share: largest share of clips that may be skipped.
    Raises:
        DataNotFound, ManifestError, BadParameter: see the functions above.
        TooFewVideos: a class is left with fewer than 2 clips, or too many clips were skipped.
    """
    named = read_names(
        data_root, group_pattern=group_pattern, split=split, class_counts=class_counts, class_folds=class_folds,
        class_fold=class_fold, seed=seed,
    )  # fmt: skip
    root, clips, settings = named.root, named.clips, named.split.settings
    min_frames = max(n_segments, 2)
    prepared = prepare_clips(root, clips["path"], name="", cache_dir=cache_dir, min_frames=min_frames, n_jobs=n_jobs)
    usable = one_of_each(prepared.usable(clips), prepared.probes)
    n_frames = usable["path"].map(lambda path: prepared.probes[path]["n_frames"])
    stated = usable["n_frames"] if "n_frames" in usable else pd.Series("", usable.index)
    other = usable["path"][(stated != "") & (stated != n_frames.astype(str))]
    kinds = {  # what is said of each list of a report
        "unreadable": f"{LEFT_OUT}clips that cannot be read",
        "too_short": f"{LEFT_OUT}clips with fewer than {min_frames} frames",
        "not_listed": f"{LEFT_OUT}videos that clips.csv does not list",
        "other_frame_count": "Clips with another number of frames than clips.csv says (what was decoded counts)",
    } | REMARKS
    report: dict[str, Any] = {
        "name": root.name, "root": str(root), "n_clips": len(usable), "n_groups": int(usable["group"].nunique()),
        "groups": named.groups, "split": named.split.source, "min_frames": min_frames, "not_listed": named.not_listed,
        "classes": dict(zip(SPLITS, named.split.counts, strict=True)),
        "other_frame_count": [f"{other[i]} (stated {stated[i]}, decoded {n_frames[i]})" for i in other.index],
    } | prepared.skipped()  # fmt: skip
    write_json(prepared.folder / REPORT_FILE, report)
    print(
        f"{root.name}: {len(usable)} clips of {sum(named.split.counts)} classes ({joined(named.split.counts)} "
        f"train/val/test; {named.split.source}), {report['n_groups']} groups ({named.groups})."
    )
    for kind, words in kinds.items():
        if entries := report[kind]:
            print(f"{words} ({len(entries)}): {some_of(entries, mark='; ')}. Full list: {report['file']}")
    n_left = usable["label"].value_counts()
    for label in sorted(set(clips["label"])):
        if n_left.get(label, 0) < MIN_CLIPS:
            raise TooFewVideos(
                f'class "{label}" has {n_left.get(label, 0)} usable clips of {(clips["label"] == label).sum()}, but an '
                f"episode needs {MIN_CLIPS} or more. Add clips, or remove the class. See {report['file']}."
            )
    if len(clips) - len(usable) > max_skipped_share * len(clips):
        raise TooFewVideos(
            f"{len(clips) - len(usable)} of {len(clips)} clips of {root} cannot be used, more than the accepted "
            f"{max_skipped_share:.0%}. Repair the files, or raise max_skipped_share. See {report['file']}."
        )
    appearance = appearance or settings.get("appearance")
    if not appearance:
        appearance = next((name for name in NAMED_APPEARANCES if root.name.lower().endswith(f"_{name}")), "rgb")
        if appearance != "rgb":
            print(f'The appearance is called "{appearance}" after the folder {root.name}; appearance=rgb changes it.')
    return Dataset(
        name=root.name, root=root, manifest=prepared.manifest(usable, named.split.split_of),
        modalities=(str(appearance), "flow"), flip=bool(settings.get("flip", False)) if flip is None else flip,
        caption=str(settings.get("caption", f"{root.name}, {len(usable)} clips")),
    )  # fmt: skip
