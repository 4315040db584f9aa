"""The results folder of a study with one small notebook, made by the code that makes real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from amfir_lib import records
from amfir_lib.exports import Table
from amfir_lib.study.config import Config

CLAIM = {
    "key": "one", "claim": "AMFIR beats <b>late</b> fusion.", "source": "Sec. 4.2", "setting": "5-way",
    "basis": "all queries", "value": "+0.7 ± 1.4 points", "verdict": "undecided", "notebook": "90_small",
    "paper": "+2.1", "overall": "undecided",
}  # fmt: skip
CLAIMS = [
    CLAIM,
    CLAIM | {"basis": "undegraded queries", "value": "−2.2 ± 1.0 points", "verdict": "does not hold"},
    CLAIM | {"basis": "degradation-free copies", "value": "+3.3 ± 1.1 points", "verdict": "holds", "setting": "copies"},
    {
        "key": "two", "claim": "It needs less time.", "source": "Sec. 4.6", "setting": "", "basis": "all queries",
        "value": "no such clips", "verdict": "not tested here", "notebook": "", "paper": "",
        "overall": "not tested here",
    },
]  # fmt: skip


def make_study(results: Path, *, study: str = "study", variant: str = "", kd_lambda: float = 1.0) -> Path:
    """Write records, exports and the executed copy of ``90_small``; returns the study's folder."""
    given = {"profile": "study", "kd_lambda": kd_lambda}
    config = replace(Config.from_notebook(given, environ={}), results_dir=results, study=study, variant=variant)
    run = records.start("90_small", config)
    figure, loose = Figure(figsize=(3.4, 2)), Figure(figsize=(3.4, 2))
    figure.add_subplot().plot([0, 1], [0, 1])
    loose.add_axes((0, 0, 1, 1)).imshow([[0.0, 1.0]], aspect="auto")  # a picture, so it has no PDF
    figure.set_label("Accuracy in %; synthetic clips.")
    accuracy = Table(pd.DataFrame({"method": ["AMFIR", "a|b"], "accuracy": [0.5, 0.25]}), caption="± covers classes.")
    tables = {"table1": Table(pd.DataFrame({"method": ["TRX"]}), caption="The *first* table.")}
    tables["streams"] = Table(pd.DataFrame({"line": ["RGB"]}), caption="Its branches.")
    run.finish(
        figures={"curve": figure, "loose": loose},
        tables={"accuracy": accuracy} | tables,
        numbers={"summary": "AMFIR is **not shown** to differ."},
        drawn={"curve": pd.DataFrame({"step": [0, 1], "accuracy": [0.0, 1.0]})},
    )
    pd.DataFrame(CLAIMS).to_csv(config.output_dir / "tables" / "claims.csv", index=False)
    widget = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
    generated = new_output("display_data", {"text/markdown": "A *generated* sentence."})
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# A small title\n\n**Claim**: a claim."),
            new_code_cell("show_figure(fig, caption)", outputs=[generated, widget]),
            new_markdown_cell("## Limits\n\nOne seed."),
        ]
    )
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    path = config.output_dir / "notebooks" / "90_small.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return config.output_dir
