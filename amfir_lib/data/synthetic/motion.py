"""Motion latents: what a figure does.

A class of actions is a *programme*: a short sequence of key poses that the joints pass through smoothly, once
(a gesture) or again and again (a cycle), together with a path of the whole body.  Key poses are drawn from continuous
distributions, so a new class is truly new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# One row of a key pose: joint angles in radians (0 = limb hangs down, positive = to the viewer's right), then the
# root's displacement as a share of the frame's side.
CHANNELS = (
    "lean", "shoulder_left", "shoulder_right", "elbow_left", "elbow_right", "hip_left", "hip_right", "knee_left",
    "knee_right", "root_x", "root_y",
)  # fmt: skip
_REST = np.array([0.0, -0.25, 0.25, -0.1, 0.1, -0.12, 0.12, 0.05, -0.05, 0.0, 0.0])
_SPREAD = np.array([0.22, 1.25, 1.25, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.09, 0.05])
# Limbs move as one: the channels that each activity weight scales.
_LIMBS = ((0,), (1, 3), (2, 4), (5, 7), (6, 8), (9,), (10,))


@dataclass(frozen=True)
class Motion:
    """A programme of movement.

    Attributes:
        key_poses: (K, 11) joint angles in radians and root displacement as a share of the side, see ``CHANNELS``.
        cycles: how often a cyclic programme repeats in one clip; for a gesture, the share of the clip it takes.
        cyclic: whether the programme returns to its first pose.
    """

    key_poses: np.ndarray
    cycles: float
    cyclic: bool

    def reversed(self) -> Motion:
        """The same poses in the opposite order: sitting down for standing up."""
        return replace(self, key_poses=self.key_poses[::-1].copy())


def draw_motion(rng: np.random.Generator, *, n_key_poses: int = 4, cyclic: bool = True) -> Motion:
    """Draw the motion latent of a class: a programme that repeats, or is passed through once.

    Every limb has an activity between still and full swing.
    """
    activity = np.empty(len(CHANNELS))
    for channels in _LIMBS:
        activity[list(channels)] = rng.beta(0.7, 0.7)
    offset = 0.45 * _SPREAD * rng.standard_normal(len(CHANNELS))
    swing = _SPREAD * activity * rng.standard_normal((n_key_poses, len(CHANNELS)))
    if not cyclic:
        swing[1:-1] *= 0.7  # a gesture is told by where it starts and ends more than by its middle
    cycles = rng.uniform(0.8, 1.4) if cyclic else rng.uniform(0.65, 0.85)
    return Motion(_REST + offset + swing, float(cycles), cyclic)


def vary_motion(motion: Motion, rng: np.random.Generator, *, style: float) -> Motion:
    """How one person performs an action once: tempo and poses differ a little.

    ``style`` is the size of the deviation from the class's key poses; 0.3 means 30 % of a typical swing.
    """
    deviation = style * _SPREAD * rng.standard_normal(motion.key_poses.shape)
    return replace(motion, key_poses=motion.key_poses + deviation, cycles=motion.cycles * rng.uniform(0.85, 1.15))


def poses(motion: Motion, n_frames: int, *, onset: float) -> np.ndarray:
    """Joint angles over time.

    Args:
        motion: the programme.
        n_frames: length of the clip.
        onset: when the programme starts; for a cycle a phase in cycles, for a gesture a share of the clip.
    Returns:
        (n_frames, 11) poses, see ``CHANNELS``; interpolated by smoothstep, so limbs slow down at each key pose.
    """
    time = np.arange(n_frames) / n_frames
    count = len(motion.key_poses)
    if motion.cyclic:
        position = (onset + motion.cycles * time) * count
        first = np.floor(position).astype(int)
        before, after = motion.key_poses[first % count], motion.key_poses[(first + 1) % count]
    else:
        position = np.clip((time - onset) / motion.cycles, 0.0, 1.0) * (count - 1)
        first = np.minimum(np.floor(position).astype(int), count - 2)
        before, after = motion.key_poses[first], motion.key_poses[first + 1]
    share = (position - first)[:, None]
    weight = share * share * (3.0 - 2.0 * share)
    return (1.0 - weight) * before + weight * after
