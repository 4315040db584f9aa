"""Which modality a score picks, and whether the modalities know how often they are right.

A query counts where exactly one modality is right (or exactly one is degraded).  Scores are compared on the same
queries, so that their difference has a paired interval over classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, UNDEGRADED, Answers
from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.statistics import auroc

RIGHT, UNHURT = "right", "undegraded"  # what is to be picked
N_CALIBRATION_BINS = 10
# how ``selection`` is shown, for ``Table.of``
SELECTION = {"exactly one right": "decidable_share", "in the first group": "first_group_share"} | {
    f"{head}: by {name}": f"{measure}_{score}"
    for measure, head in (
        ("hit_rate", "right modality picked"),
        ("auroc", "AUROC, right"),
        ("degraded_auroc", "AUROC, degraded stream"),
    )
    for score, name in (("free_energy", "F"), ("certainty", "certainty"))
}


@dataclass(frozen=True)
class Picks:
    """One score on the queries of E episodes.

    Attributes:
        counted: (E,) queries of each episode that count.
        hit: (E,) of these, how many the score gets right; ties count one half.
        auroc: of the difference of the scores over all counted queries; NaN where there are none of one kind.
    """

    counted: np.ndarray
    hit: np.ndarray
    auroc: float

    @property
    def rate(self) -> float:
        """Share of hits; NaN where no query counts."""
        total = self.counted.sum()
        return float(self.hit.sum() / total) if total else float("nan")

    @property
    def by_episode(self) -> np.ndarray:
        """(E,) share of hits; 0 where no query of the episode counts."""
        return np.divide(self.hit, self.counted, out=np.zeros(len(self.hit)), where=self.counted > 0)


def picks(
    score: Mapping[str, np.ndarray],
    correct: Mapping[str, np.ndarray],
    degraded: np.ndarray | None,
    *,
    what: str = RIGHT,
    basis: str = ALL,
) -> Picks | None:
    """What a score picks; None where it must be known which clips are degraded, and is not.

    Args:
        score: modality -> (E, M), first and second; lower is more reliable.
        correct: modality -> (E, M) bool.
        degraded: (E, M) which modality of the query's own clip is degraded, "none" or "both"; None if unknown.
        what: ``RIGHT`` or ``UNHURT``.
        basis: all queries, or undegraded ones.
    """
    first, second = score
    if degraded is None and (what == UNHURT or basis == UNDEGRADED):
        return None
    if what == RIGHT:
        counted, second_wins = correct[first] != correct[second], correct[second].astype(bool)
    else:
        counted, second_wins = (degraded == first) | (degraded == second), degraded == first
    if basis == UNDEGRADED:
        counted = counted & (degraded == "none")
    lead = score[first] - score[second]  # above 0: the second modality looks more reliable
    hit = np.where(lead == 0, 0.5, (lead > 0) == second_wins)
    return Picks(counted.sum(1), (hit * counted).sum(1), auroc(lead[counted], second_wins[counted]))


def own_score(results: QueryResults, *, turned: bool = False) -> dict[str, np.ndarray]:
    """Modality -> (E, M) the score of a method as its groups read it: lower wins.

    Args:
        results: of a method with two modalities.
        turned: whether its groups take the printed sign of Eq. 3, so that the higher one wins.
    """
    return {m: -values if turned else values for m, values in results.score.items()}


def pooled_picks(parts: Sequence[Picks]) -> Picks:
    """The same episodes met by several trained runs, counted together; the AUROC is their mean."""
    return Picks(
        np.sum([one.counted for one in parts], axis=0),
        np.sum([one.hit for one in parts], axis=0),
        float(np.mean([one.auroc for one in parts])),
    )


def selection(answers: Iterable[Answers]) -> pd.DataFrame:
    """How often the lower-F (and the more certain) modality is the one that is right, and the one not degraded.

    Returns:
        One row per place and series of two modalities, seeds averaged: ``dataset, n_way, n_shot, method``;
        ``decidable_share`` (queries of which exactly one modality is right), ``first_group_share`` (in the group of the
        first modality, by the method's own score); and for ``free_energy`` and ``certainty`` the ``hit_rate_`` (share
        of the decidable queries where it picks the right modality), ``auroc_`` (the same as area under the curve) and
        ``degraded_auroc_`` (does it tell which stream is degraded; absent where unknown).
    """
    rows = []
    for place in answers:
        for (name, _), tests in place.given.items():
            if len(tests[0].free_energy) == 2:
                parts = [_selection(test, place.degraded) for test in tests]
                rows.append(place.where | {"method": name} | _means(parts))
    return pd.DataFrame(rows)


def _selection(test: QueryResults, degraded: np.ndarray | None) -> dict[str, float]:
    first, second = test.free_energy
    scores = {"free_energy": test.free_energy, "certainty": {m: -values for m, values in test.certainty.items()}}
    quality = {
        "decidable_share": float((test.correct[first] != test.correct[second]).mean()),
        "first_group_share": float((test.score[first] < test.score[second]).mean()),
    }
    for name, score in scores.items():
        right, unhurt = (picks(score, test.correct, degraded, what=what) for what in (RIGHT, UNHURT))
        quality |= {f"hit_rate_{name}": right.rate, f"auroc_{name}": right.auroc}
        quality |= {f"degraded_auroc_{name}": unhurt.auroc} if unhurt else {}
    return quality


def calibration(answers: Iterable[Answers]) -> pd.DataFrame:
    """Does each modality know how often it is right? F compares modalities only if both do, alike.

    One row per place, series and modality: ``dataset, n_way, n_shot, method, stream`` and ``calibration_of``.
    """
    rows = []
    for place in answers:
        for (name, _), tests in place.given.items():
            for stream in tests[0].certainty:
                rows.append(place.where | {"method": name, "stream": stream} | calibration_of(tests, stream))
    return pd.DataFrame(rows)


def calibration_of(tests: Sequence[QueryResults], stream: str) -> dict[str, float]:
    """Means of the training seeds, of one modality: ``accuracy``, ``certainty`` (mean of max p), ``overconfidence``
    (their difference), ``calibration_error`` (expected, 10 bins), ``free_energy`` (mean score, nats)."""
    return _means([_calibration(test, stream) for test in tests])


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


def _means(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
