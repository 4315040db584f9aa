"""Room on the disk: asked for before long work, and explained when it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amfir_lib.errors import DiskFull

MEGABYTE = 1e6
NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def _message(path: Path, n_bytes: int, free: int | None) -> str:
    """The one sentence about a full disk."""
    room = "" if free is None else f", {free / MEGABYTE:.1f} MB are free"
    return (
        f"No room on the disk for {path}: it needs about {n_bytes / MEGABYTE:.1f} MB{room}. "
        "Free space there, or choose another cache folder with --cache-dir; what is finished is kept."
    )


def _free_bytes(folder: Path) -> int:
    """Free bytes of the disk that holds ``folder``, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_free_space(path: Path | str, n_bytes: int) -> None:
    """Refuse to start work whose result will not fit.

    Args:
        path: the file or folder that will be written; need not exist.
        n_bytes: its size.
    Raises:
        DiskFull: names the path, the need and what is free.
    """
    path = Path(path).absolute()
    free = _free_bytes(path)
    if free < n_bytes:
        raise DiskFull(_message(path, n_bytes, free))


def is_full_disk(error: Exception) -> bool:
    """Whether an error says that there is no space left; libraries that are no Python say so in words only."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    return isinstance(error, DiskFull) or "No space left on device" in str(error)


@contextmanager
def full_disk_explained(path: Path | str, n_bytes: int) -> Iterator[None]:
    """Turn "no space left on device" inside the block into a :class:`DiskFull` that names path and need."""
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise DiskFull(_message(Path(path), n_bytes, None)) from error
