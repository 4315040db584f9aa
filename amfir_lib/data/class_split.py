"""Which classes are for training, validation and test: from a YAML file, from a published list, or drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
FOLDER = resources.files("amfir_lib.data").joinpath("splits")  # package data


def joined(counts: Iterable[int]) -> str:
    """Numbers of train, val and test as they are written: "64/12/24"."""
    return "/".join(map(str, counts))


@dataclass(frozen=True)
class ClassSplit:
    """A split of classes: class name -> "train", "val" or "test"; where it comes from, for reports and messages; and
    what else its file says: ``appearance`` (name of the appearance stream), ``flip``, ``caption``."""

    split_of: dict[str, str]
    source: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of classes in train, val and test."""
        counts = Counter(self.split_of.values())
        return counts["train"], counts["val"], counts["test"]


def published_splits() -> tuple[str, ...]:
    """Names of the published class lists that come with the library."""
    return tuple(sorted(entry.name[:-5] for entry in FOLDER.iterdir() if entry.name.endswith(".yaml")))


def parse_class_split(text: str, source: str) -> ClassSplit:
    """Read a class split from YAML text: ``train``, ``val`` and ``test``, each a list of class names.

    Raises:
        ManifestError: not YAML, an unknown key, no list for a split, or a class that stands twice.
    """
    try:
        content = yaml.safe_load(text)
        as_typed = yaml.load(text, yaml.BaseLoader)  # classes may be called on, no or 007
    except yaml.YAMLError as error:
        raise ManifestError(f"{source} is not valid YAML: {' '.join(str(error).split())}. Correct the file.") from error
    if not isinstance(content, Mapping):
        raise ManifestError(f"{source} needs the keys train, val and test, each with a list of class names.")
    for key in content:
        if key not in (*SPLITS, *OTHER_KEYS):
            raise unknown_name(f"key of {source}", str(key), (*SPLITS, *OTHER_KEYS), error=ManifestError)
    split_of: dict[str, str] = {}
    for split in SPLITS:
        labels = as_typed.get(split)
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
        DataNotFound: neither a file nor a published list. ManifestError: see :func:`parse_class_split`.
    """
    published = str(path) in published_splits()
    file = FOLDER.joinpath(f"{path}.yaml") if published else Path(path)
    source = f"the published class list {path}" if published else str(path)
    if not file.is_file():
        known = ", ".join(published_splits())
        raise DataNotFound(f"There is no class split {path}. Give a YAML file, or one of {known}.")
    try:
        return parse_class_split(file.read_text(encoding="utf-8"), source)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not a text file in UTF-8. Correct the file.") from error


def check_classes(split: ClassSplit, labels: Iterable[str]) -> None:
    """Refuse, with a ManifestError, a split that does not cover exactly the classes that are there."""
    known = sorted(set(labels))
    for label in split.split_of:
        if label not in known:
            raise unknown_name(f"class among the clips, named in {split.source}", label, known, error=ManifestError)
    if lacking := [label for label in known if label not in split.split_of]:
        raise ManifestError(
            f'the class "{lacking[0]}" has clips but is in no split of {split.source}. Add it, or move its clips.'
        )


def check_validation_classes(name: str, n_classes: int) -> None:
    """Refuse, with a BadParameter, to select models of the data set ``name`` on episodes of one class."""
    if n_classes < 2:
        raise BadParameter(
            f"{name} has {n_classes} validation classes; episodes of one class select nothing. "
            "Give two or more to validation (--set class_counts=TRAIN/VAL/TEST, or split.yaml)."
        )


def check_ways(name: str, n_classes: int, *, n_way: int) -> None:
    """Refuse, with a BadParameter, test episodes of more classes than the data set ``name`` has for test."""
    if n_classes < n_way:
        lower = f"Lower it (--set n_way={n_classes}), or g" if n_classes > 1 else "G"
        raise BadParameter(
            f"{name} has {n_classes} test classes but n_way is {n_way}. {lower}ive more of the classes to the test "
            "(--set class_counts=TRAIN/VAL/TEST, or split.yaml)."
        )


def parse_counts(counts: str | Sequence[int]) -> tuple[int, int, int]:
    """Numbers of classes from "4/3/3" or (4, 3, 3); a BadParameter if these are not three positive whole numbers."""
    try:
        train, val, test = map(int, counts.split("/") if isinstance(counts, str) else counts)
        if min(train, val, test) < 1:
            raise ValueError
    except (TypeError, ValueError):
        raise BadParameter(
            f'class counts are "{counts}"; give train/val/test as three positive numbers, like 4/3/3.'
        ) from None
    return train, val, test


def _drawn(labels: Sequence[str], numbers: Sequence[int], source: str) -> ClassSplit:
    """The first labels for training, the next for validation, the others for test."""
    splits = np.repeat(SPLITS, numbers).tolist()
    return ClassSplit(dict(sorted(zip(labels, splits, strict=True))), source)


def draw_class_split(
    labels: Iterable[str], *, rng: np.random.Generator, counts: str | Sequence[int] | None = None
) -> ClassSplit:
    """Draw a class split: 60 % train, 20 % validation, 20 % test, or the given numbers of classes.

    Raises:
        BadParameter: the numbers do not add up to that of the classes. ManifestError: fewer than three classes.
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
                f"class counts {joined(numbers)} add up to {sum(numbers)}, but {len(known)} classes have "
                "clips. Give numbers that add up."
            )
    drawn = [known[index] for index in rng.permutation(len(known))]
    return _drawn(drawn, numbers, f"drawn, {joined(numbers)} classes")


def draw_class_fold(labels: Iterable[str], *, n_folds: int, fold: int, rng: np.random.Generator) -> ClassSplit:
    """One of k class folds: over all folds each class is in test exactly once.

    The validation classes (20 % of all) are the first ones of the following fold or folds.  ``rng`` has the same state
    for each fold of one partition.

    Raises:
        BadParameter: fewer than two folds, no such fold, or too few classes for it.
    """
    known = sorted(set(labels))
    if not (2 <= n_folds <= len(known) and 0 <= fold < n_folds):
        raise BadParameter(
            f"class fold {fold} of {n_folds} with {len(known)} classes: give 2 to {len(known)} folds, "
            "and a fold from 0 to the number of folds less 1."
        )
    folds = np.array_split(rng.permutation(len(known)), n_folds)
    test, *others = (*folds[fold:], *folds[:fold])
    rest = np.concatenate(others)
    n_val = max(1, round(SHARES[1] * len(known)))
    if len(rest) <= n_val:
        raise BadParameter(f"{n_folds} class folds of {len(known)} classes leave none to train on. Take more folds.")
    order = [known[index] for index in (*rest[n_val:], *rest[:n_val], *test)]
    return _drawn(order, (len(rest) - n_val, n_val, len(test)), f"class fold {fold} of {n_folds}")
