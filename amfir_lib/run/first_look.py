"""What the names of files tell about real clips, before any of them is decoded: mistakes come out in a second."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd

from amfir_lib.data.catalogue import FOLDER, given_options
from amfir_lib.data.class_split import check_validation_classes, check_ways, draw_class_split
from amfir_lib.data.folder import choose_split, read_names
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.selection import choose_videos
from amfir_lib.errors import BadParameter, TooFewVideos
from amfir_lib.study.config import Config
from amfir_lib.study.episodes import sample_episodes
from amfir_lib.study.study import class_folds_of, dataset_options

TRIALS = 20  # episodes


def look(config: Config, *, draws_episodes: bool) -> str:
    """Look at the clips under ``config.data_root`` from outside.

    Args:
        config: of a notebook that reads real clips.
        draws_episodes: whether the notebook draws episodes of them; then too few classes or clips are refused, with
            numbers that work.
    Returns:
        A sentence on what is there.
    Raises:
        DataNotFound, ManifestError, BadParameter, TooFewVideos: what would be said later.
    """
    (name,) = config.datasets
    options = dataset_options(config, name)
    place = {"data_root": options.pop("data_root")}
    options = place | given_options(name, options)
    options.pop("appearance", None)
    shown = config.data_root.name if name == FOLDER else name
    sentence, splits, clips = _folder(config, options) if name == FOLDER else _benchmark(name, options)
    for split_of in splits if draws_episodes else ():
        try:
            _check_episodes(config, shown, split_of, clips)
        except (BadParameter, TooFewVideos) as error:
            raise type(error)(f"{error}{_what_works(config, clips)}") from None
    return f"{shown}, by the names of its files: {sentence}."


def _check_episodes(config: Config, name: str, split_of: Mapping[str, str], clips: pd.DataFrame | None) -> None:
    """Refuse a split with too few classes and, by a few trial episodes of the clips of a folder, too few clips."""
    _, n_val, n_test = _counts(split_of)
    check_validation_classes(name, n_val)
    check_ways(name, n_test, n_way=config.size("n_way"))
    if clips is None:
        return
    (labels, class_names), (groups, _) = (pd.factorize(clips[column]) for column in ("label", "group"))
    for split in SPLITS:
        rows = np.flatnonzero(clips["label"].map(split_of) == split)
        n_way = min(config.size("n_way"), n_val) if split == "val" else config.size("n_way")
        for n_shot in config.size("test_shots" if split == "test" else "train_shots"):
            sizes = {"n_way": n_way, "n_shot": n_shot, "n_query": config.size("n_query"), "n_episodes": TRIALS}
            sample_episodes(labels, groups, rows, **sizes, rng=np.random.default_rng(0), class_names=class_names)


def _what_works(config: Config, clips: pd.DataFrame | None) -> str:
    """A sentence with numbers that these clips allow: as many ways, with an interval if there can be one, and queries
    as possible."""
    if clips is None:
        return ""
    labels = sorted(set(clips["label"]))
    for n_further, n_way in product((2, 0), range(config.profile.n_way, 1, -1)):  # an interval wants n_way + 2 classes
        counts = (len(labels) - 2 - n_way - n_further, 2, n_way + n_further)
        for n_query in range(config.profile.n_query, 0, -1) if counts[0] >= n_way else ():
            drawn = draw_class_split(labels, rng=np.random.default_rng(0), counts=counts).split_of
            numbers = {"class_counts": "/".join(map(str, counts)), "n_way": n_way, "n_query": n_query}
            try:
                _check_episodes(config.having(**numbers), "", drawn, clips)
            except TooFewVideos:
                continue
            return f" These clips allow {' '.join(f'--set {name}={value}' for name, value in numbers.items())}."
    n_clips = max(config.profile.test_shots) + 1
    return (
        f" No numbers make episodes of these clips: it takes six classes, two for each split, and {n_clips} clips or "
        "more of each, from several groups."
    )


def _folder(config: Config, options: dict) -> tuple[str, list[dict[str, str]], pd.DataFrame]:
    fold, *others = class_folds_of(config)
    found = read_names(**options | fold)  # the tree is searched once, whatever the number of folds
    clips, first = found.clips, found.split
    drawn = {"class_counts": options.get("class_counts")}
    splits = [first, *(choose_split(config.data_root, clips["label"], **drawn | other) for other in others)]
    split = f"{'/'.join(map(str, first.counts))} train/val/test; {first.source}"
    split = split if not others else f"in {len(splits)} class folds, each class tested once"
    told = f"{len(clips):,} clips of {len(first.split_of)} classes ({split}), {clips['group'].nunique():,} groups"
    return f"{told} ({found.groups})", [one.split_of for one in splits], clips


def _benchmark(name: str, options: dict) -> tuple[str, list[dict[str, str]], None]:
    chosen = choose_videos(name, **options)
    n_found = int((chosen.wanted["path"] != "").sum())
    n_expected = sum(chosen.expected.get(label, 0) for label in chosen.split_of)
    counts = "/".join(map(str, _counts(chosen.split_of)))
    told = f"{n_found:,} of {n_expected:,} videos of {len(chosen.split_of)} classes ({counts} train/val/test)"
    return f"{told}; {chosen.how}", [chosen.split_of], None


def _counts(split_of: Mapping[str, str]) -> list[int]:
    """Number of classes of each split."""
    return [list(split_of.values()).count(split) for split in SPLITS]
