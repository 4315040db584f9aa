"""OTAM (Cao et al. 2020): clips are compared along their best ordered alignment in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amfir_lib.methods.base import EpisodeOutput, Features, number
from amfir_lib.methods.front import DistanceOptions, UnimodalMethod, unit_vectors

LARGEST_EXPONENT = 650.0  # exp of it is still a number in float64
MOST_RELATED_CLIPS = 5000  # whose distances take 100 MB
PAIRS = "pairs"  # distances of all pairs of clips
PAIRS_AT_ONCE = 2048  # of clips: what they need fits a processor's cache


@dataclass(frozen=True)
class OtamOptions(DistanceOptions):
    """Options of the front, where ``scaled`` divides the summed cost by its 2 T frames, and of the alignment."""

    logit_scale: float = number(3.0, low=0, above=True)
    smoothing: float = number(0.1, low=0, above=True)  # lambda of the soft minimum; towards 0 it becomes the minimum


class Otam(UnimodalMethod):
    """Distance of two clips = soft-minimal cost of aligning their frames, summed over both directions.

    The cost of a pair of frames is 1 - cosine; see ``alignment_cost``.  A class's distance is the mean over its
    supports.  Deviations:

    * front and temperature; the published head has no parameters;
    * the sum over 2 T frames is divided by their number and multiplied by 3: the published logits begin over-confident
      here, and the gradient of the temperature then drives the posterior to uniform within a dozen steps
      (``scaled=False, logit_scale=1, learn_temperature=False`` is as published);
    * cosines without the 0.01 that is added to the product of norms, so that frames are normalised once for each clip
      (with the front's norms it would change them by less than 0.1 %);
    * soft minima in float64 or in log space, because exp(-g / 0.1) is zero in float32 once g exceeds 10.
    """

    def embed(self, clips: Features) -> dict[str, Tensor]:
        return {self.modality: unit_vectors(self.frames(clips))}

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        supports, queries = support[self.modality], query[self.modality]  # (E, N, K, T, d), (E, M, T, d)
        distance = self._distances(queries, supports.flatten(1, 2))  # (E, M, N * K)
        return self.answer(distance.unflatten(2, supports.shape[1:3]).mean(-1))

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        """Distances of all pairs of clips, (n, n), where episodes ask for more pairs than there are; else frames.

        The distance is the same both ways, since it is summed over both directions.
        """
        frames = embeddings[self.modality]  # (n, T, d)
        n = len(frames)
        if n * (n + 1) // 2 > n_pairs or n > MOST_RELATED_CLIPS:
            return embeddings
        distance = frames.new_empty(n, n)
        size = max(1, PAIRS_AT_ONCE // n)
        for start in range(0, n, size):
            block = self._distances(frames[None, start : start + size], frames[None, start:])[0]
            distance[start : start + size, start:] = block
            distance[start:, start : start + size] = block.T
        return {PAIRS: distance}

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> EpisodeOutput:
        if PAIRS not in clips:
            return super().compare_among(clips, support, query)
        distance = clips[PAIRS]
        support, query = support.to(distance.device), query.to(distance.device)
        return self.answer(distance[query[:, :, None, None], support.unsqueeze(1)].mean(-1))

    def _distances(self, first: Tensor, second: Tensor) -> Tensor:
        """Unit frames (E, A, T, d) and (E, B, T, d) -> (E, A, B)."""
        n_frames = first.shape[2]
        cosine = first.flatten(1, 2) @ second.flatten(1, 2).transpose(1, 2)  # (E, A * T, B * T)
        cost = 1 - cosine.unflatten(2, (-1, n_frames)).unflatten(1, (-1, n_frames)).transpose(2, 3)
        both = torch.stack((cost, cost.transpose(-1, -2)))  # (2, E, A, B, T, T)
        distance = alignment_cost(both, smoothing=self.options.smoothing).sum(0)
        return distance / (2 * n_frames) if self.options.scaled else distance


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
        (...) alignment costs; many near-minimal alignments, and free padding, can make them negative.  One frame
        against one: g = d.  Zero costs, T = T' = 2: six alignments, g = -lambda log 6.
    """
    pairs = cost.reshape(-1, *cost.shape[-2:])
    n_cells = sum(cost.shape[-2:]) - 1  # of the longest alignment
    in_logs = bool(pairs.detach().max() * n_cells > LARGEST_EXPONENT * smoothing)
    costs = [_align(block / smoothing, in_logs=in_logs) for block in pairs.split(PAIRS_AT_ONCE)]
    return (smoothing * torch.cat(costs)).reshape(cost.shape[:-2]).to(cost)


def _align(cost: Tensor, *, in_logs: bool) -> Tensor:
    """(B, T, T') costs in units of lambda -> (B,) alignment costs, in units of lambda, float64.

    Column by column: inside, g(., m) needs g(., m-1) alone, so all rows are one step.
    """
    join, extend = (torch.logaddexp, torch.add) if in_logs else (torch.add, torch.mul)
    cells = -cost.permute(2, 1, 0).to(torch.float64, memory_format=torch.contiguous_format)  # (T', T, B)
    cells = cells if in_logs else cells.exp()
    free = torch.full_like(cells[0, 0], math.log(2) if in_logs else 2.0)  # both ways from the padding in front
    rows = [cells[0, 0]]
    for cell in cells[0, 1:]:
        rows.append(extend(cell, join(free, rows[-1])))
    column = torch.stack(rows)  # (T, B)
    for level in cells[1:]:
        column = extend(level, torch.cat((column[:1], join(column[1:], column[:-1]))))
    ends = torch.cat((column, column[:-1]))  # each row enters the padding behind, all but the last by two ways
    return -(ends.logsumexp(0) if in_logs else ends.sum(0).log())
