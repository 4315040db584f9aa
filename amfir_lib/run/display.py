"""What the runner shows while it works: a line per notebook, redrawn on a terminal, repeated now and then in a log."""

from __future__ import annotations

import shutil
import time
from typing import Any, TextIO

LOG_EVERY_SECONDS = 30.0


def format_seconds(seconds: float) -> str:
    """``42 s``, ``3:05 min`` or ``1:02 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def format_bytes(n_bytes: float) -> str:
    """``870 MB`` or ``1.2 GB``."""
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


class Display:
    """Shows the progress of a run.

    Args:
        stream: where to; a terminal gets a line that is redrawn in place.
        total: number of notebooks.
    """

    def __init__(self, stream: TextIO, total: int) -> None:
        self.stream, self.total, self.number = stream, total, 0
        self.live = stream.isatty()
        self._started = self._shown = time.monotonic()

    def line(self, text: str = "") -> None:
        """Print a line that stays."""
        print(("\r\x1b[K" if self.live else "") + text, file=self.stream, flush=True)

    def start(self, name: str, why: str) -> None:
        """Announce a notebook that is about to run, with the reason."""
        self.number += 1
        self._started = self._shown = time.monotonic()
        self.line(f"[{self.number}/{self.total}] {name}: runs because {why}")

    def skip(self, name: str, why: str) -> None:
        """Announce a notebook that does not run."""
        self.number += 1
        self.line(f"[{self.number}/{self.total}] {name}: {why}")

    def tick(self, account: dict[str, Any]) -> None:
        """Show where the running notebook is.

        Args:
            account: cell, n_cells and progress, as the child process writes them.
        """
        now = time.monotonic()
        if not self.live and now - self._shown < LOG_EVERY_SECONDS:
            return
        self._shown = now
        cell = account.get("cell", 0)
        where = f"cell {cell} of {account['n_cells']}" if cell else "starting"
        text = f"      {format_seconds(now - self._started)}, {where}  {account.get('progress', '')}".rstrip()
        if self.live:
            print("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1], end="", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)
