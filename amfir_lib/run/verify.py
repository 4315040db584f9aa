"""Is a notebook really done?  Exit status and papermill's own metadata are not enough to say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from amfir_lib.run.notebooks import Notebook
from amfir_lib.storage import digest_of_file, read_json


def record_path(output_dir: Path, notebook: str) -> Path:
    """The record that a notebook's last cell writes, last of all."""
    return output_dir / "records" / f"{notebook}.json"


def file_state(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None when it does not exist."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def why_not_all_cells_ran(executed: Path) -> str | None:
    """Find the cell at which a notebook stopped without an error.

    Args:
        executed: the notebook that papermill saved.
    Returns:
        None if every code cell was executed, else half a sentence that names the cell (counted from 1, prose cells
        included, injected cells not).
    """
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if "injected-parameters" not in _tags(cell)]
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if any(output.output_type == "error" for output in cell.outputs):
            return f"stopped after cell {number} of {len(cells)}, which left the notebook with sys.exit()"
        if cell.execution_count is None:
            return f"stopped before cell {number} of {len(cells)}, which was never executed"
    return None


def why_not_exported(notebook: Notebook, output_dir: Path, before: tuple[int, int] | None) -> str | None:
    """Check the record and the exports.

    Args:
        notebook: what was run.
        output_dir: the study's folder.
        before: ``file_state`` of the record before the run.
    Returns:
        None if the record is new and every declared export exists as recorded, else half a sentence.
    """
    path = record_path(output_dir, notebook.name)
    if file_state(path) in (None, before):
        return "ran to its end but wrote no record; its last cell must be run.finish(...)"
    record: dict[str, Any] = read_json(path)
    if record.get("status") != "done":
        return f'ran to its end but its record says "{record.get("status")}" instead of "done"'
    exports = record.get("exports", {})
    for name in notebook.makes:
        if name not in exports or not (output_dir / name).exists():
            return f'ran to its end but did not make {name}, which its metadata declares under "makes"'
    for name, digest in exports.items():
        if not (output_dir / name).exists() or digest_of_file(output_dir / name) != digest:
            return f"ran to its end but {name} is not the file that its record describes"
    return None


def tidy(executed: Path) -> nbformat.NotebookNode:
    """Read an executed notebook and take out what is of this machine or this moment only.

    Paths in papermill's metadata become file names; text that a progress bar overwrote is left out, as on a terminal.
    """
    node = nbformat.read(executed, as_version=4)
    papermill = node.metadata.get("papermill", {})
    for key in ("input_path", "output_path"):
        if papermill.get(key):
            papermill[key] = f"{Path(papermill[key]).name}"
    papermill.get("parameters", {}).pop("data_root", None)
    for cell in node.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                lines = output.text.replace("\r\n", "\n").split("\n")
                output.text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return node


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])
