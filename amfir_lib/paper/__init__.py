"""The paper's published numbers, as printed: for comparison only, never as something that this study reproduced.

Source: "Active Multimodal Distillation for Few-shot Action Recognition", arXiv:2506.13322.  ``paper_table1.csv`` and
``paper_table2.csv`` hold its tables, ``paper_table1_notes.csv`` the cells that look wrong and why, and
``paper_text_numbers.csv`` what its text says about the figures (the figures' own values are not printed).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from amfir_lib.errors import unknown_name

FOLDER = Path(__file__).parent


def published(name: str) -> pd.DataFrame:
    """One of the files: ``table1``, ``table1_notes``, ``table2`` or ``text_numbers``."""
    files = {path.stem.removeprefix("paper_"): path for path in FOLDER.glob("*.csv")}
    if name not in files:
        raise unknown_name("set of published numbers", name, files)
    return pd.read_csv(files[name])


def published_plateau() -> float:
    """The free energy, in nats, at which the paper says that both curves of its Figure 2 settle (Sec. 4.2)."""
    numbers = published("text_numbers")
    (value,) = numbers.loc[numbers["quantity"] == "free_energy_converged", "value"].unique()
    return float(value)
