"""What Table 2 and Figure 4 say about the paper's claims: rows for the table of claims, and sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.ablation_tables import Bases
from amfir_lib.ablations import (
    CONTROL,
    FULL,
    MUTUAL,
    NO_AMD,
    NO_AMI,
    NO_DISTILLATION,
    READINGS,
    Configuration,
    one_sided,
    published_ablation,
)
from amfir_lib.claim_rows import by_place, claim_row, listed, verdict_above_zero
from amfir_lib.leave_out import Point, independent_difference
from amfir_lib.statistics import Interval
from amfir_lib.tables import percent

AMI_SETS = ("synth-ssv2", "synth-kinetics")  # where the paper says that AMI counts more, and less
NOTEBOOK2, NOTEBOOK4 = "05_table2_ablation", "07_distillation_strategies"


def table2_claims(found: Bases, configurations: Sequence[Configuration]) -> list[dict[str, str]]:
    """The claims about the components, one row each and basis.

    "Helps" is full minus without > 0 in every data set and shot.  Where one-sided dominance has several readings, the
    verdict rests on the first, and the value gives all.

    Args:
        found: from ``ablation_tables.bases``.
        configurations: the rows of Table 2.
    """
    readings = list(dict.fromkeys(one.reading for one in configurations if one.reading))
    motion, appearance = ([one_sided(configurations, reading=r)[side].name for r in readings] for side in (0, 1))
    statements = (
        ("amd_helps", "Distillation (AMD) raises accuracy", [NO_AMD]),
        ("ami_helps", "Adaptive fusion (AMI) raises accuracy", [NO_AMI]),
        ("rgb_only_dominance_lowers", "Appearance as the only dominant modality lowers accuracy", appearance),
        ("flow_only_dominance_lowers", "Flow as the only dominant modality lowers accuracy", motion),
    )
    rows = []
    for key, statement, names in statements:
        for basis, part in found.items():
            costs = {name: _over(part, lambda point, name=name: point.difference(FULL, name)) for name in names}
            values = [listed(own) for own in costs.values()]
            if len(names) > 1:
                values = [f"{READINGS[r]} {value}" for r, value in zip(readings, values, strict=True)]
            rows.append(
                claim_row(
                    key,
                    statement,
                    source="Sec. 4.4, Table 2",
                    setting=_setting(part),
                    basis=basis,
                    value="; ".join(values) + " points",
                    verdict=verdict_above_zero(list(costs[names[0]].values())),
                    notebook=NOTEBOOK2,
                    paper=_published_costs(part, configurations, names[0]),
                )  # fmt: skip
            )
    return rows + _ami_claims(found, configurations)


def _ami_claims(found: Bases, configurations: Sequence[Configuration]) -> list[dict[str, str]]:
    """AMI counts more on SSv2 than on Kinetics: a difference of differences on two independent sets of classes."""
    rows = []
    for basis, part in found.items():
        by_place = {(point.dataset, point.cell.n_shot): point for point in part}
        gaps = {}
        for shot in dict.fromkeys(point.cell.n_shot for point in part):
            pair = [by_place.get((name, shot)) for name in AMI_SETS]
            if None in pair:
                continue
            costs = [point.interval(point.difference(FULL, NO_AMI)) for point in pair]
            gaps["", f"{shot}-shot"] = None if None in costs else independent_difference(*costs)
        if gaps:
            rows.append(
                claim_row(
                    "ami_counts_more_on_ssv2",
                    "Switching AMI off costs more on SSv2 than on Kinetics",
                    source="Sec. 4.4",
                    setting=f"synth-ssv2 minus synth-kinetics, {_shots(part)}",
                    basis=basis,
                    value=listed(gaps) + " points",
                    verdict=verdict_above_zero(list(gaps.values())),
                    notebook=NOTEBOOK2,
                    paper="its own Table 2 says the opposite: " + _published_costs(part, configurations, NO_AMI),
                )  # fmt: skip
            )
    return rows


def strategy_claims(found: Bases) -> list[dict[str, str]]:
    """The claims about who teaches whom: bidirectional above each one-sided strategy, each of those above none."""
    one_way = [n for n in next(iter(found.values()))[0].series if n not in (MUTUAL, NO_DISTILLATION, CONTROL)]
    statements = (
        ("bidirectional_above_unidirectional", "Bidirectional distillation is better than one-sided distillation",
         [(MUTUAL, name) for name in one_way]),
        ("bidirectional_above_none", "Bidirectional distillation is better than none", [(MUTUAL, NO_DISTILLATION)]),
        ("unidirectional_above_none", "One-sided distillation is better than none",
         [(name, NO_DISTILLATION) for name in one_way]),
    )  # fmt: skip
    rows = []
    for key, statement, pairs in statements:
        for basis, part in found.items():
            part = [point for point in part if point.cell.n_shot == 1] or part  # Figure 4 is 1-shot
            gains = {f"{a} − {b}": _over(part, lambda point, a=a, b=b: point.difference(a, b)) for a, b in pairs}
            value = "; ".join(f"{name}: {listed(own)}" for name, own in gains.items())
            verdict = verdict_above_zero([interval for own in gains.values() for interval in own.values()])
            rows.append(
                claim_row(
                    key,
                    statement,
                    source="Sec. 4.5, Fig. 4",
                    setting=_setting(part),
                    basis=basis,
                    value=f"{value} points",
                    verdict=verdict,
                    notebook=NOTEBOOK4,
                )  # fmt: skip
            )
    return rows


def ablation_sentences(frame: pd.DataFrame) -> str:
    """What the paired differences to the full method say, one paragraph a data set.

    Args:
        frame: from ``ablation_tables.differences`` with the full method as reference.
    """
    return _paragraphs(frame, "points that full AMFIR is ahead", better="what costs accuracy", worse="what gains some")


def strategy_sentences(frame: pd.DataFrame) -> str:
    """As ``ablation_sentences``, for bidirectional minus the other strategies."""
    return _paragraphs(frame, "points that bidirectional is ahead", better="it beats", worse="it loses to")


def _paragraphs(frame: pd.DataFrame, unit: str, *, better: str, worse: str) -> str:
    words = {"better": better, "worse": worse, "undecided": "no difference is shown to"}
    first = frame["basis"].iloc[0]
    paragraphs = []
    for dataset, part in frame.groupby("dataset", sort=False):
        lines = []
        for n_shot, own in part[part["basis"] == first].groupby("n_shot", sort=False):
            said = [
                f"{words[verdict]} "
                + ", ".join(f"{row['other']} ({_gain(row)})" for _, row in own[own["verdict"] == verdict].iterrows())
                for verdict in words
                if (own["verdict"] == verdict).any()
            ]
            lines.append(f"{n_shot}-shot, {'; '.join(said)}")
        text = f"**{dataset}** ({unit}, {first}). " + ". ".join(lines) + "."
        paragraphs.append(f"{text} {_moved(part, first)}".rstrip())
    return "\n\n".join(paragraphs)


def _moved(part: pd.DataFrame, first: str) -> str:
    """Which verdicts another basis does not confirm."""
    keys = ["n_shot", "other"]
    before = part[part["basis"] == first].set_index(keys)["verdict"]
    others = []
    for basis, own in part[part["basis"] != first].groupby("basis", sort=False):
        after = own.set_index(keys)["verdict"]
        changed = [f"{other} {shot}-shot {after[shot, other]}" for shot, other in before.index if
                   after[shot, other] != before[shot, other]]  # fmt: skip
        others.append(f"on {basis} {'all verdicts stay' if not changed else 'other verdicts: ' + ', '.join(changed)}")
    text = "; ".join(others)
    return f"{text[0].upper()}{text[1:]}." if others else ""


def _gain(row: pd.Series) -> str:
    return percent(row["difference"], row["half_width"], signed=True)


def _over(part: Sequence[Point], values: Callable[[Point], np.ndarray]) -> dict[tuple[str, str], Interval | None]:
    """(data set, shots) -> interval."""
    return {(point.dataset, f"{point.cell.n_shot}-shot"): point.interval(values(point)) for point in part}


def _published_costs(part: Sequence[Point], configurations: Sequence[Configuration], name: str) -> str:
    """What the paper's Table 2 prints for full minus this configuration, in points."""
    marks = {one.name: one.marks for one in configurations}
    costs = {}
    for point in part:
        full, without = (published_ablation(point.dataset, point.cell.n_shot, marks[n]) for n in (FULL, name))
        if full == full and without == without:
            costs[point.dataset, f"{point.cell.n_shot}-shot"] = percent(full - without, signed=True)
    return by_place(costs)


def _shots(part: Sequence[Point]) -> str:
    return " and ".join(f"{shot}-shot" for shot in dict.fromkeys(point.cell.n_shot for point in part))


def _setting(part: Sequence[Point]) -> str:
    names = ", ".join(dict.fromkeys(point.dataset for point in part))
    return f"{names}; {part[0].cell.n_way}-way {_shots(part)}"
