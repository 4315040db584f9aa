"""The label files that come with flat videos: Something-Something's JSON and the CSV files of Kinetics."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from amfir_lib.data.class_names import class_key
from amfir_lib.data.clip_names import KINETICS_NAME
from amfir_lib.errors import ManifestError

_SSV2 = "the label files (train.json and validation.json)"
LABEL_FILES = {
    "ssv2_small_CMN": _SSV2, "ssv2_full_OTAM": _SSV2,
    "kinetics100_CMN": "the CSV files (with the columns label,youtube_id)",
}  # fmt: skip
LABEL_FOLDERS = ("labels", "annotations")  # as Something-Something and Kinetics are unpacked


def _templates(path: Path) -> Iterator[tuple[str, str]]:
    """Video id and template of entries ``{"id": "78687", "template": "Holding [something]"}``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # another JSON file, or none
        return
    for entry in content if isinstance(content, list) else []:
        if isinstance(entry, dict) and "id" in entry and "template" in entry:
            yield str(entry["id"]), str(entry["template"])


def _kinetics(path: Path) -> Iterator[tuple[str, str]]:
    """Name of the video file and label of lines ``label,youtube_id,time_start,time_end,split``."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if not {"label", "youtube_id"} <= set(reader.fieldnames or ()):
                return
            for row in filter(lambda row: row["label"] and row["youtube_id"], reader):
                times = (row.get("time_start"), row.get("time_end"))
                seconds = [f"{int(time):06d}" for time in times if time and time.isdecimal()]
                yield "_".join([row["youtube_id"], *(seconds if len(seconds) == 2 else [])]), row["label"]
    except (UnicodeDecodeError, csv.Error):  # another CSV file, or none
        return


def read_labels(class_list: str, root: Path, texts: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The label of each video, where the benchmark comes with label files.

    They are looked for in the data root and the folders in it; if there are none, beside the data root and in
    ``labels`` and ``annotations`` beside it.

    Args:
        class_list: name of the benchmark's class list.
        root: the data root.
        texts: paths of the text files that lie in it.
    Returns:
        Name of the video, or its YouTube id, -> label; and the names of the files read, relative to the root.
    Raises:
        ManifestError: a video has two different labels.
    """
    if class_list not in LABEL_FILES:
        return {}, []
    suffix, read = (".csv", _kinetics) if class_list.startswith("kinetics") else (".json", _templates)
    inside = [root / text for text in texts]
    beside = [file for folder in ("", *LABEL_FOLDERS) for file in sorted((root.parent / folder).glob("*"))]
    for files in (inside, beside):
        labels, used = _merge([file for file in files if file.suffix.lower() == suffix and file.is_file()], read)
        if used:
            break
    return labels | _by_youtube_id(labels), [Path(os.path.relpath(file, root)).as_posix() for file in used]


def _merge(
    files: Sequence[Path], read: Callable[[Path], Iterator[tuple[str, str]]]
) -> tuple[dict[str, str], list[Path]]:
    """The labels of all files, and the files that hold some."""
    labels: dict[str, str] = {}
    used = []
    for file in files:
        n_before = len(labels)
        for video, label in read(file):
            if class_key(labels.setdefault(video, label)) != class_key(label):
                raise ManifestError(
                    f'{file} labels the video {video} "{label}", but another file says "{labels[video]}". '
                    "Keep the label files of one release only."
                )
        if len(labels) > n_before:
            used.append(file)
    return labels, used


def _by_youtube_id(labels: dict[str, str]) -> dict[str, str]:
    """Labels of the YouTube ids with one label, for files that are named without their times."""
    found = defaultdict(set)
    for name, label in labels.items():
        if match := KINETICS_NAME.match(name):
            found[match["id"]].add(label)
    return {video: own.pop() for video, own in found.items() if len(own) == 1}
