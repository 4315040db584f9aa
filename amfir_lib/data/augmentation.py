"""Views of a clip: one crop, one mirroring and one choice of instants for all its frames and both its streams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amfir_lib.data.flow_codec import mirror_flow
from amfir_lib.data.video import sample_instants

MARGIN = 8 / 7  # of the stored square over the crop, as 256 over 224


@dataclass(frozen=True)
class View:
    """How a clip is looked at.

    Attributes:
        top, left: position of the crop, 0 to 1 of what room there is; 0.5 is the centre.
        mirrored: left and right exchanged; the x flow then changes its sign too.
        instants_seed: draws one instant of each segment; None takes the centres.
    """

    top: float = 0.5
    left: float = 0.5
    mirrored: bool = False
    instants_seed: int | None = None


CENTRE = View()


def random_view(rng: np.random.Generator, *, flip: bool) -> View:
    """A view for training.

    Args:
        rng: the only source of randomness; every call takes the same number of values from it.
        flip: whether half of the views are mirrored; False where left and right tell classes apart.
    """
    top, left, side = rng.random(3)
    return View(top, left, bool(flip and side < 0.5), int(rng.integers(2**31)))


def look_at(
    clip: np.ndarray, view: View, *, stream: str, n_instants: int, crop: int, flow_type: str = "uint8"
) -> np.ndarray:
    """Cut a view out of a stored clip.

    Two streams with equal numbers of stored and wanted instants get the same instants.

    Args:
        clip: [F, S, S, C], F of at least ``n_instants``.
        view: one for both streams of the clip.
        stream: "rgb" or "flow".
        n_instants: T, or the number of dense frames.
        crop: side of the result in px, at most S.
        flow_type: how flow is stored, see :mod:`amfir_lib.data.flow_codec`.
    Returns:
        [T, crop, crop, C] of the clip's type, a copy.
    """
    rng = None if view.instants_seed is None else np.random.default_rng(view.instants_seed)
    instants = sample_instants(len(clip), n_instants, rng=rng)
    room = clip.shape[1] - crop
    top, left = round(view.top * room), round(view.left * room)
    part = np.array(clip[instants, top : top + crop, left : left + crop])
    if not view.mirrored:
        return part
    return mirror_flow(part, storage=flow_type) if stream == "flow" else np.ascontiguousarray(part[:, :, ::-1])
