"""Where parallel work goes: to processes of this machine (loky), or to an existing Dask or Ray cluster.

The command line sets ``AMFIR_BACKEND`` and ``AMFIR_SCHEDULER``.  Workers of a cluster must import ``amfir_lib`` in the
same version and see clips and cache under the same paths, on storage that all share; as everywhere each item computes
with one thread, so the results are those of one machine.  Joblib hands out the work on one machine; on a cluster its
backends wait for ever for a worker that has died (Dask), or give results at the end only (Ray), so the clusters' own
calls do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from amfir_lib import paths
from amfir_lib.errors import BackendUnavailable, BadParameter, unknown_name

LOCAL, DASK, RAY = BACKENDS = ("loky", "dask", "ray")
CONNECT_TIMEOUT_S = 10
Apply = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]  # a ``map`` that yields results in order
PACKAGES = {DASK: "distributed", RAY: "ray"}


def chosen(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Backend and address of the scheduler; ("loky", "") unless the environment says otherwise."""
    environ = os.environ if environ is None else environ
    return environ.get("AMFIR_BACKEND") or LOCAL, environ.get("AMFIR_SCHEDULER", "")


def check_backend(backend: str, scheduler: str) -> None:
    """Refuse what cannot be, and a cluster that does not answer, before any work starts.

    Args:
        backend: one of BACKENDS.
        scheduler: address of the running scheduler, such as tcp://head:8786 (Dask) or head:6379 (Ray).
    Raises:
        UnknownName: no such backend.
        BadParameter: a scheduler for loky, or none for a cluster.
        BackendUnavailable: its packages are missing, or nothing answers at the address.
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
    """A ``map`` that yields results in order: on ``n_jobs`` processes here, or on all workers of the chosen cluster.

    Raises:
        BackendUnavailable: see ``check_backend``.
    """
    backend, scheduler = chosen()
    if backend == LOCAL:
        with parallel_config(backend=LOCAL, inner_max_num_threads=1):
            yield partial(_apply, Parallel(n_jobs=n_jobs, return_as="generator", max_nbytes=None))
        return
    with _connected(backend, scheduler) as apply:
        yield apply


def _apply(parallel: Parallel, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    return parallel(delayed(function)(item) for item in items)


def worker_was_lost(error: Exception) -> bool:
    """Whether an exception says that a worker process died, on this machine or on a cluster."""
    return isinstance(error, TerminatedWorkerError) or type(error).__name__ in ("KilledWorker", "WorkerCrashedError")


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
    remote = ray.remote(num_cpus=1, max_retries=0)(_called)
    shared = ray.put(function)
    for one in [remote.remote(shared, item) for item in items]:
        yield ray.get(one)


def _called(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)
