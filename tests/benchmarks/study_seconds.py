"""Where the seconds of a finished study went: per notebook from its record, per method from the runs in the cache."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from amfir_lib.run.ledger import cost_of
from amfir_lib.storage import read_json


def stage_seconds(results_dir: Path) -> pd.DataFrame:
    """One row per notebook of a study, in order, from the records.

    Args:
        results_dir: folder of the study, such as results/study.
    Returns:
        Columns ``notebook``, ``seconds`` (wall clock), ``share`` of the whole and ``peak memory (MB)``.
    Raises:
        FileNotFoundError: the folder holds no record.
    """
    records = [read_json(path) for path in sorted((results_dir / "records").glob("[0-9]*.json"))]
    if not records:
        raise FileNotFoundError(f"{results_dir / 'records'} holds no record of a notebook. Run ./run_all.sh first.")
    table = pd.DataFrame(
        {
            "notebook": record["notebook"],
            "seconds": cost_of(record)["seconds"],
            "peak memory (MB)": round(cost_of(record)["peak_memory_bytes"] / 2**20),
        }
        for record in records
    )
    table.insert(2, "share", table["seconds"] / table["seconds"].sum())
    return table


def method_seconds(cache_dir: Path, *, keys: set[str] | None = None) -> pd.DataFrame:
    """One row per method, the costliest first: training and validation of its runs, each on one core.

    Runs that are assembled from trained parts take no time of their own and are left out.  Tests of a run, and the
    time that a worker waits, are in the notebooks' seconds alone.

    Args:
        cache_dir: of the study.
        keys: of the runs to count; all that the cache holds by default, those of older code and settings too.
    Returns:
        Columns ``method``, ``runs``, ``seconds`` (of one core), ``share``, ``seconds per run``, ``ms per step`` with
        its share of the validations, ``steps`` and ``validations``.
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
        rows.append(
            {
                "method": record["title"],
                "seconds": record["seconds"],
                "steps": training["steps"],
                "validations": -(-training["steps"] // training["validate_every"]) + 1,
                "ms per step": 1e3 * record["step_seconds"],
            }
        )
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
    keys = set()
    for path in (results_dir / "records").glob("[0-9]*.json"):
        runs = read_json(path)["numbers"].get("runs", [])
        keys |= {run["key"] for run in runs if isinstance(run, dict) and "key" in run}
    return keys


def as_markdown(results_dir: Path, cache_dir: Path) -> str:
    """Both tables, with what they cover; runs that the records name, or all in the cache if they name none."""
    stages = stage_seconds(results_dir)
    keys = run_keys(results_dir) or None
    methods = method_seconds(cache_dir, keys=keys)
    total, core = stages["seconds"].sum(), methods["seconds"].sum()
    stages["share"], methods["share"] = (x["share"].map("{:.1%}".format) for x in (stages, methods))
    rounded = methods.round({"seconds": 0, "seconds per run": 1, "ms per step": 1})
    return "\n".join(
        [
            "# Where the seconds go",
            "",
            f"Notebooks, one after another: {total / 60:.1f} minutes of wall clock.  What the cache held before a "
            "notebook ran took it no time.",
            "",
            stages.to_markdown(index=False),
            "",
            f"Training with its validations: {core / 60:.1f} minutes of one core over {methods['runs'].sum()} runs, "
            f"which {'the records of the notebooks name' if keys else 'the cache holds'}.",
            "",
            rounded.to_markdown(index=False),
            "",
        ]
    )
