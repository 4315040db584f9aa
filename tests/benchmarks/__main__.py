"""Command line of the benchmarks; see the package."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from amfir_lib import paths
from amfir_lib.workers import available_cores

from . import __doc__ as description
from . import extraction, heavy_heads, meta_test, training_step, what_if
from .measure import save

BENCHMARKS = {"meta_test": meta_test, "heavy_heads": heavy_heads, "training_step": training_step, "what_if": what_if}


def main(arguments: list[str] | None = None) -> int:
    """Run benchmarks, print and save what they find; exit status 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS, "extraction"], help="default: the first four")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is saved unless --output is given")
    parser.add_argument("--threads", type=int, default=min(2, available_cores()), help="of PyTorch (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder of the results (results/study/benchmarks)")
    chosen = parser.parse_args(arguments)
    output = chosen.output or (None if chosen.quick else paths.RESULTS / "study" / "benchmarks")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(chosen.threads)
    missed = []
    for name in chosen.names or BENCHMARKS:
        if name == "extraction":
            extraction.report(output, quick=chosen.quick)
        else:
            comparisons = BENCHMARKS[name].compare(quick=chosen.quick)
            if chosen.quick:  # goals are for the full sizes
                comparisons = [replace(comparison, goal=None, limit=None) for comparison in comparisons]
            for comparison in comparisons:
                print(", ".join(f"{key} {value}" for key, value in comparison.row().items()))
                print(f"    {comparison.check}")
            if output is not None:
                save(output, name, comparisons)
            missed += [comparison.name for comparison in comparisons if comparison.met is False]
    if missed:
        print("goals missed: " + "; ".join(missed))
    if chosen.quick:
        print("Tiny sizes (--quick): all of it runs and both paths agree; the times and ratios mean nothing.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
