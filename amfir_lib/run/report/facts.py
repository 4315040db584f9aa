"""What was run: code, packages, machine, seeds, and the time of each notebook, as the records say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amfir_lib.run.display import format_bytes, format_seconds
from amfir_lib.run.ledger import cost_of
from amfir_lib.storage import read_json
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS

Record = Mapping[str, Any]


def read_records(output_dir: Path) -> dict[str, Record]:
    """Notebook -> record, in the order in which the notebooks run.

    Records of unfinished notebooks are left out, and those that another program wrote (``amfir_lib.records`` did not).
    """
    records = {path.stem: read_json(path) for path in sorted((output_dir / "records").glob("*.json"))}
    return {name: one for name, one in records.items() if one.get("status") == "done" and "environment" in one}


def is_synthetic(records: Sequence[Record]) -> bool:
    """Whether every data set of the study is rendered by its own generator."""
    return all(set(record["parameters"]["datasets"]) <= set(SYNTHETIC_BENCHMARKS) for record in records)


def timing(record: Record) -> dict[str, str]:
    """Time, memory, device and seeds of one notebook, in words."""
    return {
        "time": format_seconds(cost_of(record)["seconds"]),
        "memory": format_bytes(cost_of(record)["peak_memory_bytes"]),
        "device": record["environment"]["device"],
        "seeds": ", ".join(map(str, record["seeds"])),
    }


def total_time(records: Sequence[Record]) -> str:
    """Sum of the notebooks' times."""
    return format_seconds(sum(cost_of(record)["seconds"] for record in records))


def code_versions(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Version of the code in words -> notebooks that ran with it; one entry unless parts of a study are older."""
    return _grouped(records, lambda record: _code_in_words(record["code"]))


def machines(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Machine in words -> notebooks that ran on it."""
    return _grouped(records, lambda record: _machine_in_words(record["environment"]))


def package_versions(records: Sequence[Record]) -> list[tuple[dict[str, str], list[str]]]:
    """Package -> version, and the notebooks that ran with these."""
    grouped = _grouped(records, lambda record: json.dumps(record["environment"]["packages"], sort_keys=True))
    return [(json.loads(packages), names) for packages, names in grouped]


def _grouped(records: Sequence[Record], key: Callable[[Record], str]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record["notebook"])
    return list(groups.items())


def _code_in_words(code: Mapping[str, Any]) -> str:
    if not code["commit"]:
        return f"version {code['version']}, not in a git repository"
    changed = ", with changes that are not committed" if code["dirty"] else ""
    return f"version {code['version']}, commit {code['commit'][:12]}{changed}"


def _machine_in_words(environment: Mapping[str, Any]) -> str:
    where = "" if environment["device"] == "cpu" else f" on {environment['device']}"
    return (
        f"{environment['device_name']}{where}, {environment['cores']} CPU cores, {environment['system']}, "
        f"Python {environment['python']}"
    )
