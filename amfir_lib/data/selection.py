"""Which videos of a real benchmark are wanted, and where each of them lies; and which benchmark a folder holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from amfir_lib.data.benchmarks import BENCHMARKS, REAL_NAMES, Benchmark, published_class_sizes, published_videos
from amfir_lib.data.class_split import joined, parse_counts
from amfir_lib.data.lists import (
    LABEL_FILES,
    LABEL_FOLDERS,
    ListedVideo,
    find_video_lists,
    name_classes,
    read_labels,
    read_video_lists,
)
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.names import CLIP_NAMES, KINETICS_NAME, class_key, keys_of, label_in_name, youtube_id
from amfir_lib.data.preparation import LEFT_OUT, absolute, some_of
from amfir_lib.data.tree import FoundClip, Scan, scan_tree
from amfir_lib.errors import BadParameter, DataNotFound, unknown_name

NOT_PUBLISHED = "not the published split"


@dataclass(frozen=True)
class Selection:
    """Which videos of a benchmark are wanted and where they lie, before any is decoded.

    Attributes:
        wanted: one row a video, ``label, split, name, path``; the path is empty where the video was not found.
        expected: label -> number of videos that there should be.
        split_of: label -> split, of all classes.
        how: how they were chosen, for the report; ``note`` what the caption says of it, empty for the published videos.
        root: the data root, absolute, with all clips under it in ``scan``, and the ``label_files`` that were read.
    """

    benchmark: Benchmark
    wanted: pd.DataFrame
    expected: Mapping[str, int]
    split_of: Mapping[str, str]
    how: str
    note: str = ""
    root: Path = Path()
    scan: Scan = Scan([], [], [])
    label_files: Sequence[str] = ()

    @property
    def present(self) -> pd.DataFrame:
        """The wanted videos that were found."""
        return self.wanted[self.wanted["path"] != ""]


def _by_split(counts: Mapping[str, int]) -> str:
    return joined(counts.get(split, 0) for split in SPLITS)


def _match_listed(videos: Iterable[ListedVideo], clips: Iterable[FoundClip]) -> list[str]:
    """For each listed video the path of its clip, or "": by name, by name without punctuation, or by YouTube id."""
    by_name, by_key, by_id = defaultdict(list), defaultdict(list), defaultdict(list)
    for clip in clips:
        by_name[clip.name].append(clip)
        by_key[class_key(clip.folder), class_key(clip.name)].append(clip)
        by_id[youtube_id(clip.name)].append(clip)
    paths, used = [], {""}
    for video in videos:
        label, source = class_key(video.label), youtube_id(video.name)
        similar = by_id[source] if source else by_key[label, class_key(video.name)]
        candidates = [clip for clip in by_name[video.name] or similar if clip.path not in used]
        nearest = min(candidates, key=lambda clip: (class_key(clip.folder) != label, clip.path), default=None)
        paths.append(nearest.path if nearest else "")
        used.add(paths[-1])
    return paths


def from_list(
    benchmark: Benchmark, clips: Iterable[FoundClip], video_labels: Mapping[str, str], source: Path
) -> Selection:
    """The videos of the published list, or of another one, which is said: the first number that differs."""
    videos = name_classes(read_video_lists(source), benchmark.split, video_labels, str(source))
    wanted = pd.DataFrame(videos)[["label", "split", "name"]].assign(path=_match_listed(videos, clips))
    split_of = dict(zip(wanted["label"], wanted["split"], strict=True))
    sizes, per_class = wanted["label"].value_counts(), published_class_sizes(benchmark.name)
    listed, published = _by_split(wanted["split"].value_counts()), _by_split(published_videos(benchmark.name))
    classes, difference = _by_split(pd.Series(split_of).value_counts()), ""
    if listed != published:
        difference = f"{listed} videos"
    elif classes != joined(benchmark.split.counts):
        difference = f"{classes} classes"
    else:
        for label, count in sizes.items():
            expected = per_class.get(label, benchmark.per_class)  # 0 where only the list itself knows
            if expected and count != expected and not difference:
                difference = f"{count} videos of {label}, not {expected}"
    how = f"the video list {source.name} ({listed} train/val/test videos"
    how += f"; published: {published})" if difference else ", as published)"
    note = f"{NOT_PUBLISHED}: its video list has {difference}" if difference else ""
    return Selection(benchmark, wanted, sizes.to_dict(), split_of, how, note)


def from_classes(
    benchmark: Benchmark, clips: Iterable[FoundClip], video_labels: Mapping[str, str], *, seed: int
) -> Selection:
    """All videos of the classes, or a drawn choice of as many as the published list has."""
    split_of = benchmark.split.split_of
    labels = keys_of(split_of)
    of_class: dict[str, dict[str, str]] = {label: {} for label in split_of}
    others = [pattern for name, pattern in CLIP_NAMES.items() if name != benchmark.name]
    for clip in clips:
        if any(pattern.match(clip.name) for pattern in others):  # a clip of a neighbouring benchmark
            continue
        video_label = video_labels.get(clip.name) or video_labels.get(youtube_id(clip.name), "")
        known = labels.get(class_key(video_label)) or labels.get(class_key(clip.folder))
        if label := known or label_in_name(clip.name, labels):
            of_class[label].setdefault(clip.name, clip.path)  # a second copy of a video is not a second video
    rows = []
    for number, (label, paths) in enumerate(of_class.items()):
        names = sorted(paths)
        if benchmark.per_class and len(names) > benchmark.per_class:
            order = np.random.default_rng([seed, number]).permutation(len(names))
            names = sorted(names[index] for index in order[: benchmark.per_class])
        rows += [(label, split_of[label], name, paths[name]) for name in names] or [(label, split_of[label], "", "")]
    wanted = pd.DataFrame(rows, columns=["label", "split", "name", "path"])
    how, note = "all videos of the published classes", ""
    if benchmark.per_class:
        how = f"up to {benchmark.per_class} of each class, drawn with seed {seed}"
        how, note = f"{how}; the published ones are in {benchmark.lists}", f"{NOT_PUBLISHED}: {how}"
    return Selection(benchmark, wanted, published_class_sizes(benchmark.name), split_of, how, note)


def _cut_down(selection: Selection, counts: str | Sequence[int]) -> Selection:
    """The first classes of each split that have videos, for a trial on a part of the data."""
    numbers = parse_counts(counts)
    there = set(selection.present["label"])
    kept: dict[str, str] = {}
    for split, number in zip(SPLITS, numbers, strict=True):
        labels = [label for label, of_label in selection.split_of.items() if of_label == split and label in there]
        if len(labels) < number:
            raise BadParameter(
                f"class_counts asks for {number} {split} classes, but videos of {len(labels)} were found. Lower it."
            )
        kept |= dict.fromkeys(labels[:number], split)
    wanted = selection.wanted[selection.wanted["label"].isin(kept)].reset_index(drop=True)
    note = f"{selection.note or NOT_PUBLISHED}{'; ' if selection.note else ': '}cut down to {joined(numbers)} classes"
    return replace(selection, wanted=wanted, split_of=kept, note=note)


def choose_videos(
    name: str, data_root: Path | str, *, video_list: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None, min_found: float = 0.0, seed: int = 0,
) -> Selection:  # fmt: skip
    """The wanted videos of a benchmark among the files under a folder, by their names, lists and labels alone.

    Args, Raises: as ``load_benchmark``, which looks into the videos next.
    """
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    if not 0 <= min_found <= 1:
        raise BadParameter(f"min_found is {min_found}, but a share lies between 0 and 1.")
    benchmark, root = BENCHMARKS[name], absolute(data_root)
    source = Path(video_list).expanduser() if video_list else find_video_lists(root)
    if source is None and benchmark.needs_list:
        raise DataNotFound(
            f"{benchmark.title} cannot be prepared without its published video list: its class list has numbers only. "
            f"Get it from {benchmark.lists} and put it into {root / 'video_list'}, or give --video-list."
        )
    scan = scan_tree(root)
    others = [path for path in scan.others if source is None or not path.endswith((".txt", ".list"))]  # not its lists
    if others:
        print(f"{LEFT_OUT}files and folders that are no clips ({len(others)}): {some_of(others)}.")
    labels, label_files = read_labels(benchmark.class_list, root, scan.texts)
    if source is not None:
        selection = from_list(benchmark, scan.clips, labels, source)
    else:
        selection = from_classes(benchmark, scan.clips, labels, seed=seed)
    selection = replace(selection, root=root, scan=scan, label_files=label_files)
    if selection.present.empty:
        raise _strangers(selection, listed=source is not None)
    return _cut_down(selection, class_counts) if class_counts else selection


def _strangers(selection: Selection, *, listed: bool) -> DataNotFound:
    """Nothing under the data root belongs to the benchmark; says what is missing where labels or names are."""
    benchmark, clips, labels = selection.benchmark, selection.scan.clips, selection.label_files
    none = f"None of the {len(clips)} clips under {selection.root}, such as {clips[0].path}, is of {benchmark.title}"
    if listed:
        video = selection.wanted.iloc[0]
        listed_video = f'the first listed video is "{video["label"]}/{video["name"]}"'
        return DataNotFound(f"{none}: {listed_video}. Give the list of these videos (--video-list), or another folder.")
    if needed := LABEL_FILES.get(benchmark.class_list):
        none += f"; {', '.join(labels)} labels none of them" if labels else ""
        none += f"; videos without class folders need {needed} in the data root, or in {' or '.join(LABEL_FOLDERS)} "
        none += "in it or beside it"
    return DataNotFound(f"{none}. Get it from {benchmark.source}, and give the folder that it was unpacked to.")


def recognise(root: Path, *, video_list: str | None = None) -> str:
    """The benchmark that most of the clips under a data root are named after, if none is named after another one.

    UCF101 and HMDB51 have names of their own; those of Kinetics are a YouTube id with two times; the videos of
    Something-Something stand in its label files, which without a video list are those of ``ssv2_small``.

    Raises:
        DataNotFound: no such folder, or nothing in it.
        BadParameter: the names do not tell, or tell of several; lists what to choose from.
    """
    scan = scan_tree(root)
    templates, _ = read_labels("ssv2_small_CMN", root, scan.texts)
    names = [clip.name for clip in scan.clips]
    counts = {name: sum(map(bool, map(pattern.match, names))) for name, pattern in CLIP_NAMES.items()}
    counts["kinetics100"] = sum(bool((match := KINETICS_NAME.match(name)) and match["times"]) for name in names)
    counts["ssv2_small"] = sum(name in templates for name in names)
    candidates = [name for name, count in counts.items() if count]
    if candidates == ["ssv2_small"] and (video_list or find_video_lists(root)):
        candidates.append("ssv2_full")
    if len(candidates) != 1 or counts[candidates[0]] < len(names) / 2:
        maybe = f"may hold {' or '.join(candidates)}" if candidates else "holds no data set whose file names are known"
        raise BadParameter(
            f"{root} {maybe}. Say which is meant: --dataset {candidates[0] if candidates else 'folder'}, or another of "
            f"{', '.join(REAL_NAMES)}, or folder for your own clips."
        )
    return candidates[0]
