"""The claims of the conclusion (Sec. 5): robust to noise and ambiguity, good with scarce data, efficient.

The paper reports no experiment for them, so each is stated here as a comparison that can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, COPIES, Answers, estimate, original
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
from amfir_lib.analysis.robustness import LATE, OWN, SINGLES, WEIGHT, ahead, lost, saved
from amfir_lib.analysis.scarcity import SCARCE
from amfir_lib.analysis.spoilt import CLEAN, Condition
from amfir_lib.data.spoiling import MOTION, SENSOR
from amfir_lib.methods import METHODS
from amfir_lib.study.statistics import Interval

Row = dict[str, str]
EFFICIENT = 1.02  # at most so many times the multiply-adds counts as "no more"
CLAIMED = {  # family of conditions -> key, and what AMFIR is said to be (Sec. 5)
    SENSOR: ("sensor_noise", "robust to sensor noise"), MOTION: ("motion_ambiguity", "robust to motion ambiguity"),
    SCARCE: ("scarce_data", "good with scarce data"),
}  # fmt: skip


def worst_of(conditions: Sequence[Hashable]) -> dict[str, list[Hashable]]:
    """Family -> each kind of it at its largest severity, or least amount."""
    worst: dict[str, dict[str, Hashable]] = {}
    for condition in conditions:
        kinds = worst.setdefault(condition.family, {})
        if condition.kind not in kinds or kinds[condition.kind].severity < condition.severity:
            kinds[condition.kind] = condition
    return {family: list(kinds.values()) for family, kinds in worst.items() if family}


def _about(places: Sequence[Answers], notebook: str, detail: str = "") -> Row:
    setting = setting_of(replace(place, dataset=original(place.dataset)) for place in places)
    copies = all(place.basis == COPIES for place in places)
    return {"notebook": notebook, "setting": setting + detail, "basis": COPIES if copies else ALL}


def condition_claims(places: Sequence[Answers], best_single: Mapping[str, str], *, notebook: str) -> list[Row]:
    """Robust, or good with scarce data, in the worst conditions of each family.

    *Loses less*: equal late fusion loses more accuracy than AMFIR.  *Stays ahead*: AMFIR is still more accurate than
    the single modality that is best on validation classes (by data set).  Means over kinds, data sets and shots.
    """
    titles = {method: METHODS[method].title for method in (OWN, LATE, *SINGLES)}
    singles = ", ".join(f"{titles[method]} on {dataset}" for dataset, method in best_single.items())
    rows = []
    for family, worst in worst_of(places[0].conditions).items():

        def mean_of(statistic: Callable, method: str, conditions: Sequence[Hashable] = worst) -> Interval:
            def values(place: Answers) -> np.ndarray:
                asked = method or best_single[original(place.dataset)]
                return np.mean([statistic(place, asked, condition) for condition in conditions], axis=0)

            return estimate(places, values)

        losses = ", ".join(f"{titles[m]} loses {signed(mean_of(lost, m), 'cost')}" for m in (OWN, LATE))
        by_kind = listed({condition.label: mean_of(saved, LATE, [condition]) for condition in worst})
        amount = f"trained on {' or '.join(condition.label for condition in worst)}"
        about = _about(places, notebook, f"; {amount if family == SCARCE else f'severity {worst[0].severity:g}'}")
        key, quality = CLAIMED[family]
        claim = f"AMFIR is {quality}: it loses less accuracy than equal late fusion ({titles[LATE]})"
        less = of_difference(mean_of(saved, LATE), detail=f"{losses}; {by_kind}")
        rows.append(row(f"{key}_loses_less", claim, "Sec. 5", **less, **about))
        claim = f"AMFIR is {quality}: it stays more accurate than the best single modality"
        lead = of_difference(mean_of(ahead, ""), detail=singles)
        rows.append(row(f"{key}_stays_ahead", claim, "Sec. 5", **lead, **about))
    return rows


def weight_claim(places: Sequence[Answers], weights: pd.DataFrame, *, notebook: str) -> list[Row]:
    """Fusion weight moves to the modality that is less disturbed, where one is; at the largest severity of each kind.

    Conditions count per data set: a kind may hurt one modality here and the other there.  See ``weights_frame``.
    """
    worst = [condition for kinds in worst_of(places[0].conditions).values() for condition in kinds]
    changes = weights[(weights["n_shot"] == weights["n_shot"].min()) & (weights["spared_verdict"] != "")]
    changes = changes[[Condition(row.kind, row.severity) in worst for row in changes.itertuples()]]
    if changes.empty:
        return []
    spared = changes.set_index(["dataset", "kind"])["spared_verdict"]

    def moved(place: Answers) -> np.ndarray:
        gains = []
        for condition in worst:
            modality = spared.get((original(place.dataset), condition.kind))
            if modality is not None:
                side = 1 if modality == changes["first"].iloc[0] else -1
                after, before = (place.of(OWN, c, quantity=WEIGHT) for c in (condition, CLEAN))
                gains.append(side * (after - before))
        return np.mean(gains, axis=0)

    gain, half_width, n = changes["weight_gain"], changes["weight_gain_half_width"], len(changes)
    counts = [
        f"{word} in {(sign * gain > 0).sum()} of {n} cases (beyond its interval in {(sign * gain > half_width).sum()})"
        for word, sign in (("grows", 1), ("shrinks", -1))
    ]
    mean = estimate([place for place in places if original(place.dataset) in set(changes["dataset"])], moved)
    value = f"{signed(mean)} points of weight; the weight of the less disturbed modality {' and '.join(counts)}"
    claim = "Adaptive fusion gives more weight to the modality that a disturbance spares"
    about = _about(places, notebook, "; largest severity")
    return [row("weight_to_healthy", claim, "Sec. 3.5, 5", value=value, verdict=verdict_of(mean), **about)]


def efficiency_claims(costs: pd.DataFrame, places: Sequence[Answers], *, notebook: str) -> list[Row]:
    """Efficient: no dearer than late fusion and cheaper than early fusion with STRM; and worth what it costs.

    *Cost*: multiply-adds of a query without its backbone, a count that has no interval.  *Worth it*: more accurate than
    each compared method that costs no more, each difference on its own.
    """
    adds = costs.set_index("key")["multiply_adds"]
    ratios = {m: adds[OWN] / adds[m] for m in (LATE, "strm_ec") if m in adds.index}
    rivals = [m for m in places[0].series if m != OWN and m in adds.index and adds[m] <= EFFICIENT * adds[OWN]]
    leads = {METHODS[m].title: estimate(places, lambda place, m=m: ahead(place, m, CLEAN)) for m in rivals}
    about, rows = _about(places, notebook), []
    efficient = "AMFIR is computationally efficient"
    if ratios:
        holds = ratios.get(LATE, 1.0) <= EFFICIENT and ratios.get("strm_ec", 0.0) < 1
        value = ", ".join(f"{ratio:.2f} times the multiply-adds of {METHODS[m].title}" for m, ratio in ratios.items())
        claim = f"{efficient}: a query costs no more than with late fusion, and less than with early fusion"
        verdict = HOLDS if holds else FAILS
        rows.append(row("efficiency_cost", claim, "Sec. 1, 5", value=value, verdict=verdict, **about))
    if leads:
        claim = f"{efficient}: it is more accurate than every compared method that costs no more"
        value, verdict = f"AMFIR minus {listed(leads)} points", joint_verdict(leads.values())
        rows.append(row("efficiency_worth", claim, "Sec. 1, 5", value=value, verdict=verdict, **about))
    return rows
