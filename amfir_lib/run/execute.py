"""Run one notebook in a process of its own, watch it, and decide whether it is done.

Papermill's exit status and metadata are not enough: after a killed kernel every cell counts as completed, and
``sys.exit(0)`` in a cell ends with status 0.  So ``child`` keeps an account of its own, and a notebook is done only if
its process ended well, every code cell was executed, and record and exports are there as declared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import psutil

from amfir_lib import paths
from amfir_lib.run.ledger import format_bytes, format_seconds, record_path
from amfir_lib.run.notebooks import Notebook
from amfir_lib.storage import atomic_write, digest_of_file, read_json, write_json

POLL_S = 0.2
MEASURE_S = 2.0  # what processes share is counted page by page: ten times as often would take a tenth of a core
MOST_TEMPORARY = 60  # characters of the path of the system's temporary folder
GRACE_S = 5.0  # between asking a process to end and killing it
UNKNOWN = {"cell": 0, "n_cells": 0, "progress": "", "how": "", "sentence": ""}  # of an account not yet written
# The user's own settings of Jupyter are kept out.
KERNELS = {"JUPYTER_PATH": "jupyter", "JUPYTER_RUNTIME_DIR": "run", "JUPYTER_CONFIG_DIR": "config", "IPYTHONDIR": "i"}
FLAGS = {"PYTHONUNBUFFERED": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def run_notebook(
    notebook: Notebook,
    *,
    parameters: Mapping[str, Any],
    environment: Mapping[str, str],
    output_dir: Path,
    timeout_s: float | None = None,
    on_tick: Callable[[dict[str, Any]], None] = lambda account: None,
) -> tuple[str, float, int]:
    """Execute a notebook and check that it is really done.

    The executed notebook replaces ``notebooks/NAME.ipynb`` only when it is done; a failed one lies beside it as
    ``NAME.failed.ipynb``.

    Args:
        notebook, parameters: what to run; values that differ from its defaults, already checked.
        environment: variables added to those of this process.
        output_dir: the study's folder.
        timeout_s: replaces the notebook's own limit.
        on_tick: called about five times a second with what the child process reports.
    Returns:
        One sentence on what went wrong, empty if it is done; seconds; peak memory of all processes, bytes.
    """
    folder, record = output_dir / "notebooks", record_path(output_dir, notebook.name)
    folder.mkdir(parents=True, exist_ok=True)
    log, started = log_path(output_dir, notebook.name), time.monotonic()
    before = record.stat().st_mtime_ns if record.exists() else None
    limit = timeout_s or notebook.timeout_s
    with tempfile.TemporaryDirectory(prefix="amfir-", dir=socket_folder()) as workspace:
        work = Path(workspace)
        source, executed = work / f"{notebook.name}.ipynb", work / "executed.ipynb"
        source.write_bytes(notebook.path.read_bytes())  # a copy: editing the notebook meanwhile changes nothing
        write_kernel_spec(work / "jupyter")
        job = {"source": source, "output": executed, "account": work / "account.json", "parent": os.getpid()}
        write_json(work / "job.json", job | {"parameters": dict(parameters), "cwd": notebook.path.parent.resolve()})
        variables = {name: str(work / place) for name, place in KERNELS.items()} | FLAGS
        variables |= {"PYTHONPATH": python_path(), **environment}
        status, account, peak = _watch(work, variables, log, started + limit, on_tick)
        trouble = (
            _how_the_child_failed(status, account, limit, peak, log)
            or why_not_all_cells_ran(executed)
            or why_not_exported(notebook, output_dir, before)
        )
        failed = folder / f"{notebook.name}.failed.ipynb"
        if executed.exists():
            _keep(executed, failed if trouble else folder / f"{notebook.name}.ipynb")
    if not trouble:
        failed.unlink(missing_ok=True)
    problem = trouble and f"{notebook.name} {trouble.rstrip('.')}. Full log: {paths.for_display(log)}"
    return problem, time.monotonic() - started, peak


def socket_folder() -> str | None:
    """Where temporary folders with a kernel's sockets go: their paths may have some 100 characters."""
    return "/tmp" if len(tempfile.gettempdir()) > MOST_TEMPORARY and os.path.isdir("/tmp") else None


def log_path(output_dir: Path, notebook: str) -> Path:
    """Everything that a notebook and its tools print, tracebacks included."""
    return output_dir / "notebooks" / f"{notebook}.log"


def write_kernel_spec(folder: Path) -> None:
    """Write a kernel ``python3`` that is exactly this interpreter, so that none registered elsewhere is taken."""
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3 (AMFIR study)", "language": "python"}
    write_json(folder / "kernels" / "python3" / "kernel.json", spec | {"metadata": {"debugger": True}})


def python_path() -> str:
    """``PYTHONPATH`` with the repository in front, so that every process finds the library."""
    return os.pathsep.join(filter(None, [str(paths.REPOSITORY), os.environ.get("PYTHONPATH", "")]))


def _watch(
    work: Path, variables: Mapping[str, str], log: Path, deadline: float, on_tick: Callable[[dict[str, Any]], None]
) -> tuple[int | None, dict[str, Any], int]:
    """Run the child to its end or to the deadline: its exit status (None: too long), its account, its peak memory."""
    command = [sys.executable, "-m", "amfir_lib.run.child", str(work / "job.json")]
    with open(log, "wb") as handle:
        streams = {"stdin": subprocess.DEVNULL, "stdout": handle, "stderr": subprocess.STDOUT}
        child = subprocess.Popen(command, **streams, env=os.environ | variables, cwd=work, start_new_session=True)
    family: dict[int, psutil.Process] = {}  # also those whose parents have ended
    peak, status, measure_at = 0, None, 0.0
    try:
        while time.monotonic() < deadline and (status := child.poll()) is None:
            living = _remember(child.pid, family)
            if time.monotonic() >= measure_at:
                peak = max(peak, sum(map(_memory_of, living)))
                measure_at = time.monotonic() + MEASURE_S
            on_tick(_read_account(work))
            time.sleep(POLL_S)
    finally:  # also after Ctrl-C: nothing may go on writing
        _remember(child.pid, family)
        _end(list(family.values()))
        child.wait()
    return status, _read_account(work), peak


def _remember(pid: int, family: dict[int, psutil.Process]) -> list[psutil.Process]:
    """A process and its living descendants, which are noted in ``family``."""
    try:
        root = psutil.Process(pid)
        living = [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
    family |= {process.pid: process for process in living if process.pid not in family}
    return living


def _memory_of(process: psutil.Process) -> int:
    """Bytes of a process; what it shares with others counts for each by its part, where the system tells that."""
    try:
        full = process.memory_full_info()
        return getattr(full, "pss", full.rss)
    except psutil.Error:
        return 0  # it ended while we looked


def _end(processes: list[psutil.Process]) -> None:
    living = [process for process in processes if process.is_running()]
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in living:
            try:
                ask(process)
            except psutil.NoSuchProcess:
                pass
        living = psutil.wait_procs(living, timeout=GRACE_S)[1]


def _read_account(work: Path) -> dict[str, Any]:
    path = work / "account.json"
    return UNKNOWN | (read_json(path) if path.exists() else {})


def _how_the_child_failed(status: int | None, account: dict[str, Any], limit: float, peak: int, log: Path) -> str:
    """Half a sentence, or nothing."""
    where = "stopped before its first cell"
    if account["cell"]:
        where = f"stopped in cell {account['cell']} of {account['n_cells']}"
    if account["how"] == "raised":
        return f"{where}: {account['sentence']}"
    if status == 0 and account["how"] == "finished":
        return ""
    if status is None:
        what = f"it did not end within {format_seconds(limit)} (--timeout SECONDS raises the limit)"
    elif account["how"] == "died" or status < 0:
        what = f"its kernel died (peak memory {format_bytes(peak)}; often the memory ran out)"
    else:
        what = f"the process that ran it ended with status {status}"
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    spoken = [line.strip() for line in lines if line.strip() and not line.startswith("[cell ")]
    return f"{where}: {what}" + (f"; last line: {spoken[-1][:200]}" if spoken else "")


def why_not_all_cells_ran(executed: Path) -> str:
    """Half a sentence with the cell (counted from 1, injected ones not) at which a notebook stopped without an error;
    empty if every cell was executed."""
    if not executed.exists():
        return "ended without an executed notebook"
    cells = nbformat.read(executed, as_version=4).cells
    cells = [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", ())]
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            if any(output.output_type == "error" for output in cell.outputs):
                return f"stopped after cell {number} of {len(cells)}, which left the notebook with sys.exit()"
            if cell.execution_count is None:
                return f"stopped before cell {number} of {len(cells)}, which was never executed"
    return ""


def why_not_exported(notebook: Notebook, output_dir: Path, before: int | None) -> str:
    """Half a sentence, or nothing if the record is newer than ``before`` (ns) and every export exists as it says."""
    path = record_path(output_dir, notebook.name)
    if not path.exists() or path.stat().st_mtime_ns == before:
        return "ran to its end but wrote no record; its last cell must be run.finish(...)"
    record = read_json(path)
    if record.get("status") != "done":
        return f'ran to its end but its record says "{record.get("status")}" instead of "done"'
    exports = record.get("exports", {})
    for name in notebook.makes:
        if name not in exports or not (output_dir / name).exists():
            return f'ran to its end but did not make {name}, which its metadata declares under "makes"'
    for name, digest in exports.items():
        if not (output_dir / name).exists() or digest_of_file(output_dir / name) != digest:
            return f"ran to its end but {name} is not the file that its record describes"
    return ""


def _keep(executed: Path, target: Path) -> None:
    """Save an executed notebook without paths of this machine and without text that a progress bar overwrote."""
    try:
        node = nbformat.read(executed, as_version=4)
    except nbformat.reader.NotJSONError:
        return  # papermill was killed while it saved
    papermill = node.metadata.get("papermill", {})
    papermill |= {key: Path(papermill[key]).name for key in ("input_path", "output_path") if papermill.get(key)}
    papermill.get("parameters", {}).pop("data_root", None)
    for output in (output for cell in node.cells for output in cell.get("outputs", ())):
        if output.output_type == "stream":
            lines = output.text.replace("\r\n", "\n").split("\n")
            output.text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
    with atomic_write(target) as temporary:
        nbformat.write(node, temporary)
