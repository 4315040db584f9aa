"""Claims about the score: that free energy tells which modality is reliable, and does so as well as certainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from amfir_lib.analysis.answers import ALL, UNDEGRADED, Answers
from amfir_lib.analysis.claims.claim import UNDECIDED, Claim, points, setting_of, settle, verdict_of
from amfir_lib.analysis.reliability import RIGHT, UNHURT
from amfir_lib.analysis.scores import CALIBRATED, CERTAINTY, CHANCE, FREE_ENERGY, LEARNT, hit_rate
from amfir_lib.study.statistics import Interval

SOURCE = "Sec. 3.3, Eq. 3"


def score_claims(cells: Sequence[Answers], *, notebook: str) -> list[Claim]:
    """The modality of lower free energy is the reliable one, and free energy finds it at least as often as certainty.

    Both are asked for the modality that is right and for the one that is not degraded, and once more with calibrated
    posteriors.

    Args:
        cells: from ``scores.score_answers`` on test classes, with both bases.
        notebook: that measures them.
    """
    learnt, calibrated = (FREE_ENERGY, LEARNT), (FREE_ENERGY, CALIBRATED)
    aims = {RIGHT: "that is right", UNHURT: "that is not degraded"}
    statements: list[tuple[str, str, str, Callable[..., Interval | None]]] = []
    for what, words in aims.items():
        statements.append((
            f"lower_free_energy_is_{what}",
            f"The modality of lower free energy is the one {words} more often than chance (50 %)",
            what,
            lambda what, basis: hit_rate(cells, learnt, CHANCE, aim=what, basis=basis),
        ))  # fmt: skip
    for what, words in aims.items():
        statements.append((
            f"free_energy_picks_{what}_as_certainty",
            f"Free energy picks the modality {words} at least as often as certainty",
            what,
            lambda what, basis: hit_rate(cells, learnt, (CERTAINTY, LEARNT), aim=what, basis=basis),
        ))  # fmt: skip
    statements.append((
        "calibrated_free_energy_picks_right_as_certainty",
        "The same for the modality that is right, both calibrated on validation classes",
        RIGHT,
        lambda what, basis: hit_rate(cells, calibrated, (CERTAINTY, CALIBRATED), aim=what, basis=basis),
    ))  # fmt: skip
    found = []
    for key, claim, what, measure in statements:
        measured = {basis: measure(what, basis) for basis in (ALL, UNDEGRADED)}
        own = {basis: interval for basis, interval in measured.items() if interval is not None}
        found += settle(_claim(key, claim, interval, basis, cells, notebook) for basis, interval in own.items())
    return found


def _claim(key: str, claim: str, interval: Interval, basis: str, cells: Sequence[Answers], notebook: str) -> Claim:
    where = pd.DataFrame([place.where for place in cells])
    value = points(interval.mean, interval.half_width)
    verdict = verdict_of(interval.mean, interval.half_width)
    if interval.half_width != interval.half_width:
        value, verdict = f"{value} (no interval: too few test classes)", UNDECIDED
    return Claim(key, claim, SOURCE, setting_of(where), basis, value, verdict, notebook)
