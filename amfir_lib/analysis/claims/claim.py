"""One claim of the paper beside what was measured, and the rule that gives the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables import ALL, UNDEGRADED, percent
from amfir_lib.analysis.tables.bases import COPIES
from amfir_lib.errors import unknown_name
from amfir_lib.study.statistics import Interval

VALIDATION = "validation episodes"
BASES = (ALL, UNDEGRADED, COPIES, VALIDATION)
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ONLY_DEGRADED = "holds only under degradation"
NOT_TESTED, NOT_TESTABLE = "not tested here", "not testable"
VERDICTS = (HOLDS, ONLY_DEGRADED, FAILS, UNDECIDED, NOT_TESTED, NOT_TESTABLE)


@dataclass(frozen=True)
class Claim:
    """One statement of the paper on one basis.

    Attributes:
        key: of the statement; the same on every basis.
        claim: the paper's statement, in our words.
        source: where it makes it: "Sec. 4.5, Fig. 3".
        setting: data sets, ways and shots of our measurement.
        basis: which queries count: one of ``BASES``.
        value: what we measured, with unit and interval, as shown.
        verdict: one of ``VERDICTS``.
        notebook: that measures it.
        paper: the paper's number, if it prints one.
    Raises:
        UnknownName: no such basis or verdict.
    """

    key: str
    claim: str
    source: str
    setting: str
    basis: str
    value: str
    verdict: str
    notebook: str
    paper: str = ""

    def __post_init__(self) -> None:
        for kind, value, known in (("basis", self.basis, BASES), ("verdict", self.verdict, VERDICTS)):
            if value not in known:
                raise unknown_name(kind, value, known)

    def to_record(self) -> dict[str, str]:
        """For the numbers of a notebook's record."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Claim:
        """Back from ``to_record``; entries that a claim does not have are left out."""
        return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})


def verdict_of(difference: float, half_width: float) -> str:
    """``holds`` if the whole interval lies on the claimed side (above 0), ``does not hold`` if below, else undecided.

    Args:
        difference: positive where the claim is right, in any unit.
        half_width: of its 95 % interval; NaN where there is none, which decides nothing.
    """
    if not np.isfinite(half_width) or abs(difference) <= half_width:
        return UNDECIDED
    return HOLDS if difference > 0 else FAILS


def points(share: float, half_width: float = np.nan) -> str:
    """``+2.1 ± 0.8 points`` from shares."""
    return f"{percent(share, half_width, signed=True)} points"


def claim_from_difference(
    key: str,
    *,
    claim: str,
    source: str,
    notebook: str,
    interval: Interval | None,
    setting: str = "",
    basis: str = ALL,
    detail: str = "",
    paper: str = "",
    mean: float = np.nan,
) -> Claim:
    """A claim that a difference of accuracies is positive.

    Args:
        key, claim, source, notebook, setting, basis, paper: see ``Claim``.
        interval: of the difference, a share; positive on the claimed side.  None where too few test classes leave it
            undefined.
        detail: what follows the value, such as the range over the cells.
        mean: the difference, where there is no interval.
    Returns:
        The claim with its verdict.
    """
    if interval is None:
        value, verdict = f"{points(mean)} (no interval: too few test classes)", UNDECIDED
    else:
        value, verdict = points(interval.mean, interval.half_width), verdict_of(interval.mean, interval.half_width)
    text = f"{value}; {detail}" if detail else value
    return Claim(key, claim, source, setting, basis, text, verdict, notebook, paper)


def setting_of(cells: pd.DataFrame) -> str:
    """``synth-kinetics, synth-ssv2; 5-way, 1- and 5-shot`` from columns ``dataset, n_way, n_shot``."""
    ways, shots = (sorted(cells[column].unique()) for column in ("n_way", "n_shot"))
    return f"{', '.join(dict.fromkeys(cells['dataset']))}; {_numbers(ways)}-way, {_numbers(shots)}-shot"


def _numbers(values: Sequence[int]) -> str:
    """``1- and 5``, ``1- to 5``."""
    values = [int(value) for value in values]
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}- to {values[-1]}"
    return "- and ".join(str(value) for value in values) if len(values) < 3 else "-, ".join(map(str, values))


def settle(claims: Iterable[Claim]) -> list[Claim]:
    """Give the verdict "holds only under degradation" where it belongs.

    A statement that holds on all queries, and neither on undegraded queries nor on degradation-free copies, has shown
    nothing but that it holds where one stream is hurt.  Without either of these bases the verdict stays as it is.
    """
    claims = list(claims)
    sound: dict[str, list[bool]] = {}
    for one in claims:
        if one.basis in (UNDEGRADED, COPIES):
            sound.setdefault(one.key, []).append(one.verdict == HOLDS)
    return [
        replace(one, verdict=ONLY_DEGRADED)
        if one.basis == ALL and one.verdict == HOLDS and one.key in sound and not any(sound[one.key])
        else one
        for one in claims
    ]
