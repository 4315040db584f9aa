"""OTAM (Cao et al. 2020): clips are compared along their best ordered alignment in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amfir_lib.methods.base import EpisodeOutput, Features
from amfir_lib.methods.frames import FrameMethod, unit_vectors
from amfir_lib.methods.options import number
from amfir_lib.methods.unimodal import UnimodalOptions

LARGEST_EXPONENT = 650.0  # exp of it is still a number in float64
PAIRS_AT_ONCE = 8192  # of clips: what they need fits a processor's cache


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
    * soft minima in float64 or in log space, because exp(-g / 0.1) is zero in float32 once g exceeds 10.

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

    With w = exp(-g / lambda) the recursion has sums for soft minima and products for costs, which float64 can hold as
    long as no alignment costs more than ``LARGEST_EXPONENT`` lambda; beyond that the same runs on logarithms.

    Args:
        cost: (..., T, T') of row frames and column frames, such as 1 - cosine; not negative.
        smoothing: lambda, positive, in units of the cost.
    Returns:
        (...) alignment costs; many near-minimal alignments, and free padding, can make them negative.
    Example:
        One frame against one: g = d. Zero costs, T = T' = 2: six alignments, g = -lambda log 6.
    """
    pairs = cost.reshape(-1, *cost.shape[-2:])
    n_cells = sum(cost.shape[-2:]) - 1  # of the longest alignment
    in_logs = bool(pairs.detach().max() * n_cells > LARGEST_EXPONENT * smoothing)
    found = [_align(part / smoothing, in_logs=in_logs) for part in pairs.split(PAIRS_AT_ONCE)]
    return (smoothing * torch.cat(found)).reshape(cost.shape[:-2]).to(cost)


def _align(cost: Tensor, *, in_logs: bool) -> Tensor:
    """(B, T, T') costs in units of lambda -> (B,) alignment costs, in units of lambda, float64."""
    join, extend = (torch.logaddexp, torch.add) if in_logs else (torch.add, torch.mul)
    cells = -cost.permute(1, 2, 0).to(torch.float64, memory_format=torch.contiguous_format)  # (T, T', B)
    cells = cells if in_logs else cells.exp()
    free = torch.full_like(cells[0, 0], 0.0 if in_logs else 1.0)  # what the padding costs
    row = [free]  # lists, so that no tensor is overwritten
    for cell in cells[0]:
        row.append(extend(row[-1], cell))
    row.append(row[-1])
    for level in cells[1:]:
        above, row = row, [free]  # g(l, 0) = 0
        for m, cell in enumerate(level, start=1):
            best = join(above[m - 1], row[m - 1])
            row.append(extend(join(best, above[m]) if m == 1 else best, cell))
        row.append(join(join(above[-2], row[-1]), above[-1]))  # the padding behind
    return -(row[-1] if in_logs else row[-1].log())
