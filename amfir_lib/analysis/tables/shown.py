"""Tables as they are to be read: per cent with one decimal, the interval beside the mean."""

from __future__ import annotations

import numpy as np
import pandas as pd

from amfir_lib.exports import Table


def percent(share: float, half_width: float | None = None, *, signed: bool = False) -> str:
    """``52.4 ± 1.9`` or ``+2.1 ± 0.8``, in per cent with one decimal; an en dash for what does not exist."""
    if share is None or not np.isfinite(share):
        return "–"
    value = round(100 * share, 1) + 0.0  # + 0.0: a difference that rounds to zero has no sign
    text = f"{value:+.1f}" if signed and value else f"{value:.1f}"
    text = text.replace("-", "−")
    return f"{text} ± {100 * half_width:.1f}" if half_width is not None and np.isfinite(half_width) else text


JACKKNIFE = "95 % class-jackknife interval"


def interval_note(frame: pd.DataFrame, text: str = f"± is the {JACKKNIFE}", *, then: str = "") -> str:
    """What the ± of a table covers, or why it has none.

    Args:
        frame: with the column ``half_width``, NaN where the test classes do not suffice for an interval.
        text: what to say where there are intervals.
        then: what follows after that, such as which correction the verdicts are after.
    """
    known = np.isfinite(frame["half_width"].astype(float))
    then = f"; {then}" if then else ""
    if known.all():
        return text + then
    if known.any():
        return f"{text}, left out where there are fewer than two test classes more than an episode has{then}"
    return (
        "no intervals, and so no verdicts: there are fewer than two test classes more than an episode has, and the "
        "class jackknife needs them"
    )


FAMILY = {"basis": "basis", "dataset": "data set", "n_shot": "number of shots"}


def holm_note(frame: pd.DataFrame) -> str:
    """``Holm's correction over the 3 comparisons of one data set and number of shots``: what is one family.

    Args:
        frame: rows of ``paired_table``, on one or more bases (column ``basis``).
    """
    keys = [key for key in FAMILY if key in frame]
    words = [FAMILY[key] for key in keys]
    n = int(frame.groupby(keys, sort=False).size().max())
    return f"Holm's correction over the {n} comparisons of one {', '.join(words[:-1])} and {words[-1]}"


def verdict_cell(verdict: str, p_value: float) -> str:
    """A verdict as it is to be read: an en dash where no interval, and so no p, exists."""
    return verdict if np.isfinite(p_value) else "–"


def number(value: float, decimals: int = 2) -> str:
    """``−2.43``: fixed decimals and a true minus; an en dash for what does not exist."""
    value = round(value, decimals) + 0.0  # + 0.0: what rounds to zero has no sign
    return f"{value:.{decimals}f}".replace("-", "−") if np.isfinite(value) else "–"


def rounded(frame: pd.DataFrame, decimals: int = 2) -> pd.DataFrame:
    """A frame as it is to be read: numbers with a fraction as :func:`number` shows them, all else as it is."""
    fractions = frame.select_dtypes("float").columns
    return frame.assign(**{column: [number(value, decimals) for value in frame[column]] for column in fractions})


def shown_accuracies(frame: pd.DataFrame, *, caption: str, row: str = "method") -> Table:
    """Accuracies as they are to be read: one row per method, one column per data set and number of shots."""
    cells = frame.assign(cell=[percent(a, h) for a, h in zip(frame["accuracy"], frame["half_width"], strict=True)])
    wide = cells.pivot(index=row, columns=["dataset", "n_shot"], values="cell").fillna("–")
    wide = wide.reindex(list(dict.fromkeys(frame[row])))[
        list(dict.fromkeys(zip(frame["dataset"], frame["n_shot"], strict=True)))
    ]
    return Table(frame, wide.set_axis([f"{name} {shot}-shot" for name, shot in wide.columns], axis=1), caption)


def shown_differences(frame: pd.DataFrame, *, caption: str) -> Table:
    """Paired differences as they are to be read; p is called after Holm where the correction changes any."""
    corrected = not np.array_equal(frame["p_holm"], frame["p_value"], equal_nan=True)
    shown = pd.DataFrame(
        {
            "data set": frame["dataset"],
            "shots": frame["n_shot"],
            "comparison": frame["comparison"],
            "difference": [
                percent(d, h, signed=True) for d, h in zip(frame["difference"], frame["half_width"], strict=True)
            ],
            "p (Holm)" if corrected else "p": [number(p, 3) for p in frame["p_holm"]],
            "verdict": [verdict_cell(*pair) for pair in zip(frame["verdict"], frame["p_holm"], strict=True)],
        }
    )
    return Table(frame, shown, caption)
