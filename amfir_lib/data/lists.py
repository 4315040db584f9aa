"""Label files that come with flat videos, and the video lists of published few-shot splits in both of their formats."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from amfir_lib.data.class_split import ClassSplit
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.names import class_key, keys_of, youtube_id
from amfir_lib.data.video import VIDEO_SUFFIXES
from amfir_lib.errors import DataNotFound, ManifestError

_SSV2 = "the label files (train.json and validation.json)"
LABEL_FILES = {
    "ssv2_small_CMN": _SSV2, "ssv2_full_OTAM": _SSV2,
    "kinetics100_CMN": "the CSV files (with the columns label,youtube_id)",
}  # fmt: skip
LABEL_FOLDERS = ("labels", "annotations")  # as Something-Something and Kinetics are unpacked
NUMBERED = re.compile(r"^(?P<id>(?P<split>train|val|test)\d+)//?(?P<path>[^/].*)$")
FILE_OF_SPLIT = re.compile(r"^(?P<split>train|val|test)(?:list\d+|_few_shot|_?list)?\.(?:txt|list)$")
TRAILING_NUMBERS = re.compile(r"(?:\s+\d+){1,2}$")  # of the label and of the frames; no published name has a blank
LIST_FOLDER = "video_list"


def _labels_in(file: Path) -> Iterator[tuple[str, str]]:
    """Video and label; nothing of a file of another kind.

    JSON entries ``{"id": "78687", "template": "Holding [something]"}``, and CSV lines ``label,youtube_id,time_start,
    time_end,split``, of which the name of the video file is made.
    """
    try:
        if file.suffix.lower() == ".json":
            content = json.loads(file.read_text(encoding="utf-8"))
            for entry in content if isinstance(content, list) else []:
                if isinstance(entry, dict) and "id" in entry and "template" in entry:
                    yield str(entry["id"]), str(entry["template"])
            return
        with open(file, encoding="utf-8-sig", newline="") as handle:
            for row in csv.DictReader(handle):
                if row.get("label") and row.get("youtube_id"):
                    times = (row.get("time_start"), row.get("time_end"))
                    seconds = [f"{int(time):06d}" for time in times if time and time.isdecimal()]
                    yield "_".join([row["youtube_id"], *(seconds if len(seconds) == 2 else [])]), row["label"]
    except (ValueError, csv.Error):  # not UTF-8, not JSON, not CSV
        return


def read_labels(class_list: str, root: Path, texts: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Name of a video, or its YouTube id, -> label, where the benchmark comes with label files; and the files read.

    They are looked for among the ``texts`` of the data root; if none is there, beside the data root and in ``labels``
    and ``annotations`` beside it.

    Raises:
        ManifestError: a video has two different labels.
    """
    labels: dict[str, str] = {}
    used: list[str] = []
    suffix = ".csv" if class_list.startswith("kinetics") else ".json"
    beside = (file for folder in ("", *LABEL_FOLDERS) for file in sorted((root.parent / folder).glob("*")))
    for files in ((root / text for text in texts), beside) if class_list in LABEL_FILES else ():
        for file in files:
            n_before = len(labels)
            for video, label in _labels_in(file) if file.suffix.lower() == suffix and file.is_file() else ():
                if class_key(labels.setdefault(video, label)) != class_key(label):
                    raise ManifestError(
                        f'{file} labels the video {video} "{label}", but another file says "{labels[video]}". '
                        "Keep the label files of one release only."
                    )
            if len(labels) > n_before:
                used.append(Path(os.path.relpath(file, root)).as_posix())
        if used:
            break
    of_id = defaultdict(set)  # for files that are named without their times
    for name, label in labels.items():
        of_id[youtube_id(name)].add(label)
    return labels | {video: min(of) for video, of in of_id.items() if video and len(of) == 1}, used


class ListedVideo(NamedTuple):
    """One line of a video list: the video's name without folder and suffix; its class, or what the folder is called,
    or the number where the list has no more; the split if line or file says it; the number of the class ("train8")."""

    name: str
    label: str
    split: str | None
    number: str = ""


def parse_video_list(text: str, source: str, *, split: str | None = None) -> list[ListedVideo]:
    """Read a video list; empty lines, comments (#), and numbers behind a blank are left out.

    ``class/video`` (the CMN and TRX repositories): "baking cookies/-514AQUrSow_000058_000068", or "val2/188509" where
    the classes have numbers only.  ``<split><id>//path`` (the HyRSM and MoLo repositories):
    "test0//videos/cartwheel/a.avi", or "test0//20bn-something-something-v2/78687.webm".

    Raises:
        ManifestError: a line of neither format, or one whose split is not ``split``, that of its file.
    """
    videos = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = TRAILING_NUMBERS.sub("", line.strip())
        if not line or line.startswith("#"):
            continue
        match = NUMBERED.match(line)
        path = PurePosixPath(match["path"] if match else line)
        of_line, class_number = (match["split"], match["id"]) if match else (None, "")
        if not match and not path.parent.name:
            wrong = 'is neither "class/video" nor "<split><id>//path". Correct the line.'
        elif of_line and split and of_line != split:
            wrong = f"is a {of_line} video in a {split} file. Move the line."
        else:
            name = path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
            videos.append(ListedVideo(name, path.parent.name or class_number, of_line or split, class_number))
            continue
        raise ManifestError(f'{source}, line {number}: "{line}" {wrong}')
    return videos


def find_video_lists(root: Path) -> Path | None:
    """The video lists that lie in a data root: a folder ``video_list``, or ``train..``, ``val..`` and ``test..`` files.

    Files are found under their published names (``trainlist03.txt``, ``train_few_shot.txt``, ``train.list``), and only
    if all three are there: the lists of UCF101's own train/test partition have no validation file.
    """
    if (root / LIST_FOLDER).is_dir():
        return root / LIST_FOLDER
    matches = [FILE_OF_SPLIT.match(path.name) for path in root.glob("*")]
    return root if {match["split"] for match in matches if match} == set(SPLITS) else None


def read_video_lists(path: Path) -> list[ListedVideo]:
    """Read the video lists of a data set: one file, or a folder with one file for each split.

    Raises:
        DataNotFound: no such file, or a folder without all three of ``train*.txt``, ``val*.txt``, ``test*.txt``.
        ManifestError: see :func:`parse_video_list`; or a video stands in the lists twice.
    """
    files: list[tuple[Path, str | None]] = [(path, None)]
    if path.is_dir():
        files = [(file, match["split"]) for file in sorted(path.iterdir()) if (match := FILE_OF_SPLIT.match(file.name))]
        if Counter(split for _, split in files) != dict.fromkeys(SPLITS, 1):
            raise DataNotFound(
                f"{path} needs one video list for each of train, val and test, such as trainlist03.txt or "
                f"train_few_shot.txt; found {', '.join(file.name for file, _ in files) or 'none'}."
            )
    elif not path.is_file():
        raise DataNotFound(f"There is no video list {path}. Give a text file, or the folder of its three files.")
    videos: list[ListedVideo] = []
    for file, split in files:
        try:
            videos += parse_video_list(file.read_text(encoding="utf-8-sig"), str(file), split=split)
        except UnicodeDecodeError as error:
            raise ManifestError(f"{file} is not a text file in UTF-8. Correct the file.") from error
    if not videos:
        raise ManifestError(f"{path} lists no video. Download the list again.")
    name, count = Counter((video.label, video.name) for video in videos).most_common(1)[0]
    if count > 1:
        raise ManifestError(f'{path} lists "{"/".join(name)}" {count} times. Keep one of the lines.')
    return videos


def name_classes(
    videos: Sequence[ListedVideo], published: ClassSplit, video_labels: Mapping[str, str], source: str
) -> list[ListedVideo]:
    """Give the listed videos the published class names and splits, and see that the list is one of this benchmark.

    A class goes by its number where its folder has no name of a class: because it has none, because classes share the
    folder, or because the published classes have numbers only.  It is called by the label that its videos have in the
    label files, if these are there and two classes do not get the same one; else by its number.

    Args:
        published: the class split of the benchmark.
        video_labels: video -> label; may be empty.
        source: of the list, for messages.
    Raises:
        ManifestError: a class that the benchmark does not have, or has in another split.
    """
    known = keys_of(published.split_of)
    numbers_in: dict[str, set[str]] = defaultdict(set)  # folder -> the classes in it
    labels_of: dict[str, Counter[str]] = defaultdict(Counter)  # number -> the labels of its videos
    for video in videos:
        numbers_in[video.label].add(video.number)
        if video.name in video_labels:
            labels_of[video.number][video_labels[video.name]] += 1

    def goes_by_number(video: ListedVideo) -> bool:
        if not video.number or video.label == video.number or class_key(video.label) in known:
            return video.label == video.number
        return video.number in published.split_of or len(numbers_in[video.label]) > 1

    names: dict[str, str] = {}
    for number in {video.number for video in videos if goes_by_number(video)} & labels_of.keys():
        plain = labels_of[number].most_common(1)[0][0].replace("[", "").replace("]", "")
        names[number] = known.get(class_key(plain), plain)
    counts = Counter(names.values())
    names = {number: name for number, name in names.items() if counts[name] == 1}
    final = []
    for video in videos:
        if goes_by_number(video):
            label = names.get(video.number, video.number)
            expected = published.split_of.get(video.number) or published.split_of.get(label)
            if expected is None and video.number not in names:
                expected = video.split  # without label files there is nothing to compare
        else:
            label = known.get(class_key(video.label), video.label)
            expected = published.split_of.get(label)
        split = video.split or expected
        if split is None or split != expected:
            there = f"where it is in {expected}" if expected else "which has no such class"
            raise ManifestError(
                f'{source} has the class "{label}" in {video.split or "no split"}, but is read for {published.source}, '
                f"{there}. Give the video list of this benchmark."
            )
        final.append(ListedVideo(video.name, label, split))
    return final
