"""Which clips a folder holds, what they show, and which belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from amfir_lib.data.layouts import FoundClip, look_into
from amfir_lib.data.video import VIDEO_SUFFIXES
from amfir_lib.errors import BadParameter, DataNotFound, ManifestError


def _is_in_class_folder(clip: FoundClip) -> bool:
    last = PurePosixPath(clip.path).name
    places = (f"{clip.folder}/{last}", f"{clip.folder}/{clip.name}/{last}")  # itself, or the frames in it
    return bool(clip.folder) and clip.path in places


def find_clips(root: Path) -> pd.DataFrame:
    """List the video files ``class_name/clip.ext`` of a folder, sorted by path; hidden files are left out.

    A folder of numbered images, ``class_name/clip/00001.jpg`` or ``class_name/clip/img/00001.jpg``, is a clip, too.
    Folders of flow pictures are left out, which is printed.

    Returns:
        Columns ``path`` (with forward slashes), ``label``.
    Raises:
        DataNotFound: no such folder, or no video in a class folder.
    """
    if not root.is_dir():
        raise DataNotFound(f"There is no folder {root}. Give the folder that holds one folder per class (--data-root).")
    scan = look_into(root)
    paths = [clip.path for clip in scan.clips if _is_in_class_folder(clip)]
    if scan.flow:
        print(f"{scan.flow_sentence}: flow is computed from the frames.")
    if not paths:
        raise DataNotFound(
            f"{root} holds no video as class_name/clip.ext ({', '.join(VIDEO_SUFFIXES)}). "
            "Put the clips of each class into a folder with the class's name."
        )
    return pd.DataFrame({"path": paths, "label": [path.split("/")[0] for path in paths]})


def read_clips_file(path: Path) -> pd.DataFrame:
    """Read ``clips.csv``: ``path`` and ``label``, optionally ``group`` and ``n_frames``; other columns are dropped.

    Raises:
        ManifestError: not a CSV file, a missing column, an empty cell, a path listed twice or outside the folder.
    """
    try:
        clips = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not a CSV file: {error}. It needs the columns path,label,group.") from error
    clips.columns = [str(column).strip() for column in clips.columns]
    missing = [column for column in ("path", "label") if column not in clips.columns]
    if missing:
        raise ManifestError(f"{path} lacks the column {', '.join(missing)}; it needs path,label and, if known, group.")
    if clips.empty:
        raise ManifestError(f"{path} lists no clip. Fill it, or remove it to use the folders as they are.")
    clips = clips[[column for column in ("path", "label", "group", "n_frames") if column in clips.columns]]
    clips = clips.apply(lambda column: column.str.strip())
    clips["path"] = [PurePosixPath(text.replace("\\", "/")).as_posix() if text else "" for text in clips["path"]]
    for column in [name for name in ("path", "label", "group") if name in clips.columns]:
        empty = np.flatnonzero(clips[column] == "")
        if len(empty):
            raise ManifestError(f'{path}, line {empty[0] + 2}: "{column}" is empty. Fill it in, or drop the line.')
    outside = [text for text in clips["path"] if text.startswith("/") or ".." in text.split("/")]
    if outside:
        raise ManifestError(f'{path} lists "{outside[0]}", which is not inside its folder. Use paths relative to it.')
    repeated = clips["path"][clips["path"].duplicated()]
    if len(repeated):
        raise ManifestError(f'{path} lists "{repeated.iloc[0]}" twice. Keep one of the lines.')
    return clips.sort_values("path").reset_index(drop=True)


def groups_from_names(paths: Sequence[str], pattern: str) -> list[str]:
    """The group (person, source video) of each clip, found in its file name.

    Args:
        paths: clips.
        pattern: regular expression, searched in the file name; its group named ``group``, else its first group, else
            all that it matches.  The same text means the same group in every class.
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
    matches = [compiled.search(PurePosixPath(path).name) for path in paths]
    groups = [match.group(which) if match else None for match in matches]
    failed = [path for path, group in zip(paths, groups, strict=True) if not group]
    if failed:
        share = "any" if len(failed) == len(paths) else f"{len(failed)} of {len(paths)}"
        raise BadParameter(
            f'group pattern "{pattern}" finds no group in {share} of the file names, for instance "{failed[0]}". '
            "Correct the pattern, or leave it out to treat every clip as a group of its own."
        )
    return [str(group) for group in groups]
