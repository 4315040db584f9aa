"""GUIDE.md of a study: every figure, table and claim with the notebook, the command, the time and the value to expect,
and every ablation with its command.

Written after each run from what the notebooks declare and what lies in the study's folder; nothing is typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.checking.compare import key_columns
from amfir_lib.claims import NOT_TESTABLE, NOT_TESTED, OnBasis, statements
from amfir_lib.report.reruns import Ablation, ablations, available
from amfir_lib.running.display import format_seconds
from amfir_lib.running.notebooks import Notebook, find_notebooks, read_notebook
from amfir_lib.running.planning import parse_assignments, variant_name
from amfir_lib.storage import atomic_write, read_json
from amfir_lib.tables import percent
from amfir_lib.variants import TABLE

FILE = "GUIDE.md"
MAIN_COLUMNS = ("accuracy", "difference")  # shares whose interval is in half_width
MAIN_SERIES = "AMFIR"
KEYS = ("key",)  # names for programs, beside the titles for readers


def write(output_dir: Path, notebooks_dir: Path, *, command: str = "./run_all.sh") -> Path:
    """Write the guide of one study.

    Args:
        output_dir: folder of the study.
        notebooks_dir: folder of the notebooks.
        command: that makes the study, without the choice of notebooks.
    Returns:
        The file; equal results give equal bytes.
    """
    path = output_dir / FILE
    with atomic_write(path) as temporary:
        temporary.write_text(render(output_dir, notebooks_dir, command=command), encoding="utf-8")
    return path


def render(output_dir: Path, notebooks_dir: Path, *, command: str) -> str:
    """The text of the guide; arguments as ``write``."""
    notebooks = {name: read_notebook(path) for name, path in find_notebooks(notebooks_dir).items()}
    records = {path.stem: read_json(path) for path in sorted((output_dir / "records").glob("*.json"))}
    machine = next((r["environment"] for r in records.values() if "environment" in r), None)
    where = f" on {machine['cores']} CPU cores ({machine['device']})" if machine else ""
    parts = [
        f"# Guide to {output_dir.name}",
        f"Written by the runner from the records and tables of this folder. Times were measured{where} and include "
        "whatever the cache did not hold yet. `./run_all.sh check` regenerates all tables and compares every cell.",
        "## Figures and tables",
        _markdown(_exports(output_dir, notebooks, records, command)),
    ]
    claims = _claims(output_dir, records, command)
    if claims:
        parts += ["## Claims", _markdown(claims)]
    rows = available(ablations(), notebooks)
    if rows:
        parts += [
            "## Ablations",
            "Each command trains only what its parameter reaches, writes to `variants/` and prints the paired "
            "difference to the baseline with its interval. Options of the methods are refused with the nearest name "
            "where they are mistyped; reasons for the defaults: [decisions](tables/decisions.md).",
            _markdown([_ablation(row, output_dir, records, command) for row in rows]),
        ]
    return "\n\n".join(parts) + "\n"


def _markdown(rows: list[dict[str, str]]) -> str:
    frame = pd.DataFrame(rows).map(lambda text: str(text).replace("|", "\\|").replace("\n", " "))
    return frame.to_markdown(index=False, disable_numparse=True)


def _time(records: Mapping[str, Any], notebook: str) -> str:
    seconds = records.get(notebook, {}).get("seconds")
    return format_seconds(seconds) if seconds is not None else "not run yet"


def _exports(
    output_dir: Path, notebooks: Mapping[str, Notebook], records: Mapping[str, Any], command: str
) -> list[dict[str, str]]:
    rows = []
    for name, notebook in notebooks.items():
        made_here = records.get(name, {}).get(
            "exports", {}
        )  # a notebook may make more than it promises for every data set
        names = dict.fromkeys(str(Path(made).with_suffix("")) for made in (*notebook.makes, *made_here))
        tables = ", ".join(f"`{Path(made).name}`" for made in names if made.startswith("tables/"))
        for made in names:
            table = output_dir / f"{made}.csv"
            value = expected_value(table) if table.exists() else "–"
            if made.startswith("figures/"):
                value = f"the numbers are in {tables}" if tables else "–"
            rows.append(
                {
                    "what": f"[{made}]({made}.{'md' if table.exists() else 'png'})",
                    "command": f"`{command} --only {name}`",
                    "time": _time(records, name),
                    "expected": value,
                }
            )
    return rows


def expected_value(path: Path) -> str:
    """What to find in a table: its main number in AMFIR's first row (else the first), and how many rows it has."""
    frame = pd.read_csv(path)
    size = f"{len(frame)} rows"
    main = next((column for column in MAIN_COLUMNS if column in frame), None)
    if main is None or frame.empty:
        return size
    own = frame[(frame.select_dtypes(exclude="number") == MAIN_SERIES).any(axis=1)]
    row = (own if len(own) else frame).iloc[0]
    key = [column for column in key_columns(frame) if column not in KEYS]
    where = ", ".join(f"{row[column]}-shot" if column == "n_shot" else str(row[column]) for column in key)
    value = percent(row[main], row.get("half_width"), signed=main == "difference")
    return f"{where}: {main} {value} {'points' if main == 'difference' else '%'} ({size})"


def _claims(output_dir: Path, records: Mapping[str, Any], command: str) -> list[dict[str, str]]:
    path = output_dir / "tables" / "claims.csv"
    if not path.exists():
        return []
    rows = []
    for one in statements(pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")):
        measured = one.notebook in records
        rows.append(
            {
                "claim": f"{one.claim} ({one.source})",
                "setting": one.setting or "–",
                "command": f"`{command} --only {one.notebook}`" if measured else "–",
                "time": _time(records, one.notebook) if measured else "–",
                "verdict": one.verdict,
                "expected": "<br>".join(_on_basis(found) for found in one.found),
            }
        )
    return rows


def _on_basis(found: OnBasis) -> str:
    """What to find on one basis of a claim."""
    if found.verdict in (NOT_TESTED, NOT_TESTABLE):
        return found.value
    return f"{found.basis}: {found.value or '–'} ({found.verdict})"


def _ablation(row: Ablation, output_dir: Path, records: Mapping[str, Any], command: str) -> dict[str, str]:
    measured = [_variant(output_dir, row.notebook, assignment) for assignment in row.assignments]
    seconds = [one["seconds"] for one in measured if one]
    found = [f"{value}: {one['difference']}" for value, one in zip(row.values, measured, strict=True) if one]
    return {
        "ablation": f"{row.name}{f' [{row.decision}]' if row.decision else ''}",
        "compare": row.compare,
        "command": f"`{command} {row.options()}`",
        "other values": ", ".join(f"`{value}`" for value in row.values[1:]) or "–",
        "time": format_seconds(max(seconds)) if seconds else f"not measured; baseline {_time(records, row.notebook)}",
        "difference to the baseline": "; ".join(found) or "not run here",
    }


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
    return {"seconds": read_json(record)["seconds"], "difference": difference}
