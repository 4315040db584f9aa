"""A trained method, some test episodes, all that it says about their queries, and where to find other ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.explore.clips import degradation_label
from amfir_lib.fusion import certainty, fusion_weights
from amfir_lib.methods import Method, uses_patches
from amfir_lib.methods.amfir import Amfir
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, QueryResults, episode_outputs
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import RunResult, Series
from amfir_lib.study.study import Study, test_cells

NEITHER = ""  # the dominant modality of a query where none is
N_EPISODES = 40  # looked at by default
AT_ONCE = 1e6  # MB: all episodes of a session together
FILTERS = {  # name -> condition on the columns of ``query_table``
    "all queries": "episode >= 0",
    "wrong ones": "not right",
    "right ones": "right",
    "the modalities disagree": "modalities_disagree",
    "exactly one modality is right": "one_right",
    "free energy and certainty choose differently": "scores_disagree",
    "degraded clips": "degraded != ''",
}
SORTS = {  # name -> column, ascending
    "by episode": ("episode", True),
    "least probable true class first": ("p_true", True),
    "most probable true class first": ("p_true", False),
    "largest difference of free energy first": ("gap", False),
}


@dataclass(frozen=True)
class SessionAnswers:
    """What a method says about the M queries of each of E episodes."""

    posterior: dict[str, np.ndarray]  # stream -> (E, M, N) probabilities; the modalities first, ``fused`` last
    free_energy: dict[str, np.ndarray]  # modality -> (E, M), the method's own score, lower means more reliable
    certainty: dict[str, np.ndarray]  # modality -> (E, M), max_k p(k) (Eq. 5); empty without modalities, as the others
    weight: dict[str, np.ndarray]  # modality -> (E, M) fusion weights (Eq. 8), equal where a method does not weigh
    dominant: np.ndarray  # (E, M) modality that dominates (Eq. 3), or has the lower score, or ``NEITHER``

    @classmethod
    @torch.inference_mode()
    def from_output(cls, method: Method, output: EpisodeOutput) -> SessionAnswers:
        energies, modalities = method.free_energies(output), output.modality_log_posteriors
        weight, dominant = {}, np.full(output.log_posterior.shape[:2], NEITHER, dtype=object)
        if len(modalities) == 2:
            rule, (first, second) = {"weight": "equal"}, energies.values()
            wins = (first < second, second < first)
            if isinstance(method, Amfir):
                rule = {"weight": method.options.ami_weight, "power": method.options.ami_power}
                groups = method.groups(output)
                wins = (groups.first, groups.second)
            weight = fusion_weights(modalities, energies=energies, **rule)
            for name, members in zip(energies, wins, strict=True):
                dominant[members.cpu().numpy()] = name
        return cls(
            posterior=_arrays({m: values.exp() for m, values in {**modalities, FUSED: output.log_posterior}.items()}),
            free_energy=_arrays(energies),
            certainty=_arrays({m: certainty(values) for m, values in modalities.items()}),
            weight=_arrays(weight),
            dominant=dominant,
        )

    def of(self, episode: int, query: int) -> SessionAnswers:
        """The same for one query: (N,) posteriors and scalars."""
        at = (episode, query)
        parts = (self.posterior, self.free_energy, self.certainty, self.weight)
        return SessionAnswers(*({m: values[at] for m, values in part.items()} for part in parts), self.dominant[at])


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: values.float().cpu().numpy() for name, values in tensors.items()}


@dataclass(frozen=True)
class Session:
    """What an explorer looks at: a trained method, in evaluation mode, the features as it reads them, its answers."""

    result: RunResult
    method: Method
    table: FeatureTable
    episodes: Episodes
    answers: SessionAnswers

    @property
    def dataset(self) -> Dataset:
        return self.result.run.material.dataset

    def class_names(self, episode: int) -> list[str]:
        """Names of the N classes of an episode, in the order of its posteriors."""
        return [self.table.class_names[c] for c in self.episodes.classes[episode]]

    def query_row(self, episode: int, query: int) -> int:
        """Manifest row of a query clip; a query that is not there is refused."""
        _check(self.episodes, episode, query)
        return int(self.episodes.query[episode].ravel()[query])


def _check(episodes: Episodes, episode: int, query: int) -> None:
    for name, value, count in zip(("episode", "query"), (episode, query), episodes.target.shape, strict=True):
        if not 0 <= value < count:
            raise BadParameter(f"{name} is {value}, but must be from 0 to {count - 1}. Correct it.")


def open_session(result: RunResult, cell: TestCell, *, n_episodes: int = N_EPISODES) -> Session:
    """Ask the method of a computed run about the first episodes of a list, which are those of every table."""
    table = result.run.read.table(patches=uses_patches(result.run.method))
    episodes = replace(cell, n_episodes=min(n_episodes, cell.n_episodes)).episodes(table)
    method = result.method()
    ((output, _),) = episode_outputs(method, table, episodes, batch_mb=AT_ONCE, evidence=True)
    return Session(result, method, table, episodes, SessionAnswers.from_output(method, output))


def choose_query(results: QueryResults, episodes: Episodes, *, episode: int = -1, query: int = -1) -> tuple[int, int]:
    """The wanted query, or the first on which exactly one of two modalities is right (the first of all without one).

    Args:
        episode, query: number in the list, and position among the M queries; -1 looks for one.
    Raises:
        BadParameter: there is no such episode or query.
    """
    _check(episodes, 0 if episode == -1 else episode, 0 if query == -1 else query)
    first, second = list(results.free_energy)
    split = results.correct[first] != results.correct[second]  # (E, M)
    if episode < 0:
        episode = int(np.argmax(split.any(1) if query < 0 else split[:, query]))
    return episode, int(np.argmax(split[episode])) if query < 0 else query


def query_table(session: Session) -> pd.DataFrame:
    """One row per query.

    Returns:
        ``episode, query, right, p_true`` (of the fused decision), ``degraded`` (kind, empty for an undegraded clip),
        ``modalities_disagree`` (their answers differ), ``one_right`` (exactly one modality is), ``scores_disagree``
        (lower free energy and higher certainty name different modalities), ``gap`` (absolute difference of free
        energies, NaN without two).
    """
    answers, episodes, target = session.answers, session.episodes, session.episodes.target
    choice = {stream: p.argmax(-1) for stream, p in answers.posterior.items()}
    episode, query = np.indices(target.shape)
    columns = {
        "episode": episode, "query": query, "right": choice[FUSED] == target,
        "p_true": np.take_along_axis(answers.posterior[FUSED], target[..., None], -1),
        "degraded": np.array([degradation_label(session.dataset, row) for row in episodes.query.ravel()]),
    }  # fmt: skip
    disagree, one_right, scores_disagree = np.zeros((3, *target.shape), bool)
    gap = np.full(target.shape, np.nan)
    if len(answers.free_energy) == 2:
        (a, energy), (b, other) = answers.free_energy.items()
        disagree, one_right = choice[a] != choice[b], (choice[a] == target) != (choice[b] == target)
        scores_disagree = (energy < other) != (answers.certainty[a] > answers.certainty[b])
        gap = np.abs(energy - other)
    columns |= {"modalities_disagree": disagree, "one_right": one_right}
    columns |= {"scores_disagree": scores_disagree, "gap": gap}
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def select_queries(table: pd.DataFrame, *, show: str = "all queries", sort: str = "by episode") -> pd.DataFrame:
    """Rows of ``query_table`` by a name of ``FILTERS``, in the order of one of ``SORTS``; equal rows keep their order.

    Raises:
        UnknownName: no such filter; the nearest one is suggested.
    """
    if show not in FILTERS:
        raise unknown_name("filter", show, FILTERS)
    column, ascending = SORTS[sort]
    return table.query(FILTERS[show]).sort_values(column, ascending=ascending, kind="stable", ignore_index=True)


def open_other(study: Study, *, dataset: str, method: str, seed: int, n_way: int, n_shot: int) -> Session:
    """A session of the study or of another data set; what the cache lacks is computed: clips, features, training."""
    if dataset != study.materials[0].dataset.name:
        study = Study(study.config, [dataset], folds=False)
    (result,) = study.results([Series(method, method)], [], seeds=[seed])
    cell = replace(test_cells(study.config, study.materials[0])[0], n_way=n_way, n_shot=n_shot)
    return open_session(result, cell)
