"""Tables of the robustness study: accuracy and loss under each condition, and what AMFIR loses less than others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.robustness.conditions import CLEAN, Condition
from amfir_lib.analysis.robustness.estimates import estimate
from amfir_lib.analysis.robustness.outcomes import Outcomes
from amfir_lib.analysis.robustness.scarcity import EVERYTHING, Amount
from amfir_lib.analysis.studies.copies import original
from amfir_lib.analysis.tables import percent
from amfir_lib.data.spoiling import SPOILINGS
from amfir_lib.exports import Table
from amfir_lib.methods import METHODS

OWN = "amfir"
MEAN = 0  # in the column n_shot: the mean over all shots


def where_of(condition: Hashable) -> dict[str, object]:
    """The columns that say which condition a row is about."""
    if isinstance(condition, Amount):
        return {"swept": condition.swept, "n_left": condition.n}
    family = SPOILINGS[condition.kind].family if condition.kind in SPOILINGS else ""
    return {"family": family, "kind": condition.kind, "severity": condition.severity, "side": condition.side}


def start_of(condition: Hashable) -> Hashable:
    """The condition that a loss is counted from."""
    return EVERYTHING if isinstance(condition, Amount) else CLEAN


def cells_of(outcomes: Sequence[Outcomes]) -> list[tuple[dict[str, object], list[Outcomes]]]:
    """The cells of each data set, all shots together first, then each number of shots."""
    found = []
    for dataset in dict.fromkeys(one.dataset for one in outcomes):
        own = [one for one in outcomes if one.dataset == dataset]
        shots = sorted({one.cell.n_shot for one in own})
        for shot in [MEAN, *shots] if len(shots) > 1 else shots:
            part = [one for one in own if shot in (MEAN, one.cell.n_shot)]
            n_way = part[0].cell.n_way
            found.append(({"dataset": original(dataset), "n_way": n_way, "n_shot": shot}, part))
    return found


def accuracy_frame(outcomes: Sequence[Outcomes], titles: Mapping[str, str]) -> pd.DataFrame:
    """Accuracy of every method in every condition, and what it loses.

    Args:
        outcomes: the cells.
        titles: registry name -> title.
    Returns:
        One row per data set, shots (0: their mean), condition and method: where, ``method, key, accuracy, half_width,
        cost, cost_half_width`` (paired, against no condition), ``n_classes, n_episodes, n_seeds``; shares.
    """
    rows = []
    for where, part in cells_of(outcomes):
        for condition in part[0].conditions:
            start = start_of(condition)
            for method in part[0].methods:
                own = estimate(part, lambda one, m=method, c=condition: one.of(m, c))
                lost = estimate(part, lambda one, m=method, c=condition, s=start: one.of(m, s) - one.of(m, c))
                row = where | where_of(condition) | {"method": titles[method], "key": method}
                row |= own.columns("accuracy", "half_width") | lost.columns("cost")
                row |= {"n_classes": own.interval.n_classes if own.interval else 0}
                row |= {"n_episodes": sum(len(one.classes) for one in part)}
                rows.append(row | {"n_seeds": len(next(iter(part[0].values.values()))["fused"])})
    return pd.DataFrame(rows)


def paired_frame(outcomes: Sequence[Outcomes], titles: Mapping[str, str], *, reference: str = OWN) -> pd.DataFrame:
    """What the reference is ahead of every other method in every condition, and how much less it loses.

    Returns:
        One row per data set, shots, condition and other method: where, ``other, key, comparison, difference,
        half_width`` and ``cost_difference, cost_difference_half_width`` (the other's loss minus the reference's:
        positive where the reference loses less).
    """
    rows = []
    for where, part in cells_of(outcomes):
        for condition in part[0].conditions:
            start = start_of(condition)
            for method in part[0].methods:
                if method == reference:
                    continue
                ahead = estimate(part, lambda one, m=method, c=condition: one.of(reference, c) - one.of(m, c))
                less = estimate(part, lambda one, m=method, c=condition, s=start: saved(one, reference, m, c, s))
                row = where | where_of(condition) | {"other": titles[method], "key": method}
                row |= {"comparison": f"{titles[reference]} − {titles[method]}"}
                rows.append(row | ahead.columns("difference", "half_width") | less.columns("cost_difference"))
    return pd.DataFrame(rows)


def saved(one: Outcomes, reference: str, other: str, condition: Hashable, start: Hashable) -> np.ndarray:
    """(E,) what the other loses minus what the reference loses."""
    lost = {name: one.of(name, start) - one.of(name, condition) for name in (reference, other)}
    return lost[other] - lost[reference]


def shown_spoilt(frame: pd.DataFrame, *, severity: float, caption: str) -> Table:
    """Accuracies at one severity and what is lost, one row a data set and kind, one column a method.

    Args:
        frame: from ``accuracy_frame``; the CSV file has all of it.
        severity: the one that is shown; kinds without grades at their only one.
        caption: of the table.
    """
    shown = _over_shots(frame)
    worst = shown["severity"].isin([0.0, severity]) | (shown["kind"] == "reversal")
    rows = []
    for (dataset, kind), part in shown[worst].groupby(["dataset", "kind"], sort=False):
        row = {"data set": dataset, "queries": "as they are" if kind == CLEAN.kind else kind}
        for one in part.itertuples():
            cost = f" ({percent(-one.cost, signed=True)})" if kind != CLEAN.kind else ""
            row[one.method] = percent(one.accuracy, one.half_width) + cost
        rows.append(row)
    return Table(frame, pd.DataFrame(rows), caption)


def shown_paired(frame: pd.DataFrame, *, severity: float, caption: str) -> Table:
    """How much less AMFIR loses than every other method, at one severity."""
    shown = _over_shots(frame)
    shown = shown[(shown["severity"] == severity) | (shown["kind"] == "reversal")]
    rows = []
    for (dataset, kind), part in shown.groupby(["dataset", "kind"], sort=False):
        cells = {
            one.other: percent(one.cost_difference, one.cost_difference_half_width, signed=True)
            for one in part.itertuples()
        }
        rows.append({"data set": dataset, "queries": kind} | cells)
    return Table(frame, pd.DataFrame(rows), caption)


def shown_scarce(frame: pd.DataFrame, *, caption: str) -> Table:
    """Accuracies by amount of base data, and what is lost."""
    rows = []
    for (dataset, swept, n), part in _over_shots(frame).groupby(["dataset", "swept", "n_left"], sort=False):
        row = {"data set": dataset, "base data": f"{n} {swept}" if swept else "all"}
        for one in part.itertuples():
            cost = f" ({percent(-one.cost, signed=True)})" if swept else ""
            row[one.method] = percent(one.accuracy, one.half_width) + cost
        rows.append(row)
    return Table(frame, pd.DataFrame(rows), caption)


def missing_frame(outcomes: Sequence[Outcomes], titles: Mapping[str, str]) -> pd.DataFrame:
    """Accuracy with one modality missing, of methods that read both, beside the method that reads the other alone.

    Returns:
        Columns of ``accuracy_frame`` for these conditions and none, and ``alone_accuracy`` and
        ``alone_accuracy_half_width``: of the single-modality network that is left.
    """
    kept = [c for c in outcomes[0].conditions if c == CLEAN or c.missing]
    both = [m for m in outcomes[0].methods if METHODS[m].streams == "both"]
    frame = accuracy_frame([one.only(both, kept) for one in outcomes], titles)
    alone = []
    parts = {(where["dataset"], where["n_shot"]): part for where, part in cells_of(outcomes)}
    for row in frame.itertuples():
        gone = Condition(row.kind).missing
        left = {m: name for name, m in outcomes[0].singles.items() if m != gone} if gone else {}
        found = {"alone_accuracy": float("nan"), "alone_accuracy_half_width": float("nan")}
        if len(left) == 1:
            (name,) = left.values()
            found = estimate(parts[row.dataset, row.n_shot], lambda one, n=name: one.of(n)).columns("alone_accuracy")
        alone.append(found)
    return frame.join(pd.DataFrame(alone))


def shown_missing(frame: pd.DataFrame, *, caption: str) -> Table:
    """One row a data set and what is missing, one column a method."""
    rows = []
    for (dataset, kind, side), part in _over_shots(frame).groupby(["dataset", "kind", "side"], sort=False):
        scope = {"queries": " (queries)", "all": " (supports and queries)"}[side] if kind != CLEAN.kind else ""
        row = {"data set": dataset, "missing": kind.removeprefix("without ") + scope if scope else "nothing"}
        row |= {one.method: percent(one.accuracy, one.half_width) for one in part.itertuples()}
        alone, half_width = part.iloc[0][["alone_accuracy", "alone_accuracy_half_width"]]
        rows.append(row | {"the other modality alone": percent(alone, half_width)})
    return Table(frame, pd.DataFrame(rows), caption)


def _over_shots(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows over all shots."""
    return frame[frame["n_shot"] == frame["n_shot"].min()]
