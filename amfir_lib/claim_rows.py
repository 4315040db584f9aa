"""A claim of the paper beside what was measured: the rows that notebooks hand on to the table of claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amfir_lib.statistics import Interval

HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold", "undecided", "not tested here"


def verdict_above_zero(parts: Sequence[Interval | None]) -> str:
    """Verdict on "every one of these is above zero".

    ``holds``: each interval lies above zero.  ``does not hold``: one lies below it.  ``undecided``: anything else, an
    undefined interval included.  ``not tested here``: there are none.
    """
    if not parts:
        return UNTESTED
    if any(part is not None and part.high < 0 for part in parts):
        return FAILS
    return HOLDS if all(part is not None and part.low > 0 for part in parts) else UNDECIDED


def shown(interval: Interval | None, *, scale: float = 100.0, decimals: int = 1) -> str:
    """``+2.1 ± 0.8``: signed, in points unless another scale is given; without ± where there is no interval."""
    if interval is None:
        return "–"
    value = round(scale * interval.mean, decimals) + 0.0
    text = (
        f"{value:+.{decimals}f}" if value else f"{value:.{decimals}f}"
    )  # a difference that rounds to zero has no sign
    if np.isfinite(interval.half_width):
        text += f" ± {scale * interval.half_width:.{decimals}f}"
    return text.replace("-", "−")


def listed(parts: Mapping[tuple[str, str], Interval | None], **style: float) -> str:
    """Place and detail -> interval, as ``synth-ssv2 1-shot +2.1 ± 0.8, 5-shot +0.3 ± 1.0; synth-kinetics ...``."""
    return by_place({key: shown(interval, **style) for key, interval in parts.items()})


def by_place(parts: Mapping[tuple[str, str], str]) -> str:
    """As ``listed``, for texts."""
    lines: dict[str, list[str]] = {}
    for (place, detail), text in parts.items():
        lines.setdefault(place, []).append(f"{detail} {text}".strip())
    return "; ".join(f"{place} {', '.join(texts)}".strip() for place, texts in lines.items())


def claim_row(
    key: str,
    claim: str,
    *,
    source: str,
    setting: str,
    basis: str,
    value: str,
    verdict: str,
    notebook: str,
    paper: str = "",
) -> dict[str, str]:
    """One row of the table of claims.

    Args:
        key: short name, the same for every basis.
        claim: the paper's statement in our words.
        source: where the paper makes it.
        setting: data sets, ways, shots.
        basis: which queries, or which episodes.
        value: what was measured, with unit and interval.
        verdict: one of ``HOLDS, FAILS, UNDECIDED, UNTESTED``.
        notebook: that measures it.
        paper: the paper's number, if it prints one.
    """
    row = {"key": key, "claim": claim, "source": source, "setting": setting, "basis": basis}
    return row | {"value": value, "verdict": verdict, "notebook": notebook, "paper": paper}
