"""A re-run with a changed parameter against its baseline, on identical episodes.

Records name the runs behind a notebook (data set, series, key, seed, tests), the cache of runs holds what each run
answered to every query, with the classes of the episodes.  So the difference of two notebook runs can be paired like
that of two methods inside one.  Records serve as an index only: every number comes from the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.analysis.contrasts import corrected
from amfir_lib.exports import Table
from amfir_lib.storage import read_json
from amfir_lib.study.statistics import Sample, jackknife

TABLE = "variant_difference"
MAKE = "the same command without -p"
CELL = re.compile(r"^test-(?P<n_way>\d+)way-(?P<n_shot>\d+)shot-")
FAMILY = ["notebook", "dataset", "n_way", "n_shot"]  # over whose rows Holm's correction is taken
REMARKS = {
    "unchanged": "the parameter does not reach {}: these are the baseline's own runs.",
    "same": "no episode has another accuracy than in the baseline with {}.",
    "unpaired": "{} met other test episodes than the baseline (ways, shots, queries, clips or the number of episodes "
    "differ), so no difference can be paired; none is given.",
    "alone": "the baseline has no {}.",
}
Runs = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]  # (data set, series) -> what the record says of its runs


def difference_table(frame: pd.DataFrame, variant: str) -> Table:
    """The rows of ``compare`` as they are exported and shown."""
    return Table.of(
        frame,
        {"dataset": "data set", "n_way": "ways", "n_shot": "shots", "series": "method"},
        {
            "baseline": "{baseline}",
            "variant": "{variant}",
            "difference": "{difference} ± {half_width}",
            "p (Holm)": "{p_holm}",
            "verdict": "{verdict}",
        },
        caption=f"Variant {variant} minus baseline on identical test episodes, percentage points; ± is the paired 95 % "
        "class-jackknife interval; training seeds are averaged; p is corrected by Holm's method over the rows of one "
        "data set and number of shots.",
    )


def compare(
    baseline_dir: Path, variant_dir: Path, cache_dir: Path, *, notebooks: Iterable[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Pair the runs of a variant with those of its baseline.

    Args:
        baseline_dir, variant_dir: folder of the study, and of the variant, with ``records/``.
        cache_dir: the cache that holds the runs of both.
        notebooks: names of the notebooks to compare.
    Returns:
        One row per notebook, data set, ways, shots and series whose runs changed, with accuracies in [0, 1] and
        ``n_changed``, the number of episodes whose accuracy differs; empty where nothing can be paired.  And sentences
        on what was left out and why, and on what else differs.
    """
    rows: list[dict[str, Any]] = []
    remarks: list[str] = []
    for notebook in notebooks:
        baseline, variant = (_runs(folder, notebook) for folder in (baseline_dir, variant_dir))
        if variant is None:
            continue
        if baseline is None:
            remarks.append(f"{notebook} has no baseline yet. Make it with {MAKE}, and run this again.")
        elif not any(map(_tests, variant.values())):
            remarks.append(f"{notebook} measures no test accuracy; compare its tables with the baseline's.")
        else:
            found, sentences = _compare_notebook(baseline, variant, cache_dir)
            rows += [{"notebook": notebook} | row for row in found]
            remarks += [f"{notebook}: {sentence}" for sentence in sentences]
    families: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(tuple(row[column] for column in FAMILY), []).append(row)
    return pd.DataFrame([row for family in families.values() for row in corrected(family)]), remarks


def _runs(study: Path, notebook: str) -> Runs | None:
    """What the record of a notebook says of its runs; None without a record."""
    path = study / "records" / f"{notebook}.json"
    if not path.exists():
        return None
    runs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for fact in read_json(path).get("numbers", {}).get("runs", []):
        runs.setdefault((fact["dataset"], fact["series"]), []).append(fact)
    return runs


def _compare_notebook(baseline: Runs, variant: Runs, cache_dir: Path) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    names: dict[str, dict[str, None]] = {kind: {} for kind in REMARKS}  # in order, once
    changes: dict[str, None] = {}
    for (dataset, series), after in variant.items():
        before = baseline.get((dataset, series), [])
        if not before:
            names["alone"][f"{series} ({dataset})"] = None
        elif {fact["key"] for fact in after} == {fact["key"] for fact in before} and _tests(after) <= _tests(before):
            names["unchanged"][series] = None
        else:
            folders = [[_folder(fact, cache_dir) for fact in facts] for facts in (before, after)]
            if None in folders[0] + folders[1]:
                return [], [f"the cache does not hold the runs of the baseline. Compute them with {MAKE}"]
            changes |= dict.fromkeys(_changes(*(of_runs[0] for of_runs in folders)))
            paired = [_pair(*folders, cell) for cell in sorted(_tests(after) & _tests(before), key=_size)]
            paired = [row for row in paired if row is not None]
            if not paired:
                names["unpaired"][f"{series} ({dataset})"] = None
            elif any(row["n_changed"] for row in paired):
                rows += [{"dataset": dataset, "series": series} | row for row in paired]
            else:
                names["same"][f"{series} ({dataset})"] = None
    remarks = [f"the runs differ in {'; '.join(changes)}."] if changes else []
    if code := [change for change in changes if change.startswith("code of ")]:
        remarks.append(f"more than the parameter changed ({', '.join(code)}): renew the baseline first with {MAKE}")
    return rows, remarks + [REMARKS[kind].format(", ".join(listed)) for kind, listed in names.items() if listed]


def _tests(facts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of the test cells, without those of validation classes."""
    return {name for fact in facts for name in fact.get("tests", ()) if CELL.match(name)}


def _size(cell: str) -> tuple[int, int, str]:
    """Ways and shots of a test cell by its name, to sort by."""
    size = CELL.match(cell)
    return int(size["n_way"]), int(size["n_shot"]), cell


def _folder(fact: Mapping[str, Any], cache_dir: Path) -> Path | None:
    """Where the cache keeps a run, or None."""
    runs = cache_dir / "runs" / fact["dataset"]
    return next((path.parent for path in runs.glob(f"*-{fact['seed']}-{escape(fact['key'])}/record.json")), None)


def _pair(baseline: list[Path], variant: list[Path], cell: str) -> dict[str, Any] | None:
    """Accuracies of one cell and their paired difference; None where the episodes are not the same.

    Class folds of one data set are runs of one series with different data: they are matched by the data's digest and
    joined, as in the tables.
    """
    before, after = _accuracies(baseline, cell), _accuracies(variant, cell)
    shared = [data for data in after if data in before and np.array_equal(after[data][1], before[data][1])]
    if not shared:
        return None
    old, new = (np.concatenate([accuracies[data][0] for data in shared]) for accuracies in (before, after))
    classes = np.concatenate([after[data][1] for data in shared])
    n_way, n_shot, _ = _size(cell)
    interval = jackknife([[Sample(new - old, classes)]])
    return {
        "n_way": n_way,
        "n_shot": n_shot,
        "baseline": float(old.mean()),
        "variant": float(new.mean()),
        "difference": float((new - old).mean()),
        "half_width": interval.half_width,
        "p_value": interval.p_value,
        "n_classes": interval.n_classes,
        "n_episodes": len(classes),
        "n_changed": int((new != old).sum()),
    }


def _accuracies(folders: Iterable[Path], cell: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Digest of data and of the code that draws episodes -> accuracy (E,), mean of the seeds, and classes (E, N)."""
    of_seeds: dict[str, list[np.ndarray]] = {}
    classes: dict[str, np.ndarray] = {}
    for folder in folders:
        path = folder / f"{cell}.npz"
        if path.exists():
            identity = read_json(folder / "record.json")["identity"]
            data = f"{identity['data']['dataset']} {identity['code'].get('amfir_lib.study.episodes')}"
            with np.load(path) as arrays:
                of_seeds.setdefault(data, []).append(arrays["correct/fused"].mean(1))
                classes[data] = arrays["classes"]
    return {data: (np.mean(values, axis=0), classes[data]) for data, values in of_seeds.items()}


def _changes(baseline: Path, variant: Path) -> Iterator[str]:
    """Everything in which the identities of two runs differ, as phrases: ``kd_lambda 1.0 -> 0.5``."""
    before, after = (dict(_leaves(read_json(folder / "record.json")["identity"])) for folder in (baseline, variant))
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        kind, _, rest = name.partition(".")
        if old != new and kind != "parts":
            yield f"{kind} of {rest}" if kind in ("code", "data") else f"{rest or kind} {old} -> {new}"


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield from _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
