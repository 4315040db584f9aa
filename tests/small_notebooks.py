"""Small notebooks, sound and broken, for the tests of the runner."""

from __future__ import annotations

from pathlib import Path

import nbformat

PARAMETERS = 'profile: str = "smoke"  # smoke | study | paper\nn_way: int = 5  # classes per episode\nn_seeds: int = 0'
START = """
import pandas as pd
from amfir_lib import records
from amfir_lib.study.config import Config
config = Config.from_notebook(locals())
run = records.start("{name}", config)
"""
FINISH = 'run.finish(tables={{"{name}": pd.DataFrame({{"n_way": [n_way]}})}}, numbers={{"n_way": n_way}})'

# Writes table and record by itself, without the seconds that importing torch takes.
QUICK_FINISH = """
from pathlib import Path
import hashlib, json, os
folder = Path(os.environ["AMFIR_RESULTS_DIR"]) / "smoke"
if os.environ["AMFIR_VARIANT"]:
    folder = folder / "variants" / os.environ["AMFIR_VARIANT"]
(folder / "tables").mkdir(parents=True, exist_ok=True)
(folder / "records").mkdir(exist_ok=True)
(folder / "tables" / "{name}.csv").write_text(f"n_way\\n{{n_way}}\\n")
digest = hashlib.sha256((folder / "tables" / "{name}.csv").read_bytes()).hexdigest()[:16]
record = dict(status="done", exports={{"tables/{name}.csv": digest}})
(folder / "records" / "{name}.json").unlink(missing_ok=True)
(folder / "records" / "{name}.json").write_text(json.dumps(record))
"""


def write_notebook(
    folder: Path,
    name: str,
    *cells: str,
    parameters: str = PARAMETERS,
    start: bool = True,
    finish: bool = True,
    **declared: object,
) -> Path:
    """Write a notebook: title, parameters, start, the given code cells, and a last cell that finishes.

    Args:
        folder: where to.
        name: file name without suffix.
        cells: sources of the code cells in the middle.
        parameters: source of the parameters cell.
        start: whether there is a cell that starts the record.
        finish: whether there is a last cell that writes it.
        declared: entries of the metadata ``amfir``; default: it makes one table of its own name.
    Returns:
        Path of the notebook.
    """
    new = nbformat.v4
    nodes = [new.new_markdown_cell(f"# {name}"), new.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    sources = [*([START.format(name=name)] if start else []), *cells, *([FINISH.format(name=name)] if finish else [])]
    nodes += [new.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "amfir": {"makes": [f"tables/{name}"]} | declared}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new.new_notebook(cells=nodes, metadata=metadata), path)
    return path
