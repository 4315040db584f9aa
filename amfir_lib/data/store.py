"""The feature store: one safetensors file per data set, modality and backbone, read by memory map.

The file holds one tensor, ``features``, and one metadata entry with everything that the features depend on, as JSON
(with several entries safetensors files are not byte-reproducible).  A digest over metadata and tensor is part of the
metadata and is checked whenever the file is opened.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.errors import DataNotFound, ShapeError, StoreError
from amfir_lib.storage import atomic_write, full_disk_explained

TENSOR = "features"
METADATA_KEY = "amfir"
TYPE_NAME, TYPE = "F16", np.dtype("<f2")
ALIGNMENT = 8  # the tensor starts at a multiple of 8 bytes, as the safetensors format asks for
CHUNK_BYTES = 1 << 22
MAX_HEADER_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """Features of all clips of a data set in one modality.

    Args:
        path: the file.
        features: float16 [n_clips, T, P, D], a read-only memory map in the order of the manifest's rows.
        metadata: what the features depend on.
        digest: over metadata and features; part of the key of each run that uses them.
    """

    path: Path
    features: np.ndarray
    metadata: dict[str, Any]
    digest: str


def _header(shape: tuple[int, ...], metadata: Mapping[str, Any], digest: str) -> bytes:
    """The safetensors header, length first; its size does not depend on the digest."""
    n_bytes = int(np.prod(shape)) * TYPE.itemsize
    entry = json.dumps({**metadata, "content_digest": digest}, sort_keys=True)
    header = {
        "__metadata__": {METADATA_KEY: entry},
        TENSOR: {"dtype": TYPE_NAME, "shape": list(shape), "data_offsets": [0, n_bytes]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _digest_start(shape: tuple[int, ...], metadata: Mapping[str, Any]) -> Any:
    """A digest that has seen shape and metadata, and is yet to see the features."""
    return hashlib.sha256(json.dumps([list(shape), dict(metadata)], sort_keys=True).encode())


def write_store(
    path: Path | str, parts: Iterable[np.ndarray], *, shape: tuple[int, ...], metadata: Mapping[str, Any]
) -> None:
    """Write a feature store from consecutive parts, atomically and without holding all of it in memory.

    Args:
        path: the file to write.
        parts: float16 [n_i, T, P, D], which together make up ``shape``.
        shape: (n_clips, T, P, D).
        metadata: values that JSON can hold.
    Raises:
        ShapeError: the parts do not add up to ``shape``.
        DiskFull: no room; names the path and the need, and leaves no file.
    """
    path = Path(path)
    shape = tuple(int(n) for n in shape)
    n_bytes = int(np.prod(shape)) * TYPE.itemsize
    with full_disk_explained(path, n_bytes), atomic_write(path) as temporary, open(temporary, "wb") as handle:
        state = _digest_start(shape, metadata)
        handle.write(_header(shape, metadata, "0" * state.digest_size * 2))
        written = 0
        for part in parts:
            if part.shape[1:] != shape[1:]:
                raise ShapeError(f"{path.name}: a part of shape {part.shape} does not fit into {shape}.")
            data = np.ascontiguousarray(part, dtype=TYPE).tobytes()
            state.update(data)
            handle.write(data)
            written += len(data)
        if written != n_bytes:
            raise ShapeError(f"{path.name}: the parts hold {written} bytes, but shape {shape} needs {n_bytes}.")
        handle.seek(0)
        handle.write(_header(shape, metadata, state.hexdigest()))


def _read_header(path: Path) -> tuple[tuple[int, ...], dict[str, Any], int]:
    """Shape, metadata and the byte at which the features start; StoreError if the header makes no sense."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > min(size, MAX_HEADER_BYTES):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(handle.read(length))
        tensor = header[TENSOR]
        shape = tuple(int(n) for n in tensor["shape"])
        n_bytes = int(np.prod(shape)) * TYPE.itemsize
        if tensor["dtype"] != TYPE_NAME or tensor["data_offsets"] != [0, n_bytes] or len(shape) != 4:
            raise ValueError(f"a tensor described as {tensor}")
        if 8 + length + n_bytes != size:
            raise ValueError(f"{size} bytes instead of {8 + length + n_bytes}")
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        metadata["content_digest"]
    except (ValueError, KeyError, TypeError, struct.error) as error:  # JSON and UTF-8 errors are ValueErrors
        raise StoreError(f"{path} is damaged: its header cannot be read ({error!r}).") from error
    return shape, metadata, 8 + length


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, with dotted names."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _flat(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """One phrase for each expected field that the metadata has otherwise."""
    old = dict(_flat({key: found[key] for key in expected if key in found}))
    new = dict(_flat(json.loads(json.dumps(expected))))
    names = sorted(old.keys() | new.keys())
    show = {name: (json.dumps(old.get(name, "absent")), json.dumps(new.get(name, "absent"))) for name in names}
    return [f"{name} was {before} and is now {after}" for name, (before, after) in show.items() if before != after]


def open_store(path: Path | str, *, expected: Mapping[str, Any] | None = None) -> FeatureStore:
    """Open a feature store as a memory map, if it is whole and is the one that is expected.

    Args:
        path: the file.
        expected: metadata fields with the values that they must have; further fields are not compared.
    Returns:
        The store; its features are read from disk when they are used.
    Raises:
        DataNotFound: there is no such file.
        StoreError: the file is damaged (any changed byte is found), or stale: names each field that changed, from
            what to what.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFound(f"There is no feature store {path}. Extract the features first.")
    shape, metadata, offset = _read_header(path)
    digest = metadata.pop("content_digest")
    state = _digest_start(shape, metadata)
    with open(path, "rb") as handle:
        handle.seek(offset)
        while chunk := handle.read(CHUNK_BYTES):
            state.update(chunk)
    if state.hexdigest() != digest:
        raise StoreError(f"{path} is damaged: its content does not have the digest that was recorded with it.")
    differences = _differences(metadata, expected or {})
    if differences:
        raise StoreError(f"{path} is stale: {'; '.join(differences)}.")
    if 0 in shape:
        features: np.ndarray = np.zeros(shape, TYPE)
    else:
        features = np.memmap(path, dtype=TYPE, mode="r", offset=offset, shape=shape)
    return FeatureStore(path, features, metadata, digest[:16])
