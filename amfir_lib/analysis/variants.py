"""A re-run with a changed parameter against its baseline, on identical episodes.

Records name the runs behind a notebook (key, series, seed, tests), the cache of runs holds what each run answered to
every query, with the classes of the episodes.  So the difference of two notebook runs can be paired like that of two
methods inside one.  Records serve as an index only: every number comes from the cache, which this machine computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables import percent, verdict
from amfir_lib.exports import Table
from amfir_lib.storage import read_json
from amfir_lib.study.statistics import holm, paired_difference

TABLE = "variant_difference"
CELL = re.compile(r"^test-(?P<n_way>\d+)way-(?P<n_shot>\d+)shot-")
CAPTION = (
    "Variant {variant} minus baseline on identical test episodes, percentage points; ± is the paired 95 % "
    "class-jackknife interval; training seeds are averaged; p is corrected by Holm's method over the rows of one data "
    "set and number of shots."
)


@dataclass(frozen=True)
class VariantDifference:
    """What a changed parameter did.

    Attributes:
        data: one row per notebook, data set, way, shots and series whose runs changed: ``baseline, variant,
            difference, half_width, p_value, p_holm, n_classes, n_episodes, verdict`` and ``n_changed``, the number of
            episodes whose accuracy differs; shares in [0, 1].  Empty where nothing can be paired.
        remarks: sentences on what was left out and why, and on what else differs.
    """

    data: pd.DataFrame
    remarks: tuple[str, ...]

    def table(self, variant: str) -> Table:
        """As it is exported and shown."""
        frame = self.data
        shown = pd.DataFrame(
            {
                "data set": frame["dataset"],
                "ways": frame["n_way"],
                "shots": frame["n_shot"],
                "method": frame["series"],
                "baseline": [percent(value) for value in frame["baseline"]],
                "variant": [percent(value) for value in frame["variant"]],
                "difference": [
                    percent(d, h, signed=True) for d, h in zip(frame["difference"], frame["half_width"], strict=True)
                ],
                "p (Holm)": [f"{p:.3f}" if np.isfinite(p) else "–" for p in frame["p_holm"]],
                "verdict": frame["verdict"],
            }
        )
        return Table(frame, shown, CAPTION.format(variant=variant))


def compare(
    baseline_dir: Path, variant_dir: Path, cache_dir: Path, *, notebooks: Iterable[str], again: str = "./run_all.sh"
) -> VariantDifference:
    """Pair the runs of a variant with those of its baseline.

    Args:
        baseline_dir: folder of the study, with ``records/``.
        variant_dir: folder of the variant, the same.
        cache_dir: the cache that holds the runs of both.
        notebooks: names of the notebooks to compare.
        again: command that makes the baseline, up to ``--only``; for the remarks.
    """
    rows: list[dict[str, Any]] = []
    remarks: list[str] = []
    for notebook in notebooks:
        records = [folder / "records" / f"{notebook}.json" for folder in (baseline_dir, variant_dir)]
        make = f"{again} --only {notebook}"
        if not records[1].exists():
            continue
        if not records[0].exists():
            remarks.append(
                f"{notebook} has no baseline yet. Make it with: {make} and run this again; nothing is computed twice."
            )
            continue
        baseline, variant = (_by_series(read_json(path).get("numbers", {}).get("runs", [])) for path in records)
        if not any(fact.get("tests") for facts in variant.values() for fact in facts):
            remarks.append(f"{notebook} measures no test accuracy; compare its tables with the baseline's.")
            continue
        found, said = _compare_notebook(baseline, variant, cache_dir, make)
        rows += [{"notebook": notebook} | row for row in found]
        remarks += [f"{notebook}: {sentence}" for sentence in said]
    return VariantDifference(_corrected(pd.DataFrame(rows)), tuple(remarks))


def without_baseline(baseline_dir: Path, cache_dir: Path, notebooks: Iterable[str]) -> list[str]:
    """The notebooks whose baseline this machine has not computed, so that a variant cannot be compared with it.

    Args:
        baseline_dir, cache_dir: as ``compare``.
        notebooks: names of those that are asked for.
    """
    lacking = []
    for notebook in notebooks:
        path = baseline_dir / "records" / f"{notebook}.json"
        runs = read_json(path).get("numbers", {}).get("runs", []) if path.exists() else []
        if not path.exists() or any(_folder(fact, cache_dir) is None for fact in runs):
            lacking.append(notebook)
    return lacking


def _by_series(facts: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """(data set, series) -> facts of its runs."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for fact in facts:
        found.setdefault((fact["dataset"], fact["series"]), []).append(fact)
    return found


def _compare_notebook(
    baseline: Mapping[tuple[str, str], list], variant: Mapping[tuple[str, str], list], cache_dir: Path, make: str
) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    unchanged: dict[str, None] = {}
    alone: dict[str, None] = {}
    unpaired: dict[str, None] = {}
    same: dict[str, None] = {}
    changes: dict[str, None] = {}
    for (dataset, series), own in variant.items():
        other = baseline.get((dataset, series), [])
        if not other:
            alone[f"{series} ({dataset})"] = None
        elif {fact["key"] for fact in own} == {fact["key"] for fact in other} and _tests(own) <= _tests(other):
            unchanged[series] = None
        else:
            folders = [[_folder(fact, cache_dir) for fact in facts] for facts in (other, own)]
            if None in folders[0] + folders[1]:
                return [], [f"the cache does not hold the runs of the baseline. Compute them with: {make}"]
            changes |= _changes(folders[0][0], folders[1][0])
            found = [_pair(*folders, cell) for cell in sorted(_tests(own) & _tests(other), key=_cell_order)]
            found = [one for one in found if one is not None]
            if not found:
                unpaired[f"{series} ({dataset})"] = None
            elif not any(one["n_changed"] for one in found):
                same[f"{series} ({dataset})"] = None
                continue
            rows += [{"dataset": dataset} | one | {"series": series} for one in found]
    remarks = []
    if changes:
        remarks.append(f"the runs differ in {'; '.join(changes)}.")
    if code := [change for change in changes if change.startswith("code of ")]:
        remarks.append(f"more than the parameter changed ({', '.join(code)}): renew the baseline first with {make}")
    if unchanged:
        remarks.append(f"the parameter does not reach {', '.join(unchanged)}: these are the baseline's own runs.")
    if same:
        remarks.append(f"no episode has another accuracy than in the baseline with {', '.join(same)}.")
    if unpaired:
        remarks.append(
            f"{', '.join(unpaired)} met other test episodes than the baseline (ways, shots, queries, clips or the "
            "number of episodes differ, or an earlier version stored them without their classes), so no difference can "
            "be paired; none is given."
        )
    if alone:
        remarks.append(f"the baseline has no {', '.join(alone)}.")
    return rows, remarks


def _tests(facts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of the test cells, without those of validation classes."""
    return {name for fact in facts for name in fact.get("tests", ()) if CELL.match(name)}


def _cell_order(name: str) -> tuple[int, int, str]:
    found = CELL.match(name)
    return int(found["n_way"]), int(found["n_shot"]), name


def _folder(fact: Mapping[str, Any], cache_dir: Path) -> Path | None:
    """Where the cache keeps a run, or None."""
    runs = cache_dir / "runs" / fact["dataset"]
    found = [path.parent for path in runs.glob(f"*-{fact['seed']}-{escape(fact['key'])}/record.json")]
    return found[0] if found else None


def _pair(baseline: list[Path], variant: list[Path], cell: str) -> dict[str, Any] | None:
    """Accuracies of one cell and their paired difference; None where the episodes are not the same.

    Class folds of one data set are runs of one series with different data: they are matched by the data's digest and
    joined, as in the tables.
    """
    own, other = _accuracies(variant, cell), _accuracies(baseline, cell)
    shared = [digest for digest in own if digest in other and np.array_equal(own[digest][1], other[digest][1])]
    if not shared:
        return None
    after, before = (np.concatenate([part[digest][0] for digest in shared]) for part in (own, other))
    classes = np.concatenate([own[digest][1] for digest in shared])
    n_classes, n_way = len(np.unique(classes)), classes.shape[1]
    interval = paired_difference(after, before, classes) if n_classes >= n_way + 2 else None
    found = CELL.match(cell)
    return {
        "n_way": n_way,
        "n_shot": int(found["n_shot"]),
        "baseline": float(before.mean()),
        "variant": float(after.mean()),
        "difference": float((after - before).mean()),
        "half_width": interval.half_width if interval else np.nan,
        "p_value": interval.p_value if interval else np.nan,
        "n_classes": n_classes,
        "n_episodes": len(classes),
        "n_changed": int((after != before).sum()),
    }


def _accuracies(folders: list[Path], cell: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Digest of data and of the code that draws episodes -> accuracy (E,), mean of the seeds, and classes (E, N)."""
    by_data: dict[str, list[np.ndarray]] = {}
    classes: dict[str, np.ndarray] = {}
    for folder in folders:
        path = folder / f"{cell}.npz"
        if not path.exists():
            continue
        with np.load(path) as arrays:
            if "classes" not in arrays:  # stored by a version before episodes could be paired
                continue
            identity = read_json(folder / "record.json")["identity"]
            digest = f"{identity['data']['dataset']} {identity['code'].get('amfir_lib.study.episodes')}"
            by_data.setdefault(digest, []).append(arrays["correct/fused"].mean(1))
            classes[digest] = arrays["classes"]
    return {digest: (np.mean(parts, axis=0), classes[digest]) for digest, parts in by_data.items()}


def _changes(baseline: Path, variant: Path) -> dict[str, None]:
    """Everything in which the identities of two runs differ, as phrases: ``kd_lambda 1.0 -> 0.5``."""
    before, after = (_flat(read_json(folder / "record.json")["identity"]) for folder in (baseline, variant))
    phrases = {}
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        kind, _, rest = name.partition(".")
        if old == new or kind == "parts":
            continue
        phrase = f"{kind} of {rest}" if kind in ("code", "data") else f"{rest or kind} {old} -> {new}"
        phrases[phrase] = None
    return phrases


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix.rstrip("."): value}
    return {name: leaf for key, part in value.items() for name, leaf in _flat(part, f"{prefix}{key}.").items()}


def _corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """With Holm's correction over the rows of one notebook, data set and number of shots, and the verdict."""
    if frame.empty:
        return frame
    corrected = pd.Series(np.nan, index=frame.index)
    for _, rows in frame.groupby(["notebook", "dataset", "n_way", "n_shot"], sort=False):
        known = rows["p_value"].dropna()
        corrected[known.index] = holm(known.to_numpy())
    verdicts = [verdict(d, p) for d, p in zip(frame["difference"], corrected, strict=True)]
    return frame.assign(p_holm=corrected, verdict=verdicts)
