"""The data sets of the study by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amfir_lib.data.folder import load_folder
from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name

FOLDER = "folder"
SYNTHETIC_OPTIONS = ("clips_per_class", "class_counts", "degradation", "splits", "seed", "n_jobs")
FOLDER_OPTIONS = (
    "group_pattern", "split", "class_counts", "class_folds", "class_fold", "appearance", "flip", "n_segments", "seed",
    "n_jobs", "max_skipped_share",
)  # fmt: skip


def dataset_names() -> tuple[str, ...]:
    """Every name that :func:`load_dataset` accepts."""
    from amfir_lib.data.synthetic import SYNTHETIC_NAMES  # here, because rendering is not needed for a folder

    return (*SYNTHETIC_NAMES, FOLDER)


def load_dataset(name: str, *, cache_dir: Path | str, data_root: Path | str | None = None, **options: Any) -> Dataset:
    """Load a data set by name; a synthetic one is rendered first if it is not in the cache.

    Args:
        name: "synth-ssv2" and its like, or "folder" for the clips under ``data_root``.
        cache_dir: the cache folder.
        data_root: the folder of clips; for "folder" only.
        options: for "folder" see :func:`amfir_lib.data.folder.load_folder`; for a synthetic one
            ``clips_per_class, class_counts, degradation, splits, seed, n_jobs``.  None or "" means not given.
    Returns:
        The data set.
    Raises:
        UnknownName: no such data set; the nearest name is suggested.
        BadParameter: "folder" without ``data_root``, or a synthetic data set with it.
        UnknownParameter: an option that this kind of data set does not have.
    """
    if name not in dataset_names():
        raise unknown_name("data set", name, dataset_names())
    options = {key: value for key, value in options.items() if value is not None and value != ""}
    known = FOLDER_OPTIONS if name == FOLDER else SYNTHETIC_OPTIONS
    for option in options:
        if option not in known:
            raise unknown_name(f'option of the data set "{name}"', option, known, error=UnknownParameter)
    if name == FOLDER:
        if not data_root:
            raise BadParameter('data set "folder" needs the folder that holds the clips: give --data-root DIR.')
        return load_folder(data_root, cache_dir=cache_dir, **options)
    if data_root:
        raise BadParameter(f'data set "{name}" is rendered and takes no data root ({data_root}); use --dataset folder.')
    from amfir_lib.data.synthetic import make_dataset

    return make_dataset(name, cache_dir=cache_dir, **options)
