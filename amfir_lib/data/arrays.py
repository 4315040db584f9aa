"""The one store of arrays on disk: a safetensors file each, with what it depends on, read by memory map.

A file holds one tensor, ``features``, and one metadata entry with everything that it depends on, as JSON (with several
entries safetensors files are not byte-reproducible).  A digest over metadata and tensor is part of the metadata.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from amfir_lib.errors import DataNotFound, ShapeError, StoreError
from amfir_lib.storage import atomic_write, full_disk_explained

TENSOR = "features"
METADATA_KEY = "amfir"
TYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "U8": np.dtype("u1")}
ALIGNMENT = 8  # the tensor starts at a multiple of 8 bytes, as the safetensors format asks for
CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """An array on disk.

    Attributes:
        path: the file.
        features: a read-only memory map; of a data set float16 [n_clips, T, P, D] in the order of the manifest's rows.
        metadata: what the features depend on.
        digest: over metadata and features; part of the key of each run that uses them.
    """

    path: Path
    features: np.ndarray
    metadata: dict[str, Any]
    digest: str


def _header(shape: tuple[int, ...], type_name: str, metadata: Mapping[str, Any], digest: str) -> bytes:
    """The safetensors header, length first; its size does not depend on the digest."""
    n_bytes = int(np.prod(shape)) * TYPES[type_name].itemsize
    entry = json.dumps({**metadata, "content_digest": digest}, sort_keys=True)
    header = {
        "__metadata__": {METADATA_KEY: entry},
        TENSOR: {"dtype": type_name, "shape": list(shape), "data_offsets": [0, n_bytes]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _digest_start(shape: tuple[int, ...], metadata: Mapping[str, Any]) -> Any:
    """A digest that has seen shape and metadata, and is yet to see the values."""
    return hashlib.sha256(json.dumps([list(shape), dict(metadata)], sort_keys=True).encode())


@contextmanager
def array_writer(
    path: Path | str, *, shape: tuple[int, ...], metadata: Mapping[str, Any], dtype: Any = np.float16
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an array piece by piece, atomically and without holding all of it in memory.

    Args:
        shape: of the whole array, of dtype float16, float32 or uint8.
        metadata: values that JSON can hold.
    Yields:
        What appends a piece, [n_i, *shape[1:]].
    Raises:
        ShapeError: the pieces do not add up to ``shape``.
        DiskFull: no room; names the path and the need, and leaves no file.
    """
    path, shape = Path(path), tuple(int(n) for n in shape)
    kind = np.dtype(dtype)
    type_name = next(name for name, known in TYPES.items() if known == kind)
    n_bytes = int(np.prod(shape)) * kind.itemsize
    state, written = _digest_start(shape, metadata), 0
    with full_disk_explained(path, n_bytes), atomic_write(path) as temporary, open(temporary, "wb") as handle:
        handle.write(_header(shape, type_name, metadata, "0" * state.digest_size * 2))

        def append(piece: np.ndarray) -> None:
            nonlocal written
            if piece.shape[1:] != shape[1:]:
                raise ShapeError(f"{path.name}: a piece of shape {piece.shape} does not fit into {shape}.")
            data = np.ascontiguousarray(piece, dtype=kind).tobytes()
            state.update(data)
            handle.write(data)
            written += len(data)

        yield append
        if written != n_bytes:
            raise ShapeError(f"{path.name}: the pieces hold {written} bytes, but shape {shape} needs {n_bytes}.")
        handle.seek(0)
        handle.write(_header(shape, type_name, metadata, state.hexdigest()))


def write_array(path: Path | str, pieces: Iterable[np.ndarray], **options: Any) -> None:
    """Write an array from its pieces; see :func:`array_writer`."""
    with array_writer(path, **options) as append:
        for piece in pieces:
            append(piece)


def _read_header(path: Path) -> tuple[tuple[int, ...], np.dtype, dict[str, Any]]:
    """Shape, type and metadata; StoreError if the header makes no sense, or not of a file of this size."""
    try:
        with safe_open(path, "numpy") as file:
            tensor = file.get_slice(TENSOR)
            metadata = json.loads(file.metadata()[METADATA_KEY])
            return tuple(tensor.get_shape()), TYPES[tensor.get_dtype()], metadata
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:  # JSON and UTF-8 errors: ValueErrors
        raise StoreError(f"{path} is damaged: its header cannot be read ({error!r}).") from error


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, with dotted names."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _flat(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _differences(metadata: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """One phrase for each expected field that the metadata has otherwise."""
    old = dict(_flat({key: metadata[key] for key in expected if key in metadata}))
    new = dict(_flat(json.loads(json.dumps(expected))))
    names = sorted(old.keys() | new.keys())
    show = {name: (json.dumps(old.get(name, "absent")), json.dumps(new.get(name, "absent"))) for name in names}
    return [f"{name} was {before} and is now {after}" for name, (before, after) in show.items() if before != after]


def open_array(
    path: Path | str, *, expected: Mapping[str, Any] | None = None, check_content: bool = True
) -> FeatureStore:
    """Open an array as a memory map, if it is whole and is the one that is expected.

    Args:
        expected: metadata fields with the values that they must have; further fields are not compared.
        check_content: read every byte and compare the digest; False looks at the header and the size only.
    Raises:
        DataNotFound: there is no such file.
        StoreError: the file is damaged (any changed byte is found), or stale: names each field that changed, from
            what to what.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFound(f"There is no feature store {path}. Extract the features first.")
    shape, kind, metadata = _read_header(path)
    digest, offset = metadata.pop("content_digest", ""), path.stat().st_size - int(np.prod(shape)) * kind.itemsize
    if check_content:
        state = _digest_start(shape, metadata)
        with open(path, "rb") as handle:
            handle.seek(offset)
            while chunk := handle.read(CHUNK_BYTES):
                state.update(chunk)
        if state.hexdigest() != digest:
            raise StoreError(f"{path} is damaged: its content does not have the digest that was recorded with it.")
    if differences := _differences(metadata, expected or {}):
        raise StoreError(f"{path} is stale: {'; '.join(differences)}.")
    empty = 0 in shape
    features = np.zeros(shape, kind) if empty else np.memmap(path, dtype=kind, mode="r", offset=offset, shape=shape)
    return FeatureStore(path, features, metadata, digest[:16])
