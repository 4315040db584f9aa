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
from . import extraction, heavy_heads, meta_test, study_seconds, training_step, what_if
from .measure import Report, render

BENCHMARKS = {"meta_test": meta_test, "heavy_heads": heavy_heads, "training_step": training_step, "what_if": what_if}
STUDY_SECONDS, EXTRACTION = "study_seconds", "extraction"


def main(arguments: list[str] | None = None) -> int:
    """Run benchmarks, print and save what they find; exit status 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", choices=[[], *BENCHMARKS, EXTRACTION, STUDY_SECONDS], help="default: the first four"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is saved unless --output is given")
    parser.add_argument("--threads", type=int, default=min(2, available_cores()), help="of PyTorch (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder of the results (results/study/benchmarks)")
    parser.add_argument("--results-dir", type=Path, default=paths.REPOSITORY / "results" / "study", help="of a study")
    parser.add_argument("--cache-dir", type=Path, help="of the same study, for study_seconds")
    chosen = parser.parse_args(arguments)
    output = chosen.output or (None if chosen.quick else chosen.results_dir / "benchmarks")
    torch.set_num_threads(chosen.threads)
    reports = []
    for name in chosen.names or BENCHMARKS:
        if name == STUDY_SECONDS:
            if chosen.cache_dir is None:
                parser.error("study_seconds needs --cache-dir, the folder that ./run_all.sh cache names")
            text = study_seconds.as_markdown(chosen.results_dir, chosen.cache_dir)
            print(text)
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                (output / f"{STUDY_SECONDS}.md").write_text(text, encoding="utf-8")
            continue
        if name == EXTRACTION:
            record, text = extraction.measure(quick=chosen.quick)
            print(text)
            if output is not None:
                extraction.save(output, record, text)
            continue
        comparisons = BENCHMARKS[name].compare(quick=chosen.quick)
        if chosen.quick:  # goals are for the full sizes
            comparisons = [replace(one, goal=None, limit=None) for one in comparisons]
        reports.append(Report(name, comparisons))
        machine = reports[-1].machine
        print(f"{name}: {machine['device_name']}, {machine['cores']} cores, {machine['threads']} threads, torch "
              f"{machine['packages']['torch']}, load average {machine['load_average']}")  # fmt: skip
        for one in reports[-1].comparisons:
            print("  " + ", ".join(f"{key} {value}" for key, value in one.row().items()))
            print(f"    {one.check}")
        if output is not None:
            reports[-1].save(output)
            (output / "benchmarks.md").write_text(render(output), encoding="utf-8")
    missed = [one.name for report in reports for one in report.comparisons if one.met is False]
    if missed:
        print("goals missed: " + "; ".join(missed))
    if chosen.quick:
        print("Tiny sizes (--quick): all of it runs and both paths agree; the times and ratios mean nothing.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
