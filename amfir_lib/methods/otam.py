"""OTAM (Cao et al. 2020): clips are compared along their best ordered alignment in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from amfir_lib.methods.base import EpisodeOutput, Features
from amfir_lib.methods.frames import FrameMethod, unit_vectors
from amfir_lib.methods.options import number
from amfir_lib.methods.unimodal import UnimodalOptions


@dataclass(frozen=True)
class OtamOptions(UnimodalOptions):
    """Options of every method on one modality, where ``scaled`` divides the summed cost by its 2 T frames, and:

    Attributes:
        logit_scale: initial 1 / temperature.
        smoothing: lambda of the soft minimum; towards 0 it becomes the minimum.
    """

    logit_scale: float = number(3.0, low=0, above=True)
    smoothing: float = number(0.1, low=0, above=True)


class Otam(FrameMethod):
    """Distance of two clips = soft-minimal cost of aligning their frames, summed over both directions.

    The cost of a pair of frames is 1 - cosine; see ``alignment_cost``.  A class's distance is the mean over its
    supports.  Deviations:

    * the front and temperature of ``FrameMethod``; the published head has no parameters;
    * the sum over 2 T frames is divided by their number and multiplied by 3: the published logits begin over-confident
      here, and the gradient of the temperature then drives the posterior to uniform within a dozen steps
      (``scaled=False, logit_scale=1, learn_temperature=False`` is as published);
    * cosines without the 0.01 that is added to the product of norms, so that frames are normalised once for each clip
      (with the front's norms it would change them by less than 0.1 %);
    * soft minima in log space, because exp(-g / 0.1) is zero in float32 once g exceeds 10.

    Args:
        dims, options, generator: see ``UnimodalMethod``.
    """

    def embed(self, clips: Features) -> dict[str, Tensor]:
        return {self.modality: unit_vectors(self.frames(clips))}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        supports, queries = support[self.modality], query[self.modality]  # (E, N, K, T, d), (E, M, T, d)
        n_way, n_shot, n_frames = supports.shape[1:4]
        cosine = queries.flatten(1, 2) @ supports.flatten(1, 3).transpose(1, 2)  # (E, M * T, N * K * T)
        cost = 1 - cosine.unflatten(2, (n_way * n_shot, n_frames)).unflatten(1, (-1, n_frames)).transpose(2, 3)
        both = torch.stack((cost, cost.transpose(-1, -2)))  # (2, E, M, N * K, T, T)
        distance = alignment_cost(both, smoothing=self.options.smoothing).sum(0)  # (E, M, N * K)
        if self.options.scaled:
            distance = distance / (2 * n_frames)
        return self.answer(distance.unflatten(2, (n_way, n_shot)).mean(-1))


def alignment_cost(cost: Tensor, *, smoothing: float) -> Tensor:
    """Soft-minimal cost of an alignment of rows to columns that may begin and end at any column.

    With d the cost padded by a column of zeros on each side, m = 0..T+1, and g(l, 0) = 0:
    g(0, m) = d(0, m) + g(0, m-1);
    g(l, m) = d(l, m) + softmin{g(l-1, m-1), g(l, m-1)}, where for m = 1 and m = T+1 also g(l-1, m) is allowed;
    softmin(v) = -lambda log sum exp(-v / lambda);  the result is g(T-1, T+1).

    Computed as h = -g / lambda, where a soft minimum is one ``logaddexp``; only the loop over cells remains.

    Args:
        cost: (..., T, T') of row frames and column frames, such as 1 - cosine.
        smoothing: lambda, positive, in units of the cost.
    Returns:
        (...) alignment costs; many near-minimal alignments, and free padding, can make them negative.
    Example:
        One frame against one: g = d. Zero costs, T = T' = 2: six alignments, g = -lambda log 6.
    """
    cells = (pad(cost, (1, 1)) / smoothing).movedim((-2, -1), (0, 1)).contiguous()  # (T, T' + 2, ...), units of lambda
    row = list((-cells[0].cumsum(0)).unbind(0))  # h(0, m); lists, so that no tensor is overwritten
    edges = (1, len(row) - 1)
    for level in cells[1:]:
        above, row = row, [row[0]]  # h(l, 0) = 0
        for m in range(1, len(level)):
            best = torch.logaddexp(above[m - 1], row[m - 1])
            if m in edges:
                best = torch.logaddexp(best, above[m])
            row.append(best - level[m])
    return -row[-1] * smoothing
