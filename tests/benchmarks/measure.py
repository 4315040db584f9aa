"""Timing of two paths to the same result, and the record of it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from amfir_lib import __version__
from amfir_lib.records import environment_record
from amfir_lib.storage import read_json, write_json

REPEATS = 5


@dataclass(frozen=True)
class Comparison:
    """A fast and a slow path to the same result.

    Attributes:
        name: what is computed, in words.
        sizes: numbers that say how large the work is.
        check: what was found equal, and how closely.
        unit: of the work, such as ``episode``.
        fast, slow: wall-clock seconds per unit, one value per repetition.
        fast_cpu, slow_cpu: processor seconds per unit, over all threads: what other processes do counts less there.
        goal: ratio that the study wants, if any.
        limit: seconds that the whole of the fast work may take, if any.
        total: units of the whole work.
        bound: ratio that the arithmetic allows, if it was counted.
        note: how the bound was counted, or what else must be known.
    """

    name: str
    sizes: dict[str, Any]
    check: str
    unit: str
    fast: list[float]
    slow: list[float]
    fast_cpu: list[float]
    slow_cpu: list[float]
    goal: float | None = None
    limit: float | None = None
    total: int = 0
    bound: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Of the medians of wall-clock time."""
        return statistics.median(self.slow) / statistics.median(self.fast)

    @property
    def cpu_ratio(self) -> float:
        """Of the medians of processor time."""
        return statistics.median(self.slow_cpu) / statistics.median(self.fast_cpu)

    @property
    def met(self) -> bool | None:
        """Whether goal and limit are met; None where there are none."""
        if self.goal is None and self.limit is None:
            return None
        in_time = self.limit is None or self.total * statistics.median(self.fast) < self.limit
        return in_time and (self.goal is None or self.ratio >= self.goal)

    def row(self) -> dict[str, str]:
        """For the table."""
        wanted = [f"{self.goal:g}x"] if self.goal else []
        wanted += [f"{self.total:,} in {self.limit:g} s"] if self.limit else []
        return {
            "what": self.name,
            "fast (ms)": f"{1e3 * statistics.median(self.fast):.3g}",
            "loop (ms)": f"{1e3 * statistics.median(self.slow):.3g}",
            "ratio": f"{self.ratio:.1f}",
            "of CPU time": f"{self.cpu_ratio:.1f}",
            "bound": f"{self.bound:.1f}" if self.bound else "–",
            "goal": " and ".join(wanted) or "–",
            "met": {None: "–", True: "yes", False: "no"}[self.met],
        }

    def to_record(self) -> dict[str, Any]:
        """For JSON, with what is derived from the timings."""
        return asdict(self) | {"ratio": self.ratio, "cpu_ratio": self.cpu_ratio, "met": self.met}


@dataclass(frozen=True)
class Report:
    """What one benchmark found.

    Attributes:
        name: of the benchmark.
        comparisons: one or more.
        machine: see ``machine_facts``.
    """

    name: str
    comparisons: list[Comparison]
    machine: dict[str, Any] = field(default_factory=lambda: machine_facts())

    def save(self, folder: Path) -> Path:
        """Write NAME.json."""
        path = folder / f"{self.name}.json"
        record = {"benchmark": self.name, "machine": self.machine}
        write_json(path, record | {"comparisons": [one.to_record() for one in self.comparisons]})
        return path


def machine_facts() -> dict[str, Any]:
    """Processor, cores, threads, versions, and how many other processes wanted the processor in the last minute."""
    busy = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return environment_record() | {"threads": torch.get_num_threads(), "version": __version__, "load_average": busy}


def in_turn(
    fast: Callable[[], object], slow: Callable[[], object], *, fast_units: int, slow_units: int, repeats: int = REPEATS
) -> dict[str, list[float]]:
    """Run both in turn after one run of each that is not counted.

    Args:
        fast, slow: the two paths.
        fast_units, slow_units: units of work that one call does.
        repeats: of both.
    Returns:
        ``fast``, ``slow``, ``fast_cpu`` and ``slow_cpu`` as in ``Comparison``.
    """
    seconds: dict[str, list[float]] = {"fast": [], "slow": [], "fast_cpu": [], "slow_cpu": []}
    for repeat in range(repeats + 1):
        for name, work, units in (("fast", fast, fast_units), ("slow", slow, slow_units)):
            wall, processor = time.perf_counter(), time.process_time()
            work()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            if repeat:
                seconds[name].append(wall / units)
                seconds[f"{name}_cpu"].append(processor / units)
    return seconds


def verify(name: str, found: torch.Tensor, expected: torch.Tensor, *, atol: float) -> str:
    """Refuse to time paths that differ; say how closely they agree.

    Raises:
        AssertionError: they differ by more than ``atol`` anywhere.
    """
    apart = float((found.double() - expected.double()).abs().max())
    assert apart <= atol, f"{name}: the two paths differ by {apart:.2g}, more than {atol:.2g}"
    return f"{name} equal to {apart:.1g} (at most {atol:.0g})"


def render(folder: Path) -> str:
    """The saved reports of a folder as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Generated by `python -m tests.benchmarks`; milliseconds are medians of 5 per unit.",
        "",
    ]
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if "comparisons" not in record:
            continue
        machine = record["machine"]
        lines += [
            f"## {record['benchmark']}",
            "",
            f"{machine['device_name']}, {machine['cores']} cores, {machine['threads']} threads, Python "
            f"{machine['python']}, torch {machine['packages']['torch']}, load average {machine['load_average']}.",
            "",
        ]
        fields = Comparison.__dataclass_fields__
        comparisons = [Comparison(**{k: v for k, v in one.items() if k in fields}) for one in record["comparisons"]]
        header = list(comparisons[0].row())
        lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += ["| " + " | ".join(one.row().values()) + " |" for one in comparisons]
        lines += ["", *(f"* {one.name}: per {one.unit}; {one.check}. {one.note}".rstrip() for one in comparisons), ""]
    return "\n".join(lines)
