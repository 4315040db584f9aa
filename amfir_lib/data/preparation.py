"""Looking into every clip once: which can be used, which cannot and why, remembered for the next time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from amfir_lib.data.images import frame_files
from amfir_lib.data.manifest import write_manifest
from amfir_lib.data.video import decoder_version, probe_video
from amfir_lib.errors import AmfirError
from amfir_lib.parallel import iterate_parallel
from amfir_lib.storage import digest_of, digest_of_file, full_disk_explained, read_sealed, write_sealed

SAVE_EVERY = 250  # clips between two savings of what is known; more for a large data set, which is a large file
SAVINGS = 50  # at most about so many of them
BYTES_PER_CLIP = 250  # of the file that remembers it
MAX_LOST = 0.1  # share of the frames that a container promises; clips that lack more are not used
MIN_CLIPS = 2  # of a class: a support and a query
REPORT_FILE = "preparation_report.json"
LEFT_OUT = "Left out: "  # begins a printed line that the runner repeats on the terminal
REMARKS = {  # list of a report -> what is said of the clips in it, which are used
    "damaged": "Clips that lack some frames (how many), and are used all the same",
    "several_streams": "Clips with several video streams (how many), of which one is read",
}


def preparation_folder(cache_dir: Path | str, root: Path, *, name: str = "") -> Path:
    """The folder of the cache that holds what is known of a data root (absolute), read as the benchmark ``name``."""
    prefix = f"{name}-" if name else ""
    return Path(cache_dir) / "folders" / f"{prefix}{root.name}-{digest_of(str(root))[:8]}"


def _probe(path: str, *, root: Path) -> dict[str, Any]:
    """Worker: what decoding finds in a clip, or why it cannot be used."""
    file = root / path
    try:
        info = asdict(probe_video(file))
        return info | {"file_digest": _digest_of_frames(file) if file.is_dir() else digest_of_file(file)}
    except (AmfirError, OSError) as error:
        return {"error": str(error)}


def _digest_of_frames(folder: Path) -> str:
    state = hashlib.sha256()
    for file in frame_files(folder):
        content = file.read_bytes()
        state.update(f"{file.name}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:16]


def _stamp(file: Path) -> list[int]:
    """Size and time of the last change of a clip, and the number of its frames: another stamp, another look."""
    try:
        if not file.is_dir():
            status = file.stat()
            return [status.st_size, status.st_mtime_ns]
        with os.scandir(file) as entries:
            states = [entry.stat() for entry in entries]
        return [len(states), sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)]
    except OSError:
        return [-1, -1]


@dataclass(frozen=True)
class Prepared:
    """Clips that were looked into: where report and manifest go, path -> what decoding found, path -> why a clip is
    unreadable, and the paths of clips with fewer frames than needed, and of damaged ones that are used all the same."""

    folder: Path
    probes: dict[str, dict[str, Any]]
    unreadable: dict[str, str]
    too_short: list[str]
    damaged: list[str]

    def skipped(self) -> dict[str, Any]:
        """The lists of a report."""
        too_short = [f"{path} ({self.probes[path]['n_frames']})" for path in self.too_short]
        used = self.probes.keys() - self.unreadable.keys() - {*self.too_short}
        several = [path for path, probe in self.probes.items() if path in used and probe.get("n_streams", 1) > 1]
        return {
            "unreadable": list(self.unreadable.values()),
            "too_short": too_short,
            "damaged": [f"{path} ({self.probes[path]['n_lost']})" for path in self.damaged if path in used],
            "several_streams": [f"{path} ({self.probes[path]['n_streams']})" for path in several],
            "file": str(self.folder / REPORT_FILE),
        }

    def usable(self, clips: pd.DataFrame) -> pd.DataFrame:
        """The rows whose ``path`` can be used."""
        return clips[~clips["path"].isin([*self.unreadable, *self.too_short])]

    def manifest(self, clips: pd.DataFrame, split_of: Mapping[str, str]) -> pd.DataFrame:
        """The manifest of usable clips (``path, label, group``), also written to the cache.

        A clip's id is its path without the suffix where that is unique.
        """
        stems = clips["path"].map(lambda path: str(PurePosixPath(path).with_suffix("")))
        manifest = pd.DataFrame({
            "clip_id": stems.where(~stems.duplicated(keep=False), clips["path"]), "path": clips["path"],
            "label": clips["label"], "split": clips["label"].map(split_of), "group": clips["group"],
        }).reset_index(drop=True)  # fmt: skip
        probes = pd.DataFrame([self.probes[path] for path in clips["path"]]).drop(columns="n_streams", errors="ignore")
        manifest = pd.concat([manifest, probes], axis=1)
        manifest = manifest.sort_values("clip_id").reset_index(drop=True)
        write_manifest(self.folder / "manifest.csv", manifest)
        return manifest


def prepare_clips(
    root: Path, paths: Iterable[str], *, name: str, cache_dir: Path | str, min_frames: int, n_jobs: int
) -> Prepared:
    """Decode the clips of a data root once, in parallel; those that have not changed since are not decoded again.

    What was found is remembered in the cache, now and then, so that an interruption loses little.  ``name`` is that of
    the benchmark, or empty.
    """
    folder, paths = preparation_folder(cache_dir, root, name=name), list(paths)
    file, decoder = folder / "probes.json", decoder_version()
    known = read_sealed(file) or {}  # not there, or damaged: every clip is looked at again
    clips = known["clips"] if known.get("decoder") == decoder else {}
    stamps = {path: _stamp(root / path) for path in paths}
    probes = {path: clips[path]["found"] for path in paths if clips.get(path, {}).get("stamp") == stamps[path]}
    missing = [path for path in paths if path not in probes]

    def save() -> None:
        entries = {  # without errors: their cause may have been mended
            path: {"stamp": stamps[path], "found": probe} for path, probe in probes.items() if "error" not in probe
        }
        with full_disk_explained(file, BYTES_PER_CLIP * len(paths)):
            write_sealed(file, {"decoder": decoder, "clips": entries})

    if missing:
        every = max(SAVE_EVERY, len(missing) // SAVINGS)
        description = f"clips of {name or root.name}"
        results = iterate_parallel(partial(_probe, root=root), missing, n_jobs=n_jobs, description=description)
        try:
            for number, (path, result) in enumerate(zip(missing, results, strict=True), start=1):
                probes[path] = result
                if number % every == 0:
                    save()
        finally:
            save()
    errors = {path: probes[path]["error"] for path in paths if "error" in probes[path]}
    unreadable = {path: error.replace(f"{root}{os.sep}", "") for path, error in errors.items()}
    damaged = []
    for path, probe in probes.items():
        n_frames, n_lost = probe.get("n_frames", 0), probe.get("n_lost", 0)
        if n_lost > MAX_LOST * (n_frames + n_lost):
            unreadable[path] = f"{path} is damaged: {n_lost} of its {n_frames + n_lost} frames are missing or broken"
        elif n_lost:
            damaged.append(path)
    short = [path for path in paths if path not in unreadable and probes[path]["n_frames"] < min_frames]
    return Prepared(folder, probes, unreadable, short, damaged)


def absolute(root: Path | str) -> Path:
    """A data root as it is kept: absolute, without ``~`` and ``..``, links as they are."""
    return Path(os.path.abspath(Path(root).expanduser()))


def some_of(entries: Sequence[str], *, shown: int = 5, mark: str = ", ") -> str:
    """The first entries, and how many more there are."""
    more = [f"and {len(entries) - shown} more"] if len(entries) > shown else []
    return mark.join([*entries[:shown], *more])
