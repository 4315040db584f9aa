"""The data sets of the study by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amfir_lib.data.benchmarks import REAL_NAMES
from amfir_lib.data.folder import load_folder
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.real import load_benchmark
from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name

FOLDER = "folder"
SYNTHETIC_OPTIONS = ("clips_per_class", "class_counts", "degradation", "splits", "seed", "n_jobs")
FOLDER_OPTIONS = (
    "group_pattern", "split", "class_counts", "class_folds", "class_fold", "appearance", "flip", "n_segments", "seed",
    "n_jobs", "max_skipped_share",
)  # fmt: skip
REAL_OPTIONS = ("video_list", "class_counts", "min_found", "n_segments", "seed", "n_jobs")


def dataset_names() -> tuple[str, ...]:
    """Every name that :func:`load_dataset` accepts."""
    from amfir_lib.data.synthetic import SYNTHETIC_NAMES  # here, because rendering is not needed for a folder

    return (*SYNTHETIC_NAMES, *REAL_NAMES, FOLDER)


def load_dataset(name: str, *, cache_dir: Path | str, data_root: Path | str | None = None, **options: Any) -> Dataset:
    """Load a data set by name; a synthetic one is rendered first if it is not in the cache.

    Args:
        name: "synth-ssv2" and its like; "ucf101" and its like for a real benchmark; "folder" for the user's own clips.
        cache_dir: the cache folder.
        data_root: the folder of clips; for a real benchmark and for "folder".
        options: for "folder" see :func:`amfir_lib.data.folder.load_folder`, for a real benchmark
            :func:`amfir_lib.data.real.load_benchmark`; for a synthetic one ``clips_per_class, class_counts,
            degradation, splits, seed, n_jobs``.  None or "" means not given.
    Returns:
        The data set.
    Raises:
        UnknownName: no such data set; the nearest name is suggested.
        BadParameter: "folder" or a real benchmark without ``data_root``, or a synthetic data set with it.
        UnknownParameter: an option that this kind of data set does not have.
    """
    if name not in dataset_names():
        raise unknown_name("data set", name, dataset_names())
    options = given_options(name, options)
    if name == FOLDER or name in REAL_NAMES:
        if not data_root:
            raise BadParameter(f'data set "{name}" needs the folder that holds the clips: give --data-root DIR.')
        if name == FOLDER:
            return load_folder(data_root, cache_dir=cache_dir, **options)
        return load_benchmark(name, data_root, cache_dir=cache_dir, **options)
    if data_root:
        raise BadParameter(f'data set "{name}" is rendered and takes no data root ({data_root}); use --dataset folder.')
    from amfir_lib.data.synthetic import make_dataset

    return make_dataset(name, cache_dir=cache_dir, **options)


def given_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``load_dataset`` that were given.

    Raises:
        UnknownParameter: an option that this kind of data set does not have.
    """
    given = {key: value for key, value in options.items() if value is not None and value != ""}
    known = FOLDER_OPTIONS if name == FOLDER else REAL_OPTIONS if name in REAL_NAMES else SYNTHETIC_OPTIONS
    for option in given:
        if option not in known:
            raise unknown_name(f'option of the data set "{name}"', option, known, error=UnknownParameter)
    return given
