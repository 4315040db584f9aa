"""The paper's published numbers, as printed: for comparison only, never as something that this study reproduced.

Source: "Active Multimodal Distillation for Few-shot Action Recognition", arXiv:2506.13322.  ``paper_table1.csv`` and
``paper_table2.csv`` hold its tables, ``paper_table1_notes.csv`` the cells that look wrong and why, and
``paper_text_numbers.csv`` what its text says about the figures (the figures' own values are not printed), and
``paper_untested_claims.csv`` what it claims that nothing here can measure.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from amfir_lib.errors import unknown_name

FOLDER = Path(__file__).parent
# what our benchmarks, and folders of the real ones, are called -> the paper's column
COLUMNS = {"kinetics": "Kinetics", "ssv2": "SSv2", "hmdb": "HMDB51", "ucf": "UCF101"}
# verdicts of the notes that leave a printed number standing
SOUND = ("agrees", "as printed", "recalled alike", "plausible")


def published(name: str) -> pd.DataFrame:
    """One of the files: ``table1``, ``table1_notes``, ``table2``, ``text_numbers`` or ``untested_claims``."""
    files = {path.stem.removeprefix("paper_"): path for path in FOLDER.glob("*.csv")}
    if name not in files:
        raise unknown_name("set of published numbers", name, files)
    return pd.read_csv(files[name])


def published_plateau() -> float:
    """The free energy, in nats, at which the paper says that both curves of its Figure 2 settle (Sec. 4.2)."""
    numbers = published("text_numbers")
    (value,) = numbers.loc[numbers["quantity"] == "free_energy_converged", "value"].unique()
    return float(value)


def published_name(dataset: str) -> str:
    """The column of the paper's tables that a data set stands beside; empty for one that has none.

    ``synth-kinetics`` and ``kinetics-100`` stand beside Kinetics; the small subset of SSv2 beside nothing, because the
    paper's column is the full one.
    """
    name = dataset.lower().removeprefix("synth-")
    if "small" in name:
        return ""
    return next((column for start, column in COLUMNS.items() if name.startswith(start)), "")


def doubtful_cells() -> dict[tuple[str, str, int], str]:
    """(method, data set, shots) of Table 1 -> why the printed number looks wrong."""
    notes = published("table1_notes")
    notes = notes[~notes["verdict"].isin(SOUND)]
    return {(note.method, note.dataset, int(note.shot)): f"{note.verdict}: {note.basis}" for note in notes.itertuples()}
