"""The same function over many items, on several processes, with one thread in each; ``workers`` says where they are.

Every worker computes with exactly one thread, and so does the present process when it does the work itself.  A sum
that is split over threads may round differently; with one thread everywhere the results do not depend on the number
of workers.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import cv2
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from amfir_lib.errors import AmfirError, BadParameter, WorkerFailed
from amfir_lib.workers import LOCAL, chosen, worker_was_lost, workers

LOG_EVERY_SECONDS, NOTEBOOK_EVERY_SECONDS = 30.0, 0.5
MAX_ITEM_NAME = 200
OUT_OF_MEMORY = ("out of memory", "allocate memory", "insufficient memory", "outofmemory")  # in lower case
MEMORY_REMEDY = (
    "Run it again {fewer}, or with smaller pictures where a notebook has the parameter input_size "
    "(--set input_size=112); what is finished is kept."
)

# loky replaces a worker whose memory has grown much, which importing PyTorch in it is enough for: nothing is lost
warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)


def map_parallel(function: Callable[[Any], Any], items: Sequence[Any], **options: Any) -> list[Any]:
    """The results of :func:`iterate_parallel`, once all are there."""
    return list(iterate_parallel(function, items, **options))


def iterate_parallel(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    n_jobs: int,
    description: str,
    unit: str = "clip",
    units_of: Callable[[Any], int] = lambda item: 1,
) -> Iterator[Any]:
    """Apply ``function`` to every item, in ``n_jobs`` processes, with a progress bar.

    Args:
        function: picklable (joblib's loky and cloudpickle); must not depend on the order of the calls.
        items: what to apply it to.  An attribute ``item_name`` is used in error messages, else the item's text.
        n_jobs: number of processes; 1 works in this process.
        description: what is done, for the progress bar and for errors.
        unit, units_of: what the bar counts, in the singular, and how many of it an item is.
    Yields:
        The results in the order of the items, the same for every ``n_jobs``, each as soon as all before it are there.
    Raises:
        AmfirError: the error of the first failing item (in item order) as it was raised, with the item in a note.
        WorkerFailed: any other exception of the first failing item, named; or a worker process was killed.
        BadParameter: ``n_jobs`` is below 1.
    """
    if n_jobs < 1:
        raise BadParameter(f"n_jobs is {n_jobs}; give a number of processes from 1 up.")
    items = list(items)
    n_jobs, sizes = min(n_jobs, len(items)), [units_of(item) for item in items]
    with progress_bar(sum(sizes), description=description, unit=unit) as bar:
        if not items or in_this_process(n_jobs):
            importlib.import_module("torch")  # imported later, inside the limit, it would keep all threads
            for item, size in zip(items, sizes, strict=True):
                with guarded(item, description):
                    result = function(item)
                bar.update(size)
                yield result
            return
        try:
            with workers(n_jobs) as apply:
                results = apply(partial(_in_worker, function), items)  # a worker may die already here
                try:
                    for size, result in zip(sizes, results, strict=True):
                        if isinstance(result, _Failure):
                            raise result.to_exception(description, n_jobs)
                        bar.update(size)
                        yield result
                finally:
                    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of joblib, that it does so
                        results.close()  # cancels what is still waiting
        except Exception as error:
            if not worker_was_lost(error):
                raise
            remedy = MEMORY_REMEDY.format(fewer=_fewer_workers(n_jobs))
            raise WorkerFailed(
                f"{description} stopped: a worker process was killed, most likely for lack of memory. {remedy}"
            ) from error


def in_this_process(n_jobs: int) -> bool:
    """Whether so many processes are none beside this one; a cluster's workers always are."""
    return n_jobs <= 1 and chosen()[0] == LOCAL


@contextmanager
def guarded(item: Any, description: str) -> Iterator[None]:
    """Work on an item in this process as in a worker: with one thread, and with the item named in what it raises."""
    with single_thread():
        try:
            yield
        except Exception as error:
            raised = _Failure(error, item).to_exception(description, 1)
            if raised is error:
                raise
            raise raised from error


@contextmanager
def single_thread() -> Iterator[None]:
    """Let OpenCV, PyTorch and the linear algebra libraries use one thread inside the block, and restore them after."""
    torch = sys.modules.get("torch")  # never imported only to be limited: workers that decode do not need it
    setters = [(cv2.setNumThreads, cv2.getNumThreads())]
    setters += [(torch.set_num_threads, torch.get_num_threads())] if torch is not None else []
    for set_threads, _ in setters:
        set_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        for set_threads, before in setters:
            set_threads(before)


def _in_worker(function: Callable[[Any], Any], item: Any) -> Any:
    """The result with one thread, or the failure instead of raising it."""
    with single_thread():
        try:
            return function(item)
        except Exception as error:
            failure = _Failure(error, item)
            failure.error = None
            with suppress(Exception):  # an exception class whose arguments do not survive pickling
                failure.error = pickle.loads(pickle.dumps(error))
            return failure


class _Failure:
    """An exception on its way from a worker, with the worker's traceback as text."""

    def __init__(self, error: Exception, item: Any) -> None:
        name = str(getattr(item, "item_name", item))
        self.name = name if len(name) <= MAX_ITEM_NAME else name[: MAX_ITEM_NAME - 1] + "…"
        self.text = "".join(traceback.format_exception(error))
        self.summary = f"{type(error).__name__}: {error}"
        # of the machine (Python, NumPy, PyTorch, OpenCV), or of a GPU
        self.out_of_memory = isinstance(error, MemoryError) or any(text in str(error).lower() for text in OUT_OF_MEMORY)
        self.error: Exception | None = error

    def to_exception(self, description: str, n_jobs: int) -> Exception:
        """The exception to raise: the worker's own, if it already is a sentence that names what is wrong."""
        error = self.error
        if not isinstance(error, AmfirError):
            memory = f". {MEMORY_REMEDY.format(fewer=_fewer_workers(n_jobs))}" if self.out_of_memory else ""
            summary = self.summary.rstrip(".") if memory else self.summary
            error = WorkerFailed(f"{description} stopped at {self.name}: {summary}{memory}")
            error.__cause__ = self.error
        error.add_note(f"item: {self.name}\nin the worker:\n{self.text}")
        return error


def _fewer_workers(n_jobs: int) -> str:
    here = chosen()[0] == LOCAL
    return f"with fewer workers (--jobs, now {n_jobs})" if here else "with more memory for the cluster's workers"


def progress_bar(total: int, *, description: str, unit: str = "clip") -> tqdm:
    """A bar with the time left: redrawn in a terminal; one line that is replaced in a notebook, whose executed copy
    keeps the last one; in a log file a line every 30 s, and nothing for work that is shorter."""
    shell = sys.modules.get("IPython")
    in_notebook = hasattr(shell.get_ipython() if shell is not None else None, "kernel")
    if not in_notebook and sys.stderr is not None and sys.stderr.isatty():
        return tqdm(total=total, desc=description, unit=unit, dynamic_ncols=True)
    every, file = (NOTEBOOK_EVERY_SECONDS, _NotebookLine()) if in_notebook else (LOG_EVERY_SECONDS, _LogLines())
    return tqdm(
        total=total, desc=description, unit=unit, ncols=0, miniters=1, mininterval=every, delay=every, file=file
    )


class _LogLines(io.StringIO):
    """Takes what tqdm draws, and prints it line by line."""

    def write(self, text: str) -> int:
        if text.strip():
            self.show(text.strip())
        return len(text)

    def show(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _NotebookLine(_LogLines):
    """The same as one output of a notebook cell that is replaced."""

    handle = None

    def show(self, line: str) -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self.handle.update({"text/plain": line}, raw=True)
