"""Scores compared over data sets and shots: hit rates and their paired differences, with intervals over classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.open_choices.choice_scores import CALIBRATIONS, CERTAINTY, LEARNT, SCORED, Column, ScoredCell
from amfir_lib.analysis.open_choices.picks import RIGHT, UNHURT
from amfir_lib.analysis.tables import ALL, percent
from amfir_lib.exports import Table
from amfir_lib.study.statistics import Interval, Sample, pooled_jackknife

NO_INTERVAL = float("nan")
CHANCE = 0.5
NAMES = {
    "centred": "free energy (centred)",
    "helmholtz": "Helmholtz free energy",
    "vfe_gauss": "Gaussian variational",
    "vfe_discrete": "discrete variational",
    "entropy": "entropy",
    "neg_certainty": "certainty (AMFAR)",
    "joint": "divergence from the joint posterior (ours)",
    "joint_decision": "surprise under the joint posterior (ours)",
}


def hit_rate(cells: Sequence[ScoredCell], column: Column, *, what: str = RIGHT, basis: str = ALL) -> Interval | None:
    """Share of the counted queries in which a score picks rightly, with its interval.

    Data sets count equally, and so do the shots of one; class folds and data sets are independent.

    Args:
        cells: from ``choice_scores.score_cells``.
        column: (score, calibration).
        what, basis: see ``picks``.
    Returns:
        None where the data do not know what is asked; a half width of NaN where there are too few classes.
    """
    return _pooled(cells, (column,), what, basis)


def hit_difference(
    cells: Sequence[ScoredCell], one: Column, other: Column, *, what: str = RIGHT, basis: str = ALL
) -> Interval | None:
    """By how much ``one`` picks more often than ``other`` on the same queries; pooled as ``hit_rate``."""
    return _pooled(cells, (one, other), what, basis)


def above_chance(
    cells: Sequence[ScoredCell], column: Column, *, what: str = RIGHT, basis: str = ALL
) -> Interval | None:
    """By how much a score picks more often than a coin."""
    return _pooled(cells, (column, None), what, basis)


def _pooled(cells: Sequence[ScoredCell], columns: tuple[Column | None, ...], what: str, basis: str) -> Interval | None:
    cells = [cell for cell in cells if (what, basis) in cell.picked]
    if not cells:
        return None
    groups: dict[tuple[str, int], list[Sample]] = {}
    for cell in cells:
        first, *rest = (cell.picked[what, basis][column] if column else None for column in columns)
        values = first.by_episode
        for other in rest:
            values = values - (other.by_episode if other else CHANCE)
        groups.setdefault((cell.dataset, cell.fold), []).append(Sample(values, cell.classes, first.counted))
    n_folds = Counter(name for name, _ in groups)
    shares = [[1 / len(n_folds) / n_folds[name] / len(own)] * len(own) for (name, _), own in groups.items()]
    samples = [sample for own in groups.values() for sample in own]
    if any(len(np.unique(sample.classes)) < sample.classes.shape[1] + 2 for sample in samples):
        weights = [share for row in shares for share in row]
        mean = sum(share * sample.mean for share, sample in zip(weights, samples, strict=True))
        return Interval(mean, NO_INTERVAL, NO_INTERVAL, 0, NO_INTERVAL)
    return pooled_jackknife(list(groups.values()), shares=shares)


def best_column(cells: Sequence[ScoredCell], columns: Sequence[Column]) -> Column:
    """The column that picks the right modality most often; the first of equals."""
    return max(columns, key=lambda column: hit_rate(cells, column).mean)


def scores_frame(validation: Sequence[ScoredCell], test: Sequence[ScoredCell]) -> pd.DataFrame:
    """All scores on validation and test classes.

    Returns:
        One row per split, what is to be picked, score and calibration: ``hit_rate, half_width, gain`` (over
        certainty as learnt, on the same queries), ``gain_half_width, auroc``; shares.
    """
    rows = []
    for split, cells in (("val", validation), ("test", test)):
        for what in (RIGHT, UNHURT):
            for column in ((score, calibration) for score in SCORED for calibration in CALIBRATIONS):
                rate = hit_rate(cells, column, what=what)
                if rate is None:
                    continue
                ahead = hit_difference(cells, column, (CERTAINTY, LEARNT), what=what)
                areas = [cell.picked[what, ALL][column].auroc for cell in cells if (what, ALL) in cell.picked]
                rows.append({
                    "split": split, "what": what, "score": column[0], "calibration": column[1],
                    "hit_rate": rate.mean, "half_width": rate.half_width, "gain": ahead.mean,
                    "gain_half_width": ahead.half_width, "auroc": float(np.mean(areas)),
                })  # fmt: skip
    return pd.DataFrame(rows)


def shown_scores(frame: pd.DataFrame, *, caption: str) -> Table:
    """The scores as they are to be read: one row a score and calibration."""
    cells = frame.set_index(["split", "what", "score", "calibration"])
    rows = []
    for score in dict.fromkeys(frame["score"]):
        for number, calibration in enumerate(dict.fromkeys(frame["calibration"])):
            row = {"score": NAMES.get(score, score) if number == 0 else "", "posterior": calibration}
            for split, name in (("val", "validation"), ("test", "test")):
                for what in (RIGHT, UNHURT):
                    if (split, what, score, calibration) in cells.index:
                        own = cells.loc[(split, what, score, calibration)]
                        row[f"{name}: {what}"] = percent(own["hit_rate"], own["half_width"])
                        if split == "test":
                            gain = percent(own["gain"], own["gain_half_width"], signed=True)
                            row[f"test: {what}, over certainty"] = gain
                            row[f"test: {what}, AUROC"] = percent(own["auroc"])
            rows.append(row)
    return Table(frame, pd.DataFrame(rows), caption)
