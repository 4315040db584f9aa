"""What a mean accuracy is worth: one jackknife over classes, Holm's correction, AUROC.

Episodes re-use the same few test classes, so they are not independent, and 1.96 sd / sqrt(E) is far too narrow: it
ignores that other classes could have been drawn.  The delete-one-class jackknife asks instead how a statistic moves
when one class is left out of all episodes.  The statistic is a weighted sum of means (``jackknife``) or any function of
means (``jackknife_of``); data sets and class folds, whose classes are independent, are pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from amfir_lib.errors import BadParameter, ShapeError

Key = Hashable
CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True)
class Interval:
    """A mean with its class-jackknife interval; all in the unit of the input (accuracy in [0, 1]).

    Where the jackknife is undefined (see ``Sample.defined``), half width, standard error and p-value are NaN.

    Attributes:
        se: standard error.
        n_classes: classes that occur in the episodes, C.
        conventional_half_width: z sd / sqrt(E), which covers the sampling of episodes only; NaN where the statistic is
            no sum of means.
        p_value: two-sided, of "the mean is 0" (Student's t).
        df: degrees of freedom of t: C - 1, or Satterthwaite's where several groups of classes are pooled.
    """

    mean: float
    half_width: float = np.nan
    se: float = np.nan
    n_classes: int = 0
    conventional_half_width: float = np.nan
    p_value: float = np.nan
    df: float = np.nan

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def defined(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.half_width))


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

    @cached_property
    def names(self) -> np.ndarray:
        """(C,) classes that occur, sorted."""
        return np.unique(self.classes)

    @cached_property
    def _absent(self) -> np.ndarray:
        """(E, C) bool: the episode is without the class."""
        absent = np.ones((len(self.values), len(self.names)), dtype=bool)
        np.put_along_axis(absent, np.searchsorted(self.names, self.classes), False, axis=1)
        return absent

    @property
    def defined(self) -> bool:
        """Whether the jackknife is: at least N + 2 classes, and none of them in every episode that counts.

        With N + 1 classes each mean without a class rests on the episodes of one choice of classes.
        """
        enough = len(self.names) >= self.classes.shape[1] + 2
        return enough and bool((self.weights @ self._absent > 0).all())

    def without_each_class(self) -> np.ndarray:
        """(C,) mean over the episodes without each class, in the order of ``names``."""
        return (self.weights * self.values) @ self._absent / (self.weights @ self._absent)


def jackknife(groups: Sequence[Sequence[Sample]], *, shares: Sequence[Sequence[float]] | None = None) -> Interval:
    """Weighted sum of the means of several cells, where some are measured on the same test classes.

    theta_c = sum over cells of share * mean without class c;  SE^2 = (C-1)/C sum_c (theta_c - mean_c theta_c)^2;
    half width = t SE.  Cells of one group (one data set at several numbers of shots) share their classes, so each
    class is left out of all of them at once.  Groups (data sets, or folds of one data set with other test classes) are
    independent: SE^2 = sum over groups of SE_g^2, and t has Satterthwaite's (sum SE_g^2)^2 / sum(SE_g^4 / (C_g - 1))
    degrees of freedom.

    Args:
        groups: groups of cells; ``[[sample]]`` for a single cell.
        shares: what each cell counts, in the same nesting; default: groups equally, and cells equally in their group.
            They need not sum to 1: shares of 1 and -1 give the difference of two cells.
    Returns:
        Interval; half width and p-value are NaN where a cell leaves them undefined.
    Raises:
        BadParameter: no cell; cells of a group with different classes; see ``Sample``.
    """
    if not groups or not all(groups):
        raise BadParameter("there is no cell to pool. Pass at least one group of at least one cell.")
    if shares is None:
        shares = [[1 / len(groups) / len(group)] * len(group) for group in groups]
    pairs = [list(zip(numbers, group, strict=True)) for numbers, group in zip(shares, groups, strict=True)]
    mean = float(sum(sum(share * sample.mean for share, sample in group) for group in pairs))
    variance = sum(sum(share**2 * sample.episode_variance for share, sample in group) for group in pairs)
    without = None
    if _comparable(groups):
        without = [sum(share * sample.without_each_class() for share, sample in group) for group in pairs]
    return _interval(mean, without, episode_variance=variance)


def jackknife_of(
    statistic: Callable[[dict[Key, np.ndarray]], np.ndarray],
    sets: Sequence[Sequence[Mapping[Key, Sample]]],
) -> Interval:
    """A function of several means, such as the lead over whichever method is next best, averaged over data sets.

    The statistic is evaluated on all episodes and once more without each class, so it finds the next best anew.

    Args:
        statistic: of the means, key -> (n,) values, as an (n,) array: element by element.
        sets: for each data set its class folds, each as key -> sample; the same keys in every fold.
    Returns:
        Interval as of ``jackknife``, without the conventional one.
    Raises:
        BadParameter: samples of one fold with different classes.
    """
    means = [{key: float(np.mean([fold[key].mean for fold in folds])) for key in folds[0]} for folds in sets]
    whole = [float(statistic({key: np.array([mean]) for key, mean in own.items()})[0]) for own in means]
    without = None
    if _comparable([list(fold.values()) for folds in sets for fold in folds]):
        without = []
        for folds, own in zip(sets, means, strict=True):
            for fold in folds:  # one fold moves, the others stay
                moved = {k: own[k] + (one.without_each_class() - one.mean) / len(folds) for k, one in fold.items()}
                without.append(statistic(moved) / len(sets))
    return _interval(float(np.mean(whole)), without)


def _comparable(groups: Iterable[Sequence[Sample]]) -> bool:
    """Whether the jackknife of every sample is defined; refuses samples of one group that hold different classes."""
    groups = list(groups)
    for first, *others in groups:
        if any(not np.array_equal(first.names, sample.names) for sample in others):
            raise BadParameter(
                "cells of one group hold different test classes, so that leaving one out means two things. Raise the "
                "number of test episodes, or put the cells into groups of their own."
            )
    return all(sample.defined for group in groups for sample in group)


def _interval(mean: float, without: Sequence[np.ndarray] | None, *, episode_variance: float = np.nan) -> Interval:
    """From the values without each class of each independent group, (C,) each; None where they are undefined."""
    tail = (1 + CONFIDENCE) / 2
    conventional = float(special.ndtri(tail) * np.sqrt(episode_variance))
    if without is None:
        return Interval(mean, conventional_half_width=conventional)
    variances = [(len(theta) - 1) / len(theta) * float(np.square(theta - theta.mean()).sum()) for theta in without]
    variance, n_classes = sum(variances), sum(map(len, without))
    fourth = sum(one**2 / (len(theta) - 1) for one, theta in zip(variances, without, strict=True))
    df = variance**2 / fourth if fourth > 0 else float(n_classes - len(without))
    se = float(np.sqrt(variance))
    return Interval(
        mean=mean,
        half_width=float(special.stdtrit(df, tail)) * se,
        se=se,
        n_classes=n_classes,
        conventional_half_width=conventional,
        p_value=float(2 * special.stdtr(df, -abs(mean) / se)) if se > 0 else float(mean == 0),
        df=float(df),
    )


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values of one family (n,), corrected by Holm's step-down method; NaN stays NaN and counts as no comparison.

    The smallest of n is multiplied by n, the next by n - 1, and so on; a running maximum keeps the order.

    Raises:
        BadParameter: a value is not a probability.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    known = p_values[~np.isnan(p_values)]
    if not ((known >= 0) & (known <= 1)).all():
        raise BadParameter(f"p-values must lie in [0, 1], got {p_values.tolist()}. Pass probabilities.")
    order = np.argsort(p_values, kind="stable")[: len(known)]  # NaN comes last
    steps = p_values[order] * np.arange(len(known), 0, -1)
    corrected = np.full_like(p_values, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, ties counting half.

    Args:
        score: (n,) higher means "more likely positive".
        positive: (n,) bool.
    Returns:
        In [0, 1]; NaN when there is no positive or no negative.
    Raises:
        ShapeError: the two differ in length.
    """
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    if score.ndim != 1 or score.shape != positive.shape:
        raise ShapeError(f"score {score.shape} and positive {positive.shape} must be one-dimensional and equally long.")
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    from scipy.stats import rankdata  # takes a second

    rank_sum = rankdata(score)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
