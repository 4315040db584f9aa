"""TRX (Perrett et al. 2021): temporal cross-attention between tuples of frames (rows TRX and TRX-F of Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.methods.base import EpisodeOutput, Features, draw_seed
from amfir_lib.methods.dropout import SeededDropout
from amfir_lib.methods.enhancers import POSITION_SCALE, sinusoidal_positions
from amfir_lib.methods.frames import FrameMethod, FrameOptions
from amfir_lib.methods.options import choice, number

CARDINALITIES = {"2": (2,), "3": (3,), "2+3": (2, 3)}
MEGABYTE = 2**20


@dataclass(frozen=True)
class TrxOptions(FrameOptions):
    """Options of the front, and:

    Attributes:
        cardinalities: frames in a tuple, w: pairs "2", triples "3", or both.
        tuple_width: of keys and values, 1152 in the published head.
        dropout: on the frames with their positions.
        scaled: divide the distance by the tuple width as well; the published head does not, and begins with posteriors
            of about the right sharpness at a width of 64. For much wider tuples set it, with logit_scale 64.
        batch_mb: bound on the memory of one piece of attention, in MB; results do not depend on it, but for rounding.
    """

    cardinalities: str = choice("2+3", tuple(CARDINALITIES))
    tuple_width: int = number(64, low=1)
    dropout: float = number(0.1, low=0)
    scaled: bool = False
    batch_mb: int = number(64, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout >= 1:
            raise BadParameter(f"dropout is {self.dropout} but must be below 1. Lower it.")


class Trx(FrameMethod):
    """Each tuple of a query's frames is rebuilt from the tuples of a class; what is left over is the distance.

    For w in the cardinalities, with P = T choose w tuples u in order of time, from frames x + 0.1 * position with
    dropout: keys K = LayerNorm(W_k u + b), values V = W_v u + b.  For class c all K * P support tuples share one
    softmax of K_q . K_s / sqrt(d); the prototype t is the attention applied to V_s, and the distance is
    |V_q - t|^2 / P.  Distances are averaged over the cardinalities.

    Keys and values depend on the clip alone, so ``embed`` makes them.  A Linear of concatenated frames is a sum of
    Linears of single frames, so each frame is projected once for each place in a tuple, not once for each tuple.
    Deviations from the published head: the front of ``FrameMethod``, its trainable temperature (which begins at the
    published 1), a width for small features, and the mean of the cross-entropy (published: its sum over queries / 16).
    ``layer_norm=False, projection=False, tuple_width=1152, learn_temperature=False`` is the published head.

    Args:
        dims, options, generator: see ``FrameMethod``; the generator is also the source of dropout masks.
    """

    def __init__(self, dims: Mapping[str, int], options: TrxOptions, *, generator: torch.Generator) -> None:
        super().__init__(dims, options, generator=generator)
        self.dropouts, self.tuples = nn.ModuleDict(), nn.ModuleDict()
        for w in CARDINALITIES[options.cardinalities]:
            self.dropouts[str(w)] = SeededDropout(options.dropout, seed=draw_seed(generator))
            with self.initialise(f"tuples of {w}"):
                self.tuples[str(w)] = TupleProjection(self.width, w, options.tuple_width)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) -> "2" and "3": (B, 2, P_w, tuple_width), keys and values of the tuples of that many frames."""
        frames = self.frames(clips)
        frames = frames + POSITION_SCALE * sinusoidal_positions(frames)
        return {w: project(self.dropouts[w](frames)) for w, project in self.tuples.items()}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        each = [
            tuple_distance(query[w], support[w], batch_mb=self.options.batch_mb, scaled=self.options.scaled)
            for w in self.tuples
        ]
        return self.answer(torch.stack(each).mean(0))


class TupleProjection(nn.Module):
    """Keys and values of all increasing tuples of w frames.  (B, T, d) -> (B, 2, P, d').

    Args:
        width: d of the frames.
        cardinality: w.
        tuple_width: d' of keys and values.
    """

    def __init__(self, width: int, cardinality: int, tuple_width: int) -> None:
        super().__init__()
        self.cardinality = cardinality
        self.key = nn.Linear(cardinality * width, tuple_width)
        self.value = nn.Linear(cardinality * width, tuple_width)
        self.key_norm = nn.LayerNorm(tuple_width)

    def forward(self, frames: Tensor) -> Tensor:
        n_frames, w = frames.shape[1], self.cardinality
        if n_frames < w:
            raise ShapeError(f"clips have T = {n_frames} segments, too few for tuples of {w}. Lower cardinalities.")
        places = torch.tensor(list(combinations(range(n_frames), w)), device=frames.device)  # (P, w)
        keys, values = (self._of_tuples(one, frames, places) for one in (self.key, self.value))
        return torch.stack((self.key_norm(keys), values), dim=1)

    def _of_tuples(self, layer: nn.Linear, frames: Tensor, places: Tensor) -> Tensor:
        """The layer on concatenated frames, as a sum over the places of a tuple: (B, P, d')."""
        parts = layer.weight.unflatten(1, (self.cardinality, -1)).unbind(1)  # w times (d', d)
        return sum(linear(frames, part)[:, places[:, i]] for i, part in enumerate(parts)) + layer.bias


def tuple_distance(query: Tensor, support: Tensor, *, batch_mb: int, scaled: bool = False) -> Tensor:
    """Squared distance of a query's tuples to what each class rebuilds of them, over the number of tuples.

    Pieces of episodes and queries are worked off one after another; in training a piece is computed again in the
    backward pass, so that the bound holds there as well.

    Args:
        query: (E, M, 2, P, d) keys and values.
        support: (E, N, K, 2, P, d) keys and values.
        batch_mb: bound on the memory of one piece.
        scaled: divide by d as well.
    Returns:
        (E, M, N).
    """
    n_episodes, n_query, _, n_tuples, width = query.shape
    n_way, n_shot = support.shape[1:3]
    each = n_way * n_tuples * (2 * width + n_shot * n_tuples) * query.element_size()  # of one query: queries, t, scores
    n_fit = max(1, int(batch_mb * MEGABYTE // each))
    step, pieces = max(1, n_fit // n_query), []
    in_pieces = torch.is_grad_enabled() and n_fit < n_episodes * n_query
    for start in range(0, n_episodes, step):
        keys, values = support[start : start + step].unbind(3)  # (e, N, K, P, d)
        classes = keys.flatten(2, 3), values.flatten(2, 3)
        queries = query[start : start + step].split(n_fit, dim=1)
        pieces.append(torch.cat([_rebuild(one, *classes, again=in_pieces) for one in queries], dim=1))
    distance = torch.cat(pieces) / n_tuples
    return distance / width if scaled else distance


def _rebuild(query: Tensor, keys: Tensor, values: Tensor, *, again: bool) -> Tensor:
    """(e, m, 2, P, d) queries, (e, N, K * P, d) keys and values of classes -> (e, m, N) |V_q - t|^2.

    ``again``: keep nothing for the backward pass, which then computes it again.
    """
    if again:
        return checkpoint(_rebuild, query, keys, values, again=False, use_reentrant=False, preserve_rng_state=False)
    n_query, _, n_tuples = query.shape[1:4]
    own_keys, own_values = (x.flatten(1, 2).unsqueeze(1) for x in query.unbind(2))  # (e, 1, m * P, d)
    own_keys = own_keys.expand(-1, keys.shape[1], -1, -1)
    rebuilt = scaled_dot_product_attention(own_keys, keys, values)  # softmax of K_q . K_s / sqrt(d): (e, N, m * P, d)
    left_over = (own_values - rebuilt).square().sum(-1)
    return left_over.unflatten(2, (n_query, n_tuples)).sum(-1).transpose(1, 2)
