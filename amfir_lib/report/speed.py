"""What was measured of speed: each fast path beside the plain loop that gives the same results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from amfir_lib.storage import read_json

FOLDER = "benchmarks"  # of a study, with one JSON file per script of tests/benchmarks


def speed_table(output_dir: Path) -> str | None:
    """The comparisons as a Markdown table with the machine below it; None where nothing was measured."""
    compared = _compared(output_dir)
    if not compared:
        return None
    rows = [
        {"what": one["name"], "per": one["unit"]}
        | {"fast": _milliseconds(one["fast"]), "loop": _milliseconds(one["slow"]), "ratio": f"{_ratio(one):.1f}"}
        for one in compared
    ]
    aligned = ("left", "left", "right", "right", "right")
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=aligned)
    return f"{table}\n\nMedians of five, on {_machines(output_dir)}."


def speed_sentence(output_dir: Path) -> str | None:
    """How many times as fast, by what the names of the comparisons begin with, from the least to the most."""
    kinds: dict[str, list[float]] = {}
    for one in _compared(output_dir):
        kinds.setdefault(one["name"].split(" of ")[0], []).append(_ratio(one))
    if not kinds:
        return None
    spans = [f"{kind} {min(ratios):.1f} to {max(ratios):.1f}" for kind, ratios in kinds.items()]
    return f"Times as fast as the loop: {', '.join(spans)} (medians of five, on {_machines(output_dir)})."


def _records(output_dir: Path) -> list[Mapping[str, Any]]:
    return [read_json(path) for path in sorted((output_dir / FOLDER).glob("*.json"))]


def _compared(output_dir: Path) -> list[Mapping[str, Any]]:
    return [one for record in _records(output_dir) for one in record["comparisons"]]


def _machines(output_dir: Path) -> str:
    found = {"{device_name}, {threads} threads".format(**record["machine"]) for record in _records(output_dir)}
    return "; ".join(sorted(found))


def _milliseconds(seconds: list[float]) -> str:
    return f"{1e3 * median(seconds):.3g} ms"


def _ratio(one: Mapping[str, Any]) -> float:
    return median(one["slow"]) / median(one["fast"])
