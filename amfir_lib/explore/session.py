"""A trained method, some test episodes, and all that the method says about their queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BadParameter
from amfir_lib.fusion import certainty, fusion_weights
from amfir_lib.methods import Method, uses_patches
from amfir_lib.methods.amfir import Amfir
from amfir_lib.methods.base import EpisodeOutput
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, embed_clips
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.runs import RunResult, TestCell

NEITHER = ""  # the dominant modality of a query where none is


@dataclass(frozen=True)
class Answers:
    """What a method says about the M queries of each of E episodes.

    Attributes:
        posterior: stream -> (E, M, N) probabilities; the modalities first, ``fused`` last.
        free_energy: modality -> (E, M), the method's own score, lower means more reliable; empty without modalities.
        certainty: modality -> (E, M), max_k p(k) (Eq. 5).
        weight: modality -> (E, M) fusion weights (Eq. 8); empty where the method does not weigh modalities.
        dominant: (E, M) name of the modality that dominates (Eq. 3), or ``NEITHER``.
    """

    posterior: dict[str, np.ndarray]
    free_energy: dict[str, np.ndarray]
    certainty: dict[str, np.ndarray]
    weight: dict[str, np.ndarray]
    dominant: np.ndarray

    def of(self, episode: int, query: int) -> Answers:
        """The same for one query: (N,) posteriors and scalars."""
        at = (episode, query)
        parts = (self.posterior, self.free_energy, self.certainty, self.weight)
        return Answers(*({name: values[at] for name, values in part.items()} for part in parts), self.dominant[at])


@dataclass(frozen=True)
class Session:
    """What an explorer looks at.

    Attributes:
        result: the trained run.
        method: with its weights, in evaluation mode.
        table: the features as the method reads them.
        episodes: the test episodes.
        answers: about every query of them.
    """

    result: RunResult
    method: Method
    table: FeatureTable
    episodes: Episodes
    answers: Answers

    @property
    def dataset(self) -> Dataset:
        """Whose clips these are."""
        return self.result.run.material.dataset

    def class_names(self, episode: int) -> list[str]:
        """Names of the N classes of an episode, in the order of its posteriors."""
        return [self.table.class_names[c] for c in self.episodes.classes[episode]]

    def query_row(self, episode: int, query: int) -> int:
        """Manifest row of a query clip."""
        self.check(episode, query)
        return int(self.episodes.query[episode].ravel()[query])

    def check(self, episode: int, query: int) -> None:
        """Refuse a query that is not there.

        Raises:
            BadParameter: says how many there are.
        """
        n_episodes, n_queries = self.episodes.target.shape
        for name, value, count in (("episode", episode, n_episodes), ("query", query, n_queries)):
            if not 0 <= value < count:
                raise BadParameter(f"{name} is {value}, but must be from 0 to {count - 1}. Correct it.")


def open_session(result: RunResult, cell: TestCell, *, n_episodes: int = 40) -> Session:
    """Ask a trained method about the first episodes of a list.

    Args:
        result: of a run that is computed.
        cell: which episodes; the first of them are those of every table.
        n_episodes: how many to look at; fewer where the list is shorter.
    """
    run = result.run
    table = material_as_read(run).table(patches=uses_patches(run.method))
    episodes = replace(cell, n_episodes=min(n_episodes, cell.n_episodes)).episodes(table)
    method = result.method()
    rows = np.unique(np.concatenate([episodes.support.ravel(), episodes.query.ravel()]))
    embeddings = embed_clips(method, table, rows)
    support, query = (
        {name: values[torch.from_numpy(np.searchsorted(rows, wanted))] for name, values in embeddings.items()}
        for wanted in (episodes.support, episodes.query.reshape(len(episodes), -1))
    )
    return Session(result, method, table, episodes, answers_of(method, support, query))


def material_as_read(run):
    """The material whose features the run's method reads."""
    return getattr(run, "read", run.material)


@torch.inference_mode()
def answers_of(method: Method, support: Mapping[str, Tensor], query: Mapping[str, Tensor]) -> Answers:
    """Compare queries with supports and keep everything that can be looked at.

    Args:
        method: in evaluation mode.
        support: embeddings (E, N, K, ...).
        query: embeddings (E, M, ...).
    """
    output = method.compare(dict(support), dict(query))
    energies = method.free_energies(output)
    posteriors = {**output.modality_log_posteriors, FUSED: output.log_posterior}
    return Answers(
        posterior=_arrays({stream: values.exp() for stream, values in posteriors.items()}),
        free_energy=_arrays(energies),
        certainty=_arrays({m: certainty(values) for m, values in output.modality_log_posteriors.items()}),
        weight=_arrays(_weights(method, output, energies)),
        dominant=_dominant(method, output, energies),
    )


def _weights(method: Method, output: EpisodeOutput, energies: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fusion weights, which the output does not carry; equal ones where a method joins modalities without weighing."""
    if len(output.modality_log_posteriors) < 2:
        return {}
    if isinstance(method, Amfir):
        how = {"weight": method.options.ami_weight, "power": method.options.ami_power}
        return fusion_weights(output.modality_log_posteriors, energies=energies, **how)
    return fusion_weights(output.modality_log_posteriors, weight="equal")


def _dominant(method: Method, output: EpisodeOutput, energies: Mapping[str, Tensor]) -> np.ndarray:
    """The modality whose group each query is in (Eq. 3); by the lower score for methods without groups."""
    names = np.array([NEITHER, *energies])
    if len(energies) != 2:
        return np.full(output.log_posterior.shape[:2], NEITHER, dtype=object)
    if isinstance(method, Amfir):
        groups = method.groups(output)
        first, second = groups.first, groups.second
    else:
        one, other = energies.values()
        first, second = one < other, other < one
    return names[(first.int() + 2 * second.int()).cpu().numpy()].astype(object)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: values.float().cpu().numpy() for name, values in tensors.items()}
