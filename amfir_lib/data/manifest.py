"""The clip manifest: one row per clip, and the data set that it describes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from amfir_lib.errors import DataNotFound, ManifestError, unknown_name
from amfir_lib.storage import atomic_write

SPLITS = ("train", "val", "test")
UNUSED = "unused"  # the split of clips that nobody reads, such as base clips that a study leaves out
TEXT_COLUMNS = ("clip_id", "path", "label", "split", "group")
NUMBER_COLUMNS = ("n_frames", "fps", "height", "width")
COLUMNS = TEXT_COLUMNS + NUMBER_COLUMNS
# synthetic clips: what was degraded and how much; own clips: the digest of the file, so that an exchanged file shows
OPTIONAL_TEXT_COLUMNS = ("degraded", "kind", "file_digest", "readings")
INTEGER_COLUMNS = ("n_frames", "height", "width")
DECIMALS = 6


def _in_order(manifest: pd.DataFrame) -> pd.DataFrame:
    """Columns in the fixed order (others after them, by name), types settled, rows sorted by clip id."""
    others = sorted(set(manifest.columns) - set(COLUMNS))
    ordered = manifest[[*COLUMNS, *others]].sort_values("clip_id", kind="stable").reset_index(drop=True)
    types = dict.fromkeys(TEXT_COLUMNS + OPTIONAL_TEXT_COLUMNS, str) | dict.fromkeys(INTEGER_COLUMNS, np.int64)
    types = {column: kind for column, kind in (types | {"fps": np.float64}).items() if column in ordered}
    return ordered.astype(types).round(DECIMALS)


def _as_csv(manifest: pd.DataFrame) -> bytes:
    """The bytes of the manifest file; equal for equal content."""
    return _in_order(manifest).to_csv(index=False, lineterminator="\n").encode()


def check_manifest(manifest: pd.DataFrame, source: str) -> None:
    """Refuse a manifest that contradicts itself; ``source`` says where it comes from.

    Raises:
        ManifestError: no rows, a missing column, an empty text, a repeated clip or path, rows not sorted by clip id,
            an unknown split, a class in two splits, or a clip without frames; names the first case of it.
    """
    missing = [column for column in COLUMNS if column not in manifest.columns]
    if missing:
        raise ManifestError(f"{source} lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    if manifest.empty:
        raise ManifestError(f"{source} lists no clip. Prepare the data set again.")
    for column in TEXT_COLUMNS:
        empty = np.flatnonzero(manifest[column].isna() | (manifest[column].astype(str).str.strip() == ""))
        if len(empty):
            raise ManifestError(f'{source}, row {empty[0] + 1}: "{column}" is empty. Fill it in, or drop the row.')
    for column in ("clip_id", "path"):
        repeated = manifest[column][manifest[column].duplicated()]
        if len(repeated):
            raise ManifestError(f'{source} lists the {column} "{repeated.iloc[0]}" twice. Keep one of the rows.')
    if not manifest["clip_id"].is_monotonic_increasing:
        raise ManifestError(f"{source} is not sorted by clip_id. Sort its rows, or write it with write_manifest.")
    for split in manifest["split"].unique():
        if split not in (*SPLITS, UNUSED):
            raise unknown_name(f"split in {source}", split, SPLITS, error=ManifestError)
    split_of = manifest[manifest["split"] != UNUSED].groupby("label")["split"].unique()
    for label, splits in split_of.items():
        if len(splits) > 1:
            raise ManifestError(
                f'{source} has the class "{label}" in two splits ({", ".join(sorted(splits))}). '
                "Few-shot classes must be new: put all its clips into one split."
            )
    empty = manifest["clip_id"][~(manifest[list(INTEGER_COLUMNS)] >= 1).all(axis=1)]
    if len(empty):
        raise ManifestError(
            f'{source}: the clip "{empty.iloc[0]}" has no frames or no size. Drop it from the manifest.'
        )


def read_manifest(path: Path | str) -> pd.DataFrame:
    """Read and check a manifest (CSV).

    Returns:
        A frame with text, integer and float columns, sorted by ``clip_id``; class names such as "NA" stay text.
    Raises:
        DataNotFound: there is no such file.
        ManifestError: it is not a CSV file, or fails :func:`check_manifest`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFound(f"There is no manifest {path}. Prepare the data set first.")
    types = dict.fromkeys(TEXT_COLUMNS + OPTIONAL_TEXT_COLUMNS, str)
    try:
        manifest = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={c: [""] for c in NUMBER_COLUMNS})
    except (ValueError, UnicodeDecodeError) as error:  # pandas' ParserError is a ValueError
        raise ManifestError(f"{path} is not a manifest: {error}. Prepare the data set again.") from error
    check_manifest(manifest, str(path))
    return _in_order(manifest)


def write_manifest(path: Path | str, manifest: pd.DataFrame) -> None:
    """Check a manifest and write it as CSV, sorted by clip id; equal content gives equal bytes."""
    check_manifest(manifest.sort_values("clip_id") if "clip_id" in manifest else manifest, f"the manifest for {path}")
    with atomic_write(path) as temporary:
        temporary.write_bytes(_as_csv(manifest))


def manifest_digest(manifest: pd.DataFrame) -> str:
    """Digest of a manifest's content, independent of the order of rows and columns; 16 hexadecimal digits."""
    return hashlib.sha256(_as_csv(manifest)).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled clips on disk, split by class.

    Attributes:
        name: of the data set, and of its folder of results.
        root: the folder that the manifest's paths start from.
        manifest: one row per clip, sorted by ``clip_id``; row numbers are what episodes are made of.
        modalities: the appearance stream ("rgb", "depth", ...) and "flow".
        flip: whether a horizontal mirror image keeps its class.
        synthetic: whether the clips are rendered; tables say so.
        caption: one sentence about the data set for tables.
    """

    name: str
    root: Path
    manifest: pd.DataFrame = field(repr=False)
    modalities: tuple[str, ...] = ("rgb", "flow")
    flip: bool = False
    synthetic: bool = False
    caption: str = ""

    def __post_init__(self) -> None:
        check_manifest(self.manifest, f'the manifest of "{self.name}"')

    def __len__(self) -> int:
        return len(self.manifest)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers in the manifest of the clips of "train", "val" or "test"; int64 [n]."""
        if split not in (*SPLITS, UNUSED):
            raise unknown_name("split", split, SPLITS)
        return np.flatnonzero(self.manifest["split"] == split).astype(np.int64)

    def classes(self, split: str) -> tuple[str, ...]:
        """Sorted class names of a split."""
        return tuple(sorted(self.manifest["label"].iloc[self.rows(split)].unique()))

    def clip_path(self, row: int) -> Path:
        """The video file of a row."""
        return Path(self.root) / self.manifest["path"].iloc[int(row)]

    @cached_property
    def digest(self) -> str:
        """Digest of the manifest."""
        return manifest_digest(self.manifest)
