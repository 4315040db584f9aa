"""TRX (Perrett et al. 2021): temporal cross-attention between tuples of frames (rows TRX and TRX-F of Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.methods.base import EpisodeOutput, Features, choice, number
from amfir_lib.methods.front import DistanceOptions, UnimodalMethod
from amfir_lib.methods.layers import with_positions
from amfir_lib.methods.tuples import TupleAttention, tuple_distances


@dataclass(frozen=True)
class TrxOptions(DistanceOptions):
    """Options of the front, where ``scaled`` divides the distance by the tuple width, and of the tuples."""

    cardinalities: str = choice("2+3", ("2", "3", "2+3"))  # frames in a tuple, w: pairs, triples, or both
    tuple_width: int = number(64, low=1)  # of keys and values, 1152 in the published head
    dropout: float = number(0.1, low=0, below=1)  # on the frames with their positions


class Trx(UnimodalMethod):
    """Each tuple of a query's frames is rebuilt from the tuples of a class; what is left over is the distance.

    For w in the cardinalities, with P = T choose w tuples u in order of time, from frames x + 0.1 * position with
    dropout: keys K = LayerNorm(W_k u + b), values V = W_v u + b.  For class c all K * P support tuples share one
    softmax of K_q . K_s / sqrt(d'); the prototype t is the attention applied to V_s, and the distance is
    |V_q - t|^2 / P.  Distances are averaged over the cardinalities.  Keys and values depend on the clip alone, so
    ``embed`` makes them; only attention is left for ``compare``, in pieces of ``batch_mb``.

    Deviations: front and temperature; small widths; the mean of the cross-entropy over queries (published: its sum /
    16); distances also over d' and times 10.  The published logits, neither scaled nor learned, begin over-confident
    here; the gradient of a trainable temperature then drives the posterior to uniform within a dozen steps.
    ``layer_norm=False, projection=False, tuple_width=1152, scaled=False, logit_scale=1, learn_temperature=False`` is
    the published head.
    """

    def __init__(self, dims: Mapping[str, int], options: TrxOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options, generator=generator)
        self.dropouts, self.tuples = nn.ModuleDict(), nn.ModuleDict()
        for w in options.cardinalities.split("+"):
            self.dropouts[w] = self.seeded_dropout(w, options.dropout)
            with self.initialise(f"tuples of {w}"):
                self.tuples[w] = TupleAttention(self.width, options.tuple_width, cardinality=int(w))

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) -> "keys/2", "values/2", "keys/3", "values/3": (B, P_w, d'), of the tuples of w frames."""
        frames, embeddings = with_positions(self.frames(clips)), {}
        for w, attention in self.tuples.items():
            embeddings[f"keys/{w}"], embeddings[f"values/{w}"] = attention(self.dropouts[w](frames))
        return embeddings

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        distances = [
            tuple_distances(
                (support[f"keys/{w}"], support[f"values/{w}"]),
                (query[f"keys/{w}"], query[f"values/{w}"]),
                batch_mb=self.batch_mb,
            )
            for w in self.tuples
        ]
        distance = torch.stack(distances).mean(0)  # (E, M, N)
        return self.answer(distance / self.options.tuple_width if self.options.scaled else distance)
