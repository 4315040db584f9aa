"""Where the seconds of a finished study went: per notebook from its record, per method from the runs in the cache."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from amfir_lib.run.ledger import cost_of
from amfir_lib.storage import read_json


def stage_seconds(results_dir: Path) -> pd.DataFrame:
    """One row per notebook of a study, in order, from the records.

    Raises:
        FileNotFoundError: the folder holds no record.
    """
    records = [read_json(path) for path in sorted((results_dir / "records").glob("[0-9]*.json"))]
    if not records:
        raise FileNotFoundError(f"{results_dir / 'records'} holds no record of a notebook. Run ./run_all.sh first.")
    table = pd.DataFrame({"notebook": record["notebook"], **cost_of(record)} for record in records)
    table = table[["notebook", "seconds", "peak_memory_bytes"]]
    table["peak_memory_bytes"] = (table["peak_memory_bytes"] / 2**20).round().astype(int)
    table.insert(2, "share", table["seconds"] / table["seconds"].sum())
    return table.rename(columns={"peak_memory_bytes": "peak memory (MB)"})


def method_seconds(cache_dir: Path, *, keys: set[str] | None = None) -> pd.DataFrame:
    """One row per method, the costliest first: training and validation of its runs, in seconds of one core.

    Runs that are assembled from trained parts take no time of their own and are left out.

    Args:
        cache_dir: of the study.
        keys: of the runs to count; all that the cache holds by default, those of older code and settings too.
    Raises:
        FileNotFoundError: the cache holds no such run.
    """
    rows = []
    for path in sorted((cache_dir / "runs").glob("*/*/record.json")):
        record = read_json(path)
        identity = record["identity"]
        if identity["parts"] or not record["seconds"] or (keys is not None and record["key"] not in keys):
            continue
        training = identity["training"]
        validations = -(-training["steps"] // training["validate_every"]) + 1
        sizes = {"ms per step": 1e3 * record["step_seconds"], "steps": training["steps"], "validations": validations}
        rows.append({"method": record["title"], "seconds": record["seconds"], **sizes})
    if not rows:
        raise FileNotFoundError(f"{cache_dir / 'runs'} holds no trained run. Run ./run_all.sh first.")
    runs = pd.DataFrame(rows).groupby("method")
    table = runs["seconds"].agg(runs="size", seconds="sum")
    table["share"] = table["seconds"] / table["seconds"].sum()
    table["seconds per run"] = table["seconds"] / table["runs"]
    table = table.join(runs[["ms per step", "steps", "validations"]].median())
    return table.sort_values("seconds", ascending=False).reset_index()


def run_keys(results_dir: Path) -> set[str]:
    """Keys of the runs that the notebooks of a study name in their records."""
    records = map(read_json, (results_dir / "records").glob("[0-9]*.json"))
    return {run["key"] for record in records for run in record["numbers"].get("runs", []) if "key" in run}


def report(results_dir: Path, cache_dir: Path, output: Path | None) -> str:
    """Both tables as Markdown, printed and saved; runs that the records name, or all in the cache if they name none."""
    stages, keys = stage_seconds(results_dir), run_keys(results_dir) or None
    methods = method_seconds(cache_dir, keys=keys)
    total, core = stages["seconds"].sum(), methods["seconds"].sum()
    stages["share"], methods["share"] = (table["share"].map("{:.1%}".format) for table in (stages, methods))
    rounded = methods.round({"seconds": 0, "seconds per run": 1, "ms per step": 1})
    text = (
        f"# Where the seconds go\n\nNotebooks, one after another: {total / 60:.1f} minutes of wall clock. What the "
        f"cache held before a notebook ran took it no time.\n\n{stages.to_markdown(index=False)}\n\nTraining with its "
        f"validations: {core / 60:.1f} minutes of one core over {methods['runs'].sum()} runs.\n\n"
        f"{rounded.to_markdown(index=False)}\n"
    )
    print(text)
    if output is not None:
        (output / "study_seconds.md").write_text(text, encoding="utf-8")
    return text
