"""The process that executes one notebook: started by ``execute``, it runs papermill and reports what happened.

Papermill alone hides failures, so this process keeps its own account in a small file: which cell is running, and how
it ended.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from traitlets.config import Config

from amfir_lib.storage import read_json, write_json

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
IOPUB_TIMEOUT_S = 60  # nbclient's 4 s is too short for a machine that is busy


class Account:
    """What this process tells the runner, in one file that is always whole."""

    def __init__(self, path: Path, n_cells: int) -> None:
        self.path = path
        self.state: dict[str, Any] = {"phase": "starting", "cell": 0, "n_cells": n_cells, "progress": ""}
        self.write()

    def write(self, **changes: Any) -> None:
        """Change some entries and write the file."""
        self.state |= changes
        write_json(self.path, self.state)


class ReportingClient(PapermillNotebookClient):
    """Papermill's client that also notes progress lines, which arrive as displays that replace one another."""

    account: Account | None = None

    def process_message(self, message: dict, *args: Any, **kwargs: Any) -> Any:
        """Handle a message of the kernel."""
        if self.account is not None and message["msg_type"] in ("display_data", "update_display_data"):
            data = message["content"].get("data", {})
            if set(data) == {"text/plain"} and "\n" not in data["text/plain"]:
                self.account.write(progress=data["text/plain"])
                print(data["text/plain"], flush=True)
        return super().process_message(message, *args, **kwargs)


class ReportingEngine(NBClientEngine):
    """Papermill's engine that notes each cell as it starts."""

    account: Account

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute the cells, writing the account before each."""
        cells, start = nb_man.nb.cells, nb_man.cell_start

        def cell_start(cell: Any, cell_index: int | None = None, **options: Any) -> None:
            injected = sum("injected-parameters" in c.metadata.get("tags", ()) for c in cells[:cell_index])
            cls.account.write(phase="running", cell=cell_index + 1 - injected, progress="")
            print(f"[cell {cell_index + 1 - injected} of {cls.account.state['n_cells']}]", flush=True)
            start(cell, cell_index, **options)

        nb_man.cell_start = cell_start
        # Sockets in our own folder instead of TCP ports: no two kernels can race for a port, nobody else can connect.
        config = Config({"KernelManager": {"transport": "ipc", "ip": str(cls.account.path.with_name("k"))}})
        client = ReportingClient(
            nb_man,
            config=config,
            kernel_name=kernel_name,
            startup_timeout=kwargs["start_timeout"],
            iopub_timeout=IOPUB_TIMEOUT_S,
            timeout=None,
            stdout_file=sys.stdout,
            stderr_file=sys.stdout,
        )
        client.account = cls.account
        return client.execute()


def _end_with_parent(parent: int) -> None:
    """Take the kernel along when the runner itself is killed, so that nothing goes on writing unseen."""
    while os.getppid() == parent:
        time.sleep(0.5)
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def execute(job: dict[str, Any]) -> int:
    """Execute one notebook.

    Args:
        job: source, output, account: paths; parameters: dict; cwd: working folder; start_timeout: seconds; parent: pid.
    Returns:
        0: papermill saw no error; 1: a cell raised; 2: the kernel died; 3: no kernel started.  Details are in the
        account.  The runner checks everything else.
    """
    account = Account(Path(job["account"]), len(nbformat.read(job["source"], as_version=4).cells))
    threading.Thread(target=_end_with_parent, args=(job["parent"],), daemon=True).start()
    ReportingEngine.account = account
    papermill_engines.register("amfir", ReportingEngine)
    try:
        papermill.execute_notebook(
            job["source"],
            job["output"],
            parameters=job["parameters"],
            engine_name="amfir",
            kernel_name="python3",
            progress_bar=False,
            start_timeout=job["start_timeout"],
            cwd=job["cwd"],
        )
    except papermill.PapermillExecutionError as error:
        print("\n".join(ANSI.sub("", line) for line in error.traceback), flush=True)
        account.write(how="raised", sentence=f"{error.ename}: {ANSI.sub('', str(error.evalue)).strip()}")
        return 1
    except DeadKernelError:
        account.write(how="died")
        return 2
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        started = account.state["phase"] != "starting"
        account.write(how="raised" if started else "not started", sentence=f"{type(error).__name__}: {error}")
        return 1 if started else 3
    account.write(how="finished")
    return 0


if __name__ == "__main__":
    sys.exit(execute(read_json(sys.argv[1])))
