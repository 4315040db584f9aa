"""Claims that are made of several differences: each must lie on the claimed side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amfir_lib.analysis.claims.claim import FAILS, HOLDS, NOT_TESTED, UNDECIDED, verdict_of
from amfir_lib.study.statistics import Interval


def joint_verdict(parts: Sequence[Interval | None]) -> str:
    """Verdict on "every one of these is above zero".

    ``holds``: each interval lies above zero.  ``does not hold``: one lies below it.  ``undecided``: anything else, an
    undefined interval included.  ``not tested here``: there are none.
    """
    if not parts:
        return NOT_TESTED
    verdicts = {UNDECIDED if part is None else verdict_of(part.mean, part.half_width) for part in parts}
    return FAILS if FAILS in verdicts else HOLDS if verdicts == {HOLDS} else UNDECIDED


def monotone_verdict(total: Interval | None, steps: Sequence[Interval | None]) -> str:
    """Verdict on "it rises steadily".

    ``holds``: the whole rise lies above zero and no step is downward.  ``does not hold``: the whole, or one step, lies
    below zero.  ``undecided``: anything else.
    """
    parts = [total, *steps]
    if None in parts:
        return UNDECIDED
    verdicts = [verdict_of(part.mean, part.half_width) for part in parts]
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts[0] == HOLDS and all(step.mean > 0 for step in steps) else UNDECIDED


def shown(interval: Interval | None, *, scale: float = 100.0, decimals: int = 1) -> str:
    """``+2.1 ± 0.8``: signed, in points unless another scale is given; without ± where there is no interval."""
    if interval is None:
        return "–"
    value = round(scale * interval.mean, decimals) + 0.0
    text = f"{value:+.{decimals}f}" if value else f"{value:.{decimals}f}"  # what rounds to zero has no sign
    if np.isfinite(interval.half_width):
        text += f" ± {scale * interval.half_width:.{decimals}f}"
    return text.replace("-", "−")


def listed(parts: Mapping[str, Interval | None], **style: float) -> str:
    """``1 to 2 shots +5.1 ± 0.8, 2 to 3 shots +0.3 ± 1.0``."""
    return ", ".join(f"{name} {shown(interval, **style)}" for name, interval in parts.items())
