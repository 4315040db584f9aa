"""What the sweeps say about the paper's claims: rows for the table of claims, and sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from amfir_lib.claim_rows import FAILS, HOLDS, UNDECIDED, UNTESTED, claim_row, listed, shown, verdict_above_zero
from amfir_lib.errors import ShapeError
from amfir_lib.leave_out import Point
from amfir_lib.statistics import Interval
from amfir_lib.sweep_tables import NEXT_BEST, SWEPT, lead_over_next_best
from amfir_lib.tables import percent

NOTEBOOK3, NOTEBOOK5 = "06_shot_sweep", "08_way_sweep"
Sides = Mapping[str, Sequence[Point]]  # basis -> points


def shot_claims(found: Sides, reference: str) -> list[dict[str, str]]:
    """Claims of Figure 3.

    *Rises*: the rise from the fewest to the most shots is above zero and every step in between is upward; it fails
    when the whole or one step lies below zero.  *Lead largest at 1 shot*: the lead over the next best method at 1 shot
    is larger than at each other number of shots.

    Args:
        found: basis -> points of ``sweep_frames``; the first basis is that of all queries.
        reference: title of AMFIR.
    """
    first = next(iter(found))
    rows = [_monotone(found[first], reference, "n_shot", sign=1, basis=first)]
    for basis, part in found.items():
        rows.append(_leads_everywhere(part, reference, "n_shot", basis))
        gaps = {}
        for place, line in _lines(part, "n_shot").items():
            start = line[0]
            for point in line[1:] if start.cell.n_shot == 1 else ():
                gain = _contrast(start, point, lambda one: lead_over_next_best(one, reference))
                gaps[place, f"1-shot minus {point.cell.n_shot}-shot"] = gain
        rows.append(
            claim_row(
                "lead_largest_at_1_shot",
                "AMFIR's lead over the next best method is largest at 1 shot",
                source="Sec. 4.5, Fig. 3",
                setting=_setting(part, "n_shot"),
                basis=basis,
                value=f"lead: {listed(gaps)} points",
                verdict=verdict_above_zero(list(gaps.values())),
                notebook=NOTEBOOK3,
            )  # fmt: skip
        )
    return rows


def way_claims(found: Sides, reference: str) -> list[dict[str, str]]:
    """Claims of Figure 5; arguments as ``shot_claims``.

    *Falls*: as *rises*, mirrored.  *Lead holds*: at the most ways tested, the paired lead over the next best method
    is above zero.
    """
    first = next(iter(found))
    rows = [_monotone(found[first], reference, "n_way", sign=-1, basis=first)]
    for basis, part in found.items():
        last = {place: line[-1] for place, line in _lines(part, "n_way").items()}
        leads = {
            (place, f"{point.cell.n_way}-way"): point.interval(lead_over_next_best(point, reference))
            for place, point in last.items()
        }
        most = min(point.cell.n_way for point in last.values())
        rows.append(_leads_everywhere(part, reference, "n_way", basis))
        rows.append(
            claim_row(
                "lead_holds_to_10_way",
                f"AMFIR's lead over the next best method holds to {most}-way"
                + ("" if most >= 10 else " (the paper: to 10-way; these data have too few classes)"),
                source="Sec. 4.5, Fig. 5",
                setting=_setting(part, "n_way"),
                basis=basis,
                value=f"lead: {listed(leads)} points",
                verdict=verdict_above_zero(list(leads.values())),
                notebook=NOTEBOOK5,
            )  # fmt: skip
        )
    return rows


def _leads_everywhere(part: Sequence[Point], reference: str, swept: str, basis: str) -> dict[str, str]:
    """AMFIR is better than every other method at every point."""
    leads = {
        (place, _name(point, swept)): point.interval(lead_over_next_best(point, reference))
        for place, line in _lines(part, swept).items()
        for point in line
    }
    figure, notebook = ("3", NOTEBOOK3) if swept == "n_shot" else ("5", NOTEBOOK5)
    return claim_row(
        f"fig{figure}_amfir_best_everywhere",
        f"AMFIR is better than every other method at every number of {'shots' if swept == 'n_shot' else 'ways'}",
        source=f"Sec. 4.5, Fig. {figure}", setting=_setting(part, swept), basis=basis,
        value=f"lead over the next best: {listed(leads)} points", verdict=verdict_above_zero(list(leads.values())),
        notebook=notebook,
    )  # fmt: skip


def _monotone(part: Sequence[Point], reference: str, swept: str, *, sign: int, basis: str) -> dict[str, str]:
    """Accuracy rises with shots (sign 1), or falls with ways (-1)."""
    texts, verdicts = [], []
    for place, line in _lines(part, swept).items():
        if len(line) < 2:
            continue
        steps = {
            f"{_name(a, swept)} to {_name(b, swept)}": _contrast(b, a, lambda one: one.means(reference))
            for a, b in zip(line, line[1:], strict=False)
        }
        total = _contrast(line[-1], line[0], lambda one: one.means(reference))
        smallest = min(steps, key=lambda name: sign * steps[name].mean)
        verdicts.append(monotone_verdict(total, list(steps.values()), sign=sign))
        texts.append(
            f"{place} {shown(total)} from {_name(line[0], swept)} to {_name(line[-1], swept)}, smallest step "
            f"{shown(steps[smallest])} ({smallest})"
        )
    verdict = (
        UNTESTED if not verdicts else FAILS if FAILS in verdicts else HOLDS if {*verdicts} == {HOLDS} else UNDECIDED
    )
    shots = swept == "n_shot"
    return claim_row(
        "accuracy_rises_with_shots" if shots else "accuracy_falls_with_ways",
        "AMFIR's accuracy rises steadily with the shots" if shots else "AMFIR's accuracy falls as ways are added",
        source=f"Sec. 4.5, Fig. {3 if shots else 5}", setting=_setting(part, swept), basis=basis,
        value="; ".join(texts) + " points", verdict=verdict, notebook=NOTEBOOK3 if shots else NOTEBOOK5,
        paper="SSv2 about 70 to 92 %, Kinetics 82 to 96 %" if shots else "",
    )  # fmt: skip


def monotone_verdict(total: Interval, steps: Sequence[Interval], *, sign: int = 1) -> str:
    """``holds``: the whole change lies beyond zero in the direction of ``sign`` and no step goes against it.

    ``does not hold``: the whole change, or one step, lies beyond zero against it.  ``undecided``: anything else.
    """
    ends = [(sign * one.mean - one.half_width, sign * one.mean + one.half_width) for one in (total, *steps)]
    if any(high < 0 for _, high in ends):
        return FAILS
    return HOLDS if ends[0][0] > 0 and all(sign * step.mean > 0 for step in steps) else UNDECIDED


def sweep_sentences(accuracy: pd.DataFrame, lead: pd.DataFrame, *, swept: str) -> str:
    """What a sweep found, one paragraph a data set, every number from the tables."""
    fixed = next(name for name in SWEPT if name != swept)
    paragraphs = []
    for (dataset, other), part in accuracy.groupby(["dataset", fixed], sort=False):
        own = part[part["key"] == "amfir"].sort_values(swept)
        start, end = own.iloc[0], own.iloc[-1]
        unit = SWEPT[swept]
        text = f"**{dataset}, {other}-{SWEPT[fixed]}**: AMFIR reaches {_percent(start)} % at {start[swept]}-{unit}"
        if len(own) > 1:
            text += f" and {_percent(end)} % at {end[swept]}-{unit}"
        leads = lead[(lead["dataset"] == dataset) & (lead[fixed] == other) & (lead["other"] == NEXT_BEST)]
        leads = leads.sort_values(swept)
        told = [
            f"{percent(row['difference'], row['half_width'], signed=True)} at {row[swept]}-{unit} "
            f"(over {row['next_best']})"
            for _, row in leads.iterrows()
        ]
        ahead = int((leads["difference"] > leads["half_width"]).sum())
        behind = int((-leads["difference"] > leads["half_width"]).sum())
        text += (
            f"; its lead over the next best method is {'; '.join(told)} points: shown at {ahead} of {len(leads)} "
            f"points, a deficit at {behind}."
        )
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _percent(row: pd.Series) -> str:
    return percent(row["accuracy"], row["half_width"])


def _lines(part: Sequence[Point], swept: str) -> dict[str, list[Point]]:
    """Data set (and the fixed number, where it varies) -> its points in order of the swept number."""
    fixed = next(name for name in SWEPT if name != swept)
    several = len({getattr(point.cell, fixed) for point in part}) > 1
    lines: dict[str, list[Point]] = {}
    for point in part:
        place = f"{point.dataset} {getattr(point.cell, fixed)}-{SWEPT[fixed]}" if several else point.dataset
        lines.setdefault(place, []).append(point)
    return {place: sorted(line, key=lambda point: getattr(point.cell, swept)) for place, line in lines.items()}


def _contrast(a: Point, b: Point, values: Callable[[Point], np.ndarray]) -> Interval | None:
    """Interval of values(a) - values(b) for two cells over the same classes; None where one of them has none.

    Raises:
        ShapeError: their classes differ.
    """
    if not all(np.array_equal(one, other) for one, other in zip(a.classes, b.classes, strict=True)):
        raise ShapeError(
            f"{a.dataset}: the episodes of two points hold different test classes, so that leaving one out means two "
            "things. Raise n_test_episodes."
        )
    return a.interval(values(a) - values(b)) if b.has_interval else None


def _name(point: Point, swept: str) -> str:
    return f"{getattr(point.cell, swept)}-{SWEPT[swept]}"


def _setting(part: Sequence[Point], swept: str) -> str:
    fixed = next(name for name in SWEPT if name != swept)
    values = sorted({getattr(point.cell, swept) for point in part})
    others = sorted({getattr(point.cell, fixed) for point in part})
    names = ", ".join(dict.fromkeys(point.dataset for point in part))
    span = f"{values[0]} to {values[-1]}" if len(values) > 1 else f"{values[0]}"
    return f"{names}; {span} {SWEPT[swept]}s, {' and '.join(f'{n}-{SWEPT[fixed]}' for n in others)}"
