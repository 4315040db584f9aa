"""The process that executes one notebook: started by ``execute``, it runs papermill and keeps an account of its own, in
a file that is always whole: which cell is running, and how it ended."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
import traceback
from typing import Any

import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from traitlets.config import Config

from amfir_lib.storage import read_json, write_json

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
TIMEOUTS = {"startup_timeout": 120, "iopub_timeout": 60, "timeout": None}  # nbclient's are too short for a busy machine
JOB: dict[str, Any] = {}  # source, output, account, cwd: paths; parameters: dict; parent: process id
ACCOUNT: dict[str, Any] = {"cell": 0, "n_cells": 0}


def note(**changes: Any) -> None:
    """Change some entries of the account."""
    ACCOUNT.update(changes)
    write_json(JOB["account"], ACCOUNT)


class ReportingClient(PapermillNotebookClient):
    """Papermill's client that also notes progress lines, which arrive as displays that replace one another."""

    def process_message(self, message: dict, *args: Any, **kwargs: Any) -> Any:
        """Handle a message of the kernel."""
        data = message["content"].get("data", {}) if message["msg_type"].endswith("display_data") else {}
        if set(data) == {"text/plain"} and "\n" not in data["text/plain"]:
            note(progress=data["text/plain"])
            print(data["text/plain"], flush=True)
        return super().process_message(message, *args, **kwargs)


class ReportingEngine(NBClientEngine):
    """Papermill's engine that notes each cell as it starts; cells are counted without the injected one."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute the cells."""
        start = nb_man.cell_start

        def cell_start(cell: Any, cell_index: int, **options: Any) -> None:
            injected = ["injected-parameters" in other.metadata.get("tags", ()) for other in nb_man.nb.cells]
            note(cell=cell_index + 1 - sum(injected[:cell_index]), n_cells=len(injected) - sum(injected), progress="")
            print(f"[cell {ACCOUNT['cell']} of {ACCOUNT['n_cells']}]", flush=True)
            start(cell, cell_index, **options)

        nb_man.cell_start = cell_start
        # Sockets in our own folder instead of TCP ports: no two kernels can race for a port, nobody else can connect.
        config = Config(
            {"KernelManager": {"transport": "ipc", "ip": os.path.join(os.path.dirname(JOB["account"]), "k")}}
        )
        streams = {"stdout_file": sys.stdout, "stderr_file": sys.stdout}
        return ReportingClient(nb_man, config=config, kernel_name=kernel_name, **TIMEOUTS, **streams).execute()


def end_with_parent() -> None:
    """Take the kernel along when the runner itself is killed, so that nothing goes on writing unseen."""
    while os.getppid() == JOB["parent"]:
        time.sleep(0.5)
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Execute the notebook; exit status 0 if papermill saw no error, which the runner does not believe alone."""
    JOB.update(read_json(sys.argv[1]))
    threading.Thread(target=end_with_parent, daemon=True).start()
    papermill_engines.register("amfir", ReportingEngine)
    options = {"engine_name": "amfir", "kernel_name": "python3", "progress_bar": False, "cwd": JOB["cwd"]}
    try:
        papermill.execute_notebook(JOB["source"], JOB["output"], parameters=JOB["parameters"], **options)
    except papermill.PapermillExecutionError as error:
        print("\n".join(ANSI.sub("", line) for line in error.traceback), flush=True)
        note(how="raised", sentence=f"{error.ename}: {ANSI.sub('', str(error.evalue)).strip()}")
        return 1
    except DeadKernelError:
        note(how="died")
        return 1
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        note(how="raised", sentence=f"{type(error).__name__}: {error}")
        return 1
    note(how="finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
