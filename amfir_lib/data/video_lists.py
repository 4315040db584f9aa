"""The video lists of published few-shot splits, in both formats in which they go round.

``class/video`` (the CMN and TRX repositories): "baking cookies/-514AQUrSow_000058_000068", and "val2/188509" where the
classes have numbers only.  ``<split><id>//path`` (the HyRSM and MoLo repositories): "test0//videos/cartwheel/a.avi", or
"test0//20bn-something-something-v2/78687.webm" where the folder is none of a class.  Numbers behind a blank, such as
those of the label and of the frames, are left out: no published name has a blank.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from amfir_lib.data.class_names import class_key, keys_of
from amfir_lib.data.class_split import ClassSplit
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.video import VIDEO_SUFFIXES
from amfir_lib.errors import DataNotFound, ManifestError

NUMBERED = re.compile(r"^(?P<id>(?P<split>train|val|test)\d+)//?(?P<path>[^/].*)$")
FILE_OF_SPLIT = re.compile(r"^(?P<split>train|val|test)(?:list\d+|_few_shot|_?list)?\.(?:txt|list)$")
TRAILING_NUMBERS = re.compile(r"(?:\s+\d+){1,2}$")
LIST_FOLDER = "video_list"


@dataclass(frozen=True)
class ListedVideo:
    """One line of a video list.

    Args:
        name: of the video, without folder and suffix.
        label: class name, or what else the folder is called; the number where the list has no more.
        split: "train", "val" or "test"; None if neither the line nor the file says.
        number: of the class ("train8"), or "".
    """

    name: str
    label: str
    split: str | None
    number: str = ""


def parse_video_list(text: str, source: str, *, split: str | None = None) -> list[ListedVideo]:
    """Read a video list of either format; empty lines and lines that start with # are left out.

    Args:
        text: of the file.
        source: its name, for messages.
        split: what the file's name says.
    Raises:
        ManifestError: a line of neither format, or one whose split is not that of its file.
    """
    videos = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = TRAILING_NUMBERS.sub("", line.strip())
        if not line or line.startswith("#"):
            continue
        match = NUMBERED.match(line)
        path = PurePosixPath(match["path"] if match else line)
        folder = path.parent.name
        if not match and not folder:
            raise ManifestError(
                f'{source}, line {number}: "{line}" is neither "class/video" nor "<split><id>//path". Correct the line.'
            )
        own = match["split"] if match else None
        if own and split and own != split:
            raise ManifestError(f'{source}, line {number}: "{line}" is a {own} video in a {split} file. Move the line.')
        name = path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
        class_number = match["id"] if match else ""
        videos.append(ListedVideo(name, folder or class_number, own or split, class_number))
    return videos


def find_video_lists(root: Path) -> Path | None:
    """The video lists that lie in a data root: a folder ``video_list``, or ``train..``, ``val..`` and ``test..`` files.

    Files are found under their published names (``trainlist03.txt``, ``train_few_shot.txt``, ``train.list``), and only
    if all three are there: the lists of UCF101's own train/test partition have no validation file.
    """
    if (root / LIST_FOLDER).is_dir():
        return root / LIST_FOLDER
    files = [*root.glob("*.txt"), *root.glob("*.list")]
    found = {match["split"] for path in files if (match := FILE_OF_SPLIT.match(path.name))}
    return root if found == set(SPLITS) else None


def read_video_lists(path: Path) -> list[ListedVideo]:
    """Read the video lists of a data set: one file, or a folder with one file for each split.

    Raises:
        DataNotFound: no such file, or a folder without all three of ``train*.txt``, ``val*.txt``, ``test*.txt``.
        ManifestError: see :func:`parse_video_list`; or a video stands in the lists twice.
    """
    if path.is_dir():
        matches = [(file, FILE_OF_SPLIT.match(file.name)) for file in sorted(path.iterdir())]
        files = [(file, match["split"]) for file, match in matches if match]
        if Counter(split for _, split in files) != dict.fromkeys(SPLITS, 1):
            raise DataNotFound(
                f"{path} needs one video list for each of train, val and test, such as trainlist03.txt or "
                f"train_few_shot.txt; found {', '.join(file.name for file, _ in files) or 'none'}."
            )
    elif path.is_file():
        files = [(path, None)]
    else:
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
    videos: list[ListedVideo], published: ClassSplit, video_labels: dict[str, str], source: str
) -> tuple[list[ListedVideo], dict[str, str]]:
    """Give the listed videos the published class names and splits, and see that the list is one of this benchmark.

    A class goes by its number where its folder has no name of a class: because it has none, because classes share the
    folder, or because the published classes have numbers only.  It is called by the label that its videos have in the
    label files, if these are there and two classes do not get the same one; else by its number.

    Args:
        videos: of ``read_video_lists``.
        published: the class split of the benchmark.
        video_labels: video -> label; may be empty.
        source: of the list, for messages.
    Returns:
        The videos with their final labels and splits, and label -> split.
    Raises:
        ManifestError: a class that the benchmark does not have, or has in another split.
    """
    known = keys_of(published.split_of)
    numbers_in: dict[str, set[str]] = defaultdict(set)  # folder -> the classes in it
    for video in videos:
        numbers_in[video.label].add(video.number)

    def goes_by_number(video: ListedVideo) -> bool:
        if not video.number or video.label == video.number or class_key(video.label) in known:
            return video.label == video.number
        return video.number in published.split_of or len(numbers_in[video.label]) > 1

    numbered = {video: goes_by_number(video) for video in videos}
    names: dict[str, str] = {}  # number -> the label of its videos
    for number in sorted({video.number for video in videos if numbered[video]}):
        seen = Counter(video_labels[v.name] for v in videos if v.number == number and v.name in video_labels)
        if seen:
            plain = seen.most_common(1)[0][0].replace("[", "").replace("]", "")
            names[number] = known.get(class_key(plain), plain)
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    names = {number: name for number, name in names.items() if name not in repeated}
    final, split_of = [], {}
    for video in videos:
        if numbered[video]:
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
        split_of[label] = split
        final.append(ListedVideo(video.name, label, split))
    return final, split_of
