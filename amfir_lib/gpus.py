"""How the worker processes of one machine share its GPUs while they extract features.

Decoding and flow keep the cores busy and a GPU hardly, so several workers share each GPU: as many as its memory holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from multiprocessing import current_process
from typing import Any

SHARED = "cuda"  # PyTorch's current GPU, which each worker chooses for itself; "cuda:N" is one GPU for all workers
# Of a GPU's memory, for one worker: its CUDA context (about 0.5 GB), ResNet-50 and I3D (0.2 GB), the activations of 64
# frames of 224 px (1.5 GB at most) and room for the workspaces of cuDNN.
WORKER_BYTES = 4e9


def device_of_workers(device: str) -> str:
    """Where the backbones of feature extraction run: on all GPUs of the machine in turn, unless one was named.

    Args:
        device: as asked for: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    Raises:
        BadParameter: see ``resolve_device``.
    """
    from amfir_lib.study.config import resolve_device

    resolved = resolve_device(device)
    return SHARED if device in ("auto", "cuda") and resolved != "cpu" else resolved


def devices_of(backbones: Iterable[Any]) -> set[str]:
    """The devices of backbones and of their parts."""
    return {getattr(part, "device", "cpu") for one in backbones for part in getattr(one, "parts", (one,))}


def take_gpu(backbones: Iterable[Any]) -> None:
    """Let this worker use its own GPU, where the backbones leave the choice to it.

    The workers of a cluster are no processes of joblib; each uses the first GPU that it sees.
    """
    if SHARED in devices_of(backbones):
        import torch

        torch.cuda.set_device(worker_number() % torch.cuda.device_count())


def worker_number() -> int:
    """Which worker of joblib this process is; 0 in any other process."""
    name, _, number = current_process().name.rpartition("-")
    return int(number) if name.startswith("Loky") and number.isdigit() else 0


def workers_that_fit(n_jobs: int, backbones: Iterable[Any], *, environ: Mapping[str, str] | None = None) -> int:
    """Worker processes for these backbones: no more than the memory of their GPUs holds, unless ``--jobs`` was given.

    Args:
        n_jobs: as many as there would be on the CPU.
        backbones: with a ``device`` where they can use a GPU.
        environ: environment variables, where the command line leaves ``--jobs``; default: those of the process.
    Returns:
        The number; says on stdout where it is a smaller one.
    """
    gpus = sorted(device for device in devices_of(backbones) if device.startswith("cuda"))
    environ = os.environ if environ is None else environ
    if not gpus or environ.get("AMFIR_JOBS"):
        return n_jobs
    import torch

    numbers = range(torch.cuda.device_count()) if SHARED in gpus else [int(gpu.partition(":")[2]) for gpu in gpus]
    room = [torch.cuda.get_device_properties(number).total_memory for number in numbers]
    fitting = len(room) * max(1, int(min(room) // WORKER_BYTES))
    if fitting >= n_jobs:
        return n_jobs
    print(
        f"{fitting} workers extract features instead of {n_jobs}: about {WORKER_BYTES / 1e9:.0f} GB of a GPU's memory "
        f"for each, on {len(room)} GPU{'s' if len(room) > 1 else ''}. --jobs takes another number."
    )
    return fitting
