"""A trained method, some test episodes, all that it says about their queries, and where to find other ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.explore.clips import degradation_label
from amfir_lib.fusion import certainty, fusion_weights
from amfir_lib.methods import METHODS, Method, uses_patches
from amfir_lib.methods.amfir import Amfir
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, QueryResults, episode_outputs
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import RunResult, Series, TestCell
from amfir_lib.study.study import Study, test_cells

NEITHER = ""  # the dominant modality of a query where none is
N_EPISODES = 40  # looked at by default
AT_ONCE = 1e6  # MB: all episodes of a session together
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


@dataclass(frozen=True)
class SessionAnswers:
    """What a method says about the M queries of each of E episodes.

    Attributes:
        posterior: stream -> (E, M, N) probabilities; the modalities first, ``fused`` last.
        free_energy: modality -> (E, M), the method's own score, lower means more reliable; empty without modalities.
        certainty: modality -> (E, M), max_k p(k) (Eq. 5).
        weight: modality -> (E, M) fusion weights (Eq. 8), equal where a method joins modalities without weighing; empty
            for a method with one stream.
        dominant: (E, M) name of the modality that dominates (Eq. 3), by the lower score for methods without groups, or
            ``NEITHER``.
    """

    posterior: dict[str, np.ndarray]
    free_energy: dict[str, np.ndarray]
    certainty: dict[str, np.ndarray]
    weight: dict[str, np.ndarray]
    dominant: np.ndarray

    @classmethod
    @torch.inference_mode()
    def from_output(cls, method: Method, output: EpisodeOutput) -> SessionAnswers:
        """Keep everything of an output that can be looked at."""
        energies, modalities = method.free_energies(output), output.modality_log_posteriors
        weight, dominant = {}, np.full(output.log_posterior.shape[:2], NEITHER, dtype=object)
        if len(modalities) > 1:
            how = {"weight": "equal"}
            if isinstance(method, Amfir):
                how = {"weight": method.options.ami_weight, "power": method.options.ami_power}
            weight = fusion_weights(modalities, energies=energies, **how)
        if len(energies) == 2:
            first, second = energies.values()
            groups = method.groups(output) if isinstance(method, Amfir) else None
            wins = (groups.first, groups.second) if groups else (first < second, second < first)
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
        return SessionAnswers(
            *({name: values[at] for name, values in part.items()} for part in parts), self.dominant[at]
        )


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
        """Whose clips these are."""
        return self.result.run.material.dataset

    def class_names(self, episode: int) -> list[str]:
        """Names of the N classes of an episode, in the order of its posteriors."""
        return [self.table.class_names[c] for c in self.episodes.classes[episode]]

    def query_row(self, episode: int, query: int) -> int:
        """Manifest row of a query clip; a query that is not there is refused."""
        _check(self.episodes, episode, query, least=0)
        return int(self.episodes.query[episode].ravel()[query])


def _check(episodes: Episodes, episode: int, query: int, *, least: int) -> None:
    for name, value, count in zip(("episode", "query"), (episode, query), episodes.target.shape, strict=True):
        if not least <= value < count:
            either = "-1 or " if least < 0 else ""
            raise BadParameter(f"{name} is {value}, but must be {either}from 0 to {count - 1}. Correct it.")


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
    _check(episodes, episode, query, least=-1)
    first, second = list(results.free_energy)
    split = results.correct[first] != results.correct[second]  # (E, M)
    if episode < 0:
        episode = int(np.argmax(split.any(1) if query < 0 else split[:, query]))
    return episode, int(np.argmax(split[episode])) if query < 0 else query


def query_table(session: Session) -> pd.DataFrame:
    """One row per query.

    Returns:
        ``episode, query, true_class, answer, right, p_true`` (of the fused decision), ``degraded`` (kind, empty for an
        undegraded clip), ``modalities_disagree`` (their answers differ), ``one_right`` (exactly one modality is),
        ``scores_disagree`` (lower free energy and higher certainty name different modalities), ``gap`` (absolute
        difference of free energies, NaN without two), ``dominant``.
    """
    answers, episodes = session.answers, session.episodes
    target = episodes.target
    choice = {stream: p.argmax(-1) for stream, p in answers.posterior.items()}
    right = {stream: chosen == target for stream, chosen in choice.items()}
    parts = [stream for stream in choice if stream != FUSED]
    disagree, one_right, scores_disagree = np.zeros((3, *target.shape), bool)
    gap = np.full(target.shape, np.nan)
    if len(parts) > 1:
        disagree = np.any([choice[m] != choice[parts[0]] for m in parts], axis=0)
        one_right = np.sum([right[m] for m in parts], axis=0) == 1
    if len(answers.free_energy) == 2:
        (a, energy), (b, other) = answers.free_energy.items()
        scores_disagree = (energy < other) != (answers.certainty[a] > answers.certainty[b])
        gap = np.abs(energy - other)
    names = np.array([session.class_names(e) for e in range(len(target))])  # (E, N)
    episode, query = np.indices(target.shape)
    columns = {
        "episode": episode,
        "query": query,
        "true_class": names[episode, target],
        "answer": names[episode, choice[FUSED]],
        "right": right[FUSED],
        "p_true": np.take_along_axis(answers.posterior[FUSED], target[..., None], -1),
        "degraded": np.array([degradation_label(session.dataset, row) for row in episodes.query.ravel()]),
        "modalities_disagree": disagree,
        "one_right": one_right,
        "scores_disagree": scores_disagree,
        "gap": gap,
        "dominant": answers.dominant,
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def select_queries(table: pd.DataFrame, *, show: str = ALL, sort: str = "by episode") -> pd.DataFrame:
    """Rows of ``query_table`` by a name of ``FILTERS``, in the order of one of ``SORTS``; equal rows keep their order.

    Raises:
        UnknownName: no such filter or order; the nearest one is suggested.
    """
    for kind, name, known in (("filter", show, FILTERS), ("order", sort, SORTS)):
        if name not in known:
            raise unknown_name(kind, name, known)
    column, ascending = SORTS[sort]
    chosen = table[FILTERS[show](table)]
    return chosen.sort_values(column, ascending=ascending, kind="stable", na_position="last").reset_index(drop=True)


class Shelf:
    """What the explorer can choose from: sessions by name, from the cache where it holds them.

    These are the first data set of a study, and with a synthetic one all synthetic benchmarks; all methods; its seeds.
    """

    def __init__(self, study: Study) -> None:
        self._studies = {material.dataset.name: study for material in study.materials[:1]}
        rendered = study.materials[0].dataset.synthetic
        self.datasets = tuple(dict.fromkeys((*self._studies, *(SYNTHETIC_BENCHMARKS if rendered else ()))))
        self.methods = {spec.title: name for name, spec in METHODS.items()}
        self.seeds = study.config.seeds

    def open(
        self, *, dataset: str, method: str, seed: int, n_way: int, n_shot: int, n_episodes: int = N_EPISODES
    ) -> Session:
        """A session with the first test episodes; what the cache lacks is computed: clips, features, training."""
        if dataset not in self._studies:
            (first, *_) = self._studies.values()
            self._studies[dataset] = Study(first.config, [dataset], folds=False)
        study = self._studies[dataset]
        (result,) = study.results([Series(method, method)], [], seeds=[seed])
        cell = replace(test_cells(study.config, study.materials[0])[0], n_way=n_way, n_shot=n_shot)
        return open_session(result, cell, n_episodes=n_episodes)
