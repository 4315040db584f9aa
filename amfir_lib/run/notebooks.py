"""A notebook as the runner sees it: its parameters, what it makes, what it needs, how long it may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

from amfir_lib.errors import AmfirError, DataNotFound, NotebookFailed, unknown_name
from amfir_lib.run.parameters import Parameter, read_parameters
from amfir_lib.storage import digest_of

DEFAULT_TIMEOUT_S = 4 * 3600.0
SUFFIXES = {"figures": (".png", ".pdf"), "tables": (".csv", ".md", ".tex")}


@dataclass(frozen=True)
class Notebook:
    """One notebook of the study.

    Attributes:
        name: file name without suffix, such as ``03_free_energy``.
        path: the committed file.
        parameters: what its parameters cell declares.
        makes: exports that must exist when it is done, relative to the study's folder.
        needs: notebooks that must not have failed before it.
        timeout_s: seconds after which it counts as hanging.
        n_cells: number of cells, prose included.
        digest: digest of the sources of its cells and of its declarations; outputs do not count.
    """

    name: str
    path: Path
    parameters: dict[str, Parameter]
    makes: tuple[str, ...]
    needs: tuple[str, ...]
    timeout_s: float
    n_cells: int
    digest: str


def read_notebook(path: Path) -> Notebook:
    """Read what a notebook declares.

    Raises:
        NotebookFailed: the file is no notebook, or its parameters cell is no Python.
    """
    try:
        node = nbformat.read(path, as_version=4)
        cells = [cell for cell in node.cells if "parameters" in cell.metadata.get("tags", ())]
        parameters = read_parameters(cells[0].source) if cells else {}
    except AmfirError as error:
        raise type(error)(f"{path.stem}: {error}") from error
    except Exception as error:
        raise NotebookFailed(f"{path.name} cannot be read as a notebook: {error}") from error
    declared = node.metadata.get("amfir", {})
    return Notebook(
        name=path.stem,
        path=path,
        parameters=parameters,
        makes=expand_exports(declared.get("makes", ())),
        needs=tuple(declared.get("needs", ())),
        timeout_s=float(declared.get("timeout_s", DEFAULT_TIMEOUT_S)),
        n_cells=len(node.cells),
        digest=digest_of([[cell.cell_type, cell.source] for cell in node.cells] + [dict(declared)]),
    )


def expand_exports(names: Sequence[str]) -> tuple[str, ...]:
    """Give exports without suffix all the suffixes of their kind: ``tables/nway`` is .csv, .md and .tex."""
    expanded = []
    for name in names:
        suffixes = SUFFIXES.get(name.partition("/")[0], ("",)) if not Path(name).suffix else ("",)
        expanded += [name + suffix for suffix in suffixes]
    return tuple(expanded)


def find_notebooks(folder: Path) -> dict[str, Path]:
    """Name -> path of the study's notebooks, in the order in which they run (by file name).

    Raises:
        DataNotFound: the folder holds none.
    """
    found = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise DataNotFound(f"There are no notebooks named like 00_tour.ipynb in {folder}.")
    return found


def select_notebooks(found: dict[str, Path], only: Sequence[str]) -> list[Path]:
    """The notebooks named by ``only`` (a full name or its number), in running order; all of them when it is empty.

    Raises:
        UnknownName: no such notebook; the nearest name is suggested.
    """
    chosen = set()
    for wanted in only:
        name = wanted.strip().removesuffix(".ipynb")
        matches = [known for known in found if known == name or (name.isdigit() and known.startswith(f"{name:0>2}_"))]
        if not matches:
            raise unknown_name("notebook", wanted, found)
        chosen.update(matches)
    return [path for name, path in found.items() if not only or name in chosen]
