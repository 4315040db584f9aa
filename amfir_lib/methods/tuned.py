"""What the hyper-parameter search found for each method: the chosen rows of the table ``tuned.csv``.

The table is written by ``python -m amfir_lib.study.search``, on validation classes of two benchmarks, with the same
number of trials for every method.  It is kept in the repository: a study reads it and does not repeat the search.  The
same method on flow takes what was found on appearance, and AMFAR what was found for AMFIR: only the score differs.  A
method that still gained two points of validation accuracy in a second round of steps trains twice as long as the
others.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

SAME_AS = {"amfar": "amfir", "protonet_f": "protonet", "trx_f": "trx", "strm_f": "strm"}
TABLE = Path(__file__).with_name("tuned.csv")


@lru_cache(maxsize=1)
def _chosen() -> dict[str, dict[str, float]]:
    if not TABLE.exists():
        return {}
    frame = pd.read_csv(TABLE)
    rows = frame[frame["chosen"]].set_index("method")
    return {
        str(name): {"lr": float(row["lr"]), "logit_scale": float(row["logit_scale"]), "longer": int(row["longer"])}
        for name, row in rows.iterrows()
    }


def training(method: str, settings: Any) -> Any:
    """The settings of a training with the learning rate and the length that were found; unchanged where none were."""
    found = _chosen().get(SAME_AS.get(method, method))
    return replace(settings, lr=found["lr"], steps=found["longer"] * settings.steps) if found else settings


def options(method: str) -> dict[str, float]:
    """The options that were found for a method: its initial inverse temperature; empty where none was."""
    found = _chosen().get(SAME_AS.get(method, method))
    return {"logit_scale": found["logit_scale"]} if found else {}
