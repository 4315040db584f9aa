"""The same function over many items, on several processes, with one thread in each; ``workers`` says where they are.

Every worker computes with exactly one thread, and so does the present process when it does the work itself.  A sum
that is split over threads may round differently; with one thread everywhere the results do not depend on the number
of workers.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from amfir_lib.errors import AmfirError, BadParameter, WorkerFailed
from amfir_lib.progress import Progress
from amfir_lib.workers import LOCAL, chosen, worker_was_lost, workers

MAX_ITEM_NAME = 200
OUT_OF_MEMORY = ("out of memory", "allocate memory", "insufficient memory", "outofmemory")  # in lower case
MEMORY_REMEDY = (
    "Run it again {fewer}, or with smaller pictures where a notebook has the parameter input_size "
    "(--set input_size=112); what is finished is kept."
)

# loky replaces a worker whose memory has grown much, which importing PyTorch in it is enough for: nothing is lost
warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let OpenCV, PyTorch and the linear algebra libraries use one thread inside the block, and restore them after."""
    torch = sys.modules.get("torch")  # never imported only to be limited: workers that decode do not need it
    opencv_threads = cv2.getNumThreads()
    torch_threads = torch.get_num_threads() if torch is not None else 1
    cv2.setNumThreads(1)
    if torch is not None:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        cv2.setNumThreads(opencv_threads)
        if torch is not None:
            torch.set_num_threads(torch_threads)


def _name_of(item: Any) -> str:
    """A short name of an item for an error message: its own ``name``, or its text."""
    name = str(getattr(item, "item_name", item))
    return name if len(name) <= MAX_ITEM_NAME else name[: MAX_ITEM_NAME - 1] + "…"


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: that of the machine (Python, NumPy, PyTorch, OpenCV) or that of a GPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(text in said for text in OUT_OF_MEMORY)


class _Failure:
    """An exception on its way from a worker, with the worker's traceback as text."""

    def __init__(self, error: Exception, name: str) -> None:
        self.text = "".join(traceback.format_exception(error))
        self.name = name
        self.summary = f"{type(error).__name__}: {error}"
        self.out_of_memory = is_out_of_memory(error)
        try:
            self.error: Exception | None = pickle.loads(pickle.dumps(error))
        except Exception:  # an exception class whose arguments do not survive pickling
            self.error = None

    def to_exception(self, description: str, *, remedy: str) -> Exception:
        """The exception to raise: the worker's own, if it already is a sentence that names what is wrong."""
        if isinstance(self.error, AmfirError):
            error: Exception = self.error
        else:
            said = self.summary
            if self.out_of_memory:
                said = f"{said.rstrip('.')}. {MEMORY_REMEDY.format(fewer=remedy)}"
            error = WorkerFailed(f"{description} stopped at {self.name}: {said}")
            error.__cause__ = self.error
        error.add_note(f"item: {self.name}\nin the worker:\n{self.text}")
        return error


class _Guarded:
    """Calls a function with one thread, and returns its failure instead of raising it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, item: Any) -> Any:
        with single_thread():
            try:
                return self.function(item)
            except Exception as error:
                return _Failure(error, _name_of(item))


def available_cores() -> int:
    """Number of processor cores that this process may use, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def iterate_parallel(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    n_jobs: int,
    description: str,
    unit: str = "clip",
    units_of: Callable[[Any], int] | None = None,
) -> Iterator[Any]:
    """Like :func:`map_parallel`, but yields each result as soon as it and all results before it are there."""
    if n_jobs == -1:
        n_jobs = available_cores()
    if n_jobs < 1:
        raise BadParameter(f"n_jobs is {n_jobs}; give a number of processes from 1 up, or -1 for all cores.")
    items = list(items)
    sizes = [1 if units_of is None else units_of(item) for item in items]
    n_jobs = min(n_jobs, len(items))
    guarded = _Guarded(function)
    here = chosen()[0] == LOCAL
    remedy = f"with fewer workers (--jobs, now {n_jobs})" if here else "with more memory for the cluster's workers"
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(sum(sizes), description=description, unit=unit))
        results: Iterator[Any] = iter(())
        try:
            if not items or (n_jobs <= 1 and here):
                importlib.import_module("torch")  # imported later, inside the limit, it would keep all threads
                results = map(guarded, items)
            else:
                results = stack.enter_context(workers(n_jobs))(guarded, items)  # a worker may die already here
            for size, result in zip(sizes, results, strict=True):
                if isinstance(result, _Failure):
                    raise result.to_exception(description, remedy=remedy)
                progress.update(size)
                yield result
        except Exception as error:
            if not worker_was_lost(error):
                raise
            raise WorkerFailed(
                f"{description} stopped: a worker process was killed, most likely for lack of memory. "
                f"{MEMORY_REMEDY.format(fewer=remedy)}"
            ) from error
        finally:
            close = getattr(results, "close", None)  # a generator of joblib: cancels what is still waiting
            if close is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # "tasks have been cancelled": that is the purpose
                    close()


def map_parallel(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    n_jobs: int,
    description: str,
    unit: str = "clip",
    units_of: Callable[[Any], int] | None = None,
) -> list[Any]:
    """Apply ``function`` to every item, in ``n_jobs`` processes, with a progress bar.

    Args:
        function: picklable (joblib's loky and cloudpickle); must not depend on the order of the calls.
        items: what to apply it to.  An attribute ``item_name`` is used in error messages, else the item's text.
        n_jobs: number of processes; 1 works in this process; -1 means all cores.
        description: what is done, for the progress bar and for errors.
        unit: what the bar counts, in the singular.
        units_of: how many units one item counts for; 1 by default.
    Returns:
        The results in the order of the items, the same for every ``n_jobs``.
    Raises:
        AmfirError: the error of the first failing item (in item order) as it was raised, with the item in a note.
        WorkerFailed: any other exception of the first failing item, named; or a worker process was killed.
        BadParameter: ``n_jobs`` is 0 or below -1.
    """
    return list(iterate_parallel(function, items, n_jobs=n_jobs, description=description, unit=unit, units_of=units_of))
