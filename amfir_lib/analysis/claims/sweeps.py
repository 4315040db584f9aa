"""The claims of Figures 3 and 5: how accuracy moves with shots and ways, and what becomes of AMFIR's lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from amfir_lib.analysis.claims.claim import NOT_TESTED, Claim, setting_of, settle
from amfir_lib.analysis.claims.joint import joint_verdict, listed, monotone_verdict, shown
from amfir_lib.analysis.studies.leave_out import LeftOut, Point, average, contrast, points
from amfir_lib.analysis.studies.sweep_tables import SWEPT
from amfir_lib.analysis.tables import ALL, UNDEGRADED
from amfir_lib.analysis.tables.grouping import Namer
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Interval

Lines = Mapping[int, Sequence[Point]]  # number of shots or ways -> its point in every data set


def sweep_claims(
    results: Sequence[RunResult], *, swept: str, reference: str, series: Namer, notebook: str
) -> list[Claim]:
    """The claims of one sweep, averaged over data sets, on all queries and on undegraded ones.

    *Rises (falls)*: the whole change lies beyond zero and no step goes against it.  *Best everywhere*: the lead over
    the next best method is above zero at every point.  *Largest at 1 shot*: that lead at 1 shot minus that at each
    other number of shots is above zero.  *Holds to 10-way*: the lead at the most ways tested is above zero.

    Args:
        results: runs with tests.
        swept: "n_shot" (Figure 3) or "n_way" (Figure 5).
        reference: name of AMFIR.
        series: names the series of a run.
        notebook: that measures them.
    """
    found = []
    for basis in (ALL, UNDEGRADED):
        lines = _lines(points(results, series, basis=basis), swept)
        if len(lines) == 0:
            continue
        source = f"Sec. 4.5, Fig. {3 if swept == 'n_shot' else 5}"
        about = {"source": source, "setting": _setting(lines), "basis": basis, "notebook": notebook}
        if basis == ALL:  # not a claim about modalities
            found.append(_monotone(lines, reference, swept, about))
        leads = {x: average([point.lead(reference) for point in line]) for x, line in lines.items()}
        found.append(_best_everywhere({_name(x, swept): _interval(one) for x, one in leads.items()}, swept, about))
        if swept == "n_shot":
            found.append(_largest_at_one(lines, reference, about))
        else:
            found.append(_holds_to_last(max(lines), _interval(leads[max(lines)]), about))
    return settle(found)


def _lines(found: Sequence[Point], swept: str) -> dict[int, list[Point]]:
    """Points that every data set has, at the smallest value of what is not swept: Figure 5 is 1-shot."""
    fixed = next(name for name in SWEPT if name != swept)
    least = min((getattr(point.group.cell, fixed) for point in found), default=0)
    lines: dict[int, list[Point]] = {}
    for point in found:
        if getattr(point.group.cell, fixed) == least:
            lines.setdefault(getattr(point.group.cell, swept), []).append(point)
    n_sets = max(map(len, lines.values()), default=0)
    return {x: line for x, line in sorted(lines.items()) if len(line) == n_sets}


def _monotone(lines: Lines, reference: str, swept: str, about: dict[str, str]) -> Claim:
    """Accuracy rises with the shots, or falls with the ways (the difference is then of the fewer to the more ways)."""
    xs = list(lines)
    if swept == "n_way":
        xs = xs[::-1]  # so that the claimed side is above zero
    steps = {
        f"{a} to {b}": _change(lines, a, b, lambda point: point.accuracy(reference))
        for a, b in zip(xs, xs[1:], strict=False)
    }
    shots = swept == "n_shot"
    if len(xs) < 2:
        value, verdict = "one point only", NOT_TESTED
    else:
        total = _change(lines, xs[0], xs[-1], lambda point: point.accuracy(reference))
        value = f"{shown(total)} points from {xs[0]} to {xs[-1]} {SWEPT[swept]}s; steps {listed(steps)}"
        verdict = monotone_verdict(total, list(steps.values()))
    return Claim(
        "accuracy_rises_with_shots" if shots else "accuracy_falls_with_ways",
        "AMFIR's accuracy rises steadily with the shots" if shots else "Accuracy falls as classes are added",
        value=value, verdict=verdict, **about,
    )  # fmt: skip


def _best_everywhere(leads: Mapping[str, Interval | None], swept: str, about: dict[str, str]) -> Claim:
    what = "shots" if swept == "n_shot" else "ways"
    return Claim(
        f"best_at_all_{what}", f"AMFIR is better than every other method at every number of {what}",
        value=f"lead over the next best {listed(leads)} points", verdict=joint_verdict(list(leads.values())), **about,
    )  # fmt: skip


def _largest_at_one(lines: Lines, reference: str, about: dict[str, str]) -> Claim:
    gaps = {
        f"minus {x}-shot": _change(lines, x, 1, lambda point: point.lead(reference))
        for x in lines
        if 1 in lines and x > 1
    }
    return Claim(
        "lead_largest_at_1_shot", "AMFIR's lead over the next best method is largest at 1 shot",
        value=f"lead at 1-shot {listed(gaps)} points" if gaps else "no 1-shot point beside others",
        verdict=joint_verdict(list(gaps.values())), **about,
    )  # fmt: skip


def _holds_to_last(most: int, lead: Interval | None, about: dict[str, str]) -> Claim:
    beyond = "" if most >= 10 else " (the paper: to 10-way; these data have too few classes)"
    return Claim(
        "lead_holds_to_10_way", f"AMFIR's lead over the next best method holds to {most}-way{beyond}",
        value=f"lead {shown(lead)} points", verdict=joint_verdict([lead]), **about,
    )  # fmt: skip


def _change(lines: Lines, a: int, b: int, statistic: Callable[[Point], LeftOut | None]) -> Interval | None:
    """The statistic at b minus that at a, averaged over data sets."""
    pairs = zip(lines[b], lines[a], strict=True)
    return _interval(average([contrast(to, start, statistic) for to, start in pairs]))


def _interval(one: LeftOut | None) -> Interval | None:
    return one.interval() if one else None


def _name(x: int, swept: str) -> str:
    return f"{x}-{SWEPT[swept]}"


def _setting(lines: Lines) -> str:
    return setting_of(pd.DataFrame([point.group.where() for line in lines.values() for point in line]))
