"""What the names of files tell about real clips, before any of them is decoded: mistakes come out in a second."""

from __future__ import annotations

from amfir_lib.data.catalogue import FOLDER, given_options
from amfir_lib.data.class_split import check_validation_classes, check_ways
from amfir_lib.data.folder import choose_split, read_names
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.selection import choose_videos
from amfir_lib.study.config import Config
from amfir_lib.study.study import class_folds_of, dataset_options


def look(config: Config, *, draws_episodes: bool) -> str:
    """Look at the clips under ``config.data_root`` from outside.

    Args:
        config: of a notebook that reads real clips.
        draws_episodes: whether the notebook draws episodes of them; then too few classes are refused as well.
    Returns:
        A sentence on what is there.
    Raises:
        DataNotFound, ManifestError, BadParameter: what ``load_dataset`` would say later.
    """
    (name,) = config.datasets
    options = dataset_options(config, name)
    place = {"data_root": options.pop("data_root")}
    options = place | given_options(name, options)
    options.pop("appearance", None)
    shown = config.data_root.name if name == FOLDER else name
    told, splits = _folder(config, options) if name == FOLDER else _benchmark(name, options)
    if draws_episodes:
        for split_of in splits:
            _, n_val, n_test = _counts(split_of)
            check_validation_classes(shown, n_val)
            check_ways(shown, n_test, n_way=config.size("n_way"))
    return f"{shown}, by the names of its files: {told}."


def _folder(config: Config, options: dict) -> tuple[str, list[dict[str, str]]]:
    fold, *others = class_folds_of(config)
    found = read_names(**options | fold)  # the tree is searched once, whatever the number of folds
    clips, first = found.clips, found.split
    drawn = {"class_counts": options.get("class_counts")}
    splits = [first, *(choose_split(config.data_root, clips["label"], **drawn | other) for other in others)]
    split = f"{'/'.join(map(str, first.counts))} train/val/test; {first.source}"
    split = split if not others else f"in {len(splits)} class folds, each class tested once"
    told = f"{len(clips):,} clips of {len(first.split_of)} classes ({split}), {clips['group'].nunique():,} groups"
    return f"{told} ({found.groups})", [one.split_of for one in splits]


def _benchmark(name: str, options: dict) -> tuple[str, list[dict[str, str]]]:
    chosen = choose_videos(name, **options)
    n_found = int((chosen.wanted["path"] != "").sum())
    n_expected = sum(chosen.expected.get(label, 0) for label in chosen.split_of)
    counts = "/".join(map(str, _counts(chosen.split_of)))
    told = f"{n_found:,} of {n_expected:,} videos of {len(chosen.split_of)} classes ({counts} train/val/test)"
    return f"{told}; {chosen.how}", [chosen.split_of]


def _counts(split_of: dict[str, str]) -> list[int]:
    """Number of classes of each split."""
    return [list(split_of.values()).count(split) for split in SPLITS]
