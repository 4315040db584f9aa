"""A probe for broken weights: do features differ from clip to clip at all?

The public ``flow_charades.pt`` is suspected to answer every clip with nearly the same values (decision B6).  A table
made from such features looks like any other, so the features are looked at before they are used.
"""

from __future__ import annotations

import numpy as np

from amfir_lib.errors import ShapeError

LOWEST_VARIATION = 0.05  # a spread between clips of 5 % of the size of the features; trained weights reach 30 to 70 %
N_CLIPS = 128


def variation(features: np.ndarray) -> float:
    """How much features differ between clips, as a share of their own size.

    Each clip is averaged over its instants and patches; the root mean square of the deviations from the mean clip is
    divided by the root mean square of the values.  0: all clips alike; about 1: as different as they are large.

    Args:
        features: (n, T, P, D), n of 2 or more; at most 128 clips, evenly spread, are looked at.
    Raises:
        ShapeError: fewer than two clips, or another number of axes.
    """
    if features.ndim != 4 or len(features) < 2:
        raise ShapeError(f"the probe needs features [n, T, P, D] of 2 clips or more; got {list(features.shape)}.")
    rows = np.unique(np.linspace(0, len(features) - 1, N_CLIPS).round().astype(int))
    clips = np.stack([np.asarray(features[row], np.float64).mean(axis=(0, 1)) for row in rows])  # (n, D)
    size = np.sqrt((clips**2).mean())
    return float(np.sqrt(((clips - clips.mean(0)) ** 2).mean()) / size) if size > 0 else 0.0


def variation_warning(features: np.ndarray, what: str) -> str:
    """A sentence if the features hardly vary over clips, else ""."""
    found = variation(features)
    if found >= LOWEST_VARIATION:
        return ""
    return (
        f"{what} hardly vary from clip to clip ({100 * found:.1f} % of their size, below "
        f"{100 * LOWEST_VARIATION:.0f} %): the weights may be untrained or broken. Use other ones; for the flow of I3D "
        "flow_imagenet.pt rather than flow_charades.pt, which is suspected to be broken."
    )
