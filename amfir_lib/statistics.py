"""What a mean accuracy is worth: intervals over classes, paired differences, Holm's correction, AUROC.

Episodes re-use the same few test classes, so they are not independent, and 1.96 sd / sqrt(E) is far too narrow: it
ignores that other classes could have been drawn.  The delete-one-class jackknife asks instead how the mean moves when
one class is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from amfir_lib.errors import BadParameter, ShapeError


@dataclass(frozen=True)
class Interval:
    """A mean with its class-jackknife interval; all in the unit of the input (accuracy in [0, 1]).

    Attributes:
        mean: mean over all episodes.
        half_width: half of the class-jackknife interval.
        se: class-jackknife standard error.
        n_classes: classes that occur in the episodes, C.
        conventional_half_width: z sd / sqrt(E), which covers the sampling of episodes only.
        p_value: two-sided, of "the mean is 0" (t, C - 1 degrees of freedom); only for paired differences.
        confidence: of both intervals.
    """

    mean: float
    half_width: float
    se: float
    n_classes: int
    conventional_half_width: float
    p_value: float | None = None
    confidence: float = 0.95

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def class_jackknife(accuracy: np.ndarray, classes: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Mean accuracy with the delete-one-class jackknife interval.

    theta_c = mean over the episodes without class c;  SE^2 = (C-1)/C sum_c (theta_c - mean_c theta_c)^2;
    half width = t_{C-1} SE.

    Args:
        accuracy: (E,) accuracy of each episode, in [0, 1].
        classes: (E, N) classes of each episode.
        confidence: of the interval, in (0, 1).
    Returns:
        Interval; ``p_value`` is None.
    Raises:
        ShapeError: accuracy and classes differ in E.
        BadParameter: fewer than N + 2 classes, fewer than two episodes, a class in every episode, or a value that is
            not finite.
    """
    values, classes = np.asarray(accuracy, dtype=np.float64), np.asarray(classes)
    if values.ndim != 1 or classes.ndim != 2 or len(values) != len(classes):
        raise ShapeError(
            f"accuracy {values.shape} must be (E,) and classes {classes.shape} (E, N) with the same E. "
            "Pass the per-episode values of one cell."
        )
    if len(values) < 2 or not np.isfinite(values).all():
        raise BadParameter(
            f"{int(np.isfinite(values).sum())} of {len(values)} per-episode values are finite, but an interval needs "
            "at least 2 and all of them. Evaluate the cell again."
        )
    names, number = np.unique(classes, return_inverse=True)
    number = number.reshape(classes.shape)
    n_classes, n_way = len(names), classes.shape[1]
    if n_classes < n_way + 2:
        raise BadParameter(
            f"the jackknife over classes needs n_way + 2 = {n_way + 2} classes for {n_way}-way episodes, but the "
            f"episodes hold {n_classes}. Lower n_way to {n_classes - 2}, or test on more classes."
        )
    present = np.zeros((len(values), n_classes), dtype=bool)
    np.put_along_axis(present, number, True, axis=1)
    without = (~present).sum(axis=0)
    if (without == 0).any():
        raise BadParameter(
            f"class {names[without == 0][0]} is in each of the {len(values)} episodes, so the mean without it is "
            "undefined. Raise n_episodes."
        )
    theta = (values @ ~present) / without
    se = float(np.sqrt((n_classes - 1) / n_classes * np.square(theta - theta.mean()).sum()))
    tail = (1 + confidence) / 2
    return Interval(
        mean=float(values.mean()),
        half_width=float(stats.t.ppf(tail, n_classes - 1)) * se,
        se=se,
        n_classes=n_classes,
        conventional_half_width=float(stats.norm.ppf(tail) * values.std(ddof=1) / np.sqrt(len(values))),
        confidence=confidence,
    )


def paired_difference(a: np.ndarray, b: np.ndarray, classes: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Difference a - b of two methods on identical episodes, with interval and p-value over classes.

    Args:
        a: (E,) accuracy of the first method.
        b: (E,) accuracy of the second method on the same episodes in the same order.
        classes: (E, N) classes of each episode.
        confidence: of the interval.
    Returns:
        Interval of the mean difference; ``p_value`` from Student's t with C - 1 degrees of freedom.
    Raises:
        ShapeError, BadParameter: as ``class_jackknife``.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ShapeError(
            f"paired values have shapes {a.shape} and {b.shape}. Evaluate both methods on the same episode list."
        )
    found = class_jackknife(a - b, classes, confidence=confidence)
    if found.se > 0:
        p_value = float(2 * stats.t.sf(abs(found.mean) / found.se, found.n_classes - 1))
    else:
        p_value = 1.0 if found.mean == 0 else 0.0
    return Interval(**{**found.__dict__, "p_value": p_value})


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values of one family, corrected by Holm's step-down method.

    Args:
        p_values: (n,) in [0, 1].
    Returns:
        (n,) corrected p-values in the same order; an empty family gives an empty array.
    Raises:
        BadParameter: a value is not a probability.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise BadParameter(f"p-values must lie in [0, 1], got {p_values.tolist()}. Leave undefined comparisons out.")
    return multipletests(p_values, method="holm")[1] if len(p_values) else p_values


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, ties counting half.

    Args:
        score: (n,) higher means "more likely positive".
        positive: (n,) bool.
    Returns:
        In [0, 1]; NaN when there is no positive or no negative, because the question then has no answer.
    Raises:
        ShapeError: the two differ in length.
    """
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    if score.ndim != 1 or score.shape != positive.shape:
        raise ShapeError(f"score {score.shape} and positive {positive.shape} must be one-dimensional and equally long.")
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    rank_sum = stats.rankdata(score)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
