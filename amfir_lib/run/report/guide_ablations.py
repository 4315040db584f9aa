"""The rows of the guide on ablations: command, time and, where the variant was run here, what it changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables import percent
from amfir_lib.analysis.variants import TABLE
from amfir_lib.run.display import format_seconds
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.planning import parse_assignments, variant_name
from amfir_lib.run.report.expected_time import estimate
from amfir_lib.run.report.reruns import Ablation
from amfir_lib.run.report.shown import MAIN_SERIES
from amfir_lib.storage import read_json

LEAD = (
    "Each command trains only what its parameter reaches, writes to `variants/` and prints the paired difference to "
    "the baseline with its interval. It pairs with what this machine computed, so run the baseline first: the same "
    "command without `-p`. Options of the methods are refused with the nearest name where they are mistyped; reasons "
    "for the defaults: [decisions](tables/decisions.md).\n\n"
    "A time is measured where the variant was run here. Elsewhere it is an estimate from the baseline's record, for a "
    "machine with nothing else to do: the lower end is the training of the runs that the parameter reaches, the upper "
    "end is that and all that the baseline took, which had runs to train, too. A run is taken to last as long as in "
    "the baseline; an enhancer or query-specific prototypes make it longer."
)


def ablation_row(row: Ablation, output_dir: Path, records: Mapping[str, Any], command: str) -> dict[str, str]:
    """One row of the table.

    Args:
        row: of ``reruns.ablations``.
        output_dir: folder of the study.
        records: notebook -> record of the baseline.
        command: that makes the study, without the choice of notebooks.
    """
    measured = [_variant(output_dir, row.notebook, assignment) for assignment in row.assignments]
    found = [f"{value}: {one['difference']}" for value, one in zip(row.values, measured, strict=True) if one]
    return {
        "ablation": f"{row.name}{f' [{row.decision}]' if row.decision else ''}",
        "compare": row.compare,
        "command": f"`{command} {row.options()}`",
        "other values": ", ".join(f"`{value}`" for value in row.values[1:]) or "–",
        "time": _time(row, [one["seconds"] for one in measured if one], records.get(row.notebook)),
        "difference to the baseline": "; ".join(found) or "not run here",
    }


def _time(row: Ablation, measured: list[float], record: Mapping[str, Any] | None) -> str:
    if measured:
        return f"{format_seconds(max(measured))}, measured"
    if record is None:
        return "baseline not run yet"
    expected = estimate(row, record)
    return expected.words if expected else f"not measured; baseline {format_seconds(cost_of(record)['seconds'])}"


def _variant(output_dir: Path, notebook: str, assignment: str) -> dict[str, Any] | None:
    """Seconds of a variant that was run here and, in words, AMFIR's difference to the baseline; None if it was not."""
    folder = output_dir / "variants" / variant_name(parse_assignments([assignment]))
    record, table = folder / "records" / f"{notebook}.json", folder / "tables" / f"{TABLE}.csv"
    if not record.exists():
        return None
    difference = "not paired"
    if table.exists():
        frame = pd.read_csv(table)
        frame = frame[frame["notebook"] == notebook]
        own = frame[frame["series"] == MAIN_SERIES]
        own = own if len(own) else frame
        low, high = own["difference"].min(), own["difference"].max()
        if np.isfinite([low, high]).all():
            decided = int((own["verdict"] != "undecided").sum())
            span = f"{percent(low, signed=True)} to {percent(high, signed=True)} points"
            difference = f"{span} in {len(own)} cells, {decided} of them decided"
    return {"seconds": cost_of(read_json(record))["seconds"], "difference": difference}
