"""Where parallel work goes: processes of this machine (loky), or an existing Dask or Ray cluster; and its GPUs.

The command line sets ``AMFIR_BACKEND`` and ``AMFIR_SCHEDULER``.  Workers of a cluster must import ``amfir_lib`` in the
same version and see clips and cache under the same paths, on storage that all share; as everywhere each item computes
with one thread, so the results are those of one machine.  Joblib hands out the work on one machine; on a cluster its
backends wait for ever for a worker that has died (Dask), or give results at the end only (Ray), so the clusters' own
calls do.

Decoding and flow keep the cores busy and a GPU hardly, so several workers share each GPU while they extract features:
as many as its memory holds.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import current_process
from types import ModuleType
from typing import Any

from amfir_lib import paths
from amfir_lib.errors import BackendUnavailable, BadParameter, unknown_name

LOCAL, DASK, RAY = BACKENDS = ("loky", "dask", "ray")
PACKAGES = {DASK: "distributed", RAY: "ray"}
CONNECT_TIMEOUT_S = 10
LOST = ("TerminatedWorkerError", "KilledWorker", "WorkerCrashedError")  # loky, Dask, Ray
SHARED = "cuda"  # PyTorch's current GPU, which each worker chooses for itself; "cuda:N" is one GPU for all workers
# Of a GPU's memory, for one worker: its CUDA context (about 0.5 GB), ResNet-50 and I3D (0.2 GB), the activations of 64
# frames of 224 px (1.5 GB at most) and room for the workspaces of cuDNN.
WORKER_BYTES = 4e9
Apply = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]  # a ``map`` that yields results in order


def available_cores() -> int:
    """Number of processor cores that this process may use, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def chosen() -> tuple[str, str]:
    """Backend and address of the scheduler; ("loky", "") unless the environment says otherwise."""
    return os.environ.get("AMFIR_BACKEND") or LOCAL, os.environ.get("AMFIR_SCHEDULER", "")


def check_backend(backend: str, scheduler: str) -> None:
    """Refuse what cannot be, and a cluster that does not answer, before any work starts.

    Args:
        backend: one of BACKENDS.
        scheduler: address of the running scheduler, such as tcp://head:8786 (Dask) or head:6379 (Ray).
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if backend == LOCAL:
        if scheduler:
            raise BadParameter(f"--scheduler {scheduler} belongs to a cluster: add --backend dask (or ray).")
        return
    if not scheduler:
        raise BadParameter(f"--backend {backend} needs the address of a running cluster: --scheduler ADDRESS.")
    with _connected(backend, scheduler):
        return


@contextmanager
def workers(n_jobs: int) -> Iterator[Apply]:
    """A ``map`` that yields results in order: on ``n_jobs`` processes here, or on all workers of the chosen cluster."""
    backend, scheduler = chosen()
    if backend == LOCAL:
        from joblib import Parallel, delayed, parallel_config

        with parallel_config(backend=LOCAL, inner_max_num_threads=1):
            parallel = Parallel(n_jobs=n_jobs, return_as="generator", max_nbytes=None)
            yield lambda function, items: parallel(delayed(function)(item) for item in items)
        return
    with _connected(backend, scheduler) as apply:
        yield apply


def worker_was_lost(error: Exception) -> bool:
    """Whether an exception says that a worker process died, on this machine or on a cluster."""
    return any(kind.__name__ in LOST for kind in type(error).__mro__)


@contextmanager
def _connected(backend: str, scheduler: str) -> Iterator[Apply]:
    """The ``map`` of a cluster, while it is connected."""
    try:
        if backend == DASK:
            from distributed import Client

            connection = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
            apply = connection.get_executor(pure=False).map
        else:
            import ray

            connection = ray.init(address=scheduler, ignore_reinit_error=True, logging_level="error")
            apply = partial(_apply_by_ray, ray)
    except ImportError as error:
        raise BackendUnavailable(
            f"--backend {backend} needs packages that are not installed ({error}). Install them for the Python of the "
            f"study: {paths.for_display(sys.executable)} -m pip install {PACKAGES[backend]}"
        ) from None
    except (OSError, ValueError) as error:
        raise BackendUnavailable(
            f"No {backend} cluster answers at {scheduler} ({type(error).__name__}). Start it, or correct --scheduler."
        ) from None
    with connection:
        yield apply


def _apply_by_ray(ray: ModuleType, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    remote = ray.remote(num_cpus=1, max_retries=0)(lambda function, item: function(item))
    shared = ray.put(function)
    for result in [remote.remote(shared, item) for item in items]:
        yield ray.get(result)


def check_device(device: str) -> str:
    """Return ``device`` if it is well formed; whether it exists is for ``resolve_device`` to say."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise BadParameter(f'The device is "{device}", but must be auto, cpu, cuda or cuda:N.')
    return device


def resolve_device(device: str) -> str:
    """Turn ``auto`` into ``cuda:0`` or ``cpu``, and refuse a GPU that is not there (BadParameter)."""
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if check_device(device) == "auto":
        return "cuda:0" if n_gpus else "cpu"
    if device == "cpu":
        return device
    number = int(device.partition(":")[2] or 0)
    if number >= n_gpus:
        raise BadParameter(
            f'The device is "{device}", but PyTorch sees {n_gpus} GPUs here. Use --device auto, or --device cpu.'
        )
    return f"cuda:{number}"


def device_of_workers(device: str) -> str:
    """Where the backbones of feature extraction run: on all GPUs of the machine in turn, unless one was named."""
    resolved = resolve_device(device)
    return SHARED if device in ("auto", "cuda") and resolved != "cpu" else resolved


def take_gpu(backbones: Iterable[Any]) -> None:
    """Let this worker use its own GPU, where the backbones leave the choice to it; on a cluster the first it sees."""
    if SHARED in _devices_of(backbones):
        import torch

        torch.cuda.set_device(worker_number() % torch.cuda.device_count())


def worker_number() -> int:
    """Which worker of joblib this process is; 0 in any other process."""
    name, _, number = current_process().name.rpartition("-")
    return int(number) if name.startswith("Loky") and number.isdigit() else 0


def workers_that_fit(n_jobs: int, backbones: Iterable[Any]) -> int:
    """Worker processes for these backbones: no more than the memory of their GPUs holds, unless ``--jobs`` was given.

    Says on stdout where it is less than ``n_jobs``.
    """
    gpus = sorted(device for device in _devices_of(backbones) if device.startswith("cuda"))
    if not gpus or os.environ.get("AMFIR_JOBS"):
        return n_jobs
    import torch

    numbers = range(torch.cuda.device_count()) if SHARED in gpus else [int(gpu.partition(":")[2]) for gpu in gpus]
    room = [torch.cuda.get_device_properties(number).total_memory for number in numbers]
    fitting = len(room) * max(1, int(min(room) // WORKER_BYTES))
    if fitting < n_jobs:
        print(
            f"{fitting} workers extract features instead of {n_jobs}: about {WORKER_BYTES / 1e9:.0f} GB of a GPU's "
            f"memory for each, on {len(room)} GPU{'s' if len(room) > 1 else ''}. --jobs takes another number."
        )
    return min(fitting, n_jobs)


def _devices_of(backbones: Iterable[Any]) -> set[str]:
    """The devices of backbones and of their parts."""
    return {getattr(part, "device", "cpu") for whole in backbones for part in getattr(whole, "parts", (whole,))}
