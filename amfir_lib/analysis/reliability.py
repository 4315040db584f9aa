"""How often a score picks the modality that is right, or the one that is not degraded: counts, episode by episode.

A query counts where exactly one modality is right (or exactly one is degraded).  Scores are compared on the same
queries, so that their difference has a paired interval over classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amfir_lib.analysis.answers import ALL, UNDEGRADED
from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.statistics import auroc

RIGHT, UNHURT = "right", "undegraded"  # what is to be picked


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
    """What a score picks.

    Args:
        score: modality -> (E, M), first and second; lower is more reliable.
        correct: modality -> (E, M) bool.
        degraded: (E, M) name of the modality that is degraded in the query's own clip, or "none" or "both"; None where
            that is unknown.
        what: "right" or "undegraded".
        basis: "all queries", or "undegraded queries" for those whose own clip is sound.
    Returns:
        None where ``degraded`` is needed and unknown.
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
