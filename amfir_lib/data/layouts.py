"""What lies under a data root, in any of the layouts in which people have the benchmarks, and which layout it is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from amfir_lib.data.class_names import class_key
from amfir_lib.data.frame_folders import is_frame_folder
from amfir_lib.data.video import VIDEO_SUFFIXES
from amfir_lib.errors import DataNotFound, ManifestError

MAX_DEPTH = 4  # folders above a clip: "videos/train_256/class/clip.mp4"
FRAMES = "frames"
UCF_NAME = re.compile(r"^v_(?P<label>[A-Za-z0-9]+)_g(?P<group>\d+)_c\d+$")
# source film, class, visible body parts, camera, people, view, quality, number
HMDB_NAME = re.compile(r"^(?P<source_and_label>.+)_[a-z]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+$")
KINETICS_NAME = re.compile(r"^(?P<id>[\w-]{11})(?:_\d{6}_\d{6})?$")


@dataclass(frozen=True)
class FoundClip:
    """A video file or a folder of frames.

    Args:
        path: below the data root, with forward slashes.
        name: file name without suffix, or name of the folder of frames.
        folder: name of the folder that it lies in; empty for the data root itself.
        kind: suffix of the file, or "frames".
    """

    path: str
    name: str
    folder: str
    kind: str


def _without_video_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else name


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[FoundClip]:
    """Clips in a folder and the folders below it; a folder of frames is one clip and is not entered."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        path = "/".join((*above, entry.name))
        parent = above[-1] if above else ""
        if entry.is_dir():
            if is_frame_folder(entry):
                yield FoundClip(path, _without_video_suffix(entry.name), parent, FRAMES)
            elif len(above) < MAX_DEPTH:
                yield from _walk(entry, (*above, entry.name))
        elif entry.suffix.lower() in VIDEO_SUFFIXES:
            yield FoundClip(path, entry.stem, parent, entry.suffix.lower())


def scan_clips(root: Path) -> list[FoundClip]:
    """Every video file and folder of frames under a data root, sorted by path; hidden ones are left out.

    Raises:
        DataNotFound: no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DataNotFound(f"There is no folder {root}. Give the folder that holds the videos (--data-root).")
    clips = list(_walk(root, ()))
    if not clips:
        raise DataNotFound(
            f"{root} holds no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of frames (00001.jpg, img_00001.jpg), "
            f"down to {MAX_DEPTH} folders deep. Give the folder that the videos were unpacked to (--data-root)."
        )
    return sorted(clips, key=lambda clip: clip.path)


def read_templates(root: Path) -> tuple[dict[str, str], list[str]]:
    """The labels of Something-Something: JSON files of entries ``{"id": "78687", "template": "Holding [something]"}``.

    They are looked for in the data root and in the folders directly in it.

    Returns:
        Video id -> template; and the names of the files that were read, relative to the root.
    Raises:
        ManifestError: a video has two different templates.
    """
    templates: dict[str, str] = {}
    read: list[str] = []
    for path in sorted([*root.glob("*.json"), *root.glob("*/*.json")]):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # another JSON file, or none
            continue
        entries = content if isinstance(content, list) else []
        labelled = [entry for entry in entries if isinstance(entry, dict) and "id" in entry and "template" in entry]
        for entry in labelled:
            video, template = str(entry["id"]), str(entry["template"])
            if class_key(templates.setdefault(video, template)) != class_key(template):
                raise ManifestError(
                    f'{path} labels the video {video} "{template}", but another file says "{templates[video]}". '
                    "Keep the label files of one release only."
                )
        if labelled:
            read.append(path.relative_to(root).as_posix())
    return templates, read


def label_in_name(name: str, labels: dict[str, str]) -> str | None:
    """The class that UCF101 and HMDB51 write into a file name, for files that lie flat in one folder.

    Args:
        name: of the clip.
        labels: class key -> class name.
    """
    if match := UCF_NAME.match(name):
        return labels.get(class_key(match["label"]))
    if match := HMDB_NAME.match(name):
        words = match["source_and_label"].split("_")
        for n_words in (3, 2, 1):  # the longest class name first: kick_ball before ball
            if label := labels.get(class_key("".join(words[-n_words:]))):
                return label
    return None


def describe_layout(clips: Iterable[FoundClip], labels: Iterable[str], label_files: Iterable[str]) -> str:
    """One sentence on how the clips are laid out.

    Args:
        clips: those that belong to the data set.
        labels: its class names.
        label_files: Something-Something's label files that were used.
    """
    clips, keys, label_files = list(clips), {class_key(label) for label in labels}, list(label_files)
    in_class = sum(class_key(clip.folder) in keys for clip in clips)
    kinds = Counter(clip.kind for clip in clips)
    what = " and ".join(
        f"{count} folders of frames" if kind == FRAMES else f"{count} {kind} files"
        for kind, count in kinds.most_common()
    )
    if in_class == len(clips):
        where = "in class folders"
    elif in_class == 0:
        where = "flat, without class folders"
    else:
        where = f"{in_class} of them in class folders"
    told = f"; labels from {', '.join(label_files)}" if label_files else ""
    return f"{what}, {where}{told}"
