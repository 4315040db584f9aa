"""Which classes are for training, validation and test: from a YAML file, from a published list, or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from amfir_lib.data.manifest import SPLITS
from amfir_lib.errors import BadParameter, DataNotFound, ManifestError, unknown_name

SHARES = (0.6, 0.2, 0.2)
OTHER_KEYS = ("name", "appearance", "flip", "caption")


@dataclass(frozen=True)
class ClassSplit:
    """A split of classes.

    Args:
        split_of: class name -> "train", "val" or "test".
        source: where it comes from, for reports and messages.
        settings: what else the file says: ``appearance`` (name of the appearance stream), ``flip``, ``caption``.
    """

    split_of: dict[str, str]
    source: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of classes in train, val and test."""
        train, val, test = (sum(1 for split in self.split_of.values() if split == name) for name in SPLITS)
        return train, val, test


def published_splits() -> tuple[str, ...]:
    """Names of the published class lists that come with the library."""
    folder = resources.files("amfir_lib.data").joinpath("splits")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def parse_class_split(text: str, source: str) -> ClassSplit:
    """Read a class split from YAML text: ``train``, ``val`` and ``test``, each a list of class names.

    Raises:
        ManifestError: not YAML, an unknown key (nearest suggested), no or an empty list for a split, or a class that
            stands in two splits or twice in one.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ManifestError(f"{source} is not valid YAML: {' '.join(str(error).split())}. Correct the file.") from error
    if not isinstance(content, Mapping):
        raise ManifestError(f"{source} needs the keys train, val and test, each with a list of class names.")
    for key in content:
        if key not in (*SPLITS, *OTHER_KEYS):
            raise unknown_name(f"key of {source}", str(key), (*SPLITS, *OTHER_KEYS), error=ManifestError)
    split_of: dict[str, str] = {}
    for split in SPLITS:
        labels = content.get(split)
        if not isinstance(labels, list) or not labels:
            raise ManifestError(f'{source} has no list of class names under "{split}". Add one with a class or more.')
        for label in map(str, labels):
            if label in split_of:
                where = f"twice in {split}" if split_of[label] == split else f"in {split_of[label]} and in {split}"
                raise ManifestError(f'{source} has the class "{label}" {where}. Keep it in one split only.')
            split_of[label] = split
    return ClassSplit(split_of, source, {key: content[key] for key in OTHER_KEYS if key in content})


def read_class_split(path: Path | str) -> ClassSplit:
    """Read a class split from a YAML file, or by the name of a published list ("ucf101_ARN").

    Raises:
        DataNotFound: neither a file nor a published list.
        ManifestError: see :func:`parse_class_split`.
    """
    if str(path) in published_splits():
        text = resources.files("amfir_lib.data").joinpath("splits", f"{path}.yaml").read_text(encoding="utf-8")
        return parse_class_split(text, f"the published class list {path}")
    path = Path(path)
    if not path.is_file():
        known = ", ".join(published_splits())
        raise DataNotFound(f"There is no class split {path}. Give a YAML file, or one of {known}.")
    try:
        return parse_class_split(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not a text file in UTF-8. Correct the file.") from error


def check_classes(split: ClassSplit, labels: Sequence[str]) -> None:
    """Refuse a split that does not cover exactly the classes that are there.

    Raises:
        ManifestError: a class of the split has no clips (nearest class suggested), or a class is in no split.
    """
    known = sorted(set(labels))
    for label in split.split_of:
        if label not in known:
            raise unknown_name(f"class among the clips, named in {split.source}", label, known, error=ManifestError)
    for label in known:
        if label not in split.split_of:
            raise ManifestError(
                f'the class "{label}" has clips but is in no split of {split.source}. '
                "Add it to train, val or test, or move its clips elsewhere."
            )


def check_validation_classes(name: str, n_classes: int) -> None:
    """Refuse to select models on episodes of one class.

    Args:
        name: of the data set.
        n_classes: for validation.
    Raises:
        BadParameter: fewer than two.
    """
    if n_classes < 2:
        raise BadParameter(
            f"{name} has {n_classes} validation classes; episodes of one class select nothing. "
            "Give two or more to validation (--set class_counts=TRAIN/VAL/TEST, or split.yaml)."
        )


def check_ways(name: str, n_classes: int, *, n_way: int) -> None:
    """Refuse test episodes of more classes than there are.

    Args:
        name: of the data set.
        n_classes: for test.
        n_way: classes per episode.
    Raises:
        BadParameter: more ways than test classes.
    """
    if n_classes < n_way:
        lower = f"Lower it (--set n_way={n_classes}), or g" if n_classes > 1 else "G"
        raise BadParameter(
            f"{name} has {n_classes} test classes but n_way is {n_way}. {lower}ive more of the classes to the test "
            "(--set class_counts=TRAIN/VAL/TEST, or split.yaml)."
        )


def parse_counts(counts: str | Sequence[int]) -> tuple[int, int, int]:
    """Numbers of classes from "4/3/3" or (4, 3, 3).

    Raises:
        BadParameter: not three positive whole numbers.
    """
    parts = counts.split("/") if isinstance(counts, str) else counts
    try:
        numbers = [int(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or min(numbers) < 1:
        raise BadParameter(f'class counts are "{counts}"; give train/val/test as three positive numbers, like 4/3/3.')
    return numbers[0], numbers[1], numbers[2]


def draw_class_split(
    labels: Sequence[str], *, rng: np.random.Generator, counts: str | Sequence[int] | None = None
) -> ClassSplit:
    """Draw a class split: 60 % train, 20 % validation, 20 % test, or the given numbers of classes.

    Raises:
        BadParameter: the numbers do not add up to the number of classes.
        ManifestError: fewer than three classes.
    """
    known = sorted(set(labels))
    if len(known) < len(SPLITS):
        raise ManifestError(f"{len(known)} classes cannot be split into train, val and test. Add classes: 3 or more.")
    if counts is None:
        n_val, n_test = (max(1, round(share * len(known))) for share in SHARES[1:])
        numbers = (len(known) - n_val - n_test, n_val, n_test)
    else:
        numbers = parse_counts(counts)
        if sum(numbers) != len(known):
            raise BadParameter(
                f"class counts {'/'.join(map(str, numbers))} add up to {sum(numbers)}, but {len(known)} classes have "
                "clips. Give numbers that add up."
            )
    order = rng.permutation(len(known))
    names = np.repeat(SPLITS, numbers)
    split_of = {known[index]: str(name) for index, name in zip(order, names, strict=True)}
    return ClassSplit(dict(sorted(split_of.items())), f"drawn, {'/'.join(map(str, numbers))} classes")


def draw_class_fold(labels: Sequence[str], *, n_folds: int, fold: int, rng: np.random.Generator) -> ClassSplit:
    """One of k class folds: over all folds each class is in test exactly once.

    The validation classes (20 % of all) are the first ones of the following fold or folds.

    Args:
        labels: class names.
        n_folds: k, at least 2.
        fold: 0 .. k - 1.
        rng: the same state for each fold of one partition.
    Raises:
        BadParameter: no such fold, or too few classes for it.
    """
    known = sorted(set(labels))
    if not (2 <= n_folds <= len(known) and 0 <= fold < n_folds):
        raise BadParameter(
            f"class fold {fold} of {n_folds} with {len(known)} classes: give 2 to {len(known)} folds, "
            "and a fold from 0 to the number of folds less 1."
        )
    parts = np.array_split(rng.permutation(len(known)), n_folds)
    test = [known[index] for index in parts[fold]]
    rest = [known[index] for step in range(1, n_folds) for index in parts[(fold + step) % n_folds]]
    n_val = max(1, round(SHARES[1] * len(known)))
    if len(rest) <= n_val:
        raise BadParameter(f"{n_folds} class folds of {len(known)} classes leave none to train on. Take more folds.")
    split_of = dict.fromkeys(test, "test") | dict.fromkeys(rest[:n_val], "val") | dict.fromkeys(rest[n_val:], "train")
    return ClassSplit(dict(sorted(split_of.items())), f"class fold {fold} of {n_folds}")
