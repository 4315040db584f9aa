"""Accuracies of the series and paired differences between them, as tidy frames: place by place, and pooled."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

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


def accuracies(
    answers: Iterable[Answers],
    *,
    bases: Sequence[str] = (ALL,),
    condition: Hashable = AS_IS,
    streams: bool = False,
) -> pd.DataFrame:
    """Test accuracy of each series, with both intervals.

    Args:
        answers: the places.
        bases: which queries count; places that a basis does not have are left out of it.
        condition: under which the series were asked.
        streams: one row for each stream of a series.
    Returns:
        One row per basis, place, series (and stream): ``dataset, n_way, n_shot, basis, method`` (and ``stream``),
        ``accuracy, half_width`` (class jackknife; NaN where it is undefined), ``conventional_half_width, seed_sd,
        n_seeds, n_classes, n_episodes``; shares in [0, 1].
    """
    rows = []
    for basis in bases:
        for place in on_basis(answers, basis):
            for name in (one for one, asked in place.given if asked == condition):
                for stream in place.given[name, condition][0].correct if streams else (FUSED,):
                    row = place.where | {"basis": basis, "method": name} | ({"stream": stream} if streams else {})
                    by_seed = place.by_seed(name, condition, quantity=stream, basis=basis)
                    rows.append(row | _accuracy(place, by_seed, place.counts(basis)))
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*PLACE, "basis", "method", "accuracy", "half_width"])


def _accuracy(place: Answers, by_seed: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    mean = by_seed.mean(0)
    means = [place.mean(values, counts) for values in by_seed]
    conventional = 1.96 * np.sqrt(sum(sample.episode_variance for sample in place.samples(mean, counts)))
    return {
        "accuracy": place.mean(mean, counts),
        "half_width": place.interval(mean, counts).half_width,
        "conventional_half_width": float(conventional / len(place.folds)),
        "seed_sd": float(np.std(means, ddof=1)) if len(means) > 1 else np.nan,
        "n_seeds": len(means),
        "n_classes": place.n_classes,
        "n_episodes": len(mean),
    }


def contrast(
    answers: Iterable[Answers],
    one: Choice,
    others: Sequence[Choice] | None = None,
    *,
    bases: Sequence[str] = (ALL,),
    condition: Hashable = AS_IS,
) -> pd.DataFrame:
    """What ``one`` gains over every other series on identical episodes.

    Args:
        answers: the places; those that lack ``one`` are left out, and so are others that a place lacks.
        one: the series that the others are subtracted from, the same everywhere or by data set.
        others: the series to compare with, in order; None for all.
        bases: as ``accuracies``.
        condition: as ``accuracies``.
    Returns:
        One row per basis, place and other series: ``dataset, n_way, n_shot, basis, other, comparison, difference,
        half_width, p_value, p_holm, verdict, n_classes, n_episodes``; shares in [-1, 1].  Holm's correction is over
        the rows of one basis and place.
    """
    rows = []
    for basis in bases:
        for place in on_basis(answers, basis):
            asked = [name for name, under in place.given if under == condition]
            first, counts, family = chosen(one, place), place.counts(basis), []
            wanted = [name for name in asked if name != first] if others is None else [chosen(o, place) for o in others]
            for other in wanted if first in asked else ():
                if other in asked:
                    values = place.of(first, condition, basis=basis) - place.of(other, condition, basis=basis)
                    interval = place.interval(values, counts)
                    row = {"basis": basis, "other": other, "comparison": f"{first} − {other}"}
                    row |= {"difference": place.mean(values, counts)}
                    family.append(row | {"half_width": interval.half_width, "p_value": interval.p_value})
            sizes = {"n_classes": place.n_classes, "n_episodes": len(counts)}
            rows += [place.where | row | sizes for row in corrected(family)]
    columns = [*PLACE, "basis", "other", "comparison", "difference", "half_width"]
    return pd.DataFrame(rows, columns=[*columns, "p_value", "p_holm", "verdict", "n_classes", "n_episodes"])


def pooled_contrast(
    answers: Iterable[Answers],
    one: Choice,
    other: Choice,
    *,
    basis: str = ALL,
    condition: Hashable = AS_IS,
    share: Callable[[Answers], float] | None = None,
) -> Interval | None:
    """Accuracy of ``one`` minus that of ``other``, pooled over every place in which both were asked.

    Args:
        answers, one, basis, condition: as ``contrast``.
        other: the series that is subtracted.
        share: as ``answers.estimate``.
    Returns:
        The mean difference with its interval; None where no place has both series.
    """

    def asked(place: Answers) -> bool:
        return all((chosen(choice, place), condition) in place.given for choice in (one, other))

    def difference(place: Answers) -> tuple[np.ndarray, np.ndarray]:
        first, second = (place.of(chosen(choice, place), condition, basis=basis) for choice in (one, other))
        return first - second, place.counts(basis)

    places = [place for place in on_basis(answers, basis) if asked(place)]
    return estimate(places, difference, share=share) if places else None


def chosen(choice: Choice, place: Answers) -> str:
    """The series that a choice means in a place; empty where it means none."""
    return choice if isinstance(choice, str) else choice.get(place.dataset) or choice.get(place.where["dataset"], "")


def corrected(family: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Rows of one family, with ``difference`` and ``p_value``, and with Holm's ``p_holm`` and the ``verdict``."""
    p_values = holm([row["p_value"] for row in family])
    rows = zip(family, p_values, strict=True)
    return [row | {"p_holm": p, "verdict": verdict(row["difference"], p)} for row, p in rows]


def verdict(difference: float, p_value: float, *, level: float = 0.05) -> str:
    """``better``, ``worse``, or ``undecided`` where the corrected test does not reject equality, or there is none."""
    if not p_value < level:
        return UNDECIDED
    return BETTER if difference > 0 else WORSE


def covers(frame: pd.DataFrame, text: str = f"± is the {JACKKNIFE}", *, then: str = "") -> str:
    """What the ± of a table covers, or why it has none.

    Args:
        frame: with the column ``half_width``, NaN where the test classes do not suffice for an interval.
        text: what to say where there are intervals.
        then: what follows after that, such as which correction the verdicts are after.
    """
    known = np.isfinite(frame["half_width"].astype(float))
    if not known.any():
        return (
            "no intervals, and so no verdicts: there are fewer than two test classes more than an episode has, and the "
            "class jackknife needs them"
        )
    where = "" if known.all() else ", left out where there are fewer than two test classes more than an episode has"
    return text + where + (f"; {then}" if then else "")
