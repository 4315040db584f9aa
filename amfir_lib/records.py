"""The account of one notebook: when it started, what it made, from what, and on which machine.

The last cell of every notebook calls ``run.finish(...)``, which writes figures and tables, and then, last of all, the
record.  A record is an output, never an input; a notebook without a new record counts as not done.
"""

from __future__ import annotations

import ast
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from amfir_lib import __version__, paths
from amfir_lib.errors import unknown_name
from amfir_lib.exports import Table, write_drawn, write_figure, write_table
from amfir_lib.storage import digest_of_file, plain, read_json, write_json
from amfir_lib.workers import available_cores, resolve_device

VARIANT = "AMFIR_VARIANT"  # the name of a variant, which the runner always sets; empty for the baseline
SHARED = ("group_pattern", "n_seeds", "seed")  # parameters that every notebook has
# A change elsewhere (prose, tests, results) does not change what a notebook computes.
CODE_PATHS = ("amfir_lib", "notebooks", "run_all.sh", "requirements.lock")
PACKAGES = (
    "torch torchvision numpy scipy pandas matplotlib seaborn papermill joblib opencv-python "
    "opencv-python-headless opencv-contrib-python opencv-contrib-python-headless safetensors efficientnet-lite-pytorch"
).split()


class NotebookRun:
    """One execution of one notebook, from ``start`` to ``finish``, with its ``study.config.Config``."""

    def __init__(self, notebook: str, config: Any) -> None:
        self.notebook, self.config, self.output_dir = notebook, config, config.output_dir
        self._started = time.monotonic()

    def finish(
        self,
        figures: Mapping[str, Figure] | None = None,
        tables: Mapping[str, Table | pd.DataFrame] | None = None,
        numbers: Mapping[str, Any] | None = None,
        notes: str = "",
        drawn: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        """Write the exports and then the record; the last cell of the notebook, always.

        Args:
            figures: name -> figure; written to figures/NAME.png, and .pdf unless it is mostly pictures.
            tables: name -> table; written to tables/NAME.csv, .md and .tex.
            numbers: what the text quotes; anything that JSON can hold, NumPy scalars and arrays included.
            notes: what must stand under every table and figure; put after each caption that does not have it.
            drawn: name of a figure -> the numbers that it draws, where no table has them: figures/NAME.csv.
        """
        figures, drawn, written = figures or {}, drawn or {}, []
        for name in drawn.keys() - figures.keys():
            raise unknown_name("figure", name, figures)

        def ended(caption: str) -> str:
            return caption if notes in caption else f"{caption} {notes}".lstrip()

        tables = {name: table if isinstance(table, Table) else Table(table) for name, table in (tables or {}).items()}
        tables = {name: replace(table, caption=ended(table.caption)) for name, table in tables.items()}
        for name, figure in figures.items():
            written += write_figure(figure, self.output_dir / "figures" / name)
        written += [write_drawn(frame, self.output_dir / "figures" / name) for name, frame in drawn.items()]
        for name, table in tables.items():
            written += write_table(table, self.output_dir / "tables" / name)
        exports = {path.relative_to(self.output_dir).as_posix(): digest_of_file(path) for path in written}
        captions = {f"figures/{name}": ended(figure.get_label()) for name, figure in figures.items()}
        record = self.describe() | {"numbers": plain(numbers or {}), "exports": exports, "status": "done"}
        record["tables"] = {name: table.declaration() for name, table in tables.items()}
        record["captions"] = {name: caption for name, caption in captions.items() if caption}
        write_json(self.output_dir / "records" / f"{self.notebook}.json", record)
        if VARIANT not in os.environ:  # else the runner says it
            print(f"{len(exports)} files and the record were written to {paths.for_display(self.output_dir)}.")

    def describe(self) -> dict[str, Any]:
        """Everything in the record but numbers and exports: parameters, seeds, code, packages, device, time, memory."""
        config = self.config
        return {
            "notebook": self.notebook,
            "study": config.study,
            "variant": config.variant,
            "profile": asdict(config.profile),
            "parameters": {
                "datasets": list(config.datasets),
                "data_root": config.data_root.name if config.data_root else None,  # no path of this machine
            }
            | {name: getattr(config, name) for name in SHARED},
            "options": plain(config.options),
            "seeds": list(config.seeds),
            "code": code_version(),
            "environment": environment_record(config.device),
            "seconds": round(time.monotonic() - self._started, 1),
            "peak_memory_bytes": peak_memory(),
        }


def start(notebook: str, config: Any) -> NotebookRun:
    """Begin the account of a notebook; call it once, after the parameters.

    Args:
        notebook: file name without suffix.  Where the file is found, options that its parameters cell does not declare
            (variables of earlier runs in an open session) are left out.
        config: from ``Config.from_notebook(locals())``.

    Without the runner (in Lab, by papermill or nbconvert), a notebook whose parameters differ from those of its record,
    or whose shared ones differ from those of the other records there, is a variant: it is written beside them.
    """
    path = paths.NOTEBOOKS / f"{notebook}.ipynb"
    if path.exists():
        cells = [cell for cell in read_json(path)["cells"] if "parameters" in cell["metadata"].get("tags", ())]
        tree = ast.parse("".join(line for cell in cells for line in cell["source"]))
        declared = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        config = replace(config, options={name: x for name, x in config.options.items() if name in declared})
    path = config.output_dir / "records" / f"{notebook}.json"
    there = next((record for record in (path, *sorted(path.parent.glob("*.json"))) if record.exists()), None)
    if VARIANT not in os.environ and there is not None:
        record = read_json(there)
        before = (record.get("options", {}) if there == path else {}) | record.get("parameters", {})
        now = plain(config.options) | {name: getattr(config, name) for name in SHARED}
        changes = {name: value for name, value in now.items() if name in before and value != before[name]}
        if changes:
            config = config.as_variant(changes)
            print(
                f"{', '.join(changes)} differ from the results in {paths.for_display(path.parents[1])}, which stay: "
                f"this is written to {paths.for_display(config.output_dir)}."
            )
    return NotebookRun(notebook, config)


def environment_record(device: str = "cpu") -> dict[str, Any]:
    """The machine and the packages: Python, system, cores, versions, and what the device turned out to be."""
    resolved = resolve_device(device)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "device": resolved,
        "device_name": _device_name(resolved),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def code_version(repository: Path = paths.REPOSITORY) -> dict[str, Any]:
    """Version of the package, ``commit``, and whether code is ``dirty``: differs from it; None where git has none."""
    commit = _git(repository, "rev-parse", "HEAD")
    changed = _git(repository, "status", "--porcelain", "--", *CODE_PATHS) if commit else None
    return {"version": __version__, "commit": commit, "dirty": bool(changed) if changed is not None else None}


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (of its largest ended worker, if that had more)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _device_name(device: str) -> str:
    if device == "cpu":
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.processor() or platform.machine()
    import torch

    return torch.cuda.get_device_name(device)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(repository: Path, *arguments: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, timeout=30, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
