"""The paper's claims and our verdicts.

A claim that one series is more accurate than another is a row of a table (``Claim``); ``measure`` asks it on all
queries, on undegraded ones and on degradation-free copies.  Claims made of several differences have rules of their own:
``joint_verdict``, ``monotone_verdict``, ``near_verdict``.  A measured claim is a ``row`` of the exported table, and
``collect`` joins those of all notebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, BASES, COPIES, UNDEGRADED, Answers
from amfir_lib.analysis.contrasts import Choice, chosen, paired, pooled_contrast
from amfir_lib.exports import Table, bold, text_of, write_table
from amfir_lib.methods import METHODS
from amfir_lib.paper import published
from amfir_lib.storage import read_json
from amfir_lib.study.statistics import Interval

VALIDATION = "validation episodes"
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ONLY_DEGRADED = "holds only under degradation"
NOT_TESTED, NOT_TESTABLE = "not tested here", "not testable"
COLUMNS = ("key", "claim", "source", "setting", "basis", "value", "verdict", "notebook", "paper")
CAPTION = (
    "Every claim of the paper's text, and what we measure. Differences are paired, on identical episodes, and pooled "
    "over the data sets and shots named: data sets count equally, and so do the cells of one. ± is the 95 % "
    "class-jackknife interval; where the setting says so, it covers training seeds instead. A claim holds if the whole "
    "interval lies on the claimed side, does not hold if it lies on the other, and is undecided otherwise: undecided "
    "is not equal. Claims about modalities stand on three bases: all queries; undegraded queries only (their supports "
    "as they are); copies of two benchmarks without any degradation, on which the methods are trained and tested. What "
    'holds on the first and on neither of the others "holds only under degradation". The verdict of a claim is the one '
    "on all queries; where these were not asked (–), it is that of the basis which was: the copies, or the other basis "
    "that is named. A best method is the best on validation classes among those trained on that basis "
    "(fewer on the copies). Each claim is the paper's own statement and has an interval of its own; there is "
    "no correction over the rows of this table (the comparisons of Table 1 have one). The paper's numbers are as "
    "printed, on real data."
)


@dataclass(frozen=True)
class Claim:
    """The paper's statement that one series is more accurate than another.

    Attributes:
        key: of the statement; the same on every basis.
        claim: the statement, in our words.
        source: where the paper makes it: "Sec. 4.5, Fig. 3".
        one, other: series, the same everywhere or by data set.
        paper: the paper's number, if it prints one.
        share: what a place counts, see ``answers.estimate``.
    """

    key: str
    claim: str
    source: str
    one: Choice
    other: Choice
    paper: str = ""
    share: Callable[[Answers], float] | None = None


def measure(claims: Iterable[Claim], answers: Sequence[Answers], *, notebook: str) -> list[dict[str, str]]:
    """Up to three rows per claim: on every basis that the data have; claims whose series were not run are left out.

    Args:
        claims: the statements.
        answers: on benchmarks and on their degradation-free copies.
        notebook: that measures them.
    """
    rows = []
    for claim in claims:
        for basis in BASES:
            interval = pooled_contrast(answers, claim.one, claim.other, basis=basis, share=claim.share)
            if interval is not None:
                pairs = paired(answers, claim.one, claim.other, basis)
                cells = [place.mean(values, place.counts(basis)) for place, values in pairs]
                low, high = (text_of(value, "difference") for value in (np.min(cells), np.max(cells)))
                detail = [f"{len(cells)} cells from {low} to {high}"] if len(cells) > 1 else []
                detail += _chosen_pairs(claim, [place for place, _ in pairs])
                measured = of_difference(interval, detail="; ".join(detail))
                about = {"setting": setting_of(place for place, _ in pairs), "notebook": notebook, "paper": claim.paper}
                rows.append(row(claim.key, claim.claim, claim.source, basis=basis, **measured, **about))
    return settle(rows)


def _chosen_pairs(claim: Claim, places: Iterable[Answers]) -> list[str]:
    """``AMFIR − STRM-F on synth-kinetics, ...`` where the series differ between data sets; else nothing."""
    if isinstance(claim.one, str) and isinstance(claim.other, str):
        return []
    pairs = {place.dataset: [METHODS[chosen(choice, place)].title for choice in (claim.one, claim.other)]
             for place in places}  # fmt: skip
    return [", ".join(f"{' − '.join(titles)} on {dataset}" for dataset, titles in pairs.items())]


def row(
    key: str, claim: str, source: str, *, value: str, verdict: str, setting: str, notebook: str, basis: str = ALL,
    paper: str = "",
) -> dict[str, str]:  # fmt: skip
    """One claim on one basis: a row of the exported table, and what a record keeps.

    ``value`` is what we measured, with unit and interval, as shown; ``setting`` the data sets, ways and shots of that;
    the others are as in ``Claim``.
    """
    return dict(zip(COLUMNS, (key, claim, source, setting, basis, value, verdict, notebook, paper), strict=True))


def of_difference(interval: Interval, *, detail: str = "") -> dict[str, str]:
    """``value`` and ``verdict`` of a claim that a difference of shares is positive; detail follows the value."""
    value = f"{signed(interval)} points" + ("" if interval.defined else " (no interval: too few test classes)")
    return {"value": f"{value}; {detail}" if detail else value, "verdict": verdict_of(interval)}


def verdict_of(interval: Interval) -> str:
    """``holds`` if the whole interval lies above 0, the claimed side, ``does not hold`` if below, else undecided."""
    if not interval.defined or abs(interval.mean) <= interval.half_width:
        return UNDECIDED
    return HOLDS if interval.mean > 0 else FAILS


def joint_verdict(parts: Iterable[Interval]) -> str:
    """ "Every one of these is above zero": fails if one lies below it, holds if all lie above, not tested if none."""
    verdicts = {verdict_of(part) for part in parts}
    if not verdicts:
        return NOT_TESTED
    return FAILS if FAILS in verdicts else HOLDS if verdicts == {HOLDS} else UNDECIDED


def monotone_verdict(total: Interval, steps: Sequence[Interval]) -> str:
    """ "It rises steadily": holds if the whole rise lies above zero and no step goes down, fails if one lies below."""
    if not all(part.defined for part in (total, *steps)):
        return UNDECIDED
    if FAILS in (verdict_of(part) for part in (total, *steps)):
        return FAILS
    return HOLDS if verdict_of(total) == HOLDS and all(step.mean > 0 for step in steps) else UNDECIDED


def near_verdict(levels: Iterable[Interval], target: float, *, near: float) -> str:
    """Holds if each interval lies within ``near`` of the target, fails if one lies wholly outside."""
    levels = list(levels)
    if not levels:
        return NOT_TESTED
    if any(level.low > target + near or level.high < target - near for level in levels):
        return FAILS
    inside = all(level.low >= target - near and level.high <= target + near for level in levels)
    return HOLDS if inside else UNDECIDED


def signed(interval: Interval, unit: str = "difference", decimals: int | None = None) -> str:
    """``+2.1 ± 0.8``: in points unless another unit is given; without ± where there is no interval."""
    text = text_of(interval.mean, unit, decimals)
    return f"{text} ± {text_of(interval.half_width, unit, decimals).lstrip('+')}" if interval.defined else text


def listed(
    parts: Mapping[str, Interval], unit: str = "difference", decimals: int | None = None, *, alone: bool = False
) -> str:
    """``1 to 2 shots +5.1 ± 0.8, 2 to 3 shots +0.3 ± 1.0``; a mean without interval only where it may stand alone."""
    texts = {name: signed(one, unit, decimals) if one.defined or alone else "–" for name, one in parts.items()}
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def setting_of(places: Iterable[Answers]) -> str:
    """``synth-kinetics, synth-ssv2; 5-way, 1- and 5-shot``."""
    places = list(places)
    ways, shots = (sorted({getattr(p.cell, name) for p in places}) for name in ("n_way", "n_shot"))
    return f"{', '.join(dict.fromkeys(p.dataset for p in places))}; {_numbers(ways)}-way, {_numbers(shots)}-shot"


def _numbers(values: Sequence[int]) -> str:
    """``1- and 5``, ``1- to 5``."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}- to {values[-1]}"
    return "- and ".join(map(str, values)) if len(values) < 3 else "-, ".join(map(str, values))


def settle(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Give the verdict "holds only under degradation" where it belongs.

    A statement that holds on all queries, and neither on undegraded queries nor on degradation-free copies, has shown
    nothing but that it holds where one stream is hurt.  Without either of these bases the verdict stays as it is.
    """
    rows = [dict(one) for one in rows]
    undegraded: dict[str, list[bool]] = {}
    for one in rows:
        if one["basis"] in (UNDEGRADED, COPIES):
            undegraded.setdefault(one["key"], []).append(one["verdict"] == HOLDS)
    for one in rows:
        if one["basis"] == ALL and one["verdict"] == HOLDS and not any(undegraded.get(one["key"], [True])):
            one["verdict"] = ONLY_DEGRADED
    return rows


def table_of(rows: Iterable[Mapping[str, str]]) -> Table:
    """The claims of one notebook, as they are to be read."""
    shown = pd.DataFrame(rows)[["claim", "basis", "value", "verdict"]]
    return Table(shown, shown.assign(verdict=shown["verdict"].map(bold)))


def collect(output_dir: Path) -> Table | None:
    """Join the claims of all records of a study, and write them to ``tables/claims.{csv,md,tex}``.

    What the paper claims and nothing here can measure is added, with the reason as the value.

    Returns:
        The table: as data one row per claim and basis, with ``overall`` (the verdict on the claim); as shown one row
        per claim.  None, and nothing written, where no notebook has measured a claim.
    """
    rows: list[dict[str, str]] = []
    for path in sorted((output_dir / "records").glob("*.json")):
        rows += settle(read_json(path).get("numbers", {}).get("claims") or [])
    if not rows:
        return None
    measured = {one["key"] for one in rows}
    for one in published("untested_claims").fillna("").itertuples():
        if not any(key.startswith(f"{one.key}_") for key in measured):
            verdict = NOT_TESTABLE if one.verdict == NOT_TESTABLE else NOT_TESTED
            about = {"setting": "", "notebook": "", "paper": one.paper}
            rows.append(row(one.key, one.claim, one.source, value=one.reason, verdict=verdict, **about))
    data = pd.DataFrame(rows, columns=COLUMNS)
    by_key = {key: part.to_dict("records") for key, part in data.groupby("key", sort=False)}
    overall = {key: _overall(part)["verdict"] for key, part in by_key.items()}
    shown = pd.DataFrame([_shown(part) for part in by_key.values()])
    table = Table(data.assign(overall=data["key"].map(overall)), shown, CAPTION)
    write_table(table, output_dir / "tables" / "claims")
    return table


def _overall(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The row that gives the verdict on a claim: on all queries, or on the first basis where these were not asked."""
    order = {basis: place for place, basis in enumerate((ALL, UNDEGRADED, COPIES, VALIDATION))}
    return min(rows, key=lambda one: order[one["basis"]])


def _shown(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """One row per claim, its bases side by side, each with its verdict; a dash where a basis was not asked."""
    first = _overall(rows)
    tested = first["verdict"] not in (NOT_TESTED, NOT_TESTABLE)
    cells = {one["basis"]: f"{bold(one['verdict'])}: {one['value']}" for one in rows if tested}
    others = "; ".join(f"{one['basis']}: {one['value']}" for one in rows if one["basis"] not in BASES)
    return {
        "claim": first["claim"],
        "paper": f"{first['source']}: {first['paper']}" if first["paper"] else first["source"],
        "verdict": first["verdict"],
        **{basis: cells.get(basis, "–") for basis in BASES},
        "other basis, or why none": (others or "–") if tested else first["value"],
        "setting": first["setting"] or "–",
    }


def best_on_validation(results: Iterable[object], methods: Iterable[str]) -> dict[str, str]:
    """Data set -> the one of the methods with the best validation accuracy, mean over seeds (and class folds)."""
    methods = set(methods)
    values: dict[str, dict[str, list[float]]] = {}
    for result in results:
        value = result.record["val_accuracy"]
        if result.run.method in methods and value is not None:
            by_method = values.setdefault(result.run.material.dataset.name, {})
            by_method.setdefault(result.run.method, []).append(value)
    return {dataset: max(own, key=lambda method: np.mean(own[method])) for dataset, own in values.items()}
