"""Kinetics-100, SSv2-Small, SSv2-Full, HMDB51 and UCF101 as data sets, from the layouts in which people have them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.data.benchmark_report import check_shares, class_table, report_text, split_table, write_report
from amfir_lib.data.benchmarks import BENCHMARKS, Benchmark, published_videos, where_to_get_lists
from amfir_lib.data.class_names import nearest_names
from amfir_lib.data.clip_names import group_of
from amfir_lib.data.folder import MIN_CLIPS, manifest_of_clips
from amfir_lib.data.label_files import LABEL_FILES, LABEL_FOLDERS, read_labels
from amfir_lib.data.layouts import Scan, describe_layout, scan_clips
from amfir_lib.data.manifest import SPLITS, Dataset, write_manifest
from amfir_lib.data.preparation import preparation_folder, probe_clips
from amfir_lib.data.selection import Selection, cut_down, from_classes, from_list
from amfir_lib.data.video_lists import find_video_lists
from amfir_lib.errors import BadParameter, DataNotFound, TooFewVideos, unknown_name

MIN_FOUND = 0.9


def _refuse_strangers(
    benchmark: Benchmark, root: Path, selection: Selection, scan: Scan, label_files: Sequence[str], *, listed: bool
) -> None:
    """Refuse a data root in which nothing belongs to the benchmark; say what is missing where labels or names are."""
    if (selection.wanted["path"] != "").any():
        return
    none = f"None of the {len(scan.clips)} clips under {root} belongs to {benchmark.title}"
    if listed:
        video = selection.wanted.iloc[0]
        raise DataNotFound(
            f'{none}: the first listed video is "{video["label"]}/{video["name"]}", the first clip is '
            f'"{scan.clips[0].path}". Give the list of these videos (--video-list), or the folder of the listed ones.'
        )
    hint = f"the first is {scan.clips[0].path}"
    if needed := LABEL_FILES.get(benchmark.class_list):
        hint += f"; {', '.join(label_files)} labels none of them" if label_files else ""
        hint += f"; videos without class folders need {needed} in the data root, or in {' or '.join(LABEL_FOLDERS)} "
        hint += "in it or beside it"
    raise DataNotFound(
        f"{none} ({hint}). Get it from {benchmark.source}, and give the folder that it was unpacked to (--data-root)."
    )


@dataclass(frozen=True)
class ChosenVideos:
    """Which videos of a benchmark are wanted and where they lie, before any is decoded.

    Attributes:
        benchmark: which one.
        root: the data root, absolute.
        selection: the wanted videos.
        scan: all clips under the data root.
        label_files: names of the label files that were read.
    """

    benchmark: Benchmark
    root: Path
    selection: Selection
    scan: Scan
    label_files: Sequence[str]


def choose_videos(
    name: str, data_root: Path | str, *, video_list: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None, min_found: float = MIN_FOUND, seed: int = 0,
) -> ChosenVideos:  # fmt: skip
    """The wanted videos of a benchmark among the files under a folder, by their names, lists and labels alone.

    Args, Raises: as ``load_benchmark``, which looks into the videos next.
    """
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    if not 0 <= min_found <= 1:
        raise BadParameter(f"min_found is {min_found}, but a share lies between 0 and 1.")
    benchmark = BENCHMARKS[name]
    root = Path(os.path.abspath(Path(data_root).expanduser()))
    source = Path(video_list).expanduser() if video_list else find_video_lists(root) if root.is_dir() else None
    if source is None and benchmark.needs_list:
        raise DataNotFound(
            f"{benchmark.title} cannot be prepared without its published video list: its class list has numbers only. "
            f"Get it from {where_to_get_lists(name)} and put it into {root / 'video_list'}, or give --video-list."
        )
    scan = scan_clips(root)
    labels, label_files = read_labels(benchmark.class_list, root, scan.texts)
    if source is not None:
        selection = from_list(benchmark, scan.clips, labels, source)
    else:
        selection = from_classes(benchmark, scan.clips, labels, seed=seed)
    _refuse_strangers(benchmark, root, selection, scan, label_files, listed=source is not None)
    if class_counts:
        selection = cut_down(selection, class_counts)
    return ChosenVideos(benchmark, root, selection, scan, label_files)


def load_benchmark(
    name: str, data_root: Path | str, *, cache_dir: Path | str, video_list: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None, min_found: float = MIN_FOUND, n_segments: int = 8, seed: int = 0,
    n_jobs: int = 1,
) -> Dataset:  # fmt: skip
    """Load a real benchmark from the videos under a folder, decoding each once to see what is in it.

    What was recognised is printed: the layout, how the videos were chosen, and what was found of each split.  Every
    missing, unreadable and short video is listed in ``preparation_report.json`` in the cache, beside the manifest.

    Args:
        name: ``kinetics100``, ``ssv2_small``, ``ssv2_full``, ``hmdb51`` or ``ucf101``.
        data_root: folder with the videos: class folders of videos or of folders of frames, or flat files whose names
            (UCF101, HMDB51), label files (Something-Something) or video list say what they show.
        cache_dir: the cache folder.
        video_list: the published video list, a file or a folder of three; None looks for it in the data root.
        class_counts: "6/2/3" uses only the first so many train/val/test classes that have videos, for a trial.
        min_found: smallest accepted share of usable videos of each class, 0 to 1.
        n_segments: videos with fewer frames are skipped (never fewer than 2: flow needs a pair).
        seed: of the choice of videos where there is no list.
        n_jobs: number of processes.
    Returns:
        The data set, its classes named as in the published class list.
    Raises:
        UnknownName: no such benchmark.
        DataNotFound: no clips of it; a class without any; or a benchmark that cannot do without its video list.
        ManifestError: a video list of another benchmark.
        TooFewVideos: a class has a smaller share of its videos than ``min_found``, or a split is left without classes.
        BadParameter: ``min_found`` or ``class_counts`` out of range.
    """
    chosen = choose_videos(
        name, data_root, video_list=video_list, class_counts=class_counts, min_found=min_found, seed=seed
    )
    return _prepare(chosen, min_found=min_found, n_segments=n_segments, n_jobs=n_jobs, cache_dir=cache_dir)


def _prepare(videos: ChosenVideos, *, min_found: float, n_segments: int, n_jobs: int, cache_dir: Path | str) -> Dataset:
    """Look into the chosen videos, report, and make the data set of what can be used."""
    benchmark, root, selection, scan = videos.benchmark, videos.root, videos.selection, videos.scan
    label_files = videos.label_files
    folder, min_frames = preparation_folder(cache_dir, root, name=benchmark.name), max(n_segments, 2)
    wanted = selection.wanted
    there = wanted[wanted["path"] != ""]
    found = probe_clips(root, list(there["path"]), cache_file=folder / "probes.json", n_jobs=n_jobs,
                        description=f"clips of {benchmark.name}")  # fmt: skip
    errors = [(path, found[path]["error"]) for path in there["path"] if "error" in found[path]]
    unreadable = [path for path, _ in errors]
    too_short = [path for path in there["path"] if found[path].get("n_frames", min_frames) < min_frames]
    classes = class_table(wanted, selection.expected, unreadable, too_short)
    left_out = list(classes.loc[classes["used"] < MIN_CLIPS, "label"])
    chosen = set(there["path"])
    report: dict[str, Any] = {
        "name": benchmark.name, "title": benchmark.title, "root": str(root), "selection": selection.how,
        "note": selection.note, "groups": benchmark.groups, "min_frames": min_frames,
        "layout": describe_layout(
            [clip for clip in scan.clips if clip.path in chosen], selection.split_of, label_files, scan.flow_sentence
        ),
        "splits": split_table(classes, published_videos(benchmark.name)).to_dict("records"), "left_out": left_out,
        "surplus": [f"{row.label} ({row.found}, not {row.expected})"
                    for row in classes[classes["found"] > classes["expected"]].itertuples()],
        "missing": _missing(wanted, classes),
        "unreadable": [error.replace(f"{root}{os.sep}", "") for _, error in errors],
        "too_short": [f"{path} ({found[path]['n_frames']})" for path in too_short],
        "file": str(folder / "preparation_report.json"),
    }  # fmt: skip
    write_report(folder, report, classes)
    print("\n".join(report_text(report)))
    folders = set() if label_files else {clip.folder for clip in scan.clips if clip.folder}
    nearest = {label: nearest_names(label, folders) for label in classes.loc[classes["found"] == 0, "label"]}
    check_shares(classes, min_found=min_found, report=report, nearest=nearest)
    usable = there[~there["path"].isin([*unreadable, *too_short]) & ~there["label"].isin(left_out)]
    for split in SPLITS:
        if not (usable["split"] == split).any():
            raise TooFewVideos(f"No {split} class of {benchmark.title} has 2 usable videos. See {report['file']}.")
    pairs = zip(usable["label"], usable["name"], strict=True)
    groups = [group_of(benchmark.name, label, clip) for label, clip in pairs]
    manifest = manifest_of_clips(usable.assign(group=groups), found, selection.split_of)
    write_manifest(folder / "manifest.csv", manifest)
    n_published = sum(published_videos(benchmark.name).values())
    caption = f"{benchmark.title}, {len(usable):,} of {n_published:,} videos"
    return Dataset(
        name=benchmark.name, root=root, manifest=manifest, flip=benchmark.flip,
        caption="; ".join(filter(None, [caption, selection.note])),
    )  # fmt: skip


def _missing(wanted: pd.DataFrame, classes: pd.DataFrame) -> list[str]:
    """The listed videos that were not found; without a list only how many of a class."""
    named = wanted[(wanted["path"] == "") & (wanted["name"] != "")]
    if len(named):
        return [f"{label}/{name}" for label, name in zip(named["label"], named["name"], strict=True)]
    lacking = classes[classes["missing"] > 0]
    return [f"{label}: {count} videos" for label, count in zip(lacking["label"], lacking["missing"], strict=True)]
