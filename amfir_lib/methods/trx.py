"""TRX (Perrett et al. 2021): temporal cross-attention between tuples of frames (rows TRX and TRX-F of Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amfir_lib.errors import BadParameter
from amfir_lib.methods.base import EpisodeOutput, Features, named_seed
from amfir_lib.methods.dropout import SeededDropout
from amfir_lib.methods.enhancers import POSITION_SCALE, sinusoidal_positions
from amfir_lib.methods.frames import FrameMethod
from amfir_lib.methods.options import choice, number
from amfir_lib.methods.tuple_distances import tuple_distances
from amfir_lib.methods.tuples import TupleAttention
from amfir_lib.methods.unimodal import UnimodalOptions

CARDINALITIES = {"2": (2,), "3": (3,), "2+3": (2, 3)}


@dataclass(frozen=True)
class TrxOptions(UnimodalOptions):
    """Options of every method on one modality, where ``scaled`` divides the distance by the tuple width, and:

    Attributes:
        cardinalities: frames in a tuple, w: pairs "2", triples "3", or both.
        tuple_width: of keys and values, 1152 in the published head.
        dropout: on the frames with their positions.
    """

    cardinalities: str = choice("2+3", tuple(CARDINALITIES))
    tuple_width: int = number(64, low=1)
    dropout: float = number(0.1, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout >= 1:
            raise BadParameter(f"dropout is {self.dropout} but must be below 1. Lower it.")


class Trx(FrameMethod):
    """Each tuple of a query's frames is rebuilt from the tuples of a class; what is left over is the distance.

    For w in the cardinalities, with P = T choose w tuples u in order of time, from frames x + 0.1 * position with
    dropout: keys K = LayerNorm(W_k u + b), values V = W_v u + b.  For class c all K * P support tuples share one
    softmax of K_q . K_s / sqrt(d'); the prototype t is the attention applied to V_s, and the distance is
    |V_q - t|^2 / P.  Distances are averaged over the cardinalities.  Keys and values depend on the clip alone, so
    ``embed`` makes them; only attention is left for ``compare``, in pieces of ``batch_mb``.

    Deviations: the front and temperature of ``FrameMethod``; small widths; the mean of the cross-entropy over queries
    (published: its sum / 16); distances also over d' and times 10.  The published logits, neither scaled nor learned,
    begin over-confident here; the gradient of a trainable temperature then drives the posterior to uniform within a
    dozen steps.  ``layer_norm=False, projection=False, tuple_width=1152, scaled=False, logit_scale=1,
    learn_temperature=False`` is the published head.

    Args:
        dims, options, generator: see ``UnimodalMethod``; dropout masks follow from the generator as well.
    """

    def __init__(self, dims: Mapping[str, int], options: TrxOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options, generator=generator)
        self.dropouts, self.tuples = nn.ModuleDict(), nn.ModuleDict()
        for w in CARDINALITIES[options.cardinalities]:
            seed = named_seed(self.seed, f"{self.modality}/dropout/{w}")
            self.dropouts[str(w)] = SeededDropout(options.dropout, seed=seed)
            with self.initialise(f"tuples of {w}"):
                self.tuples[str(w)] = TupleAttention(self.width, options.tuple_width, cardinality=w)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) -> "keys/2", "values/2", "keys/3", "values/3": (B, P_w, d'), of the tuples of w frames."""
        frames = self.frames(clips)
        frames = frames + POSITION_SCALE * sinusoidal_positions(frames)
        embeddings = {}
        for w, attention in self.tuples.items():
            embeddings[f"keys/{w}"], embeddings[f"values/{w}"] = attention(self.dropouts[w](frames))
        return embeddings

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        each = []
        for w in self.tuples:
            own_support, own_query = ((side[f"keys/{w}"], side[f"values/{w}"]) for side in (support, query))
            each.append(tuple_distances(own_support, own_query, batch_mb=self.batch_mb))
        distance = torch.stack(each).mean(0)  # (E, M, N)
        return self.answer(distance / self.options.tuple_width if self.options.scaled else distance)
