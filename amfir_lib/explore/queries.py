"""Every query of a session as a row, to be sorted and filtered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from amfir_lib.analysis.studies.examples import degradation_label
from amfir_lib.errors import unknown_name
from amfir_lib.explore.session import Session
from amfir_lib.study.evaluation import FUSED

ALL = "all queries"
FILTERS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    ALL: lambda table: table["episode"] >= 0,
    "wrong ones": lambda table: ~table["right"],
    "right ones": lambda table: table["right"],
    "the modalities disagree": lambda table: table["modalities_disagree"],
    "exactly one modality is right": lambda table: table["one_right"],
    "free energy and certainty choose differently": lambda table: table["scores_disagree"],
    "degraded clips": lambda table: table["degraded"] != "",
}
SORTS = {
    "by episode": ("episode", True),
    "least probable true class first": ("p_true", True),
    "most probable true class first": ("p_true", False),
    "largest difference of free energy first": ("gap", False),
}


def query_table(session: Session) -> pd.DataFrame:
    """One row per query.

    Returns:
        ``episode, query, true_class, answer, right, p_true`` (of the fused decision), ``degraded`` (kind, empty for a
        sound clip), ``modalities_disagree`` (their answers differ), ``one_right`` (exactly one modality is),
        ``scores_disagree`` (lower free energy and higher certainty name different modalities), ``gap`` (absolute
        difference of free energies, NaN without two), ``dominant``.
    """
    answers, episodes = session.answers, session.episodes
    n_episodes, n_queries = episodes.target.shape
    said = {stream: p.argmax(-1) for stream, p in answers.posterior.items()}
    parts = [said[m] for m in answers.posterior if m != FUSED]
    right = {stream: values == episodes.target for stream, values in said.items()}
    nothing = np.zeros((n_episodes, n_queries), bool)
    disagree = np.any([part != parts[0] for part in parts[1:]], axis=0) if len(parts) > 1 else nothing
    one_right = np.sum([right[m] for m in right if m != FUSED], axis=0) == 1 if len(parts) > 1 else nothing
    names = np.array([session.class_names(e) for e in range(n_episodes)])  # (E, N)
    each = np.arange(n_episodes)[:, None]
    kinds = [degradation_label(session.dataset, row) for row in episodes.query.ravel()]
    columns = {
        "episode": np.repeat(np.arange(n_episodes), n_queries),
        "query": np.tile(np.arange(n_queries), n_episodes),
        "true_class": names[each, episodes.target].ravel(),
        "answer": names[each, said[FUSED]].ravel(),
        "right": right[FUSED].ravel(),
        "p_true": np.take_along_axis(answers.posterior[FUSED], episodes.target[..., None], -1).ravel(),
        "degraded": kinds,
        "modalities_disagree": disagree.ravel(),
        "one_right": one_right.ravel(),
        "scores_disagree": _scores_disagree(session).ravel(),
        "gap": _gap(session).ravel(),
        "dominant": answers.dominant.ravel(),
    }
    return pd.DataFrame(columns)


def select_queries(table: pd.DataFrame, *, show: str = ALL, sort: str = "by episode") -> pd.DataFrame:
    """Filter and sort the rows of ``query_table``; equal rows keep their order.

    Args:
        table: of ``query_table``.
        show: a name of ``FILTERS``.
        sort: a name of ``SORTS``.
    Raises:
        UnknownName: no such filter or order; the nearest one is suggested.
    """
    if show not in FILTERS:
        raise unknown_name("filter", show, FILTERS)
    if sort not in SORTS:
        raise unknown_name("order", sort, SORTS)
    column, ascending = SORTS[sort]
    chosen = table[FILTERS[show](table)]
    return chosen.sort_values(column, ascending=ascending, kind="stable", na_position="last").reset_index(drop=True)


def _scores_disagree(session: Session) -> np.ndarray:
    answers = session.answers
    if len(answers.free_energy) != 2:
        return np.zeros(session.episodes.target.shape, bool)
    (a, energy), (b, other) = answers.free_energy.items()
    return (energy < other) != (answers.certainty[a] > answers.certainty[b])


def _gap(session: Session) -> np.ndarray:
    energies = list(session.answers.free_energy.values())
    if len(energies) != 2:
        return np.full(session.episodes.target.shape, np.nan)
    return np.abs(energies[0] - energies[1])
