"""Which videos of a real benchmark are wanted, and where each of them lies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from amfir_lib.data.benchmarks import Benchmark, published_class_sizes, published_videos, where_to_get_lists
from amfir_lib.data.class_names import class_key, keys_of
from amfir_lib.data.class_split import parse_counts
from amfir_lib.data.clip_names import KINETICS_NAME, is_of_another, label_in_name
from amfir_lib.data.layouts import FoundClip
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.video_lists import ListedVideo, name_classes, read_video_lists
from amfir_lib.errors import BadParameter

NOT_PUBLISHED = "not the published split"


@dataclass(frozen=True)
class Selection:
    """Which videos are wanted.

    Args:
        wanted: one row a video, ``label, split, name, path``; the path is empty where the video was not found.
        expected: label -> number of videos that there should be.
        split_of: label -> split, of all classes.
        how: how they were chosen, for the report.
        note: what the caption has to say about it; empty for the published videos.
    """

    wanted: pd.DataFrame
    expected: dict[str, int]
    split_of: dict[str, str]
    how: str
    note: str = ""


def _match_listed(videos: Sequence[ListedVideo], clips: Sequence[FoundClip]) -> list[str]:
    """For each listed video the path of its clip, or "": by name, by name without punctuation, or by YouTube id."""
    by_name, by_key, by_id = defaultdict(list), defaultdict(list), defaultdict(list)
    for clip in clips:
        by_name[clip.name].append(clip)
        by_key[class_key(clip.folder), class_key(clip.name)].append(clip)
        if match := KINETICS_NAME.match(clip.name):
            by_id[match["id"]].append(clip)
    paths, used = [], set()
    for video in videos:
        youtube = KINETICS_NAME.match(video.name)
        key = class_key(video.label), class_key(video.name)
        similar = by_id.get(youtube["id"], []) if youtube else by_key.get(key, [])
        candidates = [clip for clip in by_name.get(video.name) or similar if clip.path not in used]
        candidates.sort(key=lambda clip: (class_key(clip.folder) != key[0], clip.path))
        paths.append(candidates[0].path if candidates else "")
        used.update(paths[-1:])
    return paths


def from_list(
    benchmark: Benchmark, clips: Sequence[FoundClip], video_labels: Mapping[str, str], source: Path
) -> Selection:
    """The videos of the published list, or of another one, which is said."""
    videos, split_of = name_classes(read_video_lists(source), benchmark.split, dict(video_labels), str(source))
    wanted = pd.DataFrame({
        "label": [video.label for video in videos], "split": [video.split for video in videos],
        "name": [video.name for video in videos], "path": _match_listed(videos, clips),
    })  # fmt: skip
    difference = _difference(benchmark, wanted, split_of)
    listed, published = wanted["split"].value_counts(), published_videos(benchmark.name)
    how = f"the video list {source.name} ({_joined(listed)} train/val/test videos"
    how += f"; published: {_joined(published)})" if difference else ", as published)"
    note = f"{NOT_PUBLISHED}: its video list has {difference}" if difference else ""
    return Selection(wanted, {str(k): int(v) for k, v in wanted.groupby("label").size().items()}, split_of, how, note)


def _joined(counts: Mapping[str, int]) -> str:
    return "/".join(str(counts.get(split, 0)) for split in SPLITS)


def _difference(benchmark: Benchmark, wanted: pd.DataFrame, split_of: Mapping[str, str]) -> str:
    """The first number of videos or classes in which a list differs from the published one; empty if none does."""
    for what, own, published in (
        ("videos", wanted["split"].value_counts(), published_videos(benchmark.name)),
        ("classes", Counter(split_of.values()), Counter(benchmark.split.split_of.values())),
    ):
        if _joined(own) != _joined(published):
            return f"{_joined(own)} {what}"
    sizes = published_class_sizes(benchmark.name)
    for label, own in wanted["label"].value_counts().items():
        published = sizes.get(label, benchmark.per_class)  # 0 where only the list itself knows
        if published and own != published:
            return f"{own} videos of {label}, not {published}"
    return ""


def from_classes(
    benchmark: Benchmark, clips: Sequence[FoundClip], video_labels: Mapping[str, str], *, seed: int
) -> Selection:
    """All videos of the classes, or a drawn choice of as many as the published list has."""
    split_of = benchmark.split.split_of
    labels = keys_of(split_of)
    of_class: dict[str, dict[str, str]] = {label: {} for label in split_of}
    for clip in clips:
        if is_of_another(benchmark.name, clip.name):
            continue
        youtube = KINETICS_NAME.match(clip.name)
        told = video_labels.get(clip.name) or video_labels.get(youtube["id"] if youtube else "", "")
        label = labels.get(class_key(told)) or labels.get(class_key(clip.folder)) or label_in_name(clip.name, labels)
        if label:
            of_class[label].setdefault(clip.name, clip.path)  # a second copy of a video is not a second video
    rows = []
    for number, (label, paths) in enumerate(of_class.items()):
        names = sorted(paths)
        if benchmark.per_class and len(names) > benchmark.per_class:
            order = np.random.default_rng([seed, number]).permutation(len(names))
            names = sorted(names[index] for index in order[: benchmark.per_class])
        rows += [(label, split_of[label], name, paths[name]) for name in names] or [(label, split_of[label], "", "")]
    wanted = pd.DataFrame(rows, columns=["label", "split", "name", "path"])
    expected = published_class_sizes(benchmark.name)
    if not benchmark.per_class:
        return Selection(wanted, expected, split_of, "all videos of the published classes")
    how = f"up to {benchmark.per_class} of each class, drawn with seed {seed}"
    published = f"the published ones are in {where_to_get_lists(benchmark.name)}"
    return Selection(wanted, expected, split_of, f"{how}; {published}", f"{NOT_PUBLISHED}: {how}")


def cut_down(selection: Selection, counts: str | Sequence[int]) -> Selection:
    """The first classes of each split that have videos, for a trial on a part of the data."""
    numbers = dict(zip(SPLITS, parse_counts(counts), strict=True))
    there = set(selection.wanted.loc[selection.wanted["path"] != "", "label"])
    kept: dict[str, str] = {}
    for split, number in numbers.items():
        labels = [label for label, own in selection.split_of.items() if own == split and label in there]
        if len(labels) < number:
            raise BadParameter(
                f"class_counts asks for {number} {split} classes, but videos of {len(labels)} were found. Lower it."
            )
        kept |= dict.fromkeys(labels[:number], split)
    note = "; ".join(filter(None, [selection.note, f"cut down to {'/'.join(map(str, numbers.values()))} classes"]))
    if NOT_PUBLISHED not in note:
        note = f"{NOT_PUBLISHED}: {note}"
    wanted = selection.wanted[selection.wanted["label"].isin(kept)].reset_index(drop=True)
    return Selection(wanted, selection.expected, kept, selection.how, note)
