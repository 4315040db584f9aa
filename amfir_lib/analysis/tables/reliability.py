"""Which modality a score picks, and whether the modalities know how often they are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.tables.grouping import Namer, grouped, method_title
from amfir_lib.analysis.tables.shown import number, percent
from amfir_lib.exports import Table
from amfir_lib.study.evaluation import QueryResults, selection_quality
from amfir_lib.study.runs import RunResult

N_CALIBRATION_BINS = 10


def selection_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """How often the lower-F (and the more certain) modality is the one that is right, and the one not degraded.

    Args:
        results: multimodal runs.
        series: names the series of a run.
    Returns:
        One row per data set, shots and series, seeds averaged; columns of ``selection_quality``.
    """
    rows = []
    for group in grouped(results, series):
        for name, tests in group.tests.items():
            if len(tests[0].free_energy) == 2:
                parts = [selection_quality(test, group.episodes, group.degraded) for test in tests]
                means = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
                rows.append(group.where() | {"method": name} | means)
    return pd.DataFrame(rows)


def calibration_table(results: Iterable[RunResult], *, series: Namer = method_title) -> pd.DataFrame:
    """Does each modality know how often it is right? F compares modalities only if both do, alike.

    Returns:
        One row per data set, shots, series and modality, seeds averaged: ``accuracy``, ``certainty`` (mean of max p),
        ``overconfidence`` (their difference), ``calibration_error`` (expected, 10 bins), ``free_energy`` (mean score).
    """
    rows = []
    for group in grouped(results, series):
        for name, tests in group.tests.items():
            for stream in tests[0].certainty:
                rows.append(group.where() | {"method": name, "stream": stream} | calibration_of(tests, stream))
    return pd.DataFrame(rows)


def calibration_of(tests: Sequence[QueryResults], stream: str) -> dict[str, float]:
    """The numbers of ``calibration_table`` of one modality: of each training seed, then their mean."""
    parts = [_calibration(test, stream) for test in tests]
    return {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}


def _calibration(test: QueryResults, stream: str) -> dict[str, float]:
    correct, certainty = test.correct[stream].ravel(), test.certainty[stream].ravel().astype(float)
    bins = np.minimum((certainty * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    error = sum(
        abs(correct[bins == number].mean() - certainty[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    )
    return {
        "accuracy": float(correct.mean()),
        "certainty": float(certainty.mean()),
        "overconfidence": float(certainty.mean() - correct.mean()),
        "calibration_error": float(error),
        "free_energy": float(test.free_energy[stream].mean()),
    }


def shown_selection(frame: pd.DataFrame) -> Table:
    """``selection_table`` as it is to be read: in percent, free energy beside certainty."""
    shown = _places(frame)
    shown["exactly one right"] = frame["decidable_share"].map(percent)
    shown["in the first group"] = frame["first_group_share"].map(percent)
    heads = {"hit_rate": "right modality picked", "auroc": "AUROC, right", "degraded_auroc": "AUROC, degraded stream"}
    for measure, head in heads.items():
        for score, name in (("free_energy", "by F"), ("certainty", "by certainty")):
            if f"{measure}_{score}" in frame and frame[f"{measure}_{score}"].notna().any():
                shown[f"{head}: {name}"] = frame[f"{measure}_{score}"].map(percent)
    caption = (
        "All numbers in %, seeds averaged. Exactly one right: share of the queries that one modality alone gets right; "
        "picked: how often the lower F, or the higher certainty, is that of the modality that is right (chance is 50). "
        "AUROC: does the difference of the two scores tell which modality is right, or which stream is degraded "
        "(50 = no). First group: queries on which the appearance stream has the lower F."
    )
    if not any(head.startswith(heads["degraded_auroc"]) for head in shown):
        caption = caption.replace(", or which stream is degraded", "")
    return Table(frame, shown, caption)


def shown_calibration(frame: pd.DataFrame) -> Table:
    """``calibration_table`` as it is to be read: shares in percent, free energy in nats."""
    shown = _places(frame)
    shown["stream"] = frame["stream"].replace("rgb", "RGB")
    shown["accuracy (%)"] = frame["accuracy"].map(percent)
    shown["certainty (%)"] = frame["certainty"].map(percent)
    shown["overconfidence (points)"] = [percent(value, signed=True) for value in frame["overconfidence"]]
    shown["calibration error (%)"] = frame["calibration_error"].map(percent)
    shown["F (nats)"] = frame["free_energy"].map(number)
    return Table(
        frame,
        shown,
        "Certainty: mean probability of the announced class. Overconfidence: certainty minus accuracy, negative where "
        f"a stream is right more often than it says. Calibration error: expected, {N_CALIBRATION_BINS} bins, of each "
        "training seed, then their mean. F: mean free energy, comparable between streams only if both are calibrated "
        "alike. Test queries, seeds averaged.",
    )


def _places(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that say where a row belongs; ways only where they differ."""
    names = {"dataset": "data set", "n_way": "ways", "n_shot": "shots", "method": "method"}
    if frame["n_way"].nunique() == 1:
        del names["n_way"]
    return frame[list(names)].rename(columns=names)
