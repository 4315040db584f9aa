"""Kinetics-100, SSv2-Small, SSv2-Full, HMDB51 and UCF101 as data sets, from the layouts in which people have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.data.benchmarks import published_videos
from amfir_lib.data.class_split import joined
from amfir_lib.data.manifest import SPLITS, Dataset
from amfir_lib.data.names import group_of, nearest_names
from amfir_lib.data.preparation import LEFT_OUT, MIN_CLIPS, REMARKS, REPORT_FILE, prepare_clips, some_of
from amfir_lib.data.selection import Selection, choose_videos
from amfir_lib.data.tree import describe_layout
from amfir_lib.errors import DataNotFound, TooFewVideos
from amfir_lib.storage import atomic_write, write_json

COUNTS = ["expected", "found", "missing", "unreadable", "too_short", "used"]


def load_benchmark(
    name: str, data_root: Path | str, *, cache_dir: Path | str, video_list: Path | str | None = None,
    class_counts: str | Sequence[int] | None = None, min_found: float = 0.9, n_segments: int = 8, seed: int = 0,
    n_jobs: int = 1,
) -> Dataset:  # fmt: skip
    """Load a real benchmark from the videos under a folder, decoding each once to see what is in it.

    What was recognised is printed: the layout, how the videos were chosen, and what was found of each split.  Every
    missing, unreadable and short video is listed in ``preparation_report.json`` in the cache, beside the manifest.

    Args:
        name: ``kinetics100``, ``ssv2_small``, ``ssv2_full``, ``hmdb51`` or ``ucf101``.
        data_root: folder with the videos: class folders of videos or of folders of frames, or flat files whose names
            (UCF101, HMDB51), label files (Something-Something, Kinetics) or video list say what they show.
        video_list: the published video list, a file or a folder of three; None looks for it in the data root.
        class_counts: "6/2/3" uses only the first so many train/val/test classes that have videos, for a trial.
        min_found: smallest accepted share of usable videos of each class, 0 to 1.
        n_segments: videos with fewer frames are skipped (never fewer than 2: flow needs a pair).
        seed: of the choice of videos where there is no list.
    Raises:
        DataNotFound: no clips of it; a class without any; or a benchmark that cannot do without its video list.
        ManifestError: a video list of another benchmark.
        TooFewVideos: a class has a smaller share of its videos than ``min_found``, or a split is left without classes.
        BadParameter: ``min_found`` or ``class_counts`` out of range.
    """
    selection = choose_videos(
        name, data_root, video_list=video_list, class_counts=class_counts, min_found=min_found, seed=seed
    )
    benchmark, present, min_frames = selection.benchmark, selection.present, max(n_segments, 2)
    prepared = prepare_clips(
        selection.root, present["path"], name=name, cache_dir=cache_dir, min_frames=min_frames, n_jobs=n_jobs
    )
    classes = class_table(selection, list(prepared.unreadable), prepared.too_short)
    splits = _split_table(classes, published_videos(name))
    left_out = list(classes.loc[classes["used"] < MIN_CLIPS, "label"])
    chosen = [clip for clip in selection.scan.clips if clip.path in set(present["path"])]
    labels = f"labels from {', '.join(selection.label_files)}" if selection.label_files else ""
    layout = [describe_layout(chosen, selection.split_of), labels, selection.scan.flow_sentence]
    named = selection.wanted.query("path == '' and name != ''")
    report: dict[str, Any] = {
        "name": name, "title": benchmark.title, "root": str(selection.root), "selection": selection.how,
        "note": selection.note, "groups": benchmark.groups, "min_frames": min_frames, "left_out": left_out,
        "layout": "; ".join(filter(None, layout)), "splits": splits.to_dict("records"),
        "missing": list(named["label"] + "/" + named["name"])  # without a list only how many of a class
        or [f"{row.label}: {row.missing} videos" for row in classes[classes["missing"] > 0].itertuples()],
    } | prepared.skipped()  # fmt: skip
    write_json(prepared.folder / REPORT_FILE, report)
    with atomic_write(prepared.folder / "preparation_report.csv") as temporary:
        classes.to_csv(temporary, index=False, lineterminator="\n")
    print(f"{benchmark.title} in {selection.root}: {report['layout']}.\nVideos: {selection.how}.")
    print(f"{splits.to_string(index=False, float_format='{:.0%}'.format)}\nEvery one that lacks: {report['file']}")
    if left_out:
        print(f"{LEFT_OUT}classes with fewer than 2 usable videos ({len(left_out)}): {some_of(left_out)}.")
    lacking = {kind: int(classes[kind].sum()) for kind in ("missing", "unreadable", "too_short")}
    if any(lacking.values()):
        counts = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in lacking.items() if count)
        print(f"{LEFT_OUT}of {classes['expected'].sum()} videos {counts}. See {report['file']}.")
    for kind, words in REMARKS.items():
        if report[kind]:
            print(f"{words} ({len(report[kind])}): {some_of(report[kind])}. See {report['file']}.")
    check_shares(classes, min_found=min_found, report=report, folders={clip.folder for clip in selection.scan.clips})
    usable = prepared.usable(present)
    usable = usable[~usable["label"].isin(left_out)]
    for split in SPLITS:
        if not (usable["split"] == split).any():
            raise TooFewVideos(f"No {split} class of {benchmark.title} has 2 usable videos. See {report['file']}.")
    copied = usable["path"].map(lambda path: prepared.probes[path]["file_digest"]).duplicated()
    if copied.any():
        named = some_of(usable.loc[copied, "path"].tolist())
        print(f"Clips that are copies of others ({copied.sum()}), which stay because the benchmark has them: {named}.")
    groups = [group_of(name, label, clip) for label, clip in zip(usable["label"], usable["name"], strict=True)]
    caption = f"{benchmark.title}, {len(usable):,} of {sum(published_videos(name).values()):,} videos"
    return Dataset(
        name=name, root=selection.root, manifest=prepared.manifest(usable.assign(group=groups), selection.split_of),
        flip=benchmark.flip, caption="; ".join(filter(None, [caption, selection.note])),
    )  # fmt: skip


def class_table(selection: Selection, unreadable: Sequence[str], too_short: Sequence[str]) -> pd.DataFrame:
    """One row a class: ``split, label, expected, found, missing, unreadable, too_short, used``; the latter as paths."""
    paths = selection.wanted["path"]
    marks = {"found": paths != "", "unreadable": paths.isin(unreadable), "too_short": paths.isin(too_short)}
    by_class = selection.wanted.assign(**marks).groupby(["split", "label"], sort=False)
    table = by_class[[*marks]].sum().reset_index()
    table["expected"] = table["label"].map(selection.expected)
    table["missing"] = (table["expected"] - table["found"]).clip(lower=0)
    table["used"] = table["found"] - table["unreadable"] - table["too_short"]
    table = table.sort_values("split", key=lambda split: split.map(SPLITS.index), kind="stable", ignore_index=True)
    return table[["split", "label", *COUNTS]]


def _split_table(classes: pd.DataFrame, published: Mapping[str, int]) -> pd.DataFrame:
    """One row a split: sums over its classes, the published number of videos, and the lowest share of a class."""
    by_split = classes.assign(lowest_share=_shares(classes)).groupby("split")
    table = by_split.agg(
        classes=("label", "size"), **{c: (c, "sum") for c in COUNTS}, lowest_share=("lowest_share", "min")
    )
    table = table.reindex(SPLITS, fill_value=0).reset_index()
    table.insert(2, "published", table["split"].map(published))
    return table


def _shares(classes: pd.DataFrame) -> pd.Series:
    """Share of its videos that is used of each class."""
    return classes["used"] / classes["expected"].clip(lower=1)


def check_shares(classes: pd.DataFrame, *, min_found: float, report: Mapping[str, Any], folders: set[str]) -> None:
    """Refuse to go on where too much of a class is lacking; ``folders`` may hold classes that were not found at all.

    Raises:
        DataNotFound: classes without any video; names the folders that look most like them, and the option that leaves
            them out and goes on to look at the shares of the others.
        TooFewVideos: classes below ``min_found``; names the option that accepts them.
    """
    shares = _shares(classes)
    low = classes[shares < min_found]
    absent = {label: nearest_names(label, folders) for label in low.loc[low["found"] == 0, "label"]}
    if absent:
        phrases = [  # those with a similar folder first: most likely it has to be renamed
            f'"{label}" (nearest folders: {", ".join(absent[label]) or "none is similar"})'
            for label in sorted(absent, key=lambda label: not absent[label])
        ]
        there = classes.loc[classes["found"] > 0, "split"].value_counts()
        counts = joined(there.get(split, 0) for split in SPLITS)
        without = f", or go on without these classes: add --set class_counts={counts} to the same command"
        raise DataNotFound(
            f"{len(absent)} of {len(classes)} classes of {report['title']} have no video under {report['root']}: "
            f"{some_of(phrases)}. Rename the folders or add the videos{without if len(there) == len(SPLITS) else ''}."
        )
    if len(low):
        first = classes.loc[shares.idxmin()]
        raise TooFewVideos(
            f"{len(low)} of {len(classes)} classes of {report['title']} have under {min_found:.0%} of their videos, "
            f'the least "{first["label"]}" with {first["used"]} of {first["expected"]}. Get the others, listed in '
            f"{report['file']}, or accept what is there: add --min-found {int(100 * shares.min()) / 100:g} to the same "
            "command."
        )
