"""What lies under a data root, in any of the layouts in which people have clips, and which layout it is."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from amfir_lib.data.images import FLOW_IMAGE, is_frame, is_frame_folder
from amfir_lib.data.names import class_key
from amfir_lib.data.video import VIDEO_SUFFIXES
from amfir_lib.errors import DataNotFound

MAX_DEPTH = 4  # folders above a clip: "videos/train_256/class/clip.mp4"
TEXT_DEPTH = 2  # folders above a label file
TEXT_SUFFIXES = (".json", ".csv")
FRAMES, FLOW, OTHER = "frames", "flow", "other"
KNOWN_NAMES = ("split.yaml",)  # that are read elsewhere
# Parts of an extracted clip, "video/img" beside "video/flow_x", or of a data set, "tvl1_flow/u/video"
FRAMES_PART = re.compile(r"img|imgs|images|rgb|frames", re.IGNORECASE)
FLOW_PART = re.compile(r"(?:.+[_-])?flow(?:[_-]?[xyuv]|[_-](?:tvl1|img|imgs|images|frames))?", re.IGNORECASE)
FLOW_PAIR = {"u", "v"}  # alone or beside such parts; else they are classes of an alphabet


class FoundClip(NamedTuple):
    """A video file or a folder of frames.

    ``path`` is below the data root, with forward slashes; ``name`` that of the file without suffix, or of the folder of
    frames; ``folder`` the name of what it lies in, empty for the data root itself; ``kind`` the suffix, or "frames".
    """

    path: str
    name: str
    folder: str
    kind: str


class Scan(NamedTuple):
    """What lies under a data root, sorted by path: clips, folders of flow pictures, files that may hold labels, and
    files and folders of frames that none of these is."""

    clips: list[FoundClip]
    flow: list[FoundClip]
    texts: list[str]
    others: list[str] = []

    @property
    def flow_sentence(self) -> str:
        """What is not read; empty if nothing is left out."""
        if not self.flow:
            return ""
        return f"{len(self.flow)} folders of flow pictures, such as {self.flow[0].path}, are not read"


def _flow_parts(folders: Sequence[str]) -> set[str]:
    """The folders, of those that lie side by side, that hold flow."""
    flow = {name for name in folders if FLOW_PART.fullmatch(name)}
    others = {name for name in folders if name not in flow and not FRAMES_PART.fullmatch(name)}
    return flow | FLOW_PAIR if others == FLOW_PAIR else flow


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a byte that stands for no character
        return False
    return True


def _walk(folder: Path, above: tuple[str, ...] = (), *, of_flow: bool = False) -> Iterator[FoundClip]:
    """What lies in a folder and the folders below it; a folder of frames is a clip if there is no clip inside."""
    try:
        with os.scandir(folder) as entries:
            is_folder = {entry.name: _is_folder(entry) for entry in entries if not entry.name.startswith(".")}
    except PermissionError:
        yield FoundClip(f"{'/'.join(above)} (may not be read)", "", "", OTHER)
        return
    for name in [name for name in is_folder if not _is_utf8(name)]:
        shown = name.encode("utf-8", "backslashreplace").decode()
        yield FoundClip(f"{'/'.join((*above, shown))} (its name is not UTF-8: rename it)", "", "", OTHER)
        del is_folder[name]
    folders = [name for name in is_folder if is_folder[name]]
    flow = _flow_parts(folders)
    for name in is_folder.keys() - set(folders):
        stem, suffix = os.path.splitext(name)
        kind = suffix.lower()
        known = kind in VIDEO_SUFFIXES or (kind in TEXT_SUFFIXES and len(above) <= TEXT_DEPTH)
        if known or not (is_frame(name) or FLOW_IMAGE.match(name) or of_flow or name in KNOWN_NAMES):
            yield FoundClip("/".join((*above, name)), stem, above[-1] if above else "", kind if known else OTHER)
    for name in folders:
        kind = FLOW if of_flow or name in flow else FRAMES
        deeper = len(above) < MAX_DEPTH
        inside = list(_walk(folder / name, (*above, name), of_flow=kind == FLOW)) if deeper else []
        yield from inside
        if not os.access(folder / name, os.R_OK) or not is_frame_folder(folder / name):
            continue
        if not all(clip.kind in (FLOW, OTHER, *TEXT_SUFFIXES) for clip in inside):
            yield FoundClip("/".join((*above, name)), name, "", OTHER)  # frames beside clips
        else:
            place = above if above and FRAMES_PART.fullmatch(name) else (*above, name)
            path = PurePosixPath(place[-1])
            clip = path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
            yield FoundClip("/".join((*above, name)), clip, place[-2] if len(place) > 1 else "", kind)


def scan_tree(root: Path, *, holding: str = "the videos") -> Scan:
    """Every video file, folder of frames and label file under a data root; hidden ones are left out.

    Raises:
        DataNotFound: no such folder, which should be ``holding`` something, or no clip in it.
    """
    if not root.is_dir():
        raise DataNotFound(f"There is no folder {root}. Give the folder that holds {holding} (--data-root).")
    of_flow = root.name in FLOW_PAIR and bool(FLOW_PART.fullmatch(root.parent.name))
    entries = sorted(_walk(root, of_flow=of_flow), key=lambda clip: clip.path)
    scan = Scan(
        clips=[clip for clip in entries if clip.kind not in (FLOW, OTHER, *TEXT_SUFFIXES)],
        flow=[clip for clip in entries if clip.kind == FLOW],
        texts=[clip.path for clip in entries if clip.kind in TEXT_SUFFIXES],
        others=[clip.path for clip in entries if clip.kind == OTHER],
    )
    if not scan.clips:
        flow = f"; {scan.flow_sentence}, because flow is computed from the frames" if scan.flow else ""
        raise DataNotFound(
            f"{root} holds no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of frames (00001.jpg, img_00001.jpg), "
            f"down to {MAX_DEPTH} folders deep{flow}. Give the folder that holds {holding} (--data-root)."
        )
    return scan


def describe_layout(clips: Sequence[FoundClip], labels: Iterable[str]) -> str:
    """How clips are laid out, whose classes have these names: "18 .mp4 files and 6 .mkv files, in class folders"."""
    keys = {class_key(label) for label in labels}
    in_class = sum(class_key(clip.folder) in keys for clip in clips)
    kinds = " and ".join(
        f"{count} folders of frames" if kind == FRAMES else f"{count} {kind} files"
        for kind, count in Counter(clip.kind for clip in clips).most_common()
    )
    where = {len(clips): "in class folders", 0: "flat, without class folders"}
    return f"{kinds}, {where.get(in_class, f'{in_class} of them in class folders')}"
