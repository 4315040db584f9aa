"""Where things are: the only module that knows folders of the repository."""

from __future__ import annotations

from pathlib import Path

import platformdirs

REPOSITORY = Path(__file__).resolve().parent.parent
LIBRARY = REPOSITORY / "amfir_lib"
NOTEBOOKS = REPOSITORY / "notebooks"
RESULTS = REPOSITORY / "results"
LOCK_FILE = REPOSITORY / "requirements.lock"


def default_cache_dir() -> Path:
    """The user's cache folder of this study: ``~/.cache/amfir`` on Linux, ``~/Library/Caches/amfir`` on macOS."""
    return platformdirs.user_cache_path("amfir", appauthor=False)


def for_display(path: Path | str) -> str:
    """A path as short as it can be named from here: relative to the working folder where it lies below it."""
    path = Path(path)
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except (ValueError, OSError):
        return str(path)
