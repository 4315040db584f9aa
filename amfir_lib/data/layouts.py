"""What lies under a data root, in any of the layouts in which people have the benchmarks, and which layout it is."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from amfir_lib.data.class_names import class_key
from amfir_lib.data.video import VIDEO_SUFFIXES, is_frame_folder
from amfir_lib.errors import DataNotFound

MAX_DEPTH = 4  # folders above a clip: "videos/train_256/class/clip.mp4"
TEXT_DEPTH = 2  # folders above a label file
TEXT_SUFFIXES = (".json", ".csv")
FRAMES, FLOW = "frames", "flow"
# Parts of an extracted clip, "video/img" beside "video/flow_x", or of a data set, "tvl1_flow/u/video"
FRAMES_PART = re.compile(r"img|imgs|images|rgb|frames", re.IGNORECASE)
FLOW_PART = re.compile(r"(?:.+[_-])?flow(?:[_-]?[xyuv]|[_-](?:tvl1|img|imgs|images|frames))?", re.IGNORECASE)
FLOW_PAIR = {"u", "v"}  # alone or beside such parts; else they are classes of an alphabet


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


@dataclass(frozen=True)
class Scan:
    """What lies under a data root, each sorted by path.

    Args:
        clips: video files and folders of frames.
        flow: folders of pictures of flow, which are not read.
        texts: paths of the files that may hold labels.
    """

    clips: tuple[FoundClip, ...]
    flow: tuple[FoundClip, ...]
    texts: tuple[str, ...]

    @property
    def flow_sentence(self) -> str:
        """What was left out; empty if nothing was."""
        if not self.flow:
            return ""
        return f"{len(self.flow)} folders of flow pictures, such as {self.flow[0].path}, are not read"


def _without_video_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else name


def _flow_parts(folders: Sequence[str]) -> set[str]:
    """The folders, of those that lie side by side, that hold flow."""
    flow = {name for name in folders if FLOW_PART.fullmatch(name)}
    others = {name for name in folders if name not in flow and not FRAMES_PART.fullmatch(name)}
    return flow | FLOW_PAIR if others == FLOW_PAIR else flow


def _walk(folder: Path, above: tuple[str, ...] = (), *, of_flow: bool = False) -> Iterator[FoundClip]:
    """What lies in a folder and the folders below it; a folder of frames is a clip if there is no clip inside."""
    with os.scandir(folder) as entries:
        is_folder = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    parent, folders = above[-1] if above else "", [name for name, own in is_folder.items() if own]
    flow = _flow_parts(folders)
    for name in is_folder.keys() - set(folders):
        stem, suffix = os.path.splitext(name)
        kind = suffix.lower()
        if kind in VIDEO_SUFFIXES or (kind in TEXT_SUFFIXES and len(above) <= TEXT_DEPTH):
            yield FoundClip("/".join((*above, name)), stem, parent, kind)
    for name in folders:
        kind = FLOW if of_flow or name in flow else FRAMES
        deeper = len(above) < MAX_DEPTH
        inside = list(_walk(folder / name, (*above, name), of_flow=kind == FLOW)) if deeper else []
        yield from inside
        if all(found.kind in (FLOW, *TEXT_SUFFIXES) for found in inside) and is_frame_folder(folder / name):
            place = above if above and FRAMES_PART.fullmatch(name) else (*above, name)
            clip = _without_video_suffix(place[-1])
            yield FoundClip("/".join((*above, name)), clip, place[-2] if len(place) > 1 else "", kind)


def look_into(root: Path) -> Scan:
    """Every video file, folder of frames and label file under a data root; hidden ones are left out."""
    of_flow = root.name in FLOW_PAIR and bool(FLOW_PART.fullmatch(root.parent.name))
    found = sorted(_walk(root, of_flow=of_flow), key=lambda clip: clip.path)
    others = (FLOW, *TEXT_SUFFIXES)
    return Scan(
        clips=tuple(clip for clip in found if clip.kind not in others),
        flow=tuple(clip for clip in found if clip.kind == FLOW),
        texts=tuple(clip.path for clip in found if clip.kind in TEXT_SUFFIXES),
    )


def scan_clips(root: Path) -> Scan:
    """``look_into`` a folder that has to hold clips.

    Raises:
        DataNotFound: no such folder, or no clip in it.
    """
    if not root.is_dir():
        raise DataNotFound(f"There is no folder {root}. Give the folder that holds the videos (--data-root).")
    scan = look_into(root)
    if not scan.clips:
        flow = f"; {scan.flow_sentence}, because flow is computed from the frames" if scan.flow else ""
        raise DataNotFound(
            f"{root} holds no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of frames (00001.jpg, img_00001.jpg), "
            f"down to {MAX_DEPTH} folders deep{flow}. Give the folder that the videos were unpacked to (--data-root)."
        )
    return scan


def describe_layout(clips: Iterable[FoundClip], labels: Iterable[str], label_files: Iterable[str], flow: str) -> str:
    """One sentence on how the clips are laid out.

    Args:
        clips: those that belong to the data set.
        labels: its class names.
        label_files: those that were used.
        flow: what was left out, or "".
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
    told = [f"labels from {', '.join(label_files)}"] if label_files else []
    return "; ".join(filter(None, [f"{what}, {where}", *told, flow]))
