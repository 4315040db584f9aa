"""A progress bar with the time left, for a terminal, a notebook and a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

LOG_EVERY_SECONDS = 30.0
NOTEBOOK_EVERY_SECONDS = 0.5


def _in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel."""
    shell = sys.modules.get("IPython")
    instance = shell.get_ipython() if shell is not None else None
    return instance is not None and hasattr(instance, "kernel")


class Progress:
    """Shows how many of ``total`` units are done and how long the rest will take.

    A terminal gets a bar that is redrawn in place.  A notebook gets one line of output that is replaced, so that an
    executed notebook keeps only the last one.  Anything else (a log file) gets a line at most every 30 s, and nothing
    at all for work that is shorter.

    Args:
        total: number of units.
        description: what is done, in a few words.
        unit: one unit, in the singular.
    """

    def __init__(self, total: int, *, description: str, unit: str = "clip") -> None:
        self.total, self.description, self.unit = total, description, unit
        self.done = 0
        self._bar: tqdm | None = None
        self._handle = None
        self._notebook = False

    def __enter__(self) -> Progress:
        self._started = self._shown = time.monotonic()
        self._notebook = _in_notebook()
        if not self._notebook and sys.stderr is not None and sys.stderr.isatty():
            self._bar = tqdm(total=self.total, desc=self.description, unit=self.unit, dynamic_ncols=True)
        return self

    def update(self, n: int = 1) -> None:
        """Count ``n`` more units as done."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
            return
        every = NOTEBOOK_EVERY_SECONDS if self._notebook else LOG_EVERY_SECONDS
        if time.monotonic() - self._shown >= every:
            self._show()

    def _show(self) -> None:
        """Write the present state as one line."""
        self._shown = time.monotonic()
        elapsed = self._shown - self._started
        line = tqdm.format_meter(self.done, self.total, elapsed, ncols=0, prefix=self.description, unit=self.unit)
        if not self._notebook:
            print(line, file=sys.stderr, flush=True)
            return
        from IPython.display import display

        content = {"text/plain": line}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._handle is not None:
            self._show()
