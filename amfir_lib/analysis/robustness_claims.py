"""The claims of the conclusion: robust to noise and ambiguity, good with scarce data, efficient (Sec. 5).

The paper reports no experiment for them, so each is stated here as a comparison that can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, COPIES, COPY, Answers, estimate, original
from amfir_lib.analysis.claims import (
    FAILS,
    HOLDS,
    joint_verdict,
    listed,
    of_difference,
    row,
    setting_of,
    signed,
    verdict_of,
)
from amfir_lib.analysis.robustness import LATE, OWN, lost, saved
from amfir_lib.analysis.scarcity import Amount
from amfir_lib.analysis.spoilt import CLEAN, Condition
from amfir_lib.data.spoiling import MOTION, SENSOR
from amfir_lib.methods import METHODS
from amfir_lib.study.statistics import Interval

EFFICIENT = 1.02  # at most so many times the multiply-adds of the late fusion counts as "no more"
SOURCE = "Sec. 5"
Row = dict[str, str]
KEYS = {SENSOR: "sensor_noise", MOTION: "motion_ambiguity"}


def spoilt_claims(outcomes: Sequence[Answers], *, best_single: Mapping[str, str], notebook: str) -> list[Row]:
    """Robust to sensor noise, and to motion ambiguity, at the largest severity.

    *Loses less*: the equal late fusion of two networks loses more accuracy than AMFIR.  *Stays ahead*: AMFIR is still
    more accurate than the single modality that is best on validation classes.  Both are means over the family's kinds,
    data sets and shots.

    Args:
        outcomes: the cells, spoilt.
        best_single: data set -> method of one modality.
        notebook: that measures them.
    """
    found = []
    for family, key in KEYS.items():
        worst = _worst(outcomes, family)
        if worst:
            about = {"notebook": notebook, "setting": f"{_setting(outcomes)}; severity {worst[0].severity:g}"}
            found += _pair(key, f"robust to {family}", outcomes, worst, best_single, about)
    return found


def scarcity_claims(outcomes: Sequence[Answers], *, best_single: Mapping[str, str], notebook: str) -> list[Row]:
    """The same two statements for the smallest number of base classes and of clips; arguments as ``spoilt_claims``."""
    amounts = [c for c in outcomes[0].conditions if isinstance(c, Amount)]
    by_kind = {amount.swept: [a for a in amounts if a.swept == amount.swept] for amount in amounts if amount.swept}
    least = [min(own, key=lambda a: a.n) for own in by_kind.values()]
    if not least:
        return []
    told = " or ".join(f"{amount.n} {amount.swept}" for amount in least)
    about = {"notebook": notebook, "setting": f"{_setting(outcomes)}; trained on {told}"}
    return _pair("scarce_data", "good with scarce data", outcomes, least, best_single, about)


def _pair(
    key: str, what: str, outcomes: Sequence[Answers], conditions: Sequence[Hashable],
    best_single: Mapping[str, str], about: Mapping[str, str],
) -> list[Row]:  # fmt: skip
    def mean_over(statistic: Callable[[Answers, Hashable], np.ndarray]) -> Interval:
        return estimate(outcomes, lambda one: np.mean([statistic(one, c) for c in conditions], axis=0))

    def loss(method: str) -> str:
        own = mean_over(lambda one, c: lost(one, method, c))
        return f"{_title(method)} loses {signed(own, 'cost')}"

    less = mean_over(lambda one, c: saved(one, LATE, c))
    ahead = mean_over(lambda one, c: one.of(OWN, c) - one.of(best_single[original(one.dataset)], c))
    by_condition = {_named(c): estimate(outcomes, lambda one, c=c: saved(one, LATE, c)) for c in conditions}
    singles = ", ".join(f"{_title(m)} on {d}" for d, m in best_single.items())
    return [
        _claim(f"{key}_loses_less", f"AMFIR is {what}: it loses less accuracy than equal late fusion ({_title(LATE)})",
               less, f"{loss(OWN)}, {loss(LATE)}; {listed(by_condition)}", outcomes, about),
        _claim(f"{key}_stays_ahead", f"AMFIR is {what}: it stays more accurate than the best single modality",
               ahead, singles, outcomes, about),
    ]  # fmt: skip


def weight_claim(outcomes: Sequence[Answers], weights: pd.DataFrame, *, notebook: str) -> list[Row]:
    """Fusion weight moves to the modality that is less disturbed, where one is; at the largest severity of each kind.

    Conditions count per data set: a kind may hurt one modality here and the other there.

    Args:
        outcomes: the cells, spoilt.
        weights: from ``robustness.weights_frame``.
        notebook: that measures them.
    """
    worst = weights["severity"] == weights.groupby("kind")["severity"].transform("max")
    changes = weights[worst & (weights["n_shot"] == weights["n_shot"].min()) & (weights["spared_verdict"] != "")]
    if changes.empty:
        return []
    side = np.where(changes["spared_verdict"] == changes["first"], 1, -1)
    sides = dict(zip(zip(changes["dataset"], changes["kind"], changes["severity"], strict=True), side, strict=True))

    def moved(place: Answers) -> np.ndarray:
        values = []
        for condition in place.conditions:
            side = sides.get((original(place.dataset), condition.kind, condition.severity))
            if side:
                after, before = (place.of(OWN, c, quantity="weight") for c in (condition, CLEAN))
                values.append(side * (after - before))
        return np.mean(values, axis=0)

    asked = [place for place in outcomes if original(place.dataset) in set(changes["dataset"])]
    found = estimate(asked, moved)
    gain, half = changes["weight_gain"], changes["weight_gain_half_width"]
    counts = []
    for word, sign in (("grows", 1), ("shrinks", -1)):
        n, n_beyond = (sign * gain > 0).sum(), (sign * gain > half).sum()
        counts.append(f"{word} in {n} of {len(gain)} cases (beyond its interval in {n_beyond})")
    detail = f"the weight of the less disturbed modality {' and '.join(counts)}"
    about = {"notebook": notebook, "setting": f"{_setting(outcomes)}; largest severity"}
    claim = "Adaptive fusion gives more weight to the modality that a disturbance spares"
    about |= {"value": f"{signed(found)} points of weight; {detail}", "verdict": verdict_of(found)}
    return [row("weight_to_healthy", claim, "Sec. 3.5, 5", basis=_basis(outcomes), **about)]


def efficiency_claims(costs: pd.DataFrame, outcomes: Sequence[Answers], *, notebook: str) -> list[Row]:
    """Efficient: no dearer than late fusion and cheaper than early fusion with STRM; and worth what it costs.

    *Cost*: multiply-adds of a query without its backbone, a count that has no interval.  *Worth it*: more accurate than
    each compared method that costs no more, each difference on its own.

    Args:
        costs: from ``costs.cost_frame``.
        outcomes: cells, of which the sound queries count.
        notebook: that measures them.
    """
    adds = costs.set_index("key")["multiply_adds"]
    ratios = {m: adds[OWN] / adds[m] for m in (LATE, "strm_ec") if m in adds.index}
    about = {"notebook": notebook, "setting": _setting(outcomes), "basis": _basis(outcomes)}
    source = f"Sec. 1, {SOURCE[5:]}"
    found = []
    if ratios:
        holds = ratios.get(LATE, 1.0) <= EFFICIENT and ratios.get("strm_ec", 0.0) < 1
        value = ", ".join(f"{ratio:.2f} times the multiply-adds of {_title(m)}" for m, ratio in ratios.items())
        claim = "AMFIR is computationally efficient: a query costs no more than with late fusion, and less than with "
        verdict = HOLDS if holds else FAILS
        found.append(row("efficiency_cost", f"{claim}early fusion", source, value=value, verdict=verdict, **about))
    rivals = [m for m in outcomes[0].series if m != OWN and m in adds.index and adds[m] <= EFFICIENT * adds[OWN]]
    leads = {
        _title(m): estimate(outcomes, lambda one, m=m: one.of(OWN, Condition()) - one.of(m, Condition()))
        for m in rivals
    }
    if leads:
        claim = "AMFIR is computationally efficient: it is more accurate than every compared method that costs no more"
        value = f"AMFIR minus {listed(leads)} points"
        found.append(
            row("efficiency_worth", claim, source, value=value, verdict=joint_verdict(leads.values()), **about)
        )
    return found


def _worst(outcomes: Sequence[Answers], family: str) -> list[Condition]:
    """Each kind of a family at its largest severity."""
    own = [c for c in outcomes[0].conditions if c.family == family]
    return [max((c for c in own if c.kind == kind), key=lambda c: c.severity) for kind in
            dict.fromkeys(c.kind for c in own)]  # fmt: skip


def _claim(
    key: str, claim: str, found: Interval, detail: str, outcomes: Sequence[Answers], about: Mapping[str, str]
) -> Row:
    return row(key, claim, SOURCE, basis=_basis(outcomes), **of_difference(found, detail=detail), **about)


def _title(method: str) -> str:
    return METHODS[method].title


def _named(condition: Hashable) -> str:
    return f"{condition.n} {condition.swept}" if isinstance(condition, Amount) else condition.kind


def _basis(outcomes: Sequence[Answers]) -> str:
    """Degradation-free copies where all data sets are copies."""
    return COPIES if all(one.dataset.endswith(COPY) for one in outcomes) else ALL


def _setting(outcomes: Sequence[Answers]) -> str:
    return setting_of(replace(place, dataset=original(place.dataset)) for place in outcomes)
