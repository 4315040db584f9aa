"""Does the running Python hold the packages of ``requirements.lock``?

``run_all.sh`` starts this file by its path with whatever Python is active, so it imports nothing of the study and
nothing outside the standard library but ``packaging`` (which is in the list itself: without it the answer is no).
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OPENCV_WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
"""Wheels that all bring the module ``cv2``; any one of the right version will do."""


def read_lock(path: Path | str) -> dict[str, str]:
    """Read the pins that hold for this Python and this system.

    Args:
        path: ``requirements.lock``: lines ``name==version ; marker``, comments with ``#``.
    Returns:
        Package name -> exact version.
    """
    from packaging.requirements import Requirement

    pins = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            pins[requirement.name] = str(requirement.specifier).removeprefix("==")
    return pins


def installed_version(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _holds(found: str | None, wanted: str) -> bool:
    """True for the wanted version, whatever its local build label (``2.15.0+cu132`` is ``2.15.0``)."""
    return found is not None and found.partition("+")[0] == wanted.partition("+")[0]


def differences(path: Path | str) -> list[str]:
    """Name every package that is missing or has another version than the list says.

    Args:
        path: ``requirements.lock``.
    Returns:
        One short phrase per package, in the order of the list; empty when the environment satisfies it.
    """
    found_differences = []
    for name, wanted in read_lock(path).items():
        candidates = OPENCV_WHEELS if name in OPENCV_WHEELS else (name,)
        if any(_holds(installed_version(candidate), wanted) for candidate in candidates):
            continue
        found = installed_version(name)
        found_differences.append(f"{name} {wanted} is missing" if found is None else f"{name} is {found}, not {wanted}")
    return found_differences


def main(arguments: list[str]) -> int:
    """Exit status 0 if the environment satisfies the list given as last argument; ``--quiet`` prints nothing."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return 1
    try:
        missing = differences(arguments[-1])
    except ImportError:
        missing = ["packaging is missing"]
    if missing and "--quiet" not in arguments:
        print("\n".join(missing))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
