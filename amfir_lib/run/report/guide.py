"""GUIDE.md of a study: each notebook's figures, tables and claims with its command, its time and the values to expect,
what the notebooks found in words, and every ablation with its command.

Written after each run from what the notebooks declare and what lies in the study's folder; nothing is typed by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.analysis.claims import NOT_TESTABLE, NOT_TESTED, OnBasis, statements
from amfir_lib.run.display import format_seconds
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.listing import title_of
from amfir_lib.run.notebooks import Notebook, find_notebooks, read_notebook
from amfir_lib.run.report.expected_time import alone_seconds
from amfir_lib.run.report.guide_ablations import LEAD, ablation_row
from amfir_lib.run.report.numbers import value_of_figure
from amfir_lib.run.report.reruns import ablations, available
from amfir_lib.run.report.shown import value_of_shown
from amfir_lib.storage import atomic_write, read_json

FILE = "GUIDE.md"
NOWHERE = "Measured by no notebook"


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
        f"Written by the runner from the records and tables of this folder. Times were measured{where}. A time is that "
        "of a notebook after those before it, from whose cache it takes clips, features and trained runs. *Alone* is "
        "what it takes from an empty cache: about its own time, the preparation of the data, and the training of the "
        "runs that it shares with earlier notebooks, as their records say. "
        "A value is written as in the table that the row links to; a CSV file holds shares, in which 59.1 % is 0.591. "
        "`./run_all.sh check` regenerates all tables and compares every cell.",
        "## Figures and tables",
        *_by_notebook(_exports(output_dir, notebooks, records), records, command),
    ]
    claims = _claims(output_dir)
    if claims:
        parts += ["## Claims", "A cell is one data set at one number of ways and shots."]
        parts += _by_notebook(claims, records, command)
    parts += _words(notebooks, records)
    rows = available(ablations(), notebooks)
    if rows:
        table = _markdown([ablation_row(row, output_dir, records, command) for row in rows])
        parts += ["## Ablations", LEAD, table]
    return "\n\n".join(parts) + "\n"


def _by_notebook(rows: Mapping[str, list[dict[str, str]]], records: Mapping[str, Any], command: str) -> list[str]:
    """A table for each notebook, under its command and time; notebook "" for what none measures."""
    parts = []
    for name, own in rows.items():
        parts += [f"### {name}", f"`{command} --only {name}`: {_time(records, name)}"] if name else [f"### {NOWHERE}"]
        parts.append(_markdown(own))
    return parts


def _markdown(rows: list[dict[str, str]]) -> str:
    frame = pd.DataFrame(rows).map(lambda text: str(text).replace("|", "\\|").replace("\n", " "))
    return frame.to_markdown(index=False, disable_numparse=True)


def _time(records: Mapping[str, Any], notebook: str) -> str:
    """``52 s after the earlier ones, alone about 14 min``."""
    seconds = cost_of(records.get(notebook, {})).get("seconds")
    if seconds is None:
        return "not run yet"
    alone = alone_seconds(notebook, records)
    return format_seconds(seconds) + (f"; alone about {math.ceil(alone / 60)} min" if alone > seconds else "")


def _exports(
    output_dir: Path, notebooks: Mapping[str, Notebook], records: Mapping[str, Any]
) -> dict[str, list[dict[str, str]]]:
    """Notebook -> a row for each of its figures and tables."""
    rows: dict[str, list[dict[str, str]]] = {}
    for name, notebook in notebooks.items():
        made_here = records.get(name, {}).get("exports", {})  # it may make more than it promises for every data set
        for made in dict.fromkeys(str(Path(path).with_suffix("")) for path in (*notebook.makes, *made_here)):
            is_table = made.startswith("tables/")
            row = {
                "what": f"[{made}]({made}.{'md' if is_table else 'png'})",
                "expected": _table_value(output_dir / f"{made}.md") if is_table else _value(output_dir, made),
            }
            rows.setdefault(name, []).append(row)
    return rows


def _table_value(path: Path) -> str:
    return value_of_shown(path.read_text(encoding="utf-8")) if path.exists() else "–"


def _value(output_dir: Path, figure: str) -> str:
    """A number of a figure, and the file that holds it."""
    if not (output_dir / f"{figure}.png").exists():
        return "–"
    found = value_of_figure(output_dir, Path(figure).name)
    return "pictures of clips, no table of numbers" if found is None else f"{found[0]} in [{found[1]}]({found[1]})"


def _words(notebooks: Mapping[str, Notebook], records: Mapping[str, Any]) -> list[str]:
    """What each notebook found, as it says itself."""
    found = []
    for name, notebook in notebooks.items():
        if summary := records.get(name, {}).get("numbers", {}).get("summary"):
            found += [f"### {title_of(notebook)}", summary]
    return ["## What the notebooks found, in words", *found] if found else []


def _claims(output_dir: Path) -> dict[str, list[dict[str, str]]]:
    """Notebook -> a row for each claim that it measures."""
    path = output_dir / "tables" / "claims.csv"
    if not path.exists():
        return {}
    rows: dict[str, list[dict[str, str]]] = {}
    for one in statements(pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")):
        row = {
            "claim": f"{one.claim} ({one.source})",
            "setting": one.setting or "–",
            "verdict": one.verdict,
            "expected": "<br>".join(_on_basis(found) for found in one.found),
        }
        rows.setdefault(one.notebook, []).append(row)
    return rows


def _on_basis(found: OnBasis) -> str:
    """What to find on one basis of a claim."""
    if found.verdict in (NOT_TESTED, NOT_TESTABLE):
        return found.value
    return f"{found.basis}: {found.value or '–'} ({found.verdict})"
