"""The reliability diagram: of the queries that a modality answers with a certainty, how many does it answer rightly?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables import Group, grouped, percent
from amfir_lib.analysis.tables.grouping import Namer, method_title
from amfir_lib.analysis.tables.reliability import N_CALIBRATION_BINS, calibration_of
from amfir_lib.errors import BadParameter
from amfir_lib.exports import Table
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import Sample, pooled_jackknife

FEWEST = 50  # queries that a bin must hold to be shown


def reliability_frame(
    results: Iterable[RunResult], *, series: Namer = method_title, n_bins: int = N_CALIBRATION_BINS
) -> pd.DataFrame:
    """Accuracy in bins of certainty, of each modality of multimodal runs; the queries of all seeds together.

    Args:
        results: runs with tests.
        series: names the series of a run.
        n_bins: of equal width, from 0 to 1; certainty is never below 1/N.
    Returns:
        One row per data set, shots, series, modality and bin that holds ``FEWEST`` queries: ``certainty`` (mean),
        ``accuracy, half_width`` (class jackknife; NaN where too few classes fall into the bin), ``share`` of the
        queries; and of all queries ``overconfidence, calibration_error``, as in ``tables.calibration_table``.
    """
    rows = []
    for group in grouped(results, series):
        for name, tests in group.tests.items():
            for stream in tests[0].certainty:
                certainty = np.stack([test.certainty[stream] for test in tests]).astype(float)  # (S, E, M)
                correct = np.stack([test.correct[stream] for test in tests])
                whole = calibration_of(tests, stream)
                whole = {key: whole[key] for key in ("overconfidence", "calibration_error")}
                bins = np.minimum((certainty * n_bins).astype(int), n_bins - 1)
                for number in np.unique(bins):
                    mask = bins == number
                    if mask.sum() >= FEWEST:
                        row = group.where() | {"method": name, "stream": stream, "bin": int(number)}
                        row |= {"certainty": float(certainty[mask].mean())} | _accuracy(group, correct & mask, mask)
                        rows.append(row | {"share": float(mask.mean())} | whole)
    return pd.DataFrame(rows)


def _accuracy(group: Group, hits: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Accuracy of the queries of a bin with its interval; folds of classes one after another."""
    counts, right = mask.sum((0, 2)), hits.sum((0, 2))  # (E,)
    values = np.divide(right, counts, out=np.zeros(len(counts)), where=counts > 0)
    ends = np.cumsum([len(part) for part in group.fold_episodes])[:-1]
    parts = zip(group.fold_episodes, np.split(values, ends), np.split(counts, ends), strict=True)
    try:
        samples = [Sample(own, episodes.classes, weights) for episodes, own, weights in parts]
        half_width = pooled_jackknife([[sample] for sample in samples]).half_width
    except BadParameter:  # a bin that only some classes reach
        half_width = np.nan
    return {"accuracy": float(right.sum() / counts.sum()), "half_width": half_width}


def shown_reliability(frame: pd.DataFrame, *, caption: str) -> Table:
    """One row a data set and modality: how far certainty and accuracy lie apart, on average and at the worst bin."""
    rows = []
    for (dataset, shot, stream), part in frame.groupby(["dataset", "n_shot", "stream"], sort=False):
        gap = part["certainty"] - part["accuracy"]
        worst = part.loc[gap.abs().idxmax()]
        rows.append({
            "data set": dataset, "shots": shot, "modality": stream.replace("rgb", "RGB"),
            "certainty minus accuracy": percent(worst["overconfidence"], signed=True),
            "calibration error": percent(worst["calibration_error"]),
            "worst bin: certainty": percent(worst["certainty"]),
            "worst bin: accuracy": percent(worst["accuracy"], worst["half_width"]),
        })  # fmt: skip
    return Table(frame, pd.DataFrame(rows), caption)
