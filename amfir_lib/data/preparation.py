"""Looking into every clip once: which can be used, which cannot and why, remembered for the next time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amfir_lib.data.video import frame_files, probe_video
from amfir_lib.errors import AmfirError
from amfir_lib.parallel import iterate_parallel
from amfir_lib.storage import digest_of, digest_of_file, full_disk_explained, read_json, write_json

SAVE_EVERY = 250  # clips between two savings of what is known; more for a large data set, which is a large file
SAVINGS = 50  # at most about so many of them
BYTES_PER_CLIP = 250  # of the file that remembers it
SHOWN_PER_REASON = 5


def preparation_folder(cache_dir: Path | str, root: Path, *, name: str = "") -> Path:
    """The folder of the cache that holds what is known of a prepared data root.

    Args:
        cache_dir: the cache folder.
        root: the data root, absolute.
        name: of the benchmark that is read from it; empty for a folder of the user's own clips.
    """
    prefix = f"{name}-" if name else ""
    return Path(cache_dir) / "folders" / f"{prefix}{root.name}-{digest_of(str(root))[:8]}"


@dataclass(frozen=True)
class _Probe:
    """One file to look into."""

    root: Path
    path: str

    @property
    def item_name(self) -> str:
        return self.path


def _probe(item: _Probe) -> dict[str, Any]:
    """Worker: what decoding finds in a file, or why it cannot be used."""
    file = item.root / item.path
    try:
        info = probe_video(file)
        return {
            "n_frames": info.n_frames, "fps": info.fps, "height": info.height, "width": info.width,
            "file_digest": digest_of_frames(file) if file.is_dir() else digest_of_file(file),
        }  # fmt: skip
    except (AmfirError, OSError) as error:
        return {"error": str(error)}


def digest_of_frames(folder: Path) -> str:
    """Digest of the names and bytes of the frames; 16 hexadecimal digits."""
    state = hashlib.sha256()
    for file in frame_files(folder):
        content = file.read_bytes()
        state.update(f"{file.name}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:16]


def _stamp(file: Path) -> list[int]:
    """Size and time of last change of a file: another stamp, another look."""
    try:
        if file.is_dir():
            with os.scandir(file) as entries:
                states = [entry.stat() for entry in entries]
            return [len(states), sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)]
        status = file.stat()
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return [-1, -1]


def probe_clips(
    root: Path, paths: Sequence[str], *, cache_file: Path, n_jobs: int, description: str
) -> dict[str, dict[str, Any]]:
    """Decode every clip once, in parallel; files that have not changed since are not decoded again.

    Args:
        root: folder that the paths start from.
        paths: clips.
        cache_file: JSON file that remembers what was found; written now and then, so that an interruption loses little.
        n_jobs: number of processes.
        description: for the progress bar.
    Returns:
        path -> ``n_frames, fps, height, width, file_digest``, or ``error`` with a sentence.
    """
    try:
        known = read_json(cache_file) if cache_file.is_file() else {}
        known = known if isinstance(known, dict) else {}
    except ValueError:  # not JSON: written by something else; look at every file again
        known = {}
    stamps = {path: _stamp(root / path) for path in paths}
    found = {path: known[path]["found"] for path in paths if known.get(path, {}).get("stamp") == stamps[path]}
    missing = [path for path in paths if path not in found]

    def save() -> None:
        entries = {path: {"stamp": stamps[path], "found": found[path]} for path in paths if path in found}
        with full_disk_explained(cache_file, BYTES_PER_CLIP * len(paths)):
            write_json(cache_file, entries)

    if not missing:
        return found
    items = [_Probe(root, path) for path in missing]
    every = max(SAVE_EVERY, len(missing) // SAVINGS)
    results = iterate_parallel(_probe, items, n_jobs=n_jobs, description=description)
    try:
        for number, (path, result) in enumerate(zip(missing, results, strict=True), start=1):
            found[path] = result
            if number % every == 0:
                save()
    finally:
        save()
    return found


def report_lines(report: dict[str, Any]) -> list[str]:
    """What to tell the user about a prepared folder, in a few lines."""
    counts = report["classes"]
    lines = [
        f"{report['name']}: {report['n_clips']} clips of {sum(counts.values())} classes "
        f"({'/'.join(str(counts[split]) for split in ('train', 'val', 'test'))} train/val/test; {report['split']}), "
        f"{report['n_groups']} groups ({report['groups']}), {report['frames'][0]} to {report['frames'][1]} frames."
    ]
    for kind, sentence in (
        ("unreadable", "clips were skipped because they cannot be read"),
        ("too_short", f"clips were skipped because they have fewer than {report['min_frames']} frames"),
        ("other_frame_count", "clips have another number of frames than clips.csv says (what was decoded counts)"),
        ("not_listed", "video files are not listed in clips.csv and were left out"),
    ):
        entries = report[kind]
        if entries:
            shown = "; ".join(entries[:SHOWN_PER_REASON])
            more = f"; and {len(entries) - SHOWN_PER_REASON} more" if len(entries) > SHOWN_PER_REASON else ""
            lines.append(f"{len(entries)} {sentence}: {shown}{more}.")
    if len(lines) > 1:
        lines.append(f"Full list: {report['file']}")
    return lines
