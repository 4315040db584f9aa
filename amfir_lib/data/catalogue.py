"""The data sets of the study by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amfir_lib.data.benchmarks import REAL_NAMES
from amfir_lib.data.folder import load_folder
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.real import load_benchmark
from amfir_lib.data.synthetic import SYNTHETIC_NAMES, make_dataset
from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name

FOLDER = "folder"
DATASET_NAMES = (*SYNTHETIC_NAMES, *REAL_NAMES, FOLDER)


def load_dataset(name: str, *, cache_dir: Path | str, data_root: Path | str | None = None, **options: Any) -> Dataset:
    """Load a data set by name; a synthetic one is rendered first if it is not in the cache.

    ``data_root`` is for a real benchmark and for "folder", the user's own clips.  The options are those of
    ``load_folder``, ``load_benchmark`` or ``make_dataset``; None or "" means not given.

    Raises:
        UnknownName: no such data set; the nearest name is suggested.
        BadParameter: "folder" or a real benchmark without ``data_root``, or a synthetic data set with it.
        UnknownParameter: an option that this kind of data set does not have.
    """
    if name not in DATASET_NAMES:
        raise unknown_name("data set", name, DATASET_NAMES)
    options = given_options(name, options)
    if name in SYNTHETIC_NAMES:
        if data_root:
            raise BadParameter(
                f'data set "{name}" is rendered and takes no data root ({data_root}); use --dataset folder.'
            )
        return make_dataset(name, cache_dir=cache_dir, **options)
    if not data_root:
        raise BadParameter(f'data set "{name}" needs the folder that holds the clips: give --data-root DIR.')
    if name == FOLDER:
        return load_folder(data_root, cache_dir=cache_dir, **options)
    return load_benchmark(name, data_root, cache_dir=cache_dir, **options)


def given_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``load_dataset`` that were given.

    Raises:
        UnknownParameter: an option that this kind of data set does not have.
    """
    loader = load_folder if name == FOLDER else load_benchmark if name in REAL_NAMES else make_dataset
    parameters = inspect.signature(loader).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "cache_dir"]
    given = {key: value for key, value in options.items() if value is not None and value != ""}
    for option in given:
        if option not in known:
            raise unknown_name(f'option of the data set "{name}"', option, known, error=UnknownParameter)
    return given
