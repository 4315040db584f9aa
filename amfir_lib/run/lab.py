"""What JupyterLab does with the study's notebooks when they are saved."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def save_without_outputs(model: dict[str, Any], path: str, **_: Any) -> None:
    """Hook of Jupyter's contents manager: a notebook of the study goes to ``notebooks/`` as it is committed.

    The page keeps its outputs, and ``git diff`` shows what a person changed, nothing else.
    """
    notebook = model.get("content")
    if model["type"] != "notebook" or PurePosixPath(path).parts[:-1] != ("notebooks",):
        return
    if "amfir" not in notebook["metadata"]:  # a notebook of somebody's own
        return
    notebook["metadata"] |= METADATA
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            cell["metadata"].pop("execution", None)
