"""Meta-test: a trained method on a fixed list of episodes, with the result of every query kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from amfir_lib.errors import NonFiniteFeatures
from amfir_lib.methods.base import EpisodeOutput, Method
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.feature_table import FeatureTable

FUSED = "fused"


@dataclass(frozen=True)
class QueryResults:
    """What a method said about every query of E episodes.

    Attributes:
        correct: stream -> (E, M) bool; the streams are ``fused`` and, where the method has parts, each modality.
        true_log_posterior: stream -> (E, M) float32 log p(y).
        free_energy: modality -> (E, M) float32, the centred reading, whatever the method uses; lower means more
            reliable.
        score: modality -> (E, M) float32, by which the method forms its groups: free energy, or another one.
        certainty: modality -> (E, M) float32 max_k p(k) (Eq. 5).
    """

    correct: dict[str, np.ndarray]
    true_log_posterior: dict[str, np.ndarray]
    free_energy: dict[str, np.ndarray]
    score: dict[str, np.ndarray]
    certainty: dict[str, np.ndarray]

    @property
    def accuracy(self) -> np.ndarray:
        """(E,) share of right answers in each episode, fused."""
        return self.correct[FUSED].mean(1)

    def stream_accuracy(self, stream: str) -> np.ndarray:
        """(E,) share of right answers of one modality, or of ``fused``."""
        return self.correct[stream].mean(1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Flat arrays for ``np.savez``."""
        return {f"{kind}/{stream}": values for kind, part in vars(self).items() for stream, values in part.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> QueryResults:
        """Back from ``to_arrays``."""
        parts: dict[str, dict[str, np.ndarray]] = {name: {} for name in cls.__dataclass_fields__}
        for name, values in arrays.items():
            kind, stream = name.split("/")
            parts[kind][stream] = values
        return cls(**parts)


@torch.inference_mode()
def embed_clips(method: Method, table: FeatureTable, rows: np.ndarray, *, batch_clips: int = 256) -> dict[str, Tensor]:
    """Everything that depends on a clip alone, computed once per clip: name -> (n, ...) embeddings of some rows.

    Args:
        method: in evaluation mode.
        batch_clips: clips at a time, which bounds the memory.
    Raises:
        NonFiniteFeatures: an embedding holds NaN or infinity; names the row.
    """
    parts = [
        method.embed({m: table.features[m][part] for m in method.modalities})
        for part in np.array_split(rows, max(1, -(-len(rows) // batch_clips)))
    ]
    embeddings = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name, values in embeddings.items():
        bad = torch.nonzero(~torch.isfinite(values.flatten(1)).all(1))
        if len(bad):
            raise NonFiniteFeatures(
                f'row {rows[int(bad[0])]} of the features has no finite embedding in "{name}". '
                "Extract the features again (./run_all.sh clean --cache), or lower the learning rate."
            )
    return embeddings


@torch.inference_mode()
def episode_outputs(
    method: Method, table: FeatureTable, episodes: Episodes, *, batch_mb: float = 16.0, evidence: bool = False
) -> Iterator[tuple[EpisodeOutput, Tensor]]:
    """What a method in evaluation mode answers, some episodes after others: its output, and the (e, M) int64 targets.

    Args:
        batch_mb: megabytes of embedded clips at a time, few enough to stay in a processor's cache.
        evidence: give the video vectors too, which some scores read and the faster way through products skips.
    """
    rows = episodes.rows
    clips, compare = embed_clips(method, table, rows), partial(Method.compare_among, method)
    if not evidence:
        clips = method.relate(clips, n_pairs=episodes.query.size * episodes.support[0].size)
        compare = method.compare_among
    places = episodes.on_rows(rows)
    support, query = torch.from_numpy(places.support), torch.from_numpy(places.query).flatten(1)
    target = torch.from_numpy(episodes.target)
    size_of_clip = sum(x[0].numel() * x.element_size() for x in clips.values())
    size_of_episode = size_of_clip * (support[0].numel() + query[0].numel())
    for part in torch.arange(len(episodes)).split(max(1, int(batch_mb * 2**20 / size_of_episode))):
        output = compare(clips, support[part], query[part])
        yield output, target[part].to(output.log_posterior.device)


@torch.inference_mode()
def evaluate(method: Method, table: FeatureTable, episodes: Episodes, *, batch_mb: float = 16.0) -> QueryResults:
    """The results of every query, in the order of ``episodes.query`` flattened over (N, Q); see ``episode_outputs``.

    The method is put into evaluation mode and back.
    """
    was_training = method.training
    method.eval()
    try:
        outputs = episode_outputs(method, table, episodes, batch_mb=batch_mb)
        parts = [_results(method, output, target) for output, target in outputs]
    finally:
        method.train(was_training)
    return QueryResults(
        **{
            kind: {stream: np.concatenate([getattr(part, kind)[stream] for part in parts]) for stream in first}
            for kind, first in vars(parts[0]).items()
        }
    )


def _results(method: Method, output: EpisodeOutput, target: Tensor) -> QueryResults:
    streams = {FUSED: output.log_posterior, **output.modality_log_posteriors}
    energies = {m: log_posterior.mean(-1) for m, log_posterior in output.modality_log_posteriors.items()}
    certainty = {m: log_posterior.amax(-1).exp() for m, log_posterior in output.modality_log_posteriors.items()}
    own = {s: log_posterior.gather(-1, target[..., None])[..., 0] for s, log_posterior in streams.items()}
    return QueryResults(
        correct={s: (log_posterior.argmax(-1) == target).cpu().numpy() for s, log_posterior in streams.items()},
        true_log_posterior=_floats(own),
        free_energy=_floats(energies),
        score=_floats(method.free_energies(output, target)),
        certainty=_floats(certainty),
    )


def _floats(values: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.float().cpu().numpy() for name, tensor in values.items()}
