"""What a mean accuracy is worth: intervals over classes, paired differences, Holm's correction, AUROC.

Episodes re-use the same few test classes, so they are not independent, and 1.96 sd / sqrt(E) is far too narrow: it
ignores that other classes could have been drawn.  The delete-one-class jackknife asks instead how the mean moves when
one class is left out; several cells are pooled with the same question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from amfir_lib.errors import BadParameter, ShapeError


@dataclass(frozen=True)
class Interval:
    """A mean with its class-jackknife interval; all in the unit of the input (accuracy in [0, 1]).

    Attributes:
        mean: mean over all episodes (queries, where they are weighted; cells, where cells are pooled).
        half_width: half of the class-jackknife interval.
        se: class-jackknife standard error.
        n_classes: classes that occur in the episodes, C.
        conventional_half_width: z sd / sqrt(E), which covers the sampling of episodes only.
        p_value: two-sided, of "the mean is 0" (Student's t); only for differences.
        confidence: of both intervals.
        df: degrees of freedom of t: C - 1, or Satterthwaite's where several data sets are pooled.
    """

    mean: float
    half_width: float
    se: float
    n_classes: int
    conventional_half_width: float
    p_value: float | None = None
    confidence: float = 0.95
    df: float = np.nan

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


@dataclass(frozen=True)
class Sample:
    """What one cell (a data set at one number of shots and ways) gave, episode by episode.

    Attributes:
        values: (E,) accuracy of each episode, or difference of two; where the weight is 0 it is not read.
        classes: (E, N) classes of each episode.
        weights: (E,) how many queries a value is the mean of, where that differs; None for equal weights.  The mean is
            then the share of right answers among all queries: sum(weights * values) / sum(weights).
    Raises:
        ShapeError: the arrays differ in E.
        BadParameter: a value with a weight, or a weight, is not finite or negative; fewer than two episodes with one.
    """

    values: np.ndarray
    classes: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        values, classes = np.asarray(self.values, dtype=np.float64), np.asarray(self.classes)
        weights = np.ones_like(values) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        if values.ndim != 1 or classes.ndim != 2 or not len(values) == len(classes) == len(weights):
            raise ShapeError(
                f"accuracy {values.shape} must be (E,), classes {classes.shape} (E, N) and weights {weights.shape} "
                "(E,) with the same E. Pass the per-episode values of one cell."
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise BadParameter("a weight is negative or not finite. Weights are numbers of queries: pass counts.")
        values = np.where(weights > 0, values, 0.0)
        if (weights > 0).sum() < 2 or not np.isfinite(values).all():
            raise BadParameter(
                f"{int(np.isfinite(values[weights > 0]).sum())} of {int((weights > 0).sum())} per-episode values are "
                "finite, but an interval needs at least 2 and all of them. Evaluate the cell again."
            )
        for name, array in (("values", values), ("classes", classes), ("weights", weights)):
            object.__setattr__(self, name, array)

    @property
    def mean(self) -> float:
        """Weighted mean over the episodes."""
        return float(self.values @ self.weights / self.weights.sum())

    @property
    def episode_variance(self) -> float:
        """Variance of the mean if episodes were independent; of a ratio of means, by linearisation."""
        residual = self.weights * (self.values - self.mean) / self.weights.mean()
        return float(residual.var(ddof=1) / len(residual))

    def without_each_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Class -> mean over the episodes without it.

        Returns:
            names (C,), sorted; theta (C,).
        Raises:
            BadParameter: fewer than N + 2 classes, or a class in every episode.
        """
        names, number = np.unique(self.classes, return_inverse=True)
        number = number.reshape(self.classes.shape)
        n_classes, n_way = len(names), self.classes.shape[1]
        if n_classes < n_way + 2:
            raise BadParameter(
                f"the jackknife over classes needs n_way + 2 = {n_way + 2} classes for {n_way}-way episodes, but the "
                f"episodes hold {n_classes}. Lower n_way to {n_classes - 2}, or test on more classes."
            )
        absent = np.ones((len(self.values), n_classes), dtype=bool)
        np.put_along_axis(absent, number, False, axis=1)
        left = self.weights @ absent
        if (left == 0).any():
            raise BadParameter(
                f"class {names[left == 0][0]} is in each of the {len(self.values)} episodes, so the mean without it is "
                "undefined. Raise n_episodes."
            )
        return names, (self.weights * self.values) @ absent / left


def pooled_jackknife(
    groups: Sequence[Sequence[Sample]], *, shares: Sequence[Sequence[float]] | None = None, confidence: float = 0.95
) -> Interval:
    """Mean over several cells, where some are measured on the same test classes.

    Cells of one group (one data set at several numbers of shots) share their classes, so each class c is left out of
    all of them at once: theta_c = sum over cells of share * mean without c.  Groups (data sets, or folds of one data
    set with other test classes) are independent: SE^2 = sum over groups of SE_g^2, and t has Satterthwaite's
    (sum SE_g^2)^2 / sum(SE_g^4 / (C_g - 1)) degrees of freedom.

    Args:
        groups: groups of cells.
        shares: what each cell counts, in the same nesting; default: groups equally, and cells equally in their group.
            They need not sum to 1: shares of 1 and -1 give the difference of two cells.
        confidence: of the interval, in (0, 1).
    Returns:
        Interval with p-value; ``n_classes`` sums over the groups.
    Raises:
        BadParameter: no cell; cells of a group with different classes; see ``Sample``.
    """
    if not groups or not all(groups):
        raise BadParameter("there is no cell to pool. Pass at least one group of at least one cell.")
    if shares is None:
        shares = [[1 / len(groups) / len(group)] * len(group) for group in groups]
    mean = variance = fourth = episode_variance = 0.0
    n_classes = 0
    for group, own_shares in zip(groups, shares, strict=True):
        leave_outs = [sample.without_each_class() for sample in group]
        names = leave_outs[0][0]
        if any(not np.array_equal(names, other) for other, _ in leave_outs[1:]):
            raise BadParameter("cells of one group hold different test classes. Put them into groups of their own.")
        theta = sum(share * own for share, (_, own) in zip(own_shares, leave_outs, strict=True))
        c = len(names)
        own_variance = float((c - 1) / c * np.square(theta - theta.mean()).sum())
        mean += sum(share * sample.mean for share, sample in zip(own_shares, group, strict=True))
        episode_variance += sum(s**2 * sample.episode_variance for s, sample in zip(own_shares, group, strict=True))
        variance, fourth, n_classes = variance + own_variance, fourth + own_variance**2 / (c - 1), n_classes + c
    se = float(np.sqrt(variance))
    df = variance**2 / fourth if fourth > 0 else float(n_classes - len(groups))
    if se > 0:
        p_value = float(2 * stats.t.sf(abs(mean) / se, df))
    else:
        p_value = 1.0 if mean == 0 else 0.0
    tail = (1 + confidence) / 2
    return Interval(
        mean=float(mean),
        half_width=float(stats.t.ppf(tail, df)) * se,
        se=se,
        n_classes=n_classes,
        conventional_half_width=float(stats.norm.ppf(tail) * np.sqrt(episode_variance)),
        p_value=p_value,
        confidence=confidence,
        df=float(df),
    )


def class_jackknife(
    accuracy: np.ndarray, classes: np.ndarray, *, weights: np.ndarray | None = None, confidence: float = 0.95
) -> Interval:
    """Mean accuracy with the delete-one-class jackknife interval.

    theta_c = mean over the episodes without class c;  SE^2 = (C-1)/C sum_c (theta_c - mean_c theta_c)^2;
    half width = t_{C-1} SE.

    Args:
        accuracy: (E,) accuracy of each episode, in [0, 1].
        classes: (E, N) classes of each episode.
        weights: (E,) queries behind each value, where only some queries of an episode count; see ``Sample``.
        confidence: of the interval, in (0, 1).
    Returns:
        Interval; ``p_value`` is None.
    Raises:
        ShapeError: accuracy and classes differ in E.
        BadParameter: fewer than N + 2 classes, fewer than two episodes, a class in every episode, or a value that is
            not finite.
    """
    found = pooled_jackknife([[Sample(accuracy, classes, weights)]], confidence=confidence)
    return replace(found, p_value=None)


def paired_difference(
    a: np.ndarray, b: np.ndarray, classes: np.ndarray, *, weights: np.ndarray | None = None, confidence: float = 0.95
) -> Interval:
    """Difference a - b of two methods on identical episodes, with interval and p-value over classes.

    Args:
        a: (E,) accuracy of the first method.
        b: (E,) accuracy of the second method on the same episodes in the same order.
        classes: (E, N) classes of each episode.
        weights: (E,) queries behind each value; see ``Sample``.
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
    return pooled_jackknife([[Sample(a - b, classes, weights)]], confidence=confidence)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values of one family, corrected by Holm's step-down method.

    The smallest of n is multiplied by n, the next by n - 1, and so on; a running maximum keeps the order.

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
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


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
