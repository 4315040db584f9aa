"""Files that are whole or absent, room for them on the disk, and digests of what they hold."""

from __future__ import annotations

import ast
import errno
import hashlib
import inspect
import json
import math
import os
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from amfir_lib.errors import DiskFull

NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it only if the block ends without an error.

    A kill or a full disk in the middle leaves the old file (or none); nothing half-written is ever read as whole.
    The temporary path keeps the suffix of ``path``, because encoders choose their format by it; the folder is created.

    Raises:
        DiskFull: the block found no space left on the device; names the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=f".partial{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        with full_disk_explained(path):
            yield temporary
            temporary.chmod(0o644)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_free_space(path: Path | str, n_bytes: int) -> None:
    """Refuse (DiskFull) to start work whose result, a file or folder that need not exist yet, will not fit."""
    free = _free_bytes(Path(path).absolute())
    if free < n_bytes:
        raise _no_room(path, n_bytes, free)


@contextmanager
def full_disk_explained(path: Path | str, n_bytes: int | None = None) -> Iterator[None]:
    """Turn "no space left on device" inside the block into a :class:`DiskFull` that names path and need."""
    try:
        yield
    except Exception as error:
        no_room = isinstance(error, OSError) and error.errno in NO_ROOM
        # libraries that are no Python say so in words only
        if not (no_room or isinstance(error, DiskFull) or "No space left on device" in str(error)):
            raise
        raise _no_room(path, n_bytes) from error


def _no_room(path: Path | str, n_bytes: int | None, free: int | None = None) -> DiskFull:
    need = "" if n_bytes is None else f": it needs about {n_bytes / 1e6:.1f} MB"
    room = "" if free is None else f", {free / 1e6:.1f} MB are free"
    return DiskFull(
        f"No room on the disk for {path}{need}{room}. Free space there, or choose another folder with --cache-dir or "
        "--results-dir; what is finished is kept."
    )


def _free_bytes(folder: Path) -> int:
    """Free bytes of the disk that holds ``folder``, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def plain(value: Any) -> Any:
    """What JSON can hold instead of NumPy scalars and arrays, tuples and paths; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _plain(value: Any) -> Any:
    """The same where digits decide about a key: a path or a number, and nothing whose text may change or be cut."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r:.80}")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically and with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=_plain) + "\n")


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_sealed(path: Path, value: Mapping[str, Any], *, files: Iterable[str] = ()) -> None:
    """Write a JSON object with the digests of files beside it and, last, its own, so that damage shows."""
    sealed = {**value, "files": {name: digest_of_file(path.parent / name) for name in files}}
    sealed = json.loads(json.dumps(sealed, default=_plain))  # as it will be read: keys are text
    write_json(path, sealed | {"seal": digest_of(sealed)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What ``write_sealed`` wrote; None where it or a file beside it is missing or damaged."""
    try:
        value = read_json(path)
        whole = value.pop("seal") == digest_of(value)
        whole = whole and all(digest_of_file(path.parent / name) == digest for name, digest in value["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return value if whole else None


def digest_of(value: Any) -> str:
    """Digest of anything that JSON can hold, independent of key order; 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def digest_of_array(*arrays: np.ndarray) -> str:
    """Digest of the type, shape and bytes of arrays; 16 hexadecimal digits."""
    state = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        state.update(f"{array.dtype.str}{array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()[:16]


def digest_of_file(path: Path | str) -> str:
    """Digest of a file's bytes; 16 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def meaning_of_source(source: str) -> str:
    """What Python code means: its syntax tree without docstrings, comments and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            del node.body[0]
    return ast.dump(tree)


@cache
def meaning_of(thing: ModuleType | Callable[..., Any] | type) -> str:
    """``meaning_of_source`` of a module, function or class, read once: an edit during a run changes no key."""
    return meaning_of_source(textwrap.dedent(inspect.getsource(thing)))


def digest_of_code(*things: ModuleType | Callable[..., Any] | type) -> str:
    """Digest of what modules, functions or classes mean: part of every cache key, so that changed code recomputes what
    it makes, and a comment or a docstring does not."""
    return hashlib.sha256("\0".join(meaning_of(thing) for thing in things).encode()).hexdigest()[:16]
