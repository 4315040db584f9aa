"""The label files that come with flat videos: Something-Something's JSON and the CSV files of Kinetics."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
            for row in csv.DictReader(handle):
                if not row.get("label") or not row.get("youtube_id"):
                    return
                times = (row.get("time_start"), row.get("time_end"))
                seconds = [f"{int(time):06d}" for time in times if time and time.isdecimal()]
                yield "_".join([row["youtube_id"], *(seconds if len(seconds) == 2 else [])]), row["label"]
    except (UnicodeDecodeError, csv.Error):  # another CSV file, or none
        return


def read_labels(class_list: str, root: Path, texts: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The label of each video, where the benchmark comes with label files.

    They are looked for in the data root and the folders in it, then in ``labels`` and ``annotations`` beside it.

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
    beside = [root.parent, *(root.parent / folder for folder in LABEL_FOLDERS)]
    labels: dict[str, str] = {}
    used: list[str] = []
    for files in ([root / text for text in texts], (file for folder in beside for file in sorted(folder.glob("*")))):
        for path in files:
            if path.suffix.lower() != suffix or not path.is_file():
                continue
            n_before = len(labels)
            for video, label in read(path):
                if class_key(labels.setdefault(video, label)) != class_key(label):
                    raise ManifestError(
                        f'{path} labels the video {video} "{label}", but another file says "{labels[video]}". '
                        "Keep the label files of one release only."
                    )
            if len(labels) > n_before:
                used.append(Path(os.path.relpath(path, root)).as_posix())
        if labels:
            break
    return labels | _by_youtube_id(labels), used


def _by_youtube_id(labels: dict[str, str]) -> dict[str, str]:
    """Labels of the YouTube ids with one label, for files that are named without their times."""
    found = defaultdict(set)
    for name, label in labels.items():
        if match := KINETICS_NAME.match(name):
            found[match["id"]].add(label)
    return {video: own.pop() for video, own in found.items() if len(own) == 1}
