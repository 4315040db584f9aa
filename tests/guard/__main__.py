"""``python -m tests.guard [BEFORE AFTER] [--cache BEFORE AFTER]``: exit status 0 where nothing moved."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.guard.runs import compare_caches
from tests.guard.tables import compare_results

parser = argparse.ArgumentParser(prog="python -m tests.guard")
parser.add_argument("results", nargs="*", type=Path, metavar="FOLDER", help="two folders such as results/study")
parser.add_argument("--cache", nargs=2, type=Path, metavar="FOLDER", help="two caches")
arguments = parser.parse_args()
n_different = 0
for compare, pair in ((compare_results, arguments.results), (compare_caches, arguments.cache)):
    lines = list(compare(*pair)) if pair else []
    print(*lines, sep="\n")
    n_different += max(0, len(lines) - 1)
raise SystemExit(min(n_different, 1))
