"""GUIDE.md of a study: every figure, table and claim with the notebook, the command, the time and the value to expect,
what the notebooks found in words, and every ablation with its command.

Written after each run from what the notebooks declare and what lies in the study's folder; nothing is typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.checking.compare import key_columns
from amfir_lib.claims import NOT_TESTABLE, NOT_TESTED, OnBasis, statements
from amfir_lib.report.guide_ablations import LEAD, MAIN_SERIES, ablation_row
from amfir_lib.report.reruns import ablations, available
from amfir_lib.running.display import format_seconds
from amfir_lib.running.ledger import cost_of
from amfir_lib.running.listing import title_of
from amfir_lib.running.notebooks import Notebook, find_notebooks, read_notebook
from amfir_lib.storage import atomic_write, read_json
from amfir_lib.tables import percent

FILE = "GUIDE.md"
MAIN_COLUMNS = ("accuracy", "difference")  # shares whose interval is in half_width
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
    parts += _words(notebooks, records)
    rows = available(ablations(), notebooks)
    if rows:
        table = _markdown([ablation_row(row, output_dir, records, command) for row in rows])
        parts += ["## Ablations", LEAD, table]
    return "\n\n".join(parts) + "\n"


def _markdown(rows: list[dict[str, str]]) -> str:
    frame = pd.DataFrame(rows).map(lambda text: str(text).replace("|", "\\|").replace("\n", " "))
    return frame.to_markdown(index=False, disable_numparse=True)


def _time(records: Mapping[str, Any], notebook: str) -> str:
    seconds = cost_of(records.get(notebook, {})).get("seconds")
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


def _words(notebooks: Mapping[str, Notebook], records: Mapping[str, Any]) -> list[str]:
    """What each notebook found, as it says itself."""
    found = []
    for name, notebook in notebooks.items():
        if summary := records.get(name, {}).get("numbers", {}).get("summary"):
            found += [f"### {title_of(notebook)}", summary]
    return ["## What the notebooks found, in words", *found] if found else []


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
