"""Accuracies of the series and paired differences between them, as tidy frames: place by place, and pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, AS_IS, Answers, estimate, on_basis
from amfir_lib.study.evaluation import FUSED
from amfir_lib.study.statistics import Interval, holm

Choice = str | Mapping[str, str]  # a series, or data set -> series
PLACE = ["dataset", "n_way", "n_shot"]
JACKKNIFE = "95 % class-jackknife interval"
# how differences are shown, for ``Table.of``
DIFFERENCE = {"difference": "{difference} ± {half_width}", "p (Holm)": "{p_holm}", "verdict": "{verdict}"}
BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
LEVEL = 0.05  # of the corrected tests


def accuracies(answers: Iterable[Answers], *, bases: Sequence[str] = (ALL,), streams: bool = False) -> pd.DataFrame:
    """Test accuracy of each series, with both intervals; shares in [0, 1].

    Args:
        answers: the places.
        bases: which queries count; places that a basis does not have are left out of it.
        streams: one row for each stream of a series.
    Returns:
        One row per basis, place, series (and stream): ``dataset, n_way, n_shot, basis, method`` (and ``stream``),
        ``accuracy, half_width`` (class jackknife; NaN where it is undefined), ``conventional_half_width, seed_sd,
        n_seeds, n_classes, n_episodes``.
    """
    rows = []
    for basis in bases:
        for place in on_basis(answers, basis):
            counts = place.counts(basis)
            for name in place.series:
                for stream in place.given[name, AS_IS][0].correct if streams else (FUSED,):
                    by_seed = place.by_seed(name, quantity=stream, basis=basis)
                    mean, means = by_seed.mean(0), [place.mean(values, counts) for values in by_seed]
                    variance = sum(sample.episode_variance for sample in place.samples(mean, counts))
                    rows.append(place.where | {"basis": basis, "method": name} | {"stream": stream} | {
                        "accuracy": place.mean(mean, counts),
                        "half_width": place.interval(mean, counts).half_width,
                        "conventional_half_width": float(1.96 * np.sqrt(variance) / len(place.folds)),
                        "seed_sd": float(np.std(means, ddof=1)) if len(means) > 1 else np.nan,
                        "n_seeds": len(means), "n_classes": place.n_classes, "n_episodes": len(mean),
                    })  # fmt: skip
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*PLACE, "basis", "method", "accuracy", "half_width"])
    return frame if streams else frame.drop(columns="stream", errors="ignore")


def contrast(
    answers: Iterable[Answers], one: str, others: Sequence[str] | None = None, *, bases: Sequence[str] = (ALL,)
) -> pd.DataFrame:
    """What ``one`` gains over every other series on identical episodes; shares in [-1, 1].

    Args:
        answers: the places; those that lack ``one`` are left out, and so are others that a place lacks.
        one: the series that the others are subtracted from.
        others: the series to compare with, in order; None for all.
        bases: as ``accuracies``.
    Returns:
        One row per basis, place and other series: ``dataset, n_way, n_shot, basis, other, comparison, difference,
        half_width, p_value, n_classes, n_episodes, p_holm, verdict``.  Holm's correction is over the rows of one basis
        and place.
    """
    rows = []
    for basis in bases:
        for place in on_basis(answers, basis):
            counts, family = place.counts(basis), []
            wanted = [name for name in place.series if name != one] if others is None else others
            for other in wanted if one in place.series else ():
                if other in place.series:
                    values = place.of(one, basis=basis) - place.of(other, basis=basis)
                    interval = place.interval(values, counts)
                    family.append(place.where | {
                        "basis": basis, "other": other, "comparison": f"{one} − {other}",
                        "difference": place.mean(values, counts), "half_width": interval.half_width,
                        "p_value": interval.p_value, "n_classes": place.n_classes, "n_episodes": len(counts),
                    })  # fmt: skip
            rows += corrected(family)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*PLACE, "basis", "other", "verdict"])


def pooled_contrast(
    answers: Iterable[Answers],
    one: Choice,
    other: Choice,
    *,
    basis: str = ALL,
    share: Callable[[Answers], float] | None = None,
) -> Interval | None:
    """Accuracy of ``one`` minus that of ``other``, pooled over every place that has both; None where none has.

    ``share`` is as of ``answers.estimate``.
    """
    pairs = paired(answers, one, other, basis)
    values = {id(place): (difference, place.counts(basis)) for place, difference in pairs}
    return estimate([place for place, _ in pairs], lambda p: values[id(p)], share=share) if pairs else None


def paired(answers: Iterable[Answers], one: Choice, other: Choice, basis: str) -> list[tuple[Answers, np.ndarray]]:
    """The places that have both series, and the (E,) differences of their accuracies."""
    pairs = []
    for place in on_basis(answers, basis):
        names = chosen(one, place), chosen(other, place)
        if {*names} <= {*place.series}:
            first, second = (place.of(name, basis=basis) for name in names)
            pairs.append((place, first - second))
    return pairs


def chosen(choice: Choice, place: Answers) -> str:
    """The series that a choice means in a place; empty where it means none."""
    return choice if isinstance(choice, str) else choice.get(place.dataset) or choice.get(place.where["dataset"], "")


def corrected(family: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Rows of one family, with ``difference`` and ``p_value``, and with Holm's ``p_holm`` and the ``verdict``."""
    rows = zip(family, holm([row["p_value"] for row in family]), strict=True)
    return [row | {"p_holm": p, "verdict": verdict(row["difference"], p)} for row, p in rows]


def verdict(difference: float, p_value: float) -> str:
    """``better``, ``worse``, or ``undecided`` where the corrected test does not reject equality, or there is none."""
    if not p_value < LEVEL:
        return UNDECIDED
    return BETTER if difference > 0 else WORSE


def covers(frame: pd.DataFrame, text: str = f"± is the {JACKKNIFE}", *, then: str = "") -> str:
    """What the ± of a table (column ``half_width``) covers, or why it has none; ``then`` follows where it has."""
    known = np.isfinite(frame["half_width"].astype(float))
    if not known.any():
        return (
            "no intervals, and so no verdicts: there are fewer than two test classes more than an episode has, and the "
            "class jackknife needs them"
        )
    where = "" if known.all() else ", left out where there are fewer than two test classes more than an episode has"
    return text + where + (f"; {then}" if then else "")
